//! Which program answers, and what it speaks.

use axum::{Json, extract::State};
use serde::Serialize;
use utoipa::ToSchema;

use crate::ApiState;

/// Which program this is.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
pub struct About {
    /// Name of the program.
    #[schema(example = "interviewai")]
    pub name: &'static str,
    /// Its version.
    #[schema(example = "0.1.0")]
    pub version: &'static str,
    /// Version of the live session's protocol, as the WebSocket subprotocol names it.
    #[schema(example = "interviewai.v1")]
    pub protocol: &'static str,
}

/// Name, version and protocol of the program.
#[utoipa::path(
    get,
    path = "/api/v1/version",
    tag = "about",
    responses((status = 200, description = "Which program this is", body = About))
)]
pub(crate) async fn version(State(state): State<ApiState>) -> Json<About> {
    Json(state.about)
}
