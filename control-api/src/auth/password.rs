//! Passwords: hashed with argon2id, a few at once, on threads of their own.
//!
//! Not here: which passwords are allowed.

/// Hashes and checks passwords.
#[derive(Clone, Debug, Default)]
pub struct Passwords {}
