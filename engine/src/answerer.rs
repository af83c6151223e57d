//! From a question to a prompt, and from streamed text to an answer with key points and sources.
//!
//! Not here: when to answer (the session decides), the models themselves.

mod citations;
mod prompt;
mod reading;

pub use self::citations::Citations;

use std::sync::Arc;

use futures_util::stream::BoxStream;
use models::chat::{AnswerDelta, ChatError, ChatModel, ChatRequest, SourceLine};
use protocol::{AnswerLength, Source, Variant};

use crate::{history::History, ports::CandidateContext};

/// What is to be answered, and how.
#[derive(Clone, Debug, PartialEq)]
pub struct Question {
    /// The interviewer's words.
    pub text: String,
    /// Tone.
    pub variant: Variant,
    /// Spoken length.
    pub length: AnswerLength,
    /// Language of the answer as an ISO 639-1 code.
    pub language: String,
}

/// A request to a model, and what it will cost about.
#[derive(Clone, Debug, PartialEq)]
pub struct Prompt {
    /// The request.
    pub request: ChatRequest,
    /// Tokens of its messages, as an estimate.
    pub prompt_tokens: u64,
}

/// What can be read off the whole text of an answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reading {
    /// The points it makes, in its own words.
    pub key_points: Vec<String>,
    /// The CV lines it cites as `[n]`; lines the CV does not have are left out.
    pub sources: Vec<Source>,
}

/// Answers for one candidate.
pub struct Answerer {
    model: Arc<dyn ChatModel>,
    candidate: CandidateContext,
    cv: Arc<[SourceLine]>,
}

impl Answerer {
    /// An answerer that asks `model` on behalf of `candidate`.
    pub fn new(model: Arc<dyn ChatModel>, candidate: CandidateContext) -> Self {
        let cv = numbered(&candidate.cv);
        Self { model, candidate, cv }
    }

    /// What to ask the model.
    pub fn prompt(&self, question: &Question, history: &History) -> Prompt {
        let messages = prompt::messages(&self.candidate, &self.cv, history, question);
        let max_tokens = prompt::max_tokens(question.length);
        let prompt_tokens = messages.iter().map(|message| message.content.len() as u64 / 4).sum();
        let request = ChatRequest {
            messages,
            question: question.text.clone(),
            sources: Arc::clone(&self.cv),
            max_tokens,
            context: None,
        };
        Prompt { request, prompt_tokens }
    }

    /// Starts answering when first polled; dropping the stream cancels.
    pub fn ask(&self, prompt: Prompt) -> BoxStream<'static, Result<AnswerDelta, ChatError>> {
        self.model.answer(prompt.request)
    }

    /// Takes wrong citations out of an answer as it streams.
    pub fn citations(&self) -> Citations {
        Citations::new(Arc::clone(&self.cv))
    }

    /// Reads key points and sources off a whole answer.
    pub fn read(&self, content: &str) -> Reading {
        Reading { key_points: reading::key_points(content), sources: reading::sources(content, &self.cv) }
    }
}

/// The lines of a document that hold text, with their 1-based numbers.
fn numbered(document: &str) -> Arc<[SourceLine]> {
    let lines = document.lines().take(MAX_CV_LINES).zip(1..);
    lines
        .filter(|(line, _)| !line.trim().is_empty())
        .map(|(line, number)| {
            let line = line.trim();
            SourceLine { number, text: line[..line.floor_char_boundary(MAX_LINE_BYTES)].to_owned() }
        })
        .collect()
}

const MAX_CV_LINES: usize = 1_000;
const MAX_LINE_BYTES: usize = 1_000;
