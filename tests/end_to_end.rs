//! The real binary, a real socket, real weights, real speech.

#[path = "support/server.rs"]
mod server;

use std::path::{Path, PathBuf};

use models::speech::wer::WordErrors;
use serde_json::Value;
use server::{Server, final_text, interviewai, manifest, run, speech_dir};

fn sample() -> PathBuf {
    PathBuf::from("samples/interview.flac")
}

fn expected_sample() -> String {
    std::fs::read_to_string("samples/interview.txt").expect("the sample has its text")
}

fn of_type<'a>(events: &'a [Value], kind: &str) -> Vec<&'a Value> {
    events.iter().filter(|event| event["type"] == kind).collect()
}

#[test]
fn the_sample_interview_is_written_down_and_answered_in_real_time() {
    let server = Server::start(&[]);
    let events = server.stream(&["--silence", "1500"], &[sample()]);
    let errors = WordErrors::between(&expected_sample(), &final_text(&events, &sample()));
    assert_eq!(errors.errors, 0, "{errors:?}: {}", final_text(&events, &sample()));

    let answers = of_type(&events, "answer");
    assert_eq!(answers.len(), 2, "one answer a question");
    for answer in answers {
        assert_eq!(answer["model"], "notes");
        assert!(!answer["sources"].as_array().unwrap().is_empty(), "{answer}");
        let t = |name: &str| answer["timings"][name].as_u64().unwrap();
        let sum = t("endpoint") + t("transcript") + t("request") + t("first_token");
        assert_eq!(sum, t("total_to_first_token"));
        let deltas = of_type(&events, "answer_delta");
        let text: String = deltas
            .iter()
            .filter(|delta| delta["answer_id"] == answer["answer_id"])
            .map(|delta| delta["text"].as_str().unwrap())
            .collect();
        assert_eq!(text, answer["content"].as_str().unwrap(), "the deltas are the answer");
    }
    assert!(
        of_type(&events, "transcription").iter().any(|event| event["is_final"] == false),
        "interim text came"
    );
    let numbers: Vec<_> = events.iter().map(|event| event["event"].as_u64().unwrap()).collect();
    assert_eq!(numbers, (1..=numbers.len() as u64).collect::<Vec<_>>());
    assert_eq!(events.last().unwrap()["type"], "stream_ended");
    assert_eq!(server.terminate(), Some(0), "SIGTERM drains and exits 0");
}

#[test]
fn the_same_words_at_any_speed_and_from_the_file_s_own_bytes() {
    let server = Server::start(&[]);
    for arguments in [&["--speed", "50"][..], &["--speed", "0", "--original"]] {
        let events = server.stream(arguments, &[sample()]);
        let text = final_text(&events, &sample());
        assert_eq!(WordErrors::between(&expected_sample(), &text).errors, 0, "{arguments:?}: {text}");
    }
}

#[test]
fn the_demo_shows_transcript_answer_and_receipt() {
    let (output, out, err) = run(interviewai().args(["demo", "--fast"]));
    assert!(output.status.success(), "{err}");
    for expected in [
        "reduced the latency of a production system",
        "notes",
        "900 ms to 140 ms",
        "latency receipt",
        "end of speech",
    ] {
        assert!(out.contains(expected), "{expected:?} is missing in:\n{out}");
    }
}

#[test]
fn transcribe_writes_files_down_without_a_server() {
    let (output, out, err) = run(interviewai().args(["transcribe", "--json", "samples/interview.flac"]));
    assert!(output.status.success(), "{err}");
    let written: Value = serde_json::from_str(out.trim()).unwrap();
    assert_eq!(written["file"], "samples/interview.flac");
    assert_eq!(
        WordErrors::between(&expected_sample(), written["text"].as_str().unwrap()).errors,
        0,
        "{written}"
    );
    assert_eq!(written["turns"].as_array().unwrap().len(), 2);

    let (output, _, err) = run(interviewai().args(["transcribe", "Makefile", "no-such-file.wav"]));
    assert_eq!(output.status.code(), Some(1));
    assert!(err.contains("Makefile") && err.contains("no-such-file.wav"), "{err}");
}

#[test]
fn bad_settings_are_all_listed_and_exit_64() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("bad.toml");
    std::fs::write(&file, "[audio]\nport = \"many\"\nhots = \"x\"\n[auth]\nmode = \"maybe\"\n").unwrap();
    let (output, _, err) = run(interviewai().args(["serve", "--config"]).arg(&file));
    assert_eq!(output.status.code(), Some(64), "{err}");
    for problem in ["audio.port", "audio.hots", "auth.mode"] {
        assert!(err.contains(problem), "{problem} is missing in:\n{err}");
    }
}

#[test]
fn auth_off_is_refused_beyond_this_machine() {
    let (output, _, err) = run(interviewai().arg("serve").env("INTERVIEWAI_AUDIO__HOST", "0.0.0.0"));
    assert_eq!(output.status.code(), Some(64), "{err}");
    assert!(err.contains("auth.mode is off") && err.contains("auth.token"), "{err}");
}

#[test]
fn a_port_in_use_is_named_with_what_to_do() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let (output, _, err) = run(interviewai().arg("serve").env("INTERVIEWAI_AUDIO__PORT", &port));
    assert_eq!(output.status.code(), Some(1));
    assert!(err.contains(&port) && err.contains("audio.port"), "{err}");
}

#[test]
fn models_are_listed_and_unknown_ones_named() {
    let (output, out, _) = run(interviewai().args(["models", "list"]));
    assert!(output.status.success() && out.contains("base.en") && out.contains("tiny.en"), "{out}");
    let (output, _, err) = run(interviewai().args(["models", "path", "huge"]));
    assert!(!output.status.success() && err.contains("base.en"), "{err}");
}

#[test]
fn the_doctor_says_what_to_do() {
    let (output, out, _) = run(interviewai()
        .arg("doctor")
        .env("INTERVIEWAI_SPEECH__WEIGHTS", "tiny.en")
        .env("INTERVIEWAI_CACHE_DIR", "/proc/nowhere"));
    assert_eq!(output.status.code(), Some(1), "{out}");
    assert!(
        out.contains("interviewai models fetch tiny.en") && out.contains("INTERVIEWAI_CACHE_DIR"),
        "{out}"
    );
}

#[test]
fn a_server_that_is_not_there_is_explained() {
    let (output, _, err) =
        run(interviewai().args(["stream", "--url", "ws://127.0.0.1:9/audio", "samples/interview.flac"]));
    assert!(!output.status.success() && err.contains("interviewai serve"), "{err}");
}

#[test]
fn twenty_librispeech_utterances() {
    let Some(dir) = speech_dir() else { return };
    let entries: Vec<_> = manifest(&dir, "librispeech_test_other").into_iter().take(20).collect();
    let files: Vec<PathBuf> = entries.iter().map(|(file, _)| file.clone()).collect();
    let server = Server::start(&[]);
    let events = server.stream(&["--speed", "0"], &files);
    let mut total = Vec::new();
    for (file, entry) in &entries {
        let reference = entry["text"].as_str().unwrap();
        let text = final_text(&events, file);
        let errors = WordErrors::between(reference, &text);
        println!(
            "{:>5.1} %  {}",
            errors.rate() * 100.0,
            Path::new(entry["file"].as_str().unwrap()).display()
        );
        total.push(errors);
    }
    let total: WordErrors = total.into_iter().sum();
    println!("WER over {} LibriSpeech utterances: {:.2} %", entries.len(), total.rate() * 100.0);
    assert!(total.rate() <= 0.15, "WER {:.1} %", total.rate() * 100.0);
}

#[test]
fn sounds_that_are_no_speech_give_no_transcript() {
    let Some(dir) = speech_dir() else { return };
    let files: Vec<PathBuf> = manifest(&dir, "nonspeech").into_iter().map(|(file, _)| file).collect();
    assert!(files.len() >= 10, "{} recordings", files.len());
    let server = Server::start(&[]);
    let events = server.stream(&["--speed", "0", "--silence", "1000"], &files);
    let invented: Vec<_> =
        of_type(&events, "transcription").iter().map(|e| (e["file"].clone(), e["text"].clone())).collect();
    assert!(invented.is_empty(), "{invented:?}");
    println!("{} recordings without speech gave no transcript", files.len());
}
