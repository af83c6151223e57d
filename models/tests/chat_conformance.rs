//! One suite for every chat model: scripted, notes, chains and caches of them, and an OpenAI-compatible one over a scripted and a
//! real server. Anthropic's API has a file of its own.

#![allow(clippy::unwrap_used, reason = "a test says so by panicking")]

use std::{
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
use futures_util::{FutureExt, StreamExt};
use models::chat::{
    AnswerCache, AnswerDelta, AnswerEnd, Cached, ChatError, ChatMessage, ChatModel, ChatRequest, ChatRole,
    Fallback, LOG_DIRECTIVE, Link, Notes, OpenAiChat, OpenAiChatConfig, ScriptedChat, ScriptedDelta,
    TokenUsage,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::Instant,
};

mod common {
    pub(crate) mod conformance;
    pub(crate) mod llm_server;
    pub(crate) mod sse_server;
}

#[tokio::test]
async fn scripted_conforms() {
    let model =
        ScriptedChat::new([ScriptedDelta::Text("Yes, ".into()), ScriptedDelta::Text("I have.".into())]);
    conforms(&model, request()).await;

    let model = ScriptedChat::new([ScriptedDelta::Text("Yes".into()), ScriptedDelta::Hang]);
    drop_after_first_text(&model, request()).await;
    assert_eq!(model.cancelled(), 1);
}

#[tokio::test]
async fn chains_and_caches_conform() {
    let says = |model: ScriptedChat| Link::new(Arc::new(model));
    let yes = ScriptedChat::new([ScriptedDelta::Text("Yes, I have.".into())]);
    conforms(&Fallback::new(says(yes.clone()), [], REST), request()).await;

    let cached = Cached::new(yes.clone(), "yes", AnswerCache::new(1 << 20, REST));
    let remembered = ChatRequest { context: Some([1; 32]), ..request() };
    assert!(!conforms(&cached, remembered.clone()).await.cached);
    assert!(conforms(&cached, remembered.clone()).await.cached);
    drop_after_first_text(&cached, remembered).await;

    let hangs = ScriptedChat::new([ScriptedDelta::Text("Yes".into()), ScriptedDelta::Hang]);
    let cached = Cached::new(hangs.clone(), "hangs", AnswerCache::new(1 << 20, REST));
    let chain = Fallback::new(Link::new(Arc::new(cached)), [says(yes)], REST);
    drop_after_first_text(&chain, request()).await;
    assert_eq!(hangs.cancelled(), 1);
}

#[tokio::test]
async fn notes_conform() {
    let notes = Notes::new();
    let end = conforms(&notes, request()).await;
    assert_eq!(end, AnswerEnd::new("stop", "notes"));

    let request = request();
    let sources = Arc::clone(&request.sources);
    drop_after_first_text(&notes, request).await;
    assert_eq!(Arc::strong_count(&sources), 1, "a dropped answer still holds the CV");
}

#[tokio::test]
async fn openai_conforms_over_a_scripted_server() {
    let server = SseServer::start(vec![stream(PLAIN)]).await;
    conforms(&openai(&server, |_| ()), request()).await;

    let server = SseServer::start(vec![stream(&PLAIN[..2]), Step::Pause]).await;
    drop_after_first_text(&openai(&server, |_| ()), request()).await;
    server.client_closed().await;
}

#[tokio::test]
async fn openai_conforms_over_a_real_server() {
    let Some(server) = tokio::task::spawn_blocking(LlmServer::start).await.unwrap() else { return };
    let model = OpenAiChat::new(OpenAiChatConfig {
        base_url: server.base_url(),
        logprobs: true,
        ..OpenAiChatConfig::new("smollm2")
    })
    .unwrap();
    let end = conforms(&model, ChatRequest { max_tokens: 24, ..request() }).await;
    assert!(["stop", "length"].contains(&end.finish_reason.as_str()), "{end:?}");
    assert!(end.confidence.is_some_and(|confidence| confidence > 0.0 && confidence <= 1.0), "{end:?}");

    // Two thousand tokens would take half a minute; the server stops when the stream is dropped.
    let count = "Count from one to one thousand, one number a line, without leaving out any.";
    let messages = vec![ChatMessage { role: ChatRole::User, content: count.into() }];
    drop_after_first_text(&model, ChatRequest { messages, max_tokens: 2_000, ..request() }).await;
    let stopped = async {
        while is_busy(&server).await {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let start = Instant::now();
    tokio::time::timeout(Duration::from_secs(10), stopped).await.expect("the server still computes");
    println!("the server stopped {} ms after the stream was dropped", start.elapsed().as_millis());
}

/// Asks the real server whether it is computing an answer.
async fn is_busy(server: &LlmServer) -> bool {
    let host = server.address().strip_prefix("http://").unwrap();
    let mut socket = TcpStream::connect(host).await.unwrap();
    let head = format!("GET /slots HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
    socket.write_all(head.as_bytes()).await.unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).await.unwrap();
    assert!(answer.contains("\"is_processing\":"), "{answer}");
    answer.contains("\"is_processing\":true")
}

#[tokio::test]
async fn openai_reads_what_servers_send() {
    let end =
        |reason: &str, model: &str, confidence| Ok(AnswerEnd { confidence, ..AnswerEnd::new(reason, model) });
    let failed = |message: &str| Err(ChatError::Provider(message.into()));
    let refused = |message: &str| Err(ChatError::Refused(message.into()));
    let limited = |message: &str, seconds: Option<u64>| {
        let retry_after = seconds.map(Duration::from_secs);
        Err(ChatError::RateLimited { message: message.into(), retry_after })
    };
    let used = |prompt, completion| {
        let usage = Some(TokenUsage { prompt, completion });
        Ok(AnswerEnd { usage, ..AnswerEnd::new("stop", "asked-for") })
    };
    let cases: Vec<Case> = vec![
        ("plain", vec![stream(PLAIN)], &["Hel", "lo"], end("stop", "m-1", None)),
        (
            "CRLF",
            vec![Step::Send(
                String::from_utf8(sse(PLAIN)).unwrap().replace('\n', "\r\n").replace("\r\r", "\r").into(),
            )],
            &["Hel", "lo"],
            end("stop", "m-1", None),
        ),
        (
            "UTF-8 cut anywhere",
            sse(&[r#"{"choices":[{"delta":{"content":"Grüße 🎻"}}]}"#, FINISH, "[DONE]"])
                .into_iter()
                .map(|byte| Step::Send(vec![byte]))
                .collect(),
            &["Grüße 🎻"],
            end("stop", "asked-for", None),
        ),
        (
            "empty deltas, no choices, nulls",
            vec![stream(&[
                r#"{"model":"","choices":[{"delta":{"role":"assistant","content":""},"finish_reason":null}]}"#,
                r#"{"choices":[]}"#,
                r#"{"choices":null,"error":null}"#,
                r#"{"choices":[{"delta":{}}]}"#,
                r#"{"choices":[{"delta":{"content":"a"},"logprobs":null,"finish_reason":""}]}"#,
                r#"{"choices":[{"delta":{"reasoning_content":"hm"}}]}"#,
                r#"{"choices":[{"finish_reason":"length"}]}"#,
                r#"{"choices":[],"usage":{"total_tokens":"3"}}"#,
                "[DONE]",
            ])],
            &["a"],
            end("length", "asked-for", None),
        ),
        (
            "comments and event names",
            vec![Step::Send(
                [&sse(&[])[..], b": ping\n\nevent: message\nid: 1\n", &events(PLAIN)[..]].concat(),
            )],
            &["Hel", "lo"],
            end("stop", "m-1", None),
        ),
        (
            "reasoning_content",
            vec![stream(&[
                r#"{"choices":[{"delta":{"content":null,"reasoning_content":"They ask…"}}]}"#,
                r#"{"choices":[{"delta":{"content":"","reasoning":"so…"}}]}"#,
                TEXT,
                FINISH,
                "[DONE]",
            ])],
            &["a"],
            end("stop", "asked-for", None),
        ),
        (
            "a think block, cut anywhere",
            vec![stream(&[
                r#"{"choices":[{"delta":{"content":"\n<thi"}}]}"#,
                r#"{"choices":[{"delta":{"content":"nk>They ask…</"}}]}"#,
                r#"{"choices":[{"delta":{"content":"think>\n\n"}}]}"#,
                r#"{"choices":[{"delta":{"content":"I <"}}]}"#,
                r#"{"choices":[{"delta":{"content":"3 Rust <t"}}]}"#,
                FINISH,
                "[DONE]",
            ])],
            &["I ", "<3 Rust ", "<t"],
            end("stop", "asked-for", None),
        ),
        (
            "a think block and no more",
            vec![stream(&[
                r#"{"choices":[{"delta":{"content":"<think>They ask…"}}]}"#,
                r#"{"choices":[{"delta":{},"finish_reason":"length"}]}"#,
                "[DONE]",
            ])],
            &[],
            failed("it ended without any text (finish reason: length)"),
        ),
        ("usage at the end", vec![stream(&[TEXT, FINISH, USAGE, "[DONE]"])], &["a"], used(7, 3)),
        (
            "usage in each event",
            vec![stream(&[
                r#"{"choices":[{"delta":{"content":"a"}}],"usage":{"prompt_tokens":7,"completion_tokens":1}}"#,
                r#"{"choices":[{"delta":{},"finish_reason":"stop"}],"usage":{"prompt_tokens":7,"completion_tokens":3}}"#,
                r#"{"choices":[],"usage":null}"#,
                "[DONE]",
            ])],
            &["a"],
            used(7, 3),
        ),
        (
            "log-probabilities",
            vec![stream(&[
                r#"{"choices":[{"delta":{"content":"a"},"logprobs":{"content":[{"logprob":-0.5},{"logprob":-1.5}]}}]}"#,
                FINISH,
                "[DONE]",
            ])],
            &["a"],
            end("stop", "asked-for", Some((-1.0_f64).exp() as f32)),
        ),
        (
            "refusal",
            vec![stream(&[
                r#"{"choices":[{"delta":{"content":null,"refusal":"I can't."}}]}"#,
                FINISH,
                "[DONE]",
            ])],
            &["I can't."],
            end("stop", "asked-for", None),
        ),
        (
            "[DONE] without a reason",
            vec![stream(&[TEXT, "[DONE]"])],
            &["a"],
            end("unknown", "asked-for", None),
        ),
        (
            "a reason without [DONE]",
            vec![stream(&[TEXT, FINISH]), Step::Close],
            &["a"],
            end("stop", "asked-for", None),
        ),
        ("a reason, then silence", vec![stream(&[TEXT, FINISH])], &["a"], end("stop", "asked-for", None)),
        (
            "end without a reason",
            vec![stream(&[TEXT]), Step::Close],
            &["a"],
            failed("it broke off in the middle of the answer"),
        ),
        (
            "nothing at all",
            vec![stream(&[]), Step::Close],
            &[],
            failed("it broke off in the middle of the answer"),
        ),
        (
            "end in mid-event",
            vec![Step::Send([&sse(&[TEXT])[..], b"data: {\"choices\""].concat()), Step::Close],
            &["a"],
            failed("it broke off in the middle of the answer"),
        ),
        (
            "end in mid-chunk",
            vec![Step::Send(chunked(&events(&[TEXT]), 7)), Step::Close],
            &["a"],
            failed("it broke off: unexpected EOF during chunk size line"),
        ),
        (
            "no text",
            vec![stream(&[r#"{"choices":[{"delta":{},"finish_reason":"length"}]}"#, "[DONE]"])],
            &[],
            failed("it ended without any text (finish reason: length)"),
        ),
        ("no JSON", vec![stream(&[TEXT, "<oops>"])], &["a"], failed("it sent an event that is not JSON")),
        (
            "no event stream",
            vec![response("200 OK", r#"{"choices":[{"message":{"content":"a"}}]}"#), Step::Close],
            &[],
            failed("it broke off in the middle of the answer"),
        ),
        (
            "error in mid-stream",
            vec![stream(&[TEXT, r#"{"error":{"message":"GPU on fire","type":"server_error","code":500}}"#])],
            &["a"],
            failed("GPU on fire"),
        ),
        (
            "rate limit in mid-stream",
            vec![stream(&[TEXT, r#"{"error":{"message":"slow down","type":"rate_limit_error"}}"#])],
            &["a"],
            limited("slow down", None),
        ),
        (
            "429",
            vec![response("429 Too Many Requests", r#"{"error":{"message":"slow down","type":"requests"}}"#)],
            &[],
            limited("429 Too Many Requests: slow down", None),
        ),
        (
            "429 with Retry-After",
            vec![Step::Send(
                b"HTTP/1.1 429 Too Many Requests\r\nretry-after: 7\r\ncontent-length: 0\r\n\r\n".into(),
            )],
            &[],
            limited("429 Too Many Requests", Some(7)),
        ),
        ("413", vec![response("413 Payload Too Large", "")], &[], refused("413 Payload Too Large")),
        (
            "422",
            vec![response("422 Unprocessable Entity", r#"{"detail":[{"msg":"extra field"}]}"#)],
            &[],
            refused("422 Unprocessable Entity: extra field"),
        ),
        (
            "filtered before any text",
            vec![stream(&[r#"{"choices":[{"delta":{},"finish_reason":"content_filter"}]}"#, "[DONE]"])],
            &[],
            refused("it ended without any text (finish reason: content_filter)"),
        ),
        (
            "401, quoting the key",
            vec![response(
                "401 Unauthorized",
                r#"{"error":{"message":"Incorrect API key provided: sk-secret","code":"invalid_api_key"}}"#,
            )],
            &[],
            Err(ChatError::Unauthorised("401 Unauthorized, invalid_api_key".into())),
        ),
        (
            "403",
            vec![response("403 Forbidden", "<html>no</html>")],
            &[],
            Err(ChatError::Unauthorised("403 Forbidden, no further reason".into())),
        ),
        (
            "400, quoting the key",
            vec![response("400 Bad Request", r#"{"error":"bad header Bearer sk-secret"}"#)],
            &[],
            refused("its message is withheld, as it quotes the request"),
        ),
        (
            "400, quoting the prompt",
            vec![response(
                "400 Bad Request",
                r#"{"detail":"input: [{'content': 'Led the migration of the led"}"#,
            )],
            &[],
            refused("its message is withheld, as it quotes the request"),
        ),
        (
            "404, other shape",
            vec![response("404 Not Found", r#"{"message":"no such model"}"#)],
            &[],
            failed("404 Not Found: no such model"),
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
    reads_what_servers_send("openai", cases, |server| openai(server, |_| ())).await;
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
    });
    collect(&unnamed).await.1.unwrap();
    let sent = server.requests().remove(0);
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

/// Neither a refusal nor silence nor an endless answer is anybody's business.
#[tokio::test]
async fn openai_gives_up_warming() {
    for steps in [
        vec![Step::Close],
        vec![response("404 Not Found", "{}")],
        vec![Step::Send(sse(&[])), Step::Send(vec![b'x'; 2 << 20])],
    ] {
        openai(&SseServer::start(steps).await, |_| ()).warm().await;
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

fn openai(server: &SseServer, change: impl FnOnce(&mut OpenAiChatConfig)) -> OpenAiChat {
    let mut config = OpenAiChatConfig {
        base_url: server.base_url(),
        api_key: Some("sk-secret".to_owned().into()),
        ..OpenAiChatConfig::new("asked-for")
    };
    change(&mut config);
    OpenAiChat::new(config).unwrap()
}

const REST: Duration = Duration::from_secs(30);
const TEXT: &str = r#"{"choices":[{"delta":{"content":"a"}}]}"#;
const USAGE: &str = r#"{"choices":[],"usage":{"prompt_tokens":7,"completion_tokens":3,"total_tokens":10}}"#;
const FINISH: &str = r#"{"choices":[{"delta":{},"finish_reason":"stop"}]}"#;
const PLAIN: &[&str] = &[
    r#"{"model":"m-1","choices":[{"index":0,"delta":{"role":"assistant","content":"Hel"},"finish_reason":null}]}"#,
    r#"{"model":"m-1","choices":[{"index":0,"delta":{"content":"lo"},"finish_reason":null}]}"#,
    r#"{"model":"m-1","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}"#,
    "[DONE]",
];
