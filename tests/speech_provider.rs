//! The real binary with speech recognition by a server over the wire, and with this machine in its place.
//!
//! Not here: what a server may answer (`models/tests/speech_openai.rs`), which settings are wrong (`src/settings.rs`).
#![allow(clippy::unwrap_used)]

use std::{process::Output, time::Duration};

use sse_server::{SseServer, Step};
use tokio::process::Command;

#[path = "../models/tests/common/sse_server.rs"]
#[allow(dead_code)]
mod sse_server;

/// Writes the sample interview down; `base_url` is the transcription server.
async fn transcribe(base_url: &str, fallback: &str) -> Output {
    let run = Command::new(env!("CARGO_BIN_EXE_interviewai"))
        .args(["transcribe", concat!(env!("CARGO_MANIFEST_DIR"), "/samples/interview.flac")])
        .env("INTERVIEWAI_SPEECH__PROVIDER", "openai")
        .env("INTERVIEWAI_SPEECH__BASE_URL", base_url)
        .env("INTERVIEWAI_SPEECH__API_KEY", "sk-secret")
        .env("INTERVIEWAI_SPEECH__FALLBACK", fallback)
        .env("INTERVIEWAI_SPEECH__RETRIES", "0")
        .env("INTERVIEWAI_SPEECH__WEIGHTS", "tiny.en")
        .kill_on_drop(true)
        .output();
    tokio::time::timeout(Duration::from_secs(300), run).await.expect("it never ended").unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn answer(status: &str, body: &str) -> Vec<Step> {
    let length = body.len();
    let head = format!("HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}");
    vec![Step::Send(head.into_bytes()), Step::Close]
}

#[tokio::test]
async fn a_server_writes_down() {
    let server = SseServer::start(answer("200 OK", r#"{"text":"What the server heard."}"#)).await;
    let output = transcribe(&server.base_url(), "none").await;
    assert!(output.status.success(), "{}", text(&output.stderr));
    let written = text(&output.stdout);
    assert!(written.contains("What the server heard."), "{written}");
    // No interim text was paid for: at most a guess and a final for each of the few turns.
    let (turns, requests) = (written.matches("What the server heard.").count(), server.requests());
    assert!((2..=2 * turns + 4).contains(&requests.len()), "{} requests for {turns} turns", requests.len());
    assert!(requests[0].contains("Bearer sk-secret") && requests[0].contains("RIFF"));
}

#[tokio::test]
async fn this_machine_takes_over_when_the_server_fails() {
    let server = SseServer::start(answer("500 Oops", r#"{"error":"sk-secret is bad"}"#)).await;
    let output = transcribe(&server.base_url(), "local").await;
    assert!(output.status.success(), "{}", text(&output.stderr));
    let (written, said) = (text(&output.stdout), text(&output.stderr));
    assert!(written.to_lowercase().contains("latency"), "{written}");
    assert_eq!(said.matches("another recogniser writes for now").count(), 1, "{said}");
    assert!(!said.contains("sk-secret"), "{said}");
    // After the first failures it is left in peace.
    assert!((1..=8).contains(&server.requests().len()), "{} requests", server.requests().len());
}

#[tokio::test]
async fn without_a_fallback_the_reason_is_told() {
    let server =
        SseServer::start(answer("401 No", r#"{"error":{"message":"sk-secret","code":"invalid_api_key"}}"#))
            .await;
    let output = transcribe(&server.base_url(), "none").await;
    assert!(!output.status.success());
    let said = text(&output.stderr);
    assert!(said.contains("invalid_api_key") && !said.contains("sk-secret"), "{said}");
}
