//! The metrics, for Prometheus to collect.
//!
//! Not here: what is counted; the caller renders it.

use axum::{extract::State, http::header, response::IntoResponse};

use crate::ApiState;

/// Every metric of the process, in the Prometheus text format.
#[utoipa::path(
    get,
    path = "/metrics",
    tag = "health",
    responses((status = 200, description = "Prometheus text format, version 0.0.4", body = String, content_type = "text/plain"))
)]
pub(crate) async fn metrics(State(state): State<ApiState>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, PROMETHEUS_TEXT)], (state.metrics)())
}

const PROMETHEUS_TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";
