//! Is the process alive, and may it be given traffic?
//!
//! Not here: how a dependency is checked; it knows that itself.

use axum::{Json, extract::State, http::StatusCode};
use serde::Serialize;
use utoipa::ToSchema;

use crate::ApiState;

/// Something that the server depends on: weights loaded, slots free to serve, a store that answers.
pub trait Readiness: Send + Sync {
    /// What it is called in the report, such as `speech`.
    fn name(&self) -> &str;

    /// Whether it works, from what is known already: this is called for each probe and must not wait.
    ///
    /// # Errors
    /// Why not, and what to do, in a line for an operator; no secret, no transcript.
    fn check(&self) -> Result<(), String>;

    /// Whether the server must get no traffic without it. Otherwise what needs it waits, and the rest works.
    fn required(&self) -> bool {
        true
    }
}

/// The process runs.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
pub struct LiveReport {
    /// Always `live`.
    #[schema(example = "live")]
    pub status: &'static str,
}

/// What the server depends on.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct ReadyReport {
    /// `ready` when every required dependency is.
    pub status: DependencyStatus,
    /// Each of them.
    pub dependencies: Vec<DependencyReport>,
}

/// One dependency.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct DependencyReport {
    /// What it is called.
    #[schema(example = "speech")]
    pub name: String,
    /// Whether the server is unready without it; mail, for example, can wait.
    pub required: bool,
    /// Whether it works.
    pub status: DependencyStatus,
    /// When it does not: why.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Whether something works.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum DependencyStatus {
    /// It does.
    Ready,
    /// It does not, for now.
    Unavailable,
}

/// The process runs and answers. Restart it when this fails.
#[utoipa::path(
    get,
    path = "/health/live",
    tag = "health",
    responses((status = 200, description = "The process runs", body = LiveReport))
)]
pub(crate) async fn live() -> Json<LiveReport> {
    Json(LiveReport { status: "live" })
}

/// Every required dependency works. Send no traffic while this fails.
#[utoipa::path(
    get,
    path = "/health/ready",
    tag = "health",
    responses(
        (status = 200, description = "Every required dependency works", body = ReadyReport),
        (status = 503, description = "At least one of them does not", body = ReadyReport),
    )
)]
pub(crate) async fn ready(State(state): State<ApiState>) -> (StatusCode, Json<ReadyReport>) {
    let dependencies: Vec<DependencyReport> = state.readiness.iter().map(|it| report(&**it)).collect();
    let all = dependencies.iter().all(|it| !it.required || it.status == DependencyStatus::Ready);
    let (code, status) = if all {
        (StatusCode::OK, DependencyStatus::Ready)
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, DependencyStatus::Unavailable)
    };
    (code, Json(ReadyReport { status, dependencies }))
}

fn report(dependency: &dyn Readiness) -> DependencyReport {
    let (status, reason) = match dependency.check() {
        Ok(()) => (DependencyStatus::Ready, None),
        Err(reason) => (DependencyStatus::Unavailable, Some(reason)),
    };
    DependencyReport { name: dependency.name().to_owned(), required: dependency.required(), status, reason }
}
