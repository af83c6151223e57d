//! An account's life with the real binary: registered, proven, entered; a live session with a ticket, found in the history,
//! exported, deleted; who gets a live session, what it knows, and what becomes of it when its login ends.
//!
//! Not here: other stores than the embedded ones (`storage.rs`).
#![allow(clippy::unwrap_used)] // A test may panic.

#[path = "support/account.rs"]
mod account;
#[path = "support/http.rs"]
mod http;
#[path = "support/server.rs"]
mod server;

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    path::PathBuf,
    time::{Duration, Instant},
};

use account::{SPOKEN, delete_account, enter, files_with, login, sample, unkept_session, wait_for, walk};
use client::{ClientConfig, ClientError, Sender, connect};
use http::Http;
use protocol::{ClientMessage, ServerMessage};
use serde_json::json;
use server::Server;

#[test]
fn from_registration_to_erasure() {
    let server = Server::start(&[("INTERVIEWAI_AUTH", "accounts")]);
    let nobody = Http::new(&server.http);

    let refused = server.try_stream(&["--speed", "0"], &[sample()]).unwrap_err();
    assert!(refused.contains("log in"), "{refused}");

    let (user, secrets) = walk(&server);
    assert!(!files_with(&server.data_dir(), SPOKEN).is_empty(), "the history is in the folder");
    delete_account(&user);
    wait_for("nothing of the user in the folder", || {
        (files_with(&server.data_dir(), SPOKEN).is_empty()).then_some(())
    });
    for secret in &secrets {
        assert!(!server.log().contains(secret), "no secret is logged, nor what was said");
    }
    assert_eq!(nobody.get("/health/ready").0, 200);
    assert_eq!(server.terminate(), Some(0));
}

#[test]
fn a_session_that_is_not_to_be_kept_leaves_no_trace() {
    let server = Server::start(&[("INTERVIEWAI_AUTH", "accounts")]);
    unkept_session(&server);
    let folder = server.stop();
    assert_eq!(
        files_with(folder.path(), SPOKEN),
        Vec::<PathBuf>::new(),
        "neither in the store nor in the log"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_live_session_ends_with_its_login() {
    let server = Server::start(&[("INTERVIEWAI_AUTH", "accounts")]);
    let user = enter(&server, "ann@example.org");
    let (_, usage) = user.get("/api/v1/users/me");
    assert_eq!(usage["email"], "ann@example.org");
    let mut config = ClientConfig::new(server.ws.clone());
    config.token = Some(user.token().to_owned().into());
    let (mut sender, mut events) = connect(&config).await.unwrap();
    start(&mut sender).await;
    let first = events.next().await.unwrap().unwrap();
    assert!(matches!(first.message, ServerMessage::StreamStarted { .. }));

    let begun = Instant::now();
    assert!(user.post("/api/v1/auth/logout", &json!({})).0 < 300);
    let mut told = false;
    while let Some(event) = events.next().await {
        match event {
            Ok(event) => {
                told |= matches!(&event.message, ServerMessage::Error { fatal: true, message, .. } if message.contains("login"))
            }
            Err(_) => break,
        }
    }
    assert!(told, "the client is told why");
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    let Err(refused) = connect(&config).await else { panic!("the token is dead") };
    assert!(matches!(refused, ClientError::Rejected { status: 401, .. }), "{refused}");
}

#[test]
fn no_socket_opens_before_its_caller_is_known() {
    let server = Server::start(&[("INTERVIEWAI_AUTH", "accounts")]);
    let user = enter(&server, "ann@example.org");
    let (status, pair) = user.post("/api/v1/auth/login", &login("ann@example.org"));
    assert_eq!(status, 200);
    let [access, refresh] = ["access_token", "refresh_token"].map(|name| pair[name].as_str().unwrap());
    let (_, interview) = user.post("/api/v1/interviews", &json!({"title": "Second round"}));
    let path = format!("/api/v1/interviews/{}/ticket", interview["id"].as_str().unwrap());
    let (_, ticket) = user.post(&path, &json!({}));
    let ticket = ticket["ticket"].as_str().unwrap();
    let authorized = |token: &str| format!("Authorization: Bearer {token}\r\n");
    let evil = "Origin: https://evil.example\r\n";
    for (name, query, headers, expected) in [
        ("nobody", String::new(), String::new(), 401),
        ("a refresh token", String::new(), authorized(refresh), 401),
        ("a ticket as a token", String::new(), authorized(ticket), 401),
        ("a token in the address", format!("?token={access}"), String::new(), 401),
        ("a token as a ticket", format!("?ticket={access}"), String::new(), 401),
        ("another origin", String::new(), format!("{evil}{}", authorized(access)), 403),
        ("another origin with a ticket", format!("?ticket={ticket}"), evil.to_owned(), 403),
        ("the ticket, which nobody has used yet", format!("?ticket={ticket}"), String::new(), 101),
        ("the ticket again", format!("?ticket={ticket}"), String::new(), 401),
        ("the token", String::new(), authorized(access), 101),
    ] {
        assert_eq!(handshake(&server.ws, &query, &headers), expected, "{name}");
    }
}

/// The same over QUIC and WebTransport, with a log that tells everything it knows.
#[tokio::test(flavor = "multi_thread")]
async fn no_quic_session_opens_before_its_caller_is_known() {
    let log = "trace,web_transport_quinn::connect=trace,quinn=trace,rustls=trace";
    let server = Server::start(&[("INTERVIEWAI_AUTH", "accounts"), ("INTERVIEWAI_LOG__LEVEL", log)]);
    let user = enter(&server, "ann@example.org");
    let (status, pair) = user.post("/api/v1/auth/login", &login("ann@example.org"));
    assert_eq!(status, 200);
    let [access, refresh] = ["access_token", "refresh_token"].map(|name| pair[name].as_str().unwrap());
    let (_, interview) = user.post("/api/v1/interviews", &json!({"title": "Second round"}));
    let path = format!("/api/v1/interviews/{}/ticket", interview["id"].as_str().unwrap());
    let ready = |name: &str| server.ready[name].as_str().unwrap().to_owned();
    let quic = ready("quic");
    let web = format!("{}/audio", quic.replace("quic://", "https://"));
    for address in [&quic, &web] {
        let (_, ticket) = user.post(&path, &json!({}));
        let ticket = ticket["ticket"].as_str().unwrap();
        for (name, query, token, welcome) in [
            ("nobody", String::new(), None, false),
            ("a refresh token", String::new(), Some(refresh), false),
            ("a ticket as a token", String::new(), Some(ticket), false),
            ("a token in the address", format!("?token={access}"), None, false),
            ("a token as a ticket", format!("?ticket={access}"), None, false),
            ("the ticket, which nobody has used yet", format!("?ticket={ticket}"), None, true),
            ("the ticket again", format!("?ticket={ticket}"), None, false),
            ("the token", String::new(), Some(access), true),
        ] {
            let mut config = ClientConfig::new(format!("{address}{query}"));
            config.token = token.map(|token| token.to_owned().into());
            config.certificate = Some(ready("certificate_sha256").parse().unwrap());
            assert_eq!(is_let_in(&config).await, welcome, "{name}: {address}");
        }
        assert!(!server.log().contains(ticket), "a ticket is in the log");
    }
    let log = server.log();
    assert!(
        log.contains("TRACE") && !log.contains(access) && !log.contains(refresh),
        "a token is in the log"
    );
}

/// Whether a session begins; 401, or 4401 over raw QUIC, otherwise.
async fn is_let_in(config: &ClientConfig) -> bool {
    let (mut sender, mut events) = match connect(config).await {
        Ok(connected) => connected,
        Err(ClientError::Rejected { status: 401, .. }) => return false,
        Err(error) => panic!("{error}"),
    };
    start(&mut sender).await;
    match events.next().await {
        Some(Ok(event)) => matches!(event.message, ServerMessage::StreamStarted { .. }),
        Some(Err(error)) => panic!("{error}"),
        None => {
            assert_eq!(events.closed().unwrap().code, 4401);
            false
        }
    }
}

/// The status of a WebSocket's handshake.
fn handshake(ws: &str, query: &str, headers: &str) -> u16 {
    let (address, path) = ws.strip_prefix("ws://").unwrap().split_once('/').unwrap();
    let mut socket = TcpStream::connect(address).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let request = format!(
        "GET /{path}{query} HTTP/1.1\r\nHost: {address}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{headers}\r\n"
    );
    socket.write_all(request.as_bytes()).unwrap();
    let mut answer = [0; 12];
    socket.read_exact(&mut answer).unwrap();
    std::str::from_utf8(&answer[9..]).unwrap().parse().unwrap()
}

#[test]
fn a_live_session_knows_the_cv_of_its_account() {
    let server = Server::start(&[("INTERVIEWAI_AUTH", "accounts")]);
    let user = enter(&server, "ann@example.org");
    // Not the one of the settings.
    let line = "Reduced the latency of the production system of Zanzibar Post from 900 ms to 140 ms";
    let cv = json!({"text": format!("Ann Lee\n\nEXPERIENCE\n- {line}\n- Bred rabbits\n")});
    assert_eq!(user.json("PUT", "/api/v1/users/me/cv", Some(&cv)).0, 200);
    let (_, interview) = user.post("/api/v1/interviews", &json!({"title": "Second round"}));
    let path = format!("/api/v1/interviews/{}/ticket", interview["id"].as_str().unwrap());
    let (_, ticket) = user.post(&path, &json!({}));
    let address = format!("{}?ticket={}", server.ws, ticket["ticket"].as_str().unwrap());
    let events = server.try_stream_to(&address, &["--speed", "0"], &[sample()]).unwrap();
    let sources =
        events.iter().filter(|event| event["type"] == "answer").map(|answer| answer["sources"].to_string());
    let sources: Vec<_> = sources.collect();
    assert!(sources.iter().any(|source| source.contains("Zanzibar Post")), "{sources:?}");
}

async fn start(sender: &mut Sender) {
    let start = json!({"type": "start_stream", "audio": {"codec": "pcm_s16le", "sample_rate": 16_000, "channels": 1}});
    let start: ClientMessage = serde_json::from_value(start).unwrap();
    sender.send(&start).await.unwrap();
}
