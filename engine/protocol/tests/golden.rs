//! `docs/protocol.md` against the wire types: every example of the page parses and comes back as it was, and every
//! message has an example. Not here: what a session does with a message.

use std::collections::BTreeMap;

use proptest::prelude::*;
use protocol::{Authenticate, ClientMessage, CloseCode, ServerEvent, ServerMessage};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

/// How many examples of each message the page has.
type Count = BTreeMap<&'static str, usize>;

#[test]
fn client_examples_round_trip_and_cover_every_message() {
    let mut count: Count = BTreeMap::new();
    for (heading, json) in examples("## Client → server") {
        let message: ClientMessage = round_trip(&json);
        assert_eq!(client_name(&message), heading, "example under the wrong heading: {json}");
        *count.entry(client_name(&message)).or_default() += 1;
    }
    assert_covers(&count, &CLIENT_MESSAGES);
}

#[test]
fn server_examples_round_trip_and_cover_every_message() {
    let mut count: Count = BTreeMap::new();
    for (heading, json) in examples("## Server → client") {
        let event: ServerEvent = round_trip(&json);
        assert_eq!(server_name(&event.message), heading, "example under the wrong heading: {json}");
        *count.entry(server_name(&event.message)).or_default() += 1;
        if let ServerMessage::Answer(answer) = event.message {
            let t = answer.timings;
            assert_eq!(
                t.endpoint + t.transcript + t.request + t.first_token,
                t.total_to_first_token,
                "a receipt adds up"
            );
        }
    }
    assert_covers(&count, &SERVER_MESSAGES);
}

#[test]
fn every_close_code_is_on_the_page() {
    let page: Vec<u16> = section("## Limits and close codes")
        .lines()
        .filter_map(|line| line.strip_prefix("| ")?.split(' ').next()?.parse().ok())
        .collect();
    let types: Vec<u16> = (0..=u16::MAX).filter(|code| CloseCode::try_from(*code).is_ok()).collect();
    assert_eq!(page, types);
}

#[test]
fn what_may_be_left_out() {
    let check = |json: &str, full: &str| {
        let message: ClientMessage = serde_json::from_str(json).expect(json);
        assert_eq!(serde_json::to_value(message).unwrap(), serde_json::from_str::<Value>(full).unwrap());
    };
    check(
        r#"{"type":"start_stream","audio":{"codec":"wav"}}"#,
        r#"{"type":"start_stream","audio":{"codec":"wav","layout":"mono","roles":[],"framing":"raw"}}"#,
    );
    check(r#"{"type":"audio_chunk","data":""}"#, r#"{"type":"audio_chunk","channel":0,"data":""}"#);
    check(r#"{"type":"finalize"}"#, r#"{"type":"finalize"}"#);
    check(r#"{"type":"answer_now"}"#, r#"{"type":"answer_now"}"#);
    check(r#"{"type":"update_config","config":{}}"#, r#"{"type":"update_config","config":{}}"#);
    check(r#"{"id":7,"type":"marker"}"#, r#"{"type":"marker","id":7}"#);
}

#[test]
fn who_connects_over_quic_says_so_and_is_not_shown() {
    for json in [
        r#"{"type":"authenticate","token":"s3cret"}"#,
        r#"{"type":"authenticate","ticket":"s3cret"}"#,
        r#"{"type":"authenticate"}"#,
    ] {
        let message: Authenticate = round_trip(json);
        assert!(!format!("{message:?}").contains("s3cret"));
    }
    for json in [r#"{"type":"authenticate","tokens":"x"}"#, r#"{"type":"keep_alive"}"#, "{}"] {
        serde_json::from_str::<Authenticate>(json).expect_err(json);
    }
}

#[test]
fn a_malformed_message_is_refused_by_name() {
    let check = |json: &str, problem: &str| {
        let error = serde_json::from_str::<ClientMessage>(json).expect_err(json).to_string();
        assert!(error.contains(problem), "{json:.100}\n  gives   {error}\n  without {problem}");
    };
    // No JSON, or no object.
    check("", "EOF");
    check("{", "EOF");
    check("[]", "missing field `type`");
    check("7", "invalid type: integer `7`");
    check("{} {}", "missing field `type`");
    check(r#"{"type":"keep_alive"} x"#, "trailing characters");
    // The type.
    check(r#"{"type":"start_steam","audio":{"codec":"wav"}}"#, "unknown variant `start_steam`");
    check(r#"{"type":"Keep_Alive"}"#, "unknown variant `Keep_Alive`");
    check(r#"{"type":null}"#, "invalid type: null");
    check(r#"{"type":"keep_alive","type":"keep_alive"}"#, "duplicate field `type`");
    // Unknown fields, at every depth.
    check(r#"{"type":"keep_alive","now":true}"#, "unknown field `now`");
    check(r#"{"type":"end_stream","audio":{}}"#, "unknown field `audio`");
    check(r#"{"type":"finalize","chanel":0}"#, "unknown field `chanel`");
    check(r#"{"type":"marker","id":1,"event":2}"#, "unknown field `event`");
    check(r#"{"type":"start_stream","audio":{"codec":"wav"},"token":"t"}"#, "unknown field `token`");
    check(r#"{"type":"start_stream","audio":{"codec":"wav","rate":8000}}"#, "unknown field `rate`");
    check(r#"{"type":"update_config","config":{"interim":true}}"#, "unknown field `interim`");
    check(r#"{"type":"update_config","config":{"answers":{"auto":true}}}"#, "unknown field `auto`");
    check(r#"{"type":"update_config","config":{"turns":{"silence":1}}}"#, "unknown field `silence`");
    // Missing fields.
    check(r#"{"type":"start_stream"}"#, "missing field `audio`");
    check(r#"{"type":"start_stream","audio":{}}"#, "missing field `codec`");
    check(r#"{"type":"audio_chunk"}"#, "missing field `data`");
    check(r#"{"type":"cancel_answer"}"#, "missing field `answer_id`");
    // Wrong types and values.
    check(r#"{"type":"start_stream","audio":"wav"}"#, "expected struct AudioFormat");
    check(r#"{"type":"start_stream","audio":{"codec":"midi"}}"#, "unknown variant `midi`");
    check(r#"{"type":"start_stream","audio":{"codec":"wav","roles":["boss"]}}"#, "unknown variant `boss`");
    check(r#"{"type":"cancel_answer","answer_id":"1"}"#, "expected u64");
    check(r#"{"type":"cancel_answer","answer_id":1.5}"#, "expected u64");
    check(r#"{"type":"audio_chunk","data":[1,2]}"#, "expected a string");
    check(r#"{"type":"audio_chunk","data":"!!!!"}"#, "data is not base64");
    check(r#"{"type":"audio_chunk","data":"AAA"}"#, "data is not base64");
    check(r#"{"type":"marker","id":-1}"#, "marker id must be a whole number or a text");
    check(r#"{"type":"marker","id":{}}"#, "marker id must be a whole number or a text");
    // Numbers out of range.
    check(r#"{"type":"finalize","channel":256}"#, "expected u8");
    check(r#"{"type":"finalize","channel":-1}"#, "expected u8");
    check(r#"{"type":"audio_chunk","seq":4294967296,"data":""}"#, "expected u32");
    check(r#"{"type":"cancel_answer","answer_id":18446744073709551616}"#, "expected u64");
    check(r#"{"type":"cancel_answer","answer_id":1e999}"#, "number out of range");
    // Nesting.
    check(&format!(r#"{{"type":"marker","id":{}"#, "[".repeat(10_000)), "recursion limit exceeded");
    check(&format!(r#"{{"x":{}"#, r#"{"x":"#.repeat(10_000)), "recursion limit exceeded");
    check(&"[".repeat(10_000), "invalid type: sequence");
}

#[test]
fn an_event_of_a_newer_server_is_read() {
    let event: ServerEvent =
        serde_json::from_str(r#"{"type":"marker","event":3,"id":1,"later":{"x":[]}}"#).unwrap();
    assert_eq!(serde_json::to_string(&event).unwrap(), r#"{"event":3,"type":"marker","id":1}"#);
}

proptest! {
    #[test]
    fn any_text_is_parsed_or_refused(text in any::<String>()) {
        let _ = serde_json::from_str::<ClientMessage>(&text);
        let _ = serde_json::from_str::<ServerEvent>(&text);
    }

    /// Texts near the grammar reach further in than noise does. What is read is written in a form that reads the same.
    #[test]
    fn a_mangled_example_is_parsed_or_refused(
        which in any::<prop::sample::Index>(), at in any::<prop::sample::Index>(),
        cut in 0usize..8, patch in r#"[\[\]{}",:0-9eE.+\\u -]{0,8}"#,
    ) {
        let mut all = examples("## Client → server");
        all.extend(examples("## Server → client"));
        let mut text: Vec<char> = which.get(&all).1.chars().collect();
        let start = at.index(text.len());
        text.splice(start..(start + cut).min(text.len()), patch.chars());
        let text: String = text.into_iter().collect();
        if let Ok(message) = serde_json::from_str::<ClientMessage>(&text) {
            let written = serde_json::to_string(&message).unwrap();
            prop_assert_eq!(serde_json::from_str::<ClientMessage>(&written).unwrap(), message);
        }
        if let Ok(event) = serde_json::from_str::<ServerEvent>(&text) {
            let written = serde_json::to_string(&event).unwrap();
            prop_assert_eq!(serde_json::from_str::<ServerEvent>(&written).unwrap(), event);
        }
    }
}

/// The `json` blocks of a section, each with the name in the heading above it.
fn examples(section_title: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut heading = String::new();
    let mut block: Option<String> = None;
    for line in section(section_title).lines() {
        match &mut block {
            Some(text) if line == "```" => {
                found.push((heading.clone(), std::mem::take(text)));
                block = None;
            }
            Some(text) => {
                text.push_str(line);
                text.push('\n');
            }
            None if line == "```json" => block = Some(String::new()),
            None => {
                if let Some(rest) = line.strip_prefix("### `") {
                    heading = rest.split_once('`').expect("a heading closes its backtick").0.to_owned();
                }
            }
        }
    }
    assert!(block.is_none() && !found.is_empty(), "section {section_title} is cut or has no example");
    found
}

fn section(title: &str) -> &'static str {
    let (_, rest) = PAGE.split_once(&format!("\n{title}\n")).expect(title);
    rest.split_once("\n## ").map_or(rest, |(section, _)| section)
}

fn round_trip<T: DeserializeOwned + Serialize>(json: &str) -> T {
    let message: T = serde_json::from_str(json).unwrap_or_else(|error| panic!("{error} in {json}"));
    // By way of text: an f32 that becomes a `Value` directly shows digits that the wire does not have.
    let written = serde_json::to_string(&message).expect("wire types can be written");
    let value = |text: &str| serde_json::from_str::<Value>(text).expect("it parsed as a message");
    assert_eq!(value(&written), value(json));
    message
}

fn assert_covers(count: &Count, names: &[&'static str]) {
    let missing: Vec<_> = names.iter().filter(|name| !count.contains_key(*name)).collect();
    assert!(missing.is_empty(), "docs/protocol.md has no example of {missing:?}");
    let unlisted: Vec<_> = count.keys().filter(|name| !names.contains(name)).collect();
    assert!(unlisted.is_empty(), "add {unlisted:?} to the list at the foot of this file");
}

/// A new variant does not compile here: give it a name, an entry in the list below and an example on the page.
fn client_name(message: &ClientMessage) -> &'static str {
    match message {
        ClientMessage::StartStream(_) => "start_stream",
        ClientMessage::AudioChunk { .. } => "audio_chunk",
        ClientMessage::Finalize { .. } => "finalize",
        ClientMessage::AnswerNow { .. } => "answer_now",
        ClientMessage::CancelAnswer { .. } => "cancel_answer",
        ClientMessage::UpdateConfig { .. } => "update_config",
        ClientMessage::Marker { .. } => "marker",
        ClientMessage::KeepAlive {} => "keep_alive",
        ClientMessage::EndStream {} => "end_stream",
    }
}

/// As [`client_name`].
fn server_name(message: &ServerMessage) -> &'static str {
    match message {
        ServerMessage::StreamStarted { .. } => "stream_started",
        ServerMessage::SpeechStarted { .. } => "speech_started",
        ServerMessage::SpeechEnded { .. } => "speech_ended",
        ServerMessage::Transcription(_) => "transcription",
        ServerMessage::AnswerStarted { .. } => "answer_started",
        ServerMessage::AnswerDelta { .. } => "answer_delta",
        ServerMessage::Answer(_) => "answer",
        ServerMessage::AnswerCancelled { .. } => "answer_cancelled",
        ServerMessage::Ack { .. } => "ack",
        ServerMessage::Marker { .. } => "marker",
        ServerMessage::Warning { .. } => "warning",
        ServerMessage::Error { .. } => "error",
        ServerMessage::StreamEnded { .. } => "stream_ended",
    }
}

const CLIENT_MESSAGES: [&str; 9] = [
    "start_stream",
    "audio_chunk",
    "finalize",
    "answer_now",
    "cancel_answer",
    "update_config",
    "marker",
    "keep_alive",
    "end_stream",
];

const SERVER_MESSAGES: [&str; 13] = [
    "stream_started",
    "speech_started",
    "speech_ended",
    "transcription",
    "answer_started",
    "answer_delta",
    "answer",
    "answer_cancelled",
    "ack",
    "marker",
    "warning",
    "error",
    "stream_ended",
];

const PAGE: &str = include_str!("../../../docs/protocol.md");
