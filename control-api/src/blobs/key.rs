//! Names of blobs that mean the same in a folder and in a bucket, and lead nowhere else.
//!
//! Not here: what a key stands for.

use super::BlobError;

/// A blob's key: 1 to 8 segments with `/` between them, 512 bytes at most. A segment is ASCII letters, digits, `-`, `_` and
/// `.`, and does not begin with `.`. As folders have it: where `a/b` is a blob, `a` cannot be one too.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct BlobKey(String);

/// Every key that begins with these whole segments: `users/1` holds `users/1/cv` and not `users/10/cv`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct BlobPrefix(String);

impl BlobKey {
    /// `key`, if it is one.
    ///
    /// # Errors
    /// [`BlobError::Invalid`] says what a key looks like.
    pub fn new(key: impl Into<String>) -> Result<Self, BlobError> {
        valid(key.into()).map(Self)
    }

    /// As it was given.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl BlobPrefix {
    /// `prefix`, if a key could begin so. There is none for all blobs.
    ///
    /// # Errors
    /// [`BlobError::Invalid`] says what a prefix looks like.
    pub fn new(prefix: impl Into<String>) -> Result<Self, BlobError> {
        valid(prefix.into()).map(Self)
    }

    /// As it was given.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn valid(key: String) -> Result<String, BlobError> {
    let segment = |segment: &str| {
        !segment.is_empty()
            && !segment.starts_with('.')
            && segment.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
    };
    if key.len() > MAX_BYTES {
        return Err(BlobError::Invalid("it has more than 512 bytes"));
    }
    if key.split('/').count() > MAX_SEGMENTS || !key.split('/').all(segment) {
        return Err(BlobError::Invalid(
            "it is 1 to 8 segments of letters, digits, `-`, `_` and `.`, with `/` between them, none beginning with `.`",
        ));
    }
    Ok(key)
}

const MAX_BYTES: usize = 512;
const MAX_SEGMENTS: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_lead_nowhere_else() {
        for good in ["a", "users/1/cv-2.pdf", "A_b.c", "1/2/3/4/5/6/7/8"] {
            assert_eq!(BlobKey::new(good).unwrap().as_str(), good);
        }
        let bad = [
            "",
            "/",
            "/a",
            "a/",
            "a//b",
            ".",
            "..",
            "../a",
            "a/../b",
            "a/./b",
            ".hidden",
            "a/.b",
            "a b",
            "a\\b",
            "a\0b",
            "%2e%2e/a",
            "é",
            "a#1",
            "a:b",
            "1/2/3/4/5/6/7/8/9",
        ];
        for bad in bad {
            assert!(BlobKey::new(bad).is_err(), "{bad:?}");
            assert!(BlobPrefix::new(bad).is_err(), "{bad:?}");
        }
        assert!(BlobKey::new("a".repeat(512)).is_ok());
        assert!(BlobKey::new("a".repeat(513)).is_err());
    }
}
