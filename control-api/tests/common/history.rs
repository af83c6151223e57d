//! Sessions to write down.
//!
//! Not here: who reads them.

// Each suite uses a part.
#![allow(dead_code)]

use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use control_api::history::{Begin, KeptAnswer, KeptSource, KeptTimings, TurnText};
use uuid::Uuid;

/// 2026-11-23T20:15:00Z.
pub(crate) const BEGAN: i64 = 1_795_464_900_000;

/// A session with an id of its own for each name, user and time: a UUID v7 of that time, as search goes by it.
pub(crate) fn begin<'a>(session_id: &'a str, user_id: &'a str, at: i64) -> Begin<'a> {
    let mut hash = DefaultHasher::new();
    (session_id, user_id, at).hash(&mut hash);
    let time = u64::try_from(at).expect("tests are of this century") << 16 | 0x7000;
    let id = Uuid::from_u64_pair(time, 1 << 63 | hash.finish() >> 2).to_string();
    let id = Box::leak(id.into_boxed_str());
    Begin { id, session_id, user_id, interview_id: None, language: "en", at }
}

/// Two seconds from `start_ms` on.
pub(crate) fn turn<'a>(turn: u64, role: &'a str, text: &'a str, start_ms: u64) -> TurnText<'a> {
    TurnText { turn, role, text, start_ms, end_ms: start_ms + 2_000, confidence: 0.5, language: "en" }
}

pub(crate) fn answer_to(answer_id: u64, turn: u64, content: &str) -> KeptAnswer {
    KeptAnswer {
        answer_id,
        turn,
        question: "Was?".to_owned(),
        variant: "balanced".to_owned(),
        content: content.to_owned(),
        key_points: vec![content.to_owned()],
        confidence: Some(0.25),
        finish_reason: "stop".to_owned(),
        model: "notes".to_owned(),
        cached: false,
        sources: vec![KeptSource { cv_line: 12, text: "Moved it to Rust".to_owned() }],
        timings: KeptTimings {
            endpoint: 300,
            transcript: 45,
            request: 1,
            first_token: 4,
            last_token: 20,
            total_to_first_token: 350,
        },
    }
}
