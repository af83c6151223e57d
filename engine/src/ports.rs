//! What the engine asks of the outside: who may connect, who the candidate is, where history goes, what is left to use.
//!
//! Implemented by the composition root over the control API's stores; [`memory`] has embedded ones. A failing port
//! costs what it provides, never the conversation.

pub mod folder;
pub mod memory;

use std::time::Duration;

use futures_util::future::{BoxFuture, FutureExt as _, ready};
use protocol::{ConfigUpdate, ServerEvent};
use secrecy::SecretString;

/// What a client showed at the handshake.
#[derive(Debug, Default)]
pub struct Credentials {
    /// From `Authorization: Bearer`.
    pub token: Option<SecretString>,
    /// From `?ticket=`.
    pub ticket: Option<SecretString>,
}

/// Who a session belongs to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Principal {
    /// Stable id of the user.
    pub user: String,
}

impl Principal {
    /// The user of a server without accounts.
    pub fn local() -> Self {
        Self { user: "local".to_owned() }
    }
}

/// What somebody was let in for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Access {
    /// Who.
    pub principal: Principal,
    /// The login that it rests on: when that ends, so does the session ([`Registry::revoke`](crate::registry::Registry::revoke)).
    pub login: Option<String>,
    /// The only session that may be opened; none for any.
    pub session_id: Option<String>,
    /// The interview that the session is about.
    pub interview: Option<String>,
}

impl From<Principal> for Access {
    /// For any session, until the connection ends.
    fn from(principal: Principal) -> Self {
        Self { principal, login: None, session_id: None, interview: None }
    }
}

/// Why somebody may not connect. The message is for the client and names no secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AuthError {
    /// No valid credentials: 401.
    #[error("{0}")]
    Unauthenticated(&'static str),
    /// The check itself failed: 503.
    #[error("{0}")]
    Unavailable(&'static str),
}

/// Lets clients in.
pub trait Authorizer: Send + Sync {
    /// Whose `credentials` these are, and what for. Asked once a connection, before any message is read.
    fn authorize(&self, credentials: Credentials) -> BoxFuture<'_, Result<Access, AuthError>>;
}

/// What is known of the candidate.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CandidateContext {
    /// Name, target role and the like, in a few lines; may be empty.
    pub profile: String,
    /// The CV as plain text; may be empty.
    pub cv: String,
    /// The job description; may be empty.
    pub job_description: String,
    /// What sessions are like unless their client says otherwise.
    pub preferences: ConfigUpdate,
}

/// Something outside did not work; the message says what that means for the session.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct PortError(pub String);

/// Why there is no context.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ContextError {
    /// It could not be read: the session goes on without, and its client is told this.
    #[error("{0}")]
    Unavailable(String),
    /// The login has ended since the handshake: there is no session.
    #[error("the login has ended; log in again")]
    Revoked,
}

/// Tells who the candidate is.
pub trait ContextProvider: Send + Sync {
    /// The context for `access`. Asked once a session, when the [`Registry`](crate::registry::Registry) already knows of it: who is
    /// told of an ended login there or here misses none.
    fn context(&self, access: &Access) -> BoxFuture<'_, Result<CandidateContext, ContextError>>;
}

/// Keeps history.
pub trait SessionRecorder: Send + Sync {
    /// Who writes down this session. Never asked for sessions that are not to be kept; asked again when a client comes back.
    /// `run` is another UUID v7 each time that a session of this id is opened anew, and the same when it goes on.
    fn open(&self, access: &Access, session_id: &str, run: &str) -> Box<dyn SessionWriter>;
}

/// Writes down one session, over one connection.
pub trait SessionWriter: Send {
    /// Stores one event: final texts, what is asked and answered, the end. Called in order, off the audio path. May take its
    /// time, to try again: 1,024 events wait for it, and final ones beyond that. An error says that this event is lost.
    fn write<'a>(&'a mut self, event: &'a ServerEvent) -> BoxFuture<'a, Result<(), PortError>>;

    /// The last event was stored, or given up: the connection is gone.
    fn close(&mut self) -> BoxFuture<'_, Result<(), PortError>>;
}

/// Keeps what a live session needs to go on after its process was killed, here or on another node.
pub trait Journals: Send + Sync {
    /// A new journal under `key`, 64 hexadecimal digits that say nothing of whose it is.
    fn create(&self, key: &str) -> Box<dyn JournalWriter>;

    /// Everything in the journal of `key`, and who writes it further; none when there is no such journal. Whoever wrote it
    /// before, here or elsewhere, is told [`JournalError::TakenOver`] from now on.
    fn reopen(&self, key: &str) -> BoxFuture<'static, Result<Option<KeptJournal>, PortError>>;

    /// Whether no other process has reopened the journal that this one writes under `key`.
    fn is_ours(&self, _key: &str) -> BoxFuture<'static, Result<bool, PortError>> {
        ready(Ok(true)).boxed()
    }
}

/// A journal that was found, and who writes it further.
pub type KeptJournal = (Vec<u8>, Box<dyn JournalWriter>);

/// Why a journal was not written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JournalError {
    /// It cannot be kept; the session goes on without.
    #[error(transparent)]
    Failed(#[from] PortError),
    /// Another process has reopened it, and goes on with the session.
    #[error("another server goes on with the session")]
    TakenOver,
}

/// Writes one journal.
pub trait JournalWriter: Send {
    /// Appends `bytes`. On return they survive the process. Called in order, off the audio path.
    fn append(&mut self, bytes: Vec<u8>) -> BoxFuture<'_, Result<(), JournalError>>;

    /// Cuts off everything after the first `length` bytes: a record that was torn.
    fn truncate(&mut self, length: u64) -> BoxFuture<'_, Result<(), JournalError>>;

    /// Forgets the journal; nothing is appended later.
    fn remove(&mut self) -> BoxFuture<'_, Result<(), JournalError>>;

    /// When [`keep`](Self::keep) is to be called if nothing is appended until then; none for never. Asked after every call.
    fn keep_every(&self) -> Option<Duration> {
        None
    }

    /// Says that the session is still served here, and asks whether it is; nothing was appended for a while.
    fn keep(&mut self) -> BoxFuture<'_, Result<(), JournalError>> {
        ready(Ok(())).boxed()
    }
}

/// A limit of the plan is reached; the message says which and until when.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct LimitReached(pub String);

/// What was taken from a plan before a model is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reservation {
    /// The period that it was taken from, as the meter numbers them: what is given back later goes there.
    pub period: u32,
    /// Tokens taken.
    pub tokens: u64,
}

/// Counts what is used up of a plan, by user and month: minutes that are heard, requests to models and their tokens.
pub trait UsageMeter: Send + Sync {
    /// Takes one more minute of audio. Asked as a minute begins, on the session's audio clock; when none is left, the session
    /// ends. What cannot be counted for now is let through, as is everything unless the meter counts minutes.
    fn minute(&self, _: &Principal) -> BoxFuture<'static, Result<(), LimitReached>> {
        ready(Ok(())).boxed()
    }

    /// Takes one request and `tokens`, the most it can use, from what `principal` has left: both or neither, in one atomic
    /// step. Dropping the future takes nothing, or what a later [`settle`](Self::settle) would give back is lost.
    fn reserve(&self, principal: &Principal, tokens: u64)
    -> BoxFuture<'_, Result<Reservation, LimitReached>>;

    /// The request used `used` tokens: gives back the rest of `reservation`, or takes what was used beyond it. One that used
    /// none, as it never left, came from memory or from no language model, is itself given back. Retries are not counted: what a
    /// chain of providers asks again, or of the next one, is the same request, and its tokens are those of the answer that came.
    fn settle(&self, principal: &Principal, reservation: Reservation, used: u64) -> BoxFuture<'_, ()>;
}
