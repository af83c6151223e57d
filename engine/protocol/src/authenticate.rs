//! The first message over raw QUIC, which has no headers for credentials.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Says who connects: before `start_stream`, and over raw QUIC only.
///
/// Neither field is needed where nobody is asked for credentials (`auth = off`).
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum Authenticate {
    /// The only message of this kind.
    Authenticate {
        /// An access token.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        token: Option<String>,
        /// A ticket that works once.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        ticket: Option<String>,
    },
}

impl fmt::Debug for Authenticate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Authenticate(secret)")
    }
}
