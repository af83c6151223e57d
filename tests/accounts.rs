//! An account's life with the real binary: registered, proven, entered; a live session with a ticket, found in the history,
//! exported, deleted; and what becomes of a live session when its login ends.
//!
//! Not here: other stores than the embedded ones (`storage.rs`).
#![allow(clippy::unwrap_used)]

#[path = "support/account.rs"]
mod account;
#[path = "support/http.rs"]
mod http;
#[path = "support/server.rs"]
mod server;

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use account::{SPOKEN, delete_account, enter, files_with, sample, unkept_session, wait_for, walk};
use client::{ClientConfig, ClientError, Sender, connect};
use http::Http;
use protocol::{ClientMessage, ServerMessage};
use serde_json::json;
use server::Server;

#[test]
fn from_registration_to_erasure() {
    let server = Server::start(&[("INTERVIEWAI_AUTH", "accounts")]);
    let nobody = Http::new(&server.http);

    let refused = server.try_stream(&["--speed", "0"], &[sample()]).unwrap_err();
    assert!(refused.contains("log in"), "{refused}");

    let (user, secrets) = walk(&server);
    assert!(!files_with(&server.data_dir(), SPOKEN).is_empty(), "the history is in the folder");
    delete_account(&user);
    wait_for("nothing of the user in the folder", || {
        (files_with(&server.data_dir(), SPOKEN).is_empty()).then_some(())
    });
    for secret in &secrets {
        assert!(!server.log().contains(secret), "no secret is logged, nor what was said");
    }
    assert_eq!(nobody.get("/health/ready").0, 200);
    assert_eq!(server.terminate(), Some(0));
}

#[test]
fn a_session_that_is_not_to_be_kept_leaves_no_trace() {
    let server = Server::start(&[("INTERVIEWAI_AUTH", "accounts")]);
    unkept_session(&server);
    let folder = server.stop();
    assert_eq!(
        files_with(folder.path(), SPOKEN),
        Vec::<PathBuf>::new(),
        "neither in the store nor in the log"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_live_session_ends_with_its_login() {
    let server = Server::start(&[("INTERVIEWAI_AUTH", "accounts")]);
    let user = enter(&server, "ann@example.org");
    let (_, usage) = user.get("/api/v1/users/me");
    assert_eq!(usage["email"], "ann@example.org");
    let mut config = ClientConfig::new(server.ws.clone());
    config.token = Some(user.token().to_owned().into());
    let (mut sender, mut events) = connect(&config).await.unwrap();
    start(&mut sender).await;
    let first = events.next().await.unwrap().unwrap();
    assert!(matches!(first.message, ServerMessage::StreamStarted { .. }));

    let begun = Instant::now();
    assert!(user.post("/api/v1/auth/logout", &json!({})).0 < 300);
    let mut told = false;
    while let Some(event) = events.next().await {
        match event {
            Ok(event) => {
                told |= matches!(&event.message, ServerMessage::Error { fatal: true, message, .. } if message.contains("login"))
            }
            Err(_) => break,
        }
    }
    assert!(told, "the client is told why");
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    let Err(refused) = connect(&config).await else { panic!("the token is dead") };
    assert!(matches!(refused, ClientError::Rejected { status: 401, .. }), "{refused}");
}

async fn start(sender: &mut Sender) {
    let start = json!({"type": "start_stream", "audio": {"codec": "pcm_s16le", "sample_rate": 16_000, "channels": 1}});
    let start: ClientMessage = serde_json::from_value(start).unwrap();
    sender.send(&start).await.unwrap();
}
