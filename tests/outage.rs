//! A store that is away costs the requests that need it, and at most history: the real binary, with real stores that go and come.
//!
//! Not here: what lies in them (`storage.rs`).
#![allow(clippy::unwrap_used)]

#[path = "support/account.rs"]
mod account;
#[path = "support/http.rs"]
mod http;
#[allow(dead_code, reason = "other suites freeze it")]
#[path = "../control-api/tests/common/mongod.rs"]
mod mongod;
#[path = "../control-api/tests/common/redis_server.rs"]
mod redis_server;
#[path = "support/server.rs"]
mod server;

use account::{enter, is_away, kept, live, login, missing, said, sample, wait_for, with_a_turn};
use http::Http;
use mongod::Mongod;
use redis_server::RedisServer;
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};
use server::Server;

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_is_down_at_start_is_waited_for() {
    let Some(mut mongod) = Mongod::start().await else { return };
    mongod.kill();
    let server = Server::start(&[("INTERVIEWAI_MONGODB_URL", &mongod.url("interviewai"))]);
    let nobody = Http::new(&server.http);
    assert_eq!(nobody.get("/health/live").0, 200);
    assert_eq!(missing(&server), (503, vec!["store".to_owned()]));
    is_away(&nobody, "POST", "/api/v1/auth/login", Some(&login("ann@example.org")));
    let events = server.stream(&["--speed", "0"], &[sample()]);
    assert_eq!((said(&events).0.len(), said(&events).1.len()), (2, 2), "who has no account is not harmed");
    wait_for("a word on it", || server.log().contains("waiting for the store").then_some(()));

    mongod.restart().await;
    wait_for("the store", || (missing(&server).0 == 200).then_some(()));
    enter(&server, "ann@example.org");
    assert_eq!(server.terminate(), Some(0));
}

#[test]
fn mail_and_files_that_are_away_are_named_and_turn_nobody_away() {
    // Nobody listens at port 1.
    let server = Server::start(&[
        ("INTERVIEWAI_ACCOUNTS__SMTP_URL", "smtp://127.0.0.1:1"),
        ("INTERVIEWAI_STORAGE__S3_BUCKET", "files"),
        ("INTERVIEWAI_STORAGE__S3_ENDPOINT", "http://127.0.0.1:1"),
        ("INTERVIEWAI_STORAGE__S3_ACCESS_KEY_ID", "key"),
        ("INTERVIEWAI_STORAGE__S3_SECRET_ACCESS_KEY", "secret"),
    ]);
    let both = vec!["files".to_owned(), "mail".to_owned()];
    wait_for("readiness to notice", || (missing(&server) == (200, both.clone())).then_some(()));
    let registration = json!({
        "email": "ann@example.org", "password": "Correct-Horse-1", "first_name": "Ann", "last_name": "Lee", "terms_accepted": true,
    });
    let (status, told) = Http::new(&server.http).post("/api/v1/auth/register", &registration);
    assert_eq!(status, 202, "its mail waits: {told}");
    assert_eq!(server.terminate(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_comes_back_in_time_costs_a_session_nothing() {
    let Some(mut mongod) = Mongod::start().await else { return };
    let server = with_accounts(&mongod, "60");
    let user = enter(&server, "ann@example.org");
    let session = live(&server, &user, &["--speed", "1"]);
    wait_for("the first turn", || with_a_turn(&user));
    mongod.kill();
    assert!(!session.is_finished(), "it goes away in mid-session");
    is_away(&user, "GET", "/api/v1/users/me", None);
    let events = session.join().unwrap().unwrap();
    let (texts, answers) = said(&events);
    assert_eq!((texts.len(), answers.len()), (2, 2), "{events:?}");
    assert_eq!(warnings(&events), Vec::<&str>::new());
    assert!(counted(&server, "answers_uncounted_total") > 0, "an answer was not held up by its plan");
    wait_for("readiness to notice", || (missing(&server) == (503, vec!["store".to_owned()])).then_some(()));
    assert_eq!(Http::new(&server.http).get("/health/live").0, 200);

    mongod.restart().await;
    let history = wait_for("the end in the history", || ended(&user));
    assert_eq!(turns(&history), texts);
    assert_eq!(history["session"]["answers"], json!(answers.len()));
    assert_eq!(counted(&server, "history_failures_total"), 0);
    wait_for("readiness", || (missing(&server).0 == 200).then_some(()));
    assert_eq!(server.terminate(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_stays_away_costs_history_and_one_warning() {
    let Some(mut mongod) = Mongod::start().await else { return };
    let server = with_accounts(&mongod, "0.1");
    let user = enter(&server, "ann@example.org");
    // Silence, in which the warning comes: a text is given up when the driver has given up, which takes 5 s.
    let session = live(&server, &user, &["--speed", "1", "--silence", "20000"]);
    wait_for("the first turn", || with_a_turn(&user));
    mongod.kill();
    let events = session.join().unwrap().unwrap();
    let (texts, answers) = said(&events);
    assert_eq!((texts.len(), answers.len()), (2, 2), "{events:?}");
    assert_eq!(warnings(&events), ["history_unavailable"]);

    mongod.restart().await;
    // The last that is written.
    let history = wait_for("the end in the history", || ended(&user));
    let kept = turns(&history).len() + history["session"]["answers"].as_u64().unwrap() as usize;
    let lost = texts.len() + answers.len() - kept;
    assert!(lost > 0, "{history}");
    assert_eq!(counted(&server, "history_failures_total"), lost, "what is lost is counted");
    assert_eq!(server.terminate(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn without_redis_nobody_logs_in_and_who_is_in_goes_on() {
    let Some(mut redis) = RedisServer::start().await else { return };
    let url = redis.url();
    let server =
        Server::start(&[("INTERVIEWAI_AUTH", "accounts"), ("INTERVIEWAI_REDIS_URL", url.expose_secret())]);
    let user = enter(&server, "ann@example.org");
    let session = live(&server, &user, &["--speed", "1"]);
    wait_for("the first turn", || with_a_turn(&user));
    redis.kill();
    assert!(!session.is_finished(), "it goes away in mid-session");
    let nobody = Http::new(&server.http);
    is_away(&nobody, "POST", "/api/v1/auth/login", Some(&login("ann@example.org")));
    assert_eq!(user.get("/api/v1/users/me").0, 200);
    let wish = json!({"answers": {"length": "short"}});
    assert_eq!(user.json("PATCH", "/api/v1/users/me/preferences", Some(&wish)).0, 200);
    wait_for("readiness to notice", || (missing(&server) == (503, vec!["redis".to_owned()])).then_some(()));
    let events = session.join().unwrap().unwrap();
    let (texts, answers) = said(&events);
    assert_eq!((texts.len(), answers.len()), (2, 2), "{events:?}");
    assert_eq!(warnings(&events), ["journal_unavailable"], "it would not survive its server any more");
    let history = wait_for("the end in the history", || ended(&user));
    assert_eq!(turns(&history), texts);

    redis.restart().await;
    wait_for("readiness", || (missing(&server).0 == 200).then_some(()));
    assert_eq!(nobody.post("/api/v1/auth/login", &login("ann@example.org")).0, 200);
    assert_eq!(server.terminate(), Some(0));
}

/// With accounts in MongoDB, and so much patience for it, in seconds.
fn with_accounts(mongod: &Mongod, patience: &str) -> Server {
    Server::start(&[
        ("INTERVIEWAI_AUTH", "accounts"),
        ("INTERVIEWAI_MONGODB_URL", &mongod.url("interviewai")),
        ("INTERVIEWAI_STORAGE__HISTORY_PATIENCE_S", patience),
    ])
}

fn ended(user: &Http) -> Option<Value> {
    kept(user).filter(|session| !session["session"]["ended_at"].is_null())
}

fn turns(session: &Value) -> Vec<&str> {
    session["turns"].as_array().unwrap().iter().map(|turn| turn["text"].as_str().unwrap()).collect()
}

fn warnings(events: &[Value]) -> Vec<&str> {
    let warnings = events.iter().filter(|event| event["type"] == "warning");
    warnings.map(|warning| warning["code"].as_str().unwrap()).collect()
}

/// What a counter of the server says; 0 before its first time.
fn counted(server: &Server, name: &str) -> usize {
    let (_, metrics) = Http::new(&server.http).text("GET", "/metrics", None);
    let line = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.map_or(0, |count| count.parse().unwrap())
}
