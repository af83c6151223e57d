//! `Cached`: what is remembered, for what, and how much. Not here: the conformance suite (`speech_conformance.rs`).
#![allow(clippy::unwrap_used)]

use std::{sync::Arc, time::Duration};

use futures_util::{StreamExt, stream, stream::BoxStream};
use models::speech::{
    Cached, Priority, ScriptedTranscriber, TranscribeError, TranscribeRequest, Transcriber, Transcript,
    TranscriptCache, TranscriptEvent,
};

fn request() -> TranscribeRequest {
    TranscribeRequest {
        audio: Arc::from([0.25; 1_600]),
        language: Some("en".into()),
        vocabulary: Arc::from(["Rust".to_owned(), "Tokio".to_owned()]),
        settled: Arc::from([]),
        before: Arc::from(""),
        priority: Priority::Final,
        stream: 1,
        cache: true,
    }
}

/// Says a number more at each request.
fn counting() -> ScriptedTranscriber {
    let count = std::sync::atomic::AtomicUsize::new(0);
    ScriptedTranscriber::new(move |_| {
        let number = count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        (Duration::ZERO, Ok(Transcript::scripted(&number.to_string())))
    })
}

async fn text(transcriber: &dyn Transcriber, request: TranscribeRequest) -> String {
    let events: Vec<_> = transcriber.transcribe(request).collect().await;
    let Some(Ok(TranscriptEvent::Final(transcript))) = events.last() else { panic!("{events:?}") };
    transcript.text.clone()
}

/// The original's tenth defect: its key left out the language and the model, so that a text came back in the wrong
/// language, or by the wrong model.
#[tokio::test]
async fn another_request_is_another_text() {
    let cache = TranscriptCache::new(1 << 20);
    let speech = Cached::new(counting(), "base.en", cache.clone());
    assert_eq!(text(&speech, request()).await, "0");
    // The same: whoever asks, and whether it is a guess.
    assert_eq!(text(&speech, request()).await, "0");
    let guess = TranscribeRequest { priority: Priority::Speculative, stream: 2, ..request() };
    assert_eq!(text(&speech, guess).await, "0");

    let mut louder = vec![0.25; 1_600];
    louder[1_599] = 0.26;
    let vocabulary = |terms: &[&str]| terms.iter().map(|term| (*term).to_owned()).collect::<Arc<[String]>>();
    let others = [
        TranscribeRequest { language: Some("de".into()), ..request() },
        TranscribeRequest { language: None, ..request() },
        TranscribeRequest { language: Some(String::new()), ..request() },
        TranscribeRequest { vocabulary: vocabulary(&[]), ..request() },
        TranscribeRequest { vocabulary: vocabulary(&["Tokio", "Rust"]), ..request() },
        // Run together, these are the same bytes.
        TranscribeRequest { vocabulary: vocabulary(&["RustTokio"]), ..request() },
        TranscribeRequest { vocabulary: vocabulary(&["RustT", "okio"]), ..request() },
        TranscribeRequest { audio: louder.into(), ..request() },
        TranscribeRequest { audio: Arc::from([0.25; 1_599]), ..request() },
        TranscribeRequest { audio: Arc::from([0.0; 1_600]), ..request() },
    ];
    for (number, other) in (1..).zip(&others) {
        assert_eq!(
            text(&speech, other.clone()).await,
            number.to_string(),
            "{:?}",
            (&other.language, &other.vocabulary)
        );
    }
    // Another model, in the same cache.
    let larger = Cached::new(counting(), "small.en", cache.clone());
    assert_eq!(text(&larger, TranscribeRequest { language: Some("fr".into()), ..request() }).await, "0");
    assert_eq!(text(&larger, request()).await, "1", "the other model's text was taken");
    // All are still there.
    for (number, other) in (1..).zip(others) {
        assert_eq!(text(&speech, other).await, number.to_string());
    }
    assert_eq!(cache.size().1, 13);
}

#[tokio::test]
async fn a_session_that_stores_nothing_is_neither_kept_nor_served() {
    let cache = TranscriptCache::new(1 << 20);
    let speech = Cached::new(counting(), "base.en", cache.clone());
    let private = TranscribeRequest { cache: false, ..request() };
    assert_eq!(text(&speech, private.clone()).await, "0");
    assert_eq!(cache.size(), (0, 0));
    assert_eq!(text(&speech, request()).await, "1");
    assert_eq!(text(&speech, private).await, "2");
    assert_eq!(text(&speech, request()).await, "1");
    // Interim audio never comes again.
    let interim = TranscribeRequest { priority: Priority::Interim, ..request() };
    assert_eq!(text(&speech, interim).await, "3");
    assert_eq!(cache.size().1, 1);
}

/// Warns before each text.
struct Warning(ScriptedTranscriber);

impl Transcriber for Warning {
    fn transcribe(
        &self,
        request: TranscribeRequest,
    ) -> BoxStream<'static, Result<TranscriptEvent, TranscribeError>> {
        let warning = TranscriptEvent::Warning { code: "repetition_removed", message: String::new() };
        stream::iter([Ok(warning)]).chain(self.0.transcribe(request)).boxed()
    }
}

#[tokio::test]
async fn only_whole_and_sound_texts_are_kept() {
    let cache = TranscriptCache::new(1 << 20);
    let failing = ScriptedTranscriber::in_order([
        (Duration::ZERO, Err(TranscribeError::Failed("cosmic ray".into()))),
        (Duration::ZERO, Ok(Transcript::scripted("sound"))),
    ]);
    let speech = Cached::new(failing.clone(), "base.en", cache.clone());
    let events: Vec<_> = speech.transcribe(request()).collect().await;
    assert!(matches!(events[..], [Err(_)]), "{events:?}");
    assert_eq!(text(&speech, request()).await, "sound");

    let degraded = Cached::new(Warning(counting()), "other", cache.clone());
    assert_eq!(text(&degraded, request()).await, "0");
    assert_eq!(text(&degraded, request()).await, "1");
    // Dropped before its text came.
    let speech = Cached::new(counting(), "third", cache.clone());
    drop(speech.transcribe(request()));
    assert_eq!(text(&speech, request()).await, "1");
    assert_eq!(cache.size().1, 2);
}

#[tokio::test]
async fn the_least_recently_used_goes_first() {
    let at = |n: usize| TranscribeRequest { audio: vec![n as f32 / 100.0; 160].into(), ..request() };
    let cache = TranscriptCache::new(12_000);
    let speech = Cached::new(counting(), "base.en", cache.clone());
    for n in 0..40 {
        assert_eq!(text(&speech, at(n)).await, n.to_string());
        // Used again and again.
        assert_eq!(text(&speech, at(0)).await, "0");
        cache.size();
    }
    let (bytes, texts) = cache.size();
    println!("{texts} texts in {bytes} bytes");
    assert!((9_000..=12_000).contains(&bytes) && texts < 40, "{texts} texts in {bytes} bytes");
    // The newest are there, the oldest is not.
    assert_eq!(text(&speech, at(39)).await, "39");
    assert_eq!(text(&speech, at(1)).await, "40");
}

#[test]
fn finding_the_place_of_a_minute_takes_milliseconds() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(async {
        let speech = Cached::new(counting(), "base.en", TranscriptCache::new(1 << 20));
        let minute = TranscribeRequest { audio: vec![0.1; 960_000].into(), ..request() };
        assert_eq!(text(&speech, minute.clone()).await, "0");
        let began = std::time::Instant::now();
        assert_eq!(text(&speech, minute).await, "0");
        println!("a hit for a minute of audio: {:?}", began.elapsed());
    });
}
