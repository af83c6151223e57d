//! The listener over real sockets: who is let in, and what the others are told.

#[path = "support/harness.rs"]
#[allow(dead_code, reason = "the harness serves conversations too; this file uses its engine")]
mod harness;

use std::{net::SocketAddr, sync::Arc};

use engine::{ports::memory::SharedToken, server};
use futures_util::{SinkExt as _, StreamExt as _};
use harness::{Setup, start_message};
use protocol::ServerMessage;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};
use tokio_tungstenite::tungstenite::{Message, client::IntoClientRequest as _, http::HeaderValue};
use tokio_util::sync::CancellationToken;

const TOKEN: &str = "0123456789abcdef0123456789abcdef";
const HANDSHAKE: &str = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

async fn start(with_token: bool) -> (SocketAddr, CancellationToken, tokio::task::JoinHandle<()>) {
    let mut engine =
        Arc::into_inner(Setup::hearing("How would you test this?").engine()).expect("not shared yet");
    if with_token {
        engine.authorizer = Arc::new(SharedToken::new(TOKEN.into()));
    }
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("bound");
    let stop = CancellationToken::new();
    let origins: Arc<[String]> = Arc::from(["chrome-extension://abc".to_owned()]);
    let serving = tokio::spawn(server::serve(Arc::new(engine), listener, origins, stop.clone()));
    (address, stop, serving)
}

/// The status line and the rest of the answer to a raw request.
async fn ask(address: SocketAddr, path: &str, headers: &str) -> (u16, String) {
    let mut socket = TcpStream::connect(address).await.expect("the server listens");
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\n{headers}\r\n");
    socket.write_all(request.as_bytes()).await.expect("the server reads");
    let mut answer = vec![0; 4_096];
    let read = socket.read(&mut answer).await.expect("the server answers");
    let text = String::from_utf8_lossy(&answer[..read]).into_owned();
    let status = text.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or_default();
    (status, text)
}

#[tokio::test]
async fn who_is_let_in() {
    let (open, ..) = start(false).await;
    let (guarded, ..) = start(true).await;
    let check = async |address, path: &str, extra: &str, status: u16, says: &str| {
        let (answered, text) = ask(address, path, &format!("{HANDSHAKE}{extra}")).await;
        assert!(answered == status && text.contains(says), "{path} {extra}: {text}");
    };
    check(open, "/audio", "", 101, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=").await;
    check(open, "/audio", "Sec-WebSocket-Protocol: other, interviewai.v1\r\n", 101, "interviewai.v1").await;
    check(open, "/other", "", 404, "/audio").await;
    check(open, "/audio", "Origin: http://localhost:3000\r\n", 101, "").await;
    check(open, "/audio", "Origin: chrome-extension://abc\r\n", 101, "").await;
    check(open, "/audio", "Origin: https://evil.example\r\n", 403, "allowed_origins").await;
    check(open, "/audio?ticket=abc", "", 401, "tickets are not issued").await;
    check(guarded, "/audio", "", 401, "Authorization: Bearer").await;
    check(guarded, "/audio", "Authorization: Bearer wrong\r\n", 401, "not valid").await;
    check(guarded, "/audio", "Authorization: Basic YTpi\r\n", 401, "Bearer").await;
    check(guarded, "/audio?ticket=abc", "", 401, "tickets").await;
    check(guarded, "/audio", &format!("Authorization: Bearer {TOKEN}\r\n"), 101, "").await;
}

#[tokio::test]
async fn what_is_no_websocket_is_told_so() {
    let (address, ..) = start(false).await;
    let (status, text) = ask(address, "/audio", "").await;
    assert!(status == 426 && text.contains("WebSocket client"), "{text}");
    let old = HANDSHAKE.replace("Version: 13", "Version: 8");
    assert_eq!(ask(address, "/audio", &old).await.0, 426);
    let no_key = HANDSHAKE.replace("dGhlIHNhbXBsZSBub25jZQ==", "short");
    assert_eq!(ask(address, "/audio", &no_key).await.0, 400);
    let long = format!("{HANDSHAKE}X-Padding: {}\r\n", "x".repeat(16 * 1024));
    assert_eq!(ask(address, "/audio", &long).await.0, 431);
}

#[tokio::test]
async fn a_message_that_is_too_big_is_named_and_closed() {
    let (address, ..) = start(false).await;
    let url = format!("ws://{address}/audio");
    for too_big in [Message::Binary(vec![0; 80_000].into()), Message::text(" ".repeat(17_000))] {
        let (mut socket, _) = tokio_tungstenite::connect_async(&url).await.expect("let in");
        let start = serde_json::to_string(&start_message()).expect("plain data");
        socket.send(Message::text(start)).await.expect("open");
        socket.next().await.expect("stream_started").expect("stream_started");
        socket.send(too_big).await.expect("open");
        let mut last = None;
        let mut code = None;
        while let Some(Ok(message)) = socket.next().await {
            match message {
                Message::Text(text) => last = Some(text),
                Message::Close(frame) => code = frame.map(|frame| u16::from(frame.code)),
                _ => {}
            }
        }
        let last: protocol::ServerEvent =
            serde_json::from_str(&last.expect("an error came")).expect("an event");
        assert!(matches!(last.message, ServerMessage::Error { fatal: true, .. }), "{last:?}");
        assert_eq!(code, Some(1009));
    }
}

#[tokio::test]
async fn a_server_that_stops_lets_sessions_finish() {
    let (address, stop, serving) = start(true).await;
    let mut request = format!("ws://{address}/audio").into_client_request().expect("a URL");
    let token = HeaderValue::from_str(&format!("Bearer {TOKEN}")).expect("a header");
    request.headers_mut().insert("authorization", token);
    let (mut socket, _) = tokio_tungstenite::connect_async(request).await.expect("let in");
    socket
        .send(Message::text(serde_json::to_string(&start_message()).expect("plain data")))
        .await
        .expect("open");
    socket.next().await.expect("stream_started").expect("stream_started");
    stop.cancel();
    let mut code = None;
    while let Some(Ok(message)) = socket.next().await {
        if let Message::Close(frame) = message {
            code = frame.map(|frame| u16::from(frame.code));
        }
    }
    assert_eq!(code, Some(1001));
    serving.await.expect("the server ends by itself");
    assert!(TcpStream::connect(address).await.is_err(), "nobody listens any more");
}
