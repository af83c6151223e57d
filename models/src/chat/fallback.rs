//! A chain of chat models: the first that is well answers. Time-outs, retries and rests of all of them are here, and nowhere else.
//!
//! Not here: a second answer in place of one that broke off half-way. The session decides on that, which has the text.

mod health;

use std::{sync::Arc, time::Duration};

use async_stream::stream;
use futures_util::{StreamExt, future::BoxFuture, stream::BoxStream};
use tokio::time::{Instant, sleep, timeout_at};

use self::health::{Attempt, Health};
use super::{AnswerDelta, ChatError, ChatModel, ChatRequest, TokenUsage};

/// A model of a chain, and how long to bear with it.
#[derive(Clone)]
pub struct Link {
    /// Who is asked.
    pub model: Arc<dyn ChatModel>,
    /// From the asking to the first text, retries and their pauses included. Default: 8 s.
    pub first_token_timeout: Duration,
    /// From one delta to the next once there was text. Default: 10 s.
    pub between_tokens_timeout: Duration,
    /// How often it is asked again before the next link is, after what may pass: broken connections, server errors, a rate limit that
    /// ends in time. Never after the first text. Default: 1.
    pub retries: u32,
    /// Before a retry, half of it to one and a half, by chance, so that clients of a server that comes back do not all come
    /// at once. A rate limit's own time goes before. Default: 250 ms.
    pub retry_pause: Duration,
}

impl Link {
    /// `model`, with the defaults of each field.
    pub fn new(model: Arc<dyn ChatModel>) -> Self {
        Self {
            model,
            first_token_timeout: Duration::from_secs(8),
            between_tokens_timeout: Duration::from_secs(10),
            retries: 1,
            retry_pause: Duration::from_millis(250),
        }
    }
}

/// Asks the first link, and where that fails or is late, the next, until there is a first text.
///
/// A link that failed rests for the cool-down (after a rate limit, at least as long as it asks for); then one request probes it
/// while the others go on to the next link. A refusal of the request itself is no failure: that request alone goes on. Where all
/// links rest, the one whose rest ends first is asked all the same. What breaks off after the first text ends the stream with the
/// error; the link rests then, so the next request goes to another.
///
/// Of several links, [`AnswerDelta::By`] says which one answers, before its first text.
/// [`AnswerDelta::RequestSent`] is passed on once, when the first of the links that are asked has the request: what failed tries cost is
/// part of the time to the first text. A probe neither takes from a cache nor fills it.
pub struct Fallback {
    chain: Arc<Chain>,
}

struct Chain {
    links: Vec<Link>,
    cool_down: Duration,
    health: Arc<Health>,
}

impl Fallback {
    /// `first`, then the `others` in order; a link that failed rests for `cool_down`.
    pub fn new(first: Link, others: impl IntoIterator<Item = Link>, cool_down: Duration) -> Self {
        let links: Vec<Link> = [first].into_iter().chain(others).collect();
        let health = Health::new(links.len());
        Self { chain: Arc::new(Chain { links, cool_down, health }) }
    }
}

impl ChatModel for Fallback {
    /// The first link's.
    fn name(&self) -> &str {
        self.chain.links[0].model.name()
    }

    fn answer(&self, request: ChatRequest) -> BoxStream<'static, Result<AnswerDelta, ChatError>> {
        let chain = Arc::clone(&self.chain);
        Box::pin(stream! {
            let mut sent = false;
            let mut asked = Vec::new();
            let mut forced = false;
            let mut why: Option<ChatError> = None;
            while let Some(mut attempt) = chain.health.next(&asked, forced) {
                asked.push(attempt.link());
                forced |= attempt.is_forced();
                let link = &chain.links[attempt.link()];
                let first_token_by = Instant::now() + link.first_token_timeout;
                for retry in 0..=link.retries {
                    let mut deltas = link.model.answer(request_of(&attempt, &request));
                    let mut has_text = false;
                    let error = loop {
                        let (by, limit) = match has_text {
                            false => (first_token_by, link.first_token_timeout),
                            true => (Instant::now() + link.between_tokens_timeout, link.between_tokens_timeout),
                        };
                        let delta = match timeout_at(by, deltas.next()).await {
                            Ok(Some(Ok(delta))) => delta,
                            Ok(Some(Err(error))) => break error,
                            Ok(None) => break ChatError::Provider("it broke off".into()),
                            Err(_) => break ChatError::Timeout(limit.as_millis().try_into().unwrap_or(u64::MAX)),
                        };
                        match delta {
                            AnswerDelta::RequestSent if std::mem::replace(&mut sent, true) => continue,
                            AnswerDelta::RequestSent | AnswerDelta::By { .. } => {}
                            AnswerDelta::Text(_) | AnswerDelta::Done(_) => {
                                if !std::mem::replace(&mut has_text, true) {
                                    attempt.answers();
                                    if chain.links.len() > 1 {
                                        let (place, name) = (attempt.link(), link.model.name().to_owned());
                                        yield Ok(AnswerDelta::By { place, name, why: why.clone() });
                                    }
                                }
                            }
                        }
                        let is_end = matches!(delta, AnswerDelta::Done(_));
                        yield Ok(delta);
                        if is_end {
                            return;
                        }
                    };
                    drop(deltas);
                    if !has_text
                        && retry < link.retries
                        && let Some(pause) = link.pause_after(&error, chain.health.has_other(&asked))
                        && Instant::now() + pause < first_token_by
                    {
                        sleep(pause).await;
                        continue;
                    }
                    if let Some(rest) = chain.rest_after(&error) {
                        attempt.failed(rest);
                    }
                    if has_text {
                        yield Err(error);
                        return;
                    }
                    // The first reason is what the user can do something about.
                    why.get_or_insert(error);
                    break;
                }
            }
            yield Err(why.unwrap_or_else(|| ChatError::Provider("nobody was asked".into())));
        })
    }

    /// Of the link that the next request will ask.
    fn prefills(&self) -> bool {
        self.chain.links[self.chain.health.foremost()].model.prefills()
    }

    /// Of the link that the next request will ask; says nothing about its health.
    fn prefill(&self, request: ChatRequest) -> BoxFuture<'static, Option<TokenUsage>> {
        self.chain.links[self.chain.health.foremost()].model.prefill(request)
    }

    /// Of the link that the next request will ask.
    fn warm(&self) -> BoxFuture<'static, ()> {
        self.chain.links[self.chain.health.foremost()].model.warm()
    }
}

impl Chain {
    /// How long a link rests after `error`, if that is its fault.
    fn rest_after(&self, error: &ChatError) -> Option<Duration> {
        match error {
            ChatError::Refused(_) => None,
            ChatError::RateLimited { retry_after: Some(after), .. } => {
                Some(self.cool_down.max(*after).min(LONGEST_REST.max(self.cool_down)))
            }
            _ => Some(self.cool_down),
        }
    }
}

impl Link {
    /// How long to wait before asking again after `error`, if that may pass; not long where `others` can answer at once.
    fn pause_after(&self, error: &ChatError, others: bool) -> Option<Duration> {
        match error {
            ChatError::Provider(_) | ChatError::Timeout(_) => {
                Some(self.retry_pause.mul_f64(0.5 + fastrand::f64()))
            }
            // Without a time, nobody knows that it passes soon.
            ChatError::RateLimited { retry_after, .. } => {
                let after = retry_after.map(|after| after.min(LONGEST_REST));
                after.filter(|after| !others || *after <= SHORT_PAUSE)
            }
            ChatError::Unauthorised(_) | ChatError::Refused(_) => None,
        }
    }
}

/// What `attempt` asks: a remembered answer says nothing about the health of a link.
fn request_of(attempt: &Attempt, request: &ChatRequest) -> ChatRequest {
    let context = if attempt.is_probe() { None } else { request.context };
    ChatRequest { context, ..request.clone() }
}

/// A rate limit that is over so soon is waited for, whoever else could answer.
const SHORT_PAUSE: Duration = Duration::from_secs(1);
/// Servers that say more are asked again all the same.
const LONGEST_REST: Duration = Duration::from_secs(3_600);
