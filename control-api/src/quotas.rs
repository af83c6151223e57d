//! What a plan allows in a month, and what is used up of it: taken in one step, given back when it was not needed.
//!
//! Each month has a record of its own, so nothing has to be reset. What is reserved and never settled, as the process died,
//! counts as used. Not here: what is paid for a plan, how often something may be called (`limits`).

use std::time::Duration;

use axum::http::StatusCode;
use chrono::{DateTime, Datelike as _, Months, NaiveDate, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    ApiState, Problem,
    storage::{Increment, Incremented, Index, Record, StoreError},
    time::{now_ms, rfc3339},
    users::{Plan, User},
};

/// Something that a plan has so much of in a month.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Resource {
    /// Minutes of live sessions.
    LiveMinutes,
    /// Answers asked of a model.
    AnswerRequests,
    /// Tokens of those, of prompts and answers.
    AnswerTokens,
    /// CVs uploaded as files.
    CvUploads,
}

impl Resource {
    /// Each, in the order in which they are shown.
    pub const ALL: [Self; 4] = [Self::LiveMinutes, Self::AnswerRequests, Self::AnswerTokens, Self::CvUploads];

    /// Its counter in [`Usage`].
    fn field(self) -> &'static str {
        match self {
            Self::LiveMinutes => "live_minutes",
            Self::AnswerRequests => "answer_requests",
            Self::AnswerTokens => "answer_tokens",
            Self::CvUploads => "cv_uploads",
        }
    }
}

/// How much of each a plan has in a month. `None` is no limit; there is no number that means it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlanLimits {
    /// Of [`Resource::LiveMinutes`].
    pub live_minutes: Option<i64>,
    /// Of [`Resource::AnswerRequests`].
    pub answer_requests: Option<i64>,
    /// Of [`Resource::AnswerTokens`].
    pub answer_tokens: Option<i64>,
    /// Of [`Resource::CvUploads`].
    pub cv_uploads: Option<i64>,
}

impl PlanLimits {
    /// How much there is; `None` is no limit.
    pub fn of(&self, resource: Resource) -> Option<i64> {
        match resource {
            Resource::LiveMinutes => self.live_minutes,
            Resource::AnswerRequests => self.answer_requests,
            Resource::AnswerTokens => self.answer_tokens,
            Resource::CvUploads => self.cv_uploads,
        }
    }
}

impl Plan {
    /// What it allows in a month.
    pub const fn limits(self) -> PlanLimits {
        match self {
            Self::Free => FREE,
            Self::Pro => PRO,
            Self::Elite => ELITE,
        }
    }
}

/// What a user has used in a month, with what is reserved.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// `{user}/{month}`.
    pub id: String,
    /// Whose.
    pub user_id: String,
    /// In UTC, as the number yyyymm: 202611.
    pub month: i64,
    /// Of [`Resource::LiveMinutes`].
    pub live_minutes: i64,
    /// Of [`Resource::AnswerRequests`].
    pub answer_requests: i64,
    /// Of [`Resource::AnswerTokens`].
    pub answer_tokens: i64,
    /// Of [`Resource::CvUploads`].
    pub cv_uploads: i64,
}

impl Usage {
    fn nothing(user_id: &str, month: Month) -> Self {
        Self {
            id: month.id_of(user_id),
            user_id: user_id.to_owned(),
            month: month.0,
            live_minutes: 0,
            answer_requests: 0,
            answer_tokens: 0,
            cv_uploads: 0,
        }
    }

    /// How much is used or reserved.
    pub fn of(&self, resource: Resource) -> i64 {
        match resource {
            Resource::LiveMinutes => self.live_minutes,
            Resource::AnswerRequests => self.answer_requests,
            Resource::AnswerTokens => self.answer_tokens,
            Resource::CvUploads => self.cv_uploads,
        }
    }

    /// When its month ends, unix ms.
    pub fn resets_at(&self) -> i64 {
        Month(self.month).end_ms()
    }
}

impl Record for Usage {
    const COLLECTION: &'static str = "usage";
    const INDEXES: &'static [Index] = &[Index::on("of_user", &["user_id", "month"])];

    fn id(&self) -> &str {
        &self.id
    }
}

/// Taken from a plan, to be settled or released. Dropped, it counts as used.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "settle or release it, or it counts as used"]
pub struct Reservation {
    user_id: String,
    month: Month,
    amounts: Vec<(Resource, u32)>,
}

impl Reservation {
    /// What was reserved by `user_id` in `month`, a [`Reservation::month`]: for who cannot hold on to a reservation.
    pub fn again(user_id: &str, month: u32, amounts: &[(Resource, u32)]) -> Self {
        Self { user_id: user_id.to_owned(), month: Month(month.into()), amounts: amounts.to_vec() }
    }

    /// Nothing, of this month: what is used is taken when it is settled. For work that goes on where a plan cannot be asked.
    pub fn nothing(user_id: &str) -> Self {
        Self { user_id: user_id.to_owned(), month: Month::of(now_ms()), amounts: Vec::new() }
    }

    /// The month that it was taken from, as yyyymm.
    pub fn month(&self) -> u32 {
        u32::try_from(self.month.0).expect("a year has a few digits")
    }
}

/// Nothing was taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QuotaError {
    /// The plan has not that much left.
    #[error("the plan has {remaining} of {limit} {} left this month, and {wanted} would be needed", .resource.field())]
    Exceeded {
        /// Of this: the first of those asked for.
        resource: Resource,
        /// How much was asked for.
        wanted: u32,
        /// How much the plan has in a month.
        limit: i64,
        /// How much is left.
        remaining: i64,
        /// When all is free again, unix ms.
        resets_at: i64,
    },
    /// It is not known what is left.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<QuotaError> for Problem {
    fn from(error: QuotaError) -> Self {
        let QuotaError::Exceeded { resets_at, .. } = error else {
            let QuotaError::Store(error) = error else { unreachable!("there is no third kind") };
            return error.into();
        };
        let wait = u64::try_from(resets_at - now_ms()).unwrap_or(0);
        let detail = format!("{error}; it begins anew at {}, or take a larger plan", rfc3339(resets_at));
        Self::new(StatusCode::TOO_MANY_REQUESTS, detail).retry_after(Duration::from_millis(wait))
    }
}

/// Takes each of `amounts` from what the user's plan has left this month: all or nothing, in one atomic step, however many ask
/// at once. Each resource is named once.
///
/// Dropping the future takes all or nothing.
///
/// # Errors
/// [`QuotaError::Exceeded`] for the first that is not left; nothing is taken then.
pub async fn reserve(
    state: &ApiState,
    user: &User,
    amounts: &[(Resource, u32)],
) -> Result<Reservation, QuotaError> {
    reserve_at(state, user, amounts, now_ms()).await
}

/// As [`reserve`], of the month that has the instant `at_ms`, unix ms.
///
/// # Errors
/// As there.
pub async fn reserve_at(
    state: &ApiState,
    user: &User,
    amounts: &[(Resource, u32)],
    at_ms: i64,
) -> Result<Reservation, QuotaError> {
    let month = Month::of(at_ms);
    let limits = user.plan.limits();
    let increments: Vec<_> = amounts
        .iter()
        .map(|&(resource, by)| Increment::add(resource.field(), by.into()).up_to(limits.of(resource)))
        .collect();
    let fresh = Usage::nothing(&user.id, month);
    match state.records::<Usage>().increment_or_begin(&fresh, &increments).await? {
        Incremented::Done(_) => {
            Ok(Reservation { user_id: user.id.clone(), month, amounts: amounts.to_vec() })
        }
        Incremented::Refused { field, stored } => {
            let (resource, wanted) = *amounts
                .iter()
                .find(|(resource, _)| resource.field() == field)
                .expect("the store names a field of ours");
            let limit = limits.of(resource).unwrap_or(i64::MAX);
            let remaining = limit.saturating_sub(stored.of(resource)).max(0);
            let resets_at = month.end_ms();
            Err(QuotaError::Exceeded { resource, wanted, limit, remaining, resets_at })
        }
    }
}

/// What was really used: gives back the rest of the reservation, or takes what was used beyond it, even over the limit. What
/// `used` does not name is used as reserved. It belongs to the month in which it was reserved.
///
/// # Errors
/// Those of the store; it counts as used as reserved then, unless the store did it before it failed.
pub async fn settle(
    state: &ApiState,
    reservation: Reservation,
    used: &[(Resource, u32)],
) -> Result<(), StoreError> {
    let reserved = |resource| {
        let found = reservation.amounts.iter().find(|(reserved, _)| *reserved == resource);
        i64::from(found.map_or(0, |&(_, amount)| amount))
    };
    let changes: Vec<_> = used
        .iter()
        .map(|&(resource, used)| (resource, i64::from(used) - reserved(resource)))
        .filter(|&(_, change)| change != 0)
        .map(|(resource, change)| Increment::add(resource.field(), change))
        .collect();
    if changes.is_empty() {
        return Ok(());
    }
    match state.records::<Usage>().increment(&reservation.month.id_of(&reservation.user_id), &changes).await {
        // The account was erased meanwhile.
        Ok(_) | Err(StoreError::NotFound) => Ok(()),
        Err(error) => Err(error),
    }
}

/// Gives all of a reservation back.
///
/// # Errors
/// As those of [`settle`].
pub async fn release(state: &ApiState, reservation: Reservation) -> Result<(), StoreError> {
    let nothing: Vec<_> = reservation.amounts.iter().map(|&(resource, _)| (resource, 0)).collect();
    settle(state, reservation, &nothing).await
}

/// What the user has used this month.
///
/// # Errors
/// Those of the store.
pub async fn used(state: &ApiState, user_id: &str) -> Result<Usage, StoreError> {
    let month = Month::of(now_ms());
    let stored = state.records::<Usage>().get(&month.id_of(user_id)).await?;
    Ok(stored.map_or_else(|| Usage::nothing(user_id, month), |stored| stored.record))
}

/// A month in UTC, as the number yyyymm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Month(i64);

impl Month {
    fn of(at_ms: i64) -> Self {
        let at = DateTime::<Utc>::from_timestamp_millis(at_ms).unwrap_or_default();
        Self(i64::from(at.year()) * 100 + i64::from(at.month()))
    }

    fn id_of(self, user_id: &str) -> String {
        format!("{user_id}/{}", self.0)
    }

    fn end_ms(self) -> i64 {
        let year = i32::try_from(self.0 / 100).unwrap_or_default();
        let month = u32::try_from(self.0 % 100).unwrap_or_default();
        let next = NaiveDate::from_ymd_opt(year, month, 1)
            .and_then(|first| first.checked_add_months(Months::new(1)));
        next.and_then(|next| next.and_hms_opt(0, 0, 0)).unwrap_or_default().and_utc().timestamp_millis()
    }
}

/// An interview or two, to see what it is.
const FREE: PlanLimits = PlanLimits {
    live_minutes: Some(60),
    answer_requests: Some(100),
    answer_tokens: Some(400_000),
    cv_uploads: Some(5),
};
/// An hour on every working day.
const PRO: PlanLimits = PlanLimits {
    live_minutes: Some(1_200),
    answer_requests: Some(3_000),
    answer_tokens: Some(12_000_000),
    cv_uploads: Some(100),
};
const ELITE: PlanLimits =
    PlanLimits { live_minutes: None, answer_requests: None, answer_tokens: None, cv_uploads: None };

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn months_are_those_of_utc_and_end_at_midnight() {
        for (at, month, end) in [
            ("2026-11-30T23:59:59.999Z", 202_611, "2026-12-01T00:00:00.000Z"),
            ("2026-12-01T00:00:00.000Z", 202_612, "2027-01-01T00:00:00.000Z"),
            ("2028-02-29T12:00:00.000+02:00", 202_802, "2028-03-01T00:00:00.000Z"),
        ] {
            let of = Month::of(DateTime::parse_from_rfc3339(at).unwrap().timestamp_millis());
            assert_eq!((of.0, rfc3339(of.end_ms()).as_str()), (month, end), "{at}");
        }
    }

    #[test]
    fn a_larger_plan_has_no_less_of_anything() {
        for resource in Resource::ALL {
            let of = |plan: Plan| plan.limits().of(resource).unwrap_or(i64::MAX);
            assert!(
                0 < of(Plan::Free) && of(Plan::Free) <= of(Plan::Pro) && of(Plan::Pro) <= of(Plan::Elite)
            );
        }
    }
}
