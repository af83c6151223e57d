//! Stub.
/// Stub.
pub struct Notes;
