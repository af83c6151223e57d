//! Real MongoDB and Redis for the server, and a look at all that lies in them.
//!
//! Not here: how they are fetched and run (`control-api/tests/common`).

use futures_util::TryStreamExt as _;
use mongodb::{
    Client,
    bson::{RawDocumentBuf, doc},
};
use secrecy::ExposeSecret as _;

use crate::{mongod::Mongod, redis_server::RedisServer, server::Server};

/// Both, empty at first.
pub(crate) struct Stores {
    mongod: Mongod,
    redis: RedisServer,
}

impl Stores {
    /// `None`, and a line on stderr, when the machine's owner leaves one out.
    pub(crate) async fn start() -> Option<Self> {
        Some(Self { mongod: Mongod::start().await?, redis: RedisServer::start().await? })
    }

    /// A server with accounts in them.
    pub(crate) fn server(&self) -> Server {
        Server::start(&[
            ("INTERVIEWAI_AUTH", "accounts"),
            ("INTERVIEWAI_MONGODB_URL", &self.mongod.url(DATABASE)),
            ("INTERVIEWAI_REDIS_URL", self.redis.url().expose_secret()),
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

    /// Whether MongoDB was ever told `text`: its log of operations keeps what was deleted, until it is full.
    pub(crate) async fn mongodb_was_told(&self, text: &str) -> bool {
        let client = Client::with_uri_str(self.mongod.url(DATABASE)).await.unwrap();
        self.collection_with(&client, "local", "oplog.rs", text).await
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
