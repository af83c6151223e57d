//! Refresh tokens over a real socket: single use, repeated and parallel use, reuse, and what is announced.
//!
//! Not here: access tokens that are forged, the arithmetic of grace (`auth::refresh`).

use crate::account;
use crate::api;
use std::{collections::HashSet, time::Duration};

use account::{PASSWORD, bearer, login, login_id, registered, user_id};
use api::{Api, answer};
use control_api::{
    auth::{CurrentUser, Login, REVOKED_TOPIC, Revocation, login_is_live, revoke_all, revoke_login},
    cache::{Heard, Subscription},
    storage::Filter,
};
use futures_util::future::join_all;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::time::timeout;

async fn refresh(api: &Api, token: &Value) -> (StatusCode, Value) {
    answer(api.post("/api/v1/auth/refresh", &json!({"refresh_token": token}))).await
}

async fn works(api: &Api, pair: &Value) -> bool {
    match answer(bearer(api.get("/api/v1/auth/sessions"), pair)).await.0 {
        StatusCode::OK => true,
        StatusCode::UNAUTHORIZED => false,
        other => panic!("{other}"),
    }
}

/// As if the last exchange was so long ago.
async fn age(api: &Api, login: &str, ms: i64) {
    let back = |login: &mut Login| {
        login.renewed_at -= ms;
        Ok::<_, control_api::storage::StoreError>(())
    };
    api.state.records::<Login>().update(login, back).await.unwrap();
}

async fn heard(subscription: &mut Subscription) -> Revocation {
    match timeout(Duration::from_secs(5), subscription.next()).await.expect("within 5 s") {
        Some(Heard::Message(message)) => serde_json::from_slice(&message).unwrap(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_repeated_refresh_gives_the_same_token_and_the_family_goes_on() {
    let api = Api::start().await;
    let first = registered(&api, "ann@example.org").await;
    let (status, second) = refresh(&api, &first["refresh_token"]).await;
    assert_eq!(status, StatusCode::OK);
    assert_ne!(first["refresh_token"], second["refresh_token"]);
    let (status, again) = refresh(&api, &first["refresh_token"]).await;
    assert_eq!(
        (status, &again["refresh_token"]),
        (StatusCode::OK, &second["refresh_token"]),
        "the answer was lost"
    );
    let (status, third) = refresh(&api, &again["refresh_token"]).await;
    assert_eq!(status, StatusCode::OK);
    assert!(works(&api, &third).await && works(&api, &first).await, "access tokens of a live login");
    assert_eq!(login_id(&first), login_id(&third));
}

#[tokio::test]
async fn a_token_that_was_used_before_ends_the_login_and_it_is_announced() {
    let api = Api::start().await;
    let first = registered(&api, "ann@example.org").await;
    let (_, other) = login(&api, "ann@example.org", PASSWORD).await;
    let mut announced = api.state.cache.subscribe(REVOKED_TOPIC).await.unwrap();
    let (_, second) = refresh(&api, &first["refresh_token"]).await;
    age(&api, &login_id(&first), 10_000).await;
    assert_eq!(refresh(&api, &first["refresh_token"]).await.0, StatusCode::UNAUTHORIZED);
    let expected = Revocation { user_id: user_id(&first), login_id: Some(login_id(&first)) };
    assert_eq!(heard(&mut announced).await, expected);
    assert!(!works(&api, &second).await, "who has the newest is out, too");
    assert_eq!(refresh(&api, &second["refresh_token"]).await.0, StatusCode::UNAUTHORIZED);
    assert!(works(&api, &other).await, "another device goes on");
    assert_eq!(login_is_live(&api.state, &login_id(&first)).await, Ok(false));
    assert_eq!(login_is_live(&api.state, &login_id(&other)).await, Ok(true));
}

#[tokio::test]
async fn the_token_before_the_previous_one_ends_the_login_within_the_grace_too() {
    let api = Api::start().await;
    let first = registered(&api, "ann@example.org").await;
    let (_, second) = refresh(&api, &first["refresh_token"]).await;
    let (_, third) = refresh(&api, &second["refresh_token"]).await;
    assert_eq!(refresh(&api, &first["refresh_token"]).await.0, StatusCode::UNAUTHORIZED);
    assert!(!works(&api, &third).await);
}

#[tokio::test]
async fn fifty_refreshes_at_once_leave_one_family_that_lives() {
    let api = Api::start().await;
    let first = registered(&api, "ann@example.org").await;
    let answers = join_all((0..50).map(|_| refresh(&api, &first["refresh_token"]))).await;
    let unserved: Vec<_> = answers.iter().filter(|(status, _)| *status != StatusCode::OK).collect();
    assert!(unserved.is_empty(), "{unserved:?}");
    let next: HashSet<_> = answers.iter().map(|(_, pair)| pair["refresh_token"].as_str().unwrap()).collect();
    assert_eq!(next.len(), 1, "whichever answer the client keeps, it has the one that works");
    let logins = Filter::all().eq("user_id", user_id(&first)).without("revoked_at");
    assert_eq!(api.state.records::<Login>().count(&logins).await, Ok(1));
    let (status, pair) = refresh(&api, &answers[49].1["refresh_token"]).await;
    assert_eq!(status, StatusCode::OK);
    assert!(works(&api, &pair).await);
}

#[tokio::test]
async fn a_refresh_token_that_was_not_used_for_a_week_is_over() {
    let api = Api::start().await;
    let pair = registered(&api, "ann@example.org").await;
    let logins = api.state.records::<Login>();
    let over = |login: &mut Login| {
        login.expires_at = 1;
        Ok::<_, control_api::storage::StoreError>(())
    };
    logins.update(&login_id(&pair), over).await.unwrap();
    assert_eq!(refresh(&api, &pair["refresh_token"]).await.0, StatusCode::UNAUTHORIZED);
    assert!(!works(&api, &pair).await);
}

#[tokio::test]
async fn access_and_refresh_tokens_do_not_pass_for_each_other() {
    let api = Api::start().await;
    let pair = registered(&api, "ann@example.org").await;
    assert_eq!(refresh(&api, &pair["access_token"]).await.0, StatusCode::UNAUTHORIZED);
    let swapped = json!({"access_token": pair["refresh_token"]});
    assert!(!works(&api, &swapped).await);
    for nothing in ["", ".", "x", "x.y", &"x".repeat(10_000)] {
        assert_eq!(refresh(&api, &json!(nothing)).await.0, StatusCode::UNAUTHORIZED);
    }
    assert!(works(&api, &pair).await, "nothing of it ended the login");
    let (status, _) = refresh(&api, &json!(1)).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn each_ending_of_a_login_is_announced() {
    let api = Api::start().await;
    let pair = registered(&api, "ann@example.org").await;
    let mut announced = api.state.cache.subscribe(REVOKED_TOPIC).await.unwrap();
    let one = |pair: &Value| Revocation { user_id: user_id(pair), login_id: Some(login_id(pair)) };
    let all = Revocation { user_id: user_id(&pair), login_id: None };

    let logout = bearer(api.request(Method::POST, "/api/v1/auth/logout"), &pair);
    assert_eq!(answer(logout).await.0, StatusCode::NO_CONTENT);
    assert_eq!(heard(&mut announced).await, one(&pair));

    let (_, first) = login(&api, "ann@example.org", PASSWORD).await;
    let (_, second) = login(&api, "ann@example.org", PASSWORD).await;
    let change = json!({"current_password": PASSWORD, "new_password": "Another-horse-2"});
    let change = bearer(api.post("/api/v1/auth/change-password", &change), &first);
    assert_eq!(answer(change).await.0, StatusCode::NO_CONTENT);
    assert_eq!(heard(&mut announced).await, one(&second));

    let everywhere = bearer(api.request(Method::POST, "/api/v1/auth/logout-all"), &first);
    assert_eq!(answer(everywhere).await.0, StatusCode::NO_CONTENT);
    assert_eq!(heard(&mut announced).await, all);

    let (_, third) = login(&api, "ann@example.org", "Another-horse-2").await;
    let token = third["access_token"].as_str().unwrap();
    assert!(CurrentUser::of_token(&api.state, token).await.is_ok());
    revoke_login(&api.state, &login_id(&third)).await.unwrap();
    assert_eq!(heard(&mut announced).await, one(&third));
    revoke_login(&api.state, &login_id(&third)).await.unwrap();
    revoke_all(&api.state, &user_id(&third)).await.unwrap();
    assert_eq!(heard(&mut announced).await, all, "what has ended does not end again");
    let refused = CurrentUser::of_token(&api.state, token).await;
    assert_eq!(refused.unwrap_err().status(), StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn a_refresh_and_an_ending_at_once_leave_no_login() {
    let api = Api::start().await;
    registered(&api, "ann@example.org").await;
    for _ in 0..9 {
        let (_, pair) = login(&api, "ann@example.org", PASSWORD).await;
        let user = user_id(&pair);
        let (refreshed, ended) =
            tokio::join!(refresh(&api, &pair["refresh_token"]), revoke_all(&api.state, &user));
        ended.unwrap();
        assert!(!works(&api, &pair).await);
        if refreshed.0 == StatusCode::OK {
            assert_eq!(refresh(&api, &refreshed.1["refresh_token"]).await.0, StatusCode::UNAUTHORIZED);
        }
    }
}
