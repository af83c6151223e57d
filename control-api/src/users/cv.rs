//! The CV as plain text, which answers are built on.
//!
//! Not here: files, and what a CV says.

use axum::{
    Json,
    extract::{DefaultBodyLimit, State},
    http::StatusCode,
};
use garde::Validate;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    ApiState, Problem,
    auth::CurrentUser,
    body::Valid,
    storage::{Index, Record, StoreError},
    time::{now_ms, rfc3339},
};

/// A CV, as kept.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cv {
    /// The user's.
    pub id: String,
    /// Plain text; lines end with `\n`.
    pub text: String,
    /// When it was last put here, unix ms.
    pub updated_at: i64,
}

impl Record for Cv {
    const COLLECTION: &'static str = "cvs";
    const INDEXES: &'static [Index] = &[];

    fn id(&self) -> &str {
        &self.id
    }
}

impl std::fmt::Debug for Cv {
    /// Without what it says.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cv").field("id", &self.id).finish_non_exhaustive()
    }
}

/// A CV to be kept.
#[derive(Deserialize, ToSchema, Validate)]
#[serde(deny_unknown_fields)]
pub(super) struct NewCv {
    /// Plain text, at most 65,536 characters.
    #[garde(length(chars, max = MAX_CHARS), custom(says_something))]
    #[schema(min_length = 1, max_length = 65_536)]
    text: String,
}

fn says_something(text: &str, (): &()) -> garde::Result {
    if text.trim().is_empty() {
        return Err(garde::Error::new("it says nothing; DELETE takes the CV away"));
    }
    Ok(())
}

/// The CV.
#[derive(Serialize, ToSchema)]
pub(super) struct CvText {
    /// Plain text.
    text: String,
    /// When it was last put here, RFC 3339.
    #[schema(format = "date-time")]
    updated_at: String,
}

impl From<Cv> for CvText {
    fn from(cv: Cv) -> Self {
        Self { text: cv.text, updated_at: rfc3339(cv.updated_at) }
    }
}

pub(super) fn routes() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new().routes(routes!(read, put, delete)).layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
}

/// My CV as plain text.
#[utoipa::path(
    get,
    path = "/api/v1/users/me/cv",
    tag = "users",
    security(("bearer" = [])),
    responses(
        (status = 200, description = "The CV", body = CvText),
        (status = 404, description = "There is none"),
    )
)]
pub(super) async fn read(
    State(state): State<ApiState>,
    current: CurrentUser,
) -> Result<Json<CvText>, Problem> {
    let cv = state.records::<Cv>().get(current.id()).await?;
    Ok(Json(cv.ok_or_else(|| Problem::not_found("CV"))?.record.into()))
}

/// Keep this CV in place of the one there was. Sessions that begin from now on know it.
#[utoipa::path(
    put,
    path = "/api/v1/users/me/cv",
    tag = "users",
    security(("bearer" = [])),
    request_body = NewCv,
    responses(
        (status = 200, description = "The CV as it is kept: without control characters", body = CvText),
        (status = 409, description = "It was changed meanwhile, too often"),
    )
)]
pub(super) async fn put(
    State(state): State<ApiState>,
    current: CurrentUser,
    Valid(new): Valid<NewCv>,
) -> Result<Json<CvText>, Problem> {
    let cv = Cv { id: current.id().to_owned(), text: plain(&new.text), updated_at: now_ms() };
    let cvs = state.records::<Cv>();
    let replace = || {
        cvs.update(&cv.id, |kept| {
            kept.clone_from(&cv);
            Ok::<_, StoreError>(())
        })
    };
    match cvs.insert(&cv).await {
        Err(StoreError::Duplicate { .. }) => _ = replace().await?,
        done => done?,
    }
    Ok(Json(cv.into()))
}

/// Take my CV away.
#[utoipa::path(
    delete,
    path = "/api/v1/users/me/cv",
    tag = "users",
    security(("bearer" = [])),
    responses((status = 204, description = "There is no CV any more"))
)]
pub(super) async fn delete(
    State(state): State<ApiState>,
    current: CurrentUser,
) -> Result<StatusCode, Problem> {
    state.records::<Cv>().delete(current.id()).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Lines end with `\n`; what is no text is left out.
fn plain(text: &str) -> String {
    let lines = text.replace("\r\n", "\n").replace(['\r', '\u{c}'], "\n");
    lines.chars().filter(|&c| !c.is_control() || c == '\n' || c == '\t').collect()
}

/// Some thirty pages.
const MAX_CHARS: usize = 64 * 1024;
/// Each character as an escaped pair of surrogates, and something around them.
const MAX_BODY_BYTES: usize = 12 * MAX_CHARS + 1024;
