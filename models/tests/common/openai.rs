//! An OpenAI client for a scripted server, and events that it reads. Not here: any test.

use models::chat::{OpenAiChat, OpenAiChatConfig};

use super::sse_server::SseServer;

pub(crate) fn openai(server: &SseServer, change: impl FnOnce(&mut OpenAiChatConfig)) -> OpenAiChat {
    let mut config = OpenAiChatConfig {
        base_url: server.base_url(),
        api_key: Some("sk-secret".to_owned().into()),
        ..OpenAiChatConfig::new("asked-for")
    };
    change(&mut config);
    OpenAiChat::new(config).unwrap()
}

pub(crate) const TEXT: &str = r#"{"choices":[{"delta":{"content":"a"}}]}"#;
pub(crate) const USAGE: &str =
    r#"{"choices":[],"usage":{"prompt_tokens":7,"completion_tokens":3,"total_tokens":10}}"#;
pub(crate) const FINISH: &str = r#"{"choices":[{"delta":{},"finish_reason":"stop"}]}"#;
pub(crate) const PLAIN: &[&str] = &[
    r#"{"model":"m-1","choices":[{"index":0,"delta":{"role":"assistant","content":"Hel"},"finish_reason":null}]}"#,
    r#"{"model":"m-1","choices":[{"index":0,"delta":{"content":"lo"},"finish_reason":null}]}"#,
    r#"{"model":"m-1","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}"#,
    "[DONE]",
];
