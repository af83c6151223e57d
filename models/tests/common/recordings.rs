//! Real recordings and weights for the speech tests.
//!
//! The recordings are not part of the project: `INTERVIEWAI_SPEECH_DIR`, by default `../shared/speech` beside the
//! repository. Where they are absent, that is said on the screen and the tests use synthetic audio only.

use std::{env, fs, path::PathBuf, sync::Arc};

use codecs::{Codec, StreamFormat};
use models::weights::{WeightsCache, find};

/// One line of the recordings' manifest.
pub(crate) struct Recording {
    pub(crate) id: String,
    /// What is said; empty when nobody speaks or nobody wrote it down.
    pub(crate) text: String,
    file: PathBuf,
    /// Labels in time, if there are any.
    timings: Vec<PathBuf>,
}

/// The recordings of `set` without repeated ones, in the order of the manifest; none where there are no recordings.
pub(crate) fn recordings(set: &str) -> Vec<Recording> {
    let default = concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/speech");
    let folder = PathBuf::from(env::var_os("INTERVIEWAI_SPEECH_DIR").unwrap_or_else(|| default.into()));
    let Ok(manifest) = fs::read_to_string(folder.join("manifest.jsonl")) else {
        eprintln!("SKIPPED: no recordings in {} (set INTERVIEWAI_SPEECH_DIR)", folder.display());
        return Vec::new();
    };
    let entries = manifest.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    entries
        .filter(|entry| entry["set"] == set && entry["duplicate_audio"] != true)
        .map(|entry| Recording {
            id: text(&entry["id"]),
            text: text(&entry["text"]),
            file: folder.join(text(&entry["file"])),
            timings: entry["timings_files"]
                .as_array()
                .into_iter()
                .flatten()
                .map(|file| folder.join(text(file)))
                .collect(),
        })
        .collect()
}

impl Recording {
    /// Mono samples at 16 kHz.
    pub(crate) fn audio(&self) -> Vec<f32> {
        let format = StreamFormat { codec: Codec::Flac, sample_rate: None, channels: None };
        let mut audio = Vec::new();
        let mut sink = |pcm: codecs::Pcm<'_>| {
            assert_eq!((pcm.sample_rate, pcm.channels), (16_000, 1), "{}", self.id);
            audio.extend_from_slice(pcm.interleaved);
        };
        codecs::decode_whole(format, &fs::read(&self.file).unwrap(), &mut sink).unwrap();
        audio
    }
}

impl Recording {
    /// Words with start and end in seconds, labelled by hand (`.ctm`: file, channel, start, duration, word).
    #[allow(dead_code, reason = "each test that includes this file uses a part of it")]
    pub(crate) fn labelled_words(&self) -> Vec<(String, f64, f64)> {
        let Some(ctm) = self.timings.iter().find(|file| file.extension().is_some_and(|kind| kind == "ctm"))
        else {
            return Vec::new();
        };
        let text = fs::read_to_string(ctm).unwrap();
        let lines = text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
        lines
            .filter(|fields| fields.len() >= 5)
            .map(|fields| {
                let (start, length): (f64, f64) = (fields[2].parse().unwrap(), fields[3].parse().unwrap());
                (fields[4].to_owned(), start, start + length)
            })
            .collect()
    }
}

/// The cached weights `name`; fails with what to do when they are not there.
pub(crate) fn weights(name: &str) -> PathBuf {
    let folder = env::var_os("INTERVIEWAI_CACHE_DIR").map(PathBuf::from).unwrap_or_else(|| {
        let cache = env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
        cache
            .unwrap_or_else(|| PathBuf::from(env::var_os("HOME").unwrap()).join(".cache"))
            .join("interviewai")
    });
    match WeightsCache::new(folder).locate(find(name).unwrap()) {
        Ok(path) => path,
        Err(error) => panic!("this test needs real weights: {error}"),
    }
}

/// White noise of the given peak, from a fixed seed.
pub(crate) fn noise(seconds: f32, peak: f32) -> Arc<[f32]> {
    let mut state = 0x2545_F491u32;
    (0..(seconds * 16_000.0) as usize)
        .map(|_| {
            // xorshift32, Marsaglia 2003
            state ^= state << 13;
            state ^= state >> 17;
            state ^= state << 5;
            (state as f32 / u32::MAX as f32 * 2.0 - 1.0) * peak
        })
        .collect()
}

/// A sine wave.
pub(crate) fn tone(seconds: f32, hertz: f32) -> Arc<[f32]> {
    (0..(seconds * 16_000.0) as usize)
        .map(|n| (n as f32 * hertz * std::f32::consts::TAU / 16_000.0).sin() * 0.3)
        .collect()
}
