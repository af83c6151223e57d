//! What went wrong, told without key or prompt.
//!
//! Not here: HTTP status codes, which `exchange` reads.

use async_openai::error::OpenAIError;
use serde_json::{Value, json};

use super::{
    super::{ChatError, ChatMessage},
    OpenAiChatConfig,
    exchange::Exchange,
};
use crate::provider::server_message;

/// Turns what went wrong into a [`ChatError`] that holds neither key nor prompt.
pub(super) struct Faults<'a> {
    pub(super) config: &'a OpenAiChatConfig,
    pub(super) exchange: &'a Exchange,
    pub(super) prompt: &'a [ChatMessage],
}

impl Faults<'_> {
    /// Only the exchange's own words are passed on: the library's errors quote what was received.
    pub(super) fn explain(&self, error: OpenAIError) -> ChatError {
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
    pub(super) fn in_stream(&self, error: &Value) -> ChatError {
        let message = server_message(&json!({ "error": error })).unwrap_or_else(|| "no reason given".into());
        let code = &error["code"];
        let kinds = [code.as_str(), error["type"].as_str()];
        let is = |status: u64, names: &[&str]| {
            code.as_u64() == Some(status)
                || kinds.into_iter().flatten().any(|kind| names.contains(&kind) || kind == status.to_string())
        };
        self.censored(if is(429, &["rate_limit_error", "rate_limit_exceeded"]) {
            ChatError::RateLimited { message, retry_after: None }
        } else if is(401, &["authentication_error", "invalid_api_key"]) || is(403, &["permission_error"]) {
            // Its message may quote most of the key.
            ChatError::Unauthorised(kinds.into_iter().flatten().next().unwrap_or("no further reason").into())
        } else if is(400, &["invalid_request_error", "context_length_exceeded"]) {
            ChatError::Refused(message)
        } else {
            ChatError::Provider(message)
        })
    }

    fn censored(&self, error: ChatError) -> ChatError {
        error.map_message(|message| self.censor(message))
    }

    fn censor(&self, message: String) -> String {
        self.config.censor(self.prompt.iter().map(|said| &*said.content).collect()).apply(message)
    }
}
