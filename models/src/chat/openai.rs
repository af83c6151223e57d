//! Any language model behind the OpenAI chat-completions API, streaming, by `async-openai`.
//!
//! What the library leaves open is settled here: what an error may say, how an answer ends. HTTP itself is watched in
//! `exchange`. Not here: time-outs (but that of connecting) and retries, which `Fallback` has for all models alike; prompts,
//! and the reading of the environment.
//!
//! Two habits of the library to know of: it logs the text of an event that is not JSON (see [`LOG_DIRECTIVE`]), and it
//! queues decoded events without a bound of its own; the bound is that of one answer's bytes, in `exchange`.

mod config;
mod exchange;
mod fault;

pub use self::config::OpenAiChatConfig;

use std::{pin::pin, sync::Arc, time::Duration};

use async_openai::{
    Client,
    config::{Config as _, OPENAI_API_BASE},
};
use async_stream::try_stream;
use futures_util::{StreamExt, future::BoxFuture, stream::BoxStream};
use http::header::CONTENT_TYPE;
use serde_json::{Value, json};
use tokio::time::{Instant, timeout, timeout_at};

use self::{exchange::Exchange, fault::Faults};
use super::{
    AnswerDelta, AnswerEnd, ChatError, ChatModel, ChatRequest, ChatRole, ProviderConfigError, TokenUsage,
    thinking::ThinkFilter, wire,
};
use crate::provider::{Endpoint, Warmth};

/// What a program that logs must add to its filter: `async-openai` writes events that it cannot read, and so answers,
/// to its log target.
pub const LOG_DIRECTIVE: &str = "async_openai=off";

/// Answers from one model of one provider. Connections are kept open between answers.
#[derive(Clone)]
pub struct OpenAiChat {
    config: Arc<OpenAiChatConfig>,
    endpoint: Endpoint,
    http: reqwest::Client,
    warmth: Arc<Warmth>,
}

impl OpenAiChat {
    /// Checks the configuration; contacts nobody.
    ///
    /// # Errors
    /// What is wrong with the configuration, see [`ProviderConfigError`].
    pub fn new(config: OpenAiChatConfig) -> Result<Self, ProviderConfigError> {
        if config.model.trim().is_empty() {
            return Err(ProviderConfigError::Model);
        }
        let endpoint = Endpoint::new(&config.access())?;
        let http = endpoint.http_client(config.connect_timeout)?;
        Ok(Self { config: Arc::new(config), endpoint, http, warmth: Arc::default() })
    }
}

impl ChatModel for OpenAiChat {
    fn name(&self) -> &str {
        &self.config.model
    }

    /// [`AnswerDelta::RequestSent`] comes when the HTTP client has taken the last byte of the request for writing,
    /// connected and past the TLS handshake. Only the kernel's socket buffer lies between that and the wire.
    ///
    /// Dropping the stream closes the connection, which is how providers learn that nobody listens any more.
    fn answer(&self, request: ChatRequest) -> BoxStream<'static, Result<AnswerDelta, ChatError>> {
        let Self { config, endpoint, http, warmth } = self.clone();
        Box::pin(try_stream! {
            let exchange = Arc::new(Exchange::default());
            let client = Client::build(http.clone(), endpoint)
                .with_http_service(exchange::service(http, config.connect_timeout, Arc::clone(&exchange)));
            let faults = Faults { config: &config, exchange: &exchange, prompt: &request.messages };

            let chat = client.chat();
            let mut opening = pin!(chat.create_stream_byot::<_, Value>(body(&config, &request)));
            let mut request_sent = false;
            let mut events = loop {
                let opened = tokio::select! {
                    () = exchange.request_sent.notified(), if !request_sent => None,
                    opened = &mut opening => Some(opened),
                };
                match opened {
                    None => {
                        request_sent = true;
                        yield AnswerDelta::RequestSent;
                    }
                    Some(opened) => break opened.map_err(|error| faults.explain(error))?,
                }
            };
            if !request_sent {
                yield AnswerDelta::RequestSent;
            }

            let mut answer = Answer::default();
            let mut end_by = None;
            let mut at_end = true;
            loop {
                let event = match answer.finish_reason {
                    None => events.next().await,
                    // The answer is whole. The stream's end is awaited for what it cost, and so that the connection can be used again.
                    Some(_) => {
                        let by = *end_by.get_or_insert_with(|| Instant::now() + LAST_EVENT);
                        match timeout_at(by, events.next()).await {
                            Ok(Some(Ok(event))) => Some(Ok(event)),
                            ended => {
                                at_end = matches!(ended, Ok(None));
                                None
                            }
                        }
                    }
                };
                let Some(event) = event else { break };
                let event = event.map_err(|error| faults.explain(error))?;
                if let Some(error) = event.get("error").filter(|error| !error.is_null()) {
                    Err(faults.in_stream(error))?;
                }
                let text = answer.take(&event);
                if !text.is_empty() {
                    yield AnswerDelta::Text(text);
                }
            }
            if answer.finish_reason.is_none() && exchange.ended_without_done() {
                Err(ChatError::Provider("it broke off in the middle of the answer".into()))?;
            }
            if at_end {
                warmth.used();
            }
            let text = answer.last_text();
            if !text.is_empty() {
                yield AnswerDelta::Text(text);
            }
            yield AnswerDelta::Done(answer.end(&config.model)?);
        })
    }

    fn prefills(&self) -> bool {
        self.config.prefill.unwrap_or(self.endpoint.is_loopback())
    }

    /// Takes two minutes at most.
    fn prefill(&self, request: ChatRequest) -> BoxFuture<'static, Option<TokenUsage>> {
        let Self { config, endpoint, http, warmth } = self.clone();
        let mut body = body(&config, &ChatRequest { max_tokens: 1, ..request });
        if let Some(body) = body.as_object_mut() {
            let _ = ["stream", "stream_options", "logprobs"].map(|field| body.remove(field));
        }
        let post = http.post(endpoint.url("/chat/completions")).headers(endpoint.headers());
        let post = post.header(CONTENT_TYPE, "application/json").body(body.to_string());
        Box::pin(async move {
            let answered = async {
                let mut chunks = post.send().await.ok()?.error_for_status().ok()?.bytes_stream();
                let mut answer = Vec::new();
                while let Some(chunk) = chunks.next().await {
                    answer.extend_from_slice(&chunk.ok()?);
                    if answer.len() > PREFILL_BYTES {
                        return None;
                    }
                }
                warmth.used();
                usage(&serde_json::from_slice(&answer).ok()?)
            };
            timeout(PREFILL, answered).await.ok().flatten()
        })
    }

    /// Asks for the list of models, unless an answer ended in the last 30 s. Takes 3 s at most.
    fn warm(&self) -> BoxFuture<'static, ()> {
        let Self { endpoint, http, warmth, .. } = self.clone();
        Box::pin(async move {
            warmth.warm(http.get(endpoint.url("/models")).headers(endpoint.headers())).await;
        })
    }
}

/// What was gathered of an answer so far.
#[derive(Default)]
struct Answer {
    thoughts: ThinkFilter,
    has_text: bool,
    model: Option<String>,
    finish_reason: Option<String>,
    usage: Option<TokenUsage>,
    logprob_sum: f64,
    logprobs: u32,
}

impl Answer {
    /// Takes one event in; the text in it, often empty.
    ///
    /// Read by field rather than as the library's type: compatible servers leave out, or null, what that demands.
    fn take(&mut self, event: &Value) -> String {
        if let Some(model) = event["model"].as_str().filter(|model| !model.is_empty()) {
            self.model.get_or_insert_with(|| model.to_owned());
        }
        let choice = &event["choices"][0];
        if let Some(reason) = choice["finish_reason"].as_str().filter(|reason| !reason.is_empty()) {
            self.finish_reason = Some(reason.to_owned());
        }
        for token in choice["logprobs"]["content"].as_array().into_iter().flatten() {
            if let Some(logprob) = token["logprob"].as_f64() {
                self.logprob_sum += logprob;
                self.logprobs += 1;
            }
        }
        // Servers that count as they go send ever larger counts; the last stands.
        self.usage = usage(event).or(self.usage);
        // A refusal comes in a field of its own; unread, it would look like an answer without text.
        let delta = &choice["delta"];
        let text = delta["content"].as_str().filter(|text| !text.is_empty()).or(delta["refusal"].as_str());
        let text = self.thoughts.push(text.unwrap_or_default());
        self.has_text |= !text.is_empty();
        text
    }

    /// What was held back, as it might have become a thought.
    fn last_text(&mut self) -> String {
        let text = self.thoughts.finish();
        self.has_text |= !text.is_empty();
        text
    }

    fn end(self, asked_for: &str) -> Result<AnswerEnd, ChatError> {
        let finish_reason = self.finish_reason.unwrap_or_else(|| "unknown".into());
        if !self.has_text {
            return Err(wire::without_text(&finish_reason));
        }
        Ok(AnswerEnd {
            confidence: (self.logprobs > 0)
                .then(|| (self.logprob_sum / f64::from(self.logprobs)).exp().clamp(0.0, 1.0) as f32),
            usage: self.usage,
            ..AnswerEnd::new(finish_reason, self.model.as_deref().unwrap_or(asked_for))
        })
    }
}

/// What an event or answer says was used.
fn usage(event: &Value) -> Option<TokenUsage> {
    let usage = &event["usage"];
    let (prompt, completion) = (usage["prompt_tokens"].as_u64()?, usage["completion_tokens"].as_u64()?);
    Some(TokenUsage { prompt, completion })
}

/// The JSON of the request.
fn body(config: &OpenAiChatConfig, request: &ChatRequest) -> Value {
    let messages: Vec<Value> = request
        .messages
        .iter()
        .map(|message| {
            let role = match message.role {
                ChatRole::System => "system",
                ChatRole::User => "user",
                ChatRole::Assistant => "assistant",
            };
            json!({ "role": role, "content": message.content })
        })
        .collect();
    // OpenAI's newer models refuse the old name of this field, many compatible servers know no other.
    let is_openai = config.base_url.starts_with(OPENAI_API_BASE);
    let limit = if is_openai { "max_completion_tokens" } else { "max_tokens" };
    let mut body = json!({ "model": config.model, "messages": messages, "stream": true, limit: request.max_tokens.saturating_add(config.thinking_tokens) });
    if config.logprobs {
        body["logprobs"] = true.into();
    }
    if config.usage || is_openai {
        body["stream_options"] = json!({ "include_usage": true });
    }
    body
}

/// A small computer reads a CV in this time.
const PREFILL: Duration = Duration::from_secs(120);
const PREFILL_BYTES: usize = 64 << 10;
/// Wait for the end of a stream whose answer is already whole.
const LAST_EVENT: Duration = Duration::from_millis(250);
