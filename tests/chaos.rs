//! The server is killed again and again in the middle of real speech; its client ends with what one undisturbed ends with.
//!
//! Not here: what each kill may tear (`engine/tests/resume.rs` tries ten thousand).
#![allow(clippy::unwrap_used)]

#[path = "support/http.rs"]
mod http;
#[path = "../control-api/tests/common/redis_server.rs"]
mod redis_server;
#[path = "support/server.rs"]
mod server;

use std::{
    net::TcpListener,
    path::PathBuf,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use http::Http;
use redis_server::RedisServer;
use secrecy::ExposeSecret as _;
use serde_json::Value;
use server::{Server, manifest, speech_dir, stream_to, stream_to_any};
use tempfile::TempDir;

#[test]
fn a_server_that_is_killed_again_and_again_loses_and_doubles_nothing() {
    let files = recordings();
    let port = free_port();
    let start = |folder| start(folder, &port, &[]);
    let server = start(tempfile::tempdir().unwrap());
    let undisturbed = server.stream(&["--speed", "4"], &files);
    let url = server.ws.clone();

    let kills = std::env::var("INTERVIEWAI_KILLS").map_or(KILLS, |kills| kills.parse().unwrap());
    let over = AtomicBool::new(false);
    let (mut killed, mut rounds) = (0, 0);
    let began = Instant::now();
    let mut server = Some(server);
    while killed < kills {
        rounds += 1;
        let events = thread::scope(|scope| {
            over.store(false, Ordering::Relaxed);
            let client = scope.spawn(|| {
                let events = stream_to(&url, &["--speed", "4"], &files);
                over.store(true, Ordering::Relaxed);
                events
            });
            let mut random = fastrand::Rng::with_seed(rounds);
            while killed < kills {
                pause(Duration::from_millis(random.u64(50..1_500)));
                if over.load(Ordering::Relaxed) {
                    break;
                }
                server = server.take().map(|server| start(server.kill()));
                killed += 1;
            }
            client.join().unwrap()
        });
        let events = events.unwrap_or_else(|error| panic!("after {killed} kills: {error}"));
        assert_eq!(told(&events), told(&undisturbed), "after {killed} kills");
        each_once(&events);
    }
    println!("{killed} kills in {rounds} rounds of {} recordings, {:?}", files.len(), began.elapsed());
    let folder = server.unwrap().stop();
    let left = std::fs::read_dir(folder.path().join("data/live")).unwrap().count();
    assert_eq!(left, 0, "nothing of a session that is over is left");
}

/// Two servers share a Redis. Whichever serves is killed; the other one goes on at once, before the first is back.
#[tokio::test(flavor = "multi_thread")]
async fn another_server_goes_on_with_the_sessions_of_one_that_is_killed() {
    let Some(redis) = RedisServer::start().await else { return };
    let url = redis.url();
    let shared = [("INTERVIEWAI_REDIS_URL", url.expose_secret())];
    let files = recordings();
    let mut servers = [free_port(), free_port()].map(|port| {
        let server = start(tempfile::tempdir().unwrap(), &port, &shared);
        Some((server, port))
    });
    let url_of = |server: &Option<(Server, String)>| server.as_ref().unwrap().0.ws.clone();
    let urls = [url_of(&servers[0]), url_of(&servers[1])];
    let undisturbed = stream_to(&urls[0], &["--speed", "4"], &files).unwrap();

    let over = AtomicBool::new(false);
    let mut killed = 0;
    let events = thread::scope(|scope| {
        let client = scope.spawn(|| {
            let events = stream_to_any(&[&urls[0], &urls[1]], &["--speed", "4"], &files);
            over.store(true, Ordering::Relaxed);
            events
        });
        let mut random = fastrand::Rng::with_seed(7);
        while killed < KILLS_OF_TWO && !over.load(Ordering::Relaxed) {
            pause(Duration::from_millis(random.u64(500..3_000)));
            let (server, port) = servers[killed % 2].take().unwrap();
            let folder = server.kill();
            pause(Duration::from_millis(1_000));
            servers[killed % 2] = Some((start(folder, &port, &shared), port));
            killed += 1;
        }
        client.join().unwrap()
    });
    let events = events.unwrap_or_else(|error| panic!("after {killed} kills: {error}"));
    assert_eq!(told(&events), told(&undisturbed), "after {killed} kills");
    each_once(&events);
    let recovered = |server: &Option<(Server, String)>| {
        let metrics = Http::new(&server.as_ref().unwrap().0.http).text("GET", "/metrics", None).1;
        metrics.lines().any(|line| line.starts_with("sessions_recovered_total") && !line.ends_with(" 0"))
    };
    assert!(servers.iter().any(recovered), "one took sessions over");
    for (server, _) in servers.into_iter().flatten() {
        server.stop();
    }
    let keys = redis.type_in("KEYS interviewai:live:*");
    let left = keys.lines().filter(|key| key.starts_with("interviewai:live:") && !key.ends_with(":writer"));
    assert_eq!(left.count(), 0, "nothing of a session that is over is left");
    println!("{killed} kills of one of two servers");
}

/// A server at `port`, with what another one left in `folder`.
fn start(folder: TempDir, port: &str, more: &[(&str, &str)]) -> Server {
    let mut environment = vec![
        ("INTERVIEWAI_AUDIO__PORT", port),
        // As much is computed by a pass that is killed as by one that is not.
        ("INTERVIEWAI_SPEECH__WEIGHTS", "tiny.en"),
        ("INTERVIEWAI_SESSION__INTERIM_RESULTS", "false"),
    ];
    environment.extend(more);
    Server::start_in(folder, &environment)
}

/// No event is lost or comes twice.
#[track_caller]
fn each_once(events: &[Value]) {
    let mut expected = 0;
    for number in events.iter().map(|event| event["event"].as_u64().unwrap()) {
        expected = if number == 1 { 1 } else { expected + 1 };
        assert_eq!(number, expected, "no event is lost or comes twice");
    }
}

/// What holds for good: every turn with its words and times, and to which turns there are answers.
fn told(events: &[Value]) -> Vec<String> {
    let mut told: Vec<_> = events
        .iter()
        .filter_map(|event| {
            let file = &event["file"];
            match event["type"].as_str()? {
                "speech_started" | "speech_ended" => {
                    Some(format!("{file} {} {} {}", event["type"], event["turn"], event["at_ms"]))
                }
                "transcription" if event["is_final"] == true => Some(format!(
                    "{file} final {} {} {} {}",
                    event["turn"], event["start_ms"], event["end_ms"], event["text"]
                )),
                "answer" => Some(format!("{file} answer to {} {}", event["turn"], event["content"])),
                "stream_ended" => Some(format!("{file} {} {}", event["reason"], event["totals"])),
                _ => None,
            }
        })
        .collect();
    told.sort();
    told
}

fn recordings() -> Vec<PathBuf> {
    let shared =
        speech_dir().map(|dir| manifest(&dir, "librispeech_test_other").into_iter().map(|(path, _)| path));
    let mut files: Vec<_> = shared.into_iter().flatten().take(5).collect();
    files.push(PathBuf::from("samples/interview.flac"));
    files
}

fn free_port() -> String {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port().to_string()
}

#[allow(clippy::disallowed_methods, reason = "a test's own thread waits for another process")]
fn pause(time: Duration) {
    thread::sleep(time);
}

/// `INTERVIEWAI_KILLS=100` took 200 s.
const KILLS: usize = 10;
/// In one round of about 20 s.
const KILLS_OF_TWO: usize = 4;
