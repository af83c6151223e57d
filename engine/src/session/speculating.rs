//! Answers begun on the guess that a question is over: asked for at a pause, held back until the turn has ended.
//!
//! Nobody is shown a word of them before. Not here: the guess itself (`guessing`).

use std::task::{Context, Poll};

use futures_util::StreamExt as _;
use models::chat::AnswerDelta;
use protocol::{AnswerMode, Role};
use tokio::time::Instant;

use super::{
    Session,
    asking::{Cost, Step, Steps},
    hearing::HeardQuestion,
};
use crate::{
    answerer::Prompt,
    turn_end::{TurnEnd, turn_end},
};

/// The answer to a turn that may not be over.
pub(super) struct Held {
    pub(super) turn: u64,
    pub(super) prompt: Prompt,
    pub(super) steps: Steps,
    /// What has come of it; at most [`MOST_STEPS`].
    pub(super) taken: Vec<Step>,
    cost: Cost,
    /// It failed: of no use, asked again when the turn has ended.
    pub(super) failed: bool,
    over: bool,
}

impl Held {
    /// Takes in what has come. Never ready: what is held back is nobody's business yet.
    pub(super) fn poll(&mut self, context: &mut Context<'_>) {
        while !self.over && self.taken.len() < MOST_STEPS {
            let Poll::Ready(step) = self.steps.poll_next_unpin(context) else { return };
            match &step {
                Some(Step::Delta(delta)) => {
                    self.cost.note(delta);
                    self.over = matches!(delta, AnswerDelta::Done(_));
                }
                // What is refused now may be allowed then.
                Some(Step::Failed(_) | Step::Over | Step::Refused(_)) | None => {
                    (self.failed, self.over) = (true, true);
                }
                Some(Step::Granted) => {}
            }
            self.taken.extend(step);
        }
    }
}

impl Session {
    /// The words of the pause of `index` are there: if they are a question, asks the model, and holds back what it says.
    pub(super) fn speculate(&mut self, index: usize) {
        let channel = &self.hearing.channels[index];
        let wanted = self.config.answer_mode == AnswerMode::Auto
            && self.ending.is_none()
            && channel.role != Role::Candidate
            && channel.parts.is_empty();
        let Some(turn) = channel.turn.filter(|_| wanted) else { return };
        let Some(guess) = &channel.guess else { return };
        let Some(pass) = guess.pass() else { return };
        let text = channel.draft.finish(Some(&pass));
        if turn_end(&text.text) == TurnEnd::Unfinished {
            return;
        }
        let heard_up_to = guess.utterance.heard;
        let heard = HeardQuestion {
            turn,
            channel: index,
            role: channel.role,
            text: text.text,
            language: text.language,
            speech_start: guess.utterance.speech_start,
            speech_end: guess.utterance.speech_end,
            endpoint_ms: 0,
            decided: Instant::now(),
        };
        let Some((question, superseded)) = self.answers.question(&heard) else { return };
        let prompt = self.prompt_superseding(&question, &heard.language, superseded);
        if !self.answers.budget.take(heard_up_to) {
            metrics::counter!("answer_speculations_total", "outcome" => "skipped").increment(1);
            return;
        }
        self.drop_held(turn);
        let steps = self.steps(prompt.clone());
        let cost = Cost::new(prompt.prompt_tokens);
        self.answers.held.push(Held {
            turn,
            prompt,
            steps,
            taken: Vec::new(),
            cost,
            failed: false,
            over: false,
        });
    }

    /// `turn` is over, and this is what to ask about it: what was held back, if it was the same and goes well.
    pub(super) fn take_held(&mut self, turn: u64, prompt: &Prompt) -> Option<Held> {
        let index = self.answers.held.iter().position(|held| held.turn == turn)?;
        let held = &self.answers.held[index];
        if held.failed || held.prompt != *prompt {
            self.drop_held(turn);
            return None;
        }
        metrics::counter!("answer_speculations_total", "outcome" => "confirmed").increment(1);
        Some(self.answers.held.swap_remove(index))
    }

    /// Gives up what is held back for `turn`, and counts what it cost.
    pub(super) fn drop_held(&mut self, turn: u64) {
        let Some(index) = self.answers.held.iter().position(|held| held.turn == turn) else { return };
        let held = self.answers.held.swap_remove(index);
        metrics::counter!("answer_speculations_total", "outcome" => "dropped").increment(1);
        metrics::counter!("answer_speculations_dropped_tokens_total").increment(held.cost.tokens());
    }

    /// The open turn of `index` was not over: gives up what is held back for it.
    pub(super) fn drop_held_of(&mut self, index: usize) {
        if let Some(turn) = self.hearing.channels[index].turn {
            self.drop_held(turn);
        }
    }

    /// Gives up everything that is held back.
    pub(super) fn drop_all_held(&mut self) {
        while let Some(turn) = self.answers.held.first().map(|held| held.turn) {
            self.drop_held(turn);
        }
    }
}

/// More than a model says in the second until a turn is decided; further text waits in the model's stream.
const MOST_STEPS: usize = 256;
