//! What is asked of the OpenID Connect provider: where it is, what a code is worth, who signed.
//!
//! Its documents are kept in the cache for an hour. Every answer is bounded in size and time, and no redirect is followed. Not
//! here: who that is among our users.

use std::time::Duration;

use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header, jwk::JwkSet};
use oauth2::{
    AuthUrl, AuthorizationCode, Client, ClientId, ClientSecret, CsrfToken, EndpointNotSet, EndpointSet,
    ExtraTokenFields, HttpRequest, HttpResponse, PkceCodeChallenge, PkceCodeVerifier, RedirectUrl,
    RequestTokenError, Scope, StandardRevocableToken, StandardTokenResponse, TokenUrl,
    basic::{
        BasicErrorResponse, BasicRevocationErrorResponse, BasicTokenIntrospectionResponse, BasicTokenType,
    },
};
use reqwest::{Url, redirect};
use secrecy::ExposeSecret as _;
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq as _;

use super::{Failure, hashed};
use crate::{ApiState, auth::GoogleSettings};

/// The provider as it describes itself.
pub(super) struct Provider<'a> {
    state: &'a ApiState,
    settings: &'a GoogleSettings,
    http: reqwest::Client,
    discovered: Discovered,
}

/// OpenID Connect Discovery 1.0, 3.
#[derive(Serialize, Deserialize)]
struct Discovered {
    issuer: String,
    authorization_endpoint: String,
    token_endpoint: String,
    jwks_uri: String,
}

/// Who signed in there.
#[derive(Deserialize)]
pub(super) struct IdClaims {
    pub(super) sub: String,
    #[serde(default)]
    pub(super) email: String,
    #[serde(default)]
    pub(super) email_verified: bool,
    pub(super) given_name: Option<String>,
    pub(super) family_name: Option<String>,
    nonce: Option<String>,
    azp: Option<String>,
    aud: OneOrMany,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

#[derive(Debug, Serialize, Deserialize)]
struct WithIdToken {
    id_token: Option<String>,
}

impl ExtraTokenFields for WithIdToken {}

type OidcClient = Client<
    BasicErrorResponse,
    StandardTokenResponse<WithIdToken, BasicTokenType>,
    BasicTokenIntrospectionResponse,
    StandardRevocableToken,
    BasicRevocationErrorResponse,
    EndpointSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointSet,
>;

impl<'a> Provider<'a> {
    pub(super) async fn discover(state: &'a ApiState, settings: &'a GoogleSettings) -> Result<Self, Failure> {
        let http = reqwest::Client::builder()
            .redirect(redirect::Policy::none())
            .connect_timeout(CONNECT)
            .timeout(PATIENCE)
            .build()
            .map_err(|_| Failure::Unavailable("no HTTP client can be made"))?;
        let issuer = settings.issuer.trim_end_matches('/');
        let url = format!("{issuer}/.well-known/openid-configuration");
        let discovered: Discovered = kept(state, &http, &url, false).await?;
        let urls = [&discovered.authorization_endpoint, &discovered.token_endpoint, &discovered.jwks_uri];
        let safe = !issuer.starts_with("https:") || urls.iter().all(|url| url.starts_with("https:"));
        if discovered.issuer.trim_end_matches('/') != issuer || !safe {
            return Err(Failure::Unavailable("its description is of another issuer, or without TLS"));
        }
        Ok(Self { state, settings, http, discovered })
    }

    /// Where to send the browser.
    pub(super) fn authorize(
        &self,
        challenge: PkceCodeChallenge,
        state: &str,
        nonce: &str,
    ) -> Result<Url, Failure> {
        let state = CsrfToken::new(state.to_owned());
        let client = self.client()?;
        let request = client
            .authorize_url(move || state)
            .add_scopes(["openid", "email", "profile"].map(|scope| Scope::new(scope.to_owned())))
            .add_extra_param("nonce", nonce)
            .set_pkce_challenge(challenge);
        Ok(request.url().0)
    }

    /// Who the code is of, if the provider says so in a token for us and for this `nonce`.
    pub(super) async fn identify(
        &self,
        code: String,
        verifier: String,
        nonce: &str,
    ) -> Result<IdClaims, Failure> {
        let client = self.http.clone();
        let http = move |request: HttpRequest| send(client.clone(), request);
        let tokens = self
            .client()?
            .exchange_code(AuthorizationCode::new(code))
            .set_pkce_verifier(PkceCodeVerifier::new(verifier))
            .request_async(&http)
            .await
            .map_err(|error| match error {
                RequestTokenError::ServerResponse(_) => Failure::Refused("it does not take the code"),
                _ => Failure::Unavailable("its token endpoint does not answer as it should"),
            })?;
        let token = tokens.extra_fields().id_token.as_deref();
        let token = token.filter(|token| token.len() <= MAX_TOKEN_BYTES);
        self.verify(token.ok_or(Failure::Refused("it gave no ID token"))?, nonce).await
    }

    /// OpenID Connect Core 1.0, 3.1.3.7.
    async fn verify(&self, token: &str, nonce: &str) -> Result<IdClaims, Failure> {
        let unreadable = |_| Failure::Refused("the ID token cannot be read, or says `none`");
        let header = decode_header(token).map_err(unreadable)?;
        if !matches!(header.alg, Algorithm::RS256 | Algorithm::ES256 | Algorithm::EdDSA) {
            return Err(Failure::Refused("the ID token is signed with an algorithm that is not taken"));
        }
        let kid = header.kid.ok_or(Failure::Refused("the ID token names no key"))?;
        let key = self.key(&kid).await?;
        let (id, issuer) = (&self.settings.client_id, self.settings.issuer.trim_end_matches('/'));
        let mut rules = Validation::new(header.alg);
        rules.set_audience(&[id]);
        // Google writes both.
        rules.set_issuer(&[&self.discovered.issuer, issuer.strip_prefix("https://").unwrap_or(issuer)]);
        rules.set_required_spec_claims(&["iss", "aud", "sub", "exp"]);
        rules.validate_nbf = true;
        rules.leeway = LEEWAY_S;
        let claims = decode::<IdClaims>(token, &key, &rules)
            .map_err(|_| Failure::Refused("the ID token is not in force, not for us, or not signed by it"))?
            .claims;
        let for_us_alone = match &claims.aud {
            OneOrMany::One(one) => one == id,
            OneOrMany::Many(all) => all[..] == [id.as_str()],
        };
        if !for_us_alone || claims.azp.as_ref().is_some_and(|azp| azp != id) {
            return Err(Failure::Refused("the ID token is for others, too"));
        }
        let said = claims.nonce.as_deref().unwrap_or_default();
        if !bool::from(said.as_bytes().ct_eq(nonce.as_bytes())) {
            return Err(Failure::Refused("the ID token is of another sign-in"));
        }
        if !(1..=255).contains(&claims.sub.len()) || claims.sub.contains('\0') {
            return Err(Failure::Refused("the ID token names nobody"));
        }
        Ok(claims)
    }

    /// Asks for the keys anew when there is none of this name, once a minute at most.
    async fn key(&self, kid: &str) -> Result<DecodingKey, Failure> {
        let url = &self.discovered.jwks_uri;
        let mut keys: JwkSet = kept(self.state, &self.http, url, false).await?;
        let asked = format!("oidc:asked:{}", hashed(url));
        if keys.find(kid).is_none() && self.state.cache.set_once(&asked, "".into(), ASK_AGAIN).await? {
            keys = kept(self.state, &self.http, url, true).await?;
        }
        let key = keys.find(kid).ok_or(Failure::Refused("the ID token is signed with an unknown key"))?;
        DecodingKey::from_jwk(key).map_err(|_| Failure::Refused("the ID token's key cannot be used"))
    }

    fn client(&self) -> Result<OidcClient, Failure> {
        let wrong = |_| Failure::Unavailable("its description has a place that is no URL");
        let callback = format!("{}{CALLBACK}", self.state.settings.public_url);
        Ok(Client::new(ClientId::new(self.settings.client_id.clone()))
            .set_client_secret(ClientSecret::new(self.settings.client_secret.expose_secret().to_owned()))
            .set_auth_uri(AuthUrl::new(self.discovered.authorization_endpoint.clone()).map_err(wrong)?)
            .set_token_uri(TokenUrl::new(self.discovered.token_endpoint.clone()).map_err(wrong)?)
            .set_redirect_uri(RedirectUrl::new(callback).map_err(wrong)?))
    }
}

/// A JSON document of the provider, from the cache unless it is to be `fresh`.
async fn kept<T: serde::de::DeserializeOwned>(
    state: &ApiState,
    http: &reqwest::Client,
    url: &str,
    fresh: bool,
) -> Result<T, Failure> {
    let key = format!("oidc:document:{}", hashed(url));
    let read = |bytes: &[u8]| serde_json::from_slice::<T>(bytes).ok();
    if !fresh && let Some(known) = state.cache.get(&key).await?.and_then(|bytes| read(&bytes)) {
        return Ok(known);
    }
    let answer = http.get(url).send().await.map_err(|_| Failure::Unavailable("it cannot be reached"))?;
    let (status, bytes) = bounded(answer).await?;
    let document = read(&bytes).filter(|_| status.is_success());
    let document = document.ok_or(Failure::Unavailable("its description cannot be read"))?;
    state.cache.set(&key, bytes.into(), KEPT).await?;
    Ok(document)
}

async fn send(http: reqwest::Client, request: HttpRequest) -> Result<HttpResponse, Failure> {
    let unreachable = |_| Failure::Unavailable("it cannot be reached");
    let (parts, body) = request.into_parts();
    let request = http.request(parts.method, parts.uri.to_string()).headers(parts.headers).body(body);
    let answer = request.send().await.map_err(unreachable)?;
    let headers = answer.headers().clone();
    let (status, body) = bounded(answer).await?;
    let mut answer = HttpResponse::new(body);
    *answer.status_mut() = status;
    *answer.headers_mut() = headers;
    Ok(answer)
}

async fn bounded(mut answer: reqwest::Response) -> Result<(reqwest::StatusCode, Vec<u8>), Failure> {
    let mut bytes = Vec::new();
    while let Some(chunk) = answer.chunk().await.map_err(|_| Failure::Unavailable("it broke off"))? {
        if bytes.len() + chunk.len() > MAX_ANSWER_BYTES {
            return Err(Failure::Unavailable("its answer is too long"));
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok((answer.status(), bytes))
}

/// Behind the public URL; the provider must be told of it.
const CALLBACK: &str = "/api/v1/auth/google/callback";
const CONNECT: Duration = Duration::from_secs(3);
const PATIENCE: Duration = Duration::from_secs(6);
const KEPT: Duration = Duration::from_secs(60 * 60);
const ASK_AGAIN: Duration = Duration::from_secs(60);
const LEEWAY_S: u64 = 30;
const MAX_ANSWER_BYTES: usize = 256 * 1024;
const MAX_TOKEN_BYTES: usize = 16 * 1024;
