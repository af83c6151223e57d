//! Every original file of the shared recordings, in whatever its source gave it, against its 16 kHz FLAC twin: the same
//! length, the same sound, the same words.
//!
//! Both are written down by the same recogniser, cut at the same places, so that what differs is the decoder's doing. Not
//! here: whether the words are right (`end_to_end.rs`, `benches/speech.rs`).

#![allow(clippy::unwrap_used, reason = "a test says so by panicking")]

#[path = "support/audio.rs"]
mod audio;
#[path = "support/server.rs"]
mod server;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    sync::Arc,
};

use audio::{Decoded, decode};
use codecs::{Codec, StreamFormat};
use futures_util::{StreamExt as _, future::join_all};
use models::speech::{
    InferencePool, PoolConfig, Priority, TranscribeRequest, Transcriber as _, TranscriptEvent,
    wer::WordErrors,
};
use serde_json::Value;
use server::{interviewai, run, speech_dir};

#[test]
fn originals_sound_and_read_as_their_twins() {
    let Some(dir) = speech_dir() else { return };
    let entries = entries(&dir);
    let recogniser = Recogniser::load();
    let mut twin_texts: BTreeMap<PathBuf, Vec<String>> = BTreeMap::new();
    let mut total = Vec::new();
    let mut problems = Vec::new();
    println!("{HEAD}");
    for (original, twin, entry) in entries {
        let name = original.strip_prefix(&dir).unwrap().display().to_string();
        let mut problem = |what: String| match EXCEPTIONS
            .iter()
            .find(|(file, known, _)| name.ends_with(file) && what.contains(known))
        {
            Some((.., reason)) => println!("  {what}: {reason}"),
            None => problems.push(format!("{name}: {what}")),
        };
        let decoded = match decode(format_of(&original), &std::fs::read(&original).unwrap(), CHUNK_BYTES) {
            Ok(decoded) => decoded,
            Err(error) => {
                println!("{name:<64} {error}");
                problem(format!("does not decode: {error}"));
                continue;
            }
        };
        let reference = decode(AUTO, &std::fs::read(&twin).unwrap(), CHUNK_BYTES).unwrap().samples;
        let (lag, correlation) = alignment(&reference, &decoded.samples);
        let words = if entry["language"] != "en" {
            None
        } else if reference == decoded.samples {
            // The same samples are the same words.
            Some(WordErrors::default())
        } else {
            let cuts = quiet_cuts(&reference);
            let twin_text = twin_texts.entry(twin).or_insert_with(|| recogniser.texts(&reference, &cuts));
            let text = recogniser.texts(&decoded.samples, &cuts).join(" ");
            Some(WordErrors::between(&twin_text.join(" "), &text))
        };
        total.extend(words);
        let common = reference.len().min(decoded.samples.len());
        let louder_db = level_db(&decoded.samples[..common]) - level_db(&reference[..common]);
        println!("{}", row(&name, &decoded, reference.len(), lag, correlation, louder_db, words));

        let (seconds, twin_seconds) = (seconds(decoded.samples.len()), seconds(reference.len()));
        if (seconds - twin_seconds).abs() > LENGTH_TOLERANCE_S {
            problem(format!("{seconds:.3} s, its twin {twin_seconds:.3} s"));
        }
        if correlation < LEAST_CORRELATION {
            problem(format!("sounds different: correlation {correlation:.3}"));
        }
        if louder_db.abs() > LEVEL_TOLERANCE_DB {
            problem(format!("{louder_db:.1} dB louder than its twin"));
        }
        if decoded.skipped > 0 {
            problem(format!("{} times, packets were skipped", decoded.skipped));
        }
    }
    let total: WordErrors = total.into_iter().sum();
    println!("{} word errors in {} words: {:.2} %", total.errors, total.words, total.rate() * 100.0);
    assert!(problems.is_empty(), "\n{}", problems.join("\n"));
    assert!(total.words > 300 && total.rate() <= MAX_WORD_ERRORS, "{total:?}");
}

/// Each original with its twin and its line of the manifest. All files in `orig` folders are among them.
fn entries(dir: &Path) -> Vec<(PathBuf, PathBuf, Value)> {
    let manifest = std::fs::read_to_string(dir.join("manifest.jsonl")).unwrap();
    let mut entries = Vec::new();
    for line in manifest.lines() {
        let entry: Value = serde_json::from_str(line).unwrap();
        let twin = dir.join(entry["file"].as_str().unwrap());
        for original in entry["originals"].as_array().unwrap() {
            entries.push((dir.join(original.as_str().unwrap()), twin.clone(), entry.clone()));
        }
    }
    let listed: BTreeSet<_> = entries.iter().map(|(original, ..)| original.clone()).collect();
    let folder =
        |path: &Path| std::fs::read_dir(path).into_iter().flatten().map(|entry| entry.unwrap().path());
    let originals = folder(dir).flat_map(|set| folder(&set)).flat_map(|split| folder(&split.join("orig")));
    assert_eq!(originals.collect::<BTreeSet<_>>(), listed, "originals on disk, and in the manifest");
    entries
}

/// By content, as for a client that does not know; only headerless audio has to be named.
fn format_of(original: &Path) -> StreamFormat {
    if original.extension().is_some_and(|extension| extension == "raw") {
        StreamFormat { codec: Codec::PcmS16le, sample_rate: Some(16_000), channels: Some(1) }
    } else {
        AUTO
    }
}

/// By how many samples `other` is later than `twin` (±60 ms), and how alike they then are: the correlation coefficient,
/// 1 for the same sound at any level. Over the first five seconds.
fn alignment(twin: &[f32], other: &[f32]) -> (isize, f32) {
    let length = twin.len().min(other.len()).min(5 * RATE);
    let (twin, other) = (&twin[..length], &other[..length]);
    let at = |lag: isize| {
        let (a, b) = if lag >= 0 {
            (&twin[..length - lag as usize], &other[lag as usize..])
        } else {
            (&twin[-lag as usize..], &other[..length - -lag as usize])
        };
        let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>();
        dot(a, b) / (dot(a, a) * dot(b, b)).sqrt().max(f32::MIN_POSITIVE)
    };
    let most = (RATE * 60 / 1000).min(length / 2) as isize;
    (-most..=most).map(|lag| (lag, at(lag))).max_by(|a, b| a.1.total_cmp(&b.1)).unwrap()
}

/// Where to cut: the quietest 100 ms between 20 and 30 s after the last cut, while more than 30 s are left.
fn quiet_cuts(samples: &[f32]) -> Vec<usize> {
    let mut cuts = vec![0];
    while samples.len() - cuts[cuts.len() - 1] > 30 * RATE {
        let from = cuts[cuts.len() - 1] + 20 * RATE;
        let loudness = |window: &&[f32]| window.iter().map(|sample| sample.abs()).sum::<f32>();
        let windows = samples[from..from + 10 * RATE].chunks_exact(RATE / 10).enumerate();
        let (quietest, _) = windows.min_by(|a, b| loudness(&a.1).total_cmp(&loudness(&b.1))).unwrap();
        cuts.push(from + quietest * RATE / 10 + RATE / 20);
    }
    cuts
}

struct Recogniser {
    pool: InferencePool,
    runtime: tokio::runtime::Runtime,
}

impl Recogniser {
    fn load() -> Self {
        let (output, path, err) = run(interviewai().args(["models", "path", WEIGHTS]));
        assert!(output.status.success(), "{err}");
        let pool = InferencePool::load(Path::new(path.trim()), PoolConfig::default()).unwrap();
        Self { pool, runtime: tokio::runtime::Runtime::new().unwrap() }
    }

    /// The text of each piece between `cuts`.
    fn texts(&self, samples: &[f32], cuts: &[usize]) -> Vec<String> {
        let ends = cuts[1..].iter().copied().chain([samples.len()]);
        let pieces = cuts.iter().zip(ends).map(|(from, to)| async move {
            let request = TranscribeRequest {
                audio: Arc::from(samples.get(*from..to).unwrap_or_default()),
                language: Some("en".to_owned()),
                vocabulary: Arc::from([]),
                priority: Priority::Final,
                stream: 1,
                settled: Arc::from([]),
                before: Arc::from(""),
            };
            let events = self.pool.transcribe(request).collect::<Vec<_>>().await;
            match events.into_iter().last() {
                Some(Ok(TranscriptEvent::Final(transcript))) => transcript.text,
                other => panic!("{other:?}"),
            }
        });
        self.runtime.block_on(join_all(pieces))
    }
}

fn level_db(samples: &[f32]) -> f32 {
    10.0 * (samples.iter().map(|sample| sample * sample).sum::<f32>() / samples.len() as f32).log10()
}

fn row(
    name: &str,
    decoded: &Decoded,
    twin: usize,
    lag: isize,
    correlation: f32,
    louder_db: f32,
    words: Option<WordErrors>,
) -> String {
    let (rate, channels) = decoded.spec;
    let words = match words {
        None => "–".to_owned(),
        Some(WordErrors { words: 0, .. }) => "identical".to_owned(),
        Some(words) => format!("{} in {}", words.errors, words.words),
    };
    format!(
        "{name:<64} {rate:>6} {channels:>2} {:>5} {:>8.3} {:>8.3} {:>6.1} {correlation:>6.3} {louder_db:>6.1} {words:>9}",
        if decoded.live { "live" } else { "whole" },
        seconds(decoded.samples.len()),
        seconds(twin),
        lag as f64 * 1e3 / RATE as f64,
    )
}

fn seconds(samples: usize) -> f64 {
    samples as f64 / RATE as f64
}

const HEAD: &str = "original                                                             Hz ch  comes  seconds     twin lag ms  corr.    +dB    errors";
const AUTO: StreamFormat = StreamFormat { codec: Codec::Auto, sample_rate: None, channels: None };
const RATE: usize = codecs::SAMPLE_RATE as usize;
/// About what MediaRecorder sends in 120 ms.
const CHUNK_BYTES: usize = 500;
/// Whole lossy packets: an encoder's delay and padding are not always in the file.
const LENGTH_TOLERANCE_S: f64 = 0.1;
/// Resamplers differ above 7 kHz, and lossy codecs are lossy.
const LEAST_CORRELATION: f32 = 0.95;
/// Two channels mixed are up to 3 dB softer than the one that was kept.
const LEVEL_TOLERANCE_DB: f32 = 4.0;
const MAX_WORD_ERRORS: f64 = 0.05;
const WEIGHTS: &str = "base.en";
/// Originals that differ from their twins in a way that is not the decoder's: what, and why.
const EXCEPTIONS: [(&str, &str, &str); 4] = [
    ("p001-flac.flac", "1 times", "ends in one undecodable packet, as the recordings' README says"),
    ("librosa-music.ogg", "49.200 s", "the twin was cut to its first 20 s"),
    ("librosa-drums.ogg", "25.026 s", "the twin was cut to its first 20 s"),
    (
        "librosa-bird.ogg",
        "correlation",
        "whistles at 5 to 7 kHz, where the < 50 µs between resamplers are a third of a wave",
    ),
];
