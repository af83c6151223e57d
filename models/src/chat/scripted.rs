//! Stub.
/// Stub.
pub struct ScriptedChat;
/// Stub.
pub enum ScriptedDelta {}
