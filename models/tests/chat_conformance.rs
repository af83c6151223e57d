//! One suite for every chat model: scripted, notes, chains and caches of them, and an OpenAI-compatible one over a scripted and a
//! real server. Anthropic's API has a file of its own.

#![allow(clippy::unwrap_used, reason = "a test says so by panicking")]

use std::{sync::Arc, time::Duration};

use common::{
    conformance::{
        Case, chunked, conforms, drop_after_first_text, events, reads_what_servers_send, request, response,
        sse, stream,
    },
    llm_server::LlmServer,
    openai::{FINISH, PLAIN, TEXT, USAGE, openai},
    sse_server::{SseServer, Step},
};
use models::chat::{
    AnswerCache, AnswerEnd, Cached, ChatError, ChatMessage, ChatRequest, ChatRole, Fallback, Link, Notes,
    OpenAiChat, OpenAiChatConfig, ScriptedChat, ScriptedDelta, TokenUsage,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::Instant,
};

#[allow(dead_code)]
mod common {
    pub(crate) mod conformance;
    pub(crate) mod llm_server;
    pub(crate) mod openai;
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

    let hangs = ScriptedChat::new([ScriptedDelta::Text("Yes".into()), ScriptedDelta::Hang]);
    let cached = Cached::new(hangs.clone(), "hangs", AnswerCache::new(1 << 20, REST));
    drop_after_first_text(&cached, remembered.clone()).await;
    assert_eq!(hangs.cancelled(), 1, "the work ends with the stream");
    drop_after_first_text(&cached, remembered).await;
    assert_eq!((hangs.requests().len(), hangs.cancelled()), (2, 2), "half an answer is not remembered");
    let chain = Fallback::new(Link::new(Arc::new(cached)), [says(yes)], REST);
    drop_after_first_text(&chain, request()).await;
    assert_eq!(hangs.cancelled(), 3);
}

#[tokio::test]
async fn notes_conform() {
    let notes = Notes::new();
    let end = conforms(&notes, request()).await;
    let usage = Some(TokenUsage { prompt: 0, completion: 0 });
    assert_eq!(end, AnswerEnd { usage, ..AnswerEnd::new("stop", "notes") }, "nothing is to be paid");

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
    let thought_only = || {
        refused(
            "it ended without any text (finish reason: length); a model that thinks first needs answers.thinking_tokens",
        )
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
            "byte-order mark",
            vec![Step::Send([&sse(&[])[..], MARK, &events(PLAIN)[..]].concat())],
            &["Hel", "lo"],
            end("stop", "m-1", None),
        ),
        (
            "byte-order mark, cut anywhere",
            [&sse(&[])[..], MARK, &events(PLAIN)[..]]
                .concat()
                .into_iter()
                .map(|byte| Step::Send(vec![byte]))
                .collect(),
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
            thought_only(),
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
            vec![stream(&[FINISH, "[DONE]"])],
            &[],
            failed("it ended without any text (finish reason: stop)"),
        ),
        (
            "cut before any text",
            vec![stream(&[r#"{"choices":[{"delta":{},"finish_reason":"length"}]}"#, "[DONE]"])],
            &[],
            thought_only(),
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
            "429 in mid-stream, as a number",
            vec![stream(&[r#"{"error":{"message":"slow down","code":429}}"#])],
            &[],
            limited("slow down", None),
        ),
        (
            "429 in mid-stream, as text",
            vec![stream(&[r#"{"error":{"message":"slow down","type":"x","code":"rate_limit_exceeded"}}"#])],
            &[],
            limited("slow down", None),
        ),
        (
            "wrong key in mid-stream, quoting it",
            vec![stream(&[
                r#"{"error":{"message":"Incorrect API key: sk-secret","code":"invalid_api_key"}}"#,
            ])],
            &[],
            Err(ChatError::Unauthorised("invalid_api_key".into())),
        ),
        (
            "401 in mid-stream",
            vec![stream(&[r#"{"error":{"message":"no","code":401}}"#])],
            &[],
            Err(ChatError::Unauthorised("no further reason".into())),
        ),
        (
            "403 in mid-stream",
            vec![stream(&[r#"{"error":{"message":"no","type":"permission_error","code":"403"}}"#])],
            &[],
            Err(ChatError::Unauthorised("403".into())),
        ),
        (
            "prompt too long, in mid-stream",
            vec![stream(&[
                r#"{"error":{"message":"8,192 tokens at most","code":"context_length_exceeded"}}"#,
            ])],
            &[],
            refused("8,192 tokens at most"),
        ),
        (
            "400 in mid-stream",
            vec![stream(&[r#"{"error":{"message":"no such field","code":400}}"#])],
            &[],
            refused("no such field"),
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

/// UTF-8's byte-order mark.
const MARK: &[u8] = "\u{feff}".as_bytes();
const REST: Duration = Duration::from_secs(30);
