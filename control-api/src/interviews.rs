//! Interviews that a user plans or holds, and the tickets that open their live sessions.
//!
//! Another user's interview answers as one that never was. Not here: the live session itself (`engine`), what was said in it
//! (`history`).

mod ticket;

pub use ticket::{Redeemed, redeem};

use axum::{
    Json,
    extract::{Path, State},
    http::{HeaderName, StatusCode, header},
};
use garde::Validate;
use serde::{Deserialize, Deserializer, Serialize};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};
use uuid::Uuid;

use crate::{
    ApiState, Problem,
    auth::CurrentUser,
    body::{Valid, ValidQuery},
    idempotency::{self, IdempotencyKey},
    pages::PageQuery,
    storage::{Filter, Index, Query, Record, StoreError, Stored},
    time::{now_ms, rfc3339},
};

/// An interview, as kept. Times are unix ms.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interview {
    /// UUID v7.
    pub id: String,
    /// Whose.
    pub user_id: String,
    /// What the user calls it.
    pub title: String,
    /// With whom; may be empty.
    pub company: String,
    /// For what; may be empty.
    pub position: String,
    /// The job description as plain text; may be empty.
    pub job_description: String,
    /// When it was made.
    pub created_at: i64,
}

impl Record for Interview {
    const COLLECTION: &'static str = "interviews";
    const INDEXES: &'static [Index] = &[Index::on("of_user", &["user_id", "created_at"])];

    fn id(&self) -> &str {
        &self.id
    }
}

impl std::fmt::Debug for Interview {
    /// Without what it is about.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Interview").field("id", &self.id).finish_non_exhaustive()
    }
}

/// A new interview.
#[derive(Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewInterview {
    /// What to call it: 1 to 200 characters, not all of them white space.
    #[garde(length(chars, min = 1, max = 200), custom(not_blank))]
    #[schema(min_length = 1, max_length = 200, pattern = r"\S")]
    title: String,
    /// With whom.
    #[garde(length(chars, max = 200))]
    #[serde(default)]
    #[schema(max_length = 200)]
    company: String,
    /// For what.
    #[garde(length(chars, max = 200))]
    #[serde(default)]
    #[schema(max_length = 200)]
    position: String,
    /// The job description as plain text, at most 32 KiB of UTF-8.
    #[garde(length(bytes, max = MAX_JOB_DESCRIPTION_BYTES))]
    #[serde(default)]
    job_description: String,
}

/// What to change; what is left out stays.
#[derive(Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
struct InterviewChange {
    /// As when it was made.
    #[garde(length(chars, min = 1, max = 200), inner(custom(not_blank)))]
    #[serde(default, deserialize_with = "present")]
    #[schema(min_length = 1, max_length = 200, pattern = r"\S", nullable = false)]
    title: Option<String>,
    /// As when it was made.
    #[garde(length(chars, max = 200))]
    #[serde(default, deserialize_with = "present")]
    #[schema(max_length = 200, nullable = false)]
    company: Option<String>,
    /// As when it was made.
    #[garde(length(chars, max = 200))]
    #[serde(default, deserialize_with = "present")]
    #[schema(max_length = 200, nullable = false)]
    position: Option<String>,
    /// As when it was made.
    #[garde(length(bytes, max = MAX_JOB_DESCRIPTION_BYTES))]
    #[serde(default, deserialize_with = "present")]
    #[schema(nullable = false)]
    job_description: Option<String>,
}

/// An interview.
#[derive(Serialize, ToSchema)]
#[schema(as = Interview)]
struct InterviewBody {
    /// UUID v7.
    id: String,
    /// What it is called.
    title: String,
    /// With whom; may be empty.
    company: String,
    /// For what; may be empty.
    position: String,
    /// The job description; may be empty.
    job_description: String,
    /// When it was made, RFC 3339 in UTC.
    created_at: String,
}

/// A page of interviews.
#[derive(Serialize, ToSchema)]
struct InterviewPage {
    /// The newest first.
    items: Vec<InterviewBody>,
    /// `cursor` of the next page; null on the last one.
    next: Option<String>,
}

pub(crate) fn routes() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new()
        .routes(routes!(create))
        .layer(idempotency::layer())
        .routes(routes!(list))
        .routes(routes!(read, change, delete))
        .routes(routes!(ticket::issue))
}

/// Makes an interview. A user has at most 1,000.
#[utoipa::path(
    post,
    path = "/api/v1/interviews",
    tag = "interviews",
    security(("bearer" = [])),
    params(IdempotencyKey),
    request_body = NewInterview,
    responses(
        (status = 201, description = "It is made; `Location` is where", body = InterviewBody,
            headers(("location" = String))),
 (status = 409, description = "It is in conflict with what is there; `detail` says what to do"),
    )
)]
async fn create(
    State(state): State<ApiState>,
    current: CurrentUser,
    Valid(new): Valid<NewInterview>,
) -> Result<(StatusCode, [(HeaderName, String); 1], Json<InterviewBody>), Problem> {
    let interviews = state.records::<Interview>();
    let interview = Interview {
        id: Uuid::now_v7().to_string(),
        user_id: current.id().to_owned(),
        title: new.title.trim().to_owned(),
        company: new.company.trim().to_owned(),
        position: new.position.trim().to_owned(),
        job_description: new.job_description,
        created_at: now_ms(),
    };
    let too_many = || {
        let detail = format!("you have {MAX_INTERVIEWS} interviews; delete one, then make another");
        Problem::new(StatusCode::CONFLICT, detail)
    };
    let of_user = Filter::all().eq("user_id", current.id());
    if interviews.count(&of_user).await? >= MAX_INTERVIEWS {
        return Err(too_many());
    }
    interviews.insert(&interview).await?;
    // Counted again with it, so that many at once do not pass together.
    if interviews.count(&of_user).await? > MAX_INTERVIEWS {
        interviews.delete(&interview.id).await?;
        return Err(too_many());
    }
    let location = [(header::LOCATION, format!("/api/v1/interviews/{}", interview.id))];
    Ok((StatusCode::CREATED, location, Json(interview.into())))
}

/// Your interviews, the newest first.
#[utoipa::path(
    get,
    path = "/api/v1/interviews",
    tag = "interviews",
    security(("bearer" = [])),
    params(PageQuery),
    responses(
        (status = 200, description = "A page of them", body = InterviewPage),
    )
)]
async fn list(
    State(state): State<ApiState>,
    current: CurrentUser,
    ValidQuery(page): ValidQuery<PageQuery>,
) -> Result<Json<InterviewPage>, Problem> {
    let query = Query::new(Filter::all().eq("user_id", current.id())).order("created_at").descending();
    let found = state.records::<Interview>().find(&query.limit(page.limit).after(page.after()?)).await?;
    Ok(Json(InterviewPage {
        items: found.records.into_iter().map(|stored| stored.record.into()).collect(),
        next: found.next.map(|next| next.to_string()),
    }))
}

/// One interview.
#[utoipa::path(
    get,
    path = "/api/v1/interviews/{id}",
    tag = "interviews",
    security(("bearer" = [])),
    params(("id" = String, Path, description = "Its id")),
    responses(
        (status = 200, description = "The interview", body = InterviewBody),
    )
)]
async fn read(
    State(state): State<ApiState>,
    current: CurrentUser,
    Path(id): Path<String>,
) -> Result<Json<InterviewBody>, Problem> {
    Ok(Json(own(&state, &current, &id).await?.record.into()))
}

/// Changes an interview.
#[utoipa::path(
    patch,
    path = "/api/v1/interviews/{id}",
    tag = "interviews",
    security(("bearer" = [])),
    params(("id" = String, Path, description = "Its id")),
    request_body = InterviewChange,
    responses(
        (status = 200, description = "The interview as it is now", body = InterviewBody),
 (status = 409, description = "It is in conflict with what is there; `detail` says what to do"),
    )
)]
async fn change(
    State(state): State<ApiState>,
    current: CurrentUser,
    Path(id): Path<String>,
    Valid(change): Valid<InterviewChange>,
) -> Result<Json<InterviewBody>, Problem> {
    let id = own(&state, &current, &id).await?.record.id;
    let interviews = state.records::<Interview>();
    let changed = interviews.update(&id, |interview| {
        let trimmed = |text: &Option<String>| text.as_ref().map(|text| text.trim().to_owned());
        let fields = [
            (&mut interview.title, trimmed(&change.title)),
            (&mut interview.company, trimmed(&change.company)),
            (&mut interview.position, trimmed(&change.position)),
            (&mut interview.job_description, change.job_description.clone()),
        ];
        for (field, new) in fields {
            if let Some(new) = new {
                *field = new;
            }
        }
        Ok::<_, StoreError>(())
    });
    match changed.await {
        Ok(stored) => Ok(Json(stored.record.into())),
        Err(StoreError::NotFound) => Err(missing()),
        Err(error) => Err(error.into()),
    }
}

/// Deletes an interview. What was said in its sessions stays in the history.
#[utoipa::path(
    delete,
    path = "/api/v1/interviews/{id}",
    tag = "interviews",
    security(("bearer" = [])),
    params(("id" = String, Path, description = "Its id")),
    responses(
        (status = 204, description = "It is deleted"),
    )
)]
async fn delete(
    State(state): State<ApiState>,
    current: CurrentUser,
    Path(id): Path<String>,
) -> Result<StatusCode, Problem> {
    let id = own(&state, &current, &id).await?.record.id;
    state.records::<Interview>().delete(&id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// The caller's interview with this id.
async fn own(state: &ApiState, current: &CurrentUser, id: &str) -> Result<Stored<Interview>, Problem> {
    // Only what can be an id is asked of the store, which refuses other texts as a mistake of ours.
    if Uuid::try_parse(id).is_err() {
        return Err(missing());
    }
    let interview = state.records::<Interview>().get(id).await?;
    interview.filter(|interview| interview.user_id == current.id()).ok_or_else(missing)
}

fn missing() -> Problem {
    Problem::not_found("interview")
}

impl From<Interview> for InterviewBody {
    fn from(interview: Interview) -> Self {
        Self {
            id: interview.id,
            title: interview.title,
            company: interview.company,
            position: interview.position,
            job_description: interview.job_description,
            created_at: rfc3339(interview.created_at),
        }
    }
}

fn not_blank(text: &str, (): &()) -> garde::Result {
    if text.trim().is_empty() { Err(garde::Error::new("is only white space")) } else { Ok(()) }
}

/// A field that may be left out and is not null.
fn present<'de, D: Deserializer<'de>, T: Deserialize<'de>>(from: D) -> Result<Option<T>, D::Error> {
    T::deserialize(from).map(Some)
}

/// Interviews of one user.
const MAX_INTERVIEWS: u64 = 1_000;
const MAX_JOB_DESCRIPTION_BYTES: usize = 32 * 1024;
