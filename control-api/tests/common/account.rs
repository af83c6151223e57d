//! People with accounts, for tests: registered, confirmed and logged in over HTTP, as a client would.
//!
//! Not here: the API (`api.rs`, which the suite names too).

// Each suite uses a part.
#![allow(dead_code)]

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use reqwest::{RequestBuilder, StatusCode};
use serde_json::{Value, json};

use crate::api::{Api, answer};

pub(crate) const PASSWORD: &str = "Correct-horse-1";

/// A body to register with.
pub(crate) fn registration(address: &str) -> Value {
    json!({
        "email": address,
        "password": PASSWORD,
        "first_name": "Ann",
        "language": "de",
        "terms_accepted": true,
    })
}

pub(crate) fn register(api: &Api, address: &str) -> RequestBuilder {
    api.post("/api/v1/auth/register", &registration(address))
}

/// The answer to a login.
pub(crate) async fn login(api: &Api, address: &str, password: &str) -> (StatusCode, Value) {
    answer(api.post("/api/v1/auth/login", &json!({"email": address, "password": password}))).await
}

/// Registers, confirms and logs in; the tokens. The address had no mail before.
pub(crate) async fn registered(api: &Api, address: &str) -> Value {
    assert_eq!(answer(register(api, address)).await.0, StatusCode::ACCEPTED);
    let (_, text) = api.outbox.mail_to(address, 0).await;
    let verify = json!({"token": token_in(&text)});
    assert_eq!(answer(api.post("/api/v1/auth/verify-email", &verify)).await.0, StatusCode::OK);
    let (status, pair) = login(api, address, PASSWORD).await;
    assert_eq!(status, StatusCode::OK, "{pair}");
    pair
}

/// The token of the link in a mail.
pub(crate) fn token_in(text: &str) -> String {
    let (_, after) = text.split_once("?token=").expect("there is a link in the mail");
    after.split_whitespace().next().unwrap().to_owned()
}

/// With the access token of `pair`.
pub(crate) fn bearer(request: RequestBuilder, pair: &Value) -> RequestBuilder {
    request.bearer_auth(pair["access_token"].as_str().unwrap())
}

/// Whose the pair is.
pub(crate) fn user_id(pair: &Value) -> String {
    claim(pair, "sub")
}

/// Of which login.
pub(crate) fn login_id(pair: &Value) -> String {
    claim(pair, "sid")
}

fn claim(pair: &Value, name: &str) -> String {
    let token = pair["access_token"].as_str().unwrap();
    let claims = URL_SAFE_NO_PAD.decode(token.split('.').nth(1).unwrap()).unwrap();
    serde_json::from_slice::<Value>(&claims).unwrap()[name].as_str().unwrap().to_owned()
}
