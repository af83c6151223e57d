//! Secrets that are handed out and shown again: 256 random bits in base64url, kept as their SHA-256 only.
//!
//! A slow hash is for what people choose; 256 random bits cannot be guessed however fast the hash is. Not here: what a secret
//! opens, access tokens (`token`).

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use sha2::{Digest as _, Sha256};

/// A new one, of [`CHARS`] characters.
pub(super) fn fresh() -> String {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).expect("an operating system without randomness runs no server");
    URL_SAFE_NO_PAD.encode(bytes)
}

/// As what it is kept. Also names a mail address where it must not stand itself.
pub(super) fn hash(secret: &str) -> String {
    URL_SAFE_NO_PAD.encode(Sha256::digest(secret))
}

/// The secret that follows `previous`: who has one of the two knows nothing.
pub(super) fn next(seed: &str, previous: &str) -> String {
    let hash = Sha256::new_with_prefix(seed).chain_update(b"/").chain_update(previous).finalize();
    URL_SAFE_NO_PAD.encode(hash)
}

/// Characters of a secret: 32 bytes in base64url, unpadded.
pub(super) const CHARS: usize = 43;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_differ_and_are_not_what_is_kept() {
        let (one, other) = (fresh(), fresh());
        assert_eq!((one.len(), other.len(), hash(&one).len()), (CHARS, CHARS, CHARS));
        assert!(one != other && hash(&one) != one && hash(&one) != hash(&other));
        assert_eq!(next("seed", &one), next("seed", &one));
        assert!(next("seed", &one) != next("seed", &other) && next("seed", &one) != next("other", &one));
    }
}
