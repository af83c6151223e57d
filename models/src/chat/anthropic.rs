//! Anthropic's Messages API, streaming: server-sent events over `reqwest`.
//!
//! Not here: time-outs of an answer and retries (`fallback`), prompts, what the fields of an event mean (`events`).
//! The API, version 2023-06-01: <https://docs.anthropic.com/en/api/messages-streaming>.

mod events;

use std::{sync::Arc, time::Duration};

use async_openai::config::Config as _;
use async_stream::try_stream;
use eventsource_stream::{EventStreamError, Eventsource};
use futures_util::{StreamExt, future::BoxFuture, stream::BoxStream};
use reqwest::{Request, Response};
use secrecy::SecretString;
use serde_json::{Value, json};
use tokio::{sync::Notify, time::timeout};

use self::events::{Answer, Event};
use super::{
    AnswerDelta, ChatError, ChatMessage, ChatModel, ChatRequest, ChatRole, ProviderConfigError,
    wire::{self, Bounds},
};
use crate::provider::{Access, Censor, Endpoint, Refusal, Warmth};

/// Where the model is. `Debug` shows no secret.
#[derive(Clone, Debug)]
pub struct AnthropicChatConfig {
    /// Without the version, `http` or `https`; `/v1/messages` is appended. Default: Anthropic's own.
    pub base_url: String,
    /// Sent as `x-api-key`; a compatible server of one's own may need none. Default: none.
    pub api_key: Option<SecretString>,
    /// The model, as the provider names it.
    pub model: String,
    /// Headers added to each request; they replace those of the same name. Default: none.
    pub headers: Vec<(String, SecretString)>,
    /// Tokens for a model that thinks before it answers, on top of the answer's own. Default: 0.
    pub thinking_tokens: u32,
    /// To reach the server: DNS, TCP and TLS, when no connection is open. Default: 3 s.
    pub connect_timeout: Duration,
}

impl AnthropicChatConfig {
    /// `model` at Anthropic's own address, with the defaults of each field.
    pub fn new(model: impl Into<String>) -> Self {
        Self {
            base_url: API_BASE.into(),
            api_key: None,
            model: model.into(),
            headers: Vec::new(),
            thinking_tokens: 0,
            connect_timeout: Duration::from_secs(3),
        }
    }
}

/// Answers from one model of the Messages API. Connections are kept open between answers.
#[derive(Clone)]
pub struct AnthropicChat {
    config: Arc<AnthropicChatConfig>,
    endpoint: Endpoint,
    http: reqwest::Client,
    warmth: Arc<Warmth>,
}

impl AnthropicChat {
    /// Checks the configuration; contacts nobody.
    ///
    /// # Errors
    /// What is wrong with the configuration, see [`ProviderConfigError`].
    pub fn new(config: AnthropicChatConfig) -> Result<Self, ProviderConfigError> {
        if config.model.trim().is_empty() {
            return Err(ProviderConfigError::Model);
        }
        let mut headers = vec![("anthropic-version".to_owned(), API_VERSION.to_owned().into())];
        headers.extend(config.api_key.clone().map(|key| ("x-api-key".to_owned(), key)));
        headers.extend(config.headers.iter().cloned());
        let access =
            Access { base_url: &config.base_url, api_key: None, organisation: None, headers: &headers };
        let endpoint = Endpoint::new(&access)?;
        let http = endpoint.http_client(config.connect_timeout)?;
        Ok(Self { config: Arc::new(config), endpoint, http, warmth: Arc::default() })
    }

    fn request(&self, request: &ChatRequest) -> Result<Request, ChatError> {
        let body = body(&self.config, request).to_string();
        self.http
            .post(self.endpoint.url("/v1/messages"))
            .headers(self.endpoint.headers())
            .header("content-type", "application/json")
            .body(body)
            .build()
            .map_err(|_| ChatError::Provider("the request could not be made".into()))
    }

    fn censored(&self, error: ChatError, prompt: &[ChatMessage]) -> ChatError {
        let asked = prompt.iter().map(|said| &*said.content).collect();
        let censor = Censor { api_key: self.config.api_key.as_ref(), headers: &self.config.headers, asked };
        error.map_message(|message| censor.apply(message))
    }
}

impl ChatModel for AnthropicChat {
    fn name(&self) -> &str {
        &self.config.model
    }

    /// [`AnswerDelta::RequestSent`] comes when the HTTP client has taken the last byte of the request for writing, as with
    /// [`OpenAiChat`](super::OpenAiChat). Dropping the stream closes the connection, which ends the work at the provider.
    fn answer(&self, request: ChatRequest) -> BoxStream<'static, Result<AnswerDelta, ChatError>> {
        let model = self.clone();
        Box::pin(async_stream::stream! {
            let prompt = request.messages.clone();
            let mut deltas = Box::pin(model.clone().deltas(request));
            while let Some(delta) = deltas.next().await {
                yield delta.map_err(|error| model.censored(error, &prompt));
            }
        })
    }

    /// Asks for the list of models, unless an answer ended in the last 30 s. Takes 3 s at most.
    fn warm(&self) -> BoxFuture<'static, ()> {
        let Self { endpoint, http, warmth, .. } = self.clone();
        Box::pin(async move {
            warmth.warm(http.get(endpoint.url("/v1/models")).headers(endpoint.headers())).await;
        })
    }
}

impl AnthropicChat {
    /// The answer; errors may still quote key or prompt.
    fn deltas(self, request: ChatRequest) -> BoxStream<'static, Result<AnswerDelta, ChatError>> {
        Box::pin(try_stream! {
            let mut http_request = self.request(&request)?;
            let sent = Arc::new(Notify::new());
            wire::announce(&mut http_request, Arc::clone(&sent));
            let mut opening = Box::pin(self.http.execute(http_request));
            let mut request_sent = false;
            let response = loop {
                let opened = tokio::select! {
                    () = sent.notified(), if !request_sent => None,
                    opened = &mut opening => Some(opened),
                };
                match opened {
                    None => {
                        request_sent = true;
                        yield AnswerDelta::RequestSent;
                    }
                    Some(opened) => {
                        break opened.map_err(|error| wire::unsent(&error, self.config.connect_timeout))?;
                    }
                }
            };
            let response = match response.status().is_success() {
                true => response,
                false => Err(wire::refused(&Refusal::read(response).await))?,
            };
            if !request_sent {
                yield AnswerDelta::RequestSent;
            }

            let mut answer = Answer::default();
            let mut events = events(response);
            loop {
                let event = match answer.is_whole() {
                    false => events.next().await,
                    // The end is awaited only so that the connection can be used again.
                    true => match timeout(LAST_EVENT, events.next()).await {
                        Ok(Some(Ok(event))) => Some(Ok(event)),
                        _ => break,
                    },
                };
                let event = match event {
                    Some(Ok(event)) => event,
                    Some(Err(EventStreamError::Transport(error))) => Err(error)?,
                    Some(Err(_)) => {
                        Err(ChatError::Provider("it sent something other than an event stream".into()))?
                    }
                    None => Err(ChatError::Provider("it broke off in the middle of the answer".into()))?,
                };
                let json: Value = serde_json::from_str(&event.data)
                    .map_err(|_| ChatError::Provider("it sent an event that is not JSON".into()))?;
                match answer.take(&json)? {
                    Event::Text(text) => yield AnswerDelta::Text(text),
                    Event::Nothing => {}
                    Event::Stop => break,
                }
            }
            // Read to its end, the connection is used again. It is there already, as a rule, and nobody waits for it.
            let warmth = Arc::clone(&self.warmth);
            tokio::spawn(timeout(LAST_EVENT, async move {
                while let Some(event) = events.next().await {
                    if event.is_err() {
                        return;
                    }
                }
                warmth.used();
            }));
            let text = answer.last_text();
            if !text.is_empty() {
                yield AnswerDelta::Text(text);
            }
            yield AnswerDelta::Done(answer.end(&self.config.model)?);
        })
    }
}

/// The events of a response, bounded.
fn events(
    response: Response,
) -> BoxStream<'static, Result<eventsource_stream::Event, EventStreamError<ChatError>>> {
    let mut bounds = Bounds::default();
    response.bytes_stream().map(move |chunk| bounds.check(chunk)).eventsource().boxed()
}

/// The JSON of the request.
fn body(config: &AnthropicChatConfig, request: &ChatRequest) -> Value {
    let mut system: Vec<&str> = Vec::new();
    let mut messages: Vec<Value> = Vec::new();
    for ChatMessage { role, content } in &request.messages {
        let role = match role {
            ChatRole::System => {
                system.push(content);
                continue;
            }
            ChatRole::User => "user",
            ChatRole::Assistant => "assistant",
        };
        let block = json!({ "type": "text", "text": content });
        // The API takes turns only: two in a row of the same role are one.
        match messages.last_mut().filter(|last| last["role"] == role) {
            Some(last) => {
                if let Some(blocks) = last["content"].as_array_mut() {
                    blocks.push(block);
                }
            }
            None => messages.push(json!({ "role": role, "content": [block] })),
        }
    }
    let mut body = json!({
        "model": config.model,
        "max_tokens": request.max_tokens.saturating_add(config.thinking_tokens),
        "messages": messages,
        "stream": true,
    });
    if !system.is_empty() {
        body["system"] = system.join("\n\n").into();
    }
    body
}

const API_BASE: &str = "https://api.anthropic.com";
const API_VERSION: &str = "2023-06-01";
/// Wait for the end of a stream whose answer is already whole.
const LAST_EVENT: Duration = Duration::from_millis(250);
