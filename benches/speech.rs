//! How right and how soon: recordings streamed at real-time speed to the real server, as a microphone would send them.
//!
//! `cargo bench --bench speech -- [--set NAME] [--count N] [--json FILE] [MANIFEST]`. Prints word error rate, CPU seconds a
//! second of audio, and the time from the true end of speech to each stage. Say how busy the machine was when quoting it.

#[path = "support/measure.rs"]
mod measure;
#[path = "../tests/support/server.rs"]
mod server;

use std::{path::PathBuf, time::Instant};

use measure::{CHUNK_MS, cpu_seconds, load, quantile, shown, speech_end_ms};
use models::speech::wer::WordErrors;
use serde_json::{Value, json};
use server::{Server, final_text, manifest, speech_dir};

fn main() {
    let options = Options::parse();
    let Some(dir) = speech_dir() else { return };
    let entries: Vec<_> = manifest(&dir, &options.set)
        .into_iter()
        .filter(|(_, entry)| entry["ref_kind"] == "human" && entry["text"].is_string())
        .take(options.count)
        .collect();
    assert!(!entries.is_empty(), "no recordings with a reference text in set {:?}", options.set);
    println!("{} recordings of {}, load {}", entries.len(), options.set, load());

    let server = Server::start(&[("INTERVIEWAI_ANSWERS__MODE", "auto")]);
    let mut errors = Vec::new();
    let mut stages = Stages::default();
    let mut audio_s = 0.0;
    let cpu_so_far = || cpu_seconds(server.pid()).expect("the server runs");
    let (cpu_before, began) = (cpu_so_far(), Instant::now());
    for (file, entry) in &entries {
        let events = server.stream(&["--silence", "1500"], std::slice::from_ref(file));
        let reference = entry["text"].as_str().expect("filtered above");
        errors.push(WordErrors::between(reference, &final_text(&events, file)));
        audio_s += entry["duration_s"].as_f64().expect("each entry has a duration");
        stages.add(&events, speech_end_ms(&dir, entry, file));
    }
    let errors: WordErrors = errors.into_iter().sum();
    let cpu = (cpu_so_far() - cpu_before) / audio_s;
    println!("\nword error rate            {:>8.2} %", errors.rate() * 100.0);
    println!("CPU s / audio s            {cpu:>8.3}");
    println!("wall s / audio s           {:>8.3}", began.elapsed().as_secs_f64() / audio_s);
    println!("\n{:<42} {:>6} {:>6} {:>6}  n", "milliseconds", "p50", "p95", "max");
    let rows: Vec<_> = stages.rows().into_iter().map(|(name, values)| row(name, values)).collect();
    let report = json!({
        "set": options.set, "recordings": entries.len(), "wer": errors.rate(),
        "cpu_s_per_audio_s": cpu, "load": load(), "stages": rows,
    });
    if let Some(file) = options.json {
        let text = serde_json::to_string_pretty(&report).expect("a report is plain data");
        std::fs::write(&file, text).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    }
}

struct Options {
    set: String,
    count: usize,
    json: Option<PathBuf>,
}

impl Options {
    fn parse() -> Self {
        let mut options = Self { set: "librispeech_test_other".to_owned(), count: 20, json: None };
        let mut arguments = std::env::args().skip(1);
        while let Some(argument) = arguments.next() {
            let mut value = || arguments.next().unwrap_or_else(|| panic!("{argument} needs a value"));
            match argument.as_str() {
                "--set" => options.set = value(),
                "--count" => options.count = value().parse().expect("--count is a number"),
                "--json" => options.json = Some(value().into()),
                // Cargo passes this to every bench.
                "--bench" => {}
                other => panic!("{other} is not an option; see the top of benches/speech.rs"),
            }
        }
        options
    }
}

/// Times since the true end of speech of the last turn of each recording.
#[derive(Default)]
struct Stages {
    decided: Vec<f64>,
    text: Vec<f64>,
    decided_to_text: Vec<f64>,
    first_interim: Vec<f64>,
    first_token: Vec<f64>,
}

impl Stages {
    fn add(&mut self, events: &[Value], speech_end_ms: f64) {
        let received = |event: &Value| event["received_ms"].as_f64().unwrap_or_default() + CHUNK_MS;
        let last =
            |wanted: &dyn Fn(&Value) -> bool| events.iter().rev().find(|event| wanted(event)).map(received);
        let decided = last(&|event| event["type"] == "speech_ended");
        let text = last(&|event| event["type"] == "transcription" && event["is_final"] == true);
        let first = |wanted: &dyn Fn(&Value) -> bool| events.iter().find(|event| wanted(event));
        let begun = first(&|event| event["type"] == "speech_started");
        let interim = first(&|event| event["type"] == "transcription" && event["is_final"] == false);
        if let (Some(begun), Some(interim)) = (begun, interim) {
            self.first_interim.push(received(interim) - begun["at_ms"].as_f64().unwrap_or_default());
        }
        if let (Some(decided), Some(text)) = (decided, text) {
            self.decided.push(decided - speech_end_ms);
            self.text.push(text - speech_end_ms);
            self.decided_to_text.push(text - decided);
        }
        if let Some(token) = last(&|event| event["type"] == "answer_delta" && event["index"] == 0) {
            self.first_token.push(token - speech_end_ms);
        }
    }

    fn rows(self) -> Vec<(&'static str, Vec<f64>)> {
        vec![
            ("speech began → first interim text", self.first_interim),
            ("end of speech → turn decided", self.decided),
            ("turn decided → final text", self.decided_to_text),
            ("end of speech → final text", self.text),
            ("end of speech → first text of answer", self.first_token),
        ]
    }
}

fn row(name: &str, values: Vec<f64>) -> Value {
    let at = |part| quantile(&values, part);
    let n = values.len();
    println!("{name:<42} {:>6} {:>6} {:>6}  {n}", shown(at(0.5)), shown(at(0.95)), shown(at(1.0)));
    json!({ "stage": name, "p50_ms": at(0.5), "p95_ms": at(0.95), "max_ms": at(1.0), "n": n })
}
