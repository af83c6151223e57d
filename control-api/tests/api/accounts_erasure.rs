//! Leaving over a real socket: closed at once, and soon nothing is kept, in no collection and no file.
//!
//! Not here: MongoDB's and Redis's files.

use crate::account;
use crate::api;
use std::{path::Path, time::Duration};

use account::{PASSWORD, bearer, login, registered, user_id};
use api::{Api, answer};
use bytes::Bytes;
use control_api::{
    auth::{Login, resume_erasures},
    blobs::BlobKey,
    history::TurnRecord,
    interviews::Interview,
    storage::{Filter, StoreError},
    users::{Cv, User},
};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

const CANARY: &str = "canary-7f3a9c";

async fn delete(api: &Api, pair: &Value, body: &Value) -> StatusCode {
    answer(bearer(api.request(Method::DELETE, "/api/v1/users/me").json(body), pair)).await.0
}

/// Waits until the user is erased.
async fn erased(api: &Api, user: &str) {
    for _ in 0..600 {
        if api.state.records::<User>().get(user).await.unwrap().is_none() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("not erased within 30 s");
}

/// Fills what features keep of a user.
async fn fill(api: &Api, user: &str) {
    for n in 0..300 {
        let interview = Interview {
            id: format!("{user}-{n}"),
            user_id: user.to_owned(),
            title: CANARY.to_owned(),
            company: CANARY.repeat(10),
            position: String::new(),
            job_description: CANARY.repeat(100),
            created_at: n,
        };
        api.state.records().insert(&interview).await.unwrap();
    }
    let turn = TurnRecord {
        id: format!("{user}/1"),
        session_id: user.to_owned(),
        user_id: user.to_owned(),
        turn: 1,
        role: "candidate".to_owned(),
        text: CANARY.to_owned(),
        start_ms: 0,
        end_ms: 1,
        confidence: 1.0,
        language: "en".to_owned(),
    };
    api.state.records().insert(&turn).await.unwrap();
    let text = Cv { id: user.to_owned(), text: CANARY.repeat(3), updated_at: 0 };
    api.state.records().insert(&text).await.unwrap();
    let cv = BlobKey::new(format!("users/{user}/cv")).unwrap();
    api.state.blobs.put(&cv, Bytes::from_static(CANARY.as_bytes())).await.unwrap();
    let ttl = Duration::from_secs(60);
    api.state.cache.set(&format!("user:{user}:x"), Bytes::from_static(b"x"), ttl).await.unwrap();
}

fn files_with(folder: &Path, text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files_with(&path, text));
        } else if std::fs::read(&path).unwrap().windows(text.len()).any(|window| window == text.as_bytes()) {
            found.push(path.display().to_string());
        }
    }
    found
}

#[tokio::test]
async fn a_deleted_account_is_closed_at_once_and_soon_nothing_of_it_is_in_any_file() {
    let api = Api::start().await;
    let address = format!("{CANARY}@example.org");
    let pair = registered(&api, &address).await;
    let bob = registered(&api, "bob@example.org").await;
    let (ann, bob) = (user_id(&pair), user_id(&bob));
    fill(&api, &ann).await;
    let kept = Interview {
        id: "bobs".to_owned(),
        user_id: bob.clone(),
        title: String::new(),
        company: String::new(),
        position: String::new(),
        job_description: String::new(),
        created_at: 1,
    };
    api.state.records().insert(&kept).await.unwrap();
    let folder = api.folder().to_owned();
    assert!(
        files_with(&folder, CANARY).len() >= 2,
        "the store and the blob: {:?}",
        files_with(&folder, CANARY)
    );

    assert_eq!(delete(&api, &pair, &json!({})).await, StatusCode::FORBIDDEN);
    assert_eq!(delete(&api, &pair, &json!({"password": "Wrong-horse-1"})).await, StatusCode::FORBIDDEN);
    assert_eq!(delete(&api, &pair, &json!({"password": PASSWORD})).await, StatusCode::NO_CONTENT);
    let (status, _) = answer(bearer(api.get("/api/v1/auth/sessions"), &pair)).await;
    assert_eq!(status, StatusCode::UNAUTHORIZED);
    assert_eq!(login(&api, &address, PASSWORD).await.0, StatusCode::UNAUTHORIZED);
    let request = json!({"refresh_token": pair["refresh_token"]});
    assert_eq!(answer(api.post("/api/v1/auth/refresh", &request)).await.0, StatusCode::UNAUTHORIZED);

    erased(&api, &ann).await;
    // Emptying the log is the job's last step, after the record is gone.
    for _ in 0..100 {
        if files_with(&folder, CANARY).is_empty() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(files_with(&folder, CANARY), Vec::<String>::new());
    assert_eq!(api.state.cache.get(&format!("user:{ann}:x")).await, Ok(None));
    let of = |user: &str| Filter::all().eq("user_id", user);
    assert_eq!(api.state.records::<Login>().count(&of(&ann)).await, Ok(0));
    assert_eq!(api.state.records::<Interview>().count(&of(&bob)).await, Ok(1), "others keep what is theirs");
    assert!(api.state.records::<User>().get(&bob).await.unwrap().is_some());
}

#[tokio::test]
async fn the_address_of_a_deleted_account_is_free_again() {
    let api = Api::start().await;
    let first = registered(&api, "ann@example.org").await;
    assert_eq!(delete(&api, &first, &json!({"password": PASSWORD})).await, StatusCode::NO_CONTENT);
    assert_eq!(answer(account::register(&api, "ann@example.org")).await.0, StatusCode::ACCEPTED);
    let (subject, text) = api.outbox.mail_to("ann@example.org", 1).await;
    assert_eq!(subject, "Confirm your address");
    let verify = json!({"token": account::token_in(&text)});
    assert_eq!(answer(api.post("/api/v1/auth/verify-email", &verify)).await.0, StatusCode::OK);
    let (status, second) = login(&api, "ann@example.org", PASSWORD).await;
    assert_eq!(status, StatusCode::OK);
    assert_ne!(user_id(&first), user_id(&second));
    erased(&api, &user_id(&first)).await;
    let (status, _) = answer(bearer(api.get("/api/v1/auth/sessions"), &second)).await;
    assert_eq!(status, StatusCode::OK, "the new one is not erased with the old one");
}

#[tokio::test]
async fn an_account_without_a_password_is_deleted_after_a_recent_login_only() {
    let api = Api::start().await;
    let pair = registered(&api, "ann@example.org").await;
    let without = |user: &mut User| {
        user.password_hash = None;
        Ok::<_, StoreError>(())
    };
    api.state.records::<User>().update(&user_id(&pair), without).await.unwrap();
    let since = async |ms: i64| {
        let back = |login: &mut Login| {
            login.created_at -= ms;
            Ok::<_, StoreError>(())
        };
        api.state.records::<Login>().update(&account::login_id(&pair), back).await.unwrap();
    };
    let change = json!({"current_password": PASSWORD, "new_password": "Another-horse-2"});
    let change = bearer(api.post("/api/v1/auth/change-password", &change), &pair);
    assert_eq!(answer(change).await.0, StatusCode::CONFLICT);
    assert_eq!(login(&api, "ann@example.org", PASSWORD).await.0, StatusCode::UNAUTHORIZED);
    since(600_000).await;
    assert_eq!(delete(&api, &pair, &json!({})).await, StatusCode::FORBIDDEN);
    since(-600_000).await;
    assert_eq!(delete(&api, &pair, &json!({})).await, StatusCode::NO_CONTENT);
    erased(&api, &user_id(&pair)).await;
}

#[tokio::test]
async fn an_erasing_that_was_lost_is_begun_again() {
    let api = Api::start().await;
    let user = user_id(&registered(&api, "ann@example.org").await);
    let closed = |user: &mut User| {
        user.deleted_at = Some(1);
        Ok::<_, StoreError>(())
    };
    resume_erasures(&api.state).await.unwrap();
    api.state.records::<User>().update(&user, closed).await.unwrap();
    resume_erasures(&api.state).await.unwrap();
    erased(&api, &user).await;
}
