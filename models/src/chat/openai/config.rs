//! Where the model is.
//!
//! Not here: where the values come from, and their checks; how long to wait for an answer (`Fallback`).

use std::time::Duration;

use async_openai::config::OPENAI_API_BASE;
use secrecy::SecretString;

use crate::provider::{Access, Censor};

/// Where the model is. `Debug` shows no secret.
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
    /// Ask for the number of tokens used. OpenAI itself is always asked; most other servers know the question (`stream_options`),
    /// some refuse the request for it, some tell unasked. Default: off.
    pub usage: bool,
    /// Let the server read a session's prompt ahead. For servers that keep what they have read of a prompt and whose time costs
    /// nothing, as `llama-server`, Ollama and vLLM on this machine: there, reading a CV is most of the wait for an answer. Default,
    /// `None`: for servers on this machine.
    pub prefill: Option<bool>,
    /// Tokens for a model that thinks before it answers, on top of the answer's own. Default: 0.
    pub thinking_tokens: u32,
    /// To reach the server: DNS, TCP and TLS, when no connection is open. Default: 3 s.
    pub connect_timeout: Duration,
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
            usage: false,
            prefill: None,
            thinking_tokens: 0,
            connect_timeout: Duration::from_secs(3),
        }
    }

    pub(super) fn access(&self) -> Access<'_> {
        Access {
            base_url: &self.base_url,
            api_key: self.api_key.as_ref(),
            organisation: self.organisation.as_deref(),
            headers: &self.headers,
        }
    }

    pub(super) fn censor<'a>(&'a self, asked: Vec<&'a str>) -> Censor<'a> {
        Censor { api_key: self.api_key.as_ref(), headers: &self.headers, asked }
    }
}
