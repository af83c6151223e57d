//! What is kept lies where the settings say, goes when it should, and survives `kill -9`: the real binary on real stores.
//!
//! Not here: stores that are away (`outage.rs`).
#![allow(clippy::unwrap_used)]

#[path = "support/account.rs"]
mod account;
#[path = "support/http.rs"]
mod http;
#[allow(dead_code, reason = "other suites stop it")]
#[path = "../control-api/tests/common/mongod.rs"]
mod mongod;
#[path = "../control-api/tests/common/redis_server.rs"]
mod redis_server;
#[allow(dead_code, reason = "other suites ask more of it")]
#[path = "../control-api/tests/common/s3_server.rs"]
mod s3_server;
#[path = "support/server.rs"]
mod server;
#[path = "support/stores.rs"]
mod stores;

use std::{fs, path::PathBuf};

use account::{SPOKEN, delete_account, enter, files_with, live, unkept_session, wait_for, walk, with_a_turn};
use http::Http;
use serde_json::Value;
use server::Server;
use stores::Stores;

#[tokio::test(flavor = "multi_thread")]
async fn from_registration_to_erasure_on_mongodb_redis_and_s3() {
    let Some(mut stores) = Stores::start().await else { return };
    let server = stores.server();
    let (user, secrets) = walk(&server);
    assert!(stores.document_with(SPOKEN).await, "the history is in MongoDB");
    assert!(stores.document_with("ann@example.org").await, "so is the account");
    assert_eq!(files_with(&server.data_dir(), SPOKEN), Vec::<PathBuf>::new(), "it is nowhere else");
    assert!(stores.redis_was_told(SPOKEN), "a live session's journal was in Redis");
    assert!(!stores.redis_holds(SPOKEN), "and is gone with it");

    // As a feature would put it; while it cannot be erased, neither is the account forgotten.
    let (_, me) = user.get("/api/v1/users/me");
    let file = stores.s3.bucket_folder().join(format!("users/{}/file", me["id"].as_str().unwrap()));
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    fs::write(&file, "a file").unwrap();
    stores.s3.stop().await;
    delete_account(&user);
    stores.forget(SPOKEN).await;
    assert!(stores.document_with("ann@example.org").await, "by it the rest is found");
    stores.s3.restart().await;
    stores.forget("ann@example.org").await;
    assert!(!file.exists());
    for secret in &secrets {
        assert!(!server.log().contains(secret), "no secret is logged, nor what was said");
    }
    assert_eq!(server.terminate(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_is_not_to_be_kept_is_told_to_no_store() {
    let Some(stores) = Stores::start().await else { return };
    let server = stores.server();
    unkept_session(&server);
    let folder = server.stop();
    assert_eq!(files_with(folder.path(), SPOKEN), Vec::<PathBuf>::new(), "neither in files nor in the log");
    assert!(stores.mongodb_was_told("Private").await, "what was told is found");
    assert!(!stores.mongodb_was_told(SPOKEN).await);
    assert!(!stores.redis_was_told(SPOKEN));
}

#[test]
fn what_was_kept_survives_kill_9_of_the_server() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port().to_string();
    let environment = [("INTERVIEWAI_AUTH", "accounts"), ("INTERVIEWAI_AUDIO__PORT", port.as_str())];
    let server = Server::start(&environment);
    let user = enter(&server, "ann@example.org");
    let session = live(&server, &user, &["--speed", "1"]);
    // Whatever is seen here was acknowledged as kept.
    let before = wait_for("the first turn", || with_a_turn(&user));
    assert!(!session.is_finished(), "it is killed in mid-session");
    let folder = server.kill();
    let server = Server::start_in(folder, &environment);
    let refused = session.join().unwrap().unwrap_err();
    assert!(refused.contains("ticket"), "it came back, and its ticket opens nothing twice: {refused}");
    // The same login, as the keys are kept too.
    let user = Http::new(&server.http).with_token(user.token());
    let after = wait_for("the store", || with_a_turn(&user));
    let turns = |session: &Value| session["turns"].as_array().unwrap().clone();
    for (before, after) in turns(&before).iter().zip(&turns(&after)) {
        assert_eq!((&before["turn"], &before["text"]), (&after["turn"], &after["text"]));
        for answer in before["answers"].as_array().unwrap() {
            assert!(after["answers"].as_array().unwrap().contains(answer), "an answer is lost");
        }
    }
    assert!(turns(&after).len() >= turns(&before).len(), "a turn is lost");
    assert_eq!(server.terminate(), Some(0));
}
