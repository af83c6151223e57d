//! What a session asks of its transcriber: only what it serves, not to be kept when nothing is, with the names of the CV.
//!
//! Not here: what such transcribers are (`models/tests/speech_openai.rs`, `speech_cached.rs`).
#![allow(clippy::unwrap_used)]

#[path = "support/harness.rs"]
#[allow(dead_code)]
mod harness;

use std::{sync::Arc, time::Duration};

use futures_util::stream::BoxStream;
use harness::*;
use models::speech::{
    Priority, ScriptedTranscriber, TranscribeError, TranscribeRequest, Transcriber, TranscriptEvent,
};
use protocol::{ClientMessage, MarkerId};

struct FinalsOnly(ScriptedTranscriber);

impl Transcriber for FinalsOnly {
    fn serves(&self, priority: Priority) -> bool {
        priority == Priority::Final
    }

    fn transcribe(
        &self,
        request: TranscribeRequest,
    ) -> BoxStream<'static, Result<TranscriptEvent, TranscribeError>> {
        self.0.transcribe(request)
    }
}

fn scripted() -> ScriptedTranscriber {
    ScriptedTranscriber::new(|_| (Duration::from_millis(50), Ok(transcript("Well."))))
}

#[tokio::test(start_paused = true)]
async fn nothing_is_asked_in_vain() {
    let transcriber = scripted();
    let mut setup = Setup::with(transcriber.clone());
    setup.defaults.interim_results = true;
    setup.transcriber = Arc::new(FinalsOnly(transcriber.clone()));
    let mut conversation = setup.start().await;
    conversation.say(&speech(3_000)).await;
    // Of an open turn there is no text before its final, so the marker waits for that.
    conversation.send(ClientMessage::Marker { id: MarkerId::Text("m".to_owned()) }).await;
    conversation.say(&[speech(1_000), silence(1_000)].concat()).await;
    let story = conversation.finish().await.story();
    let at = |line: &str| {
        story.iter().position(|found| found.starts_with(line)).unwrap_or_else(|| panic!("{story:#?}"))
    };
    assert!(at("final 1") < at("marker"), "{story:#?}");
    assert!(
        !story.iter().any(|line| line.starts_with("warning") || line.starts_with("interim")),
        "{story:#?}"
    );
    let asked: Vec<_> = transcriber.requests().iter().map(|request| request.priority).collect();
    assert_eq!(asked, [Priority::Final]);
}

#[tokio::test(start_paused = true)]
async fn a_session_without_history_allows_no_cache() {
    for save_history in [true, false] {
        let transcriber = scripted();
        let mut setup = Setup::with(transcriber.clone());
        setup.defaults.save_history = save_history;
        let mut conversation = setup.start().await;
        conversation.say(&[speech(2_000), silence(1_000)].concat()).await;
        conversation.finish().await;
        let requests = transcriber.requests();
        assert!(!requests.is_empty() && requests.iter().all(|request| request.cache == save_history));
    }
}

/// Names in the candidate's papers are likely to be said; the client's own list comes first.
#[tokio::test(start_paused = true)]
async fn names_of_the_cv_are_told_to_the_transcriber() {
    let transcriber = scripted();
    let mut setup = Setup::with(transcriber.clone());
    setup.defaults.vocabulary = Arc::from(["Tidewater".to_owned(), "postgresql".to_owned()]);
    let context = engine::ports::CandidateContext {
        cv: "Ada\nMoved PostgreSQL to Kubernetes".to_owned(),
        job_description: "We use gRPC.".to_owned(),
        ..engine::ports::CandidateContext::default()
    };
    setup.context = Arc::new(engine::ports::memory::OneCandidate(context));
    let mut conversation = setup.start().await;
    conversation.say(&[speech(1_000), silence(1_500)].concat()).await;
    conversation.finish().await;
    let told = transcriber.requests().last().unwrap().vocabulary.clone();
    assert_eq!(told[..], ["Tidewater", "postgresql", "gRPC", "Kubernetes"]);
}
