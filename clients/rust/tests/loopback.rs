//! The client against a WebSocket server in the test, over loopback. Not here: the engine (root `tests/`).

use std::{future::Future, time::Duration};

use bytes::Bytes;
use client::{ClientConfig, ClientError, Closed, connect};
use futures_util::{SinkExt as _, StreamExt as _};
use protocol::{
    AudioFormat, ClientMessage, CloseCode, Codec, FrameHeader, MAX_AUDIO_BYTES, MAX_JSON_BYTES, MarkerId,
    Role, ServerMessage, StartStream,
};
use secrecy::SecretString;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};
use tokio_tungstenite::{
    WebSocketStream, accept_async, accept_hdr_async,
    tungstenite::{
        Message,
        handshake::server::{ErrorResponse, Request, Response},
        http::HeaderValue,
        protocol::{CloseFrame, frame::coding::CloseCode as WsCode},
    },
};

type Server = WebSocketStream<TcpStream>;

#[tokio::test]
async fn messages_and_events_pass_in_order() {
    let (config, server) = serve(|mut socket: Server| async move {
        let mut heard = Vec::new();
        while let Some(Ok(message)) = socket.next().await {
            match message {
                Message::Text(text) => {
                    let message: ClientMessage = serde_json::from_str(&text).unwrap();
                    if let ClientMessage::Marker { id: MarkerId::Number(id) } = &message {
                        socket.send(marker(*id)).await.unwrap();
                    }
                    let ended = message == ClientMessage::EndStream {};
                    heard.push(serde_json::to_string(&message).unwrap());
                    if ended {
                        close(&mut socket, 1000, "done").await;
                        break;
                    }
                }
                Message::Binary(bytes) => heard.push(format!("{} bytes", bytes.len())),
                _ => {}
            }
        }
        heard
    })
    .await;

    let (mut sender, mut events) = connect(&config).await.unwrap();
    sender.start(start()).await.unwrap();
    sender.send(&ClientMessage::Marker { id: MarkerId::Number(1) }).await.unwrap();
    sender.audio(&[]).await.unwrap();
    sender.audio(&[1, 2, 3]).await.unwrap();
    sender.send(&ClientMessage::Marker { id: MarkerId::Number(2) }).await.unwrap();
    sender.send(&ClientMessage::EndStream {}).await.unwrap();

    for id in 1..=2 {
        let event = events.next().await.unwrap().unwrap();
        assert_eq!((event.event, event.message), (id, ServerMessage::Marker { id: MarkerId::Number(id) }));
        assert_eq!(events.closed(), None);
    }
    assert!(events.next().await.is_none());
    assert!(events.next().await.is_none(), "None stays None");
    let closed = events.closed().unwrap();
    assert_eq!(closed, &Closed { code: 1000, reason: "done".to_owned() });
    assert_eq!(closed.meaning(), Some(CloseCode::Done));
    assert!(matches!(sender.audio(&[1]).await, Err(ClientError::Closed)));
    sender.close().await.expect("closing what is closed is no error");
    assert_eq!(
        server.await.unwrap(),
        [
            r#"{"type":"start_stream","audio":{"codec":"wav","channels":1,"layout":"mono","roles":["mixed"],"framing":"raw"}}"#,
            r#"{"type":"marker","id":1}"#,
            "3 bytes",
            r#"{"type":"marker","id":2}"#,
            r#"{"type":"end_stream"}"#,
        ]
    );
}

#[tokio::test]
async fn large_audio_is_split_and_numbered() {
    let (config, server) = serve(|mut socket: Server| async move {
        let mut raw = Vec::new();
        let mut numbered = Vec::new();
        while let Some(Ok(message)) = socket.next().await {
            let Message::Binary(bytes) = message else { continue };
            match FrameHeader::parse(&bytes) {
                Ok((header, audio)) => {
                    numbered.push((header.channel, header.seq, header.last, audio.to_vec()));
                }
                Err(_) => raw.push(bytes.to_vec()),
            }
        }
        (raw, numbered)
    })
    .await;

    // No byte of it is 1, the version that a numbered frame starts with.
    let audio: Vec<u8> = (0..2 * MAX_AUDIO_BYTES + 10).map(|i| 2 + (i % 251) as u8).collect();
    let (mut sender, mut events) = connect(&config).await.unwrap();
    sender.audio(&audio).await.unwrap();
    sender.numbered_audio(0, false, &audio).await.unwrap();
    sender.numbered_audio(1, false, &audio[..5]).await.unwrap();
    sender.numbered_audio(0, false, &[]).await.unwrap();
    sender.numbered_audio(0, true, &audio[..MAX_AUDIO_BYTES + 1]).await.unwrap();
    sender.numbered_audio(1, true, &[]).await.unwrap();
    sender.close().await.unwrap();
    assert!(events.next().await.is_none());

    let (raw, numbered) = server.await.unwrap();
    assert_eq!(raw.iter().map(Vec::len).collect::<Vec<_>>(), [MAX_AUDIO_BYTES, MAX_AUDIO_BYTES, 10]);
    assert_eq!(raw.concat(), audio);
    let headers: Vec<_> =
        numbered.iter().map(|(channel, seq, last, audio)| (*channel, *seq, *last, audio.len())).collect();
    assert_eq!(
        headers,
        [
            (0, 0, false, MAX_AUDIO_BYTES),
            (0, 1, false, MAX_AUDIO_BYTES),
            (0, 2, false, 10),
            (1, 0, false, 5),
            (0, 3, false, MAX_AUDIO_BYTES),
            (0, 4, true, 1),
            (1, 1, true, 0),
        ]
    );
    let first: Vec<u8> = numbered[..3].iter().flat_map(|(.., audio)| audio.clone()).collect();
    assert_eq!(first, audio);
}

#[tokio::test]
async fn a_dropped_next_loses_no_event() {
    const EVENTS: u64 = 1_000;
    let (config, _server) = serve(|mut socket: Server| async move {
        for id in 1..=EVENTS {
            socket.send(marker(id)).await.unwrap();
            tokio::task::yield_now().await;
        }
        close(&mut socket, 1000, "").await;
    })
    .await;
    let (_sender, mut events) = connect(&config).await.unwrap();
    let mut got = Vec::new();
    let mut dropped = 0;
    loop {
        let event = tokio::select! {
            biased;
            event = events.next() => event,
            // Nothing was there: drop `next` and let the server go on.
            () = std::future::ready(()) => {
                dropped += 1;
                tokio::task::yield_now().await;
                continue;
            }
        };
        match event {
            Some(event) => got.push(event.unwrap().event),
            None => break,
        }
    }
    assert_eq!(got, (1..=EVENTS).collect::<Vec<_>>());
    assert!(dropped > 100, "the test must drop `next` to prove anything");
}

#[tokio::test]
async fn a_sender_waits_while_the_server_does_not_read() {
    let (config, server) = serve(|socket: Server| async move {
        // Alive, and reading nothing.
        tokio::time::sleep(Duration::from_secs(60)).await;
        drop(socket);
    })
    .await;
    let (mut sender, _events) = connect(&config).await.unwrap();
    let audio = vec![0; MAX_AUDIO_BYTES];
    let mut sent = 0usize;
    // Loopback buffers hold some megabytes; a client that queued would take all of these 64 MiB at once.
    while sent < 1_024 && tokio::time::timeout(Duration::from_secs(2), sender.audio(&audio)).await.is_ok() {
        sent += 1;
    }
    assert!(sent < 1_024, "64 MiB were taken for a server that reads nothing");
    server.abort();
}

#[tokio::test]
async fn the_end_of_the_connection_is_told() {
    async fn check(code: u16, reason: &str, meaning: Option<CloseCode>) {
        let reason_sent = reason.to_owned();
        let (config, _server) = serve(move |mut socket: Server| async move {
            close(&mut socket, code, &reason_sent).await;
            while socket.next().await.is_some() {}
        })
        .await;
        let (_sender, mut events) = connect(&config).await.unwrap();
        assert!(events.next().await.is_none());
        let closed = events.closed().unwrap();
        assert_eq!((closed.code, &*closed.reason, closed.meaning()), (code, reason, meaning));
    }
    check(1000, "", Some(CloseCode::Done)).await;
    check(4408, "nothing was received for 30 s", Some(CloseCode::Idle)).await;
    check(4503, "overloaded", Some(CloseCode::Overloaded)).await;
    check(4999, "of a newer server", None).await;
}

#[tokio::test]
async fn a_server_that_closes_and_does_not_hang_up_is_left() {
    let (config, server) = serve(|mut socket: Server| async move {
        close(&mut socket, 1001, "leaving").await;
        std::future::pending::<()>().await;
        drop(socket);
    })
    .await;
    let (_sender, mut events) = connect(&config).await.unwrap();
    let ended = tokio::time::timeout(Duration::from_secs(30), events.next()).await;
    assert!(ended.expect("next ends by itself").is_none());
    assert_eq!(events.closed().unwrap().code, 1001);
    server.abort();
}

#[tokio::test]
async fn a_connection_that_breaks_off_is_an_error_once() {
    let (config, _server) = serve(|socket: Server| async move { drop(socket) }).await;
    let (_sender, mut events) = connect(&config).await.unwrap();
    assert!(matches!(events.next().await, Some(Err(ClientError::Lost(_)))));
    assert!(events.next().await.is_none());
    assert_eq!(events.closed(), None);
}

#[tokio::test]
async fn an_event_that_is_not_understood_does_not_end_the_session() {
    let (config, _server) = serve(|mut socket: Server| async move {
        for text in [
            r#"{"type":"applause","event":1,"text":"private words"}"#,
            r#"{"type":"marker","event":"private words","id":1}"#,
            "private words",
            r#"{"event":4}"#,
        ] {
            socket.send(Message::text(text)).await.unwrap();
        }
        socket.send(Message::Binary(Bytes::from_static(b"private words"))).await.unwrap();
        socket.send(Message::Ping(Bytes::new())).await.unwrap();
        socket.send(marker(6)).await.unwrap();
        close(&mut socket, 1000, "").await;
    })
    .await;
    let (_sender, mut events) = connect(&config).await.unwrap();
    for _ in 0..5 {
        let error = events.next().await.unwrap().unwrap_err();
        assert!(matches!(error, ClientError::Event(_)), "{error}");
        assert!(!error.to_string().contains("private"), "{error}");
    }
    assert_eq!(events.next().await.unwrap().unwrap().event, 6);
    assert!(events.next().await.is_none());
}

#[tokio::test]
async fn an_oversize_message_is_refused_on_either_side() {
    let (config, _server) = serve(|mut socket: Server| async move {
        let first = socket.next().await.unwrap().unwrap();
        assert_eq!(first.into_text().unwrap(), r#"{"type":"keep_alive"}"#, "the oversize one was not sent");
        socket.send(Message::text("x".repeat(300 * 1024))).await.unwrap();
        while let Some(Ok(_)) = socket.next().await {}
    })
    .await;
    let (mut sender, mut events) = connect(&config).await.unwrap();
    let question = ClientMessage::AnswerNow { text: Some("x".repeat(MAX_JSON_BYTES)), turn: None };
    assert!(
        matches!(sender.send(&question).await, Err(ClientError::TooBig { bytes }) if bytes > MAX_JSON_BYTES)
    );
    sender.send(&ClientMessage::KeepAlive {}).await.unwrap();
    assert!(matches!(events.next().await, Some(Err(ClientError::Lost(_)))));
}

#[tokio::test]
async fn token_and_subprotocol_are_in_the_handshake() {
    async fn check(change: impl FnOnce(&mut ClientConfig), expected: (Option<&str>, Option<&str>)) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut config = ClientConfig::new(format!("ws://{}/audio?x=1", listener.local_addr().unwrap()));
        change(&mut config);
        let server = tokio::spawn(async move {
            let (stream, _) = listener.accept().await.unwrap();
            let mut seen = None;
            #[expect(clippy::result_large_err, reason = "the callback's type is tungstenite's")]
            let look = |request: &Request, mut response: Response| -> Result<Response, ErrorResponse> {
                let header = |name: &str| request.headers().get(name).map(|v| v.to_str().unwrap().to_owned());
                seen = Some((
                    request.uri().to_string(),
                    header("authorization"),
                    header("sec-websocket-protocol"),
                ));
                if request.headers().contains_key("sec-websocket-protocol") {
                    let value = HeaderValue::from_static(protocol::SUBPROTOCOL);
                    response.headers_mut().insert("sec-websocket-protocol", value);
                }
                Ok(response)
            };
            accept_hdr_async(stream, look).await.unwrap();
            seen.unwrap()
        });
        connect(&config).await.unwrap();
        let (uri, authorization, subprotocol) = server.await.unwrap();
        assert_eq!(uri, "/audio?x=1");
        assert_eq!((authorization.as_deref(), subprotocol.as_deref()), expected);
    }
    check(|_| {}, (None, Some("interviewai.v1"))).await;
    check(|config| config.subprotocol = false, (None, None)).await;
    check(
        |config| config.token = Some(SecretString::from("abc.def")),
        (Some("Bearer abc.def"), Some("interviewai.v1")),
    )
    .await;
}

#[tokio::test]
async fn connection_errors_say_what_to_do() {
    let check = |error: ClientError, expected: &[&str]| {
        let text = error.to_string();
        for part in expected {
            assert!(text.contains(part), "{text}\n  without {part}");
        }
        assert!(!text.contains("s3cret"), "{text}");
    };

    // Nobody listens: the port was free a moment ago.
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let url = format!("ws://{free}/audio?ticket=s3cret");
    check(connect(&ClientConfig::new(url)).await.unwrap_err(), &["nothing listens", "interviewai serve"]);

    // An HTTP error.
    for (answer, expected) in [
        (
            ("401 Unauthorized", r#"{"detail":"the token has expired"}"#),
            ["401", "the token has expired", "auth = off"],
        ),
        (("403 Forbidden", "foreign origin"), ["403", "foreign origin", "not allowed"]),
        (("404 Not Found", ""), ["404", "/audio", "no session endpoint"]),
        (
            ("503 Service Unavailable", r#"{"message":"all slots are taken"}"#),
            ["503", "all slots are taken", "later"],
        ),
        (("500 Internal Server Error", "oops"), ["500", "oops", "refused"]),
    ] {
        let (status, body) = answer;
        let url = answer_with(format!(
            "HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
            body.len()
        ))
        .await;
        check(connect(&ClientConfig::new(url)).await.unwrap_err(), &expected);
    }

    // Something else listens.
    let url = answer_with("SSH-2.0-OpenSSH_9.2\r\n\r\n".to_owned()).await;
    check(connect(&ClientConfig::new(url)).await.unwrap_err(), &["does not speak this protocol"]);

    // TLS is asked for and not there: it hangs up.
    let closing = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let config = ClientConfig::new(format!("wss://{}/audio", closing.local_addr().unwrap()));
    tokio::spawn(async move { drop(closing.accept().await) });
    check(connect(&config).await.unwrap_err(), &["does not speak this protocol"]);

    // It accepts and says nothing.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let config = ClientConfig {
        connect_timeout: Duration::from_millis(100),
        ..ClientConfig::new(format!("ws://{}/audio", silent.local_addr().unwrap()))
    };
    check(connect(&config).await.unwrap_err(), &["did not complete the handshake", "0.1 s"]);
}

/// A server for one connection; `session` is its half.
async fn serve<F, R>(
    session: impl FnOnce(Server) -> F + Send + 'static,
) -> (ClientConfig, tokio::task::JoinHandle<R>)
where
    F: Future<Output = R> + Send,
    R: Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback has a free port");
    let address = listener.local_addr().expect("bound");
    let server = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.expect("the client connects");
        session(accept_async(stream).await.expect("the client shakes hands")).await
    });
    let config = ClientConfig { subprotocol: false, ..ClientConfig::new(format!("ws://{address}/audio")) };
    (config, server)
}

/// A server that reads one request head and answers `response`, whatever it was. Gives its URL.
async fn answer_with(response: String) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback has a free port");
    let address = listener.local_addr().expect("bound");
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.expect("the client connects");
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            match stream.read_u8().await {
                Ok(byte) => request.push(byte),
                Err(_) => return,
            }
        }
        // A client that has gone is the test's business, not this server's.
        let _ = stream.write_all(response.as_bytes()).await;
    });
    format!("ws://{address}/audio?ticket=s3cret")
}

fn start() -> StartStream {
    let audio = AudioFormat::mono(Codec::Wav, None, Role::Mixed);
    StartStream { session_id: None, audio, config: None, resume: None }
}

fn marker(id: u64) -> Message {
    Message::text(format!(r#"{{"type":"marker","event":{id},"id":{id}}}"#))
}

async fn close(socket: &mut Server, code: u16, reason: &str) {
    let frame = CloseFrame { code: WsCode::from(code), reason: reason.into() };
    socket.close(Some(frame)).await.expect("the client still reads");
}
