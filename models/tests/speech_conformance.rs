//! What every `Transcriber` does, run on each: scripted, and local Whisper with real weights.
//!
//! Not here: what is recognised, or in which order jobs run.
#![allow(clippy::unwrap_used)]

#[path = "common/recordings.rs"]
#[allow(dead_code)]
mod recordings;

use std::{num::NonZeroUsize, sync::Arc, time::Duration};

use futures_util::{StreamExt, future::join_all};
use models::speech::{
    InferencePool, PoolConfig, Priority, ScriptedTranscriber, TranscribeError, TranscribeRequest,
    Transcriber, Transcript, TranscriptEvent,
};

fn request(priority: Priority, stream: u64) -> TranscribeRequest {
    let (audio, vocabulary) = (Arc::from([0.0; 8_000]), Arc::from(["Rust".to_owned()]));
    TranscribeRequest {
        audio,
        language: Some("en".into()),
        vocabulary,
        priority,
        stream,
        settled: Arc::from([]),
        before: Arc::from(""),
    }
}

/// The suite. `transcriber` finds nothing in silence.
async fn conforms(transcriber: Arc<dyn Transcriber>) {
    // The transcript is the last event, once, and the stream stays at its end.
    for priority in [Priority::Interim, Priority::Speculative, Priority::Final] {
        let mut events = transcriber.transcribe(request(priority, 1));
        let mut last = None;
        while let Some(event) = events.next().await {
            assert!(
                !matches!(last, Some(Ok(TranscriptEvent::Final(_)) | Err(_))),
                "after the end: {event:?}"
            );
            last = Some(event);
        }
        let Some(Ok(TranscriptEvent::Final(transcript))) = last else { panic!("{last:?}") };
        assert_eq!((transcript.text.as_str(), transcript.confidence, transcript.words.len()), ("", 0.0, 0));
        assert_eq!(transcript.language, "en");
    }

    // Streams may be dropped at any time, polled or not, and others are answered; so are requests made at once.
    drop(transcriber.transcribe(request(Priority::Final, 1)));
    let mut polled = transcriber.transcribe(request(Priority::Final, 2));
    assert!(futures_util::poll!(polled.next()).is_pending());
    drop(polled);
    let all = join_all(
        (0..4).map(|stream| transcriber.transcribe(request(Priority::Final, stream)).collect::<Vec<_>>()),
    );
    for events in all.await {
        assert!(matches!(events.last(), Some(Ok(TranscriptEvent::Final(_)))), "{events:?}");
    }

    // The stream is its own: it outlives the borrow and moves to other threads.
    let events = transcriber.transcribe(request(Priority::Final, 5));
    let other = tokio::spawn(async move { events.collect::<Vec<_>>().await });
    assert!(matches!(other.await.unwrap().last(), Some(Ok(TranscriptEvent::Final(_)))));

    // No audio at all is answered too.
    let nothing = TranscribeRequest { audio: Arc::from([]), ..request(Priority::Final, 6) };
    let events: Vec<Result<TranscriptEvent, TranscribeError>> =
        transcriber.transcribe(nothing).collect().await;
    assert!(matches!(events.last(), Some(Ok(TranscriptEvent::Final(_)))), "{events:?}");
}

#[tokio::test(start_paused = true)]
async fn scripted() {
    let silence = Transcript { language: "en".into(), ..Transcript::default() };
    conforms(Arc::new(ScriptedTranscriber::new(move |_| (Duration::from_millis(100), Ok(silence.clone())))))
        .await;
}

#[tokio::test]
async fn local_whisper() {
    let one = NonZeroUsize::MIN;
    let config = PoolConfig { workers: one, threads_per_worker: one, max_waiting: 16 };
    conforms(Arc::new(InferencePool::load(recordings::weights("tiny.en"), config).unwrap())).await;
}
