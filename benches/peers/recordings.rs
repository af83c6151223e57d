//! What is said to the systems, and which text answers which recording.
//!
//! Tested by `tests/measure.rs`. Not here: saying it, word errors.

#![allow(dead_code, reason = "the bench and its tests each use a part of it")]

/// A final text as a system gave it. Milliseconds; `end_ms` in the client's audio, `at_ms` since its first sample was said.
#[derive(Clone, Debug)]
pub(crate) struct Heard {
    pub(crate) text: String,
    /// Where the turn ended.
    pub(crate) end_ms: f64,
    /// When the text was there.
    pub(crate) at_ms: f64,
}

/// A recording in what a client says.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clip {
    pub(crate) start_ms: f64,
    /// The true end of speech.
    pub(crate) speech_end_ms: f64,
    /// Where the silence after it ends.
    pub(crate) until_ms: f64,
}

impl Clip {
    /// From the true end of speech to the last final text of a turn that ends in this recording; `None`, missing, without
    /// one, and when that text was there before speech had ended: the end of what was said never came.
    pub(crate) fn latency_ms(&self, heard: &[Heard]) -> Option<f64> {
        let own = heard
            .iter()
            .filter(|text| text.end_ms > self.start_ms && text.end_ms <= self.until_ms + SLACK_MS);
        let last = own.map(|text| text.at_ms).max_by(f64::total_cmp)?;
        (last >= self.speech_end_ms).then_some(last - self.speech_end_ms)
    }
}

/// What a client says, 16 kHz mono.
#[derive(Debug, Default)]
pub(crate) struct Spoken {
    pub(crate) samples: Vec<f32>,
    pub(crate) clips: Vec<Clip>,
    /// How long the client waits before it begins.
    pub(crate) offset_ms: f64,
}

impl Spoken {
    /// One recording, and silence that lets every system end the turn.
    pub(crate) fn once(samples: &[f32], speech_end_ms: f64) -> Self {
        let mut spoken = Self::default();
        spoken.say(samples, speech_end_ms, TAIL_SAMPLES);
        spoken
    }

    /// Recordings (samples, true end of speech) in turn, beginning with number `first`, each followed by as much silence:
    /// half the time is talk. Ends with the first silence past `seconds`.
    pub(crate) fn session(recordings: &[(Vec<f32>, f64)], first: usize, seconds: f64) -> Self {
        let mut spoken = Self::default();
        for (samples, speech_end_ms) in recordings.iter().cycle().skip(first) {
            if spoken.duration_ms() >= seconds * 1e3 {
                break;
            }
            spoken.say(samples, *speech_end_ms, samples.len());
        }
        spoken
    }

    fn say(&mut self, samples: &[f32], speech_end_ms: f64, silence: usize) {
        let start_ms = self.duration_ms();
        self.samples.extend_from_slice(samples);
        self.samples.resize(self.samples.len() + silence, 0.0);
        let until_ms = self.duration_ms();
        self.clips.push(Clip { start_ms, speech_end_ms: start_ms + speech_end_ms, until_ms });
    }

    pub(crate) fn duration_ms(&self) -> f64 {
        self.samples.len() as f64 / 16.0
    }

    /// As little-endian 16-bit samples.
    pub(crate) fn pcm(&self) -> Vec<u8> {
        let samples = self.samples.iter().map(|sample| (sample * 32_768.0) as i16);
        samples.flat_map(i16::to_le_bytes).collect()
    }
}

/// Up to `count` entries: `order` names a set for each in turn, over and over, and a set's picks lie evenly over it, so
/// that few of them still have many speakers.
pub(crate) fn pick<T: Clone>(order: &[usize], sets: &[Vec<T>], count: usize) -> Vec<T> {
    let mut wanted = vec![0; sets.len()];
    let left = |wanted: &[usize], set: usize| wanted[set] < sets[set].len();
    let mut turns = Vec::new();
    while turns.len() < count && order.iter().any(|set| left(&wanted, *set)) {
        for set in order {
            if turns.len() < count && left(&wanted, *set) {
                turns.push((*set, wanted[*set]));
                wanted[*set] += 1;
            }
        }
    }
    turns.into_iter().map(|(set, index)| sets[set][index * sets[set].len() / wanted[set]].clone()).collect()
}

/// 1.5 s, more than any system waits before it ends a turn.
pub(crate) const TAIL_SAMPLES: usize = 24_000;
/// Turns end on whole windows of a detector, so the last may end a little after the audio.
const SLACK_MS: f64 = 100.0;
