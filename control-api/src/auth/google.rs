//! Sign-in with Google, or another OpenID Connect provider: the authorization code flow with PKCE, state and nonce.
//!
//! The browser goes to the provider and comes back to the web pages with a code of ours, which works once and for a minute; no
//! token is ever in a URL. Not here: what is asked of the provider (`provider`), whose account it is (`account`), other ways to log in.

mod account;
mod provider;

use std::time::Duration;

use axum::{
    Json,
    extract::{Query, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use garde::Validate;
use oauth2::PkceCodeChallenge;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{GoogleSettings, TokenPair, refresh};
use crate::{ApiState, Problem, body::Valid, cache::CacheError, storage::StoreError, users::User};
use account::user_of;
use provider::Provider;

pub(crate) fn routes() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new().routes(routes!(begin)).routes(routes!(callback)).routes(routes!(exchange))
}

/// What is kept of a sign-in under way.
#[derive(Serialize, Deserialize)]
struct Begun {
    nonce: String,
    verifier: String,
    /// Hash of the cookie: who comes back is who went.
    browser: String,
}

/// What the provider, or anybody, calls us back with. It may say more.
#[derive(Deserialize)]
struct Returned {
    code: Option<String>,
    state: Option<String>,
    error: Option<String>,
}

/// What the web page was given.
#[derive(Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Exchange {
    /// `code` of the page's fragment.
    #[garde(length(bytes, min = 1, max = 100))]
    code: String,
}

/// Why nobody is signed in.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("the provider is unavailable: {0}")]
    Unavailable(&'static str),
    #[error("the provider's answer is refused: {0}")]
    Refused(&'static str),
    #[error("the sign-in was begun elsewhere, long ago, or ended already")]
    Expired,
    #[error("the user did not want to")]
    Cancelled,
    #[error("the address is not proven to be theirs")]
    Unverified,
    #[error("something else failed")]
    Problem(Problem),
}

/// Sends the browser to the provider.
///
/// It comes back to `/auth/callback` of the web pages, with `#code=…` for `POST /api/v1/auth/google/exchange`, or with
/// `#error=…`: `cancelled`, `expired`, `refused`, `unverified` or `unavailable`. Using it is accepting the terms.
#[utoipa::path(
    get,
    path = "/api/v1/auth/google",
    tag = "auth",
    responses(
        (status = 303, description = "To the provider", headers(("Location" = String), ("Set-Cookie" = String))),
        (status = 404, description = "Sign-in with Google is not set up"),
    )
)]
async fn begin(State(state): State<ApiState>) -> Result<Response, Problem> {
    let settings = settings(&state)?;
    let provider = Provider::discover(&state, settings).await.map_err(Failure::into_problem)?;
    let [known, nonce, browser] = [secret()?, secret()?, secret()?];
    let (challenge, verifier) = PkceCodeChallenge::new_random_sha256();
    let url = provider.authorize(challenge, &known, &nonce).map_err(Failure::into_problem)?;
    let begun = Begun { nonce, verifier: verifier.into_secret(), browser: hashed(&browser) };
    let begun = serde_json::to_vec(&begun).expect("three texts are JSON");
    state.cache.set(&state_key(&known), begun.into(), WAY).await?;
    Ok(redirect(url.as_str(), &cookie(&state, &browser, WAY.as_secs())))
}

/// Where the provider sends the browser back to.
#[utoipa::path(
    get,
    path = "/api/v1/auth/google/callback",
    tag = "auth",
    params(
        ("code" = Option<String>, Query, description = "The provider's"),
        ("state" = Option<String>, Query, description = "Ours"),
        ("error" = Option<String>, Query, description = "The provider's"),
    ),
    responses(
        (status = 303, description = "To the web pages, with `#code=…` or `#error=…`", headers(("Location" = String))),
        (status = 404, description = "Sign-in with Google is not set up"),
    )
)]
async fn callback(
    State(state): State<ApiState>,
    headers: HeaderMap,
    Query(returned): Query<Returned>,
) -> Result<Response, Problem> {
    let settings = settings(&state)?;
    let fragment = match come_back(&state, settings, &headers, returned).await {
        Ok(code) => format!("code={code}"),
        Err(Failure::Problem(problem)) => return Err(problem),
        Err(failure) => {
            tracing::info!(reason = %failure, "nobody was signed in by the provider");
            format!("error={}", failure.code())
        }
    };
    let page = format!("{}/auth/callback#{fragment}", state.settings.public_url);
    Ok(redirect(&page, &cookie(&state, "", 0)))
}

/// A pair of tokens for the code that the web page came back with. The code works once, for a minute.
#[utoipa::path(
    post,
    path = "/api/v1/auth/google/exchange",
    tag = "auth",
    request_body = Exchange,
    responses(
        (status = 200, description = "Logged in", body = TokenPair),
        (status = 401, description = "The code does not work, or not any more"),
    )
)]
async fn exchange(
    State(state): State<ApiState>,
    headers: HeaderMap,
    Valid(Exchange { code }): Valid<Exchange>,
) -> Result<impl IntoResponse, Problem> {
    let ended =
        || Problem::new(StatusCode::UNAUTHORIZED, "the code does not work, or not any more; sign in again");
    let user_id = state.cache.take(&code_key(&code)).await?.ok_or_else(ended)?;
    let user_id = String::from_utf8(user_id.to_vec()).map_err(|_| ended())?;
    let user = state.records::<User>().get(&user_id).await?;
    let user = user.filter(|user| user.deleted_at.is_none()).ok_or_else(ended)?;
    Ok(([(header::CACHE_CONTROL, "no-store")], Json(refresh::begin(&state, &user, &headers).await?)))
}

/// The code for the web page.
async fn come_back(
    state: &ApiState,
    settings: &GoogleSettings,
    headers: &HeaderMap,
    returned: Returned,
) -> Result<String, Failure> {
    let known = returned.state.filter(|known| known.len() <= MAX_STATE_BYTES).ok_or(Failure::Expired)?;
    let key = state_key(&known);
    // Looked at before it is used up: who only knows the state cannot end another's sign-in.
    let begun = state.cache.get(&key).await?.ok_or(Failure::Expired)?;
    let begun: Begun = serde_json::from_slice(&begun).map_err(|_| Failure::Expired)?;
    let browser = hashed(cookie_of(headers).unwrap_or_default());
    if !bool::from(browser.as_bytes().ct_eq(begun.browser.as_bytes())) {
        return Err(Failure::Expired);
    }
    state.cache.take(&key).await?.ok_or(Failure::Expired)?;
    if let Some(error) = returned.error {
        return Err(if error == "access_denied" {
            Failure::Cancelled
        } else {
            Failure::Refused("it says no")
        });
    }
    let code = returned.code.filter(|code| (1..=MAX_CODE_BYTES).contains(&code.len()));
    let code = code.ok_or(Failure::Refused("it gave no code"))?;
    let provider = Provider::discover(state, settings).await?;
    let claims = provider.identify(code, begun.verifier, &begun.nonce).await?;
    let user_id = user_of(state, &claims).await?;
    let code = secret()?;
    state.cache.set(&code_key(&code), user_id.into(), CODE).await?;
    Ok(code)
}

impl Failure {
    /// What the web page is told.
    fn code(&self) -> &'static str {
        match self {
            Self::Unavailable(_) | Self::Problem(_) => "unavailable",
            Self::Refused(_) => "refused",
            Self::Expired => "expired",
            Self::Cancelled => "cancelled",
            Self::Unverified => "unverified",
        }
    }

    fn into_problem(self) -> Problem {
        match self {
            Self::Problem(problem) => problem,
            failure => {
                tracing::warn!(reason = %failure, "no sign-in can be begun");
                Problem::new(
                    StatusCode::SERVICE_UNAVAILABLE,
                    "sign-in with Google does not answer for now; try again, or log in with your password",
                )
                .retry_after(RETRY)
            }
        }
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self::Problem(error.into())
    }
}

impl From<CacheError> for Failure {
    fn from(error: CacheError) -> Self {
        Self::Problem(error.into())
    }
}

impl From<Problem> for Failure {
    fn from(problem: Problem) -> Self {
        Self::Problem(problem)
    }
}

fn settings(state: &ApiState) -> Result<&GoogleSettings, Problem> {
    let unknown = || {
        Problem::new(
            StatusCode::NOT_FOUND,
            "sign-in with Google is not set up here; log in with your password",
        )
    };
    state.settings.google.as_ref().ok_or_else(unknown)
}

fn redirect(to: &str, cookie: &str) -> Response {
    let headers = [
        (header::LOCATION, to),
        (header::SET_COOKIE, cookie),
        (header::CACHE_CONTROL, "no-store"),
        (header::REFERRER_POLICY, "no-referrer"),
    ];
    (StatusCode::SEE_OTHER, headers).into_response()
}

fn cookie(state: &ApiState, value: &str, seconds: u64) -> String {
    let secure = if state.settings.public_url.starts_with("https:") { "; Secure" } else { "" };
    format!("{COOKIE}={value}; Path=/api/v1/auth/google; Max-Age={seconds}; HttpOnly; SameSite=Lax{secure}")
}

fn cookie_of(headers: &HeaderMap) -> Option<&str> {
    let all = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    all.flat_map(|value| value.split(';'))
        .find_map(|pair| pair.trim().strip_prefix(COOKIE)?.strip_prefix('='))
}

/// 256 random bits in base64url.
fn secret() -> Result<String, Problem> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(|error| crate::problem::internal(&error))?;
    Ok(URL_SAFE_NO_PAD.encode(bytes))
}

fn hashed(text: &str) -> String {
    URL_SAFE_NO_PAD.encode(Sha256::digest(text))
}

fn state_key(known: &str) -> String {
    format!("oidc:state:{}", hashed(known))
}

fn code_key(code: &str) -> String {
    format!("oidc:code:{}", hashed(code))
}

const COOKIE: &str = "interviewai_sign_in";
/// From when the browser leaves until it is back.
const WAY: Duration = Duration::from_secs(10 * 60);
const CODE: Duration = Duration::from_secs(60);
const RETRY: Duration = Duration::from_secs(5);
const MAX_STATE_BYTES: usize = 100;
const MAX_CODE_BYTES: usize = 4 * 1024;
