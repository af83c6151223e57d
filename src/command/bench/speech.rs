//! What the sessions of a bench say: recordings and the silence between them, 20 ms at a time.
//!
//! Not here: when a piece is sent.

use std::{path::Path, sync::Arc};

use codecs::{Codec, Resampler, StreamFormat};
use serde::Deserialize;

use crate::{Error, command::demo::SAMPLE_INTERVIEW};

/// One recording.
pub(super) struct Clip {
    /// 16 kHz mono, 16 bits, little-endian.
    pcm: Vec<u8>,
}

/// The line of a manifest, as far as it matters here.
#[derive(Deserialize)]
struct Entry {
    file: String,
    #[serde(default)]
    kind: String,
    #[serde(default)]
    language: Option<String>,
    #[serde(default)]
    duration_s: f64,
}

/// The recordings of a manifest (JSON lines with `file`, relative to its folder; `duration_s`, `kind` and `language` when they
/// are known): English speech of 1 to 20 s by one person. Without one those of the shared folder, or else the sample interview.
///
/// # Errors
/// The manifest or a recording cannot be read, or there is none to say.
pub(super) fn clips(manifest: Option<&Path>) -> Result<Vec<Clip>, Error> {
    let shared = Path::new(SHARED_MANIFEST);
    let Some(manifest) = manifest.or_else(|| shared.is_file().then_some(shared)) else {
        eprintln!("no recordings at {SHARED_MANIFEST}, and no --manifest: the sample interview is said");
        return Ok(vec![Clip::decoded(SAMPLE_INTERVIEW)?]);
    };
    let at = |error: &dyn std::fmt::Display| format!("{}: {error}", manifest.display());
    let text = std::fs::read_to_string(manifest).map_err(|error| at(&error))?;
    let folder = manifest.parent().unwrap_or(Path::new(""));
    let mut clips = Vec::new();
    for line in text.lines().filter(|line| !line.trim().is_empty()) {
        let entry: Entry = serde_json::from_str(line).map_err(|error| at(&error))?;
        if entry.is_fit() && clips.len() < MAX_CLIPS {
            let file = folder.join(&entry.file);
            let named = |error: &dyn std::fmt::Display| format!("{}: {error}", file.display());
            let bytes = std::fs::read(&file).map_err(|error| named(&error))?;
            clips.push(Clip::decoded(&bytes).map_err(|error| named(&error))?);
        }
    }
    if clips.is_empty() {
        return Err(at(&"no English speech of 1 to 20 s by one person is in it").into());
    }
    Ok(clips)
}

impl Entry {
    fn is_fit(&self) -> bool {
        let kind = self.kind.is_empty() || KINDS.contains(&self.kind.as_str());
        let english = self.language.as_deref().is_none_or(|language| language.starts_with("en"));
        let length = self.duration_s == 0.0 || (1.0..=20.0).contains(&self.duration_s);
        kind && english && length
    }
}

impl Clip {
    fn decoded(file: &[u8]) -> Result<Self, Error> {
        let format = StreamFormat { codec: Codec::Auto, sample_rate: None, channels: None };
        let (mut mono, mut rate) = (Vec::new(), 16_000);
        codecs::decode_whole(format, file, &mut |pcm| {
            rate = pcm.sample_rate;
            codecs::downmix(pcm.interleaved, pcm.channels, &mut mono);
        })?;
        let mut resampler = Resampler::new(rate)?;
        let mut samples = Vec::new();
        resampler.process(&mono, &mut samples);
        resampler.flush(&mut samples);
        let pcm: Vec<u8> =
            samples.iter().flat_map(|sample| ((sample * 32_767.0) as i16).to_le_bytes()).collect();
        let whole = pcm.len() - pcm.len() % PIECE_BYTES;
        Ok(Self { pcm: pcm[..whole].to_vec() })
    }

    fn ms(&self) -> u64 {
        (self.pcm.len() / PIECE_BYTES) as u64 * PIECE_MS
    }
}

/// What one session says.
pub(super) struct Script {
    clips: Arc<[Clip]>,
    /// Share of the time with speech.
    talk: f64,
    clip: usize,
    /// Bytes of the clip that are said.
    said: usize,
    /// Before the next clip.
    silence_ms: u64,
    /// Said so far, speech and silence.
    pub(super) at_ms: u64,
    /// Where each clip that was begun lies, on the session's clock.
    pub(super) spoken: Vec<(u64, u64)>,
}

impl Script {
    /// Says `clips` in turn, beginning with number `first`, for the share `talk` of the time, after the part `phase` of the first
    /// silence: sessions that begin together do not speak together.
    pub(super) fn new(clips: Arc<[Clip]>, talk: f64, first: usize, phase: f64) -> Self {
        let clip = first % clips.len();
        let cycle = clips[clip].ms() as f64 / talk;
        let silence_ms = (cycle * phase) as u64;
        Self { clips, talk, clip, said: 0, silence_ms, at_ms: 0, spoken: Vec::new() }
    }

    /// The next 20 ms; the second is true when a clip and the silence after it have been said.
    pub(super) fn piece(&mut self) -> (&[u8], bool) {
        let start = self.at_ms;
        self.at_ms += PIECE_MS;
        if self.silence_ms >= PIECE_MS {
            self.silence_ms -= PIECE_MS;
            let over = self.silence_ms < PIECE_MS && !self.spoken.is_empty();
            return (&SILENCE, over);
        }
        let clip = &self.clips[self.clip];
        let from = self.said;
        self.said += PIECE_BYTES;
        if from == 0 {
            self.spoken.push((start, start + clip.ms()));
        }
        let mut over = false;
        if self.said >= clip.pcm.len() {
            let silence = clip.ms() as f64 * (1.0 - self.talk) / self.talk;
            self.silence_ms = silence as u64;
            over = self.silence_ms < PIECE_MS;
            self.clip = (self.clip + 1) % self.clips.len();
            self.said = 0;
            return (&clip.pcm[from..from + PIECE_BYTES], over);
        }
        (&clip.pcm[from..from + PIECE_BYTES], over)
    }
}

/// As a microphone sends it.
pub(super) const PIECE_MS: u64 = 20;
const PIECE_BYTES: usize = 640;
const SILENCE: [u8; PIECE_BYTES] = [0; PIECE_BYTES];
const KINDS: [&str; 4] = ["read", "question", "command", "speech"];
/// 12 MiB of audio, at 6 s each.
const MAX_CLIPS: usize = 64;
const SHARED_MANIFEST: &str = "../shared/speech/manifest.jsonl";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn speaks_for_the_share_of_the_time_that_was_asked_for() {
        let clips: Arc<[Clip]> =
            [50, 125].map(|pieces| Clip { pcm: vec![1; pieces * PIECE_BYTES] }).into_iter().collect();
        let check = |talk: f64| {
            let mut script = Script::new(Arc::clone(&clips), talk, 0, 0.0);
            let loud = (0..50_000).filter(|_| script.piece().0[0] == 1).count();
            assert!((loud as f64 / 50_000.0 - talk).abs() < 0.01, "{loud} of 50,000 for {talk}");
            let speech: u64 = script.spoken.iter().map(|(start, end)| end - start).sum();
            assert!(speech.abs_diff(loud as u64 * PIECE_MS) <= 2_500, "the last may not be whole");
        };
        [0.1, 0.5, 0.9, 1.0].into_iter().for_each(check);
    }

    #[test]
    fn says_when_a_clip_and_its_silence_are_over() {
        let clips: Arc<[Clip]> = Arc::new([Clip { pcm: vec![1; 50 * PIECE_BYTES] }]);
        let check = |talk: f64, phase: f64, expected: &[usize]| {
            let mut script = Script::new(Arc::clone(&clips), talk, 0, phase);
            let over: Vec<_> = (1..=200).filter(|_| script.piece().1).collect();
            assert_eq!(over, expected, "{talk} {phase}");
        };
        check(0.5, 0.0, &[100, 200]);
        check(0.5, 0.25, &[125]);
        check(1.0, 0.0, &[50, 100, 150, 200]);
    }

    #[test]
    fn the_sample_is_speech() {
        assert_eq!(Clip::decoded(SAMPLE_INTERVIEW).unwrap().ms(), 14_780);
    }
}
