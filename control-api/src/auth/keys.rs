//! The keys that sign access tokens: the newest signs, all verify, so that a change of keys logs nobody out.
//!
//! Not here: what a token says.

use aws_lc_rs::{
    rand::SystemRandom,
    signature::{Ed25519KeyPair, KeyPair as _},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey};
use sha2::{Digest as _, Sha256};

/// A private key and what checks its signatures.
#[derive(Clone)]
pub struct SigningKey {
    pub(super) kid: String,
    pub(super) algorithm: Algorithm,
    pub(super) encoding: EncodingKey,
    pub(super) decoding: DecodingKey,
    /// The public key's members of a JWK, such as `kty`.
    pub(super) jwk: serde_json::Map<String, serde_json::Value>,
}

/// A key cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the signing key cannot be used: {0}")]
pub struct KeyError(pub(super) String);

impl SigningKey {
    /// A fresh Ed25519 key, as PKCS#8 DER.
    ///
    /// # Errors
    /// When the system has no randomness.
    pub fn generate() -> Result<Vec<u8>, KeyError> {
        let failed = |_| KeyError("the system gave no random bytes".to_owned());
        let key = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).map_err(failed)?;
        Ok(key.as_ref().to_vec())
    }

    /// An Ed25519 key from PKCS#8 DER. Its `kid` is the thumbprint of RFC 7638.
    ///
    /// # Errors
    /// [`KeyError`] says what is wrong with it, without anything of it.
    pub fn ed25519(pkcs8: &[u8]) -> Result<Self, KeyError> {
        let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(pkcs8)
            .map_err(|_| KeyError("it is no Ed25519 key in PKCS#8".to_owned()))?;
        let public = pair.public_key().as_ref();
        let x = URL_SAFE_NO_PAD.encode(public);
        let thumbprint = Sha256::digest(format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{x}"}}"#));
        let members =
            [("kty", "OKP"), ("crv", "Ed25519"), ("alg", "EdDSA"), ("use", "sig"), ("x", x.as_str())];
        Ok(Self {
            kid: URL_SAFE_NO_PAD.encode(thumbprint),
            algorithm: Algorithm::EdDSA,
            encoding: EncodingKey::from_ed_der(pkcs8),
            decoding: DecodingKey::from_ed_der(public),
            jwk: members.map(|(name, value)| (name.to_owned(), value.into())).into_iter().collect(),
        })
    }
}

impl std::fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SigningKey").field("kid", &self.kid).finish_non_exhaustive()
    }
}

/// The keys in use: the first signs, all verify.
#[derive(Clone, Debug)]
pub struct SigningKeys {
    pub(super) keys: Vec<SigningKey>,
}

impl SigningKeys {
    /// `newest` signs; `older` ones verify what they signed while they were the newest.
    pub fn new(newest: SigningKey, older: Vec<SigningKey>) -> Self {
        Self { keys: std::iter::once(newest).chain(older).collect() }
    }
}
