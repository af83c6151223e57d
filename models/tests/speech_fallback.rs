//! `Fallback` of two scripted transcribers, in virtual time. Not here: the conformance suite (`speech_conformance.rs`).
#![allow(clippy::unwrap_used)]

use std::{sync::Arc, time::Duration};

use futures_util::{StreamExt, stream::BoxStream};
use models::speech::{
    Fallback, FallbackConfig, Priority, ScriptedTranscriber, TranscribeError, TranscribeRequest, Transcriber,
    Transcript, TranscriptEvent,
};
use tokio::time::{Instant, advance, sleep};

type Events = Vec<Result<TranscriptEvent, TranscribeError>>;

fn request(priority: Priority) -> TranscribeRequest {
    TranscribeRequest {
        audio: Arc::from([0.0; 160]),
        language: None,
        vocabulary: Arc::from([]),
        settled: Arc::from([]),
        before: Arc::from(""),
        priority,
        stream: 1,
        cache: false,
    }
}

fn failed() -> Result<Transcript, TranscribeError> {
    Err(TranscribeError::Failed("cosmic ray".into()))
}

fn said(text: &str) -> Result<Transcript, TranscribeError> {
    Ok(Transcript::scripted(text))
}

/// Answers after 100 ms, one after the other.
fn script(answers: impl IntoIterator<Item = Result<Transcript, TranscribeError>>) -> ScriptedTranscriber {
    ScriptedTranscriber::in_order(answers.into_iter().map(|answer| (Duration::from_millis(100), answer)))
}

fn always(text: &'static str) -> ScriptedTranscriber {
    ScriptedTranscriber::new(move |_| (Duration::from_millis(100), said(text)))
}

fn fallback(first: &ScriptedTranscriber, second: &ScriptedTranscriber) -> Fallback {
    Fallback::new(Arc::new(first.clone()), Arc::new(second.clone()), FallbackConfig::default())
}

async fn ask(fallback: &Fallback, priority: Priority) -> Events {
    fallback.transcribe(request(priority)).collect().await
}

/// The codes of the warnings, and the text.
#[track_caller]
fn outcome(events: Events) -> (Vec<&'static str>, String) {
    let mut codes = Vec::new();
    for event in events {
        match event {
            Ok(TranscriptEvent::Warning { code, .. }) => codes.push(code),
            Ok(TranscriptEvent::Final(transcript)) => return (codes, transcript.text),
            Err(error) => panic!("{error}"),
        }
    }
    panic!("no text after {codes:?}");
}

#[tokio::test(start_paused = true)]
async fn switches_once_and_back_after_a_probe() {
    let first = script([said("one"), failed(), failed(), said("back"), said("first again")]);
    let second = always("second");
    let both = fallback(&first, &second);
    assert_eq!(outcome(ask(&both, Priority::Final).await), (vec![], "one".into()));

    let began = Instant::now();
    let switched = ask(&both, Priority::Final).await;
    assert_eq!(began.elapsed(), Duration::from_millis(200), "the second was not asked at once");
    assert!(
        matches!(&switched[0], Ok(TranscriptEvent::Warning { message, .. }) if message.contains("cosmic ray"))
    );
    assert_eq!(outcome(switched), (vec!["speech_fallback"], "second".into()));
    // It rests: nothing more is asked of it, and nobody is told again.
    for _ in 0..3 {
        assert_eq!(outcome(ask(&both, Priority::Final).await), (vec![], "second".into()));
    }
    assert_eq!((first.requests().len(), second.requests().len()), (2, 4));

    // A probe that fails: one request, served by the second all the same, and another rest.
    advance(Duration::from_secs(30)).await;
    assert_eq!(outcome(ask(&both, Priority::Final).await), (vec![], "second".into()));
    assert_eq!(outcome(ask(&both, Priority::Final).await), (vec![], "second".into()));
    assert_eq!(first.requests().len(), 3);

    // A probe that succeeds. What comes meanwhile does not wait for it.
    advance(Duration::from_secs(30)).await;
    let probe = both.transcribe(request(Priority::Final));
    let other = both.transcribe(request(Priority::Final));
    assert_eq!(outcome(other.collect().await), (vec![], "second".into()));
    assert_eq!(outcome(probe.collect().await), (vec!["speech_restored"], "back".into()));
    assert_eq!(outcome(ask(&both, Priority::Final).await), (vec![], "first again".into()));
}

#[tokio::test(start_paused = true)]
async fn a_late_first_is_given_up() {
    let first = ScriptedTranscriber::new(|_| (Duration::from_secs(3_600), said("late")));
    let both = fallback(&first, &always("second"));
    let began = Instant::now();
    // The time runs from the call, and the second is asked, whether or not anybody polls.
    let final_text = both.transcribe(request(Priority::Final));
    sleep(Duration::from_secs(11)).await;
    assert_eq!(first.cancelled(), 1);
    assert_eq!(outcome(final_text.collect().await), (vec!["speech_fallback"], "second".into()));
    assert_eq!(began.elapsed(), Duration::from_secs(11));
}

#[tokio::test(start_paused = true)]
async fn several_failures_at_once_are_one_switch() {
    let first = script([failed(), failed(), failed()]);
    let both = fallback(&first, &always("second"));
    let all = (0..3).map(|_| both.transcribe(request(Priority::Final)).collect::<Events>());
    let all = futures_util::future::join_all(all).await;
    let told: Vec<_> = all.into_iter().map(|events| outcome(events).0.len()).collect();
    assert_eq!(told.iter().sum::<usize>(), 1, "{told:?}");
}

#[tokio::test(start_paused = true)]
async fn what_is_no_failure_is_passed_on() {
    let overloaded = || TranscribeError::Overloaded { waiting: 3, workers: 1 };
    let cases = [
        (Priority::Interim, TranscribeError::Superseded),
        (Priority::Final, TranscribeError::Superseded),
        (Priority::Speculative, TranscribeError::NotServed("no more")),
        (Priority::Interim, overloaded()),
        (Priority::Speculative, overloaded()),
    ];
    for (priority, error) in cases {
        let (first, second) = (script([Err(error.clone()), said("first")]), always("second"));
        let both = fallback(&first, &second);
        assert_eq!(ask(&both, priority).await, [Err(error.clone())]);
        assert_eq!(outcome(ask(&both, Priority::Final).await), (vec![], "first".into()), "{error:?}");
        assert!(second.requests().is_empty());
    }
    let both = fallback(&script([Err(overloaded())]), &always("second"));
    assert_eq!(outcome(ask(&both, Priority::Final).await), (vec!["speech_fallback"], "second".into()));
}

#[tokio::test(start_paused = true)]
async fn a_switch_in_an_interim_is_told_with_the_next_text() {
    let both = fallback(&script([failed()]), &always("second"));
    assert_eq!(outcome(ask(&both, Priority::Interim).await), (vec![], "second".into()));
    assert_eq!(outcome(ask(&both, Priority::Final).await), (vec!["speech_fallback"], "second".into()));
}

#[tokio::test(start_paused = true)]
async fn a_probe_that_is_dropped_leaves_it_to_the_next() {
    let first = script([failed(), said("dropped"), said("back")]);
    let both = fallback(&first, &always("second"));
    ask(&both, Priority::Final).await;
    advance(Duration::from_secs(30)).await;
    // Interim requests do not probe.
    assert_eq!(outcome(ask(&both, Priority::Interim).await), (vec![], "second".into()));
    drop(both.transcribe(request(Priority::Speculative)));
    sleep(Duration::from_millis(1)).await;
    assert_eq!(outcome(ask(&both, Priority::Final).await), (vec!["speech_restored"], "back".into()));
    assert_eq!(first.cancelled(), 1);
}

#[tokio::test(start_paused = true)]
async fn both_failing_is_an_error() {
    let both = fallback(&script([failed()]), &script([Err(TranscribeError::Failed("second".into()))]));
    let events = ask(&both, Priority::Final).await;
    assert_eq!(events, [Err(TranscribeError::Failed("second".into()))]);
}

/// Takes finals only.
struct FinalsOnly(ScriptedTranscriber);

impl Transcriber for FinalsOnly {
    fn serves(&self, priority: Priority) -> bool {
        priority == Priority::Final
    }

    fn transcribe(
        &self,
        request: TranscribeRequest,
    ) -> BoxStream<'static, Result<TranscriptEvent, TranscribeError>> {
        assert_eq!(request.priority, Priority::Final, "asked in vain");
        self.0.transcribe(request)
    }
}

#[tokio::test(start_paused = true)]
async fn interims_come_from_whoever_serves_them_and_guesses_from_who_writes_finals() {
    let all = [Priority::Interim, Priority::Speculative, Priority::Final];
    let first = script([said("remote"), failed()]);
    let both =
        Fallback::new(Arc::new(FinalsOnly(first)), Arc::new(always("local")), FallbackConfig::default());
    assert_eq!(all.map(|priority| both.serves(priority)), [true, false, true]);
    assert_eq!(outcome(ask(&both, Priority::Interim).await), (vec![], "local".into()));
    assert_eq!(outcome(ask(&both, Priority::Final).await), (vec![], "remote".into()));
    let guess = ask(&both, Priority::Speculative).await;
    assert!(matches!(guess[..], [Err(TranscribeError::NotServed(_))]), "{guess:?}");
    // The local one writes finals now, and may guess.
    ask(&both, Priority::Final).await;
    assert_eq!(all.map(|priority| both.serves(priority)), [true; 3]);
    assert_eq!(outcome(ask(&both, Priority::Speculative).await), (vec![], "local".into()));

    let second = FinalsOnly(always("remote"));
    let both = Fallback::new(Arc::new(script([failed()])), Arc::new(second), FallbackConfig::default());
    let guess = ask(&both, Priority::Speculative).await;
    assert_eq!(guess, [Err(TranscribeError::Failed("cosmic ray".into()))]);
    assert_eq!(all.map(|priority| both.serves(priority)), [false, false, true]);
    // Whoever asks again is told.
    assert_eq!(outcome(ask(&both, Priority::Final).await), (vec!["speech_fallback"], "remote".into()));
}
