//! Close codes, and the `code` of `error` events.

use serde::{Deserialize, Serialize};

/// Why a session or a request of it ended. The numbers are WebSocket close codes and QUIC application codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(into = "u16", try_from = "u16")]
#[repr(u16)]
pub enum CloseCode {
    /// Done.
    Done = 1000,
    /// The server is leaving: resume elsewhere.
    Leaving = 1001,
    /// A message is too big.
    TooBig = 1009,
    /// Malformed or out-of-order message.
    Malformed = 4400,
    /// Not authenticated.
    Unauthenticated = 4401,
    /// Not allowed.
    Forbidden = 4403,
    /// Nothing came for too long.
    Idle = 4408,
    /// Another connection took the session over.
    TakenOver = 4409,
    /// A limit of the plan or of the session's length.
    Limit = 4413,
    /// The codec is unsupported or the bytes cannot be decoded.
    Undecodable = 4415,
    /// Too fast, or too many sessions.
    TooMany = 4429,
    /// Something broke inside the server.
    Internal = 1011,
    /// Overloaded: come back after `retry_after_ms`.
    Overloaded = 4503,
}

impl CloseCode {
    const ALL: [Self; 13] = [
        Self::Done,
        Self::Leaving,
        Self::TooBig,
        Self::Malformed,
        Self::Unauthenticated,
        Self::Forbidden,
        Self::Idle,
        Self::TakenOver,
        Self::Limit,
        Self::Undecodable,
        Self::TooMany,
        Self::Internal,
        Self::Overloaded,
    ];
}

impl From<CloseCode> for u16 {
    fn from(code: CloseCode) -> Self {
        code as Self
    }
}

impl TryFrom<u16> for CloseCode {
    type Error = String;
    fn try_from(code: u16) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|known| u16::from(*known) == code)
            .ok_or_else(|| format!("{code} is not a code of this protocol"))
    }
}
