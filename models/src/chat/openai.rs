//! Any language model behind the OpenAI chat-completions API, streaming, by `async-openai`.
//!
//! What the library leaves open is settled here: time-outs, what an error may say, how an answer ends. HTTP itself is
//! watched in `exchange`. Not here: a retry (an interview cannot sit out a back-off; the caller learns the reason at
//! once and may ask another model), prompts, and the reading of the environment.
//!
//! Logging: on an event that is not JSON, `async-openai` writes the event's text to the log target `async_openai`.
//! The binary must keep that target off, as answers never appear in logs.

mod exchange;

use std::{pin::pin, sync::Arc, time::Duration};

use async_openai::{
    Client,
    config::{Config, OPENAI_API_BASE},
    error::OpenAIError,
};
use async_stream::try_stream;
use futures_util::{StreamExt, stream::BoxStream};
use http::{HeaderMap, HeaderName, HeaderValue, header::AUTHORIZATION};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};
use tokio::time::{Instant, timeout_at};

use self::exchange::{Exchange, server_message};
use super::{AnswerDelta, AnswerEnd, ChatError, ChatMessage, ChatModel, ChatRequest, ChatRole};

/// Where the model is, and how long to wait for it. `Debug` shows no secret.
#[derive(Clone, Debug)]
pub struct OpenAiChatConfig {
    /// Base URL with the version, `http` or `https`; `/chat/completions` is appended. Default: OpenAI's own.
    pub base_url: String,
    /// Sent as bearer token; most local servers need none. Default: none.
    pub api_key: Option<SecretString>,
    /// The organisation that is billed (`OpenAI-Organization`). Default: none.
    pub organisation: Option<String>,
    /// The model, as the provider names it.
    pub model: String,
    /// Headers added to each request; they replace those of the same name. Default: none.
    pub headers: Vec<(String, SecretString)>,
    /// Ask for log-probabilities, from which the confidence comes. Some servers refuse the request then. Default: off.
    pub logprobs: bool,
    /// To reach the server: DNS, TCP and TLS, when no connection is open. Default: 3 s.
    pub connect_timeout: Duration,
    /// From the first poll of the stream to the first text, connecting included. Default: 10 s.
    pub first_token_timeout: Duration,
    /// From one event to the next once there was text. Default: 10 s.
    pub between_tokens_timeout: Duration,
}

impl OpenAiChatConfig {
    /// `model` at OpenAI's own address, with the defaults of each field.
    pub fn new(model: impl Into<String>) -> Self {
        Self {
            base_url: OPENAI_API_BASE.into(),
            api_key: None,
            organisation: None,
            model: model.into(),
            headers: Vec::new(),
            logprobs: false,
            connect_timeout: Duration::from_secs(3),
            first_token_timeout: Duration::from_secs(10),
            between_tokens_timeout: Duration::from_secs(10),
        }
    }
}

/// Why a configuration is unusable. No message holds a secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenAiConfigError {
    /// Not an absolute `http` or `https` URL, or one with a query or credentials in it.
    #[error("the base URL of the model provider is not a plain http(s) URL")]
    BaseUrl,
    /// The model has no name.
    #[error("the model provider needs a model name")]
    Model,
    /// A key, organisation or extra header has characters that no HTTP header may have. Holds the header's name.
    #[error("the header {0} of the model provider cannot be sent: it has characters a header may not have")]
    Header(String),
    /// No TLS: there is no crypto provider or no certificate store on this machine.
    #[error("no HTTP client for the model provider: {0}")]
    Client(String),
}

/// Answers from one model of one provider. Connections are kept open between answers.
#[derive(Clone)]
pub struct OpenAiChat {
    config: Arc<OpenAiChatConfig>,
    endpoint: Endpoint,
    http: reqwest::Client,
}

impl OpenAiChat {
    /// Checks the configuration; contacts nobody.
    ///
    /// # Errors
    /// What is wrong with the configuration, see [`OpenAiConfigError`].
    pub fn new(config: OpenAiChatConfig) -> Result<Self, OpenAiConfigError> {
        if config.model.trim().is_empty() {
            return Err(OpenAiConfigError::Model);
        }
        let endpoint = Endpoint::new(&config)?;
        let mut http = reqwest::Client::builder()
            .connect_timeout(config.connect_timeout)
            // A redirect would carry key and prompt to a place nobody configured.
            .redirect(reqwest::redirect::Policy::none());
        if endpoint.is_loopback {
            http = http.no_proxy();
        }
        let http = http.build().map_err(|error| OpenAiConfigError::Client(exchange::root_cause(&error)))?;
        Ok(Self { config: Arc::new(config), endpoint, http })
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
        let Self { config, endpoint, http } = self.clone();
        Box::pin(try_stream! {
            let exchange = Arc::new(Exchange::default());
            let client = Client::build(http.clone(), endpoint)
                .with_http_service(exchange::service(http, config.connect_timeout, Arc::clone(&exchange)));
            let faults = Faults { config: &config, exchange: &exchange, prompt: &request.messages };
            let first_token_by = Instant::now() + config.first_token_timeout;

            let chat = client.chat();
            let mut opening = pin!(chat.create_stream_byot::<_, Value>(body(&config, &request)));
            let mut request_sent = false;
            let mut events = loop {
                let opened = tokio::select! {
                    () = exchange.request_sent.notified(), if !request_sent => None,
                    opened = timeout_at(first_token_by, &mut opening) => Some(opened),
                };
                match opened {
                    None => {
                        request_sent = true;
                        yield AnswerDelta::RequestSent;
                    }
                    Some(opened) => {
                        let opened = opened.map_err(|_| exchange::timed_out(config.first_token_timeout))?;
                        break opened.map_err(|error| faults.explain(error))?;
                    }
                }
            };
            if !request_sent {
                yield AnswerDelta::RequestSent;
            }

            let mut answer = Answer::default();
            loop {
                let now = Instant::now();
                let (deadline, length) = match (&answer.finish_reason, answer.has_text) {
                    // The answer is whole. The stream's end is awaited only so that the connection can be used again.
                    (Some(_), _) => (now + LAST_EVENT, LAST_EVENT),
                    (None, true) => (now + config.between_tokens_timeout, config.between_tokens_timeout),
                    (None, false) => (first_token_by, config.first_token_timeout),
                };
                match timeout_at(deadline, events.next()).await {
                    Ok(Some(Ok(event))) => {
                        if let Some(error) = event.get("error").filter(|error| !error.is_null()) {
                            Err(faults.in_stream(error))?;
                        }
                        if let Some(text) = answer.take(&event) {
                            yield AnswerDelta::Text(text);
                        }
                    }
                    Ok(None) => break,
                    _ if answer.finish_reason.is_some() => break,
                    Ok(Some(Err(error))) => Err(faults.explain(error))?,
                    Err(_) => Err(exchange::timed_out(length))?,
                }
            }
            if answer.finish_reason.is_none() && exchange.ended_without_done() {
                Err(ChatError::Provider("it broke off in the middle of the answer".into()))?;
            }
            yield AnswerDelta::Done(answer.end(&config.model)?);
        })
    }
}

/// What was gathered of an answer so far.
#[derive(Default)]
struct Answer {
    has_text: bool,
    model: Option<String>,
    finish_reason: Option<String>,
    logprob_sum: f64,
    logprobs: u32,
}

impl Answer {
    /// Takes one event in; the text in it, unless there is none.
    ///
    /// Read by field rather than as the library's type: compatible servers leave out, or null, what that demands.
    fn take(&mut self, event: &Value) -> Option<String> {
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
        // A refusal comes in a field of its own; unread, it would look like an answer without text.
        let delta = &choice["delta"];
        let text = delta["content"].as_str().filter(|text| !text.is_empty()).or(delta["refusal"].as_str());
        let text = text.filter(|text| !text.is_empty()).map(str::to_owned);
        self.has_text |= text.is_some();
        text
    }

    fn end(self, asked_for: &str) -> Result<AnswerEnd, ChatError> {
        let finish_reason = self.finish_reason.unwrap_or_else(|| "unknown".into());
        if !self.has_text {
            return Err(ChatError::Provider(format!(
                "it ended without any text (finish reason: {finish_reason})"
            )));
        }
        Ok(AnswerEnd {
            finish_reason,
            model: self.model.unwrap_or_else(|| asked_for.into()),
            confidence: (self.logprobs > 0)
                .then(|| (self.logprob_sum / f64::from(self.logprobs)).exp().clamp(0.0, 1.0) as f32),
        })
    }
}

/// Turns what went wrong into a [`ChatError`] that holds neither key nor prompt.
struct Faults<'a> {
    config: &'a OpenAiChatConfig,
    exchange: &'a Exchange,
    prompt: &'a [ChatMessage],
}

impl Faults<'_> {
    /// Only the exchange's own words are passed on: the library's errors quote what was received.
    fn explain(&self, error: OpenAIError) -> ChatError {
        let error = match error {
            OpenAIError::Boxed(error) => match error.downcast::<ChatError>() {
                Ok(error) => *error,
                Err(_) => ChatError::Provider("the HTTP client failed".into()),
            },
            OpenAIError::StreamError(_) => {
                let fault = self.exchange.fault.get().cloned();
                fault.unwrap_or_else(|| {
                    ChatError::Provider("it sent something other than an event stream".into())
                })
            }
            OpenAIError::JSONDeserialize(..) => {
                ChatError::Provider("it sent an event that is not JSON".into())
            }
            _ => ChatError::Provider("the request could not be made".into()),
        };
        self.censored(error)
    }

    /// An error that a server reports after it had answered 200.
    fn in_stream(&self, error: &Value) -> ChatError {
        let message = server_message(&json!({ "error": error })).unwrap_or_else(|| "no reason given".into());
        let limited = error["code"] == 429 || error["type"] == "rate_limit_error";
        self.censored(match limited {
            true => ChatError::RateLimited(message),
            false => ChatError::Provider(message),
        })
    }

    fn censored(&self, error: ChatError) -> ChatError {
        match error {
            ChatError::Unauthorised(message) => ChatError::Unauthorised(self.censor(message)),
            ChatError::RateLimited(message) => ChatError::RateLimited(self.censor(message)),
            ChatError::Provider(message) => ChatError::Provider(self.censor(message)),
            ChatError::Timeout(ms) => ChatError::Timeout(ms),
        }
    }

    /// Servers that check their input often quote it when they refuse it.
    fn censor(&self, message: String) -> String {
        let secrets = self.config.headers.iter().map(|(_, value)| value).chain(&self.config.api_key);
        let mut secrets = secrets.map(ExposeSecret::expose_secret).filter(|secret| !secret.is_empty());
        let shown: Vec<char> = message.chars().take(MESSAGE).collect();
        let quotes = |window: &[char]| {
            let window: String = window.iter().collect();
            self.prompt.iter().any(|said| said.content.contains(&window))
        };
        if secrets.any(|secret| message.contains(secret)) || shown.windows(QUOTE).any(quotes) {
            return "its message is withheld, as it quotes the request".into();
        }
        shown.into_iter().collect()
    }
}

/// Base URL and headers, ready to send. The library's own configuration reads the environment and panics on odd keys.
#[derive(Clone)]
struct Endpoint {
    base: String,
    headers: HeaderMap,
    is_loopback: bool,
    no_key: SecretString,
}

impl Endpoint {
    fn new(config: &OpenAiChatConfig) -> Result<Self, OpenAiConfigError> {
        let url = reqwest::Url::parse(&config.base_url).map_err(|_| OpenAiConfigError::BaseUrl)?;
        let plain = matches!(url.scheme(), "http" | "https")
            && url.query().is_none()
            && url.fragment().is_none()
            && url.username().is_empty()
            && url.password().is_none();
        let host = url.host_str().filter(|_| plain).ok_or(OpenAiConfigError::BaseUrl)?;
        let is_loopback = host == "localhost"
            || host.trim_matches(['[', ']']).parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback());

        let mut headers = HeaderMap::new();
        let mut add = |name: &str, value: &str| {
            let unusable = || OpenAiConfigError::Header(name.into());
            let header = HeaderName::try_from(name).map_err(|_| unusable())?;
            let mut value = HeaderValue::try_from(value).map_err(|_| unusable())?;
            value.set_sensitive(true);
            headers.insert(header, value);
            Ok(())
        };
        if let Some(key) = &config.api_key {
            add(AUTHORIZATION.as_str(), &format!("Bearer {}", key.expose_secret()))?;
        }
        if let Some(organisation) = &config.organisation {
            add("openai-organization", organisation)?;
        }
        for (name, value) in &config.headers {
            add(name, value.expose_secret())?;
        }
        let base = config.base_url.trim_end_matches('/').to_owned();
        Ok(Self { base, headers, is_loopback, no_key: SecretString::default() })
    }
}

impl Config for Endpoint {
    fn headers(&self) -> HeaderMap {
        self.headers.clone()
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }

    fn query(&self) -> Vec<(&str, &str)> {
        Vec::new()
    }

    fn api_base(&self) -> &str {
        &self.base
    }

    fn api_key(&self) -> &SecretString {
        &self.no_key
    }
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
    let limit = match config.base_url.starts_with(OPENAI_API_BASE) {
        true => "max_completion_tokens",
        false => "max_tokens",
    };
    let mut body =
        json!({ "model": config.model, "messages": messages, "stream": true, limit: request.max_tokens });
    if config.logprobs {
        body["logprobs"] = true.into();
    }
    body
}

/// Wait for the end of a stream whose answer is already whole.
const LAST_EVENT: Duration = Duration::from_millis(250);

/// Characters of a server's message that are passed on.
const MESSAGE: usize = 300;

/// A message that shares this many characters in a row with the prompt is taken to quote it.
const QUOTE: usize = 16;
