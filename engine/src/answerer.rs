//! From a question to a prompt, and from streamed text to an answer with key points and sources.
//!
//! Not here: when to answer (the session decides), the models themselves.

pub(crate) mod budget;
mod citations;
mod prompt;
mod reading;
pub(crate) mod sentences;
mod style;
pub(crate) mod untrusted;

pub use self::citations::Citations;

use std::sync::{Arc, OnceLock};

use futures_util::stream::BoxStream;
use models::chat::{AnswerDelta, ChatError, ChatModel, ChatRequest, SourceIndex, SourceLine};
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
    /// Language of the answer as an ISO 639-1 code; any other text leaves it to the question.
    pub language: String,
}

/// A request to a model, and what it will cost about.
#[derive(Clone, Debug, PartialEq)]
pub struct Prompt {
    /// The request.
    pub request: ChatRequest,
    /// Tokens of its messages, as an estimate that is seldom too low: 1.4 times those of English text.
    pub prompt_tokens: u64,
}

/// What can be read off the whole text of an answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reading {
    /// The points it makes, in its own words.
    pub key_points: Vec<String>,
    /// The CV lines it cites as `[n]` or `[n-m]`, in order of first mention; lines the CV does not have are left out.
    pub sources: Vec<Source>,
}

/// Answers for one candidate.
pub struct Answerer {
    model: Arc<dyn ChatModel>,
    candidate: CandidateContext,
    cv: Arc<[SourceLine]>,
    /// Of `cv`, made when first needed: most of what a session weighs, and many never ask.
    index: OnceLock<Arc<SourceIndex>>,
    context_tokens: u32,
}

impl Answerer {
    /// An answerer that asks `model` on behalf of `candidate`; the model holds 8,192 tokens.
    pub fn new(model: Arc<dyn ChatModel>, candidate: CandidateContext) -> Self {
        let cv = numbered(&candidate.cv);
        Self { model, candidate, cv, index: OnceLock::new(), context_tokens: DEFAULT_CONTEXT_TOKENS }
    }

    /// The same for a model that holds this many tokens, prompt and answer together; fewer than 1,024 are taken as 1,024.
    pub fn with_context_tokens(mut self, context_tokens: u32) -> Self {
        self.context_tokens = context_tokens;
        self
    }

    /// Does now what the first prompt would else do first: reads the CV, about 2 ms for one of 100 lines. Once.
    pub fn prepare(&self) {
        self.index();
    }

    /// What to ask the model. By estimate, prompt and answer fit into what the model holds, whatever the texts are.
    pub fn prompt(&self, question: &Question, history: &History) -> Prompt {
        let (messages, max_tokens) =
            prompt::build(&self.candidate, self.index(), history, question, self.context_tokens);
        let prompt_tokens = prompt::tokens(&messages) as u64;
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

    /// Takes wrong citations out of one answer as it streams.
    pub fn citations(&self) -> Citations {
        Citations::new(Arc::clone(self.index()))
    }

    /// Reads key points and sources off a whole answer.
    pub fn read(&self, content: &str) -> Reading {
        Reading { key_points: reading::key_points(content), sources: reading::sources(content, &self.cv) }
    }

    fn index(&self) -> &Arc<SourceIndex> {
        self.index.get_or_init(|| Arc::new(SourceIndex::new(Arc::clone(&self.cv))))
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

/// What small models in use hold.
const DEFAULT_CONTEXT_TOKENS: u32 = 8_192;

const MAX_CV_LINES: usize = 1_000;
const MAX_LINE_BYTES: usize = 1_000;
