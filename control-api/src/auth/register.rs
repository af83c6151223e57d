//! Making an account: a registration waits until a link in a mail proves the address; then it becomes a user.
//!
//! Nobody can keep an address that is not theirs: until it is proven there is no user, each registration has its own password
//! and links, and the first whose link is opened gets the account. The route answers before it is known whether the address
//! has an account; the mail says it (`mails`). Not here: sign-in with a provider.

use axum::{Json, extract::State, http::StatusCode};
use garde::Validate;
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::{
    form::{self, Message},
    mails::{self, Letter},
    one_time::{self, Purpose},
};
use crate::{
    ApiState, Problem,
    body::Valid,
    storage::{Filter, Index, Query, Record, StoreError, Stored},
    time::now_ms,
    users::{Plan, Preferences, User},
};

/// Who wants to be a user, as kept. Times are unix ms.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Registration {
    /// UUID v7; the user's, later.
    pub id: String,
    /// In lower case. Many may want the same.
    pub email: String,
    /// PHC string of argon2id.
    pub password_hash: String,
    /// What they are called.
    pub first_name: String,
    /// Family name; may be empty.
    pub last_name: String,
    /// The language they prefer, if they said so.
    pub language: Option<String>,
    /// When they registered and accepted the terms.
    pub created_at: i64,
    /// When it is forgotten.
    pub expires_at: i64,
}

impl Record for Registration {
    const COLLECTION: &'static str = "registrations";
    const INDEXES: &'static [Index] =
        &[Index::on("of_email", &["email", "created_at"]), Index::expiry(&["expires_at"])];

    fn id(&self) -> &str {
        &self.id
    }
}

impl std::fmt::Debug for Registration {
    /// Without whom it is about.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Registration").field("id", &self.id).finish_non_exhaustive()
    }
}

impl Registration {
    fn into_user(self) -> User {
        let mut preferences = Preferences::default();
        if let Some(language) = self.language {
            preferences.language = language;
        }
        User {
            id: self.id,
            email: self.email,
            email_verified: true,
            password_hash: Some(self.password_hash),
            google_sub: None,
            first_name: self.first_name,
            last_name: self.last_name,
            plan: Plan::Free,
            admin: false,
            preferences,
            terms_accepted_at: self.created_at,
            created_at: now_ms(),
            deleted_at: None,
        }
    }
}

/// The user with this address.
pub(super) async fn user_of(state: &ApiState, email: &str) -> Result<Option<Stored<User>>, StoreError> {
    state.records::<User>().find_one(Filter::all().eq("email", email).without("deleted_at")).await
}

/// The latest registration with this address.
pub(super) async fn registration_of(
    state: &ApiState,
    email: &str,
) -> Result<Option<Stored<Registration>>, StoreError> {
    let filter = Filter::all().eq("email", email);
    let latest = Query::new(filter).order("created_at").descending().limit(1);
    let found = state.records::<Registration>().find(&latest).await?.records.pop();
    Ok(found.filter(|registration| now_ms() < registration.expires_at))
}

#[derive(Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RegisterRequest {
    /// Where the link is sent.
    #[garde(email, length(bytes, max = form::MAX_ADDRESS))]
    #[serde(deserialize_with = "form::address")]
    #[schema(format = "email", max_length = 254, example = "ann@example.org")]
    email: String,
    /// 8 to 128 characters: an upper-case letter, a lower-case letter, and a digit or a symbol.
    #[garde(custom(form::new_password))]
    #[schema(value_type = String, format = "password", min_length = 8, max_length = 128)]
    password: SecretString,
    /// What the user is called.
    #[garde(length(chars, min = 1, max = 100), custom(form::name))]
    #[serde(deserialize_with = "form::trimmed")]
    #[schema(min_length = 1, max_length = 100)]
    first_name: String,
    /// Family name.
    #[garde(length(chars, max = 100), custom(form::name))]
    #[serde(default, deserialize_with = "form::trimmed")]
    #[schema(max_length = 100)]
    last_name: String,
    /// ISO 639-1, or `auto`; `en` by default.
    #[garde(custom(form::language))]
    #[schema(pattern = "^([a-z]{2}|auto)$", example = "en")]
    language: Option<String>,
    /// Must be true.
    #[garde(custom(form::accepted))]
    terms_accepted: bool,
}

/// Begins a registration.
///
/// The answer is the same whether the address has an account or not. A mail says what to do.
#[utoipa::path(
    post,
    path = "/api/v1/auth/register",
    tag = "auth",
    request_body = RegisterRequest,
    responses((status = 202, description = "A mail is on its way", body = Message), )
)]
pub(super) async fn register(
    State(state): State<ApiState>,
    Valid(request): Valid<RegisterRequest>,
) -> Result<(StatusCode, Json<Message>), Problem> {
    let password_hash = state.passwords.hash(request.password).await?;
    // Over the limit nothing is kept either, so that an address has a few registrations at most.
    if mails::allowed(&state, &request.email).await? {
        let now = now_ms();
        let registration = Registration {
            id: Uuid::now_v7().to_string(),
            email: request.email,
            password_hash,
            first_name: request.first_name,
            last_name: request.last_name,
            language: request.language,
            created_at: now,
            expires_at: now + lifetime_ms(),
        };
        state.records().insert(&registration).await?;
        mails::queue(&state, Letter::Verify, &registration.id).await?;
    }
    Ok((StatusCode::ACCEPTED, Json(ON_ITS_WAY)))
}

#[derive(Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct AddressRequest {
    /// The address in question.
    #[garde(email, length(bytes, max = form::MAX_ADDRESS))]
    #[serde(deserialize_with = "form::address")]
    #[schema(format = "email", max_length = 254, example = "ann@example.org")]
    pub(super) email: String,
}

/// Sends the link that proves an address again.
///
/// The answer is the same for every address. Links that were sent before still work.
#[utoipa::path(
    post,
    path = "/api/v1/auth/verify-email/resend",
    tag = "auth",
    request_body = AddressRequest,
    responses((status = 202, description = "If it is waited for, a mail is on its way", body = Message), )
)]
pub(super) async fn resend(
    State(state): State<ApiState>,
    Valid(request): Valid<AddressRequest>,
) -> Result<(StatusCode, Json<Message>), Problem> {
    if mails::allowed(&state, &request.email).await? {
        let registration = registration_of(&state, &request.email).await?;
        let id = registration.map_or_else(nobody, |registration| registration.record.id);
        mails::queue(&state, Letter::Verify, &id).await?;
    }
    Ok((StatusCode::ACCEPTED, Json(ON_ITS_WAY)))
}

/// An id that nobody has: its job does nothing, but is queued, as for everybody.
pub(super) fn nobody() -> String {
    Uuid::now_v7().to_string()
}

#[derive(Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct VerifyRequest {
    /// From the link in the mail.
    #[garde(skip)]
    #[schema(value_type = String, min_length = 43, max_length = 43)]
    token: SecretString,
}

/// Proves an address: the registration becomes an account.
#[utoipa::path(
    post,
    path = "/api/v1/auth/verify-email",
    tag = "auth",
    request_body = VerifyRequest,
    responses(
        (status = 200, description = "There is an account now; log in", body = Message),
        (status = 409, description = "The address has an account by now", body = crate::ProblemBody, content_type = "application/problem+json"),
    )
)]
pub(super) async fn verify_email(
    State(state): State<ApiState>,
    Valid(request): Valid<VerifyRequest>,
) -> Result<Json<Message>, Problem> {
    let token = one_time::redeem(&state, Purpose::VerifyEmail, request.token.expose_secret()).await?;
    let registrations = state.records::<Registration>();
    let registration = registrations.get(&token.user_id).await?.ok_or_else(one_time::spent)?.record;
    let email = registration.email.clone();
    let made = state.records::<User>().insert(&registration.into_user()).await;
    match made {
        // A stop before the registrations were deleted.
        Ok(()) | Err(StoreError::Duplicate { index: "id" }) => {}
        Err(StoreError::Duplicate { .. }) => {
            let detail = "this address has an account by now: log in, or ask for a new password";
            return Err(Problem::new(StatusCode::CONFLICT, detail));
        }
        Err(error) => return Err(error.into()),
    }
    registrations.delete_many(&Filter::all().eq("email", email)).await?;
    Ok(Json(Message { message: "the address is yours; log in" }))
}

/// As long as a link that is sent now, and a little more.
pub(super) fn lifetime_ms() -> i64 {
    Purpose::VerifyEmail.lifetime_ms() + 60 * 60 * 1_000
}

const ON_ITS_WAY: Message =
    Message { message: "a mail is on its way; if none comes, look among the spam, or try again in an hour" };
