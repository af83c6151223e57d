//! Checked citations over whole CVs: right ones stay, and of ones moved to another line most are taken out.
//!
//! The answers are those of the notes, in the CV's own words, each point with its line. Not here: small cases and cuts of the
//! stream (`engine/src/answerer/citations`).

#![allow(clippy::unwrap_used, reason = "a test says so by panicking")]

use std::sync::Arc;

use engine::{
    answerer::{Answerer, Question},
    history::History,
    ports::CandidateContext,
};
use futures_util::{FutureExt as _, StreamExt as _};
use models::chat::{AnswerDelta, Notes};
use protocol::{AnswerLength, Variant};

#[test]
fn right_citations_stay_and_key_points_and_sources_are_of_the_text() {
    for (cv, question) in cases() {
        let answerer = answerer(cv);
        let answer = answer(&answerer, question);
        let (checked, removed) = checked(&answerer, &answer);
        assert_eq!((checked.as_str(), removed), (answer.as_str(), 0), "{question}");

        let reading = answerer.read(&checked);
        let numbers = cited(&checked);
        let mut unique = numbers.clone();
        let mut seen = Vec::new();
        unique.retain(|number| !seen.contains(number) && (seen.push(*number), true).1);
        let sources: Vec<u32> = reading.sources.iter().map(|source| source.cv_line).collect();
        assert_eq!(sources, unique, "{question}: {checked}");
        for source in &reading.sources {
            assert_eq!(source.text, cv.lines().nth(source.cv_line as usize - 1).unwrap().trim());
        }
        let plain = without_citations(&checked);
        // An answer without points is one sentence.
        assert_eq!(reading.key_points.len(), checked.matches("• ").count().max(1), "{checked}");
        for point in &reading.key_points {
            assert!(plain.contains(point), "{point:?} is not in {plain}");
        }
    }
}

/// Not all: a line that shares a word with the claim may be meant.
#[test]
fn most_moved_citations_are_taken_out() {
    let (mut moved, mut removed) = (0, 0);
    for (cv, question) in cases() {
        let answerer = answerer(cv);
        let lines: Vec<u32> = cv
            .lines()
            .zip(1..)
            .filter(|(line, _)| !line.trim().is_empty())
            .map(|(_, number)| number)
            .collect();
        let answer = answer(&answerer, question);
        for point in answer.lines().filter(|line| line.starts_with('•')) {
            let (said, right) = (without_citations(point), cited(point));
            for wrong in lines.iter().filter(|line| !right.contains(line)) {
                moved += 1;
                removed += checked(&answerer, &format!("{said} [{wrong}]")).1;
            }
        }
    }
    let share = removed as f64 / f64::from(moved);
    eprintln!("{removed} of {moved} citations of a wrong line were removed: {share:.3}");
    assert!(share > 0.7, "{removed} of {moved} were removed");
}

fn cases() -> impl Iterator<Item = (&'static str, &'static str)> {
    CVS.into_iter().flat_map(|cv| QUESTIONS.into_iter().map(move |question| (cv, question)))
}

fn answerer(cv: &str) -> Answerer {
    let candidate = CandidateContext { cv: cv.to_owned(), ..CandidateContext::default() };
    Answerer::new(Arc::new(Notes::new()), candidate)
}

/// What the notes say.
fn answer(answerer: &Answerer, question: &str) -> String {
    let question = Question {
        text: question.to_owned(),
        variant: Variant::Balanced,
        length: AnswerLength::Long,
        language: "en".to_owned(),
    };
    let mut deltas = answerer.ask(answerer.prompt(&question, &History::default()));
    let mut text = String::new();
    while let Some(delta) = deltas.next().now_or_never().expect("notes wait for nothing") {
        if let AnswerDelta::Text(word) = delta.unwrap() {
            text.push_str(&word);
        }
    }
    text
}

fn checked(answerer: &Answerer, answer: &str) -> (String, u64) {
    let mut citations = answerer.citations();
    let text = citations.push(answer) + &citations.finish();
    (text, citations.removed())
}

fn cited(text: &str) -> Vec<u32> {
    let inside = text.split('[').skip(1).filter_map(|after| after.split_once(']'));
    inside.map(|(number, _)| number.parse().unwrap()).collect()
}

fn without_citations(text: &str) -> String {
    let mut parts = text.split(" [");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |plain, part| plain + part.split_once(']').unwrap().1)
}

const CVS: [&str; 3] = [
    include_str!("../../samples/cv.txt"),
    include_str!("../../models/tests/fixtures/cv_engineer.txt"),
    include_str!("../../models/tests/fixtures/cv_nurse.txt"),
];

const QUESTIONS: [&str; 24] = [
    "So, tell me about yourself.",
    "What do you do in your current role?",
    "And what did you do in your previous job?",
    "Tell me about a time you led a team through a big change.",
    "Have you ever mentored anybody?",
    "Tell me about a time when you had a conflict with a colleague.",
    "What are you most proud of?",
    "Tell me about a performance problem you solved.",
    "How have you reduced costs?",
    "How do you approach testing?",
    "Have you been on call?",
    "Have you got any public speaking experience?",
    "What's your experience with Rust?",
    "How much Kafka have you used in production?",
    "Which cloud providers have you worked with?",
    "Have you worked with databases such as PostgreSQL or MySQL?",
    "What did you study at university?",
    "Do you have any certifications?",
    "What languages do you speak?",
    "What is your tech stack?",
    "What side projects do you have?",
    "And what do you do outside of work?",
    "Tell me about a time you dealt with an aggressive patient.",
    "How do you manage a shift in triage?",
];
