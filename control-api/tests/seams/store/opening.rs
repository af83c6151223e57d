//! A store that is not there at the start.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use control_api::storage::{
    Collection, MongoStore, OpeningStore, SqliteStore, Store, StoreError, StoreStatus,
};
use futures_util::FutureExt as _;
use tokio::time;

use super::{Account, SCHEMAS, mongo_settings};
use crate::mongod::Mongod;

#[tokio::test]
async fn it_is_waited_for_and_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let (file, tries) = (folder.path().join("not-there-yet/store.db"), Arc::new(AtomicUsize::new(0)));
    let open = {
        let (file, tries) = (file.clone(), Arc::clone(&tries));
        move || {
            tries.fetch_add(1, Ordering::Relaxed);
            let opening = SqliteStore::open(file.clone());
            async move { Ok(Arc::new(opening.await?) as Arc<dyn Store>) }.boxed()
        }
    };
    let store = Arc::new(OpeningStore::new(open, SCHEMAS, &[]));
    let accounts = Collection::<Account>::new(Arc::clone(&store) as Arc<dyn Store>);
    let mut status = store.status();
    let away = status.wait_for(|status| matches!(status, StoreStatus::Away(_))).await.unwrap().clone();
    let StoreStatus::Away(StoreError::Unavailable { retry_after, reason }) = away else { panic!("{away:?}") };
    assert_eq!((retry_after.is_zero(), reason), (false, "the database file cannot be opened"));
    let early = accounts.insert(&Account::number(1)).await;
    assert!(matches!(early, Err(StoreError::Unavailable { .. })), "{early:?}");
    std::fs::create_dir(file.parent().unwrap()).unwrap();
    status.wait_for(|status| *status == StoreStatus::Ready).await.unwrap();
    accounts.insert(&Account::number(1)).await.unwrap();
    assert!(tries.load(Ordering::Relaxed) >= 2);
}

#[tokio::test]
async fn what_can_never_be_used_is_not_tried_again() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("store.db");
    std::fs::write(
        &file,
        "a letter, not a database, and longer than a header of SQLite is: 100 bytes. ".repeat(20),
    )
    .unwrap();
    let open = move || {
        let opening = SqliteStore::open(file.clone());
        async move { Ok(Arc::new(opening.await?) as Arc<dyn Store>) }.boxed()
    };
    let store = OpeningStore::new(open, SCHEMAS, &[]);
    let mut status = store.status();
    status.wait_for(|status| matches!(status, StoreStatus::Failed(StoreError::Corrupt(_)))).await.unwrap();
    assert!(matches!(store.ping().await, Err(StoreError::Corrupt(_))));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_starts_late_is_found() {
    let Some(mut server) = Mongod::start().await else { return };
    server.kill();
    let settings = mongo_settings(&server, "late");
    let open = move || {
        let settings = settings.clone();
        async move { Ok(Arc::new(MongoStore::connect(&settings).await?) as Arc<dyn Store>) }.boxed()
    };
    let store: Arc<OpeningStore> = Arc::new(OpeningStore::new(open, SCHEMAS, &[]));
    let mut status = store.status();
    let away = status.wait_for(|status| matches!(status, StoreStatus::Away(_))).await.unwrap().clone();
    let error = StoreError::Unavailable {
        retry_after: Duration::from_secs(2),
        reason: "no MongoDB server can be used",
    };
    assert_eq!(away, StoreStatus::Away(error));
    server.restart().await;
    let ready = status.wait_for(|status| *status == StoreStatus::Ready);
    time::timeout(Duration::from_secs(60), ready).await.unwrap().unwrap();
    Collection::<Account>::new(store).insert(&Account::number(1)).await.unwrap();
}
