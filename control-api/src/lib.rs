//! The HTTP API: health, version, metrics, and its own description. Accounts, CVs, interviews and payments come here later.
//!
//! One file a feature, read top to bottom; [`routes`](router) shows the whole surface. What features keep lies behind seams:
//! [`storage`], [`cache`], [`blobs`], [`jobs`]. Not here: live sessions (`engine`), what is ready or counted (the caller says so
//! through [`ApiState`]).

pub mod blobs;
pub mod cache;
mod health;
pub mod jobs;
mod metrics;
mod problem;
mod routes;
mod serve;
pub mod storage;
mod version;

pub use health::{DependencyReport, DependencyStatus, LiveReport, Readiness, ReadyReport};
pub use problem::{Problem, ProblemBody};
pub use routes::router;
pub use serve::serve;
pub use version::About;

use std::sync::Arc;

/// What the API asks of the rest of the program. Cheap to clone.
#[derive(Clone)]
pub struct ApiState {
    /// Which program this is.
    pub about: About,
    /// What must work before the server may be given traffic, in the order in which it is shown.
    pub readiness: Arc<[Arc<dyn Readiness>]>,
    /// Renders every metric in the Prometheus text format, version 0.0.4. Called for each scrape; must not wait.
    pub metrics: Arc<dyn Fn() -> String + Send + Sync>,
}

impl std::fmt::Debug for ApiState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ApiState").field("about", &self.about).finish_non_exhaustive()
    }
}
