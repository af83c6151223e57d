//! A user of the real server: registered, proven by mail, logged in; a live session with a ticket; the way from there to erasure.
//!
//! Not here: HTTP, and which stores the server has.

#![allow(dead_code, reason = "each test that includes this file uses a part of it")]

use std::{
    fs,
    path::{Path, PathBuf},
    thread::JoinHandle,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::{
    http::Http,
    server::{Server, stream_to},
};

/// Of every user.
pub(crate) const PASSWORD: &str = "Correct horse 7";
/// Said in the sample interview.
pub(crate) const SPOKEN: &str = "latency of a production system";

/// From registration to a history that is found, shown and exported. Returns the user, and what must be logged nowhere.
pub(crate) fn walk(server: &Server) -> (Http, Vec<String>) {
    let user = enter(server, "ann@example.org");
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

    let stranger = enter(server, "eve@example.org");
    assert_eq!(stranger.get(&path).0, 404, "another user's history is not there");
    let (_, usage) = user.get("/api/v1/users/me/usage");
    assert!(usage.to_string().contains("live_minutes"), "{usage}");

    let secrets = [PASSWORD, first["ticket"].as_str().unwrap(), user.token(), "ann@example.org", SPOKEN];
    let secrets = secrets.map(str::to_owned).to_vec();
    (user, secrets)
}

/// A session that the user does not want to be kept.
pub(crate) fn unkept_session(server: &Server) {
    let user = enter(server, "ann@example.org");
    let wish = json!({"privacy": {"save_history": false}});
    assert_eq!(user.json("PATCH", "/api/v1/users/me/preferences", Some(&wish)).0, 200);
    let (_, interview) = user.post("/api/v1/interviews", &json!({"title": "Private"}));
    let path = format!("/api/v1/interviews/{}/ticket", interview["id"].as_str().unwrap());
    let (_, ticket) = user.post(&path, &json!({}));
    let address = format!("{}?ticket={}", server.ws, ticket["ticket"].as_str().unwrap());
    let events = server.try_stream_to(&address, &["--speed", "0"], &[sample()]).unwrap();
    assert!(events.iter().any(|event| event.to_string().contains(SPOKEN)), "it was heard");
    assert_eq!(user.get("/api/v1/history").1["items"], json!([]));
}

/// Plays the sample interview as the user, by a ticket and beside the test; ends with the events.
pub(crate) fn live(
    server: &Server,
    user: &Http,
    arguments: &'static [&'static str],
) -> JoinHandle<Result<Vec<Value>, String>> {
    let (status, interview) = user.post("/api/v1/interviews", &json!({"title": "Live"}));
    assert_eq!(status, 201, "{interview}");
    let path = format!("/api/v1/interviews/{}/ticket", interview["id"].as_str().unwrap());
    let (status, ticket) = user.post(&path, &json!({}));
    assert_eq!(status, 201, "{ticket}");
    let url = format!("{}?ticket={}", server.ws, ticket["ticket"].as_str().unwrap());
    std::thread::spawn(move || stream_to(&url, arguments, &[sample()]))
}

/// The only session in the user's history, in full; none while there is none, or the store is away.
pub(crate) fn kept(user: &Http) -> Option<Value> {
    let (_, page) = user.get("/api/v1/history");
    let id = page["items"].as_array()?.first()?["id"].as_str()?.to_owned();
    let (status, session) = user.get(&format!("/api/v1/history/{id}"));
    (status == 200).then_some(session)
}

/// As [`kept`], with at least one turn.
pub(crate) fn with_a_turn(user: &Http) -> Option<Value> {
    kept(user).filter(|session| !session["turns"].as_array().unwrap().is_empty())
}

/// Of these events, the final texts, and the answers that were not taken back.
pub(crate) fn said(events: &[Value]) -> (Vec<&str>, Vec<&Value>) {
    let finals = events.iter().filter(|event| event["type"] == "transcription" && event["is_final"] == true);
    let cancelled: Vec<_> = events.iter().filter(|event| event["type"] == "answer_cancelled").collect();
    let answers = events.iter().filter(|event| event["type"] == "answer");
    let answers = answers.filter(|answer| !cancelled.iter().any(|it| it["answer_id"] == answer["answer_id"]));
    (finals.map(|event| event["text"].as_str().unwrap()).collect(), answers.collect())
}

/// The request is refused as long as something is away: 503, when to try again, and why.
pub(crate) fn is_away(user: &Http, method: &str, path: &str, body: Option<&Value>) {
    let (status, head, body) = user.whole(method, path, body);
    assert_eq!(status, 503, "{method} {path}: {body}");
    assert!(head.contains("\nretry-after: ") && head.contains("application/problem+json"), "{head}");
    let problem: Value = serde_json::from_str(&body).unwrap();
    assert_eq!((&problem["statusCode"], &problem["path"]), (&json!(503), &json!(path)));
    assert!(problem["detail"].as_str().unwrap().contains("try again"), "{problem}");
}

/// Status of `/health/ready`, and what it says is missing.
pub(crate) fn missing(server: &Server) -> (u16, Vec<String>) {
    let (status, report) = Http::new(&server.http).get("/health/ready");
    let dependencies = report["dependencies"].as_array().unwrap();
    let missing = dependencies.iter().filter(|dependency| dependency["status"] != "ready");
    (status, missing.map(|dependency| dependency["name"].as_str().unwrap().to_owned()).collect())
}

/// Deletes the account, whose token is worth nothing then.
pub(crate) fn delete_account(user: &Http) {
    let (status, deleted) = user.json("DELETE", "/api/v1/users/me", Some(&json!({"password": PASSWORD})));
    assert!(status < 300, "{status} {deleted}");
    assert_eq!(user.get("/api/v1/users/me").0, 401);
}

/// Registers, proves the address with the mail in the folder, and logs in.
pub(crate) fn enter(server: &Server, email: &str) -> Http {
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
    let (status, pair) = nobody.post("/api/v1/auth/login", &login(email));
    assert_eq!(status, 200, "{pair}");
    nobody.with_token(pair["access_token"].as_str().unwrap())
}

/// What [`enter`] logs in with.
pub(crate) fn login(email: &str) -> Value {
    json!({"email": email, "password": PASSWORD})
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
pub(crate) fn wait_for<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let until = Instant::now() + Duration::from_secs(60);
    while Instant::now() < until {
        if let Some(found) = ask() {
            return found;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    panic!("waited 60 s for {what}");
}

pub(crate) fn files_with(folder: &Path, text: &str) -> Vec<PathBuf> {
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

pub(crate) fn sample() -> PathBuf {
    PathBuf::from("samples/interview.flac")
}
