//! Stub.
/// Stub.
pub struct OpenAiChat;
/// Stub.
pub struct OpenAiChatConfig;
