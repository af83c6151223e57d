//! Stub.
/// Stub.
pub struct WebRtcVad;
