//! Journals of live sessions in Redis, where another server finds them.
//!
//! Not here: how they lie there (`control_api::journals`), what is in them (`engine`).

use std::time::Duration;

use control_api::journals::{JournalFault, RedisJournal, RedisJournals};
use engine::ports::{JournalError, JournalWriter, Journals, KeptJournal, PortError};
use futures_util::future::{BoxFuture, FutureExt as _};

/// Journals that all servers of one Redis share.
pub(crate) struct SharedJournals(pub(crate) RedisJournals);

impl Journals for SharedJournals {
    fn create(&self, key: &str) -> Box<dyn JournalWriter> {
        Box::new(Writer(self.0.create(key)))
    }

    fn reopen(&self, key: &str) -> BoxFuture<'static, Result<Option<KeptJournal>, PortError>> {
        let (journals, key) = (self.0.clone(), key.to_owned());
        async move {
            let kept = journals.reopen(&key).await.map_err(|fault| problem(&fault))?;
            Ok(kept.map(|(bytes, journal)| -> KeptJournal { (bytes, Box::new(Writer(journal))) }))
        }
        .boxed()
    }

    fn is_ours(&self, key: &str) -> BoxFuture<'static, Result<bool, PortError>> {
        let (journals, key) = (self.0.clone(), key.to_owned());
        async move { journals.is_ours(&key).await.map_err(|fault| problem(&fault)) }.boxed()
    }
}

struct Writer(RedisJournal);

impl JournalWriter for Writer {
    fn append(&mut self, bytes: Vec<u8>) -> BoxFuture<'_, Result<(), JournalError>> {
        async move { self.0.append(&bytes).await.map_err(error) }.boxed()
    }

    fn truncate(&mut self, length: u64) -> BoxFuture<'_, Result<(), JournalError>> {
        async move { self.0.truncate(length).await.map_err(error) }.boxed()
    }

    fn remove(&mut self) -> BoxFuture<'_, Result<(), JournalError>> {
        async move { self.0.remove().await.map_err(error) }.boxed()
    }

    fn keep_every(&self) -> Option<Duration> {
        Some(KEEP_EVERY)
    }

    fn keep(&mut self) -> BoxFuture<'_, Result<(), JournalError>> {
        async move { self.0.keep().await.map_err(error) }.boxed()
    }
}

fn error(fault: JournalFault) -> JournalError {
    match fault {
        JournalFault::TakenOver => JournalError::TakenOver,
        JournalFault::Unavailable(_) => problem(&fault).into(),
    }
}

fn problem(fault: &JournalFault) -> PortError {
    PortError(format!("the journal of a live session: {fault}"))
}

/// So long may a server go on with a session that another one has taken over, if nothing happens in it.
const KEEP_EVERY: Duration = Duration::from_secs(5);
