//! A collection as features see it: records instead of JSON.
//!
//! Not here: how a store keeps them.

use std::{marker::PhantomData, ops::Deref, sync::Arc};

use serde_json::Value;

use super::{Body, Cursor, Document, Filter, Increment, Outcome, Query, Record, Store, StoreError};

/// The records of one kind. Cheap to clone. Errors are those of [`Store`]; a record that cannot be read is
/// [`StoreError::Corrupt`].
///
/// ```
/// # use std::sync::Arc;
/// # use control_api::storage::*;
/// #[derive(serde::Serialize, serde::Deserialize)]
/// struct Usage {
///     id: String,
///     user_id: String,
///     month: i64,
///     minutes: i64,
/// }
///
/// impl Record for Usage {
///     const COLLECTION: &'static str = "usage";
///     const INDEXES: &'static [Index] = &[Index::on("of_user", &["user_id", "month"]).unique()];
///
///     fn id(&self) -> &str {
///         &self.id
///     }
/// }
///
/// # async fn example(store: Arc<dyn Store>) -> Result<(), StoreError> {
/// let usage = Collection::<Usage>::new(store);
/// let fresh = Usage { id: "ann/2026-11".into(), user_id: "ann".into(), month: 202_611, minutes: 0 };
/// // At most 60 minutes a month, however many ask at once.
/// match usage.increment_or_begin(&fresh, &[Increment::add("minutes", 5).up_to(Some(60))]).await? {
///     Incremented::Done(_) => {}
///     Incremented::Refused { stored, .. } => println!("{} minutes are left", 60 - stored.minutes),
/// }
/// // The newest first, 20 a page.
/// let query = Query::new(Filter::all().eq("user_id", "ann")).order("month").descending().limit(20);
/// let page = usage.find(&query).await?;
/// let next = usage.find(&query.after(page.next)).await?;
/// # Ok(())
/// # }
/// ```
pub struct Collection<R> {
    store: Arc<dyn Store>,
    record: PhantomData<fn() -> R>,
}

/// A record as it was read, with its version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored<R> {
    /// To be changed, and then given to [`Collection::replace`].
    pub record: R,
    version: u64,
}

/// A page of records.
#[derive(Clone, Debug, PartialEq)]
pub struct Found<R> {
    /// In the order asked for.
    pub records: Vec<Stored<R>>,
    /// Where to go on; none when this was all.
    pub next: Option<Cursor>,
}

/// What became of increments, with the record as it is afterwards.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Incremented<R> {
    /// All are done.
    Done(Stored<R>),
    /// Nothing was changed.
    Refused {
        /// Which field would go out of its bound: the first such.
        field: &'static str,
        /// For what is left.
        stored: Stored<R>,
    },
}

impl<R: Record> Collection<R> {
    /// The records that `store` has of this kind.
    pub fn new(store: Arc<dyn Store>) -> Self {
        Self { store, record: PhantomData }
    }

    /// Keeps a new record.
    pub async fn insert(&self, record: &R) -> Result<(), StoreError> {
        self.store.insert(R::SCHEMA, record.id(), body(record)?).await
    }

    /// The record with this id.
    pub async fn get(&self, id: &str) -> Result<Option<Stored<R>>, StoreError> {
        self.store.get(R::SCHEMA, id).await?.map(stored).transpose()
    }

    /// Keeps what was changed since it was read. [`StoreError::Conflict`] when somebody else was faster.
    pub async fn replace(&self, stored: &mut Stored<R>) -> Result<(), StoreError> {
        let body = body(&stored.record)?;
        stored.version = self.store.replace(R::SCHEMA, stored.record.id(), stored.version, body).await?;
        Ok(())
    }

    /// Reads, changes and keeps a record, anew when somebody else was faster: up to 16 times, then
    /// [`StoreError::Conflict`]. `change` may be called more than once, and its error leaves everything as it was.
    pub async fn update<E: From<StoreError>>(
        &self,
        id: &str,
        mut change: impl FnMut(&mut R) -> Result<(), E>,
    ) -> Result<Stored<R>, E> {
        for _ in 0..MAX_TRIES {
            let mut stored = self.get(id).await?.ok_or(StoreError::NotFound)?;
            change(&mut stored.record)?;
            match self.replace(&mut stored).await {
                Err(StoreError::Conflict) => {}
                done => return Ok(done.map(|()| stored)?),
            }
        }
        Err(StoreError::Conflict.into())
    }

    /// Adds to fields, all or none, if each stays within its bounds.
    pub async fn increment(&self, id: &str, by: &[Increment]) -> Result<Incremented<R>, StoreError> {
        Ok(match self.store.increment(R::SCHEMA, id, by).await? {
            Outcome::Done(document) => Incremented::Done(stored(document)?),
            Outcome::Refused { field, document } => Incremented::Refused { field, stored: stored(document)? },
        })
    }

    /// As [`Collection::increment`]; where there is no record yet, `fresh` is kept first.
    pub async fn increment_or_begin(
        &self,
        fresh: &R,
        by: &[Increment],
    ) -> Result<Incremented<R>, StoreError> {
        match self.increment(fresh.id(), by).await {
            Err(StoreError::NotFound) => {}
            done => return done,
        }
        match self.insert(fresh).await {
            // Somebody else began it.
            Ok(()) | Err(StoreError::Duplicate { index: "id" }) => self.increment(fresh.id(), by).await,
            Err(error) => Err(error),
        }
    }

    /// Deletes the record, whatever its version; says whether there was one.
    pub async fn delete(&self, id: &str) -> Result<bool, StoreError> {
        self.store.delete(R::SCHEMA, id, None).await
    }

    /// Deletes the record if nobody changed it since it was read; says whether. Of many at once, one is told `true`: what
    /// works once is used up like this.
    pub async fn delete_unchanged(&self, stored: &Stored<R>) -> Result<bool, StoreError> {
        self.store.delete(R::SCHEMA, stored.record.id(), Some(stored.version)).await
    }

    /// Deletes what the filter finds; says how many. After an error some may be deleted: do it again.
    pub async fn delete_many(&self, filter: &Filter) -> Result<u64, StoreError> {
        self.store.delete_many(R::SCHEMA, filter).await
    }

    /// A page of what the query finds.
    pub async fn find(&self, query: &Query) -> Result<Found<R>, StoreError> {
        let page = self.store.find(R::SCHEMA, query).await?;
        let records = page.documents.into_iter().map(stored).collect::<Result<_, _>>()?;
        Ok(Found { records, next: page.next })
    }

    /// One of what the filter finds: by the fields of a unique index, the only one.
    pub async fn find_one(&self, filter: Filter) -> Result<Option<Stored<R>>, StoreError> {
        Ok(self.find(&Query::new(filter).limit(1)).await?.records.pop())
    }

    /// How many the filter finds.
    pub async fn count(&self, filter: &Filter) -> Result<u64, StoreError> {
        self.store.count(R::SCHEMA, filter).await
    }
}

impl<R> Clone for Collection<R> {
    fn clone(&self) -> Self {
        Self { store: Arc::clone(&self.store), record: PhantomData }
    }
}

impl<R> std::fmt::Debug for Collection<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Collection").finish_non_exhaustive()
    }
}

impl<R> Deref for Stored<R> {
    type Target = R;

    fn deref(&self) -> &R {
        &self.record
    }
}

fn body<R: Record>(record: &R) -> Result<Body, StoreError> {
    match serde_json::to_value(record) {
        Ok(Value::Object(body)) => Ok(body),
        _ => Err(StoreError::Invalid("a record is a struct with named fields")),
    }
}

/// What serde says names values, so it is not passed on.
fn stored<R: Record>(document: Document) -> Result<Stored<R>, StoreError> {
    let record = serde_json::from_value(Value::Object(document.body))
        .map_err(|_| StoreError::Corrupt(R::COLLECTION))?;
    Ok(Stored { record, version: document.version })
}

const MAX_TRIES: usize = 16;
