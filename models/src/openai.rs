//! What the clients of OpenAI-compatible servers share: where the server is, what it refuses, what may be shown of that.
//!
//! Not here: what is asked, which `chat::openai` and `speech::openai` know.

mod censor;
mod endpoint;
mod refusal;
mod warmth;

pub use self::endpoint::OpenAiConfigError;
pub(crate) use self::{
    censor::Censor,
    endpoint::{Access, Endpoint},
    refusal::{Refusal, root_cause, server_message},
    warmth::Warmth,
};
