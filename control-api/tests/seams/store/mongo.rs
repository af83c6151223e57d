//! What is MongoDB's own: its plans, its clock, its outages.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use control_api::storage::{Collection, Filter, MongoStore, PATIENCE, Query, Store, StoreError, start};
use mongodb::{
    Client,
    bson::{Document, doc},
};
use tokio::time;

use super::{Account, SCHEMAS, Token, mongo_settings, shared_mongod};
use crate::mongod::Mongod;

#[tokio::test(flavor = "multi_thread")]
async fn queries_use_the_declared_indexes() {
    let Some(server) = shared_mongod().await else { return };
    let store = MongoStore::connect(&mongo_settings(server, "plans")).await.unwrap();
    start(&store, SCHEMAS, &[]).await.unwrap();
    let accounts = Collection::<Account>::new(Arc::new(store));
    for n in 0..300 {
        accounts.insert(&Account::number(n)).await.unwrap();
    }
    let client = Client::with_uri_str(server.url("plans")).await.unwrap();
    let database = client.database("plans");
    // As the store asks; that it does is what the profiler says.
    database.run_command(doc! { "profile": 2 }).await.unwrap();
    let all = Filter::all;
    for (query, index) in [
        (Query::new(all().eq("email", "7@example.org").without("deleted_at")), "app_email"),
        (Query::new(all().eq("google.subject", "g")), "app_google"),
        (Query::new(all()).order("created_at").descending().limit(5), "app_newest"),
        (Query::new(all().eq("plan", "pro")).order("created_at").descending().limit(5), "app_of_plan"),
        (
            Query::new(all().eq("plan", "pro").within("created_at", 3i64..)).order("created_at").limit(5),
            "app_of_plan",
        ),
        (Query::new(all()).order("deleted_at").limit(5), "app_deleted"),
        (Query::new(all()).limit(5), "_id_"),
    ] {
        let mut query = query;
        for page in ["first", "second"] {
            let profile = database.collection::<Document>("system.profile");
            let asked = || doc! { "op": "query", "command.find": "accounts" };
            let before = profile.count_documents(asked()).await.unwrap();
            let found = accounts.find(&query).await.unwrap();
            // The profiler writes after the answer is sent.
            while profile.count_documents(asked()).await.unwrap() == before {
                time::sleep(Duration::from_millis(5)).await;
            }
            let latest = profile.find_one(asked()).sort(doc! { "$natural": -1 });
            let latest = latest.await.unwrap().unwrap();
            let plan = latest.get_str("planSummary").unwrap();
            assert!(plan.starts_with("IXSCAN") || plan.starts_with("EXPRESS_IXSCAN"), "{query:?}: {plan}");
            // What finds one may sort it.
            let sorts = latest.get_bool("hasSortStage").unwrap_or(false);
            assert!(!sorts || index == "app_email" || index == "app_google", "{query:?} is sorted in memory");
            let stages = format!("{:?}", latest.get_document("execStats").unwrap());
            assert!(stages.contains(index), "{query:?}, {page} page: {stages}");
            let looked_at = latest.get_i32("docsExamined").unwrap();
            // Five, one more, and the one where the page before ended.
            assert!(looked_at <= 7, "{query:?}, {page} page: {looked_at} documents looked at");
            let Some(next) = found.next else { break };
            query = query.after(Some(next));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_runs_out_vanishes_by_itself() {
    let Some(server) = shared_mongod().await else { return };
    let store = Arc::new(MongoStore::connect(&mongo_settings(server, "expiry")).await.unwrap());
    start(&*store, SCHEMAS, &[]).await.unwrap();
    let tokens = Collection::<Token>::new(store);
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis() as i64;
    for (id, expires_at) in [("gone", Some(now - 1000)), ("later", Some(now + 3_600_000)), ("stays", None)] {
        tokens.insert(&Token { id: id.to_owned(), expires_at }).await.unwrap();
    }
    let deadline = Instant::now() + Duration::from_secs(60);
    while tokens.get("gone").await.unwrap().is_some() {
        assert!(Instant::now() < deadline, "MongoDB deletes nothing");
        time::sleep(Duration::from_millis(200)).await;
    }
    assert!(tokens.get("later").await.unwrap().is_some() && tokens.get("stays").await.unwrap().is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_is_told_in_time_and_loses_nothing() {
    let Some(mut server) = Mongod::start().await else { return };
    let store = Arc::new(MongoStore::connect(&mongo_settings(&server, "outage")).await.unwrap());
    start(&*store, SCHEMAS, &[]).await.unwrap();
    let accounts = Collection::<Account>::new(Arc::clone(&store) as Arc<dyn Store>);
    for n in 0..20 {
        accounts.insert(&Account::number(n)).await.unwrap();
    }
    server.kill();
    told_in_time(&accounts).await;
    server.restart().await;
    server.primary().await;
    answers_again(&accounts).await;
    // A server that keeps its connections and says nothing.
    server.freeze().await;
    told_in_time(&accounts).await;
    server.thaw();
    answers_again(&accounts).await;
}

async fn told_in_time(accounts: &Collection<Account>) {
    let begun = Instant::now();
    let new = Account::number(100);
    let (read, written) = tokio::join!(accounts.get("account-0001"), accounts.insert(&new));
    assert!(matches!(read, Err(StoreError::Unavailable { .. })), "{read:?}");
    assert!(matches!(written, Err(StoreError::Unavailable { .. })), "{written:?}");
    assert!(begun.elapsed() < PATIENCE + Duration::from_secs(2), "{:?}", begun.elapsed());
}

async fn answers_again(accounts: &Collection<Account>) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while accounts.get("account-0001").await.is_err() {
        assert!(Instant::now() < deadline, "the store does not come back");
        time::sleep(Duration::from_millis(200)).await;
    }
    for n in 0..20 {
        let id = Account::number(n).id;
        assert!(accounts.get(&id).await.unwrap().is_some(), "{id}");
    }
}
