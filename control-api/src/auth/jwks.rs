//! The public keys of access tokens, for other services that check them (RFC 7517).
//!
//! Not here: private keys, and the checks of this API, which asks nobody.

use axum::{Json, extract::State, http::header, response::IntoResponse};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::ApiState;

pub(crate) fn routes() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new().routes(routes!(jwks))
}

/// A JWK Set. Only for the document: the keys are written as they are.
#[derive(Serialize, ToSchema)]
#[allow(dead_code)] // utoipa reads it.
struct JwkSet {
    /// The newest first.
    keys: Vec<serde_json::Value>,
}

/// The public keys that access tokens are signed with. A new key stands here for six minutes before it signs, so that what was
/// read is good for five.
#[utoipa::path(
    get,
    path = "/.well-known/jwks.json",
    tag = "auth",
    responses((status = 200, description = "A JWK Set, RFC 7517", body = JwkSet))
)]
async fn jwks(State(state): State<ApiState>) -> impl IntoResponse {
    ([(header::CACHE_CONTROL, "public, max-age=300")], Json(state.tokens.jwks()))
}
