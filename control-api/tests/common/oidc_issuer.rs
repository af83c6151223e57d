//! An OpenID Connect provider on a real socket, strict as a provider is: PKCE, client secret, codes that work once.
//!
//! It can be made to lie, one way at a time. Not here: any client.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

use aws_lc_rs::{
    encoding::AsDer as _,
    rsa::{KeyPair as RsaKeyPair, KeySize},
    signature::{Ed25519KeyPair, KeyPair as _},
};
use axum::{
    Form, Json, Router,
    extract::{Query, State},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Redirect, Response},
    routing::{get, post},
};
use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use control_api::auth::SigningKey;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode, jwk::Jwk};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tokio::{net::TcpListener, task::JoinHandle};

pub(crate) const CLIENT: &str = "our-client";
pub(crate) const SECRET: &str = "secret/with:signs";

/// A running provider; dropped, it is gone.
pub(crate) struct Issuer {
    pub(crate) url: String,
    inner: Arc<Inner>,
    server: JoinHandle<()>,
}

struct Inner {
    url: String,
    keys: Vec<(Algorithm, EncodingKey)>,
    /// Of those that it published.
    jwks: Vec<Value>,
    grants: Mutex<HashMap<String, HashMap<String, String>>>,
    lie: Mutex<Lie>,
    asked: Mutex<HashMap<&'static str, usize>>,
}

/// What the next ID tokens are like.
#[derive(Clone)]
pub(crate) struct Lie {
    /// These claims instead; null takes one away.
    pub(crate) claims: Value,
    /// With the key of this number: 0 is Ed25519, 1 RSA, 2 an Ed25519 key that nobody published.
    pub(crate) key: usize,
    /// What becomes of the token.
    pub(crate) token: fn(String) -> Option<String>,
}

impl Default for Lie {
    fn default() -> Self {
        Self { claims: json!({}), key: 0, token: Some }
    }
}

impl Issuer {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let ed = || {
            let der = SigningKey::generate().unwrap();
            let x = Ed25519KeyPair::from_pkcs8(&der).unwrap();
            let x = URL_SAFE_NO_PAD.encode(x.public_key().as_ref());
            (
                (Algorithm::EdDSA, EncodingKey::from_ed_der(&der)),
                json!({"kty": "OKP", "crv": "Ed25519", "x": x}),
            )
        };
        let pkcs8 = RsaKeyPair::generate(KeySize::Rsa2048).unwrap().as_der().unwrap().as_ref().to_vec();
        let pem = format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", lines(&pkcs8));
        let rsa = (Algorithm::RS256, EncodingKey::from_rsa_pem(pem.as_bytes()).unwrap());
        let rsa_jwk = serde_json::to_value(Jwk::from_encoding_key(&rsa.1, rsa.0).unwrap()).unwrap();
        let ((first, first_jwk), (unknown, _)) = (ed(), ed());
        let inner = Arc::new(Inner {
            url: url.clone(),
            keys: vec![first, rsa, unknown],
            jwks: vec![first_jwk, rsa_jwk],
            grants: Mutex::default(),
            lie: Mutex::default(),
            asked: Mutex::default(),
        });
        let router = Router::new()
            .route("/.well-known/openid-configuration", get(configuration))
            .route("/authorize", get(authorize))
            .route("/token", post(token))
            .route("/jwks", get(jwks))
            .with_state(Arc::clone(&inner));
        let server = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { url, inner, server }
    }

    pub(crate) fn lie(&self, lie: Lie) {
        *self.inner.lie.lock().unwrap() = lie;
    }

    /// How often a document was asked for.
    pub(crate) fn asked(&self, what: &'static str) -> usize {
        self.inner.asked.lock().unwrap().get(what).copied().unwrap_or_default()
    }
}

impl Drop for Issuer {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Inner {
    fn ask(&self, what: &'static str) {
        *self.asked.lock().unwrap().entry(what).or_default() += 1;
    }
}

async fn configuration(State(issuer): State<Arc<Inner>>) -> Json<Value> {
    issuer.ask("configuration");
    let at = |path: &str| format!("{}{path}", issuer.url);
    Json(json!({
        "issuer": issuer.url, "authorization_endpoint": at("/authorize"), "token_endpoint": at("/token"),
        "jwks_uri": at("/jwks"), "response_types_supported": ["code"], "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["RS256", "EdDSA"],
    }))
}

/// The user says yes.
async fn authorize(
    State(issuer): State<Arc<Inner>>,
    Query(query): Query<HashMap<String, String>>,
) -> Result<Redirect, StatusCode> {
    let is = |name: &str, value: &str| query.get(name).is_some_and(|said| said == value);
    let right = is("client_id", CLIENT)
        && is("response_type", "code")
        && is("code_challenge_method", "S256")
        && is("scope", "openid email profile")
        && ["state", "nonce", "code_challenge"]
            .iter()
            .all(|name| query.get(*name).is_some_and(|it| it.len() >= 43));
    if !right {
        return Err(StatusCode::BAD_REQUEST);
    }
    let code = format!("4/{}", issuer.grants.lock().unwrap().len());
    let to =
        format!("{}?state={}&code={code}&scope=openid&authuser=0", query["redirect_uri"], query["state"]);
    issuer.grants.lock().unwrap().insert(code, query);
    Ok(Redirect::to(&to))
}

async fn token(
    State(issuer): State<Arc<Inner>>,
    headers: HeaderMap,
    Form(form): Form<HashMap<String, String>>,
) -> Response {
    let refused = |error: &str| (StatusCode::BAD_REQUEST, Json(json!({"error": error}))).into_response();
    // RFC 6749, 2.3.1: both are form-encoded first.
    let expected = format!("Basic {}", STANDARD.encode(format!("{CLIENT}:secret%2Fwith%3Asigns")));
    if headers.get("authorization").is_none_or(|said| said != expected.as_str()) {
        return refused("invalid_client");
    }
    let Some(grant) = issuer.grants.lock().unwrap().remove(&form["code"]) else {
        return refused("invalid_grant");
    };
    let challenge = URL_SAFE_NO_PAD.encode(Sha256::digest(&form["code_verifier"]));
    if challenge != grant["code_challenge"]
        || form["redirect_uri"] != grant["redirect_uri"]
        || form["grant_type"] != "authorization_code"
    {
        return refused("invalid_grant");
    }
    let lie = issuer.lie.lock().unwrap().clone();
    let now = jsonwebtoken::get_current_timestamp();
    let mut claims = json!({
        "iss": issuer.url, "aud": CLIENT, "sub": "google-ann", "email": "Ann@Example.org", "email_verified": true,
        "given_name": "Ann", "family_name": "Lee", "nonce": grant["nonce"], "iat": now, "exp": now + 3600,
    });
    for (name, value) in lie.claims.as_object().unwrap() {
        match value {
            Value::Null => drop(claims.as_object_mut().unwrap().remove(name)),
            value => claims[name] = value.clone(),
        }
    }
    let (algorithm, key) = &issuer.keys[lie.key];
    let header = Header { kid: Some(lie.key.to_string()), ..Header::new(*algorithm) };
    let token = (lie.token)(encode(&header, &claims, key).unwrap());
    let mut answer = json!({"access_token": "theirs", "token_type": "Bearer", "expires_in": 3600});
    if let Some(token) = token {
        answer["id_token"] = token.into();
    }
    Json(answer).into_response()
}

async fn jwks(State(issuer): State<Arc<Inner>>) -> Json<Value> {
    issuer.ask("jwks");
    let jwk = |(number, jwk): (usize, &Value)| {
        let mut jwk = jwk.clone();
        jwk["kid"] = number.to_string().into();
        jwk
    };
    Json(json!({"keys": issuer.jwks.iter().enumerate().map(jwk).collect::<Vec<_>>()}))
}

fn lines(der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let lines: Vec<_> = text.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
    lines.join("\n")
}
