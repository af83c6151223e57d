//! `AnthropicChat` over scripted servers: the suite of every chat model, what it makes of what servers send, what it sends.
//!
//! Not here: time-outs and retries (`chat_fallback.rs`). The API's own server cannot be had in a test; llama.cpp speaks it.

#![allow(clippy::unwrap_used, reason = "a test says so by panicking")]

use std::{
    io::Write,
    sync::{Arc, Mutex},
    time::Duration,
};

use common::{
    conformance::{
        Case, chunked, collect, conforms, drop_after_first_text, events, reads_what_servers_send, request,
        response, sse, stream,
    },
    llm_server::LlmServer,
    sse_server::{SseServer, Step},
};
use models::chat::{
    AnswerEnd, AnthropicChat, AnthropicChatConfig, ChatError, ChatMessage, ChatModel, ChatRequest, ChatRole,
    TokenUsage,
};
use serde_json::{Value, json};

#[allow(dead_code)]
mod common {
    pub(crate) mod conformance;
    pub(crate) mod llm_server;
    pub(crate) mod sse_server;
}

fn anthropic(server: &SseServer) -> AnthropicChat {
    let config = AnthropicChatConfig {
        base_url: server.base_url().trim_end_matches("/v1").to_owned(),
        api_key: Some("sk-secret".to_owned().into()),
        headers: vec![("x-title".to_owned(), "interview".to_owned().into())],
        ..AnthropicChatConfig::new("asked-for")
    };
    AnthropicChat::new(config).unwrap()
}

#[tokio::test]
async fn anthropic_conforms_and_stops_when_dropped() {
    let server = SseServer::start(vec![stream(PLAIN)]).await;
    conforms(&anthropic(&server), request()).await;

    let server = SseServer::start(vec![stream(&PLAIN[..5]), Step::Pause]).await;
    drop_after_first_text(&anthropic(&server), request()).await;
    server.client_closed().await;
}

/// llama.cpp speaks this API too.
#[tokio::test]
async fn anthropic_conforms_over_a_real_server() {
    let Some(server) = tokio::task::spawn_blocking(LlmServer::start).await.unwrap() else { return };
    let base_url = server.address().to_owned();
    let config = AnthropicChatConfig { base_url, ..AnthropicChatConfig::new("smollm2") };
    let model = AnthropicChat::new(config).unwrap();
    model.warm().await;
    let short = ChatRequest { max_tokens: 24, ..request() };
    let end = conforms(&model, short.clone()).await;
    assert!(["stop", "length"].contains(&end.finish_reason.as_str()), "{end:?}");
    let usage = end.usage.unwrap();
    assert!((10..100).contains(&usage.prompt) && (1..=24).contains(&usage.completion), "{usage:?}");
    let again = conforms(&model, short).await.usage.unwrap();
    assert_eq!(again.prompt, usage.prompt, "what the server's cache had counts too");
}

#[tokio::test]
async fn anthropic_reads_what_servers_send() {
    let usage = Some(TokenUsage { prompt: 12, completion: 5 });
    let end = |reason: &str, model: &str, usage| Ok(AnswerEnd { usage, ..AnswerEnd::new(reason, model) });
    let whole = || end("stop", "m-1", usage);
    let failed = |message: &str| Err(ChatError::Provider(message.into()));
    let limited = |message: &str, seconds: Option<u64>| {
        let retry_after = seconds.map(Duration::from_secs);
        Err(ChatError::RateLimited { message: message.into(), retry_after })
    };
    let with = |at: usize, more: &[&'static str]| {
        let mut events = PLAIN.to_vec();
        events.splice(at..at, more.iter().copied());
        vec![stream(&events)]
    };
    let broken = "it broke off in the middle of the answer";
    let cases: Vec<Case> = vec![
        ("plain", vec![stream(PLAIN)], &["Hel", "lo"], whole()),
        ("named events", vec![Step::Send([sse(&[]), named(PLAIN)].concat())], &["Hel", "lo"], whole()),
        (
            "CRLF",
            vec![Step::Send(
                String::from_utf8(sse(PLAIN)).unwrap().replace('\n', "\r\n").replace("\r\r", "\r").into(),
            )],
            &["Hel", "lo"],
            whole(),
        ),
        (
            "byte-order mark",
            vec![Step::Send([&sse(&[])[..], "\u{feff}".as_bytes(), &named(PLAIN)[..]].concat())],
            &["Hel", "lo"],
            whole(),
        ),
        (
            "UTF-8 cut anywhere",
            sse(&[START, text_event!("Grüße 🎻"), END, STOP])
                .into_iter()
                .map(|byte| Step::Send(vec![byte]))
                .collect(),
            &["Grüße 🎻"],
            whole(),
        ),
        ("empty deltas", with(3, &[text_event!(""), text_event!("")]), &["Hel", "lo"], whole()),
        (
            "pings and comments",
            vec![Step::Send(
                [&sse(&[])[..], b": hello\n\n", &events(&[PING])[..], &events(PLAIN)[..]].concat(),
            )],
            &["Hel", "lo"],
            whole(),
        ),
        (
            "unknown events and blocks",
            with(
                1,
                &[r#"{"type":"news"}"#, r#"{"type":"content_block_start","content_block":{"type":"map"}}"#],
            ),
            &["Hel", "lo"],
            whole(),
        ),
        (
            "thinking block",
            with(
                1,
                &[
                    r#"{"type":"content_block_start","index":0,"content_block":{"type":"thinking","thinking":""}}"#,
                    r#"{"type":"content_block_delta","delta":{"type":"thinking_delta","thinking":"Hm, text?"}}"#,
                    r#"{"type":"content_block_delta","delta":{"type":"signature_delta","signature":"c2ln"}}"#,
                    r#"{"type":"content_block_stop","index":0}"#,
                ],
            ),
            &["Hel", "lo"],
            whole(),
        ),
        (
            "think tags in text",
            with(2, &[text_event!("<thi"), text_event!("nk>Hm.</think>")]),
            &["Hel", "lo"],
            whole(),
        ),
        (
            "tool use",
            with(
                5,
                &[
                    r#"{"type":"content_block_start","index":1,"content_block":{"type":"tool_use","id":"t","name":"n","input":{}}}"#,
                    r#"{"type":"content_block_delta","index":1,"delta":{"type":"input_json_delta","partial_json":"{\"a\""}}"#,
                ],
            ),
            &["Hel", "lo"],
            whole(),
        ),
        (
            "two text blocks, one begins with text",
            with(
                5,
                &[
                    r#"{"type":"content_block_start","index":1,"content_block":{"type":"text","text":" Ada"}}"#,
                    text_event!("."),
                ],
            ),
            &["Hel", "lo", " Ada", "."],
            whole(),
        ),
        (
            "prompt partly from the provider's cache",
            vec![stream(&[
                r#"{"type":"message_start","message":{"model":"m-1","usage":{"input_tokens":2,"cache_creation_input_tokens":3,"cache_read_input_tokens":7,"output_tokens":1}}}"#,
                text_event!("a"),
                END,
                STOP,
            ])],
            &["a"],
            whole(),
        ),
        ("no usage", vec![stream(&[text_event!("a"), STOP])], &["a"], end("unknown", "asked-for", None)),
        (
            "cut for length",
            vec![stream(&[START, text_event!("a"), end_event!("max_tokens"), STOP])],
            &["a"],
            end("length", "m-1", usage),
        ),
        (
            "refusal in mid-stream",
            vec![stream(&[START, text_event!("a"), end_event!("refusal"), STOP])],
            &["a"],
            end("content_filter", "m-1", usage),
        ),
        (
            "stop sequence",
            vec![stream(&[START, text_event!("a"), end_event!("stop_sequence"), STOP])],
            &["a"],
            whole(),
        ),
        (
            "no text",
            vec![stream(&[START, END, STOP])],
            &[],
            failed("it ended without any text (finish reason: stop)"),
        ),
        (
            "thoughts only",
            vec![stream(&[
                START,
                r#"{"type":"content_block_delta","delta":{"type":"thinking_delta","thinking":"Hm, text?"}}"#,
                end_event!("max_tokens"),
                STOP,
            ])],
            &[],
            Err(ChatError::Refused(
                "it ended without any text (finish reason: length); a model that thinks first needs answers.thinking_tokens"
                    .into(),
            )),
        ),
        (
            "refused without a word",
            vec![stream(&[START, end_event!("refusal"), STOP])],
            &[],
            Err(ChatError::Refused("it ended without any text (finish reason: content_filter)".into())),
        ),
        ("a reason without message_stop", vec![stream(&PLAIN[..7]), Step::Close], &["Hel", "lo"], whole()),
        ("a reason, then silence", vec![stream(&PLAIN[..7])], &["Hel", "lo"], whole()),
        ("message_stop, then silence", vec![stream(PLAIN)], &["Hel", "lo"], whole()),
        (
            "a reason, then nonsense",
            vec![Step::Send([&sse(&PLAIN[..7])[..], &[0xff; 100]].concat()), Step::Close],
            &["Hel", "lo"],
            whole(),
        ),
        ("end without a reason", vec![stream(&PLAIN[..6]), Step::Close], &["Hel", "lo"], failed(broken)),
        (
            "end in mid-event",
            vec![Step::Send([&sse(&PLAIN[..4])[..], b"data: {\"type\":"].concat()), Step::Close],
            &["Hel"],
            failed(broken),
        ),
        (
            "end in mid-chunk",
            vec![Step::Send(chunked(&events(&PLAIN[..4]), 7)), Step::Close],
            &["Hel"],
            failed("it broke off: unexpected EOF during chunk size line"),
        ),
        ("nothing at all", vec![stream(&[]), Step::Close], &[], failed(broken)),
        ("no JSON", vec![stream(&[START, "<oops>"])], &[], failed("it sent an event that is not JSON")),
        ("no event stream", vec![response("200 OK", r#"{"content":[]}"#), Step::Close], &[], failed(broken)),
        (
            "overlong line",
            [vec![stream(&[START, text_event!("a")])], vec![Step::Send(vec![b':'; 1 << 16]); 5]].concat(),
            &["a"],
            failed("it sends more than an answer can hold"),
        ),
        ("overloaded at once", vec![stream(&[error_event!("overloaded_error")])], &[], failed("oh")),
        (
            "overloaded in mid-stream",
            vec![stream(&[START, text_event!("a"), error_event!("overloaded_error")])],
            &["a"],
            failed("oh"),
        ),
        (
            "rate limit in mid-stream",
            vec![stream(&[START, text_event!("a"), error_event!("rate_limit_error")])],
            &["a"],
            limited("oh", None),
        ),
        (
            "invalid request in mid-stream",
            vec![stream(&[error_event!("invalid_request_error")])],
            &[],
            Err(ChatError::Refused("oh".into())),
        ),
        (
            "429 with Retry-After",
            vec![Step::Send(
                b"HTTP/1.1 429 Too Many Requests\r\nretry-after: 7\r\ncontent-length: 63\r\n\r\n\
                {\"type\":\"error\",\"error\":{\"type\":\"rate_limit_error\",\"message\":\"\"}}"
                    .into(),
            )],
            &[],
            limited("429 Too Many Requests", Some(7)),
        ),
        ("529", vec![response("529 Overloaded", error_event!("overloaded_error"))], &[], failed("529: oh")),
        (
            "401, quoting the key",
            vec![response(
                "401 Unauthorized",
                r#"{"type":"error","error":{"type":"authentication_error","message":"invalid x-api-key sk-secret"}}"#,
            )],
            &[],
            Err(ChatError::Unauthorised("401 Unauthorized, authentication_error".into())),
        ),
        (
            "400, quoting the prompt",
            vec![response(
                "400 Bad Request",
                r#"{"error":{"type":"invalid_request_error","message":"Led the migration of the led"}}"#,
            )],
            &[],
            Err(ChatError::Refused("its message is withheld, as it quotes the request".into())),
        ),
        ("502, HTML", vec![response("502 Bad Gateway", "<html>oops</html>")], &[], failed("502 Bad Gateway")),
        (
            "a redirect",
            vec![Step::Send(
                b"HTTP/1.1 307 Temporary Redirect\r\nlocation: /v2\r\ncontent-length: 0\r\n\r\n".into(),
            )],
            &[],
            failed("307 Temporary Redirect"),
        ),
    ];
    reads_what_servers_send("anthropic", cases, anthropic).await;
}

#[tokio::test]
async fn anthropic_sends_what_it_is_asked() {
    let server = SseServer::start(vec![stream(PLAIN)]).await;
    let say = |role, content: &str| ChatMessage { role, content: content.into() };
    let messages = vec![
        say(ChatRole::System, "Rules."),
        say(ChatRole::User, "The CV."),
        say(ChatRole::User, "Why?"),
        say(ChatRole::Assistant, "Because"),
    ];
    conforms(&anthropic(&server), ChatRequest { messages, ..request() }).await;
    let sent = server.requests().remove(0);
    let (head, body) = sent.split_once("\r\n\r\n").unwrap();
    let head = head.to_lowercase();
    for line in [
        "post /v1/messages http/1.1",
        "x-api-key: sk-secret",
        "anthropic-version: 2023-06-01",
        "content-type: application/json",
        "x-title: interview",
    ] {
        assert!(head.lines().any(|sent| sent == line), "{line} is not in {head}");
    }
    assert!(!head.contains("authorization"), "{head}");
    let text = |text: &str| json!({ "type": "text", "text": text });
    let expected = json!({
        "model": "asked-for",
        "max_tokens": 100,
        "stream": true,
        "system": "Rules.",
        "messages": [
            { "role": "user", "content": [text("The CV."), text("Why?")] },
            { "role": "assistant", "content": [text("Because")] },
        ],
    });
    assert_eq!(serde_json::from_str::<Value>(body).unwrap(), expected);

    let server = SseServer::start(vec![stream(PLAIN)]).await;
    let config = AnthropicChatConfig {
        base_url: server.base_url().trim_end_matches("/v1").to_owned(),
        thinking_tokens: 2_000,
        ..AnthropicChatConfig::new("thinks")
    };
    conforms(&AnthropicChat::new(config).unwrap(), request()).await;
    let sent = server.requests().remove(0);
    assert!(sent.contains(r#""max_tokens":2100,"#), "{sent}");
}

#[tokio::test]
async fn anthropic_opens_a_connection_ahead() {
    let models = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}".to_vec();
    let server = SseServer::start(vec![Step::Send(models)]).await;
    let model = anthropic(&server);
    model.warm().await;
    model.warm().await;
    let sent = server.requests();
    assert_eq!(sent.len(), 1, "what is warm is left alone");
    assert!(sent[0].starts_with("GET /v1/models HTTP/1.1\r\n"), "{}", sent[0]);
    assert!(sent[0].contains("x-api-key: sk-secret"));
}

/// The connection of such an answer is not used again.
#[tokio::test]
async fn anthropic_is_not_warm_after_an_answer_whose_end_never_came() {
    let silent = vec![stream(&PLAIN[..7])];
    let models = vec![response("200 OK", "{}")];
    let server = SseServer::start_in_order(vec![silent, models]).await;
    let model = anthropic(&server);
    assert_eq!(collect(&model).await.1.unwrap().finish_reason, "stop");
    model.warm().await;
    let requests = server.requests();
    assert!(requests.len() == 2 && requests[1].starts_with("GET /v1/models"), "{requests:?}");
}

/// Everything that is logged in the worst of cases, at the finest level.
#[tokio::test]
async fn anthropic_keeps_key_prompt_and_answer_out_of_the_log() {
    let lines = Arc::new(Mutex::new(Vec::new()));
    let writer = Arc::clone(&lines);
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter("trace")
        .with_writer(move || LogLines(Arc::clone(&writer)))
        .finish();
    let _logging = tracing::subscriber::set_default(subscriber);
    for steps in [
        vec![stream(&[START, text_event!("the secret answer"), "the secret answer"])],
        vec![stream(&[r#"{"type":"error","error":{"type":"x","message":"the secret answer"}}"#])],
        vec![response("500 Oops", "the secret answer")],
    ] {
        let server = SseServer::start(steps).await;
        assert!(collect(&anthropic(&server)).await.1.is_err());
    }
    let log = String::from_utf8_lossy(&lines.lock().unwrap()).into_owned();
    assert!(!log.is_empty(), "nothing was logged, so nothing was shown");
    for secret in ["secret", "migration"] {
        assert!(!log.contains(secret), "{secret} is in {log}");
    }
}

struct LogLines(Arc<Mutex<Vec<u8>>>);

impl Write for LogLines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        Write::write(&mut *self.0.lock().unwrap(), bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// As the API itself sends them.
fn named(data: &[&str]) -> Vec<u8> {
    let name = |data: &str| serde_json::from_str::<Value>(data).unwrap()["type"].as_str().unwrap().to_owned();
    data.iter().map(|data| format!("event: {}\ndata: {data}\n\n", name(data))).collect::<String>().into()
}

macro_rules! text_event {
    ($text:literal) => {
        concat!(
            r#"{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":""#,
            $text,
            r#""}}"#
        )
    };
}
macro_rules! end_event {
    ($reason:literal) => {
        concat!(
            r#"{"type":"message_delta","delta":{"stop_reason":""#,
            $reason,
            r#"","stop_sequence":null},"usage":{"output_tokens":5}}"#
        )
    };
}
macro_rules! error_event {
    ($kind:literal) => {
        concat!(r#"{"type":"error","error":{"type":""#, $kind, r#"","message":"oh"}}"#)
    };
}
use {end_event, error_event, text_event};

const START: &str = r#"{"type":"message_start","message":{"id":"msg_1","type":"message","role":"assistant","model":"m-1","content":[],"usage":{"input_tokens":12,"output_tokens":1}}}"#;
const PING: &str = r#"{"type":"ping"}"#;
const END: &str = end_event!("end_turn");
const STOP: &str = r#"{"type":"message_stop"}"#;
const PLAIN: &[&str] = &[
    START,
    r#"{"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}"#,
    PING,
    text_event!("Hel"),
    text_event!("lo"),
    r#"{"type":"content_block_stop","index":0}"#,
    END,
    STOP,
];
