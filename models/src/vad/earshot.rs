//! Stub.
/// Stub.
pub struct EarshotVad;
