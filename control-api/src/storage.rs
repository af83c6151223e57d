//! What must not be lost: typed records in collections, behind one [`Store`].
//!
//! A feature declares a [`Record`] and works with a [`Collection`] of it. Behind that stands a file ([`SqliteStore`]) or, for
//! many nodes, MongoDB ([`MongoStore`]); [`OpeningStore`] opens one and waits for it. Not here: what may be forgotten (the cache),
//! files, jobs, and what a record means.
//!
//! There is no transaction over several documents, as nothing needs one: a unique index, a version or an [`Increment`]
//! decides a race, work in several steps is ordered so that a stop in between is harmless, and jobs repeat it.

mod check;
mod collection;
mod increment;
mod migration;
mod mongo;
mod opening;
mod query;
mod record;
mod sqlite;

pub use collection::{Collection, Found, Incremented, Stored};
pub use increment::{Increment, Outcome};
pub use migration::{Migration, start};
pub use mongo::{MongoSettings, MongoStore};
pub use opening::{OpeningStore, StoreStatus};
pub use query::{Cursor, Filter, Page, Query};
pub use record::{Index, Key, Record, Schema};
pub use sqlite::SqliteStore;

use std::time::Duration;

use futures_util::future::BoxFuture;
use serde_json::{Map, Value};

/// What a document holds: a JSON object.
pub type Body = Map<String, Value>;

/// A store of JSON documents. Features use a [`Collection`], which never shows them.
///
/// Every operation on one document is one atomic step, and on return it survives a crash of the process and of the machine.
/// Each fails with [`StoreError::Unavailable`] within [`PATIENCE`] when the store does not answer, and then may have been
/// done. Dropping a future leaves its operation done or not done, never half done. [`StoreError::Invalid`]: the caller broke
/// a bound or a rule of [`Record`], [`Query`] or [`Increment`]; nothing was done.
pub trait Store: Send + Sync {
    /// Makes the collections, where they are not there yet. [`start`] calls this, and [`Store::index`] after migrations.
    fn prepare<'a>(&'a self, schemas: &'a [&'static Schema]) -> BoxFuture<'a, Result<(), StoreError>>;

    /// Makes the declared indexes and drops those that are no longer declared.
    ///
    /// # Errors
    /// [`StoreError::Duplicate`] when documents are in the way of a unique index.
    fn index<'a>(&'a self, schemas: &'a [&'static Schema]) -> BoxFuture<'a, Result<(), StoreError>>;

    /// Keeps a new document, with version 1.
    ///
    /// # Errors
    /// [`StoreError::Duplicate`] when its id, which is named first, or the fields of a unique index are taken. Of many at once,
    /// one succeeds.
    fn insert<'a>(
        &'a self,
        schema: &'static Schema,
        id: &'a str,
        body: Body,
    ) -> BoxFuture<'a, Result<(), StoreError>>;

    /// The document with this id.
    fn get<'a>(
        &'a self,
        schema: &'static Schema,
        id: &'a str,
    ) -> BoxFuture<'a, Result<Option<Document>, StoreError>>;

    /// Puts `body` in place of what `version` has; returns the new version. Of many at once, one succeeds.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when there is another version by now, [`StoreError::NotFound`] when there is none,
    /// [`StoreError::Duplicate`] as in [`Store::insert`].
    fn replace<'a>(
        &'a self,
        schema: &'static Schema,
        id: &'a str,
        version: u64,
        body: Body,
    ) -> BoxFuture<'a, Result<u64, StoreError>>;

    /// Adds to fields if each stays within its bounds; otherwise changes nothing. Of many at once, as many succeed as fit.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when there is no such document.
    fn increment<'a>(
        &'a self,
        schema: &'static Schema,
        id: &'a str,
        increments: &'a [Increment],
    ) -> BoxFuture<'a, Result<Outcome, StoreError>>;

    /// Deletes the document, if it has this version or none is named; says whether. Of many at once, one is told `true`.
    fn delete<'a>(
        &'a self,
        schema: &'static Schema,
        id: &'a str,
        version: Option<u64>,
    ) -> BoxFuture<'a, Result<bool, StoreError>>;

    /// Deletes what the filter finds; says how many. Not atomic, and not bounded by [`PATIENCE`] but each step of it is: after
    /// an error, do it again.
    fn delete_many<'a>(
        &'a self,
        schema: &'static Schema,
        filter: &'a Filter,
    ) -> BoxFuture<'a, Result<u64, StoreError>>;

    /// A page of what the query finds.
    fn find<'a>(
        &'a self,
        schema: &'static Schema,
        query: &'a Query,
    ) -> BoxFuture<'a, Result<Page, StoreError>>;

    /// How many the filter finds.
    fn count<'a>(
        &'a self,
        schema: &'static Schema,
        filter: &'a Filter,
    ) -> BoxFuture<'a, Result<u64, StoreError>>;

    /// Deletes what ran out before `now`, in unix ms, in every collection; says how many. Happens by itself once a minute.
    fn sweep(&self, now: i64) -> BoxFuture<'_, Result<u64, StoreError>>;

    /// Whether the store answers.
    fn ping(&self) -> BoxFuture<'_, Result<(), StoreError>>;
}

/// A document as it is kept.
#[derive(Clone, PartialEq)]
pub struct Document {
    /// Unique in its collection.
    pub id: String,
    /// 1 when it was inserted, and one more after each change.
    pub version: u64,
    /// What it holds.
    pub body: Body,
}

impl std::fmt::Debug for Document {
    /// Without what it holds.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Document").field("version", &self.version).finish_non_exhaustive()
    }
}

/// Why an operation failed. Names nothing of a document.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// Another document has this id (`id`), or the same fields of the unique index that is named.
    #[error("another document has the same `{index}`")]
    Duplicate {
        /// The index's name in its [`Record`], or `id`.
        index: &'static str,
    },
    /// The document was changed meanwhile: read it again.
    #[error("the document was changed meanwhile")]
    Conflict,
    /// There is no such document.
    #[error("there is no such document")]
    NotFound,
    /// The store does not answer. It may have done what it was asked.
    #[error("the store is unavailable: {reason}")]
    Unavailable {
        /// When it is worth trying again.
        retry_after: Duration,
        /// For an operator.
        reason: &'static str,
    },
    /// What is kept cannot be read: a damaged file, or a record of another shape. Trying again does not help.
    #[error("what is stored cannot be read: {0}")]
    Corrupt(&'static str),
    /// Never works: the caller broke a bound.
    #[error("the store refuses this: {0}")]
    Invalid(&'static str),
}

impl StoreError {
    const fn unavailable(reason: &'static str) -> Self {
        Self::Unavailable { retry_after: RETRY_AFTER, reason }
    }
}

/// An operation takes no longer than this, whatever happens to the store.
pub const PATIENCE: Duration = Duration::from_secs(6);
/// Longest id, in bytes.
pub const MAX_ID_BYTES: usize = 200;
/// Largest document, in bytes of JSON. MongoDB's own limit is 16 MiB.
pub const MAX_DOCUMENT_BYTES: usize = 1024 * 1024;
/// A page ends before its documents exceed this, in bytes of JSON, but has at least one.
pub const MAX_PAGE_BYTES: usize = 4 * 1024 * 1024;
/// Most documents of a page.
pub const MAX_PAGE: usize = 200;

const RETRY_AFTER: Duration = Duration::from_secs(2);
