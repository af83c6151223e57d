//! What can go wrong between a client and a server, in words that say what to do.
//!
//! No message holds a token, a ticket or a word of the session.

use std::{io, time::Duration};

/// Why a session could not be opened, or broke.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The address or the token cannot be used. Correct it.
    #[error("cannot connect to {address}: {reason}")]
    Config {
        /// The address, without its query.
        address: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Nobody listens there.
    #[error("nothing listens at {address}; is the server running? Start it with `interviewai serve`")]
    Refused {
        /// The address, without its query.
        address: String,
    },
    /// The network failed before the session was open.
    #[error("cannot reach {address}: {source}")]
    Unreachable {
        /// The address, without its query.
        address: String,
        /// What the network said.
        source: io::Error,
    },
    /// No handshake within [`ClientConfig::connect_timeout`](crate::ClientConfig::connect_timeout).
    #[error("{address} did not complete the handshake within {} s; is it overloaded, or another kind of server?", after.as_secs_f32())]
    TimedOut {
        /// The address, without its query.
        address: String,
        /// The limit.
        after: Duration,
    },
    /// Nobody vouches for the server's certificate, or it is not the one that was named.
    #[error(
        "the certificate of {address} is not trusted: {reason}; a server for development prints its SHA-256 at start, \
         which `interviewai stream` takes as --certificate-sha256"
    )]
    Certificate {
        /// The address, without its query.
        address: String,
        /// What is wrong with the certificate.
        reason: String,
    },
    /// The server answered the handshake with an HTTP error.
    #[error("{address} answered {status}: {}", explain(*status, message))]
    Rejected {
        /// The address, without its query.
        address: String,
        /// HTTP status.
        status: u16,
        /// What the body says; may be empty.
        message: String,
    },
    /// Something answered that is no server of this protocol.
    #[error(
        "{address} does not speak this protocol ({reason}); is it the audio address of `interviewai serve`?"
    )]
    NotThisProtocol {
        /// The address, without its query.
        address: String,
        /// What was unexpected.
        reason: String,
    },
    /// A control message was larger than the server accepts; it was not sent and the session goes on.
    #[error("a control message of {bytes} bytes was not sent: the server accepts {max}", max = protocol::MAX_JSON_BYTES)]
    TooBig {
        /// Its size as JSON.
        bytes: usize,
    },
    /// An event could not be understood; the next one can be read.
    #[error("the server sent an event that this client does not understand ({0}); is the server newer?")]
    Event(String),
    /// The server ended the session, or opens none; trying again as it is does not help.
    #[error("the server ended the session: {reason} ({code})")]
    Ended {
        /// Close code of the protocol; 0 when there was none.
        code: u16,
        /// What the server said.
        reason: String,
    },
    /// The server takes no session for now.
    #[error("the server is busy: {reason}; try again in {} ms", after.as_millis())]
    Busy {
        /// What the server said.
        reason: String,
        /// When to try again.
        after: Duration,
    },
    /// The session is over; [`Events::closed`](crate::Events::closed) says why.
    #[error("the session is closed")]
    Closed,
    /// The connection broke off without a close.
    #[error("the connection broke off: {0}")]
    Lost(String),
}

fn explain(status: u16, message: &str) -> String {
    let advice = match status {
        401 => {
            "the token is missing, wrong or expired; give a valid one, or run the server with `auth = off` on loopback"
        }
        403 => "not allowed for this account, or from this origin",
        404 => "no session endpoint at this path; it is /audio",
        429 => "too many connections from this address; wait before the next",
        503 => "the server is full or leaving; try again later",
        _ => "the server refused the session",
    };
    if message.is_empty() { advice.to_owned() } else { format!("{message} ({advice})") }
}
