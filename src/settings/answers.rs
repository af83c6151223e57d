//! `[answers]`: who answers. Not here: how a session asks for answers (`session`).

use models::chat::{OpenAiChat, OpenAiChatConfig};
use secrecy::SecretString;

use super::Reader;

/// Who answers.
#[derive(Debug)]
pub(crate) enum Answers {
    /// No language model: lines of the CV.
    Notes,
    /// An OpenAI-compatible provider.
    OpenAi(Box<OpenAiChatConfig>),
}

impl Reader {
    pub(super) fn answers(&mut self) -> Option<Answers> {
        let default = OpenAiChatConfig::new("gpt-4o-mini");
        let api_key = self.optional::<SecretString>("answers.api_key");
        let base_url = self.optional::<String>("answers.base_url");
        let configured = api_key.is_some() || base_url.is_some();
        let config = OpenAiChatConfig {
            api_key,
            base_url: base_url.unwrap_or(default.base_url),
            organisation: self.optional("answers.organisation"),
            model: self.get("answers.model", default.model),
            logprobs: self.get("answers.logprobs", default.logprobs),
            ..OpenAiChatConfig::new("")
        };
        let provider = self.get("answers.provider", "auto".to_owned());
        match provider.as_str() {
            "notes" => Some(Answers::Notes),
            "auto" if !configured => Some(Answers::Notes),
            "auto" | "openai" if configured => match OpenAiChat::new(config.clone()) {
                Ok(_) => Some(Answers::OpenAi(Box::new(config))),
                Err(error) => {
                    self.problem(format!("[answers] {error}"));
                    None
                }
            },
            "openai" => {
                self.problem("answers.provider is openai: set OPENAI_API_KEY, or OPENAI_BASE_URL for a server without keys");
                None
            }
            other => {
                self.problem(format!("answers.provider is {other:?}: use \"auto\", \"openai\" or \"notes\""));
                None
            }
        }
    }
}
