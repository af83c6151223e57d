//! When words were said, against labels made by hand.
//!
//! Not here: which words (`speech_whisper.rs`).
#![allow(clippy::unwrap_used)]

#[path = "common/recordings.rs"]
#[allow(dead_code)]
mod recordings;

use std::{num::NonZeroUsize, sync::Arc};

use futures_util::StreamExt;
use models::speech::{
    InferencePool, PoolConfig, Priority, TranscribeRequest, Transcriber, TranscriptEvent, Word,
    wer::normalise,
};

#[test]
fn words_are_where_people_hear_them() {
    let pool = PoolConfig::for_cores(NonZeroUsize::MIN);
    let pool = InferencePool::load(recordings::weights("base.en"), pool).unwrap();
    let (mut starts, mut ends) = (Vec::new(), Vec::new());
    let mut labelled = 0;
    for recording in recordings::recordings("timit_sample") {
        let labels = recording.labelled_words();
        labelled += labels.len();
        for (label, word) in matched(&labels, &words(&pool, recording.audio())) {
            starts.push((f64::from(word.start_ms) - label.1 * 1e3).abs());
            ends.push((f64::from(word.end_ms) - label.2 * 1e3).abs());
        }
    }
    if labelled == 0 {
        return;
    }
    println!("{} of {labelled} words matched; milliseconds off", starts.len());
    assert!(starts.len() * 2 > labelled, "too few words matched to say anything");
    for (name, errors) in [("start", &mut starts), ("end", &mut ends)] {
        errors.sort_by(f64::total_cmp);
        let at = |quantile: f64| errors[((errors.len() - 1) as f64 * quantile) as usize];
        println!(
            "{name:<6} p25 {:>4} p50 {:>4} p75 {:>4} p90 {:>4} p95 {:>4} max {:>5}",
            at(0.25),
            at(0.5),
            at(0.75),
            at(0.9),
            at(0.95),
            at(1.0)
        );
        assert!(at(0.5) <= 80.0, "{name}: {}", at(0.5));
    }
}

fn words(pool: &InferencePool, audio: Vec<f32>) -> Vec<Word> {
    let request = TranscribeRequest {
        audio: audio.into(),
        language: Some("en".into()),
        vocabulary: Arc::from([]),
        settled: Arc::from([]),
        before: Arc::from(""),
        cache: false,
        priority: Priority::Final,
        stream: 1,
    };
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let events = runtime.block_on(pool.transcribe(request).collect::<Vec<_>>());
    match events.into_iter().next_back() {
        Some(Ok(TranscriptEvent::Final(transcript))) => transcript.words,
        other => panic!("{other:?}"),
    }
}

type Label = (String, f64, f64);

/// Pairs of the same word in the same order: the longest common subsequence.
fn matched<'a>(labels: &'a [Label], words: &'a [Word]) -> Vec<(&'a Label, &'a Word)> {
    let same = |label: &Label, word: &Word| normalise(&label.0) == normalise(&word.text);
    let mut longest = vec![vec![0; words.len() + 1]; labels.len() + 1];
    for i in (0..labels.len()).rev() {
        for j in (0..words.len()).rev() {
            longest[i][j] = match same(&labels[i], &words[j]) {
                true => longest[i + 1][j + 1] + 1,
                false => longest[i + 1][j].max(longest[i][j + 1]),
            };
        }
    }
    let (mut i, mut j, mut pairs) = (0, 0, Vec::new());
    while i < labels.len() && j < words.len() {
        if same(&labels[i], &words[j]) {
            pairs.push((&labels[i], &words[j]));
            (i, j) = (i + 1, j + 1);
        } else if longest[i + 1][j] >= longest[i][j + 1] {
            i += 1;
        } else {
            j += 1;
        }
    }
    pairs
}
