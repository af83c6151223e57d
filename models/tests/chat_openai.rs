//! `OpenAiChat` beside what every chat model does: what it sends, bounds, logs, cancels, and its connections.
//!
//! Not here: the conformance suite, and what it makes of what servers send (`chat_conformance.rs`).

#![allow(clippy::unwrap_used, reason = "a test says so by panicking")]

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use common::{
    conformance::{chunked, collect, events, request, response, sse, stream},
    openai::{PLAIN, TEXT, openai},
    sse_server::{SseServer, Step},
};
use futures_util::{FutureExt, StreamExt};
use models::chat::{
    AnswerDelta, AnswerEnd, ChatError, ChatModel, LOG_DIRECTIVE, OpenAiChat, OpenAiChatConfig, TokenUsage,
};

#[allow(dead_code)]
mod common {
    pub(crate) mod conformance;
    pub(crate) mod openai;
    pub(crate) mod sse_server;
}

/// Everything that is logged in the worst of cases, at the finest level.
#[tokio::test]
async fn openai_keeps_key_prompt_and_answer_out_of_the_log() {
    let lines = Arc::new(Mutex::new(Vec::new()));
    let (writer, filter) = (Arc::clone(&lines), format!("trace,{LOG_DIRECTIVE}"));
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(move || LogLines(Arc::clone(&writer)))
        .finish();
    let _logging = tracing::subscriber::set_default(subscriber);
    for steps in [
        vec![stream(&[TEXT, "the secret answer"])],
        vec![stream(&[TEXT, r#"{"error":"the secret answer"}"#])],
        vec![response("500 Oops", "the secret answer")],
        vec![response("400 Bad Request", r#"{"error":"the secret answer"}"#)],
    ] {
        let server = SseServer::start(steps).await;
        assert!(collect(&openai(&server, |_| ())).await.1.is_err());
    }
    let log = String::from_utf8_lossy(&lines.lock().unwrap()).into_owned();
    assert!(!log.is_empty(), "nothing was logged, so nothing was shown");
    for secret in ["secret", "migration"] {
        assert!(!log.contains(secret), "{secret} is in {log}");
    }
}

struct LogLines(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for LogLines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        std::io::Write::write(&mut *self.0.lock().unwrap(), bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn openai_lets_a_server_here_read_a_prompt_ahead() {
    let body =
        r#"{"choices":[{"message":{"content":"I"}}],"usage":{"prompt_tokens":7,"completion_tokens":1}}"#;
    let server = SseServer::start(vec![response("200 OK", body)]).await;
    let model = openai(&server, |config| config.logprobs = true);
    assert!(model.prefills(), "the server is on this machine");
    let usage = model.prefill(request()).await;
    assert_eq!(usage, Some(TokenUsage { prompt: 7, completion: 1 }));
    let sent = server.requests().remove(0);
    let (head, body) = sent.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("POST /v1/chat/completions"), "{head}");
    assert!(
        body.contains(r#""max_tokens":1,"#) && !body.contains("stream") && !body.contains("logprobs"),
        "{body}"
    );

    assert!(!openai(&server, |config| config.prefill = Some(false)).prefills());
    let elsewhere = openai(&server, |config| config.base_url = "https://models.example/v1".to_owned());
    assert!(!elsewhere.prefills(), "servers that may bill it are not asked");
    for steps in [vec![response("500 Oops", "{}")], vec![Step::Close], vec![response("200 OK", "nonsense")]] {
        let server = SseServer::start(steps).await;
        assert_eq!(openai(&server, |_| ()).prefill(request()).await, None);
    }
}

#[tokio::test]
async fn openai_bounds_what_it_reads() {
    let message = "too long ".repeat(4_000);
    let server = SseServer::start(vec![response("500 Oops", &format!(r#"{{"message":"{message}"}}"#))]).await;
    let (_, result) = collect(&openai(&server, |_| ())).await;
    // Cut at 8 KiB it is no JSON any more.
    assert_eq!(result, Err(ChatError::Provider("500 Internal Server Error".into())));

    let message = "too long ".repeat(400);
    let server = SseServer::start(vec![response("500 Oops", &format!(r#"{{"message":"{message}"}}"#))]).await;
    let Err(ChatError::Provider(shown)) = collect(&openai(&server, |_| ())).await.1 else {
        panic!("not refused")
    };
    assert_eq!((shown.len(), shown.starts_with("500 Internal Server Error: too long")), (300, true));

    let comments = ":\n".repeat(1 << 19);
    for endless in [vec![Step::Send(comments.into()); 17], vec![Step::Send(vec![b':'; 1 << 16]); 5]] {
        let server = SseServer::start([vec![stream(&[TEXT])], endless].concat()).await;
        let (texts, result) = collect(&openai(&server, |_| ())).await;
        let too_long = ChatError::Provider("it sends more than an answer can hold".into());
        assert_eq!((texts, result), (vec!["a".to_owned()], Err(too_long)));
        server.client_closed().await;
    }
}

#[tokio::test]
async fn openai_sends_what_it_is_asked() {
    let server = SseServer::start(vec![stream(PLAIN)]).await;
    let model = openai(&server, |config| {
        config.organisation = Some("org-7".into());
        config.headers = vec![("x-title".into(), "interview".to_owned().into())];
        config.logprobs = true;
    });
    collect(&model).await.1.unwrap();
    let sent = server.requests().remove(0);
    let (head, body) = sent.split_once("\r\n\r\n").unwrap();
    let head = head.to_lowercase();
    for line in [
        "post /v1/chat/completions http/1.1",
        "authorization: bearer sk-secret",
        "openai-organization: org-7",
        "x-title: interview",
    ] {
        assert!(head.lines().any(|sent| sent == line), "{line} is not in {head}");
    }
    let expected = r#"{"logprobs":true,"max_tokens":100,"messages":[{"content":"Answer from this CV: Led the migration of the ledger.","role":"system"},{"content":"Have you led a migration?","role":"user"}],"model":"asked-for","stream":true}"#;
    assert_eq!(body, expected);

    let server = SseServer::start(vec![stream(PLAIN)]).await;
    let unnamed = openai(&server, |config| {
        config.api_key = None;
        config.usage = true;
        config.thinking_tokens = 2_000;
    });
    collect(&unnamed).await.1.unwrap();
    let sent = server.requests().remove(0);
    assert!(sent.contains(r#""max_tokens":2100,"#), "{sent}");
    assert!(!sent.to_lowercase().contains("authorization"));
    assert!(sent.contains(r#""stream_options":{"include_usage":true}"#), "{sent}");
}

#[tokio::test]
async fn openai_reports_the_request_as_sent_before_any_answer_and_cancels_it_there() {
    let server = SseServer::start(vec![Step::Pause, stream(PLAIN)]).await;
    let model = openai(&server, |_| ());
    let mut stream = model.answer(request());
    assert_eq!(stream.next().await, Some(Ok(AnswerDelta::RequestSent)));
    assert!(stream.next().now_or_never().is_none(), "the server has not answered yet");
    server.go_on();
    assert_eq!(stream.next().await, Some(Ok(AnswerDelta::Text("Hel".into()))));
    drop(stream);
    server.client_closed().await;

    let mut stream = model.answer(request());
    assert_eq!(stream.next().await, Some(Ok(AnswerDelta::RequestSent)));
    drop(stream);
    server.client_closed().await;
}

/// The first connection takes all: another one would be told that it is the second.
#[tokio::test]
async fn openai_warms_a_connection_and_keeps_it_from_answer_to_answer() {
    let answer = || {
        // The end of the body comes by itself, after [DONE] was read.
        let bytes = chunked(&events(PLAIN), 1_000);
        [Step::Send(bytes), Step::Pause, Step::Send(b"0\r\n\r\n".into())]
    };
    let models = response("200 OK", r#"{"object":"list","data":[]}"#);
    let only = [&[models, Step::NextRequest][..], &answer(), &[Step::NextRequest], &answer(), &[Step::Pause]]
        .concat();
    let server =
        SseServer::start_in_order(vec![only, vec![response("500 Oops", r#"{"error":"the second"}"#)]]).await;
    let model = openai(&server, |_| ());
    // At once and soon again is once.
    tokio::join!(model.warm(), model.warm());
    model.warm().await;
    for _ in 0..2 {
        let (texts, end) = collect(&model).await;
        assert_eq!((texts.concat().as_str(), end), ("Hello", Ok(AnswerEnd::new("stop", "m-1"))));
        server.go_on();
        // Nobody tells when the connection lies ready again.
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    model.warm().await;
    let requests = server.requests();
    let lines: Vec<_> = requests.iter().map(|request| request.lines().next().unwrap()).collect();
    let post = "POST /v1/chat/completions HTTP/1.1";
    assert_eq!(lines, ["GET /v1/models HTTP/1.1", post, post]);
    assert!(requests[0].contains("Bearer sk-secret"));
}

/// The connection of such an answer is not used again.
#[tokio::test]
async fn openai_is_not_warm_after_an_answer_whose_end_never_came() {
    let silent = vec![Step::Send(sse(&PLAIN[..3]))];
    let models = vec![response("200 OK", "{}")];
    let server = SseServer::start_in_order(vec![silent, models]).await;
    let model = openai(&server, |_| ());
    assert_eq!(collect(&model).await.1, Ok(AnswerEnd::new("stop", "m-1")));
    model.warm().await;
    let requests = server.requests();
    assert!(requests.len() == 2 && requests[1].starts_with("GET /v1/models"), "{requests:?}");
}

/// Neither a refusal nor silence nor an endless answer is anybody's business.
#[tokio::test]
async fn openai_gives_up_warming() {
    for (steps, is_warm) in [
        (vec![Step::Close], false),
        // Whatever it answers, the connection is open.
        (vec![response("404 Not Found", "{}")], true),
        (vec![Step::Send(sse(&[])), Step::Send(vec![b'x'; 2 << 20])], false),
    ] {
        let server = SseServer::start(steps).await;
        let model = openai(&server, |_| ());
        model.warm().await;
        assert_eq!(server.requests().len(), 1);
        model.warm().await;
        assert_eq!(server.requests().len(), if is_warm { 1 } else { 2 }, "no connection, no warmth");
    }
    let server = SseServer::start(vec![]).await;
    let model = openai(&server, |_| ());
    assert!(tokio::time::timeout(Duration::from_millis(50), model.warm()).await.is_err());
    server.client_closed().await;
    assert!(model.warm().now_or_never().is_none(), "the one that was dropped is still under way");
}

#[tokio::test]
async fn openai_says_when_nobody_listens() {
    let server = SseServer::start(vec![]).await;
    let free = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let model = openai(&server, |config| config.base_url = format!("http://{free}/v1"));
    let (_, result) = collect(&model).await;
    let Err(ChatError::Provider(message)) = result else { panic!("{result:?}") };
    assert!(message.starts_with("the request failed: ") && message.contains("refused"), "{message}");
}

#[test]
fn openai_refuses_an_unusable_configuration() {
    let check = |change: fn(&mut OpenAiChatConfig), expected: &str| {
        let mut config = OpenAiChatConfig::new("m");
        change(&mut config);
        let shown = format!("{config:?}");
        let error = OpenAiChat::new(config).err().map(|error| error.to_string()).unwrap_or_default();
        assert_eq!(error, expected, "{shown}");
        assert!(!shown.contains("s3cret"), "{shown}");
    };
    let url = "the base URL of the model provider is not a plain http(s) URL";
    let header = "the header authorization of the model provider cannot be sent: it has characters a header may not have";
    check(|_| (), "");
    check(|config| config.base_url = "http://[::1]:8080/v1/".into(), "");
    check(|config| config.api_key = Some("s3cret".to_owned().into()), "");
    check(|config| config.base_url = "localhost:8080".into(), url);
    check(|config| config.base_url = "ftp://localhost".into(), url);
    check(|config| config.base_url = "http://user:s3cret@localhost".replace("s3cret", "x"), url);
    check(|config| config.base_url = "http://localhost/?key=1".into(), url);
    check(|config| config.model = " ".into(), "the model provider needs a model name");
    check(|config| config.api_key = Some("s3cret\n".to_owned().into()), header);
    check(
        |config| config.headers = vec![("a b".into(), "s3cret".to_owned().into())],
        "the header a b of the model provider cannot be sent: it has characters a header may not have",
    );
}
