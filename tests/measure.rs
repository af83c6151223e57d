//! What the benches measure with, checked: a wrong quantile or end of speech would be quoted for years.
//!
//! Not here: any measurement.

#[path = "../benches/support/measure.rs"]
mod measure;
#[path = "../benches/peers/recordings.rs"]
mod recordings;
#[path = "../benches/answers/upstream.rs"]
#[allow(dead_code)]
mod upstream;

use std::process::Command;

use measure::{cpu_seconds, ctm_end_ms, loud_end_ms, quantile, shown, text_grid_end_ms};
use recordings::{Clip, Heard, Spoken, pick};
use upstream::{Tokens, now_us, question, question_number};

#[test]
fn quantiles_are_of_the_sorted_values() {
    let values = [50.0, 10.0, 40.0, 20.0, 30.0];
    assert_eq!(quantile(&values, 0.0), Some(10.0));
    assert_eq!(quantile(&values, 0.5), Some(30.0));
    assert_eq!(quantile(&values, 0.95), Some(50.0));
    let hundred: Vec<f64> = (1..=101).rev().map(f64::from).collect();
    assert_eq!(quantile(&hundred, 0.95), Some(96.0));
    assert_eq!(quantile(&[7.0], 0.95), Some(7.0));
    assert_eq!(quantile(&[], 0.5), None);
    assert_eq!((shown(Some(12.6)), shown(None)), ("13".to_owned(), "–".to_owned()));
}

#[test]
fn the_end_of_speech_is_read_off_labels() {
    assert_eq!(ctm_end_ms("x 1 0.5 0.25 she\nx 1 0.75 0.5 had\n"), Some(1250.0));
    assert_eq!(ctm_end_ms(""), None);
    assert_eq!(ctm_end_ms("x 1 end\n"), None);
    let tier = |kind: &str| {
        format!("\"IntervalTier\"\n\"{kind}\"\n0\n2.5\n2\n0.5\n1.25\n\"yes\"\n1.25\n2.5\n\"\"\n")
    };
    let grid = format!(
        "File type = \"ooTextFile short\"\n\"TextGrid\"\n\n0\n2.5\n<exists>\n2\n{}{}",
        tier("words"),
        tier("phones")
    );
    assert_eq!(text_grid_end_ms(&grid), Some(1250.0));
    assert_eq!(text_grid_end_ms(&grid.replace("yes", "")), None);
}

#[test]
fn the_end_of_speech_is_where_loudness_ends() {
    let mut audio = vec![0.0; 16_000];
    audio[1_600..3_200].fill(0.5);
    // 40 dB below: no speech.
    audio[8_000..8_160].fill(0.005);
    assert_eq!(loud_end_ms(&audio, 16_000), 200.0);
    // 20 dB below.
    audio[8_000..8_160].fill(0.05);
    assert_eq!(loud_end_ms(&audio, 16_000), 510.0);
}

#[test]
fn cpu_seconds_grow_with_work() {
    let own = || cpu_seconds(std::process::id()).expect("this process runs");
    let before = own();
    let mut sum = 0_u64;
    while own() - before < 0.05 {
        sum = (0..100_000).fold(sum, |sum: u64, n| std::hint::black_box(sum ^ n));
    }
    assert_eq!(cpu_seconds(u32::MAX), None);
}

#[test]
fn recordings_are_picked_in_turn_and_from_all_over_a_set() {
    let sets = [vec!["a0", "a1", "a2", "a3", "a4", "a5"], vec!["b0"], vec![]];
    assert_eq!(pick(&[0, 1, 0, 2], &sets, 3), ["a0", "b0", "a3"]);
    // A set that is used up is passed over; all used up ends it.
    assert_eq!(pick(&[0, 1], &sets, 9), ["a0", "b0", "a1", "a2", "a3", "a4", "a5"]);
    assert_eq!(pick::<&str>(&[], &sets, 9), [""; 0]);
}

#[test]
fn a_final_text_belongs_to_the_recording_that_it_ends_in() {
    let clip = |start, end, until| Clip { start_ms: start, speech_end_ms: end, until_ms: until };
    let clips = [clip(0.0, 900.0, 2_000.0), clip(2_000.0, 3_000.0, 4_000.0), clip(4_000.0, 5_000.0, 6_000.0)];
    let heard = |end_ms, at_ms| Heard { text: String::new(), end_ms, at_ms };
    // Two turns in the first recording, the later one counts; none in the last.
    let finals = [heard(400.0, 800.0), heard(1_400.0, 1_950.0), heard(3_000.0, 5_500.0)];
    assert_eq!(clips.map(|clip| clip.latency_ms(&finals)), [Some(1_050.0), Some(2_500.0), None]);
}

#[test]
fn a_text_from_before_the_end_of_speech_is_no_final_text() {
    let clip = Clip { start_ms: 0.0, speech_end_ms: 3_000.0, until_ms: 5_000.0 };
    let early = Heard { text: "the first half".to_owned(), end_ms: 1_500.0, at_ms: 2_200.0 };
    assert_eq!(clip.latency_ms(&[early]), None);
}

#[test]
fn a_session_is_half_talk() {
    let recording = |seconds: usize| (vec![0.1; seconds * 16_000], seconds as f64 * 1e3 - 100.0);
    let recordings = [recording(3), recording(5)];
    let session = Spoken::session(&recordings, 1, 25.0);
    let starts: Vec<f64> = session.clips.iter().map(|clip| clip.start_ms).collect();
    assert_eq!(starts, [0.0, 10_000.0, 16_000.0]);
    assert_eq!(session.clips[1].speech_end_ms, 12_900.0);
    assert_eq!(session.samples.len(), 26 * 16_000);
    let talk = session.samples.iter().filter(|sample| **sample != 0.0).count();
    assert_eq!(talk * 2, session.samples.len());
}

#[test]
fn a_token_tells_its_age_however_it_is_cut() {
    let written = now_us();
    let token = format!(" {written:012}");
    let mut tokens = Tokens::default();
    let mut ages = Vec::new();
    tokens.ages(&format!("{token}{}", &token[..7]), &mut ages);
    assert_eq!(ages.len(), 1, "half a token has no age yet");
    let before_the_rest = now_us();
    tokens.ages(&token[7..], &mut ages);
    assert_eq!(ages.len(), 2);
    assert!(ages[0] <= ages[1] && ages[1] >= (before_the_rest - written) as f64 / 1e3, "{ages:?}");
}

#[test]
fn a_prompt_is_about_its_newest_question() {
    assert_eq!(question_number(&question(7)), Some(7));
    assert_eq!(question_number(&format!("{} {} and more", question(12), question(9))), Some(12));
    assert_eq!(question_number("How would you build system number ?"), None);
}

/// The peers' streaming rule is Python; its examples are its tests.
#[test]
fn local_agreement_says_what_its_examples_say() {
    let script = "benches/peers/local_agreement.py";
    let mut python = Command::new("python3");
    python.args(["-m", "doctest", "-v", script]).current_dir(env!("CARGO_MANIFEST_DIR"));
    // Nothing is written beside the script.
    python.env("PYTHONDONTWRITEBYTECODE", "1");
    let output = python.output().expect("python3 is installed where the tests run");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{said}");
    assert!(said.contains(" passed"), "no example ran:\n{said}");
}
