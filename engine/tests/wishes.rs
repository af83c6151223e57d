//! Whether a session is kept when the candidate's preferences are not known, or not understood.
//!
//! Not here: preferences that are (`conversations.rs`, `server.rs`).
#![allow(clippy::unwrap_used)]

#[path = "support/harness.rs"]
#[allow(dead_code)]
mod harness;

use std::sync::Arc;

use engine::ports::{
    Access, CandidateContext, ContextError, ContextProvider,
    memory::{OneCandidate, RecentSessions},
};
use futures_util::future::{BoxFuture, FutureExt as _, ready};
use harness::*;
use protocol::{ConfigUpdate, ServerMessage};

struct Away;

impl ContextProvider for Away {
    fn context(&self, _: &Access) -> BoxFuture<'_, Result<CandidateContext, ContextError>> {
        ready(Err(ContextError::Unavailable("away".to_owned()))).boxed()
    }
}

/// Whether what was said is kept, with these preferences, and this wish of the client.
async fn is_kept(context: Arc<dyn ContextProvider>, wish: Option<bool>) -> bool {
    let recorder = Arc::new(RecentSessions::default());
    let mut setup = Setup::hearing("Remember this.");
    setup.context = context;
    setup.recorder = Arc::clone(&recorder) as _;
    let mut conversation = setup.connect();
    let config = wish.map(|wish| ConfigUpdate { save_history: Some(wish), ..ConfigUpdate::default() });
    conversation.send(start_with(|start| start.config = config)).await;
    conversation.wait_for(|message| matches!(message, ServerMessage::StreamStarted { .. })).await;
    conversation.say(&[speech(1_000), silence(1_000)].concat()).await;
    conversation.finish().await;
    tokio::time::sleep(std::time::Duration::from_millis(1)).await;
    let kept = recorder.events("test");
    kept.iter().any(|event| matches!(event.message, ServerMessage::Transcription(_)))
}

#[tokio::test(start_paused = true)]
async fn nothing_is_kept_of_who_could_not_be_asked() {
    assert!(!is_kept(Arc::new(Away), None).await);
    assert!(is_kept(Arc::new(Away), Some(true)).await, "the client knows what it wants");
}

#[tokio::test(start_paused = true)]
async fn a_wish_for_no_history_counts_though_another_is_not_understood() {
    for (save_history, kept) in [(Some(false), false), (Some(true), true), (None, true)] {
        let language = Some("no language".to_owned());
        let preferences = ConfigUpdate { language, save_history, ..ConfigUpdate::default() };
        let context = CandidateContext { preferences, ..CandidateContext::default() };
        assert_eq!(is_kept(Arc::new(OneCandidate(context)), None).await, kept, "{save_history:?}");
    }
}
