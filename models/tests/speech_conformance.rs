//! What every `Transcriber` does, run on each: scripted, local Whisper with real weights, an OpenAI-compatible server,
//! `Fallback` of two, `Cached`.
//!
//! Not here: what is recognised, or in which order jobs run.
#![allow(clippy::unwrap_used)]

#[path = "common/recordings.rs"]
#[allow(dead_code)]
mod recordings;
#[path = "common/sse_server.rs"]
#[allow(dead_code)]
mod sse_server;

use std::{num::NonZeroUsize, sync::Arc, time::Duration};

use futures_util::{StreamExt, future::join_all};
use models::speech::{
    Cached, Fallback, FallbackConfig, InferencePool, OpenAiSpeechConfig, OpenAiTranscriber, PoolConfig,
    Priority, ScriptedTranscriber, TranscribeError, TranscribeRequest, Transcriber, Transcript,
    TranscriptCache, TranscriptEvent,
};
use sse_server::{SseServer, Step};

fn request(priority: Priority, stream: u64) -> TranscribeRequest {
    // Each stream's audio is its own, so that no cache answers one with another's.
    let audio = vec![0.0; 8_000 + stream as usize].into();
    TranscribeRequest {
        audio,
        language: Some("en".into()),
        vocabulary: Arc::from(["Rust".to_owned()]),
        settled: Arc::from([]),
        before: Arc::from(""),
        priority,
        stream,
        cache: true,
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

fn silent() -> ScriptedTranscriber {
    let silence = Transcript { language: "en".into(), ..Transcript::default() };
    ScriptedTranscriber::new(move |_| (Duration::from_millis(100), Ok(silence.clone())))
}

fn local() -> InferencePool {
    let one = NonZeroUsize::MIN;
    let config = PoolConfig { max_waiting: 16, ..PoolConfig::for_cores(one) };
    InferencePool::load(recordings::weights("tiny.en"), config).unwrap()
}

#[tokio::test(start_paused = true)]
async fn scripted() {
    conforms(Arc::new(silent())).await;
}

#[tokio::test]
async fn local_whisper() {
    conforms(Arc::new(local())).await;
}

#[tokio::test]
async fn openai() {
    let body = r#"{"text":"","language":"english","segments":[]}"#;
    let length = body.len();
    let head = format!("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n");
    let server = SseServer::start(vec![Step::Send((head + body).into()), Step::Close]).await;
    let config =
        OpenAiSpeechConfig { base_url: server.base_url(), interims: true, ..OpenAiSpeechConfig::default() };
    conforms(Arc::new(OpenAiTranscriber::new(config).unwrap())).await;
}

#[tokio::test(start_paused = true)]
async fn fallback() {
    conforms(Arc::new(Fallback::new(Arc::new(silent()), Arc::new(silent()), FallbackConfig::default())))
        .await;
    let failing = ScriptedTranscriber::in_order([]);
    conforms(Arc::new(Fallback::new(Arc::new(failing), Arc::new(silent()), FallbackConfig::default()))).await;
}

#[tokio::test(start_paused = true)]
async fn cached() {
    conforms(Arc::new(Cached::new(silent(), "scripted", TranscriptCache::new(1 << 20)))).await;
}

#[tokio::test]
async fn cached_local_whisper() {
    conforms(Arc::new(Cached::new(local(), "tiny.en", TranscriptCache::new(1 << 20)))).await;
}
