//! `OpenAiTranscriber` over real sockets: a scripted server for what servers do wrong, a real one for what they do right.
//!
//! Not here: the conformance suite (`speech_conformance.rs`).
#![allow(clippy::unwrap_used)]

use std::{sync::Arc, time::Duration};

use common::{
    recordings::{recordings, tone, weights},
    sse_server::{SseServer, Step},
    whisper_server::WhisperServer,
};
use futures_util::StreamExt;
use models::speech::{
    InferencePool, OpenAiSpeechConfig, OpenAiTranscriber, PoolConfig, Priority, ProviderConfigError,
    TranscribeError, TranscribeRequest, Transcriber, Transcript, TranscriptEvent, UploadFormat,
    wer::WordErrors,
};
use tokio::time::Instant;

mod common {
    #[allow(dead_code)]
    pub(crate) mod recordings;
    #[allow(dead_code)]
    pub(crate) mod sse_server;
    pub(crate) mod whisper_server;
}

fn request(audio: impl Into<Arc<[f32]>>) -> TranscribeRequest {
    TranscribeRequest {
        audio: audio.into(),
        language: Some("en".into()),
        vocabulary: Arc::from(["Kubernetes".to_owned(), "Ada Lovelace".to_owned()]),
        settled: Arc::from([]),
        before: Arc::from(""),
        priority: Priority::Final,
        stream: 1,
        cache: false,
    }
}

/// Two seconds.
fn speech() -> TranscribeRequest {
    request(tone(2.0, 300.0))
}

fn openai(base_url: String, change: impl FnOnce(&mut OpenAiSpeechConfig)) -> OpenAiTranscriber {
    let mut config = OpenAiSpeechConfig {
        base_url,
        api_key: Some("sk-secret".to_owned().into()),
        retry_pause: Duration::from_millis(1),
        ..OpenAiSpeechConfig::default()
    };
    change(&mut config);
    OpenAiTranscriber::new(config).unwrap()
}

async fn ask(speech: &OpenAiTranscriber, request: TranscribeRequest) -> Result<Transcript, TranscribeError> {
    let events: Vec<_> = speech.transcribe(request).collect().await;
    let [event] = &events[..] else { panic!("{events:?}") };
    match event.clone()? {
        TranscriptEvent::Final(transcript) => Ok(transcript),
        warning => panic!("{warning:?}"),
    }
}

fn response(status: &str, headers: &str, body: &str) -> Vec<Step> {
    let head = format!(
        "HTTP/1.1 {status}\r\ncontent-type: application/json\r\nconnection: close\r\n{headers}content-length: {}\r\n\r\n",
        body.len()
    );
    vec![Step::Send((head + body).into()), Step::Close]
}

fn ok(body: &str) -> Vec<Step> {
    response("200 OK", "", body)
}

/// Words with start, end and confidence in hundredths.
type Words<'a> = &'a [(&'a str, u32, u32, u32)];

#[tokio::test]
async fn reads_what_servers_answer() {
    // -0.693 is the logarithm of a half.
    let cases: &[(&str, &str, &str, Words)] = &[
        (
            "words without punctuation, as OpenAI sends them",
            r#"{"text":"Hello, Dr. O'Neil & twenty-one.","language":"english","duration":2.0,
                "segments":[{"start":0,"end":2,"text":" Hello, Dr. O'Neil & twenty-one.","avg_logprob":-0.6931472}],
                "words":[{"word":"Hello","start":0.1,"end":0.4},{"word":"Dr","start":0.4,"end":0.6},
                         {"word":"O'Neil","start":0.7,"end":1.0},{"word":"twenty","start":1.1,"end":1.3},{"word":"one","start":1.3,"end":9.0}]}"#,
            "en",
            &[
                ("Hello,", 100, 400, 50),
                ("Dr.", 400, 600, 50),
                ("O'Neil", 700, 1000, 50),
                ("&", 700, 700, 50),
                ("twenty-one.", 1100, 2000, 50),
            ],
        ),
        (
            "words with probabilities of their own",
            r#"{"text":" a b","words":[{"word":" a","start":0.5,"end":0.6,"probability":0.9},{"word":" b","start":0.2,"end":0.1,"probability":0.4}]}"#,
            "en",
            &[("a", 500, 600, 90), ("b", 500, 500, 40)],
        ),
        (
            "words that are not those of the text: segments",
            r#"{"text":"It is 5%.","words":[{"word":"five","start":0,"end":1}],
                "segments":[{"start":0.5,"end":1.5,"text":"It is 5%.","avg_logprob":-0.6931472,"no_speech_prob":0.9}]}"#,
            "en",
            &[("It", 500, 800, 50), ("is", 800, 1100, 50), ("5%.", 1100, 1500, 50)],
        ),
        (
            "two segments, one of them made up for silence",
            r#"{"text":"Yes. Thank you.","language":"en","segments":[
                {"start":0,"end":1,"text":" Yes.","avg_logprob":-0.1053605},
                {"start":1,"end":2,"text":" Thank you.","avg_logprob":-1.5,"no_speech_prob":0.8}]}"#,
            "en",
            &[("Yes.", 0, 1000, 90)],
        ),
        (
            "text only: over the whole audio",
            r#"{"text":"one two"}"#,
            "en",
            &[("one", 0, 1000, 50), ("two", 1000, 2000, 50)],
        ),
        (
            "nulls and nonsense where numbers belong",
            r#"{"text":"one two","language":null,"segments":[{"start":null,"end":"x","text":"one two","avg_logprob":null}],"words":[null,{"word":1}],"usage":null}"#,
            "en",
            &[("one", 0, 1000, 50), ("two", 1000, 2000, 50)],
        ),
        (
            "log-probabilities of tokens",
            r#"{"text":"one","logprobs":[{"token":"o","logprob":-0.5},{"token":"ne","logprob":-0.8862944}]}"#,
            "en",
            &[("one", 0, 2000, 50)],
        ),
        (
            "segments without a text",
            r#"{"language":"German","segments":[{"start":0,"end":1,"text":"eins "},{"start":1,"end":2,"text":"zwei"}]}"#,
            "de",
            &[("eins", 0, 1000, 50), ("zwei", 1000, 2000, 50)],
        ),
        ("empty text", r#"{"text":"","segments":[],"words":[]}"#, "en", &[]),
        ("a note in place of text", r#"{"text":" [BLANK_AUDIO]"}"#, "en", &[]),
    ];
    for (name, body, language, words) in cases {
        let server = SseServer::start(ok(body)).await;
        let transcript = ask(&openai(server.base_url(), |_| ()), speech()).await.unwrap();
        let found: Vec<_> = transcript
            .words
            .iter()
            .map(|w| (w.text.as_str(), w.start_ms, w.end_ms, (w.confidence * 100.0).round() as u32))
            .collect();
        assert_eq!(&found[..], *words, "{name}");
        let joined = found.iter().map(|word| word.0).collect::<Vec<_>>().join(" ");
        assert_eq!(
            (transcript.text.as_str(), transcript.language.as_str()),
            (joined.as_str(), *language),
            "{name}"
        );
        assert_eq!(transcript.confidence > 0.0, !words.is_empty(), "{name}");
        assert_eq!(server.requests().len(), 1, "{name}");
    }
}

/// A name, what the server does at each connection, the requests it gets, and what comes of it.
type Retried = (&'static str, Vec<Vec<Step>>, usize, Result<(), &'static str>);

#[tokio::test]
async fn asks_again_only_where_it_is_worth_it() {
    let good = || ok(r#"{"text":"yes"}"#);
    let message = r#"{"error":{"message":"what I say","code":"some_code"}}"#;
    let refused = |status: &str| response(status, "", message);
    let cases: Vec<Retried> = vec![
        ("500 then 200", vec![refused("500 Internal Server Error"), good()], 2, Ok(())),
        ("503 twice", vec![refused("503 Busy"), refused("503 Busy"), good()], 3, Ok(())),
        ("429 then 200", vec![refused("429 Too Many Requests"), good()], 2, Ok(())),
        ("closed at once", vec![vec![Step::Close], good()], 2, Ok(())),
        (
            "broken off in the body",
            vec![
                vec![Step::Send(b"HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n{\"te".to_vec()), Step::Close],
                good(),
            ],
            2,
            Ok(()),
        ),
        ("slow once", vec![vec![Step::Pause], good()], 2, Ok(())),
        ("slow always", vec![vec![Step::Pause]], 3, Err("the server did not answer within 300 ms")),
        (
            "500 always",
            vec![refused("500 Internal Server Error")],
            3,
            Err("the server refused: 500 Internal Server Error: what I say"),
        ),
        (
            "429 that wants a long pause",
            vec![response("429 Too Many Requests", "retry-after: 60\r\n", message)],
            1,
            Err("the server is rate limiting: 429 Too Many Requests: what I say"),
        ),
        (
            "429 for lack of money",
            vec![response(
                "429 Too Many Requests",
                "",
                r#"{"error":{"message":"pay","code":"insufficient_quota"}}"#,
            )],
            1,
            Err("the server is rate limiting: 429 Too Many Requests: pay"),
        ),
        (
            "400",
            vec![refused("400 Bad Request"), good()],
            1,
            Err("the server refused: 400 Bad Request: what I say"),
        ),
        (
            "400 in FastAPI's shape",
            vec![response("400 Bad Request", "", r#"{"detail":{"error":{"message":"unknown model"}}}"#)],
            1,
            Err("the server refused: 400 Bad Request: unknown model"),
        ),
        (
            "401, quoting the key",
            vec![response(
                "401 Unauthorized",
                "",
                r#"{"error":{"message":"bad key sk-secret","code":"invalid_api_key"}}"#,
            )],
            1,
            Err("the server refused the credentials: 401 Unauthorized, invalid_api_key"),
        ),
        (
            "403",
            vec![response("403 Forbidden", "", "<html>no</html>")],
            1,
            Err("the server refused the credentials: 403 Forbidden, no further reason"),
        ),
        (
            "422, quoting the key",
            vec![response("422 Unprocessable Entity", "", r#"{"error":"header Bearer sk-secret"}"#)],
            1,
            Err("its message is withheld, as it quotes the request"),
        ),
        (
            "422, quoting the vocabulary",
            vec![response(
                "422 Unprocessable Entity",
                "",
                r#"{"detail":[{"msg":"bad","input":"x"}],"message":"prompt: Kubernetes, Ada Lovelace."}"#,
            )],
            1,
            Err("its message is withheld, as it quotes the request"),
        ),
        (
            "a redirect",
            vec![response("307 Temporary Redirect", "location: /v2\r\n", "")],
            1,
            Err("the server refused: 307 Temporary Redirect"),
        ),
        (
            "not JSON",
            vec![ok("<html>hello</html>")],
            1,
            Err("the server answered something that is not JSON"),
        ),
        ("half of it", vec![ok(r#"{"text":"hal"#)], 1, Err("the server answered something that is not JSON")),
        ("no text", vec![ok(r#"{"task":"transcribe"}"#)], 1, Err("the server's answer has no text")),
        ("no object", vec![ok("[1, 2]")], 1, Err("the server's answer has no text")),
        (
            "a huge body",
            vec![ok(&format!("{{\"text\":\"{}\"}}", "x ".repeat(2 << 20)))],
            1,
            Err("the server sent more than a transcript can hold"),
        ),
    ];
    for (name, scripts, requests, expected) in cases {
        let server = SseServer::start_in_order(scripts).await;
        // Short only where it is to be met: on a busy machine it would be met everywhere.
        let slow = name.starts_with("slow");
        let speech_to = openai(server.base_url(), |config| {
            if slow {
                config.try_timeout = Duration::from_millis(300);
            }
        });
        let result = ask(&speech_to, speech()).await;
        match (&result, expected) {
            (Ok(transcript), Ok(())) => assert_eq!(transcript.text, "yes", "{name}"),
            (Err(TranscribeError::Failed(why)), Err(expected)) => assert_eq!(why, expected, "{name}"),
            _ => panic!("{name}: {result:?}"),
        }
        let shown = format!("{result:?}");
        assert!(!shown.contains("sk-secret"), "{name}: {shown}");
        assert_eq!(server.requests().len(), requests, "{name}");
    }
}

#[tokio::test]
async fn a_server_that_is_away_is_an_error_after_three_tries() {
    let port = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port();
    let away = openai(format!("http://127.0.0.1:{port}/v1"), |_| ());
    let result = ask(&away, speech()).await;
    assert!(
        matches!(&result, Err(TranscribeError::Failed(why)) if why.starts_with("the request failed: Connection refused")),
        "{result:?}"
    );
}

#[tokio::test]
async fn waits_as_long_as_the_server_wishes() {
    let scripts =
        vec![response("429 Too Many Requests", "retry-after: 1\r\n", "{}"), ok(r#"{"text":"yes"}"#)];
    let server = SseServer::start_in_order(scripts).await;
    let began = Instant::now();
    assert_eq!(ask(&openai(server.base_url(), |_| ()), speech()).await.unwrap().text, "yes");
    let waited = began.elapsed();
    assert!((Duration::from_secs(1)..Duration::from_secs(4)).contains(&waited), "{waited:?}");
}

#[tokio::test]
async fn all_tries_together_have_a_bound() {
    let server = SseServer::start(vec![Step::Pause]).await;
    let slow = openai(server.base_url(), |config| {
        config.try_timeout = Duration::from_millis(200);
        config.total_timeout = Duration::from_millis(500);
        config.retries = 100;
    });
    let result = ask(&slow, speech()).await;
    assert_eq!(result, Err(TranscribeError::Failed("there was no text within 500 ms".into())));
}

#[tokio::test]
async fn a_dropped_request_closes_its_connection() {
    let server = SseServer::start(vec![Step::Pause]).await;
    let speech_to = openai(server.base_url(), |_| ());
    // Never polled: the request is on its way all the same.
    let events = speech_to.transcribe(speech());
    while server.requests().is_empty() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    drop(events);
    // `Pause` ends when the client is gone.
    server.client_closed().await;
    // It counts no more.
    for _ in 0..100 {
        drop(speech_to.transcribe(speech()));
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test]
async fn what_costs_in_vain_is_not_sent() {
    let server = SseServer::start(ok(r#"{"text":"yes"}"#)).await;
    let speech_to = openai(server.base_url(), |config| config.max_speculative_requests_per_minute = 1);
    let with = |priority| TranscribeRequest { priority, ..speech() };
    assert!(!speech_to.serves(Priority::Interim));
    assert!(matches!(ask(&speech_to, with(Priority::Interim)).await, Err(TranscribeError::NotServed(_))));
    assert!(speech_to.serves(Priority::Speculative));
    assert!(ask(&speech_to, with(Priority::Speculative)).await.is_ok());
    assert!(!speech_to.serves(Priority::Speculative));
    assert!(matches!(ask(&speech_to, with(Priority::Speculative)).await, Err(TranscribeError::NotServed(_))));
    assert!(speech_to.serves(Priority::Final) && ask(&speech_to, speech()).await.is_ok());
    assert_eq!(server.requests().len(), 2);
    // Too short to hold a word, and too long to be a turn.
    assert_eq!(ask(&speech_to, request(vec![0.0; 1_599])).await.unwrap().text, "");
    let long = ask(&speech_to, request(vec![0.0; 16_000 * 65])).await;
    assert!(
        matches!(&long, Err(TranscribeError::Failed(why)) if why.starts_with("65 s of audio")),
        "{long:?}"
    );
    assert_eq!(server.requests().len(), 2);
    let paid = openai(server.base_url(), |config| config.interims = true);
    assert!(paid.serves(Priority::Interim) && ask(&paid, with(Priority::Interim)).await.is_ok());
}

#[tokio::test]
async fn more_than_it_can_hold_is_refused_at_once() {
    let server = SseServer::start(vec![Step::Pause, ok(r#"{"text":"yes"}"#).remove(0), Step::Close]).await;
    let speech_to = openai(server.base_url(), |config| {
        config.max_concurrent = 1;
        config.max_waiting = 1;
    });
    let (first, second) = (speech_to.transcribe(speech()), speech_to.transcribe(speech()));
    let third = ask(&speech_to, speech()).await;
    assert_eq!(third, Err(TranscribeError::Overloaded { waiting: 1, workers: 1 }));
    drop(second);
    while server.requests().is_empty() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let fourth = speech_to.transcribe(speech());
    server.go_on();
    assert!(matches!(first.collect::<Vec<_>>().await[..], [Ok(_)]));
    while server.requests().len() < 2 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    server.go_on();
    assert!(matches!(fourth.collect::<Vec<_>>().await[..], [Ok(_)]));
}

#[tokio::test]
async fn sends_what_servers_ask_for() {
    let server = SseServer::start(ok(r#"{"text":"yes"}"#)).await;
    let speech_to = openai(server.base_url(), |config| {
        config.organisation = Some("org-1".into());
        config.headers = vec![("x-team".into(), "blue".to_owned().into())];
    });
    ask(&speech_to, speech()).await.unwrap();
    let sent = server.requests().remove(0);
    let (head, body) = sent.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("POST /v1/audio/transcriptions HTTP/1.1\r\n"), "{head}");
    for line in ["authorization: Bearer sk-secret", "openai-organization: org-1", "x-team: blue"] {
        assert!(head.to_lowercase().contains(&line.to_lowercase()), "{line}: {head}");
    }
    let field = |name: &str, value: &str| {
        let part = format!("Content-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n");
        assert!(body.contains(&part), "{name}={value} is not in the form");
    };
    field("model", "whisper-1");
    field("language", "en");
    field("prompt", "Kubernetes, Ada Lovelace.");
    field("response_format", "verbose_json");
    field("timestamp_granularities[]", "word");
    field("timestamp_granularities[]", "segment");
    assert!(body.contains("name=\"file\"; filename=\"turn.wav\"\r\nContent-Type: audio/wav\r\n\r\nRIFF"));

    let newer = openai(server.base_url(), |config| {
        config.model = "gpt-4o-mini-transcribe".into();
        config.upload = UploadFormat::Opus;
    });
    let bare = TranscribeRequest { language: None, vocabulary: Arc::from([]), ..speech() };
    ask(&newer, bare).await.unwrap();
    let sent = server.requests().remove(1);
    assert!(
        sent.contains("name=\"response_format\"\r\n\r\njson\r\n")
            && sent.contains("name=\"include[]\"\r\n\r\nlogprobs")
    );
    assert!(sent.contains("filename=\"turn.ogg\"\r\nContent-Type: audio/ogg\r\n\r\nOggS"));
    for name in ["language", "prompt", "timestamp_granularities[]"] {
        assert!(!sent.contains(&format!("name=\"{name}\"")), "{name}");
    }
}

#[test]
fn unusable_configurations_are_refused() {
    let check = |change: fn(&mut OpenAiSpeechConfig), expected: ProviderConfigError| {
        let mut config = OpenAiSpeechConfig::default();
        change(&mut config);
        assert_eq!(OpenAiTranscriber::new(config).err(), Some(expected));
    };
    check(|config| config.base_url = "models.example".into(), ProviderConfigError::BaseUrl);
    check(|config| config.base_url = "https://me:pw@models.example/v1".into(), ProviderConfigError::BaseUrl);
    check(|config| config.model = " ".into(), ProviderConfigError::Model);
    check(
        |config| config.api_key = Some("a\nb".to_owned().into()),
        ProviderConfigError::Header("authorization".into()),
    );
}

/// Real weights behind a real server, over the wire, in both upload formats; the local pool beside it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_real_server_writes_down_what_the_local_pool_does() {
    let Some(server) = tokio::task::spawn_blocking(WhisperServer::start).await.unwrap() else { return };
    let patient = |config: &mut OpenAiSpeechConfig| {
        config.try_timeout = Duration::from_secs(60);
        config.total_timeout = Duration::from_secs(120);
    };
    let wav = openai(server.base_url(), patient);
    let opus = openai(server.base_url(), |config| {
        patient(config);
        config.upload = UploadFormat::Opus;
    });
    let local = InferencePool::load(weights("tiny.en"), PoolConfig::default()).unwrap();

    let silence = ask(&wav, request(vec![0.0; 16_000])).await.unwrap();
    assert_eq!(silence.text, "", "{silence:?}");

    let mut errors = [WordErrors::default(); 3];
    let all = recordings("librispeech_test_other");
    for recording in all.iter().take(8) {
        let asked = TranscribeRequest { vocabulary: Arc::from([]), ..request(recording.audio()) };
        let length_ms = (asked.audio.len() / 16) as u32;
        let events: Vec<_> = local.transcribe(asked.clone()).collect().await;
        let Some(Ok(TranscriptEvent::Final(here))) = events.last() else { panic!("{events:?}") };
        let transcripts =
            [here.clone(), ask(&wav, asked.clone()).await.unwrap(), ask(&opus, asked).await.unwrap()];
        for (errors, transcript) in errors.iter_mut().zip(&transcripts) {
            *errors = *errors + WordErrors::between(&recording.text, &transcript.text);
            let words: Vec<_> = transcript.words.iter().map(|word| word.text.as_str()).collect();
            assert_eq!(words.join(" "), transcript.text);
            assert!(
                transcript
                    .words
                    .iter()
                    .all(|word| word.start_ms <= word.end_ms && word.end_ms <= length_ms + 1)
            );
            assert!(transcript.confidence > 0.3 && transcript.confidence < 1.0, "{}", transcript.confidence);
        }
    }
    if all.is_empty() {
        return;
    }
    let [here, wav, opus] = errors.map(WordErrors::rate);
    println!(
        "WER local {:.1} %, server by WAV {:.1} %, by Opus {:.1} %",
        here * 100.0,
        wav * 100.0,
        opus * 100.0
    );
    assert!(wav <= here + 0.06 && opus <= here + 0.06, "local {here}, WAV {wav}, Opus {opus}");
}
