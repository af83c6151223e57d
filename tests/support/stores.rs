//! Real MongoDB, Redis and S3 for the server, and a look at all that lies in them.
//!
//! Not here: how they are fetched and run (`control-api/tests/common`).

use std::time::{Duration, Instant};

use futures_util::TryStreamExt as _;
use mongodb::{
    Client,
    bson::{RawDocumentBuf, doc},
};
use secrecy::ExposeSecret as _;

use crate::{
    mongod::Mongod,
    redis_server::RedisServer,
    s3_server::{self, S3Server},
    server::Server,
};

/// All three, empty at first.
pub(crate) struct Stores {
    mongod: Mongod,
    redis: RedisServer,
    pub(crate) s3: S3Server,
}

impl Stores {
    /// `None`, and a line on stderr, when the machine's owner leaves one out.
    pub(crate) async fn start() -> Option<Self> {
        Some(Self {
            mongod: Mongod::start().await?,
            redis: RedisServer::start().await?,
            s3: S3Server::start().await,
        })
    }

    /// A server with accounts in them.
    pub(crate) fn server(&self) -> Server {
        Server::start(&[
            ("INTERVIEWAI_AUTH", "accounts"),
            ("INTERVIEWAI_MONGODB_URL", &self.mongod.url(DATABASE)),
            ("INTERVIEWAI_REDIS_URL", self.redis.url().expose_secret()),
            ("INTERVIEWAI_STORAGE__S3_BUCKET", s3_server::BUCKET),
            ("INTERVIEWAI_STORAGE__S3_ENDPOINT", &self.s3.endpoint()),
            ("INTERVIEWAI_STORAGE__S3_ACCESS_KEY_ID", s3_server::ACCESS_KEY),
            ("INTERVIEWAI_STORAGE__S3_SECRET_ACCESS_KEY", s3_server::SECRET_KEY),
        ])
    }

    /// Whether any document of the server's database holds `text` now.
    pub(crate) async fn document_with(&self, text: &str) -> bool {
        let client = Client::with_uri_str(self.mongod.url(DATABASE)).await.unwrap();
        for name in client.database(DATABASE).list_collection_names().await.unwrap() {
            if self.collection_with(&client, DATABASE, &name, text).await {
                return true;
            }
        }
        false
    }

    /// Waits until no document holds `text`.
    pub(crate) async fn forget(&self, text: &str) {
        let until = Instant::now() + Duration::from_secs(60);
        while self.document_with(text).await {
            assert!(Instant::now() < until, "{text} is still there");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    /// Whether MongoDB was ever told `text`: its log of operations keeps what was deleted, until it is full.
    pub(crate) async fn mongodb_was_told(&self, text: &str) -> bool {
        let client = Client::with_uri_str(self.mongod.url(DATABASE)).await.unwrap();
        self.collection_with(&client, "local", "oplog.rs", text).await
    }

    /// Whether Redis has `text` now.
    pub(crate) fn redis_holds(&self, text: &str) -> bool {
        self.redis.holds(text)
    }

    /// Whether Redis was ever told `text`.
    pub(crate) fn redis_was_told(&self, text: &str) -> bool {
        self.redis.was_told(text)
    }

    async fn collection_with(&self, client: &Client, database: &str, name: &str, text: &str) -> bool {
        let collection = client.database(database).collection::<RawDocumentBuf>(name);
        let mut documents = collection.find(doc! {}).await.unwrap();
        while let Some(document) = documents.try_next().await.unwrap() {
            if document.as_bytes().windows(text.len()).any(|at| at == text.as_bytes()) {
                return true;
            }
        }
        false
    }
}

const DATABASE: &str = "interviewai";
