//! Which of our users signed in at the provider, and who is made a user by it.
//!
//! Not here: whether the provider said the truth.

use std::time::Duration;

use axum::http::StatusCode;
use uuid::Uuid;

use super::{Failure, provider::IdClaims};
use crate::{
    ApiState, Problem,
    auth::Login,
    storage::{Filter, Stored},
    time::now_ms,
    users::{Plan, Preferences, User},
};

/// The user who signed in: known by the provider's name for them, else by their proven address, else new.
pub(super) async fn user_of(state: &ApiState, claims: &IdClaims) -> Result<String, Failure> {
    let users = state.records::<User>();
    let email = claims.email.trim().to_lowercase();
    // Each time through, somebody else was faster.
    for _ in 0..4 {
        let by_sub = Filter::all().eq("google_sub", claims.sub.as_str()).without("deleted_at");
        if let Some(user) = users.find_one(by_sub).await? {
            return Ok(user.id.clone());
        }
        if !claims.email_verified || !is_address(&email) {
            return Err(Failure::Unverified);
        }
        let by_email = Filter::all().eq("email", email.as_str()).without("deleted_at");
        let kept = match users.find_one(by_email).await? {
            Some(user) => link(state, user, &claims.sub).await,
            None => {
                let user = new_user(claims, email.clone());
                users.insert(&user).await.map(|()| user.id).map_err(Failure::from)
            }
        };
        match kept {
            Err(Failure::Problem(problem)) if problem.status() == StatusCode::CONFLICT => {}
            kept => return kept,
        }
    }
    Err(Failure::Problem(Problem::unavailable("the store", Duration::from_secs(1))))
}

/// The account is theirs, as the address is. Who made it without proving the address loses it: their password and logins end.
async fn link(state: &ApiState, mut user: Stored<User>, sub: &str) -> Result<String, Failure> {
    if user.google_sub.is_some() {
        return Err(Failure::Refused("the account is linked to another one there"));
    }
    user.record.google_sub = Some(sub.to_owned());
    if !user.email_verified {
        user.record.email_verified = true;
        user.record.password_hash = None;
        state.records::<Login>().delete_many(&Filter::all().eq("user_id", user.id.as_str())).await?;
    }
    state.records::<User>().replace(&mut user).await?;
    Ok(user.id.clone())
}

fn new_user(claims: &IdClaims, email: String) -> User {
    let name = |name: &Option<String>| {
        let name = name.as_deref().unwrap_or_default().trim();
        name.chars().filter(|letter| !letter.is_control()).take(MAX_NAME_CHARS).collect::<String>()
    };
    let mut first_name = name(&claims.given_name);
    if first_name.is_empty() {
        first_name = email.split('@').next().unwrap_or_default().chars().take(MAX_NAME_CHARS).collect();
    }
    let now = now_ms();
    User {
        id: Uuid::now_v7().to_string(),
        email,
        email_verified: true,
        password_hash: None,
        google_sub: Some(claims.sub.clone()),
        first_name,
        last_name: name(&claims.family_name),
        plan: Plan::Free,
        admin: false,
        preferences: Preferences::default(),
        terms_accepted_at: now,
        created_at: now,
        deleted_at: None,
    }
}

fn is_address(email: &str) -> bool {
    email.len() <= 254 && email.parse::<lettre::Address>().is_ok()
}

const MAX_NAME_CHARS: usize = 50;
