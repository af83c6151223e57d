//! `Idempotency-Key`: a creating request that is sent twice is done once.
//!
//! Not here: the requests.
