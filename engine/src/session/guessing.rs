//! Guesses that a turn is over, made at each pause: the text is there when the turn ends, and says whether it has ended.
//!
//! Nobody is shown a guess before it is confirmed. Not here: when a pause is long enough (the endpointer).

use std::{
    collections::VecDeque,
    future::ready,
    task::{Context, Poll},
    time::Duration,
};

use codecs::SampleIndex;
use futures_util::{FutureExt as _, future::BoxFuture};
use models::speech::Priority;
use tokio::time::Instant;

use super::{
    Session,
    draft::Pass,
    hearing::{Collected, collect},
    journal::Record,
};
use crate::{
    listener::{TurnEvent, Utterance},
    turn_end::{TurnEnd, turn_end},
};

/// The text of a turn, on the guess that it is over.
pub(super) struct Guess {
    pub(super) utterance: Utterance,
    /// First sample of what is transcribed.
    pub(super) start: SampleIndex,
    /// Its end.
    pub(super) heard: SampleIndex,
    work: Work,
    /// When the listener is told that there are no words; `None` once it has been told what they say.
    pub(super) hint_due: Option<Instant>,
    /// An interim pass gave its place to this guess.
    displaced: bool,
}

enum Work {
    Running(BoxFuture<'static, Collected>),
    Done(Collected),
}

impl Guess {
    /// Ready once, when the text comes.
    pub(super) fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let Work::Running(work) = &mut self.work else { return Poll::Pending };
        work.poll_unpin(context).map(|collected| self.work = Work::Done(collected))
    }

    /// The text, to be waited for if it has not come.
    pub(super) fn text(self) -> BoxFuture<'static, Collected> {
        match self.work {
            Work::Running(work) => work,
            Work::Done(collected) => ready(collected).boxed(),
        }
    }

    /// What the back-end told beside the text, if that has come: true whatever becomes of the guess.
    fn warnings(&self) -> Vec<(&'static str, String)> {
        match &self.work {
            Work::Done((_, warnings)) => warnings.clone(),
            Work::Running(_) => Vec::new(),
        }
    }

    /// What was heard, if it has come.
    pub(super) fn pass(&self) -> Option<Pass> {
        match &self.work {
            Work::Done((Ok(transcript), _)) => {
                Some(Pass { start: self.start, heard: self.heard, transcript: transcript.clone() })
            }
            _ => None,
        }
    }
}

/// So many guesses a minute of audio.
#[derive(Debug)]
pub(super) struct Budget {
    limit: u32,
    made: VecDeque<SampleIndex>,
}

impl Budget {
    pub(super) fn new(limit: u32) -> Self {
        Self { limit, made: VecDeque::new() }
    }

    pub(super) fn set_limit(&mut self, limit: u32) {
        self.limit = limit;
    }

    /// Whether one more may be made at `now`.
    pub(super) fn take(&mut self, now: SampleIndex) -> bool {
        while self.made.front().is_some_and(|made| now - *made >= MINUTE_SAMPLES) {
            self.made.pop_front();
        }
        let allowed = self.made.len() < self.limit as usize;
        if allowed {
            self.made.push_back(now);
        }
        allowed
    }
}

impl Session {
    /// Perhaps the turn is over: writes it down on that guess, which takes the place of a running interim pass.
    pub(super) fn on_pause(&mut self, index: usize, utterance: &Utterance) {
        if !self.config.eager {
            return;
        }
        if let Some(replay) = &mut self.replay {
            return replay.paused(index, utterance);
        }
        if !self.hearing.transcriber.serves(Priority::Speculative) {
            self.hearing.owed_hints.push((index, utterance.speech_end, TurnEnd::Unknown));
            return;
        }
        if !self.hearing.budget.take(utterance.heard) {
            metrics::counter!("speculations_total", "outcome" => "skipped").increment(1);
            self.hearing.owed_hints.push((index, utterance.speech_end, TurnEnd::Unknown));
            return;
        }
        let draft = &self.hearing.channels[index].draft;
        let (request, start) = self.hearing.request(index, draft, utterance, Priority::Speculative);
        let work = collect(self.hearing.transcriber.transcribe(request)).boxed();
        // A marker may wait for the interim pass.
        let marked = !self.hearing.markers.is_empty();
        let channel = &mut self.hearing.channels[index];
        let displaced = !marked && channel.interim.take().is_some();
        channel.guess = Some(Guess {
            utterance: utterance.clone(),
            start,
            heard: utterance.heard,
            work: Work::Running(work),
            hint_due: Some(Instant::now() + HINT_PATIENCE),
            displaced,
        });
    }

    /// The turn was not over. What the guess heard is true all the same, as far as it goes.
    pub(super) fn on_resumed(&mut self, index: usize) {
        if let Some(replay) = &mut self.replay {
            return replay.pause_over(index);
        }
        self.drop_held_of(index);
        let channel = &mut self.hearing.channels[index];
        let guess = channel.guess.take();
        let (mut displaced, mut news) = (false, Vec::new());
        if let Some(guess) = guess {
            displaced = guess.displaced;
            let speech_end = guess.utterance.speech_end;
            if let Some(at) = channel.draft.cut_in_pause(guess.start, speech_end, guess.heard) {
                self.keep_part(index, guess, at);
            } else {
                count_dropped(&guess);
                news = guess.warnings();
                // Without interim texts nothing has to keep still, and the same audio gives the same text at any speed.
                if let Some(pass) =
                    guess.pass().filter(|_| self.config.interim_results && channel.parts.is_empty())
                {
                    channel.draft.read(&pass);
                }
            }
        }
        if displaced || !self.hearing.markers.is_empty() {
            self.hearing.request_interim(index);
        }
        for (code, message) in news {
            self.warn(code, message);
        }
    }

    /// The guess that the turn of `index` was over when its speech had ended at `speech_end`, if it was made. It is counted.
    pub(super) fn take_guess(&mut self, index: usize, speech_end: SampleIndex) -> Option<Guess> {
        let guess = self.hearing.channels[index].guess.take()?;
        if guess.utterance.speech_end != speech_end {
            count_dropped(&guess);
            for (code, message) in guess.warnings() {
                self.warn(code, message);
            }
            return None;
        }
        self.confirm(index, &guess);
        Some(guess)
    }

    /// The text of `guess` is wanted whatever comes.
    pub(super) fn confirm(&self, index: usize, guess: &Guess) {
        metrics::counter!("speculations_total", "outcome" => "confirmed").increment(1);
        if matches!(guess.work, Work::Running(_)) {
            self.hearing.transcriber.confirm(self.hearing.request_stream(index));
        }
    }

    /// The guess of `index` has come: its words say whether the turn is over.
    pub(super) fn on_guess(&mut self, index: usize) {
        let channel = &mut self.hearing.channels[index];
        let Some(guess) = &mut channel.guess else { return };
        // Else told already that there are no words.
        if guess.hint_due.take().is_some() {
            let speech_end = guess.utterance.speech_end;
            let hint = guess.pass().map_or(TurnEnd::Unknown, |pass| turn_end(&pass.transcript.text));
            self.give_hint(index, speech_end, hint);
        }
        // With that hint the turn may have ended, and the guess become its text.
        self.speculate(index);
    }

    /// Guesses that have not come in time: their turns end as if there were no words.
    pub(super) fn on_guess_late(&mut self) {
        let now = Instant::now();
        for index in 0..self.hearing.channels.len() {
            let Some(guess) = &mut self.hearing.channels[index].guess else { continue };
            if guess.hint_due.take_if(|due| *due <= now).is_some() {
                let speech_end = guess.utterance.speech_end;
                metrics::counter!("turn_hints_late_total").increment(1);
                self.give_hint(index, speech_end, TurnEnd::Unknown);
            }
        }
    }

    fn give_hint(&mut self, index: usize, speech_end: SampleIndex, hint: TurnEnd) {
        self.hearing.owed_hints.push((index, speech_end, hint));
        self.give_owed_hints();
        self.check_length();
    }

    /// Tells the listeners what is known of their pauses; they go on, perhaps to further pauses.
    pub(super) fn give_owed_hints(&mut self) {
        while let Some((index, speech_end, hint)) = self.hearing.owed_hints.pop() {
            self.log(&Record::Hint { channel: index as u8, speech_end, hint });
            let stream_index = self.hearing.channels[index].stream;
            let mut events = Vec::new();
            let stream = &mut self.hearing.streams[stream_index];
            let first = stream.first_channel;
            stream.listener.hint(index - first, speech_end, hint, &mut events);
            let over = stream.draining && stream.listener.is_decoded();
            // A message may hold many pauses: a loop, where each calling the next would use up the stack.
            for TurnEvent { channel, kind } in events {
                self.on_turn_event(first + channel, kind);
            }
            if over {
                // The rest of a finished stream has been heard, or it stands still again.
                self.finish_stream(stream_index);
            }
        }
    }
}

fn count_dropped(guess: &Guess) {
    metrics::counter!("speculations_total", "outcome" => "dropped").increment(1);
    let audio_ms = SampleIndex(guess.heard - guess.start).as_ms();
    metrics::counter!("speculations_dropped_audio_ms_total").increment(audio_ms);
}

/// How long the words of a pause are waited for, from the pause on.
const HINT_PATIENCE: Duration = Duration::from_secs(1);
const MINUTE_SAMPLES: u64 = SampleIndex::from_ms(60_000).0;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_frees_itself_after_a_minute() {
        let check = |limit, at_ms: &[u64], expected: &[bool]| {
            let mut budget = Budget::new(limit);
            let taken: Vec<_> = at_ms.iter().map(|ms| budget.take(SampleIndex::from_ms(*ms))).collect();
            assert_eq!(taken, expected, "{limit} at {at_ms:?}");
        };
        check(0, &[0, 100_000], &[false, false]);
        check(
            2,
            &[0, 10, 20, 59_999, 60_000, 60_010, 60_011],
            &[true, true, false, false, true, true, false],
        );
    }
}
