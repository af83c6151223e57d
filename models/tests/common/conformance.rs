//! What every chat model does, and a table of what servers send with what comes of it.
//!
//! Not here: any provider's own events.

use std::time::Instant;

use futures_util::StreamExt;
use models::chat::{
    AnswerDelta, AnswerEnd, ChatError, ChatMessage, ChatModel, ChatRequest, ChatRole, SourceLine,
};

use super::sse_server::{SseServer, Step};

/// What every model does: `RequestSent`, texts, `Done`, and nothing before it is polled or after its end.
pub(crate) async fn conforms(model: &dyn ChatModel, request: ChatRequest) -> AnswerEnd {
    assert!(!model.name().is_empty());
    drop(model.answer(request.clone()));
    let start = Instant::now();
    let mut first_text = None;
    let mut deltas = Vec::new();
    let mut stream = model.answer(request);
    while let Some(delta) = stream.next().await {
        let delta = delta.unwrap_or_else(|error| panic!("{}: {error} after {deltas:?}", model.name()));
        if matches!(delta, AnswerDelta::Text(_)) {
            first_text.get_or_insert(start.elapsed());
        }
        deltas.push(delta);
    }
    println!(
        "{}: first text after {:.1} ms",
        model.name(),
        first_text.unwrap_or_default().as_secs_f64() * 1e3
    );

    let [AnswerDelta::RequestSent, texts @ .., AnswerDelta::Done(end)] = deltas.as_slice() else {
        panic!("{}: {deltas:?}", model.name());
    };
    assert!(!texts.is_empty(), "{}: no text", model.name());
    for text in texts {
        assert!(matches!(text, AnswerDelta::Text(text) if !text.is_empty()), "{}: {text:?}", model.name());
    }
    assert!(!end.model.is_empty() && !end.finish_reason.is_empty(), "{}: {end:?}", model.name());
    end.clone()
}

pub(crate) async fn drop_after_first_text(model: &dyn ChatModel, request: ChatRequest) {
    let mut stream = model.answer(request);
    while !matches!(stream.next().await, Some(Ok(AnswerDelta::Text(_)))) {}
}

/// What is odd about it, what the server sends, the texts that come of it, and the end.
pub(crate) type Case = (&'static str, Vec<Step>, &'static [&'static str], Result<AnswerEnd, ChatError>);

/// Runs each case against a server of its own, and prints a line of the matrix for it: `provider | oddity | texts | outcome`.
pub(crate) async fn reads_what_servers_send<M: ChatModel>(
    provider: &str,
    cases: Vec<Case>,
    model: impl Fn(&SseServer) -> M,
) {
    for (oddity, steps, texts, outcome) in cases {
        let server = SseServer::start(steps).await;
        let (said, result) = collect(&model(&server)).await;
        println!("{provider} | {oddity} | {} | {}", said.join("·"), shown(&result));
        assert_eq!(said, texts, "{provider}, {oddity}");
        assert_eq!(result, outcome, "{provider}, {oddity}");
        assert_eq!(server.requests().len(), 1, "{provider}, {oddity}: nothing is retried here");
    }
}

fn shown(result: &Result<AnswerEnd, ChatError>) -> String {
    match result {
        Ok(AnswerEnd { finish_reason, confidence, usage, .. }) => {
            let confidence = confidence.map(|confidence| format!(", confidence {confidence:.2}"));
            let usage = usage.map(|usage| format!(", {} + {} tokens", usage.prompt, usage.completion));
            format!("{finish_reason}{}{}", confidence.unwrap_or_default(), usage.unwrap_or_default())
        }
        Err(ChatError::RateLimited { retry_after: Some(after), message }) => {
            format!("error: rate limited, again after {} s: {message}", after.as_secs_f64())
        }
        Err(error) => format!("error: {error}"),
    }
}

/// The texts of an answer, and how it ended.
pub(crate) async fn collect(model: &dyn ChatModel) -> (Vec<String>, Result<AnswerEnd, ChatError>) {
    let mut texts = Vec::new();
    let mut stream = model.answer(request());
    while let Some(delta) = stream.next().await {
        match delta {
            Ok(AnswerDelta::RequestSent) => assert!(texts.is_empty()),
            Ok(AnswerDelta::Text(text)) => texts.push(text),
            Ok(AnswerDelta::Done(end)) => return (texts, Ok(end)),
            Ok(AnswerDelta::By { name, .. }) => panic!("a single model says that {name} answers"),
            Err(error) => return (texts, Err(error)),
        }
    }
    panic!("no end after {texts:?}");
}

pub(crate) fn request() -> ChatRequest {
    let cv = "Led the migration of the ledger.";
    let question = "Have you led a migration?";
    ChatRequest {
        messages: vec![
            ChatMessage { role: ChatRole::System, content: format!("Answer from this CV: {cv}") },
            ChatMessage { role: ChatRole::User, content: question.into() },
        ],
        question: question.into(),
        sources: [SourceLine { number: 1, text: "Ada".into() }, SourceLine { number: 2, text: cv.into() }]
            .into(),
        max_tokens: 100,
        context: None,
    }
}

/// A response whose body lasts until the connection closes.
pub(crate) fn stream(data: &[&str]) -> Step {
    Step::Send(sse(data))
}

pub(crate) fn sse(data: &[&str]) -> Vec<u8> {
    let head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n";
    [&head[..], &events(data)[..]].concat()
}

pub(crate) fn events(data: &[&str]) -> Vec<u8> {
    data.iter().map(|data| format!("data: {data}\n\n")).collect::<String>().into_bytes()
}

/// A chunked response that lacks its last chunk.
pub(crate) fn chunked(body: &[u8], size: usize) -> Vec<u8> {
    let mut bytes =
        b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n".to_vec();
    for chunk in body.chunks(size) {
        bytes.extend(format!("{:x}\r\n", chunk.len()).bytes().chain(chunk.iter().copied()).chain(*b"\r\n"));
    }
    bytes
}

pub(crate) fn response(status: &str, body: &str) -> Step {
    let head = format!(
        "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    Step::Send((head + body).into())
}
