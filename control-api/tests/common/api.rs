//! The API on a real socket, over SQLite in a folder of its own, with the worker of its jobs running.
//!
//! Not here: other stores (each seam's conformance suite), a real mail server (`mail.rs`).

// Each suite uses a part.
#![allow(dead_code)]

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use control_api::{
    About, ApiSettings, ApiState, SCHEMAS,
    auth::{AccessTokens, Login, Passwords, SigningKey, SigningKeys},
    blobs::{self, Blobs},
    cache::LocalCache,
    job_handlers,
    jobs::{JobSettings, LocalJobs, Worker},
    limits::RateLimits,
    mail::{Mail, MailError, Mailer},
    serve,
    storage::{self, SqliteStore},
    users::{Plan, Preferences, User},
};
use futures_util::future::{BoxFuture, FutureExt as _, ready};
use reqwest::{Method, RequestBuilder, Response, StatusCode};
use serde_json::Value;
use tempfile::TempDir;
use tokio::{net::TcpListener, sync::oneshot};
use uuid::Uuid;

/// A running API. Dropped, it stops.
pub(crate) struct Api {
    pub(crate) url: String,
    pub(crate) state: ApiState,
    pub(crate) outbox: Arc<Outbox>,
    pub(crate) client: reqwest::Client,
    folder: TempDir,
    _stop: oneshot::Sender<()>,
}

impl Api {
    pub(crate) async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    /// With what `change` makes of the state.
    pub(crate) async fn start_with(change: impl FnOnce(&mut ApiState)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let outbox = Arc::new(Outbox::default());
        let mut state = state(&folder, &outbox).await;
        change(&mut state);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (stop, stopped) = oneshot::channel::<()>();
        let worker = Worker::new(Arc::clone(&state.jobs), job_handlers(&state));
        let server = serve(listener, state.clone(), async { _ = stopped.await });
        tokio::spawn(async move {
            let worker = tokio::spawn(worker.run(std::future::pending()));
            server.await;
            worker.abort();
        });
        let client = reqwest::Client::builder().timeout(Duration::from_secs(30)).build().unwrap();
        Self { url, state, outbox, client, folder, _stop: stop }
    }

    /// Where its files are.
    pub(crate) fn folder(&self) -> &std::path::Path {
        self.folder.path()
    }

    /// A new user, and an access token of theirs.
    pub(crate) async fn user(&self) -> (User, String) {
        let id = Uuid::now_v7().to_string();
        let user = User {
            email: format!("{id}@example.com"),
            email_verified: true,
            password_hash: None,
            google_sub: None,
            first_name: "Ann".to_owned(),
            last_name: "Lee".to_owned(),
            plan: Plan::Free,
            admin: false,
            preferences: Preferences::default(),
            terms_accepted_at: 0,
            created_at: 0,
            deleted_at: None,
            id,
        };
        let login = Login {
            id: Uuid::now_v7().to_string(),
            user_id: user.id.clone(),
            token_hash: String::new(),
            previous_hash: None,
            seed: None,
            user_agent: None,
            renewed_at: 0,
            created_at: 0,
            expires_at: i64::MAX,
            revoked_at: None,
        };
        self.state.records::<User>().insert(&user).await.unwrap();
        self.state.records::<Login>().insert(&login).await.unwrap();
        let (token, _) = self.state.tokens.issue(&user.id, &login.id).unwrap();
        (user, token)
    }

    pub(crate) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, format!("{}{path}", self.url))
    }

    pub(crate) fn get(&self, path: &str) -> RequestBuilder {
        self.request(Method::GET, path)
    }

    /// A POST with a JSON body.
    pub(crate) fn post(&self, path: &str, body: &Value) -> RequestBuilder {
        self.request(Method::POST, path).json(body)
    }
}

/// What an API is made of, in `folder`.
pub(crate) async fn state(folder: &TempDir, outbox: &Arc<Outbox>) -> ApiState {
    let store = SqliteStore::open(folder.path().join("store.db")).await.unwrap();
    storage::start(&store, SCHEMAS, &[]).await.unwrap();
    let key = SigningKey::ed25519(&SigningKey::generate().unwrap()).unwrap();
    let keys = SigningKeys::new(key, vec![]);
    ApiState {
        about: About { name: "interviewai", version: "1.2.3", protocol: "interviewai.v1" },
        readiness: Arc::new([]),
        metrics: Arc::new(String::new),
        store: Arc::new(store),
        cache: Arc::new(LocalCache::new(100_000, 1 << 26)),
        jobs: Arc::new(LocalJobs::new(JobSettings::default())),
        blobs: Blobs::new(blobs::folder(folder.path()).unwrap(), 1 << 20),
        mailer: Arc::clone(outbox) as Arc<dyn Mailer>,
        tokens: Arc::new(AccessTokens::new("interviewai", "interviewai-api", keys)),
        passwords: Passwords::default(),
        settings: Arc::new(ApiSettings {
            public_url: "http://localhost".to_owned(),
            allowed_origins: Vec::new(),
            trusted_proxies: Vec::new(),
            google: None,
            limits: RateLimits::unlimited(),
        }),
    }
}

/// Status and JSON body of what is sent; null where there is no body.
pub(crate) async fn answer(request: RequestBuilder) -> (StatusCode, Value) {
    let response = request.send().await.unwrap();
    (response.status(), json(response).await)
}

/// The JSON body of a response; null where there is none.
pub(crate) async fn json(response: Response) -> Value {
    let body = response.bytes().await.unwrap();
    if body.is_empty() { Value::Null } else { serde_json::from_slice(&body).unwrap() }
}

/// Keeps the mails that were sent.
#[derive(Default)]
pub(crate) struct Outbox(Mutex<Vec<(String, String, String)>>);

impl Outbox {
    /// Subject and text of the `n`-th mail to `address`, from 0; waits for it.
    pub(crate) async fn mail_to(&self, address: &str, n: usize) -> (String, String) {
        for _ in 0..600 {
            let found = {
                let mails = self.0.lock().unwrap();
                mails.iter().filter(|(to, ..)| to == address).nth(n).cloned()
            };
            if let Some((_, subject, text)) = found {
                return (subject, text);
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("no mail {n} to this address within 30 s");
    }

    /// How many were sent to `address`.
    pub(crate) fn count_to(&self, address: &str) -> usize {
        self.0.lock().unwrap().iter().filter(|(to, ..)| to == address).count()
    }
}

impl Mailer for Outbox {
    fn send(&self, mail: Mail) -> BoxFuture<'_, Result<(), MailError>> {
        self.0.lock().unwrap().push((mail.to, mail.subject, mail.text));
        ready(Ok(())).boxed()
    }

    fn check(&self) -> BoxFuture<'_, Result<(), MailError>> {
        ready(Ok(())).boxed()
    }
}
