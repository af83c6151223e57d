//! Which code runs a job of which kind.
//!
//! Not here: when, and how often ([`Worker`](super::Worker)).

use std::{collections::HashMap, sync::Arc};

use futures_util::future::{BoxFuture, FutureExt as _};

use super::Job;

/// Runs jobs of one kind.
pub trait JobHandler: Send + Sync {
    /// Runs `job`, perhaps for the second time: an effect that must happen once is kept so by [`Job::key`]. The future is dropped
    /// when the lease is lost, the time is up or the worker stops.
    ///
    /// # Errors
    /// [`JobFailure`] says whether it may be tried again.
    fn run(&self, job: Job) -> BoxFuture<'_, Result<(), JobFailure>>;
}

impl<F, Fut> JobHandler for F
where
    F: Fn(Job) -> Fut + Send + Sync,
    Fut: Future<Output = Result<(), JobFailure>> + Send + 'static,
{
    fn run(&self, job: Job) -> BoxFuture<'_, Result<(), JobFailure>> {
        self(job).boxed()
    }
}

/// Why a job did not work: a line for an operator, which is logged and kept, so nothing of the payload.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JobFailure {
    /// It may work later.
    #[error("{0}")]
    Retry(String),
    /// It will never work.
    #[error("{0}")]
    Fatal(String),
}

/// Handlers by kind.
#[derive(Clone, Default)]
pub struct Handlers {
    by_kind: HashMap<&'static str, Arc<dyn JobHandler>>,
}

impl Handlers {
    /// None.
    pub fn new() -> Self {
        Self::default()
    }

    /// These, and `handler` for jobs of `kind`, in place of the one it had.
    #[must_use]
    pub fn on(mut self, kind: &'static str, handler: impl JobHandler + 'static) -> Self {
        self.by_kind.insert(kind, Arc::new(handler));
        self
    }

    pub(super) fn of(&self, kind: &str) -> Option<Arc<dyn JobHandler>> {
        self.by_kind.get(kind).cloned()
    }
}

impl std::fmt::Debug for Handlers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.by_kind.keys()).finish()
    }
}
