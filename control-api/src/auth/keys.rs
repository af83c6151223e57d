//! The keys that sign access tokens: the newest signs, all verify, so that a change of keys logs nobody out.
//!
//! Not here: what a token says.

mod folder;

pub use folder::KeyFolder;

use aws_lc_rs::{
    rand::SystemRandom,
    signature::{Ed25519KeyPair, KeyPair as _, RsaKeyPair},
};
use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use jsonwebtoken::{
    Algorithm, DecodingKey, EncodingKey,
    jwk::{AlgorithmParameters, Jwk},
};
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
        let thumbprint = format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{x}"}}"#);
        let members = [("kty", "OKP"), ("crv", "Ed25519"), ("x", x.as_str())];
        let (encoding, decoding) = (EncodingKey::from_ed_der(pkcs8), DecodingKey::from_ed_der(public));
        Ok(Self::of(Algorithm::EdDSA, encoding, decoding, &thumbprint, &members))
    }

    /// An RSA key of 2,048 to 8,192 bits from PKCS#8 DER, for RS256: for those who cannot check EdDSA.
    ///
    /// # Errors
    /// As [`SigningKey::ed25519`].
    pub fn rsa(pkcs8: &[u8]) -> Result<Self, KeyError> {
        let wrong = || KeyError("it is no RSA key of 2,048 to 8,192 bits in PKCS#8".to_owned());
        RsaKeyPair::from_pkcs8(pkcs8).map_err(|_| wrong())?;
        // Takes the key itself out of PKCS#8.
        let encoding = EncodingKey::from_rsa_pem(pem(pkcs8).as_bytes()).map_err(|_| wrong())?;
        let jwk = Jwk::from_encoding_key(&encoding, Algorithm::RS256).map_err(|_| wrong())?;
        let AlgorithmParameters::RSA(public) = jwk.algorithm else { return Err(wrong()) };
        let (n, e) = (public.n.as_str(), public.e.as_str());
        let decoding = DecodingKey::from_rsa_components(n, e).map_err(|_| wrong())?;
        let thumbprint = format!(r#"{{"e":"{e}","kty":"RSA","n":"{n}"}}"#);
        Ok(Self::of(Algorithm::RS256, encoding, decoding, &thumbprint, &[("kty", "RSA"), ("n", n), ("e", e)]))
    }

    /// A key of either kind from PEM, as `openssl genpkey -algorithm ed25519` writes it.
    ///
    /// # Errors
    /// As [`SigningKey::ed25519`].
    pub fn from_pem(text: &str) -> Result<Self, KeyError> {
        let wrong = || KeyError("it is no PEM with one `PRIVATE KEY` (PKCS#8, not encrypted)".to_owned());
        let (_, rest) = text.split_once(BEGIN).ok_or_else(wrong)?;
        let (lines, rest) = rest.split_once(END).ok_or_else(wrong)?;
        if rest.contains("-----BEGIN") {
            return Err(wrong());
        }
        let lines: String = lines.split_ascii_whitespace().collect();
        let pkcs8 = STANDARD.decode(lines).map_err(|_| wrong())?;
        Self::ed25519(&pkcs8).or_else(|_| Self::rsa(&pkcs8)).map_err(|_| {
            KeyError("it is neither an Ed25519 key nor an RSA key of 2,048 to 8,192 bits".to_owned())
        })
    }

    /// By what tokens name it.
    pub fn kid(&self) -> &str {
        &self.kid
    }

    fn of(
        algorithm: Algorithm,
        encoding: EncodingKey,
        decoding: DecodingKey,
        thumbprint: &str,
        members: &[(&str, &str)],
    ) -> Self {
        let kid = URL_SAFE_NO_PAD.encode(Sha256::digest(thumbprint));
        let alg = if algorithm == Algorithm::RS256 { "RS256" } else { "EdDSA" };
        let common = [("kid", kid.as_str()), ("alg", alg), ("use", "sig")];
        let members = common.iter().chain(members);
        let jwk = members.map(|(name, value)| ((*name).to_owned(), (*value).into())).collect();
        Self { kid, algorithm, encoding, decoding, jwk }
    }
}

/// A private key as a PEM file.
pub(super) fn pem(pkcs8: &[u8]) -> String {
    let text = STANDARD.encode(pkcs8);
    let lines = text.as_bytes().chunks(64).map(|line| str::from_utf8(line).expect("base64 is ASCII"));
    let lines: Vec<&str> = lines.collect();
    format!("{BEGIN}\n{}\n{END}\n", lines.join("\n"))
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

    /// How many there are.
    pub fn count(&self) -> usize {
        self.keys.len()
    }
}

const BEGIN: &str = "-----BEGIN PRIVATE KEY-----";
const END: &str = "-----END PRIVATE KEY-----";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_comes_back_from_pem_and_nothing_else_does() {
        let der = SigningKey::generate().unwrap();
        let pem = pem(&der);
        assert_eq!(SigningKey::from_pem(&pem).unwrap().kid, SigningKey::ed25519(&der).unwrap().kid);
        let twice = format!("{pem}{pem}");
        let cut = pem.replace("-----END", "");
        let other = pem.replace("PRIVATE", "RSA PRIVATE");
        let damaged = pem.replace("MF", "AA");
        for wrong in ["", "canary", &twice, &cut, &other, &damaged] {
            let error = SigningKey::from_pem(wrong).unwrap_err().to_string();
            assert!(!error.contains("canary") && !error.contains(&pem[40..50]), "{error}");
        }
    }

    /// The example of RFC 8037, A.3.
    #[test]
    fn a_kid_is_the_thumbprint() {
        let seed = URL_SAFE_NO_PAD.decode("nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A").unwrap();
        let head = [0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];
        let key = SigningKey::ed25519(&[&head, &*seed].concat()).unwrap();
        assert_eq!(key.kid(), "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
    }
}
