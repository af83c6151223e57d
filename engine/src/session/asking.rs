//! One request to a model, paid from the user's plan. Not here: what becomes of its text (`answering`).

use std::sync::Arc;

use futures_util::{FutureExt as _, StreamExt as _, stream::BoxStream};
use models::chat::{AnswerDelta, ChatError, ChatModel};
use tokio::time::timeout;

use super::PORT_TIMEOUT;
use crate::{
    answerer::{Answerer, Prompt},
    ports::{Principal, Reservation, UsageMeter},
};

/// What comes of a request, step by step. Dropping it cancels the request; what it used until then is paid.
pub(super) type Steps = BoxStream<'static, Step>;

/// A step of a request.
#[derive(Debug)]
pub(super) enum Step {
    /// The plan allows it: the model is being asked.
    Granted,
    /// The plan does not.
    Refused(String),
    Delta(AnswerDelta),
    Failed(ChatError),
    /// The stream is over; after [`AnswerDelta::Done`] this says nothing new.
    Over,
}

/// Takes the most that `prompt` can cost from the plan, asks, and gives back the rest.
pub(super) fn ask(
    meter: Arc<dyn UsageMeter>,
    principal: Principal,
    answerer: &Answerer,
    prompt: Prompt,
) -> Steps {
    let prompt_tokens = prompt.prompt_tokens;
    let most = prompt_tokens + u64::from(prompt.request.max_tokens);
    let deltas = answerer.ask(prompt);
    async_stream::stream! {
        let reservation = match timeout(PORT_TIMEOUT, meter.reserve(&principal, most)).await {
            Ok(Ok(reservation)) => reservation,
            Ok(Err(limit)) => {
                yield Step::Refused(limit.0);
                return;
            }
            Err(_) => {
                let why = "the plan could not be looked up in time; send answer_now to try again";
                yield Step::Refused(why.to_owned());
                return;
            }
        };
        let mut bill = Bill { meter, principal, reservation, cost: Cost::new(prompt_tokens) };
        yield Step::Granted;
        for await delta in deltas {
            match delta {
                Ok(delta) => {
                    bill.cost.note(&delta);
                    yield Step::Delta(delta);
                }
                Err(error) => {
                    yield Step::Failed(error);
                    return;
                }
            }
        }
        yield Step::Over;
    }
    .boxed()
}

/// Lets the model read `prompt` ahead, paid from the plan as any request. Ends when that is done, was refused, or has failed.
pub(super) async fn prefill(
    meter: Arc<dyn UsageMeter>,
    principal: Principal,
    chat: Arc<dyn ChatModel>,
    prompt: Prompt,
) {
    let prompt_tokens = prompt.prompt_tokens;
    let Ok(Ok(reservation)) = timeout(PORT_TIMEOUT, meter.reserve(&principal, prompt_tokens + 1)).await
    else {
        // Whoever asks is told of the limit.
        return;
    };
    let mut bill = Bill { meter, principal, reservation, cost: Cost::new(prompt_tokens) };
    bill.cost.note(&AnswerDelta::RequestSent);
    let usage = chat.prefill(prompt.request).await;
    bill.cost.reported = usage.map(|usage| usage.prompt + usage.completion);
    metrics::counter!("prompts_prefilled_total").increment(1);
    metrics::counter!("prompts_prefilled_tokens_total").increment(bill.cost.tokens());
}

/// What a request has cost so far, in tokens: as the provider counts, or else by an estimate.
#[derive(Debug)]
pub(super) struct Cost {
    prompt_tokens: u64,
    sent: bool,
    text_bytes: u64,
    reported: Option<u64>,
}

impl Cost {
    pub(super) fn new(prompt_tokens: u64) -> Self {
        Self { prompt_tokens, sent: false, text_bytes: 0, reported: None }
    }

    pub(super) fn note(&mut self, delta: &AnswerDelta) {
        match delta {
            AnswerDelta::RequestSent => self.sent = true,
            AnswerDelta::Text(text) => self.text_bytes += text.len() as u64,
            AnswerDelta::Done(end) if end.cached => self.reported = Some(0),
            AnswerDelta::Done(end) => {
                self.reported = end.usage.map(|usage| usage.prompt + usage.completion);
            }
            AnswerDelta::By { .. } => {}
        }
    }

    pub(super) fn tokens(&self) -> u64 {
        let estimate =
            if self.sent { self.prompt_tokens + self.text_bytes.div_ceil(BYTES_PER_TOKEN) } else { 0 };
        self.reported.unwrap_or(estimate)
    }
}

/// Settled however the request ends.
struct Bill {
    meter: Arc<dyn UsageMeter>,
    principal: Principal,
    reservation: Reservation,
    cost: Cost,
}

impl Drop for Bill {
    fn drop(&mut self) {
        let (meter, principal) = (Arc::clone(&self.meter), self.principal.clone());
        let (reservation, used) = (self.reservation, self.cost.tokens());
        let mut settling = async move { meter.settle(&principal, reservation, used).await }.boxed();
        // A meter in memory is done at once, so that the next request finds what this one left.
        if (&mut settling).now_or_never().is_none()
            // Without a runtime the process is ending.
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            runtime.spawn(settling);
        }
    }
}

/// The usual estimate for English text and the tokenisers of language models.
const BYTES_PER_TOKEN: u64 = 4;
