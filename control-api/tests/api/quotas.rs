//! Quotas under many at once: over SQLite, and over a real MongoDB.
//!
//! Not here: what is asked of the store in one step (`seams/store.rs`).

use crate::api;
use crate::mongod;
use std::sync::Arc;

use control_api::{
    ApiState, Problem, SCHEMAS,
    quotas::{QuotaError, Resource, Usage, release, reserve, reserve_at, settle, used},
    storage::{self, MongoSettings, MongoStore},
    users::{Plan, User},
};
use futures_util::future::join_all;

const REQUEST: (Resource, u32) = (Resource::AnswerRequests, 1);

/// A user of a free plan who has `left` answers left this month.
async fn user_with(api: &api::Api, state: &ApiState, left: u32) -> User {
    let (user, _) = api.user().await;
    let limit = user.plan.limits().answer_requests.unwrap();
    let taken = u32::try_from(limit).unwrap() - left;
    let _used = reserve(state, &user, &[(Resource::AnswerRequests, taken)]).await.unwrap();
    user
}

async fn exactly_five_of_fifty(api: &api::Api, state: &ApiState) {
    let user = user_with(api, state, 5).await;
    let all = (0..50).map(|_| {
        let (state, user) = (state.clone(), user.clone());
        tokio::spawn(async move { reserve(&state, &user, &[REQUEST]).await })
    });
    let all: Vec<_> = join_all(all).await.into_iter().map(Result::unwrap).collect();
    let refused =
        all.iter().filter(|it| matches!(it, Err(QuotaError::Exceeded { remaining: 0, .. }))).count();
    assert_eq!((all.iter().filter(|it| it.is_ok()).count(), refused), (5, 45), "{all:?}");
    assert_eq!(used(state, &user.id).await.unwrap().answer_requests, 100);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_fifty_at_once_five_get_what_is_left_over_sqlite() {
    let api = api::Api::start().await;
    exactly_five_of_fifty(&api, &api.state).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_fifty_at_once_five_get_what_is_left_over_mongodb() {
    let Some(server) = mongod::Mongod::start().await else { return };
    let store = MongoStore::connect(&MongoSettings::new(server.url("quotas").into())).await.unwrap();
    storage::start(&store, SCHEMAS, &[]).await.unwrap();
    let api = api::Api::start().await;
    let state = ApiState { store: Arc::new(store), ..api.state.clone() };
    exactly_five_of_fifty(&api, &state).await;
}

#[tokio::test]
async fn what_was_not_needed_is_given_back_and_what_was_needed_beyond_is_taken() {
    let api = api::Api::start().await;
    let user = user_with(&api, &api.state, 5).await;
    let tokens = async || used(&api.state, &user.id).await.unwrap().answer_tokens;
    let both = [REQUEST, (Resource::AnswerTokens, 1_000)];
    let reservation = reserve(&api.state, &user, &both).await.unwrap();
    assert_eq!(tokens().await, 1_000);
    settle(&api.state, reservation, &[(Resource::AnswerTokens, 300)]).await.unwrap();
    assert_eq!(tokens().await, 300);
    let reservation = reserve(&api.state, &user, &both).await.unwrap();
    settle(&api.state, reservation, &[(Resource::AnswerTokens, 500_000)]).await.unwrap();
    assert_eq!(tokens().await, 500_300, "over the limit, as it was used");
    let Err(error) = reserve(&api.state, &user, &both).await else { panic!("no tokens are left") };
    assert!(matches!(error, QuotaError::Exceeded { resource: Resource::AnswerTokens, remaining: 0, .. }));
    assert_eq!(used(&api.state, &user.id).await.unwrap().answer_requests, 97, "nor was a request taken");
    assert_eq!(Problem::from(error).status(), 429);

    let reservation = reserve(&api.state, &user, &[REQUEST]).await.unwrap();
    release(&api.state, reservation).await.unwrap();
    assert_eq!(used(&api.state, &user.id).await.unwrap().answer_requests, 97);
}

#[tokio::test]
async fn no_limit_is_never_reached() {
    let api = api::Api::start().await;
    let user = User { plan: Plan::Elite, ..api.user().await.0 };
    for _ in 0..200 {
        let _used = reserve(&api.state, &user, &[REQUEST, (Resource::LiveMinutes, u32::MAX)]).await.unwrap();
    }
    let smaller = User { plan: Plan::Pro, ..user };
    let refused = reserve(&api.state, &smaller, &[(Resource::LiveMinutes, 1)]).await;
    assert!(matches!(refused, Err(QuotaError::Exceeded { limit: 1_200, remaining: 0, .. })), "{refused:?}");
}

#[tokio::test]
async fn a_month_has_its_own_and_what_is_settled_later_belongs_to_the_month_it_was_taken_in() {
    let api = api::Api::start().await;
    let (user, _) = api.user().await;
    let at = |text: &str| chrono::DateTime::parse_from_rfc3339(text).unwrap().timestamp_millis();
    let (last, first) = (at("2031-01-31T23:59:59.999Z"), at("2031-02-01T00:00:00.000Z"));
    let all = [(Resource::AnswerRequests, 100)];
    let january = reserve_at(&api.state, &user, &all, last).await.unwrap();
    let refused = reserve_at(&api.state, &user, &[REQUEST], last).await;
    assert!(
        matches!(refused, Err(QuotaError::Exceeded { resets_at, .. }) if resets_at == first),
        "{refused:?}"
    );
    let _february = reserve_at(&api.state, &user, &all, first).await.unwrap();
    settle(&api.state, january, &[(Resource::AnswerRequests, 1)]).await.unwrap();
    assert!(
        reserve_at(&api.state, &user, &[REQUEST], first).await.is_err(),
        "January's rest is not February's"
    );
    let of = async |month: i64| {
        let usage = api.state.records::<Usage>().get(&format!("{}/{month}", user.id)).await.unwrap().unwrap();
        usage.answer_requests
    };
    assert_eq!((of(203_101).await, of(203_102).await), (1, 100));
}
