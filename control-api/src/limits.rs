//! What may be called how often: by address before login, by user and route after it.
//!
//! Not here: what a plan allows in a month (`quotas`), the arithmetic (`cache::Limit`).

/// What may be called how often.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RateLimits {}
