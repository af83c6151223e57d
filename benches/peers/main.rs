//! This server and its peers over the same recordings, in real time, in one run: how right, how soon, at what cost.
//!
//! `cargo bench --bench peers -- [--set NAME…] [--count N] [--system NAME…] [--json FILE] [--sessions [--limit MS]]`. Every recording goes
//! to each system in turn, and the next one begins with another system. `--sessions` instead raises the number of streams at
//! once until a system's p95 is above a second, or `--limit MS`. Python and its packages are fetched once, into the cache (`environment.rs`). Not here: how the
//! peers are driven (`peer.py`), tuning of anybody.

mod environment;
#[path = "../support/measure.rs"]
mod measure;
mod peer;
mod recordings;
#[path = "../../tests/support/server.rs"]
mod server;
mod sessions;
mod systems;

use std::path::PathBuf;

use measure::{CHUNK_MS, decoded, load, quantile, shown, speech_end_ms};
use models::speech::wer::WordErrors;
use recordings::{Clip, Spoken, pick};
use serde_json::{Value, json};
use server::{manifest, speech_dir};
use systems::{NAMES, System, USUAL};

/// A recording with what is known about it.
#[derive(Clone)]
pub(crate) struct Recording {
    file: PathBuf,
    id: String,
    /// 16 kHz mono.
    samples: Vec<f32>,
    speech_end_ms: f64,
    /// What was said, where people wrote it down.
    reference: Option<String>,
}

impl Recording {
    fn seconds(&self) -> f64 {
        self.samples.len() as f64 / 16e3
    }
}

/// What one system made of all the recordings.
#[derive(Default)]
struct Results {
    errors: WordErrors,
    cpu_s: f64,
    latencies_ms: Vec<Option<f64>>,
}

fn main() {
    let options = Options::parse();
    let Some(recordings) = options.recordings() else { return };
    let mut systems: Vec<System> = options.systems.iter().map(|name| System::start(name)).collect();
    let report = if options.sessions {
        sessions::measure(&mut systems, &recordings, options.limit_ms)
    } else {
        measure_in_turn(&mut systems, &recordings)
    };
    if let Some(file) = options.json {
        let text = serde_json::to_string_pretty(&report).expect("a report is plain data");
        std::fs::write(&file, text).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    }
}

fn measure_in_turn(systems: &mut [System], recordings: &[Recording]) -> Value {
    let shortest = recordings.iter().min_by(|a, b| a.seconds().total_cmp(&b.seconds()));
    for system in systems.iter_mut() {
        // The first run of a model is slower than all others.
        let _ = system.hear(shortest.expect("there are recordings"));
    }
    let began = load();
    let names: Vec<_> = systems.iter().map(|system| format!("{:>26}", system.name)).collect();
    println!("end of speech → final text, ms; load {began}\n{:<24} {:>4}  {}", "", "s", names.concat());
    let mut all: Vec<Results> = systems.iter().map(|_| Results::default()).collect();
    for (number, recording) in recordings.iter().enumerate() {
        for turn in 0..systems.len() {
            let index = (turn + number) % systems.len();
            all[index].add(&mut systems[index], recording);
        }
        let latest = all.iter().map(|results| format!("{:>26}", shown(results.latencies_ms[number])));
        println!("{:<24} {:>4.1}  {}", recording.id, recording.seconds(), latest.collect::<String>());
    }

    let audio_s: f64 = recordings.iter().map(Recording::seconds).sum();
    let ended = load();
    println!(
        "\n{} recordings, {audio_s:.0} s of audio; load {began} before, {ended} after",
        recordings.len()
    );
    println!("{:<28} {:>7} {:>14} {:>8} {:>8}  missing", "", "WER %", "CPU s/audio s", "p50 ms", "p95 ms");
    let rows = systems.iter().zip(&all).map(|(system, results)| results.row(system, recordings, audio_s));
    let rows: Vec<_> = rows.collect();
    json!({ "load_before": began, "load_after": ended, "audio_s": audio_s, "systems": rows })
}

impl Results {
    fn add(&mut self, system: &mut System, recording: &Recording) {
        let cpu_before = system.cpu_seconds();
        let heard = system.hear(recording).unwrap_or_else(|why| {
            eprintln!("{}, {}: {why}", system.name, recording.id);
            Vec::new()
        });
        self.cpu_s += system.cpu_seconds().zip(cpu_before).map_or(0.0, |(after, before)| after - before);
        let spoken = Spoken::once(&recording.samples, recording.speech_end_ms);
        self.latencies_ms.push(spoken.clips.iter().find_map(|clip| Clip::latency_ms(clip, &heard)));
        if let Some(reference) = &recording.reference {
            let text: Vec<_> = heard.iter().map(|heard| &*heard.text).collect();
            self.errors = self.errors + WordErrors::between(reference, &text.join(" "));
        }
    }

    fn row(&self, system: &System, recordings: &[Recording], audio_s: f64) -> Value {
        let values: Vec<f64> = self.latencies_ms.iter().flatten().copied().collect();
        let (p50, p95) = (quantile(&values, 0.5), quantile(&values, 0.95));
        let missing = recordings.len() - values.len();
        let (wer, cpu) = (self.errors.rate() * 100.0, self.cpu_s / audio_s);
        println!("{:<28} {wer:>7.2} {cpu:>14.3} {:>8} {:>8}  {missing}", system.name, shown(p50), shown(p95));
        let each = recordings.iter().zip(&self.latencies_ms);
        json!({
            "system": system.name, "version": system.version(), "wer": self.errors.rate(), "words": self.errors.words,
            "cpu_s_per_audio_s": cpu, "p50_ms": p50, "p95_ms": p95, "missing": missing,
            "each": each.map(|(recording, ms)| json!({ "id": recording.id, "ms": ms })).collect::<Vec<_>>(),
        })
    }
}

struct Options {
    sets: Vec<String>,
    count: usize,
    systems: Vec<String>,
    json: Option<PathBuf>,
    sessions: bool,
    /// p95 of a number of streams that is still fit for a conversation.
    limit_ms: f64,
}

impl Options {
    fn parse() -> Self {
        let (sets, systems) = (Vec::new(), Vec::new());
        let mut options = Self { sets, count: 14, systems, json: None, sessions: false, limit_ms: 1000.0 };
        let mut arguments = std::env::args().skip(1).peekable();
        while let Some(argument) = arguments.next() {
            let mut values = || {
                std::iter::from_fn(|| arguments.next_if(|value| !value.starts_with("--"))).collect::<Vec<_>>()
            };
            let one = |values: Vec<String>| match <[String; 1]>::try_from(values) {
                Ok([value]) => value,
                Err(values) => panic!("{argument} takes one value, not {}", values.len()),
            };
            match argument.as_str() {
                "--set" => options.sets.extend(values()),
                "--system" => options.systems.extend(values()),
                "--count" => options.count = one(values()).parse().expect("--count is a number"),
                "--json" => options.json = Some(one(values()).into()),
                "--limit" => options.limit_ms = one(values()).parse().expect("--limit is a number"),
                "--sessions" => options.sessions = true,
                // Cargo passes this to every bench.
                "--bench" => {}
                other => panic!("{other} is not an option; see the top of benches/peers/main.rs"),
            }
        }
        if options.sets.is_empty() {
            options.sets = MIX.map(str::to_owned).to_vec();
        }
        if options.systems.is_empty() {
            options.systems = USUAL.map(str::to_owned).to_vec();
        }
        let unknown = options.systems.iter().find(|name| !NAMES.contains(&&***name));
        assert!(unknown.is_none(), "{unknown:?} is none of {NAMES:?}");
        options
    }

    /// `None`, and a line that says so, where there are none on this machine.
    fn recordings(&self) -> Option<Vec<Recording>> {
        let dir = speech_dir()?;
        let mut names = self.sets.clone();
        names.sort();
        names.dedup();
        let sets: Vec<_> = names.iter().map(|set| manifest(&dir, set)).collect();
        let place = |set| names.iter().position(|name| name == set).expect("names has all sets");
        let order: Vec<_> = self.sets.iter().map(place).collect();
        let read = |(file, entry): (PathBuf, Value)| {
            let (samples, rate) = decoded(&file);
            assert_eq!(rate, 16_000, "{}: the recordings have 16 kHz", file.display());
            let reference = (entry["ref_kind"] == "human").then(|| entry["text"].as_str()).flatten();
            Recording {
                samples,
                id: entry["id"].as_str().unwrap_or_default().to_owned(),
                speech_end_ms: speech_end_ms(&dir, &entry, &file),
                reference: reference.map(str::to_owned),
                file,
            }
        };
        let recordings: Vec<_> = pick(&order, &sets, self.count).into_iter().map(read).collect();
        assert!(!recordings.is_empty(), "no recordings in {:?}", self.sets);
        Some(recordings)
    }
}

/// What interviews resemble, by how often: read and spontaneous speech, short questions; one long recording in fourteen.
const MIX: [&str; 14] = [
    "librispeech_test_other",
    "timit_sample",
    "questions",
    "librispeech_test_other",
    "timit_sample",
    "ljspeech",
    "questions",
    "librispeech_test_other",
    "timit_sample",
    "mfa_spontaneous",
    "questions",
    "librispeech_test_other",
    "timit_sample",
    "ljspeech",
];
