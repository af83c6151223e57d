//! Stub.
/// Stub.
pub struct ScriptedTranscriber;
