//! The events of the Messages API, and what is gathered from them. Not here: how they come over the wire.

use serde_json::Value;

use super::super::{AnswerEnd, ChatError, TokenUsage, thinking::ThinkFilter, wire};
use crate::provider::server_message;

/// What an event says.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// The next text, never empty.
    Text(String),
    /// Nothing for the reader.
    Nothing,
    /// The answer is whole.
    Stop,
}

/// What was gathered of an answer so far.
#[derive(Default)]
pub(super) struct Answer {
    thoughts: ThinkFilter,
    has_text: bool,
    model: Option<String>,
    stop_reason: Option<String>,
    prompt_tokens: Option<u64>,
    completion_tokens: Option<u64>,
}

impl Answer {
    /// Takes one event in. Kinds of events and blocks that are not known say nothing: the API promises to add some.
    pub(super) fn take(&mut self, event: &Value) -> Result<Event, ChatError> {
        match event["type"].as_str().unwrap_or_default() {
            "message_start" => {
                let message = &event["message"];
                self.model = message["model"].as_str().filter(|model| !model.is_empty()).map(str::to_owned);
                self.count(&message["usage"]);
            }
            // Thoughts, signatures and tools' input are deltas of other types.
            "content_block_delta" if event["delta"]["type"] == "text_delta" => {
                return Ok(self.text(event["delta"]["text"].as_str().unwrap_or_default()));
            }
            // A block may begin with text in it.
            "content_block_start" if event["content_block"]["type"] == "text" => {
                return Ok(self.text(event["content_block"]["text"].as_str().unwrap_or_default()));
            }
            "message_delta" => {
                if let Some(reason) = event["delta"]["stop_reason"].as_str() {
                    self.stop_reason = Some(reason.to_owned());
                }
                self.count(&event["usage"]);
            }
            "message_stop" => return Ok(Event::Stop),
            "error" => return Err(explain(event)),
            _ => {}
        }
        Ok(Event::Nothing)
    }

    /// Whether nothing more of it can come.
    pub(super) fn is_whole(&self) -> bool {
        self.stop_reason.is_some()
    }

    fn text(&mut self, text: &str) -> Event {
        let text = self.thoughts.push(text);
        self.has_text |= !text.is_empty();
        if text.is_empty() { Event::Nothing } else { Event::Text(text) }
    }

    /// Counts are of the whole message so far: the last stands.
    fn count(&mut self, usage: &Value) {
        let parts = ["input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens"];
        let prompt: Vec<u64> = parts.iter().filter_map(|part| usage[part].as_u64()).collect();
        if !prompt.is_empty() {
            self.prompt_tokens = Some(prompt.into_iter().fold(0, u64::saturating_add));
        }
        self.completion_tokens = usage["output_tokens"].as_u64().or(self.completion_tokens);
    }

    /// What was held back, as it might have become a thought.
    pub(super) fn last_text(&mut self) -> String {
        let text = self.thoughts.finish();
        self.has_text |= !text.is_empty();
        text
    }

    /// The end of the answer.
    pub(super) fn end(self, asked_for: &str) -> Result<AnswerEnd, ChatError> {
        // In the words that the OpenAI API has for them, which clients know.
        let finish_reason = match self.stop_reason.as_deref() {
            Some("end_turn" | "stop_sequence") => "stop",
            Some("max_tokens" | "model_context_window_exceeded") => "length",
            Some("refusal") => "content_filter",
            Some(other) => other,
            None => "unknown",
        };
        if !self.has_text {
            return Err(wire::without_text(finish_reason));
        }
        let usage = self.prompt_tokens.zip(self.completion_tokens);
        Ok(AnswerEnd {
            usage: usage.map(|(prompt, completion)| TokenUsage { prompt, completion }),
            ..AnswerEnd::new(finish_reason, self.model.as_deref().unwrap_or(asked_for))
        })
    }
}

/// An error that the server reports after it had answered 200.
fn explain(event: &Value) -> ChatError {
    let message = server_message(event).unwrap_or_else(|| "no reason given".into());
    match event["error"]["type"].as_str().unwrap_or_default() {
        "rate_limit_error" => ChatError::RateLimited { message, retry_after: None },
        // Its message may quote the key.
        kind @ ("authentication_error" | "permission_error") => ChatError::Unauthorised(kind.to_owned()),
        "invalid_request_error" | "request_too_large" => ChatError::Refused(message),
        _ => ChatError::Provider(message),
    }
}
