//! A store in MongoDB, for many nodes: a replica set, asked and told by majority.
//!
//! A document lies as `{_id, v, d}`: id, version, and what it holds, so that no field can meet one of ours; one that expires has
//! its time again as a date in `expires`. Not here: sharding, which the operator sets up by `_id`.

mod fault;
mod indexes;
mod json;
mod terms;

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use futures_util::{
    TryStreamExt as _,
    future::{BoxFuture, FutureExt as _},
};
use mongodb::{
    Client, Collection, Database,
    bson::{self, DateTime, RawDocumentBuf, doc},
    options::{
        Acknowledgment, ClientOptions, ConnectionString, ReadConcern, ReadPreference, ReturnDocument,
        SelectionCriteria, WriteConcern,
    },
};
use secrecy::{ExposeSecret as _, SecretString};
use tokio::time;

use super::{
    Body, Document, Filter, Increment, Outcome, PATIENCE, Page, Query, Schema, Store, StoreError, check,
    increment, query::Gathering,
};

/// Where MongoDB is, and how it is used.
#[derive(Clone, Debug)]
pub struct MongoSettings {
    /// `mongodb://…` or `mongodb+srv://…`, with what logs in. Its database, or else `interviewai`, is used.
    pub url: SecretString,
    /// Connections kept to each server, even when idle. Default 10.
    pub min_connections: u32,
    /// Connections to each server at most; more operations wait. Default 100.
    pub max_connections: u32,
}

impl MongoSettings {
    /// The defaults, at this URL.
    pub fn new(url: SecretString) -> Self {
        Self { url, min_connections: 10, max_connections: 100 }
    }

    /// Whether `url` can be read; nothing is asked of any server.
    pub fn is_url(url: &str) -> bool {
        ConnectionString::parse(url).is_ok()
    }
}

/// A store in MongoDB, from version 6.0. Cheap operations share its connections.
pub struct MongoStore {
    database: Database,
    /// What is swept: small, and grown at the start only.
    schemas: Mutex<Vec<&'static Schema>>,
}

impl MongoStore {
    /// Connects, and waits for an answer.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] when there is none in time, [`StoreError::Invalid`] when the URL is none.
    pub async fn connect(settings: &MongoSettings) -> Result<Self, StoreError> {
        let parsed = time::timeout(PATIENCE, ClientOptions::parse(settings.url.expose_secret())).await;
        let mut options = parsed.map_err(|_| fault::SLOW)?.map_err(fault::of_url)?;
        options.app_name = Some("interviewai".to_owned());
        options.min_pool_size = Some(settings.min_connections);
        options.max_pool_size = Some(settings.max_connections);
        options.server_selection_timeout = Some(SELECTION);
        options.connect_timeout = Some(SELECTION);
        // What is acknowledged is on the disks of most servers, and what is read cannot be rolled back any more.
        options.write_concern = Some(
            WriteConcern::builder().w(Acknowledgment::Majority).w_timeout(SELECTION).journal(true).build(),
        );
        options.read_concern = Some(ReadConcern::majority());
        options.selection_criteria = Some(SelectionCriteria::ReadPreference(ReadPreference::Primary));
        options.retry_writes = Some(true);
        options.retry_reads = Some(true);
        let name = options.default_database.clone().unwrap_or_else(|| DATABASE.to_owned());
        let client = Client::with_options(options).map_err(fault::of_url)?;
        let store = Self { database: client.database(&name), schemas: Mutex::default() };
        store.ping().await?;
        Ok(store)
    }

    /// Raw, because reading BSON through serde gives meaning to names like `$date`.
    fn collection(&self, schema: &Schema) -> Collection<RawDocumentBuf> {
        self.database.collection(schema.collection)
    }

    async fn read(&self, schema: &Schema, id: &str) -> Result<Option<Document>, StoreError> {
        let collection = self.collection(schema);
        let found = collection.find_one(doc! { "_id": id });
        timely(found.into_future(), fault::of).await?.map(json::document).transpose()
    }

    /// In pieces, so that each has a time.
    async fn delete_all(&self, schema: &Schema, filter: bson::Document) -> Result<u64, StoreError> {
        let collection = self.collection(schema);
        let mut deleted = 0;
        loop {
            let ids = async {
                let found =
                    collection.find(filter.clone()).projection(doc! { "_id": 1 }).limit(DELETED_AT_ONCE);
                found.await?.map_ok(|found| json::id(&found)).try_collect::<Vec<_>>().await
            };
            let ids = timely(ids, fault::of).await?;
            let last = ids.len() < DELETED_AT_ONCE as usize;
            // The filter again: what was changed meanwhile stays.
            let these = doc! { "$and": [{ "_id": { "$in": ids } }, filter.clone()] };
            deleted += timely(collection.delete_many(these).into_future(), fault::of).await?.deleted_count;
            if last {
                return Ok(deleted);
            }
        }
    }

    async fn try_increment(
        &self,
        schema: &'static Schema,
        id: &str,
        increments: &[Increment],
    ) -> Result<Option<Outcome>, StoreError> {
        let (fits, change) = terms::increments(id, increments);
        let collection = self.collection(schema);
        let changed = collection.find_one_and_update(fits, change).return_document(ReturnDocument::After);
        if let Some(changed) = timely(changed.into_future(), fault::of_count).await? {
            return json::document(changed).map(Outcome::Done).map(Some);
        }
        // It did not fit: why not?
        let document = self.read(schema, id).await?.ok_or(StoreError::NotFound)?;
        let refused = increment::apply(&mut document.body.clone(), increments)?.err();
        // If it fits by now, it was changed meanwhile.
        Ok(refused.map(|field| Outcome::Refused { field, document }))
    }
}

impl Store for MongoStore {
    fn prepare<'a>(&'a self, schemas: &'a [&'static Schema]) -> BoxFuture<'a, Result<(), StoreError>> {
        async move {
            for schema in schemas {
                check::schema(schema)?;
                let made = self.database.create_collection(schema.collection);
                let made = async { made.await.or_else(fault::unless_there) };
                timely(made, fault::of).await?;
            }
            let mut known = self.schemas.lock().unwrap_or_else(PoisonError::into_inner);
            let new = schemas.iter().filter(|schema| !known.contains(schema)).copied().collect::<Vec<_>>();
            known.extend(new);
            Ok(())
        }
        .boxed()
    }

    fn index<'a>(&'a self, schemas: &'a [&'static Schema]) -> BoxFuture<'a, Result<(), StoreError>> {
        async move {
            for schema in schemas {
                let made = indexes::make(&self.collection(schema), schema).await;
                made.map_err(|error| fault::of_write(schema, error))?;
            }
            Ok(())
        }
        .boxed()
    }

    fn insert<'a>(
        &'a self,
        schema: &'static Schema,
        id: &'a str,
        mut body: Body,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        async move {
            check::id(id)?;
            check::body(schema, &mut body)?;
            let document = json::kept(schema, id, 1, &body)?;
            let collection = self.collection(schema);
            let inserted = collection.insert_one(document);
            timely(inserted.into_future(), |error| fault::of_write(schema, error)).await.map(drop)
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
            self.read(schema, id).await
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
            check::body(schema, &mut body)?;
            let document = json::kept(schema, id, version + 1, &body)?;
            let collection = self.collection(schema);
            let tries = async {
                let replaced = collection
                    .replace_one(doc! { "_id": id, json::VERSION: json::signed(version) }, document);
                let replaced = replaced.await.map_err(|error| fault::of_write(schema, error))?;
                match replaced.matched_count {
                    0 if self.read(schema, id).await?.is_none() => Err(StoreError::NotFound),
                    0 => Err(StoreError::Conflict),
                    _ => Ok(version + 1),
                }
            };
            time::timeout(PATIENCE, tries).await.unwrap_or(Err(fault::SLOW))
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
            let tries = async {
                loop {
                    if let Some(outcome) = self.try_increment(schema, id, increments).await? {
                        return Ok(outcome);
                    }
                }
            };
            time::timeout(PATIENCE, tries).await.unwrap_or(Err(fault::SLOW))
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
            let mut which = doc! { "_id": id };
            if let Some(version) = version {
                which.insert(json::VERSION, json::signed(version));
            }
            let collection = self.collection(schema);
            let deleted = timely(collection.delete_one(which).into_future(), fault::of).await?;
            Ok(deleted.deleted_count > 0)
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
            self.delete_all(schema, terms::filter(filter)).await
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
            let (filter, sort) = terms::page(query);
            let collection = self.collection(schema);
            let gathered = async {
                // One more: by it is known that there is another page.
                let mut found = collection.find(filter).sort(sort).limit(query.limit as i64 + 1).await?;
                let mut gathering = Gathering::new(query);
                let mut damaged = None;
                while let Some(raw) = found.try_next().await? {
                    if !gathering.has_room(raw.as_bytes().len()) {
                        break;
                    }
                    match json::document(raw) {
                        Ok(document) => gathering.push(document),
                        Err(error) => damaged = Some(error),
                    }
                }
                Ok((gathering.page(), damaged))
            };
            match timely(gathered, fault::of).await? {
                (_, Some(error)) => Err(error),
                (page, None) => Ok(page),
            }
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
            let collection = self.collection(schema);
            timely(collection.count_documents(terms::filter(filter)).into_future(), fault::of).await
        }
        .boxed()
    }

    fn sweep(&self, now: i64) -> BoxFuture<'_, Result<u64, StoreError>> {
        async move {
            let schemas = self.schemas.lock().unwrap_or_else(PoisonError::into_inner).clone();
            let mut swept = 0;
            for schema in schemas.iter().filter(|schema| schema.indexes.iter().any(|index| index.expiry)) {
                let past = doc! { json::EXPIRES: { "$lt": DateTime::from_millis(now) } };
                swept += self.delete_all(schema, past).await?;
            }
            Ok(swept)
        }
        .boxed()
    }

    fn ping(&self) -> BoxFuture<'_, Result<(), StoreError>> {
        async move {
            // A primary, as writes need one.
            let primary = SelectionCriteria::ReadPreference(ReadPreference::Primary);
            let pong = self.database.run_command(doc! { "ping": 1 }).selection_criteria(primary);
            timely(pong.into_future(), fault::of).await.map(drop)
        }
        .boxed()
    }
}

/// The driver waits for a server, but not for an answer.
async fn timely<T>(
    operation: impl Future<Output = mongodb::error::Result<T>>,
    fault: impl FnOnce(mongodb::error::Error) -> StoreError,
) -> Result<T, StoreError> {
    time::timeout(PATIENCE, operation).await.map_err(|_| fault::SLOW)?.map_err(fault)
}

/// How long a server, a connection and most servers' disks are waited for; within [`PATIENCE`].
const SELECTION: Duration = Duration::from_secs(5);
const DATABASE: &str = "interviewai";
const DELETED_AT_ONCE: i64 = 1000;
