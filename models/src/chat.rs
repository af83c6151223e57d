//! The chat seam: a prompt in, an answer's text out, token by token.
//!
//! [`Notes`] needs no language model, [`OpenAiChat`] speaks to any OpenAI-compatible server, [`AnthropicChat`] to Anthropic's
//! Messages API, [`ScriptedChat`] is for tests. [`Fallback`] makes one of several, with time-outs and retries; [`Cached`] remembers
//! answers. [`SourceIndex`] tells which lines of a CV bear on a question. Not here: prompts, variants, key points; the engine's
//! answerer does that.

mod anthropic;
mod cached;
mod fallback;
mod notes;
mod openai;
mod scripted;
mod thinking;
mod wire;

pub use self::{
    anthropic::{AnthropicChat, AnthropicChatConfig},
    cached::{AnswerCache, Cached},
    fallback::{Fallback, Link},
    notes::{Notes, SourceIndex, StemSet},
    openai::{LOG_DIRECTIVE, OpenAiChat, OpenAiChatConfig},
    scripted::{ScriptedChat, ScriptedDelta},
};

pub use crate::provider::ProviderConfigError;

use std::{sync::Arc, time::Duration};

use futures_util::{future::BoxFuture, stream::BoxStream};

/// Who says a [`ChatMessage`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChatRole {
    /// Instructions.
    System,
    /// The one asking.
    User,
    /// The model.
    Assistant,
}

/// One message of a prompt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChatMessage {
    /// Who says it.
    pub role: ChatRole,
    /// What is said.
    pub content: String,
}

/// One numbered line of a document that an answer may cite as `[n]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceLine {
    /// 1-based line number in the document.
    pub number: u32,
    /// The line, trimmed, never empty.
    pub text: String,
}

/// What to answer.
#[derive(Clone, Debug, PartialEq)]
pub struct ChatRequest {
    /// The prompt, for language models.
    pub messages: Vec<ChatMessage>,
    /// The question alone, for models that do not read prompts.
    pub question: String,
    /// The document that claims are tied to, in order, for models that do not read prompts; empty when there is none.
    pub sources: Arc<[SourceLine]>,
    /// Upper bound of the answer, in tokens.
    pub max_tokens: u32,
    /// SHA-256 of all that the answer depends on beside question, model and options: whose it is, the candidate's papers, the
    /// conversation. `None`: the answer is neither remembered nor taken from memory.
    pub context: Option<[u8; 32]>,
}

/// A piece of an answer.
#[derive(Clone, Debug, PartialEq)]
pub enum AnswerDelta {
    /// The prompt has left for the provider: the request's last byte is written, or local work begins. At most once, first.
    RequestSent,
    /// Who answers, of several; before the first text. Only [`Fallback`] has several.
    By {
        /// 0 is the usual one, others stand in for those before them.
        place: usize,
        /// Its name.
        name: String,
        /// What is wrong with the usual one, if this request saw it.
        why: Option<ChatError>,
    },
    /// The next text; never empty.
    Text(String),
    /// The end of the answer; always the last item of a successful stream.
    Done(AnswerEnd),
}

/// How an answer ended.
#[derive(Clone, Debug, PartialEq)]
pub struct AnswerEnd {
    /// As reported: `stop`, `length`, `content_filter`, …; `unknown` when the provider gives no reason.
    pub finish_reason: String,
    /// The model that answered, as the provider names it.
    pub model: String,
    /// 0–1: the geometric mean of the tokens' probabilities; `None` when the provider reports none.
    pub confidence: Option<f32>,
    /// What the provider says it used; `None` when it does not say.
    pub usage: Option<TokenUsage>,
    /// Whether the answer was remembered rather than asked for.
    pub cached: bool,
}

impl AnswerEnd {
    /// An end of which nothing more is known.
    pub fn new(finish_reason: impl Into<String>, model: impl Into<String>) -> Self {
        Self {
            finish_reason: finish_reason.into(),
            model: model.into(),
            confidence: None,
            usage: None,
            cached: false,
        }
    }
}

/// What an answer cost, as the provider counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TokenUsage {
    /// Tokens of the prompt.
    pub prompt: u64,
    /// Tokens of the answer, those of a hidden train of thought included.
    pub completion: u64,
}

/// Why there is no (whole) answer. Text already streamed stands.
///
/// Messages are for a person, at most 300 characters long, and never hold the credentials or the prompt.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChatError {
    /// The provider refused the credentials. Check the key.
    #[error("the model provider refused the credentials: {0}")]
    Unauthorised(String),
    /// The provider asks to slow down. Ask again later, or ask another.
    #[error("the model provider is rate limiting: {message}")]
    RateLimited {
        /// What it says.
        message: String,
        /// When it says that it may be asked again, from now.
        retry_after: Option<Duration>,
    },
    /// The provider will not answer this request, for what is in it: too long, filtered, a field that it does not know. It would
    /// refuse it again, but others may be answered. Ask another.
    #[error("the model provider refused the request: {0}")]
    Refused(String),
    /// The provider could not be reached, or broke off. Ask again or ask another.
    #[error("the model provider failed: {0}")]
    Provider(String),
    /// Nothing came in time. Ask again or ask another.
    #[error("the model provider sent nothing for {0} ms")]
    Timeout(u64),
}

impl ChatError {
    /// The same error with another message.
    fn map_message(self, change: impl FnOnce(String) -> String) -> Self {
        match self {
            Self::Unauthorised(message) => Self::Unauthorised(change(message)),
            Self::RateLimited { message, retry_after } => {
                Self::RateLimited { message: change(message), retry_after }
            }
            Self::Refused(message) => Self::Refused(change(message)),
            Self::Provider(message) => Self::Provider(change(message)),
            Self::Timeout(ms) => Self::Timeout(ms),
        }
    }
}

/// Answers, token by token.
pub trait ChatModel: Send + Sync {
    /// The name shown to users, such as `notes` or `gpt-4o-mini`.
    fn name(&self) -> &str;

    /// Starts answering when first polled: [`AnswerDelta::RequestSent`], then texts, then [`AnswerDelta::Done`], or an
    /// error instead of what is left. After `Done` or an error the stream is over.
    ///
    /// Needs a tokio runtime with time and I/O to be polled in. Dropping the stream at any point cancels the request.
    fn answer(&self, request: ChatRequest) -> BoxStream<'static, Result<AnswerDelta, ChatError>>;

    /// Whether [`prefill`](Self::prefill) does anything.
    fn prefills(&self) -> bool {
        false
    }

    /// Lets the provider read the messages of `request` ahead, so that a later request that begins with the same text is answered
    /// sooner. The answer, of one token, is thrown away. What it cost, if the provider says so; nobody is told of failures.
    /// Dropping the future cancels.
    fn prefill(&self, request: ChatRequest) -> BoxFuture<'static, Option<TokenUsage>> {
        drop(request);
        Box::pin(std::future::ready(None))
    }

    /// Opens a connection that the next request will find open, unless there is one. Ends when that is done or has failed,
    /// within seconds; nobody is told. Dropping the future gives up.
    fn warm(&self) -> BoxFuture<'static, ()> {
        Box::pin(std::future::ready(()))
    }
}
