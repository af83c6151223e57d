//! Bringing a store to the shape that the program declares: collections, then documents, then indexes.
//!
//! Not here: the layout of SQLite's file, which has a version of its own.

use serde::{Deserialize, Serialize};

use super::{Body, Filter, Index, Query, Record, Schema, Store, StoreError};

/// A change to every document of a collection, for records whose shape has changed. Numbers begin with 1 and have no gaps;
/// a migration that was released is neither changed nor removed.
#[derive(Clone, Copy, Debug)]
pub struct Migration {
    /// Its place in the order.
    pub number: u32,
    /// Whose documents, as it is declared now.
    pub schema: &'static Schema,
    /// Changes one document; says whether it did. Must do nothing to a document that is changed already, as it is called again
    /// after an interruption, and by each node that starts. The error says why a document cannot be changed, without anything of it.
    pub change: fn(&mut Body) -> Result<bool, &'static str>,
}

/// What `store` must have before it is used: makes collections, runs the migrations that are new to it, makes indexes.
/// May be repeated, and several nodes may do it at once.
///
/// # Errors
/// [`StoreError::Unavailable`]: again later. [`StoreError::Corrupt`]: the store is of a newer program, or a document cannot be
/// changed. [`StoreError::Duplicate`]: documents are in the way of a new unique index. [`StoreError::Invalid`]: a mistake in a declaration.
pub async fn start(
    store: &dyn Store,
    schemas: &[&'static Schema],
    migrations: &[Migration],
) -> Result<(), StoreError> {
    let numbered = migrations.iter().zip(1..).all(|(migration, number)| migration.number == number);
    let alone = schemas.iter().enumerate().all(|(at, one)| {
        schemas[..at].iter().chain(&[Done::SCHEMA]).all(|other| other.collection != one.collection)
    });
    if !numbered || !alone {
        return Err(StoreError::Invalid("migrations are numbered from 1, and a collection is declared once"));
    }
    store.prepare(&[Done::SCHEMA]).await?;
    store.prepare(schemas).await?;
    migrate(store, migrations).await?;
    store.index(&[Done::SCHEMA]).await?;
    store.index(schemas).await
}

async fn migrate(store: &dyn Store, migrations: &[Migration]) -> Result<(), StoreError> {
    let newest = Query::new(Filter::all()).descending().limit(1);
    let newest = store.find(Done::SCHEMA, &newest).await?.documents.pop();
    let done = newest.map_or(Ok(0), |newest| newest.id.parse().map_err(|_| UNREADABLE))?;
    if done > migrations.len() {
        return Err(StoreError::Corrupt("the store is of a newer program"));
    }
    for migration in &migrations[done..] {
        tracing::info!(number = migration.number, collection = migration.schema.collection, "migrating");
        let changed = change_all(store, migration).await?;
        tracing::info!(number = migration.number, changed, "migrated");
        let id = format!("{:06}", migration.number);
        match store.insert(Done::SCHEMA, &id, Body::new()).await {
            // Another node was faster.
            Ok(()) | Err(StoreError::Duplicate { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

async fn change_all(store: &dyn Store, migration: &Migration) -> Result<u64, StoreError> {
    let mut changed = 0;
    let mut after = None;
    loop {
        let query = Query::new(Filter::all()).limit(super::MAX_PAGE).after(after);
        let page = store.find(migration.schema, &query).await?;
        for document in page.documents {
            let (id, mut now) = (document.id.clone(), Some(document));
            while let Some(mut document) = now.take() {
                if !(migration.change)(&mut document.body).map_err(StoreError::Corrupt)? {
                    break;
                }
                match store.replace(migration.schema, &id, document.version, document.body).await {
                    Ok(_) => changed += 1,
                    // Another node was here.
                    Err(StoreError::Conflict | StoreError::NotFound) => {
                        now = store.get(migration.schema, &id).await?
                    }
                    Err(error) => return Err(error),
                }
            }
        }
        after = page.next;
        if after.is_none() {
            return Ok(changed);
        }
    }
}

/// A migration that is done; its id is the number, in six digits.
#[derive(Serialize, Deserialize)]
struct Done {
    id: String,
}

impl Record for Done {
    const COLLECTION: &'static str = "migrations";
    const INDEXES: &'static [Index] = &[];

    fn id(&self) -> &str {
        &self.id
    }
}

const UNREADABLE: StoreError = StoreError::Corrupt("the list of migrations");
