//! What every store must do, on SQLite and on a real MongoDB (`store/suite.rs`), and what is each one's own.
//!
//! Not here: bounds that are checked before a store is asked; those are unit tests.

mod model;
mod mongo;
mod opening;
mod sqlite;
mod suite;

use crate::mongod;
use std::sync::Arc;

use control_api::storage::{
    Collection, Filter, Index, MongoSettings, MongoStore, Record, Schema, SqliteStore, Store, start,
};
use mongod::Mongod;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tempfile::TempDir;
use tokio::sync::OnceCell;

/// Each test of the suite, once for each store.
macro_rules! on_every_store {
    ($($test:ident),+ $(,)?) => {
        mod on_sqlite {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $test() {
                let (_folder, store) = super::fresh_sqlite().await;
                super::suite::$test(store).await;
            })+
        }
        mod on_mongodb {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $test() {
                let Some(store) = super::fresh_mongo(stringify!($test)).await else { return };
                super::suite::$test(store).await;
            })+
        }
    };
}

on_every_store!(
    records_are_kept_changed_and_deleted,
    an_old_version_is_refused,
    unique_fields_are_unique,
    documents_come_back_as_they_were,
    filters_find_what_they_say,
    pages_follow_the_order,
    pages_of_large_documents_are_small,
    pages_stay_true_while_others_insert,
    one_of_many_inserts_succeeds,
    as_many_increments_succeed_as_fit,
    a_quota_begins_with_its_first_use,
    one_of_many_replacements_succeeds,
    what_works_once_works_once,
    what_runs_out_is_swept,
    indexes_follow_their_declaration,
    migrations_run_once_and_in_order,
    what_breaks_a_bound_is_refused,
    it_agrees_with_a_model,
);

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Account {
    id: String,
    email: Option<String>,
    google: Option<Google>,
    plan: String,
    created_at: i64,
    deleted_at: Option<i64>,
    verified: bool,
    #[serde(default)]
    used: i64,
    #[serde(default)]
    minutes: Minutes,
    #[serde(default)]
    more: Map<String, Value>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Google {
    subject: String,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Minutes {
    live: i64,
}

impl Record for Account {
    const COLLECTION: &'static str = "accounts";
    const INDEXES: &'static [Index] = &[
        Index::on("email", &["email"]).unique().only_without("deleted_at"),
        Index::on("google", &["google.subject"]).unique(),
        Index::on("newest", &["created_at"]),
        Index::on("of_plan", &["plan", "created_at"]),
        Index::on("unverified_pro", &["verified"]).only_with("plan", "pro"),
        Index::on("deleted", &["deleted_at"]).sparse(),
    ];

    fn id(&self) -> &str {
        &self.id
    }
}

impl Account {
    /// Number `n`, with an e-mail of its own.
    fn number(n: i64) -> Self {
        Self {
            id: format!("account-{n:04}"),
            email: Some(format!("{n}@example.org")),
            google: None,
            plan: if n % 2 == 0 { "free" } else { "pro" }.to_owned(),
            created_at: n,
            deleted_at: None,
            verified: false,
            used: 0,
            minutes: Minutes::default(),
            more: Map::new(),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Token {
    id: String,
    expires_at: Option<i64>,
}

impl Record for Token {
    const COLLECTION: &'static str = "tokens";
    const INDEXES: &'static [Index] = &[Index::expiry(&["expires_at"])];

    fn id(&self) -> &str {
        &self.id
    }
}

const SCHEMAS: &[&Schema] = &[Account::SCHEMA, Token::SCHEMA];

async fn fresh_sqlite() -> (TempDir, Arc<dyn Store>) {
    let folder = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(folder.path().join("store.db")).await.unwrap();
    start(&store, SCHEMAS, &[]).await.unwrap();
    (folder, Arc::new(store))
}

async fn fresh_mongo(database: &str) -> Option<Arc<dyn Store>> {
    let server = shared_mongod().await?;
    let store = MongoStore::connect(&mongo_settings(server, database)).await.unwrap();
    start(&store, SCHEMAS, &[]).await.unwrap();
    Some(Arc::new(store))
}

fn mongo_settings(server: &Mongod, database: &str) -> MongoSettings {
    MongoSettings::new(server.url(database).into())
}

/// One for all tests that do not hurt it; it dies with the process.
async fn shared_mongod() -> Option<&'static Mongod> {
    static SERVER: OnceCell<Option<Mongod>> = OnceCell::const_new();
    SERVER.get_or_init(Mongod::start).await.as_ref()
}

async fn ids(accounts: &Collection<Account>, filter: Filter) -> Vec<String> {
    let query = control_api::storage::Query::new(filter).limit(200);
    let found = accounts.find(&query).await.unwrap();
    assert_eq!(found.next, None);
    found.records.into_iter().map(|stored| stored.record.id).collect()
}
