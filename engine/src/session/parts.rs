//! Texts that must be had: those of finals, and of the parts that a long turn is cut into while it goes on.
//!
//! A cut is made where the audio says so, whenever its text comes: without interim texts the same audio is cut the same way at any speed (they may cut sooner).
//! Not here: how the parts are joined (`draft`).

use std::{sync::Arc, time::Duration};

use codecs::SampleIndex;
use futures_util::{FutureExt as _, future::BoxFuture};
use models::speech::{Priority, TranscribeError, TranscribeRequest, Transcriber};
use protocol::{CloseCode, WordTiming};
use tokio::time::sleep;

use super::{
    Session,
    draft::{Draft, Pass},
    guessing::Guess,
    hearing::{Collected, collect},
};

/// The text of a part, to come.
pub(super) type Part = BoxFuture<'static, Written>;

/// The text of a part.
pub(super) struct Written {
    turn: u64,
    /// The part's words that were settled before.
    settled: Vec<WordTiming>,
    audio_ms: u64,
    pub(super) warnings: Vec<(&'static str, String)>,
    result: Result<Pass, TranscribeError>,
}

impl Session {
    /// Cuts the open turn of `index` at `at`: the guess over what is before becomes that part's text.
    pub(super) fn keep_part(&mut self, index: usize, guess: Guess, at: SampleIndex) {
        self.confirm(index, &guess);
        let channel = &self.hearing.channels[index];
        let Some(turn) = channel.turn else { return };
        let (again, _) = self.hearing.request(index, &channel.draft, &guess.utterance, Priority::Final);
        let (start, heard) = (guess.start, guess.heard);
        let audio_ms = SampleIndex(heard - start).as_ms();
        let text = persist(Arc::clone(&self.hearing.transcriber), guess.text(), again);
        let channel = &mut self.hearing.channels[index];
        let settled = channel.draft.cut(at);
        let part = async move {
            let (result, warnings) = text.await;
            let result = result.map(|transcript| Pass { start, heard, transcript });
            Written { turn, settled, audio_ms, warnings, result }
        };
        channel.parts.push_back(part.boxed());
    }

    /// A part of the open turn of `index` has its text.
    pub(super) fn on_part(&mut self, index: usize, part: Written) {
        let mut draft = std::mem::take(&mut self.hearing.channels[index].draft);
        self.fill(&mut draft, part);
        let channel = &mut self.hearing.channels[index];
        channel.draft = draft;
        if channel.parts.is_empty() && std::mem::take(&mut channel.interim_due) {
            self.hearing.request_interim(index);
        }
    }

    /// Takes the text of a part into `draft`, and tells the client what went wrong with it.
    pub(super) fn fill(&mut self, draft: &mut Draft, part: Written) {
        for (code, message) in part.warnings {
            self.warn(code, message);
        }
        if let Err(error) = &part.result {
            self.lose_audio(part.audio_ms);
            let turn = part.turn;
            let message =
                format!("a part of turn {turn} could not be written down, its words are lost: {error}");
            self.error(CloseCode::Overloaded, message, None);
        }
        draft.fill(part.settled, part.result.ok().as_ref());
    }
}

/// Waits for `first`, and asks `again` where that failed: for as long as there is no room, and once for any other reason.
pub(super) async fn persist(
    transcriber: Arc<dyn Transcriber>,
    first: BoxFuture<'static, Collected>,
    again: TranscribeRequest,
) -> Collected {
    let (mut result, mut warnings) = first.await;
    let mut failures = 0;
    while let Err(error) = &result {
        if matches!(error, TranscribeError::Overloaded { .. }) {
            // It waits for its turn, however long; the session is not heard meanwhile.
            sleep(OVERLOAD_PAUSE).await;
        } else if std::mem::replace(&mut failures, 1) > 0 {
            break;
        }
        metrics::counter!("final_retries_total").increment(1);
        (result, warnings) = collect(transcriber.transcribe(again.clone())).await;
    }
    (result, warnings)
}

/// Before a text that found the pool full is asked for again.
const OVERLOAD_PAUSE: Duration = Duration::from_millis(100);
