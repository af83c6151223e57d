//! Local Whisper with real weights on real recordings.
//!
//! Not here: scheduling (tested without weights beside the pool), latency (a bench).
#![allow(clippy::unwrap_used)]

#[path = "common/recordings.rs"]
mod recordings;

use std::{
    num::NonZeroUsize,
    sync::{Arc, LazyLock},
};

use futures_util::StreamExt;
use models::speech::{
    InferencePool, PoolConfig, Priority, TranscribeError, TranscribeRequest, Transcriber, Transcript,
    TranscriptEvent,
    wer::{WordErrors, normalise},
};
use recordings::{noise, recordings, tone, weights};

/// One worker for all tests, which would otherwise compute against each other.
fn pool(name: &str) -> InferencePool {
    let one = NonZeroUsize::MIN;
    InferencePool::load(weights(name), PoolConfig::for_cores(one)).unwrap()
}

static BASE: LazyLock<InferencePool> = LazyLock::new(|| pool("base.en"));

fn request(audio: impl Into<Arc<[f32]>>) -> TranscribeRequest {
    TranscribeRequest {
        audio: audio.into(),
        language: Some("en".into()),
        vocabulary: Arc::from([]),
        settled: Arc::from([]),
        before: Arc::from(""),
        priority: Priority::Final,
        stream: 1,
        cache: false,
    }
}

fn events(pool: &InferencePool, request: TranscribeRequest) -> Vec<Result<TranscriptEvent, TranscribeError>> {
    tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap()
        .block_on(pool.transcribe(request).collect())
}

/// The transcript of `request`, which must come without warning and hold together.
#[track_caller]
fn transcript(pool: &InferencePool, request: TranscribeRequest) -> Transcript {
    let length_ms = (request.audio.len() / 16) as u32;
    let events = events(pool, request);
    let [Ok(TranscriptEvent::Final(transcript))] = &events[..] else { panic!("{events:?}") };
    let words: Vec<_> = transcript.words.iter().map(|word| word.text.as_str()).collect();
    assert_eq!(words, transcript.text.split_whitespace().collect::<Vec<_>>());
    assert_eq!(words.join(" "), transcript.text);
    let mut before = 0;
    for word in &transcript.words {
        assert!(
            before <= word.start_ms && word.start_ms <= word.end_ms && word.end_ms <= length_ms + 1,
            "{word:?}"
        );
        assert!((0.0..=1.0).contains(&word.confidence), "{word:?}");
        before = word.start_ms;
    }
    transcript.clone()
}

#[test]
fn nobody_speaking_gives_no_text() {
    for seconds in [0.0, 0.01, 0.2, 1.0, 5.0] {
        for audio in [
            Arc::from(vec![0.0; (seconds * 16_000.0) as usize]),
            noise(seconds, 0.003),
            noise(seconds, 0.03),
            noise(seconds, 0.3),
            tone(seconds, 200.0),
            tone(seconds, 1000.0),
        ] {
            assert_eq!(transcript(&BASE, request(audio)).text, "", "{seconds} s");
        }
    }
    let vocabulary: Arc<[String]> = ["Kubernetes", "PostgreSQL", "Acme Robotics"].map(String::from).into();
    for recording in recordings("nonspeech") {
        let audio: Arc<[f32]> = recording.audio().into();
        assert_eq!(transcript(&BASE, request(audio.clone())).text, "", "{}", recording.id);
        let hinted = TranscribeRequest { vocabulary: vocabulary.clone(), ..request(audio) };
        assert_eq!(transcript(&BASE, hinted).text, "", "{} with vocabulary", recording.id);
    }
}

#[test]
fn writes_down_librispeech() {
    for (name, most) in [("base.en", 0.15), ("tiny.en", 0.25)] {
        let tiny;
        let pool = if name == "base.en" {
            &*BASE
        } else {
            tiny = pool(name);
            &tiny
        };
        let mut all = Vec::new();
        for recording in recordings("librispeech_test_other").iter().take(10) {
            let text = transcript(pool, request(recording.audio())).text;
            let errors = WordErrors::between(&recording.text, &text);
            println!(
                "{name} {} {:.3}\n  said  {}\n  heard {text}",
                recording.id,
                errors.rate(),
                recording.text
            );
            all.push(errors);
            // A last word may be misheard; the end may not be missing.
            let (said, heard) = (normalise(&recording.text), normalise(&text));
            let end = &said[said.len() - 3..];
            assert!(
                heard.iter().rev().take(3).any(|word| end.contains(word)),
                "{name} {}: {text}",
                recording.id
            );
        }
        let rate = all.iter().copied().sum::<WordErrors>().rate();
        println!("{name}: WER {:.1} % over {} recordings", rate * 100.0, all.len());
        assert!(rate <= most, "{name}: {rate}");
    }
}

#[test]
fn long_audio_loses_and_doubles_nothing() {
    let (mut audio, mut said) = (Vec::new(), String::new());
    for recording in recordings("ljspeech").iter().chain(&recordings("librispeech_misc")) {
        if audio.len() < 70 * 16_000 {
            audio.extend(recording.audio());
            audio.extend([0.0; 4_000]);
            said += &format!("{} ", recording.text);
        }
    }
    if audio.is_empty() {
        return;
    }
    let heard = transcript(&BASE, request(audio));
    let errors = WordErrors::between(&said, &heard.text);
    println!("long: {errors:?}\n  said  {said}\n  heard {}", heard.text);
    assert!(errors.rate() <= 0.12, "{}", errors.rate());
}

/// Names in the recordings, among others that a candidate's papers might hold.
#[test]
fn vocabulary_helps_names() {
    const NAMES: [&str; 8] =
        ["Helstone", "Merneptah", "apomorphine", "Zarathustra", "Nuzhat", "Zaman", "Makan", "Ephraim"];
    const OTHERS: [&str; 6] = ["Kubernetes", "PostgreSQL", "Harbourline", "gRPC", "Tidewater", "Kafka"];
    let vocabulary: Arc<[String]> = OTHERS.into_iter().chain(NAMES).map(String::from).collect();
    let (mut said, mut plain, mut hinted) = (0, 0, 0);
    let (mut plain_errors, mut hinted_errors) = (Vec::new(), Vec::new());
    for recording in recordings("librispeech_test_other") {
        let words = normalise(&recording.text);
        let names: Vec<_> =
            NAMES.iter().map(|name| name.to_lowercase()).filter(|n| words.contains(n)).collect();
        if names.is_empty() {
            continue;
        }
        let audio: Arc<[f32]> = recording.audio().into();
        let found = |text: &str| names.iter().filter(|name| normalise(text).contains(name)).count();
        let without = transcript(&BASE, request(audio.clone())).text;
        let with = TranscribeRequest { vocabulary: vocabulary.clone(), ..request(audio) };
        let with = transcript(&BASE, with).text;
        said += names.len();
        plain += found(&without);
        hinted += found(&with);
        plain_errors.push(WordErrors::between(&recording.text, &without));
        hinted_errors.push(WordErrors::between(&recording.text, &with));
    }
    if said == 0 {
        return;
    }
    let rate = |errors: Vec<WordErrors>| errors.into_iter().sum::<WordErrors>().rate() * 100.0;
    let (plain_rate, hinted_rate) = (rate(plain_errors), rate(hinted_errors));
    println!(
        "names right: {plain} of {said} alone, {hinted} with the vocabulary; WER {plain_rate:.1} % and {hinted_rate:.1} %"
    );
    assert!(hinted > plain, "{hinted} of {said} names, {plain} without the vocabulary");
    assert!(
        hinted_rate <= plain_rate,
        "{hinted_rate} % of words wrong, {plain_rate} % without the vocabulary"
    );
}

#[test]
fn a_final_takes_the_worker_from_a_real_interim() {
    let pool = pool("tiny.en");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(async {
        let interim = TranscribeRequest { priority: Priority::Interim, ..request(noise(60.0, 0.1)) };
        let interim = pool.transcribe(interim);
        // Most likely it runs by now; if not, it is superseded in the queue, which is right too.
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        let last = pool.transcribe(request(noise(1.0, 0.1)));
        assert_eq!(interim.collect::<Vec<_>>().await, [Err(TranscribeError::Superseded)]);
        assert!(matches!(last.collect::<Vec<_>>().await[..], [Ok(TranscriptEvent::Final(_))]));
    });
}

#[test]
fn says_so_when_the_weights_do_not_know_the_language() {
    let german = TranscribeRequest { language: Some("de".into()), ..request(vec![0.0; 16_000]) };
    let events = events(&BASE, german);
    assert!(
        matches!(
            &events[..],
            [
                Ok(TranscriptEvent::Warning { code: "language_unsupported", .. }),
                Ok(TranscriptEvent::Final(_))
            ]
        ),
        "{events:?}"
    );
}

#[test]
fn hostile_requests_do_no_harm() {
    let vocabulary: Arc<[String]> =
        ["", " ", "nul\0byte", "<|endoftext|>", "[_EOT_]", "漢字", &"long ".repeat(1000), "\u{fffd}"]
            .map(String::from)
            .into();
    let language = Some("\0\0".into());
    let audio = [f32::NAN, f32::INFINITY, -1e30, 1e30].repeat(4_000);
    let events = events(&BASE, TranscribeRequest { vocabulary, language, ..request(audio) });
    assert!(matches!(events.last(), Some(Ok(TranscriptEvent::Final(_)))), "{events:?}");
}
