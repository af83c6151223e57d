//! What the clients of model providers share: where the server is, what it refuses, what may be shown of that.
//!
//! Not here: what is asked, which the clients in `chat` and `speech` know.

mod censor;
mod endpoint;
mod refusal;
mod warmth;

pub use self::endpoint::ProviderConfigError;
pub(crate) use self::{
    censor::Censor,
    endpoint::{Access, Endpoint},
    refusal::{Refusal, root_cause, server_message},
    warmth::Warmth,
};
