//! A store that may not be there yet: the program starts without it, and the store joins when it can.
//!
//! Not here: what is done when a request meets [`StoreError::Unavailable`] (503, with its `retry_after`).

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use futures_util::future::{self, BoxFuture, FutureExt as _};
use tokio::{sync::watch, task, time};

use super::{
    Body, Document, Filter, Increment, Migration, Outcome, PATIENCE, Page, Query, Schema, Store, StoreError,
    start,
};

/// A store that is being opened. Until it is, every operation is [`StoreError::Unavailable`] at once; afterwards it is the
/// store. Dropped, it gives up.
pub struct OpeningStore {
    store: Arc<OnceLock<Arc<dyn Store>>>,
    status: watch::Receiver<StoreStatus>,
    keeper: task::AbortHandle,
}

/// How a store is, as last seen: for `/health/ready`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreStatus {
    /// It is being opened for the first time.
    Opening,
    /// It answers.
    Ready,
    /// It does not answer, and is tried again.
    Away(StoreError),
    /// It can never be used as it is: somebody must look after it.
    Failed(StoreError),
}

impl OpeningStore {
    /// Begins to open a store by calling `open`, and [`start`]s it: again and again with growing pauses, from half a second
    /// to 30 s, while it is unavailable. Then looks every 10 s whether it answers. Must be called in a tokio runtime.
    pub fn new(
        open: impl Fn() -> BoxFuture<'static, Result<Arc<dyn Store>, StoreError>> + Send + Sync + 'static,
        schemas: &'static [&'static Schema],
        migrations: &'static [Migration],
    ) -> Self {
        let (tell, status) = watch::channel(StoreStatus::Opening);
        let store = Arc::new(OnceLock::new());
        let opened = Arc::clone(&store);
        let keeper = tokio::spawn(async move {
            if let Some(ready) = open_patiently(open, schemas, migrations, &tell).await {
                let _ = opened.set(Arc::clone(&ready));
                tell.send_replace(StoreStatus::Ready);
                watch_over(&*ready, &tell).await;
            }
        });
        Self { store, status, keeper: keeper.abort_handle() }
    }

    /// How the store is, and how it changes. Reading it does not wait.
    pub fn status(&self) -> watch::Receiver<StoreStatus> {
        self.status.clone()
    }

    fn with<'a, T: Send + 'a>(
        &'a self,
        operation: impl FnOnce(&'a dyn Store) -> BoxFuture<'a, Result<T, StoreError>>,
    ) -> BoxFuture<'a, Result<T, StoreError>> {
        match self.store.get() {
            Some(store) => operation(&**store),
            None => {
                let error = match &*self.status.borrow() {
                    StoreStatus::Failed(error) => error.clone(),
                    _ => StoreError::unavailable("it is not open yet"),
                };
                future::ready(Err(error)).boxed()
            }
        }
    }
}

impl Drop for OpeningStore {
    fn drop(&mut self) {
        self.keeper.abort();
    }
}

async fn open_patiently(
    open: impl Fn() -> BoxFuture<'static, Result<Arc<dyn Store>, StoreError>>,
    schemas: &[&'static Schema],
    migrations: &[Migration],
    tell: &watch::Sender<StoreStatus>,
) -> Option<Arc<dyn Store>> {
    let mut pause = FIRST_PAUSE;
    loop {
        let opened = async {
            let store = open().await?;
            start(&*store, schemas, migrations).await?;
            Ok(store)
        };
        match opened.await {
            Ok(store) => {
                tracing::info!("the store is open");
                return Some(store);
            }
            Err(error @ StoreError::Unavailable { .. }) => {
                tracing::warn!(%error, pause_ms = pause.as_millis(), "waiting for the store");
                tell.send_replace(StoreStatus::Away(error));
            }
            Err(error) => {
                tracing::error!(%error, "the store cannot be used");
                tell.send_replace(StoreStatus::Failed(error));
                return None;
            }
        }
        time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

async fn watch_over(store: &dyn Store, tell: &watch::Sender<StoreStatus>) {
    loop {
        time::sleep(LOOK).await;
        let now = match time::timeout(PATIENCE, store.ping()).await {
            Ok(Ok(())) => StoreStatus::Ready,
            Ok(Err(error)) => StoreStatus::Away(error),
            Err(_) => StoreStatus::Away(StoreError::unavailable("it took too long")),
        };
        tell.send_if_modified(|before| {
            let changed = *before != now;
            if changed {
                match &now {
                    StoreStatus::Away(error) => tracing::warn!(%error, "the store is away"),
                    _ => tracing::info!("the store is back"),
                }
                *before = now;
            }
            changed
        });
    }
}

impl Store for OpeningStore {
    fn prepare<'a>(&'a self, schemas: &'a [&'static Schema]) -> BoxFuture<'a, Result<(), StoreError>> {
        self.with(|store| store.prepare(schemas))
    }

    fn index<'a>(&'a self, schemas: &'a [&'static Schema]) -> BoxFuture<'a, Result<(), StoreError>> {
        self.with(|store| store.index(schemas))
    }

    fn insert<'a>(
        &'a self,
        schema: &'static Schema,
        id: &'a str,
        body: Body,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        self.with(|store| store.insert(schema, id, body))
    }

    fn get<'a>(
        &'a self,
        schema: &'static Schema,
        id: &'a str,
    ) -> BoxFuture<'a, Result<Option<Document>, StoreError>> {
        self.with(|store| store.get(schema, id))
    }

    fn replace<'a>(
        &'a self,
        schema: &'static Schema,
        id: &'a str,
        version: u64,
        body: Body,
    ) -> BoxFuture<'a, Result<u64, StoreError>> {
        self.with(|store| store.replace(schema, id, version, body))
    }

    fn increment<'a>(
        &'a self,
        schema: &'static Schema,
        id: &'a str,
        increments: &'a [Increment],
    ) -> BoxFuture<'a, Result<Outcome, StoreError>> {
        self.with(|store| store.increment(schema, id, increments))
    }

    fn delete<'a>(
        &'a self,
        schema: &'static Schema,
        id: &'a str,
        version: Option<u64>,
    ) -> BoxFuture<'a, Result<bool, StoreError>> {
        self.with(|store| store.delete(schema, id, version))
    }

    fn delete_many<'a>(
        &'a self,
        schema: &'static Schema,
        filter: &'a Filter,
    ) -> BoxFuture<'a, Result<u64, StoreError>> {
        self.with(|store| store.delete_many(schema, filter))
    }

    fn find<'a>(
        &'a self,
        schema: &'static Schema,
        query: &'a Query,
    ) -> BoxFuture<'a, Result<Page, StoreError>> {
        self.with(|store| store.find(schema, query))
    }

    fn count<'a>(
        &'a self,
        schema: &'static Schema,
        filter: &'a Filter,
    ) -> BoxFuture<'a, Result<u64, StoreError>> {
        self.with(|store| store.count(schema, filter))
    }

    fn sweep(&self, now: i64) -> BoxFuture<'_, Result<u64, StoreError>> {
        self.with(|store| store.sweep(now))
    }

    fn ping(&self) -> BoxFuture<'_, Result<(), StoreError>> {
        self.with(Store::ping)
    }
}

const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
const LOOK: Duration = Duration::from_secs(10);
