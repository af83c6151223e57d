//! `[answers]`: who answers, who when that fails, and how much. Not here: what a session asks for (`session`).

use std::{collections::BTreeMap, fmt, time::Duration};

use engine::{config::OnBreak, ports::memory::MonthlyLimits};
use models::chat::{AnthropicChat, AnthropicChatConfig, OpenAiChat, OpenAiChatConfig};
use secrecy::SecretString;

use super::Reader;

/// Who answers, and how.
#[derive(Debug)]
pub(crate) struct Answers {
    /// Who is asked, in this order; never empty, nobody twice, and notes come last.
    pub(crate) chain: Vec<Answering>,
    /// To the first text of each of them.
    pub(crate) first_token_timeout: Duration,
    /// From text to text.
    pub(crate) between_tokens_timeout: Duration,
    /// How often each is asked again before its first text.
    pub(crate) retries: u32,
    /// How long one that failed is left alone.
    pub(crate) rest: Duration,
    /// What each user may use in a month.
    pub(crate) monthly: MonthlyLimits,
}

/// One who answers.
#[derive(Debug)]
pub(crate) enum Answering {
    /// No language model: lines of the CV.
    Notes,
    /// An OpenAI-compatible provider.
    OpenAi(Box<OpenAiChatConfig>),
    /// Anthropic, or a server that speaks its Messages API.
    Anthropic(Box<AnthropicChatConfig>),
}

/// The servers that could be asked, as far as they are named.
struct Servers {
    openai: Option<OpenAiChatConfig>,
    anthropic: Option<AnthropicChatConfig>,
}

impl fmt::Display for Answering {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Notes => f.write_str("notes"),
            Self::OpenAi(config) => write!(f, "{} at {}", config.model, config.base_url),
            Self::Anthropic(config) => write!(f, "{} at {}", config.model, config.base_url),
        }
    }
}

impl Answers {
    /// Whether no language model is asked at all.
    pub(crate) fn are_notes(&self) -> bool {
        matches!(self.chain[..], [Answering::Notes])
    }

    /// Who answers, in words.
    pub(crate) fn names(&self) -> String {
        self.chain.iter().map(ToString::to_string).collect::<Vec<_>>().join("; when that fails, ")
    }
}

impl Reader {
    pub(super) fn answers(&mut self) -> Option<Answers> {
        let servers = Servers { openai: self.openai_answers(), anthropic: self.anthropic_answers() };
        let provider = self.get("answers.provider", "auto".to_owned());
        let fallback = self.get("answers.fallback", Vec::<String>::new());
        let first = match provider.as_str() {
            "auto" if servers.openai.is_some() => "openai",
            "auto" if servers.anthropic.is_some() => "anthropic",
            "auto" => "notes",
            named => named,
        };
        let mut chain = Vec::new();
        let mut names: Vec<&str> = Vec::new();
        let named = fallback.iter().map(|name| ("answers.fallback", name.as_str()));
        for (key, name) in [("answers.provider", first)].into_iter().chain(named) {
            if names.contains(&name) {
                // "auto" may have found it first.
                if provider != "auto" || name != first {
                    self.problem(format!("answers.fallback: {name:?} is asked already"));
                }
                continue;
            }
            if names.contains(&"notes") {
                self.problem(format!("answers.fallback: {name:?} is never asked, as notes never fail"));
            }
            names.push(name);
            chain.extend(self.answering(key, name, &servers));
        }
        let answers = Answers {
            chain,
            first_token_timeout: self.seconds("answers.first_token_timeout_s", Duration::from_secs(8)),
            between_tokens_timeout: self.seconds("answers.between_tokens_timeout_s", Duration::from_secs(10)),
            retries: self.number("answers.retries", 1, 10) as u32,
            rest: self.seconds("answers.rest_s", Duration::from_secs(30)),
            monthly: MonthlyLimits {
                requests: self.optional("answers.monthly_requests"),
                tokens: self.optional("answers.monthly_tokens"),
            },
        };
        (!answers.chain.is_empty()).then_some(answers)
    }

    /// The provider of that name, if it can be asked.
    fn answering(&mut self, key: &str, name: &str, servers: &Servers) -> Option<Answering> {
        let unnamed = |what: &str| format!("{key} names {name}: set {what} for a server without keys");
        let wrong = |error| format!("[answers] {error}");
        let checked = match name {
            "notes" => Ok(Answering::Notes),
            "openai" => match servers.openai.clone() {
                Some(config) => OpenAiChat::new(config.clone())
                    .map(|_| Answering::OpenAi(Box::new(config)))
                    .map_err(wrong),
                None => Err(unnamed("OPENAI_API_KEY, or OPENAI_BASE_URL")),
            },
            "anthropic" => match servers.anthropic.clone() {
                Some(config) => AnthropicChat::new(config.clone())
                    .map(|_| Answering::Anthropic(Box::new(config)))
                    .map_err(wrong),
                None => Err(unnamed("ANTHROPIC_API_KEY, or answers.anthropic_base_url")),
            },
            other => Err(format!("{key} is {other:?}: use {}", NAMES[usize::from(key == FALLBACK)])),
        };
        checked.map_err(|problem| self.problem(problem)).ok()
    }

    /// What of this section is about sessions: what becomes of an answer that breaks off, how many are begun on a guess in a
    /// minute, and what a model can read and write in one request, its thoughts aside.
    pub(super) fn answering_sessions(&mut self) -> (OnBreak, u32, u32) {
        let on_break = match self.get("answers.on_break", "ask_next".to_owned()).as_str() {
            "keep" => OnBreak::Keep,
            "ask_next" => OnBreak::AskNext,
            other => {
                self.problem(format!("answers.on_break is {other:?}: use \"keep\" or \"ask_next\""));
                OnBreak::Keep
            }
        };
        let guesses = self.number("answers.max_speculative_requests_per_minute", 20, 600);
        let (context_tokens, thinking) =
            (self.number("answers.context_tokens", 8_192, 10_000_000), self.thinking_tokens() as usize);
        let least = LEAST_CONTEXT_TOKENS + thinking;
        if context_tokens < least {
            self.problem(format!(
                "answers.context_tokens is {context_tokens}: use {least} or more, as a CV and answers.thinking_tokens must find room"
            ));
        }
        (on_break, guesses as u32, context_tokens.saturating_sub(thinking) as u32)
    }

    fn thinking_tokens(&mut self) -> u32 {
        self.number("answers.thinking_tokens", 0, 1_000_000) as u32
    }

    /// The server that speaks the Messages API, if one is named.
    fn anthropic_answers(&mut self) -> Option<AnthropicChatConfig> {
        let default = AnthropicChatConfig::new("claude-haiku-4-5");
        let api_key = self.optional::<SecretString>("answers.anthropic_api_key");
        let base_url = self.optional::<String>("answers.anthropic_base_url");
        let configured = api_key.is_some() || base_url.is_some();
        let config = AnthropicChatConfig {
            api_key,
            base_url: base_url.unwrap_or(default.base_url),
            model: self.get("answers.anthropic_model", default.model),
            thinking_tokens: self.thinking_tokens(),
            ..AnthropicChatConfig::new("")
        };
        configured.then_some(config)
    }

    fn prefill(&mut self) -> Option<bool> {
        match self.get("answers.prefill", "auto".to_owned()).as_str() {
            "auto" => None,
            "on" => Some(true),
            "off" => Some(false),
            other => {
                self.problem(format!("answers.prefill is {other:?}: use \"auto\", \"on\" or \"off\""));
                None
            }
        }
    }

    /// The OpenAI-compatible server, if one is named.
    fn openai_answers(&mut self) -> Option<OpenAiChatConfig> {
        let default = OpenAiChatConfig::new("gpt-4o-mini");
        let api_key = self.optional::<SecretString>("answers.api_key");
        let base_url = self.optional::<String>("answers.base_url");
        let configured = api_key.is_some() || base_url.is_some();
        let headers = self.get("answers.headers", BTreeMap::<String, SecretString>::new());
        let config = OpenAiChatConfig {
            api_key,
            base_url: base_url.unwrap_or(default.base_url),
            organisation: self.optional("answers.organisation"),
            model: self.get("answers.model", default.model),
            headers: headers.into_iter().collect(),
            logprobs: self.get("answers.logprobs", default.logprobs),
            usage: self.get("answers.usage", default.usage),
            prefill: self.prefill(),
            thinking_tokens: self.thinking_tokens(),
            ..OpenAiChatConfig::new("")
        };
        configured.then_some(config)
    }
}

const FALLBACK: &str = "answers.fallback";
/// Of a provider, and of an entry of the fallback.
const NAMES: [&str; 2] =
    [r#""auto", "openai", "anthropic" or "notes""#, r#""openai", "anthropic" or "notes""#];

/// Instructions, a page of CV, the question and a short answer.
const LEAST_CONTEXT_TOKENS: usize = 2_048;
