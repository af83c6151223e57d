//! How much of the plan is used up this month.
//!
//! Not here: the counting (`quotas`).

use axum::{Json, extract::State};
use serde::Serialize;
use utoipa::ToSchema;

use super::Plan;
use crate::{
    ApiState, Problem,
    auth::CurrentUser,
    quotas::{self, Resource},
    time::rfc3339,
};

/// What is used of a plan this month.
#[derive(Serialize, ToSchema)]
pub(super) struct UsageReport {
    /// The plan.
    plan: Plan,
    /// When all is free again: the month's end in UTC, RFC 3339.
    #[schema(format = "date-time")]
    resets_at: String,
    /// Each thing that is counted.
    resources: Vec<ResourceUsage>,
}

/// One thing that is counted.
#[derive(Serialize, ToSchema)]
pub(super) struct ResourceUsage {
    /// What.
    resource: Resource,
    /// How much is used or reserved.
    used: i64,
    /// How much there is; null for no limit.
    #[schema(required)]
    limit: Option<i64>,
    /// How much is left; null for no limit.
    #[schema(required)]
    remaining: Option<i64>,
}

/// What I have used of my plan this month.
#[utoipa::path(
    get,
    path = "/api/v1/users/me/usage",
    tag = "users",
    security(("bearer" = [])),
    responses((status = 200, description = "What is used, and what there is", body = UsageReport))
)]
pub(super) async fn read(
    State(state): State<ApiState>,
    current: CurrentUser,
) -> Result<Json<UsageReport>, Problem> {
    let used = quotas::used(&state, current.id()).await?;
    let plan = current.user.plan;
    let resources = Resource::ALL.iter().map(|&resource| {
        let (used, limit) = (used.of(resource), plan.limits().of(resource));
        ResourceUsage { resource, used, limit, remaining: limit.map(|limit| (limit - used).max(0)) }
    });
    Ok(Json(UsageReport { plan, resets_at: rfc3339(used.resets_at()), resources: resources.collect() }))
}
