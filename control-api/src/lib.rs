//! The HTTP API: accounts, interviews, history; health, version, metrics, and its own description. CVs and payments come here
//! later.
//!
//! One file a feature, read top to bottom; [`routes`](router) shows the whole surface. What features keep lies behind seams:
//! [`storage`], [`cache`], [`blobs`], [`jobs`], [`mail`]; live sessions have [`journals`]. Not here: live sessions (`engine`), what is ready or counted (the
//! caller says so through [`ApiState`]).

pub mod auth;
pub mod blobs;
mod body;
mod browser;
pub mod cache;
mod describe;
mod health;
pub mod history;
pub mod idempotency;
pub mod interviews;
pub mod jobs;
pub mod journals;
pub mod limits;
pub mod mail;
mod metrics;
mod observe;
mod pages;
mod problem;
pub mod quotas;
mod routes;
mod serve;
pub mod storage;
mod time;
pub mod users;
mod version;

pub use health::{DependencyReport, DependencyStatus, LiveReport, Readiness, ReadyReport};
pub use problem::{FieldError, Problem, ProblemBody};
pub use routes::router;
pub use serve::serve;
pub use version::About;

use std::sync::Arc;

use auth::{AccessTokens, Passwords};
use blobs::Blobs;
use cache::Cache;
use jobs::{Handlers, Jobs};
use mail::Mailer;
use storage::{Collection, Record, Schema, Store};

/// What the API is made of, and what it asks of the rest of the program. Cheap to clone.
#[derive(Clone)]
pub struct ApiState {
    /// Which program this is.
    pub about: About,
    /// What must work before the server may be given traffic, in the order in which it is shown.
    pub readiness: Arc<[Arc<dyn Readiness>]>,
    /// Renders every metric in the Prometheus text format, version 0.0.4. Called for each scrape; must not wait.
    pub metrics: Arc<dyn Fn() -> String + Send + Sync>,
    /// What must not be lost. Opened with [`SCHEMAS`].
    pub store: Arc<dyn Store>,
    /// What may be forgotten; also tells other nodes of revocations.
    pub cache: Arc<dyn Cache>,
    /// What is done later. A [`jobs::Worker`] runs them with [`job_handlers`].
    pub jobs: Arc<dyn Jobs>,
    /// Whole files.
    pub blobs: Blobs,
    /// Sends mail.
    pub mailer: Arc<dyn Mailer>,
    /// Signs and checks access tokens.
    pub tokens: Arc<AccessTokens>,
    /// Hashes and checks passwords, a few at once.
    pub passwords: Passwords,
    /// What an operator chose.
    pub settings: Arc<ApiSettings>,
}

/// What an operator chooses about the API.
#[derive(Clone, Debug)]
pub struct ApiSettings {
    /// Where users reach the web pages, for links in mails: `https://app.example`, without a slash at the end.
    pub public_url: String,
    /// Web pages and extensions that may call the API (CORS), beside pages of this machine.
    pub allowed_origins: Vec<String>,
    /// Proxies whose `X-Forwarded-For` tells the client's address. From others it is not read.
    pub trusted_proxies: Vec<std::net::IpAddr>,
    /// Sign-in with Google, or with another OpenID Connect provider.
    pub google: Option<auth::GoogleSettings>,
    /// What may be called how often.
    pub limits: limits::RateLimits,
}

impl ApiState {
    /// The records of one kind.
    pub fn records<R: Record>(&self) -> Collection<R> {
        Collection::new(Arc::clone(&self.store))
    }
}

/// Every collection: what a store is opened with.
pub const SCHEMAS: &[&Schema] = &[
    users::User::SCHEMA,
    users::Cv::SCHEMA,
    quotas::Usage::SCHEMA,
    idempotency::Remembered::SCHEMA,
    auth::Login::SCHEMA,
    auth::OneTimeToken::SCHEMA,
    auth::Registration::SCHEMA,
    interviews::Interview::SCHEMA,
    history::SessionRecord::SCHEMA,
    history::TurnRecord::SCHEMA,
    history::AnswerRecord::SCHEMA,
    jobs::StoredJobs::SCHEMA,
];

/// What runs the jobs that the API queues.
pub fn job_handlers(state: &ApiState) -> Handlers {
    auth::job_handlers(Handlers::new(), state)
}

impl std::fmt::Debug for ApiState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ApiState").field("about", &self.about).finish_non_exhaustive()
    }
}
