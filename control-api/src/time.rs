//! The clock of the API, and how instants are kept (unix ms) and shown (RFC 3339).
//!
//! Not here: the audio path, which counts samples.

use chrono::{DateTime, SecondsFormat, Utc};

/// Unix time in milliseconds.
pub(crate) fn now_ms() -> i64 {
    Utc::now().timestamp_millis()
}

/// `2026-11-23T20:15:00.000Z`; the epoch for what no calendar has.
pub(crate) fn rfc3339(unix_ms: i64) -> String {
    let instant = DateTime::<Utc>::from_timestamp_millis(unix_ms).unwrap_or_default();
    instant.to_rfc3339_opts(SecondsFormat::Millis, true)
}
