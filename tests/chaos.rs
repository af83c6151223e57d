//! The server is killed again and again in the middle of real speech; its client ends with what one undisturbed ends with.
//!
//! Not here: what each kill may tear (`engine/tests/resume.rs` tries ten thousand).
#![allow(clippy::unwrap_used)]

#[path = "support/server.rs"]
mod server;

use std::{
    net::TcpListener,
    path::PathBuf,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;
use server::{Server, manifest, speech_dir, stream_to};

#[test]
fn a_server_that_is_killed_again_and_again_loses_and_doubles_nothing() {
    let files = recordings();
    let port = free_port();
    let start = |folder| {
        Server::start_in(
            folder,
            &[
                ("INTERVIEWAI_AUDIO__PORT", &port),
                // As much is computed by a pass that is killed as by one that is not.
                ("INTERVIEWAI_SPEECH__WEIGHTS", "tiny.en"),
                ("INTERVIEWAI_SESSION__INTERIM_RESULTS", "false"),
            ],
        )
    };
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
        let numbers = events.iter().map(|event| event["event"].as_u64().unwrap());
        let mut expected = 0;
        for number in numbers {
            expected = if number == 1 { 1 } else { expected + 1 };
            assert_eq!(number, expected, "no event is lost or comes twice");
        }
    }
    println!("{killed} kills in {rounds} rounds of {} recordings, {:?}", files.len(), began.elapsed());
    let folder = server.unwrap().stop();
    let left = std::fs::read_dir(folder.path().join("data/live")).unwrap().count();
    assert_eq!(left, 0, "nothing of a session that is over is left");
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
