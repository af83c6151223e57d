//! The load generator against the real server: what it prints is what happened.
//!
//! Not here: figures, which no test can hold on a busy machine.

#[path = "support/server.rs"]
mod server;

use serde_json::Value;
use server::{Server, interviewai, run};

/// `bench sessions` with `arguments`: its table, and its JSON.
fn bench(environment: &[(&str, &str)], arguments: &[&str]) -> (String, Value) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let json = folder.path().join("bench.json");
    let mut command = interviewai();
    command.args(["bench", "sessions", "--json"]).arg(&json).args(arguments);
    let (output, out, err) = run(command.envs(environment.iter().copied()));
    assert!(output.status.success(), "{err}");
    let json = std::fs::read_to_string(json).expect("the JSON was written");
    (out, serde_json::from_str(&json).expect("it is JSON"))
}

#[test]
fn sessions_that_speak_get_their_texts_and_those_beyond_the_capacity_are_refused() {
    let environment = [("INTERVIEWAI_SPEECH__WEIGHTS", "tiny.en")];
    // One that is let in, whatever the machine can do, and two that are not.
    let arguments =
        ["--count", "3", "--max-sessions", "1", "--talk", "0.5", "--seconds", "40", "--spread", "1"];
    let (table, found) = bench(&environment, &arguments);
    assert_eq!((&found["admitted"], &found["refused"]["4503"]), (&1.into(), &2.into()), "{table}");
    assert_eq!(found["failed"], serde_json::json!({}), "{table}");
    let losses = &found["losses"];
    assert!(losses["clips"].as_u64() >= Some(1) && losses["markers"].as_u64() >= Some(1), "{table}");
    assert_eq!((&losses["markers_missing"], &losses["audio_dropped_ms"]), (&0.into(), &0.into()), "{table}");
    assert!(found["final_ms"]["count"].as_u64() >= Some(1), "{table}");
    assert!(found["final_ms"]["p50"].as_f64() > Some(0.0), "{table}");
    assert_eq!((&found["admission_ms"]["count"], &found["refusal_ms"]["count"]), (&1.into(), &2.into()));
    let server = &found["server"];
    assert!(server["steady"]["resident_kib"].as_f64() > Some(10_000.0), "{table}");
    assert!(server["samples"].as_array().is_some_and(|samples| samples.len() >= 30), "{table}");
    for part in ["1 admitted, 2 refused (4503: 2)", "end of speech → final text", "cores", "a session:"] {
        assert!(table.contains(part), "{part} is not in\n{table}");
    }
}

#[test]
fn sessions_that_open_and_close_leave_nothing_behind() {
    let arguments =
        ["--count", "20", "--max-sessions", "100", "--talk", "0", "--seconds", "10", "--churn", "0.5"];
    // Those that hang up without a word are waited for, and have their slot meanwhile.
    let environment = [("INTERVIEWAI_SESSIONS__RESUME_WITHIN_S", "1")];
    let (table, found) = bench(&environment, &arguments);
    assert!(found["sessions"].as_u64() > Some(200), "{table}");
    assert_eq!(
        (&found["failed"], &found["refused"]),
        (&serde_json::json!({}), &serde_json::json!({})),
        "{table}"
    );
    let server = &found["server"];
    let descriptors = |when: &str| server[when]["descriptors"].as_u64().expect("a number");
    // SQLite opens and closes files of its own.
    assert!(descriptors("after") <= descriptors("before") + 8, "{table}");
    assert!(server["after"]["tasks"].as_u64() < Some(20), "{table}");
}

#[test]
fn sessions_over_quic_are_held_too() {
    let arguments = ["--count", "20", "--max-sessions", "20", "--talk", "0", "--seconds", "2"];
    let (table, found) = bench(&[], &[&arguments[..], &["--transport", "quic"]].concat());
    assert_eq!((&found["admitted"], &found["failed"]), (&20.into(), &serde_json::json!({})), "{table}");
}

#[test]
fn an_idle_session_takes_little_memory() {
    let arguments = ["--count", "400", "--max-sessions", "400", "--talk", "0", "--seconds", "4"];
    let (table, found) = bench(&[], &arguments);
    assert_eq!(found["admitted"], 400, "{table}");
    // 21 KiB, and the server's own first steps among so few.
    assert!(found["server"]["steady"]["resident_kib_per_session"].as_f64() <= Some(32.0), "{table}");
}

#[test]
fn a_server_that_runs_already_is_told_by_its_address() {
    let server = Server::start(&[
        ("INTERVIEWAI_SPEECH__PROVIDER", "openai"),
        ("INTERVIEWAI_SPEECH__BASE_URL", "http://127.0.0.1:9/v1"),
        ("INTERVIEWAI_AUDIO__HANDSHAKES_PER_MINUTE", "2"),
    ]);
    let pid = server.pid().to_string();
    let arguments = ["--count", "5", "--talk", "0", "--seconds", "2", "--url", &server.ws, "--pid", &pid];
    let (table, found) = bench(&[], &arguments);
    assert_eq!((&found["admitted"], &found["refused"]["429"]), (&2.into(), &3.into()), "{table}");
    assert!(found["server"]["before"]["resident_kib"].as_u64() > Some(1_000), "{table}");
    let mut command = interviewai();
    let (output, _, err) = run(command.args([
        "bench",
        "sessions",
        "--count",
        "1",
        "--talk",
        "0",
        "--url",
        "ws://127.0.0.1:9/audio",
        "--seconds",
        "1",
    ]));
    assert!(output.status.success(), "a session that fails is a finding: {err}");
}
