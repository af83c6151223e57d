//! Access tokens: JWTs that say who calls, for 15 minutes.
//!
//! A token is taken only with the algorithm of the key that its `kid` names, and with the `typ` of RFC 9068, so that nothing else
//! that is signed here passes for one. Not here: refresh tokens, which are no JWTs, and whether the login is still in force (`current`).

use std::sync::RwLock;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, Header, Validation, decode, encode};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::keys::SigningKeys;
use crate::time::now_ms;

/// What an access token says. Times are unix seconds, as RFC 7519 has them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccessClaims {
    /// Who signed it.
    pub iss: String,
    /// For whom: this API.
    pub aud: String,
    /// The user's id.
    pub sub: String,
    /// The login's id.
    pub sid: String,
    /// Its own id.
    pub jti: String,
    /// When it was issued.
    pub iat: i64,
    /// From when it works.
    pub nbf: i64,
    /// Until when it works.
    pub exp: i64,
}

/// Signs and checks access tokens.
#[derive(Debug)]
pub struct AccessTokens {
    issuer: String,
    audience: String,
    keys: RwLock<SigningKeys>,
}

/// The token is refused. Why is not told to who shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the access token is not valid, or not any more; log in or refresh it")]
pub struct TokenError;

impl AccessTokens {
    /// Tokens of `issuer` for `audience`, signed with the newest of `keys`.
    pub fn new(issuer: impl Into<String>, audience: impl Into<String>, keys: SigningKeys) -> Self {
        Self { issuer: issuer.into(), audience: audience.into(), keys: RwLock::new(keys) }
    }

    /// A token for the user's login, and in how many seconds it ends.
    ///
    /// # Errors
    /// [`TokenError`] when the key cannot sign.
    pub fn issue(&self, user_id: &str, login_id: &str) -> Result<(String, i64), TokenError> {
        let now = now_ms() / 1_000;
        let claims = AccessClaims {
            iss: self.issuer.clone(),
            aud: self.audience.clone(),
            sub: user_id.to_owned(),
            sid: login_id.to_owned(),
            jti: Uuid::new_v4().to_string(),
            iat: now,
            nbf: now,
            exp: now + LIFETIME_S,
        };
        let keys = self.keys.read().expect("nothing panics while it is locked");
        let key = keys.keys.first().expect("there is a newest key");
        let header =
            Header { typ: Some(TYPE.to_owned()), kid: Some(key.kid.clone()), ..Header::new(key.algorithm) };
        let token = encode(&header, &claims, &key.encoding).map_err(|_| TokenError)?;
        Ok((token, LIFETIME_S))
    }

    /// What `token` says, if it is one of ours and in force.
    ///
    /// # Errors
    /// [`TokenError`] for any other text.
    pub fn verify(&self, token: &str) -> Result<AccessClaims, TokenError> {
        let header = OurHeader::of(token).ok_or(TokenError)?;
        let keys = self.keys.read().expect("nothing panics while it is locked");
        let key = keys.keys.iter().find(|key| key.kid == header.kid).ok_or(TokenError)?;
        if header.typ != TYPE || header.alg != key.algorithm {
            return Err(TokenError);
        }
        let mut rules = Validation::new(key.algorithm);
        rules.set_issuer(&[&self.issuer]);
        rules.set_audience(&[&self.audience]);
        rules.set_required_spec_claims(&["iss", "aud", "sub", "exp", "nbf"]);
        rules.validate_nbf = true;
        rules.leeway = LEEWAY_S;
        let claims = decode::<AccessClaims>(token, &key.decoding, &rules).map_err(|_| TokenError)?.claims;
        claims.are_ours().then_some(claims).ok_or(TokenError)
    }

    /// The public keys as a JWK Set (RFC 7517), with which others check tokens.
    pub fn jwks(&self) -> serde_json::Value {
        let keys = self.keys.read().expect("nothing panics while it is locked");
        let jwks: Vec<_> = keys.keys.iter().map(|key| key.jwk.clone()).collect();
        serde_json::json!({ "keys": jwks })
    }

    /// Signs with the newest of `keys` from now on.
    pub fn replace_keys(&self, keys: SigningKeys) {
        *self.keys.write().expect("nothing panics while it is locked") = keys;
    }
}

impl AccessClaims {
    /// Whether we would sign this: even a key in wrong hands makes no token for longer.
    fn are_ours(&self) -> bool {
        let is_id =
            |id: &String| (1..=64).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_graphic());
        let named = [&self.sub, &self.sid, &self.jti].into_iter().all(is_id);
        named && self.nbf == self.iat && self.iat.checked_add(LIFETIME_S) == Some(self.exp)
    }
}

/// What our tokens have as a header, and nothing beside it: no key, no place where one lies, no extension.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OurHeader {
    alg: Algorithm,
    typ: String,
    kid: String,
}

impl OurHeader {
    /// The header of a token of three parts and bounded size.
    fn of(token: &str) -> Option<Self> {
        let mut parts = token.split('.');
        let head = parts.next()?;
        if token.len() > MAX_TOKEN_BYTES || parts.count() != 2 {
            return None;
        }
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(head).ok()?).ok()
    }
}

/// As the mission has it. An older token can be refreshed without the user.
pub(super) const LIFETIME_S: i64 = 15 * 60;
/// How far the clocks of two nodes may be apart.
pub(super) const LEEWAY_S: u64 = 5;
/// RFC 9068, 2.1.
const TYPE: &str = "at+jwt";
/// Several times what ours have.
const MAX_TOKEN_BYTES: usize = 4 * 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::SigningKey;

    fn key() -> SigningKey {
        SigningKey::ed25519(&SigningKey::generate().unwrap()).unwrap()
    }

    #[test]
    fn what_was_signed_is_read_back_and_keys_may_change() {
        let old = key();
        let tokens = AccessTokens::new("us", "api", SigningKeys::new(old.clone(), vec![]));
        let (token, lifetime) = tokens.issue("ann", "phone").unwrap();
        let claims = tokens.verify(&token).unwrap();
        assert_eq!(
            (&*claims.sub, &*claims.sid, claims.exp - claims.iat, lifetime),
            ("ann", "phone", 900, 900)
        );
        tokens.replace_keys(SigningKeys::new(key(), vec![old]));
        assert!(tokens.verify(&token).is_ok(), "signed before the change");
        tokens.replace_keys(SigningKeys::new(key(), vec![]));
        assert_eq!(tokens.verify(&token), Err(TokenError), "its key is gone");
    }
}
