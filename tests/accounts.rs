//! An account's life with the real binary: registered, proven, entered; a live session with a ticket, found in the history,
//! exported, deleted; who gets a live session, what it knows, and what becomes of it when its login ends.

#[path = "support/http.rs"]
mod http;
#[path = "support/server.rs"]
mod server;

use std::{
    fs,
    io::{Read as _, Write as _},
    net::TcpStream,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use client::{ClientConfig, ClientError, Sender, connect};
use http::Http;
use protocol::{ClientMessage, ServerMessage};
use serde_json::json;
use server::Server;

const PASSWORD: &str = "Correct horse 7";
/// Said in the sample interview.
const SPOKEN: &str = "latency of a production system";

#[test]
fn from_registration_to_erasure() {
    let server = Server::start(&[("INTERVIEWAI_AUTH", "accounts")]);
    let nobody = Http::new(&server.http);

    let refused = server.try_stream(&["--speed", "0"], &[sample()]).unwrap_err();
    assert!(refused.contains("log in"), "{refused}");

    let user = enter(&server, "ann@example.org");
    let cv = json!({"text": fs::read_to_string("samples/cv.txt").unwrap()});
    assert_eq!(user.json("PUT", "/api/v1/users/me/cv", Some(&cv)).0, 200);
    let planned = json!({"title": "Second round", "company": "Example", "position": "Engineer"});
    let (status, interview) = user.post("/api/v1/interviews", &planned);
    assert_eq!(status, 201, "{interview}");
    let ticket = |user: &Http| {
        let path = format!("/api/v1/interviews/{}/ticket", interview["id"].as_str().unwrap());
        let (status, ticket) = user.post(&path, &json!({}));
        assert_eq!(status, 201, "{ticket}");
        ticket
    };

    let first = ticket(&user);
    let address = format!("{}?ticket={}", server.ws, first["ticket"].as_str().unwrap());
    let events = server.try_stream_to(&address, &["--speed", "0"], &[sample()]).unwrap();
    let started = &events[0];
    assert_eq!((&started["type"], &started["session_id"]), (&json!("stream_started"), &first["session_id"]));
    let answers: Vec<_> = events.iter().filter(|event| event["type"] == "answer").collect();
    assert!(
        answers.iter().any(|answer| !answer["sources"].as_array().unwrap().is_empty()),
        "the CV is known"
    );
    let again = server.try_stream_to(&address, &["--speed", "0"], &[sample()]).unwrap_err();
    assert!(again.contains("ticket"), "a ticket works once: {again}");

    let session = wait_for("the session in the history", || {
        let (status, page) = user.get("/api/v1/history");
        assert_eq!(status, 200, "{page}");
        let session = page["items"].as_array()?.first()?.clone();
        (!session["ended_at"].is_null()).then_some(session)
    });
    assert_eq!(session["interview_title"], "Second round", "{session}");
    let path = format!("/api/v1/history/{}", session["id"].as_str().unwrap());
    let (status, whole) = user.get(&path);
    assert_eq!(status, 200);
    assert!(whole.to_string().contains(SPOKEN), "{whole}");
    for format in ["txt", "md", "srt", "vtt", "json"] {
        let (status, text) = user.text("GET", &format!("{path}/export?format={format}"), None);
        assert_eq!(status, 200, "{format}");
        assert!(
            text.split_whitespace().collect::<Vec<_>>().join(" ").contains("production"),
            "{format}: {text}"
        );
    }
    let (status, found) = user.get("/api/v1/history/search?q=PRODUCTION%20latency");
    assert_eq!(status, 200);
    assert!(!found["items"].as_array().unwrap().is_empty(), "{found}");

    let stranger = enter(&server, "eve@example.org");
    assert_eq!(stranger.get(&path).0, 404, "another user's history is not there");
    let (_, usage) = user.get("/api/v1/users/me/usage");
    assert!(usage.to_string().contains("live_minutes"), "{usage}");

    assert!(!files_with(&server.data_dir(), SPOKEN).is_empty(), "the history is in the folder");
    let (status, deleted) = user.json("DELETE", "/api/v1/users/me", Some(&json!({"password": PASSWORD})));
    assert!(status < 300, "{status} {deleted}");
    assert_eq!(user.get("/api/v1/users/me").0, 401);
    wait_for("nothing of the user in the folder", || {
        (files_with(&server.data_dir(), SPOKEN).is_empty()).then_some(())
    });
    assert!(!server.log().contains(SPOKEN), "nothing that was said is logged");
    for secret in [PASSWORD, first["ticket"].as_str().unwrap(), "ann@example.org"] {
        assert!(!server.log().contains(secret), "no secret is logged");
    }
    assert_eq!(nobody.get("/health/ready").0, 200);
    assert_eq!(server.terminate(), Some(0));
}

#[test]
fn a_session_that_is_not_to_be_kept_leaves_no_trace() {
    let server = Server::start(&[("INTERVIEWAI_AUTH", "accounts")]);
    let user = enter(&server, "ann@example.org");
    let wish = json!({"privacy": {"save_history": false}});
    assert_eq!(user.json("PATCH", "/api/v1/users/me/preferences", Some(&wish)).0, 200);
    let (_, interview) = user.post("/api/v1/interviews", &json!({"title": "Private"}));
    let path = format!("/api/v1/interviews/{}/ticket", interview["id"].as_str().unwrap());
    let (_, ticket) = user.post(&path, &json!({}));
    let address = format!("{}?ticket={}", server.ws, ticket["ticket"].as_str().unwrap());
    let events = server.try_stream_to(&address, &["--speed", "0"], &[sample()]).unwrap();
    assert!(events.iter().any(|event| event.to_string().contains(SPOKEN)), "it was heard");
    assert_eq!(user.get("/api/v1/history").1["items"], json!([]));
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
    let refused = connect(&config).await.err().expect("the token is dead");
    assert!(matches!(refused, ClientError::Rejected { status: 401, .. }), "{refused}");
}

#[test]
fn no_socket_opens_before_its_caller_is_known() {
    let server = Server::start(&[("INTERVIEWAI_AUTH", "accounts")]);
    let user = enter(&server, "ann@example.org");
    let (status, pair) =
        user.post("/api/v1/auth/login", &json!({"email": "ann@example.org", "password": PASSWORD}));
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

/// Registers, proves the address with the mail in the folder, and logs in.
fn enter(server: &Server, email: &str) -> Http {
    let nobody = Http::new(&server.http);
    let registration = json!({
        "email": email, "password": PASSWORD, "first_name": "Ann", "last_name": "Lee", "terms_accepted": true,
    });
    let (status, told) = wait_for("the store", || {
        let answer = nobody.post("/api/v1/auth/register", &registration);
        (answer.0 != 503).then_some(answer)
    });
    assert_eq!(status, 202, "{told}");
    let token = wait_for("the mail", || token_for(&server.data_dir().join("mail"), email));
    let (status, told) = nobody.post("/api/v1/auth/verify-email", &json!({"token": token}));
    assert!(status < 300, "{status} {told}");
    let (status, pair) = nobody.post("/api/v1/auth/login", &json!({"email": email, "password": PASSWORD}));
    assert_eq!(status, 200, "{pair}");
    nobody.with_token(pair["access_token"].as_str().unwrap())
}

/// The token of the link in the newest mail to `email`.
fn token_for(folder: &Path, email: &str) -> Option<String> {
    let mails = fs::read_dir(folder).ok()?.map(|entry| entry.unwrap().path());
    let texts = mails.filter_map(|path| fs::read_to_string(path).ok());
    let mail = texts.filter(|text| text.contains(&format!("To: {email}"))).max()?;
    // Long lines are folded, and `=` is written as a code then.
    let text = mail.replace("=\r\n", "").replace("=3D", "=");
    let token = text.split("token=").nth(1)?;
    Some(token.chars().take_while(|c| c.is_ascii_alphanumeric() || "-_".contains(*c)).collect())
}

#[allow(clippy::disallowed_methods, reason = "a test's own thread waits for another process")]
fn wait_for<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let until = Instant::now() + Duration::from_secs(60);
    while Instant::now() < until {
        if let Some(found) = ask() {
            return found;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    panic!("waited 60 s for {what}");
}

fn files_with(folder: &Path, text: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files_with(&path, text));
        } else if fs::read(&path).is_ok_and(|bytes| bytes.windows(text.len()).any(|at| at == text.as_bytes()))
        {
            found.push(path);
        }
    }
    found
}

fn sample() -> PathBuf {
    PathBuf::from("samples/interview.flac")
}
