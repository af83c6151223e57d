//! The real binary with a real language model server: answers stream, add up, and break off without taking the session along.
//!
//! Not here: what a provider may send (`models/tests/chat_conformance.rs`), how soon (`benches/answers`), what an answer says.
#![allow(clippy::unwrap_used)]

use std::{path::PathBuf, time::Duration};

use client::{ClientConfig, Pacer, connect};
use llm_server::LlmServer;
use protocol::{
    AudioFormat, CancelReason, ClientMessage, Codec, EndReason, Role, ServerMessage, StartStream,
};
use serde_json::Value;
use server::Server;
use sse_server::{SseServer, Step};

#[path = "support/audio.rs"]
mod audio;
#[path = "../models/tests/common/llm_server.rs"]
#[allow(dead_code)]
mod llm_server;
#[path = "support/server.rs"]
mod server;
#[path = "../models/tests/common/sse_server.rs"]
#[allow(dead_code)]
mod sse_server;

/// A server whose answers come from `base_url`, about a candidate with a short CV.
fn server(base_url: &str, more: &[(&str, &str)]) -> Server {
    let usual = [
        ("INTERVIEWAI_SPEECH__WEIGHTS", "tiny.en"),
        ("INTERVIEWAI_CANDIDATE__CV_FILE", "models/tests/fixtures/cv_nurse.txt"),
        ("INTERVIEWAI_ANSWERS__PROVIDER", "openai"),
        ("INTERVIEWAI_ANSWERS__BASE_URL", base_url),
        ("INTERVIEWAI_ANSWERS__LOGPROBS", "true"),
        ("INTERVIEWAI_ANSWERS__LENGTH", "short"),
        // One request at a time, on a machine that also writes speech down.
        ("INTERVIEWAI_ANSWERS__FIRST_TOKEN_TIMEOUT_S", "120"),
        ("INTERVIEWAI_ANSWERS__BETWEEN_TOKENS_TIMEOUT_S", "60"),
    ];
    Server::start(&[&usual, more].concat())
}

/// Streams the sample interview, in real time; every event.
fn interview(server: &Server) -> Vec<Value> {
    server.stream(&["--silence", "1500"], &[PathBuf::from("samples/interview.flac")])
}

fn of_type<'a>(events: &'a [Value], kind: &str) -> Vec<&'a Value> {
    events.iter().filter(|event| event["type"] == kind).collect()
}

/// The positions of the events of `kind` that belong to `answer`.
fn positions(events: &[Value], kind: &str, answer: &Value) -> Vec<usize> {
    let of_answer = |event: &Value| event["type"] == kind && event["answer_id"] == answer["answer_id"];
    events.iter().enumerate().filter(|(_, event)| of_answer(event)).map(|(at, _)| at).collect()
}

#[test]
fn a_language_model_s_answers_stream_and_add_up() {
    let Some(model) = LlmServer::start() else { return };
    let server = server(&model.base_url(), &[]);
    let events = interview(&server);
    let answers = of_type(&events, "answer");
    assert_eq!(answers.len(), 2, "one answer a question: {:?}", of_type(&events, "error"));
    assert_eq!(of_type(&events, "error"), [] as [&Value; 0]);
    for answer in answers {
        let started = positions(&events, "answer_started", answer);
        let deltas = positions(&events, "answer_delta", answer);
        let ended = positions(&events, "answer", answer);
        assert!(deltas.len() > 2, "{} pieces", deltas.len());
        assert_eq!((started.len(), ended.len()), (1, 1));
        assert!(started[0] < deltas[0] && deltas[deltas.len() - 1] < ended[0], "out of order");
        let indices: Vec<_> = deltas.iter().map(|at| events[*at]["index"].as_u64().unwrap()).collect();
        assert_eq!(indices, (0..deltas.len() as u64).collect::<Vec<_>>(), "no gaps");
        let text: String = deltas.iter().map(|at| events[*at]["text"].as_str().unwrap()).collect();
        assert_eq!(text, answer["content"].as_str().unwrap(), "the deltas are the answer");

        // The question was final before it was answered.
        let question = &events[started[0]]["question"];
        let heard = events[..started[0]].iter().find(|event| {
            event["type"] == "transcription" && event["is_final"] == true && event["turn"] == answer["turn"]
        });
        assert!(heard.is_some_and(|heard| heard["text"] == *question), "{question}");

        let t = |name: &str| answer["timings"][name].as_u64().unwrap();
        let sum = t("endpoint") + t("transcript") + t("request") + t("first_token");
        assert_eq!(sum, t("total_to_first_token"), "{}", answer["timings"]);
        assert!(t("endpoint") > 0 && t("first_token") > 0 && t("last_token") > 0, "{}", answer["timings"]);
        assert_eq!(answer["cached"], false);
        assert!(["stop", "length"].contains(&answer["finish_reason"].as_str().unwrap()), "{answer}");
        assert!(answer["model"].as_str().unwrap().contains("SmolLM2-135M"), "{}", answer["model"]);
        let confidence = answer["confidence"].as_f64().expect("log-probabilities were asked for");
        assert!(confidence > 0.0 && confidence < 1.0, "{confidence}");
    }
    assert_eq!(server.terminate(), Some(0));
}

/// The model's process is killed while it speaks.
#[tokio::test(flavor = "multi_thread")]
async fn a_model_that_dies_in_mid_answer_takes_its_answer_along_and_nothing_else() {
    let started = tokio::task::spawn_blocking(|| {
        let model = LlmServer::start()?;
        let server = server(&model.base_url(), &[]);
        Some((model, server))
    });
    let Some((model, server)) = started.await.unwrap() else { return };
    let mut model = Some(model);
    let events = tokio::time::timeout(
        PATIENCE,
        converse(&server.ws, |message| {
            if matches!(message, ServerMessage::AnswerDelta { .. }) {
                model = None;
            }
        }),
    );
    let events = events.await.expect("the session hangs");

    let finals = events.iter().filter(|e| matches!(e, ServerMessage::Transcription(t) if t.is_final)).count();
    assert_eq!(finals, 2, "both questions are written down");
    let mut outcomes = Vec::new();
    for (at, event) in events.iter().enumerate() {
        let ServerMessage::AnswerStarted { answer_id: id, .. } = event else { continue };
        let text: usize = events[at..].iter().filter(|event| is_delta_of(event, *id)).count();
        let cancelled = events.iter().any(|event| {
            matches!(event, ServerMessage::AnswerCancelled { answer_id, reason: CancelReason::ProviderError } if answer_id == id)
        });
        outcomes.push((text > 0, cancelled));
    }
    let expected = [(true, true), (false, true), (false, true)];
    assert_eq!(
        outcomes, expected,
        "the text so far came, another answer was asked for in vain, and so was the second question's"
    );
    let warned = |event: &&ServerMessage| matches!(event, ServerMessage::Warning { code, .. } if code == "answer_asked_again");
    assert_eq!(events.iter().filter(warned).count(), 1);
    let errors: Vec<_> = events
        .iter()
        .filter_map(|event| match event {
            ServerMessage::Error { message, fatal, .. } => Some((message, *fatal)),
            _ => None,
        })
        .collect();
    assert_eq!(errors.len(), 2, "{errors:?}");
    assert!(
        errors.iter().all(|(message, fatal)| !fatal && message.contains("the model provider")),
        "{errors:?}"
    );
    assert!(matches!(
        events.last(),
        Some(ServerMessage::StreamEnded { reason: EndReason::Client, totals }) if totals.turns == 2 && totals.answers == 0
    ));
}

/// The connection breaks off in the first answer; the provider is asked again, and is well then.
#[tokio::test(flavor = "multi_thread")]
async fn a_broken_answer_is_followed_by_a_whole_one() {
    let sent = |bytes: &str| Step::Send(bytes.as_bytes().to_vec());
    let broken = vec![sent(HEAD), sent(&piece("Half an")), sent(&piece(" ans")), Step::Close];
    let whole = vec![sent(HEAD), sent(&piece("A whole")), sent(&piece(" answer.")), sent(DONE), Step::Close];
    let models =
        vec![sent("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\n{}"), Step::Close];
    // The list of models is asked for first, to have a connection.
    let upstream = SseServer::start_in_order(vec![models, broken, whole]).await;
    let base_url = upstream.base_url();
    let asked_once = [
        ("INTERVIEWAI_ANSWERS__PREFILL", "off"),
        ("INTERVIEWAI_ANSWERS__MAX_SPECULATIVE_REQUESTS_PER_MINUTE", "0"),
    ];
    let streamed = tokio::task::spawn_blocking(move || interview(&server(&base_url, &asked_once)));
    let events = tokio::time::timeout(PATIENCE, streamed).await.expect("the session hangs").unwrap();

    let cancelled = of_type(&events, "answer_cancelled");
    assert_eq!(cancelled.len(), 1, "{cancelled:?}");
    assert_eq!(cancelled[0]["reason"], "provider_error");
    let kept: String = positions(&events, "answer_delta", cancelled[0])
        .iter()
        .map(|at| events[*at]["text"].as_str().unwrap())
        .collect();
    assert_eq!(kept, "Half an ans");
    let told =
        events.iter().position(|event| event["code"] == "answer_asked_again").expect("the client is told");
    assert!(told < positions(&events, "answer_cancelled", cancelled[0])[0]);
    assert!(events[told]["message"].as_str().unwrap().contains("the text so far stands"), "{}", events[told]);
    let answers = of_type(&events, "answer");
    let broken_turn = &events[positions(&events, "answer_started", cancelled[0])[0]]["turn"];
    assert_eq!(answers.len(), 2);
    assert!(answers.iter().all(|answer| answer["content"] == "A whole answer."), "{answers:?}");
    assert!(answers[0]["turn"] == *broken_turn && answers[1]["turn"] != *broken_turn, "{answers:?}");
}

/// Says the sample interview in real time, and shows each event to `watch`; all of them.
async fn converse(url: &str, mut watch: impl FnMut(&ServerMessage)) -> Vec<ServerMessage> {
    let (mut sender, mut events) = connect(&ClientConfig::new(url)).await.unwrap();
    let format = AudioFormat::mono(Codec::PcmS16le, Some(16_000), Role::Interviewer);
    sender.start(StartStream { session_id: None, audio: format, config: None, resume: None }).await.unwrap();
    let speaking = tokio::spawn(async move {
        let format = codecs::StreamFormat { codec: codecs::Codec::Flac, sample_rate: None, channels: None };
        let sample = std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/samples/interview.flac")).unwrap();
        let mut samples = audio::decode(format, &sample, 4_096).unwrap().samples;
        samples.resize(samples.len() + 16_000 * 3 / 2, 0.0);
        let mut pacer = Pacer::new(1.0).unwrap();
        pacer.wait(Duration::ZERO).await;
        for (chunk, number) in samples.chunks(320).zip(1..) {
            pacer.wait(Duration::from_millis(20) * number).await;
            let pcm: Vec<u8> =
                chunk.iter().flat_map(|sample| ((sample * 32_767.0) as i16).to_le_bytes()).collect();
            sender.audio(&pcm).await.unwrap();
        }
        sender.send(&ClientMessage::EndStream {}).await.unwrap();
    });
    let mut seen = Vec::new();
    while let Some(event) = events.next().await {
        let message = event.unwrap().message;
        watch(&message);
        seen.push(message);
    }
    speaking.await.unwrap();
    seen
}

fn is_delta_of(event: &ServerMessage, id: u64) -> bool {
    matches!(event, ServerMessage::AnswerDelta { answer_id, .. } if *answer_id == id)
}

/// One event of a streamed answer.
fn piece(text: &str) -> String {
    format!("data: {{\"model\":\"m\",\"choices\":[{{\"index\":0,\"delta\":{{\"content\":{text:?}}}}}]}}\n\n")
}

const HEAD: &str = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n";
const DONE: &str = "data: {\"model\":\"m\",\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n";
/// Half a minute of interview and two answers, several times over.
const PATIENCE: Duration = Duration::from_secs(300);
