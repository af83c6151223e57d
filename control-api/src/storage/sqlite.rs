//! A store in one file, by SQLite: the default, without any server.
//!
//! One thread writes, and several writes that come together share a commit; a few connections read beside it. Every commit is
//! on disk before it is acknowledged (write-ahead log, `synchronous=FULL`). Several processes of one machine may share the
//! file. Not here: the SQL of queries (`sqlite/sql.rs`).

mod documents;
mod fault;
mod indexes;
mod readers;
mod sql;
mod writer;

use std::{
    fs::OpenOptions,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use chrono::Utc;
use futures_util::future::{BoxFuture, FutureExt as _};
use rusqlite::Connection;
use tokio::{task, time};

use self::{readers::Readers, writer::Writer};
use super::{Body, Document, Filter, Increment, Outcome, Page, Query, Schema, Store, StoreError, check};

/// A store in one file. Dropped, it finishes what it was asked.
pub struct SqliteStore {
    inner: Arc<Inner>,
    sweeper: task::AbortHandle,
}

struct Inner {
    writer: Writer,
    readers: Readers,
    /// What is swept: small, and grown at the start only.
    schemas: Mutex<Vec<&'static Schema>>,
}

impl SqliteStore {
    /// Opens the file, which is made when it is not there, readable by its owner only; its folder must be there. Beside it
    /// lie `-wal` and `-shm`, which belong to it. Must be called in a tokio runtime.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] when it cannot be opened, [`StoreError::Corrupt`] when it is none of ours, or of a newer
    /// program.
    pub async fn open(file: impl Into<PathBuf>) -> Result<Self, StoreError> {
        let file = file.into();
        let inner = task::spawn_blocking(move || Inner::open(&file)).await.map_err(|_| fault::STOPPED)??;
        let inner = Arc::new(inner);
        let swept = Arc::downgrade(&inner);
        let sweeper = tokio::spawn(async move {
            let mut turns = time::interval(SWEEP);
            turns.set_missed_tick_behavior(time::MissedTickBehavior::Delay);
            loop {
                turns.tick().await;
                let Some(inner) = swept.upgrade() else { return };
                if let Err(error) = inner.sweep(Utc::now().timestamp_millis()).await {
                    tracing::warn!(%error, "the store could not be swept");
                }
            }
        });
        Ok(Self { inner, sweeper: sweeper.abort_handle() })
    }

    /// How SQLite would answer `query`, for tests of indexes: the lines of `EXPLAIN QUERY PLAN`.
    #[doc(hidden)]
    pub async fn plan(&self, schema: &'static Schema, query: &Query) -> Result<String, StoreError> {
        check::query(schema, query)?;
        let query = query.clone();
        self.inner.readers.read(move |connection| documents::plan(connection, schema, &query)).await
    }
}

impl Drop for SqliteStore {
    fn drop(&mut self) {
        self.sweeper.abort();
    }
}

impl Inner {
    fn open(file: &Path) -> Result<Self, StoreError> {
        let mut options = OpenOptions::new();
        options.create(true).append(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        options.open(file).map_err(|_| fault::NO_FILE)?;
        let connection = connect(file).map_err(fault::of_start)?;
        lay_out(&connection)?;
        let readers = Readers::open(file)?;
        Ok(Self { writer: Writer::start(connection)?, readers, schemas: Mutex::default() })
    }

    async fn sweep(&self, now: i64) -> Result<u64, StoreError> {
        let schemas = self.schemas.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut swept = 0;
        for schema in schemas {
            let expiries = schema.indexes.iter().filter(|index| index.expiry);
            for field in expiries.map(|index| index.fields[0]) {
                swept += self.delete_all(schema, Filter::all().within(field, ..now)).await?;
            }
        }
        self.writer.checkpoint().await?;
        Ok(swept)
    }

    /// In pieces, between which others may write.
    async fn delete_all(&self, schema: &'static Schema, filter: Filter) -> Result<u64, StoreError> {
        let mut deleted = 0;
        loop {
            let filter = filter.clone();
            let some = self
                .writer
                .write(move |connection| documents::delete_some(connection, schema, &filter, DELETED_AT_ONCE))
                .await?;
            deleted += some;
            if some < DELETED_AT_ONCE {
                return Ok(deleted);
            }
        }
    }
}

impl Store for SqliteStore {
    fn prepare<'a>(&'a self, schemas: &'a [&'static Schema]) -> BoxFuture<'a, Result<(), StoreError>> {
        async move {
            schemas.iter().try_for_each(|schema| check::schema(schema))?;
            let made = schemas.to_vec();
            self.inner
                .writer
                .write_long(move |connection| {
                    made.iter().try_for_each(|schema| indexes::prepare(connection, schema))
                })
                .await?;
            let mut known = self.inner.schemas.lock().unwrap_or_else(PoisonError::into_inner);
            let new = schemas.iter().filter(|schema| !known.contains(schema)).copied().collect::<Vec<_>>();
            known.extend(new);
            Ok(())
        }
        .boxed()
    }

    fn index<'a>(&'a self, schemas: &'a [&'static Schema]) -> BoxFuture<'a, Result<(), StoreError>> {
        let made = schemas.to_vec();
        let work = move |connection: &Connection| {
            made.iter().try_for_each(|schema| indexes::index(connection, schema))
        };
        self.inner.writer.write_long(work).boxed()
    }

    fn insert<'a>(
        &'a self,
        schema: &'static Schema,
        id: &'a str,
        mut body: Body,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        async move {
            check::id(id)?;
            let json = check::body(schema, &mut body)?;
            let id = id.to_owned();
            self.inner.writer.write(move |connection| documents::insert(connection, schema, &id, &json)).await
        }
        .boxed()
    }

    fn get<'a>(
        &'a self,
        schema: &'static Schema,
        id: &'a str,
    ) -> BoxFuture<'a, Result<Option<Document>, StoreError>> {
        async move {
            check::id(id)?;
            let id = id.to_owned();
            self.inner.readers.read(move |connection| documents::get(connection, schema, &id)).await
        }
        .boxed()
    }

    fn replace<'a>(
        &'a self,
        schema: &'static Schema,
        id: &'a str,
        version: u64,
        mut body: Body,
    ) -> BoxFuture<'a, Result<u64, StoreError>> {
        async move {
            check::id(id)?;
            let json = check::body(schema, &mut body)?;
            let id = id.to_owned();
            self.inner
                .writer
                .write(move |connection| documents::replace(connection, schema, &id, version, &json))
                .await
        }
        .boxed()
    }

    fn increment<'a>(
        &'a self,
        schema: &'static Schema,
        id: &'a str,
        increments: &'a [Increment],
    ) -> BoxFuture<'a, Result<Outcome, StoreError>> {
        async move {
            check::id(id)?;
            check::increments(schema, increments)?;
            let (id, increments) = (id.to_owned(), increments.to_vec());
            self.inner
                .writer
                .write(move |connection| documents::increment(connection, schema, &id, &increments))
                .await
        }
        .boxed()
    }

    fn delete<'a>(
        &'a self,
        schema: &'static Schema,
        id: &'a str,
        version: Option<u64>,
    ) -> BoxFuture<'a, Result<bool, StoreError>> {
        async move {
            check::id(id)?;
            let id = id.to_owned();
            self.inner
                .writer
                .write(move |connection| documents::delete(connection, schema, &id, version))
                .await
        }
        .boxed()
    }

    fn delete_many<'a>(
        &'a self,
        schema: &'static Schema,
        filter: &'a Filter,
    ) -> BoxFuture<'a, Result<u64, StoreError>> {
        async move {
            check::filter(schema, filter)?;
            self.inner.delete_all(schema, filter.clone()).await
        }
        .boxed()
    }

    fn find<'a>(
        &'a self,
        schema: &'static Schema,
        query: &'a Query,
    ) -> BoxFuture<'a, Result<Page, StoreError>> {
        async move {
            check::query(schema, query)?;
            let query = query.clone();
            self.inner.readers.read(move |connection| documents::find(connection, schema, &query)).await
        }
        .boxed()
    }

    fn count<'a>(
        &'a self,
        schema: &'static Schema,
        filter: &'a Filter,
    ) -> BoxFuture<'a, Result<u64, StoreError>> {
        async move {
            check::filter(schema, filter)?;
            let filter = filter.clone();
            self.inner.readers.read(move |connection| documents::count(connection, schema, &filter)).await
        }
        .boxed()
    }

    /// What was deleted is in none of the files afterwards, unless somebody was reading it just then.
    fn sweep(&self, now: i64) -> BoxFuture<'_, Result<u64, StoreError>> {
        self.inner.sweep(now).boxed()
    }

    fn ping(&self) -> BoxFuture<'_, Result<(), StoreError>> {
        // Through the writer: a full disk or a lost volume shows there.
        self.inner.writer.write(|_| Ok(())).boxed()
    }
}

fn connect(file: &Path) -> rusqlite::Result<Connection> {
    let connection = Connection::open(file)?;
    connection.busy_timeout(BUSY)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    connection.pragma_update(None, "journal_mode", "wal")?;
    connection.pragma_update(None, "synchronous", "full")?;
    connection.pragma_update(None, "secure_delete", "on")?;
    Ok(connection)
}

/// Version 1 is one table for each collection; what is in the documents has migrations of its own ([`super::Migration`]).
fn lay_out(connection: &Connection) -> Result<(), StoreError> {
    let get =
        |name| connection.pragma_query_value(None, name, |row| row.get::<_, i32>(0)).map_err(fault::of_start);
    match (get("application_id")?, get("user_version")?) {
        (0, 0) => {
            let tables = "SELECT count(*) FROM sqlite_schema";
            let tables: i64 = connection.query_row(tables, [], |row| row.get(0)).map_err(fault::of_start)?;
            if tables > 0 {
                return Err(fault::FOREIGN);
            }
            let set = |name, value: i32| connection.pragma_update(None, name, value);
            set("application_id", APPLICATION)
                .and_then(|()| set("user_version", LAYOUT))
                .map_err(fault::of_start)
        }
        (APPLICATION, LAYOUT) => Ok(()),
        (APPLICATION, _) => Err(fault::NEWER),
        _ => Err(fault::FOREIGN),
    }
}

/// How long another process's write is waited for; within [`super::PATIENCE`].
const BUSY: Duration = Duration::from_secs(5);
const SWEEP: Duration = Duration::from_secs(60);
const DELETED_AT_ONCE: u64 = 200;
const STATEMENTS: usize = 128;
/// `IvAI`, by which `file` and we know it.
const APPLICATION: i32 = 0x4976_4149;
const LAYOUT: i32 = 1;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_committed_is_on_disk() {
        let folder = tempfile::tempdir().unwrap();
        let connection = connect(&folder.path().join("store.db")).unwrap();
        let get =
            |name| connection.pragma_query_value(None, name, |row| row.get::<_, rusqlite::types::Value>(0));
        assert_eq!(get("journal_mode").unwrap(), "wal".to_owned().into());
        // 2 is FULL: the log is synced at each commit; with 1 only at checkpoints.
        assert_eq!(get("synchronous").unwrap(), 2.into());
        assert_eq!(get("secure_delete").unwrap(), 1.into());
    }
}
