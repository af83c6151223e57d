//! The control: the upstream's own tokens, read by a bare HTTP client. What it takes, no engine can save.
//!
//! Not here: the engine's way (`session`).

use std::time::Duration;

use http_body_util::{BodyExt as _, Full};
use hyper::{Request, body::Bytes, client::conn::http1, header};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use crate::{
    session::Script,
    upstream::{Tokens, Upstream, ms_between, now_us, question},
};

/// What one bare client measured.
#[derive(Default)]
pub(crate) struct Direct {
    /// From the request in memory to its last byte read by the upstream, over an open connection.
    pub(crate) request_ms: Vec<f64>,
    /// Age of each token when its piece of the HTTP body had been read.
    pub(crate) token_ms: Vec<f64>,
}

/// Asks as many questions as `script` has, with its pauses, over one connection. `first` is the number of the first.
pub(crate) async fn ask(upstream: Upstream, script: Script, first: u64, busy: Duration) -> Direct {
    tokio::time::sleep(script.offset).await;
    let socket = TcpStream::connect(upstream.address).await.expect("the upstream accepts");
    socket.set_nodelay(true).expect("the socket is open");
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(socket)).await.expect("a connection without TLS has no handshake");
    let connection = tokio::spawn(connection);
    let mut direct = Direct::default();
    for id in (first..).take(script.questions) {
        let began = tokio::time::Instant::now();
        // About as long as the engine's prompt.
        let prompt = format!("{}{}", "x".repeat(PROMPT_BYTES), question(id));
        let request = Request::post("/v1/chat/completions")
            .header(header::HOST, "upstream")
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::new(Bytes::from(prompt)))
            .expect("two headers, and they are valid");
        let asked_us = now_us();
        let mut response = sender.send_request(request).await.expect("the upstream answers").into_body();
        let mut tokens = Tokens::default();
        while let Some(frame) = response.frame().await {
            let Ok(data) = frame.expect("the upstream goes on").into_data() else { continue };
            tokens.ages(content(&data), &mut direct.token_ms);
        }
        let arrival = upstream.arrival(id).expect("the upstream has answered");
        if !arrival.cold {
            direct.request_ms.push(ms_between(asked_us, arrival.at_us));
        }
        tokio::time::sleep_until(began + busy + script.pause).await;
    }
    drop(sender);
    let _ = connection.await;
    direct
}

/// The text of an event, found without parsing it.
fn content(event: &[u8]) -> &str {
    let event = std::str::from_utf8(event).unwrap_or_default();
    event.split_once(r#""content":""#).and_then(|(_, rest)| rest.split('"').next()).unwrap_or_default()
}

/// Rules, the sample CV and a question.
const PROMPT_BYTES: usize = 4_000;
