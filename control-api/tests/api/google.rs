//! Sign-in with an OpenID Connect provider, over sockets on both sides.
//!
//! Not here: other ways to log in, what a login is good for.

use crate::api;
use crate::oidc_issuer;
use std::{sync::Arc, time::Duration};

use api::{Api, answer};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use control_api::{
    auth::{CurrentUser, GoogleSettings, Login},
    storage::Filter,
    users::{Plan, Preferences, User},
};
use oidc_issuer::{CLIENT, Issuer, Lie, SECRET};
use reqwest::{Client, Response, Url, header, redirect};
use serde_json::{Value, json};

#[tokio::test(flavor = "multi_thread")]
async fn a_new_user_comes_in_and_is_known_the_next_time() {
    let world = World::new().await;
    let tokens = world.sign_in().await.unwrap();
    let current = world.who(&tokens).await;
    let user = &current.user;
    assert_eq!((&*user.email, user.email_verified), ("ann@example.org", true));
    assert_eq!((&*user.first_name, &*user.last_name, user.plan), ("Ann", "Lee", Plan::Free));
    assert_eq!((user.google_sub.as_deref(), &user.password_hash), (Some("google-ann"), &None));
    assert!(user.terms_accepted_at > 0 && tokens["expires_in"] == 900 && tokens["token_type"] == "Bearer");

    // With the other key, another address, and none that is proven: it is the same person there.
    world.issuer.lie(Lie {
        key: 1,
        claims: json!({"email": "new@example.org", "email_verified": false}),
        ..Lie::default()
    });
    let again = world.who(&world.sign_in().await.unwrap()).await;
    assert_eq!(again.id(), current.id());
    assert_ne!(again.login.id, current.login.id);
    assert_eq!(world.issuer.asked("configuration"), 1, "it is kept");
    assert_eq!(world.issuer.asked("jwks"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proven_address_links_the_account_and_takes_it_from_who_never_proved_it() {
    let world = World::new().await;
    world.insert(&user("bob", "bob@example.org", true)).await;
    world.insert(&user("squatter", "ann@example.org", false)).await;
    world.api.state.records().insert(&login("of-squatter", "squatter")).await.unwrap();
    world
        .issuer
        .lie(Lie { claims: json!({"sub": "google-bob", "email": "BOB@example.org"}), ..Lie::default() });
    let bob = world.who(&world.sign_in().await.unwrap()).await;
    assert_eq!((bob.id(), bob.user.password_hash.as_deref()), ("bob", Some("hash")), "the password works on");
    // Another one there with the same address is not the same person.
    world
        .issuer
        .lie(Lie { claims: json!({"sub": "google-eve", "email": "bob@example.org"}), ..Lie::default() });
    assert_eq!(world.sign_in().await, Err("refused".to_owned()));

    world.issuer.lie(Lie::default());
    let ann = world.who(&world.sign_in().await.unwrap()).await;
    assert_eq!((ann.id(), &ann.user.password_hash, ann.user.email_verified), ("squatter", &None, true));
    assert!(world.api.state.records::<Login>().get("of-squatter").await.unwrap().is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn no_false_id_token_signs_anybody_in() {
    let world = World::new().await;
    let now = jsonwebtoken::get_current_timestamp();
    let claims = |claims: Value| Lie { claims, ..Lie::default() };
    let token = |token: fn(String) -> Option<String>| Lie { token, ..Lie::default() };
    for (name, lie, expected) in [
        ("another nonce", claims(json!({"nonce": "A".repeat(43)})), "refused"),
        ("no nonce", claims(json!({"nonce": null})), "refused"),
        ("another audience", claims(json!({"aud": "their-client"})), "refused"),
        ("no audience", claims(json!({"aud": null})), "refused"),
        ("several audiences", claims(json!({"aud": [CLIENT, "their-client"]})), "refused"),
        ("for another party", claims(json!({"azp": "their-client"})), "refused"),
        ("another issuer", claims(json!({"iss": "https://accounts.example.org"})), "refused"),
        ("no issuer", claims(json!({"iss": null})), "refused"),
        ("ended", claims(json!({"exp": now - 60})), "refused"),
        ("no end", claims(json!({"exp": null})), "refused"),
        ("not yet", claims(json!({"nbf": now + 600})), "refused"),
        ("nobody", claims(json!({"sub": ""})), "refused"),
        ("an address that is not proven", claims(json!({"email_verified": false})), "unverified"),
        ("nothing said of the address", claims(json!({"email_verified": null})), "unverified"),
        ("no address", claims(json!({"email": null})), "unverified"),
        (
            "no such address",
            claims(json!({"email": "ann@example.org\r\nBcc: eve@example.org"})),
            "unverified",
        ),
        ("a key that nobody knows", Lie { key: 2, ..Lie::default() }, "refused"),
        ("no ID token", token(|_| None), "refused"),
        ("an ID token that is none", token(|_| Some("canary".to_owned())), "refused"),
        ("a large ID token", token(|token| Some(token + &"x".repeat(100_000))), "refused"),
        ("an endless answer", token(|token| Some(token + &"x".repeat(1_000_000))), "unavailable"),
        ("no signature", token(|token| Some(token.rsplit_once('.')?.0.to_owned() + ".")), "refused"),
        ("alg none", token(|token| headed(&token, r#"{"alg":"none","kid":"0"}"#)), "refused"),
        ("alg HS256", token(|token| headed(&token, r#"{"alg":"HS256","kid":"0"}"#)), "refused"),
        ("the other key's kid", token(|token| headed(&token, r#"{"alg":"EdDSA","kid":"1"}"#)), "refused"),
        ("no kid", token(|token| headed(&token, r#"{"alg":"EdDSA"}"#)), "refused"),
    ] {
        world.issuer.lie(lie);
        assert_eq!(world.sign_in().await, Err(expected.to_owned()), "{name}");
    }
    let users = world.api.state.records::<User>().count(&Filter::all()).await.unwrap();
    assert_eq!(users, 0, "nobody was made");
    assert!(world.issuer.asked("jwks") <= 2, "unknown keys are asked for once a minute");
    world.issuer.lie(Lie::default());
    assert!(world.sign_in().await.is_ok(), "the true one works");
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_browser_that_began_comes_back_and_once() {
    let world = World::new().await;
    let (back, cookie) = world.consent().await;
    let altered = |name: &str, value: &str| {
        let pairs: Vec<_> = back.query_pairs().into_owned().collect();
        let mut url = back.clone();
        url.query_pairs_mut().clear().extend_pairs(
            pairs.iter().map(|(known, old)| (known.as_str(), if known == name { value } else { old })),
        );
        url
    };
    for (name, url, cookie) in [
        ("another state", altered("state", &"A".repeat(43)), cookie.as_str()),
        ("no state", altered("state", ""), &cookie),
        ("a long state", altered("state", &"A".repeat(5_000)), &cookie),
        ("no cookie", back.clone(), ""),
        ("another cookie", back.clone(), "interviewai_sign_in=AAAA"),
    ] {
        assert_eq!(fragment(&world.back(url, cookie).await), "error=expired", "{name}");
    }
    // None of that ended the true one.
    let done = world.back(back.clone(), &cookie).await;
    let code = fragment(&done).strip_prefix("code=").unwrap().to_owned();
    assert!(done.headers()[header::SET_COOKIE].to_str().unwrap().contains("Max-Age=0"));
    assert_eq!(fragment(&world.back(back, &cookie).await), "error=expired", "the state works once");
    let (first, second) = tokio::join!(world.exchange(&code), world.exchange(&code));
    let mut statuses = [first.0, second.0];
    statuses.sort();
    assert_eq!(statuses, [200, 401], "the code works once");
    for wrong in ["x", &"A".repeat(43), &"A".repeat(100)] {
        assert_eq!(world.exchange(wrong).await.0, 401);
    }
    assert_eq!(world.exchange("").await.0, 400);
    assert_eq!(world.exchange(&"A".repeat(101)).await.0, 400);

    // A code of the provider's for another sign-in: PKCE says no.
    let ((one, _), (other, cookie)) = (world.consent().await, world.consent().await);
    let code = one.query_pairs().find(|(name, _)| name == "code").unwrap().1.into_owned();
    let state = other.query_pairs().find(|(name, _)| name == "state").unwrap().1.into_owned();
    let mut mixed = other.clone();
    mixed.query_pairs_mut().clear().append_pair("code", &code).append_pair("state", &state);
    assert_eq!(fragment(&world.back(mixed, &cookie).await), "error=refused");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_says_no_and_who_is_deleted_stays_out() {
    let world = World::new().await;
    let (back, cookie) = world.consent().await;
    let state = back.query_pairs().find(|(name, _)| name == "state").unwrap().1.into_owned();
    let mut no = back.clone();
    no.query_pairs_mut().clear().append_pair("error", "access_denied").append_pair("state", &state);
    assert_eq!(fragment(&world.back(no, &cookie).await), "error=cancelled");

    let (back, cookie) = world.consent().await;
    let code = fragment(&world.back(back, &cookie).await).strip_prefix("code=").unwrap().to_owned();
    let users = world.api.state.records::<User>();
    let mut ann = users
        .find_one(Filter::all().eq("email", "ann@example.org").without("deleted_at"))
        .await
        .unwrap()
        .unwrap();
    ann.record.deleted_at = Some(1);
    users.replace(&mut ann).await.unwrap();
    assert_eq!(world.exchange(&code).await.0, 401);
    let again = world.who(&world.sign_in().await.unwrap()).await;
    assert_ne!(again.id(), ann.id, "it is a new account");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_is_away_is_said_so() {
    let world = World::new().await;
    let (back, cookie) = world.consent().await;
    let World { issuer, api, client } = world;
    let url = issuer.url.clone();
    drop(issuer);
    // What was asked before is still known; its token endpoint is gone.
    let away = client.get(of_api(&api, &back)).header(header::COOKIE, &cookie).send().await.unwrap();
    assert_eq!(fragment(&away), "error=unavailable");

    let fresh = Api::start_with(|state| with_google(state, &url)).await;
    let (status, problem) = answer(client.get(format!("{}/api/v1/auth/google", fresh.url))).await;
    assert_eq!(status, 503);
    assert!(problem["detail"].as_str().unwrap().contains("password"), "{problem}");

    // Takes connections, and says nothing.
    let mute = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", mute.local_addr().unwrap());
    let fresh = Api::start_with(|state| with_google(state, &url)).await;
    let asked = client.get(format!("{}/api/v1/auth/google", fresh.url)).timeout(Duration::from_secs(60));
    assert_eq!(answer(asked).await.0, 503);

    let without = Api::start().await;
    for path in ["google", "google/callback?code=x&state=y"] {
        let (status, problem) = answer(client.get(format!("{}/api/v1/auth/{path}", without.url))).await;
        assert!(status == 404 && problem["detail"].as_str().unwrap().contains("not set up"), "{problem}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_cookie_is_for_this_way_alone() {
    let world = World::new().await;
    let begun = world.client.get(format!("{}/api/v1/auth/google", world.api.url)).send().await.unwrap();
    let cookie = begun.headers()[header::SET_COOKIE].to_str().unwrap();
    for attribute in ["Path=/api/v1/auth/google", "Max-Age=600", "HttpOnly", "SameSite=Lax"] {
        assert!(cookie.contains(attribute), "{cookie}");
    }
    assert!(!cookie.contains("Secure"), "this one is over HTTP");
    let issuer = world.issuer.url.clone();
    let secure = Api::start_with(|state| {
        with_google(state, &issuer);
        Arc::make_mut(&mut state.settings).public_url = "https://app.example".to_owned();
    })
    .await;
    let begun = world.client.get(format!("{}/api/v1/auth/google", secure.url)).send().await.unwrap();
    assert!(begun.headers()[header::SET_COOKIE].to_str().unwrap().ends_with("; Secure"));
    let to = Url::parse(begun.headers()[header::LOCATION].to_str().unwrap()).unwrap();
    let to = to.query_pairs().find(|(name, _)| name == "redirect_uri").unwrap().1.into_owned();
    assert_eq!(to, "https://app.example/api/v1/auth/google/callback");
}

struct World {
    issuer: Issuer,
    api: Api,
    client: Client,
}

impl World {
    async fn new() -> Self {
        let issuer = Issuer::start().await;
        let api = Api::start_with(|state| with_google(state, &issuer.url)).await;
        let client = Client::builder().redirect(redirect::Policy::none()).build().unwrap();
        Self { issuer, api, client }
    }

    /// The browser's way to the provider and to where it sends it back, with the cookie.
    async fn consent(&self) -> (Url, String) {
        let begun = self.client.get(format!("{}/api/v1/auth/google", self.api.url)).send().await.unwrap();
        assert_eq!(begun.status(), 303);
        let cookie = begun.headers()[header::SET_COOKIE].to_str().unwrap();
        let cookie = cookie.split(';').next().unwrap().to_owned();
        let to = begun.headers()[header::LOCATION].to_str().unwrap();
        assert!(to.starts_with(&self.issuer.url), "{to}");
        let agreed = self.client.get(to).send().await.unwrap();
        assert_eq!(agreed.status(), 303);
        (Url::parse(agreed.headers()[header::LOCATION].to_str().unwrap()).unwrap(), cookie)
    }

    async fn back(&self, url: Url, cookie: &str) -> Response {
        let answer =
            self.client.get(of_api(&self.api, &url)).header(header::COOKIE, cookie).send().await.unwrap();
        assert_eq!(answer.status(), 303);
        answer
    }

    async fn exchange(&self, code: &str) -> (u16, Value) {
        let url = format!("{}/api/v1/auth/google/exchange", self.api.url);
        let (status, body) = answer(self.client.post(url).json(&json!({"code": code}))).await;
        (status.as_u16(), body)
    }

    /// All of it: a pair of tokens, or what the web page is told.
    async fn sign_in(&self) -> Result<Value, String> {
        let (back, cookie) = self.consent().await;
        let done = self.back(back, &cookie).await;
        let to = done.headers()[header::LOCATION].to_str().unwrap();
        assert!(to.starts_with("http://localhost/auth/callback#"), "{to}");
        let fragment = fragment(&done);
        if let Some(error) = fragment.strip_prefix("error=") {
            return Err(error.to_owned());
        }
        let (status, tokens) = self.exchange(fragment.strip_prefix("code=").unwrap()).await;
        assert_eq!(status, 200, "{tokens}");
        Ok(tokens)
    }

    async fn who(&self, tokens: &Value) -> CurrentUser {
        CurrentUser::of_token(&self.api.state, tokens["access_token"].as_str().unwrap()).await.unwrap()
    }

    async fn insert(&self, user: &User) {
        self.api.state.records().insert(user).await.unwrap();
    }
}

fn with_google(state: &mut control_api::ApiState, issuer: &str) {
    Arc::make_mut(&mut state.settings).google = Some(GoogleSettings {
        issuer: issuer.to_owned(),
        client_id: CLIENT.to_owned(),
        client_secret: SECRET.to_owned().into(),
    });
}

/// A URL that leads to the public place, where it really is.
fn of_api(api: &Api, url: &Url) -> String {
    format!("{}{}?{}", api.url, url.path(), url.query().unwrap_or_default())
}

fn fragment(answer: &Response) -> String {
    let to = answer.headers()[header::LOCATION].to_str().unwrap();
    Url::parse(to).unwrap().fragment().unwrap().to_owned()
}

/// The token under another header.
fn headed(token: &str, header: &str) -> Option<String> {
    Some(format!("{}.{}", URL_SAFE_NO_PAD.encode(header), token.split_once('.')?.1))
}

fn user(id: &str, email: &str, email_verified: bool) -> User {
    User {
        id: id.to_owned(),
        email: email.to_owned(),
        email_verified,
        password_hash: Some("hash".to_owned()),
        google_sub: None,
        first_name: id.to_owned(),
        last_name: String::new(),
        plan: Plan::Free,
        admin: false,
        preferences: Preferences::default(),
        terms_accepted_at: 1,
        created_at: 1,
        deleted_at: None,
    }
}

fn login(id: &str, user_id: &str) -> Login {
    Login {
        id: id.to_owned(),
        user_id: user_id.to_owned(),
        token_hash: "hash".to_owned(),
        previous_hash: None,
        seed: None,
        user_agent: None,
        renewed_at: 1,
        created_at: 1,
        expires_at: i64::MAX,
        revoked_at: None,
    }
}
