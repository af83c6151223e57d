//! The text of an open turn, as one pass after another hears it: what is committed, what is settled, what may change.
//!
//! *Settled* words are those that two passes in a row agree on; they begin every later text. *Committed* words are settled
//! for good and their audio is heard no more, so that a pass stays short however long somebody speaks.
//! Pure: no session, no clock. Not here: when to ask for a pass (`listening`), how words are joined (`joining`).

use std::sync::Arc;

use codecs::SampleIndex;
use models::speech::{Transcript, Word};
use protocol::WordTiming;

use super::joining::{append, fold, join, middle_ms, new_words};
use crate::listener::Utterance;

/// The text of one open turn.
#[derive(Debug, Default)]
pub(super) struct Draft {
    committed: Vec<WordTiming>,
    /// The committed words end here, and requests begin.
    cut: Option<SampleIndex>,
    /// Agreed on, after the cut.
    settled: Vec<WordTiming>,
    /// The words of the last pass, settled ones first, and the end of its audio.
    last: Vec<WordTiming>,
    last_heard: SampleIndex,
    language: String,
}

/// What one request heard: the words from `start` to `heard`.
#[derive(Debug)]
pub(super) struct Pass {
    /// First sample of the request's audio.
    pub(super) start: SampleIndex,
    /// Its end.
    pub(super) heard: SampleIndex,
    pub(super) transcript: Transcript,
}

/// A request's audio, and what is known of it.
#[derive(Debug)]
pub(super) struct Ask {
    pub(super) start: SampleIndex,
    pub(super) audio: Arc<[f32]>,
    pub(super) settled: Arc<[Word]>,
    pub(super) before: Arc<str>,
}

/// The text of a turn, so far or whole.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Text {
    pub(super) text: String,
    /// Characters at its start that no later text of the turn changes.
    pub(super) stable_chars: u64,
    pub(super) words: Vec<WordTiming>,
    pub(super) confidence: f32,
    pub(super) language: String,
}

impl Draft {
    /// What to ask about `utterance`.
    pub(super) fn ask(&self, utterance: &Utterance) -> Ask {
        let start = self.cut.unwrap_or_default().max(utterance.audio_start);
        let skipped = (start - utterance.audio_start) as usize;
        let audio = match skipped {
            0 => Arc::clone(&utterance.audio),
            skipped => Arc::from(utterance.audio.get(skipped..).unwrap_or_default()),
        };
        let relative = |ms: u64| ms.saturating_sub(start.as_ms()) as u32;
        let settled = self.settled.iter().map(|word| Word {
            text: word.word.clone(),
            start_ms: relative(word.start_ms),
            end_ms: relative(word.end_ms),
            confidence: word.confidence,
        });
        let said = join(&self.committed);
        let from = said.ceil_char_boundary(said.len().saturating_sub(BEFORE_BYTES));
        Ask { start, audio, settled: settled.collect(), before: Arc::from(&said[from..]) }
    }

    /// Takes in a pass over the turn so far; its text to show.
    pub(super) fn read(&mut self, pass: &Pass) -> Text {
        let words = self.joined(&self.settled, pass);
        self.agree(&words, pass.heard);
        self.language.clone_from(&pass.transcript.language);
        let text = self.text(&words, Some(pass));
        (self.last, self.last_heard) = (words, pass.heard);
        text
    }

    /// Where to cut the turn in the pause after `speech_end`, if so much has been heard up to `heard` that it is time.
    pub(super) fn cut_in_pause(
        &self,
        start: SampleIndex,
        speech_end: SampleIndex,
        heard: SampleIndex,
    ) -> Option<SampleIndex> {
        let fresh = self.cut.is_none_or(|cut| cut == start);
        (fresh && heard - start > LONG_SAMPLES).then(|| speech_end + (heard - speech_end) / 2)
    }

    /// Requests begin at `at` from now on. The settled words before it, which begin what a pass over the audio before it has to
    /// [`fill`](Self::fill) in.
    pub(super) fn cut(&mut self, at: SampleIndex) -> Vec<WordTiming> {
        let count = self.settled.iter().take_while(|word| middle_ms(word) < at.as_ms()).count();
        self.cut_after(at, count)
    }

    fn cut_after(&mut self, at: SampleIndex, count: usize) -> Vec<WordTiming> {
        metrics::counter!("turns_cut_for_length_total").increment(1);
        let after = self.settled.split_off(count);
        self.cut = Some(at);
        self.last.clone_from(&after);
        std::mem::replace(&mut self.settled, after)
    }

    /// Commits what a pass heard between two cuts; it failed if it is `None`. Cuts are filled in their order, before any text
    /// after them is read.
    pub(super) fn fill(&mut self, settled: Vec<WordTiming>, pass: Option<&Pass>) {
        let words = pass.map(timed).unwrap_or_default();
        append(&mut self.committed, with_settled(settled, words));
    }

    /// Commits settled words when very much has been heard since the last cut. `utterance` is the turn so far.
    pub(super) fn commit(&mut self, utterance: &Utterance) {
        let start = self.cut.unwrap_or_default().max(utterance.audio_start);
        if utterance.heard - start > VERY_LONG_SAMPLES
            && let Some((at, count)) = self.quietest(start, utterance)
        {
            let words = self.cut_after(at, count);
            self.fill(words, None);
        }
    }

    /// The text of the whole turn; `pass` is over all of it, or nothing when that failed.
    pub(super) fn finish(&self, pass: Option<&Pass>) -> Text {
        let words = pass.map_or_else(|| self.settled.clone(), |pass| self.joined(&self.settled, pass));
        self.text(&words, pass)
    }

    /// `settled`, and what `pass` heard after them.
    fn joined(&self, settled: &[WordTiming], pass: &Pass) -> Vec<WordTiming> {
        let mut words = timed(pass);
        if let Some(cut) = self.cut.filter(|cut| pass.start < *cut) {
            words.retain(|word| middle_ms(word) >= cut.as_ms());
        }
        if settled.is_empty()
            && let (Some(before), Some(first)) = (self.committed.last(), words.first())
            && before.end_ms > first.start_ms
            && fold(&before.word) == fold(&first.word)
        {
            // The cut went through the word, and both sides heard it.
            words.remove(0);
        }
        with_settled(settled.to_vec(), words)
    }

    /// Settles the words on which this pass and the last agree, as far as neither can be wrong for want of audio.
    fn agree(&mut self, words: &[WordTiming], heard: SampleIndex) {
        let known = heard.min(self.last_heard).as_ms().saturating_sub(LATEST_MS);
        // The last word of a pass may be cut.
        let most = self.last.len().min(words.len()).saturating_sub(1);
        let sure = |at: &usize| {
            let (before, now) = (&self.last[*at], &words[*at]);
            fold(&before.word) == fold(&now.word) && before.end_ms <= known && now.end_ms <= known
        };
        let from = self.settled.len();
        let agreed = (from..most).take_while(sure).count();
        self.settled.extend_from_slice(&words[from..from + agreed]);
    }

    fn text(&self, words: &[WordTiming], pass: Option<&Pass>) -> Text {
        let mut all = self.committed.clone();
        append(&mut all, words.to_vec());
        // A mark at the end may still turn out to be one that a pause made.
        let stable = join(&all[..(self.committed.len() + self.settled.len()).min(all.len())]);
        let stable = stable.trim_end_matches('.');
        let joined = join(&all);
        let whole = pass.map(|pass| &pass.transcript).filter(|_| self.committed.is_empty());
        let verbatim =
            whole.filter(|whole| whole.words.iter().map(|word| &word.text).eq(words.iter().map(|w| &w.word)));
        let verbatim = verbatim.filter(|whole| whole.text.starts_with(stable) || whole.words.is_empty());
        Text {
            text: verbatim.map_or(joined, |whole| whole.text.clone()),
            stable_chars: stable.chars().count() as u64,
            confidence: verbatim.map_or_else(|| confidence(&all), |whole| whole.confidence),
            language: pass.map_or_else(|| self.language.clone(), |pass| pass.transcript.language.clone()),
            words: all,
        }
    }

    /// The quietest place between two settled words, and how many of them are before it.
    fn quietest(&self, start: SampleIndex, utterance: &Utterance) -> Option<(SampleIndex, usize)> {
        let least = (start + LEAST_SAMPLES).as_ms();
        let gaps = self
            .settled
            .windows(2)
            .zip(1..)
            .map(|(pair, count)| (pair[0].end_ms.midpoint(pair[1].start_ms), count));
        let places = gaps.filter(|(ms, _)| *ms >= least).flat_map(|(ms, count)| {
            let around = (ms.saturating_sub(AROUND_MS)..=ms + AROUND_MS).step_by(10);
            around.map(move |ms| (SampleIndex::from_ms(ms), count))
        });
        let loudness = |(at, _): &(SampleIndex, usize)| {
            let from = (at.saturating_sub(QUIET_SAMPLES / 2) - utterance.audio_start) as usize;
            let samples = utterance.audio.get(from..from + QUIET_SAMPLES as usize).unwrap_or_default();
            if samples.is_empty() { f32::MAX } else { samples.iter().map(|sample| sample * sample).sum() }
        };
        places
            .map(|place| (loudness(&place), place))
            .min_by(|a, b| a.0.total_cmp(&b.0))
            .map(|(_, place)| place)
    }
}

/// `settled`, and what of `words`, heard from the same start, comes after them.
fn with_settled(mut settled: Vec<WordTiming>, words: Vec<WordTiming>) -> Vec<WordTiming> {
    let from = new_words(&settled, &words);
    settled.extend(words.into_iter().skip(from));
    settled
}

/// The words of `pass` on the session's clock.
fn timed(pass: &Pass) -> Vec<WordTiming> {
    let (start, transcript) = (pass.start.as_ms(), &pass.transcript);
    let words = transcript.words.iter().map(|word| WordTiming {
        word: word.text.clone(),
        start_ms: start + u64::from(word.start_ms),
        end_ms: start + u64::from(word.end_ms),
        confidence: word.confidence,
    });
    words.collect()
}

/// 0–1: geometric mean; 0 without words.
fn confidence(words: &[WordTiming]) -> f32 {
    if words.is_empty() {
        return 0.0;
    }
    let logs = words.iter().map(|word| word.confidence.max(1e-3).ln()).sum::<f32>();
    (logs / words.len() as f32).exp()
}

/// Words that end later than this before the end of the audio are not settled: what follows may change them.
const LATEST_MS: u64 = 500;
/// With more than this heard since the last cut, a turn is cut at the next pause.
const LONG_SAMPLES: u64 = SampleIndex::from_ms(8_000).0;
/// With more than this and no pause, it is cut between settled words.
const VERY_LONG_SAMPLES: u64 = SampleIndex::from_ms(20_000).0;
/// Between two cuts: shorter audio is heard worse.
const LEAST_SAMPLES: u64 = SampleIndex::from_ms(3_000).0;
/// How far from the time between two words, which is not exact, the quietest place is looked for.
const AROUND_MS: u64 = 120;
/// The length of a quiet place.
const QUIET_SAMPLES: u64 = SampleIndex::from_ms(60).0;
/// Of the committed text, the next request is told this much.
const BEFORE_BYTES: usize = 200;

#[cfg(test)]
#[path = "draft/tests.rs"]
mod tests;
