//! An interviewer and a candidate on channels of their own, in virtual time: who said what, who is answered, and what
//! becomes of the interviewer heard again in the candidate's microphone.
//!
//! Not here: how well an echo is told from a voice (`echo.rs`, on recordings).

#[path = "support/harness.rs"]
#[allow(dead_code, reason = "the harness serves one voice too; this file makes audio of its own")]
mod harness;

use std::{sync::Arc, time::Duration};

use harness::*;
use models::speech::ScriptedTranscriber;
use protocol::{FrameHeader, Framing, Layout, Role, ServerMessage};

const QUESTION: &str = "How would you test this?";
const OWN_WORDS: &str = "I once built a rate limiter.";

#[tokio::test(start_paused = true)]
async fn each_voice_keeps_its_role_and_the_candidate_becomes_context() {
    for wire in [Wire::Separate, Wire::Numbered] {
        let setup = setup();
        let chat = Arc::new(chat(&["One ", "two."]));
        let mut conversation = Setup { chat: chat.clone(), ..setup }.connect();
        conversation.send(wire.start(&[Role::Interviewer, Role::Candidate])).await;
        let far = [rest(300), voice(1, 2_000), rest(4_000), voice(2, 2_000), rest(1_500)].concat();
        let near = [rest(3_500), voice(3, 2_000), rest(4_300)].concat();
        wire.say(&mut conversation, &[&far, &near]).await;
        let ended = conversation.finish().await;
        let turns: Vec<_> = ended.events.iter().filter_map(|event| who(&event.message)).collect();
        assert_eq!(
            turns,
            [
                "0 Interviewer speech_started 1",
                "0 Interviewer speech_ended 1",
                "0 Interviewer final 1: How would you test this?",
                "answer_started 1",
                "1 Candidate speech_started 2",
                "1 Candidate speech_ended 2",
                "1 Candidate final 2: I once built a rate limiter.",
                "0 Interviewer speech_started 3",
                "0 Interviewer speech_ended 3",
                "0 Interviewer final 3: How would you test this?",
                "answer_started 3",
            ],
            "{wire:?}"
        );
        assert_eq!(
            ended.story().last().unwrap(),
            "stream_ended Client 9800 ms 3 turns 2 answers",
            "one clock"
        );
        let context = |n: usize| chat.requests()[n].messages.iter().any(|m| m.content.contains(OWN_WORDS));
        assert!(!context(0) && context(1), "the candidate's words are known to the answers after them");
    }
}

#[tokio::test(start_paused = true)]
async fn an_echo_is_no_turn_of_the_candidate_and_told_once() {
    for wire in [Wire::Separate, Wire::Numbered] {
        let far = [rest(300), voice(1, 2_000), rest(2_000), voice(2, 2_000), rest(2_000)].concat();
        let near = echo(&far, 120);
        let mut stories = Vec::new();
        for microphone in [&vec![0; near.len()], &near] {
            let mut conversation = setup().connect();
            conversation.send(wire.start(&[Role::Interviewer, Role::Candidate])).await;
            conversation.send(config(r#"{"interim_results":true}"#)).await;
            wire.say(&mut conversation, &[&far, microphone]).await;
            stories.push(conversation.finish().await);
        }
        let told = |role| -> Vec<_> {
            let events = stories[1].events.iter().filter_map(|event| who(&event.message));
            events.filter(|line| line.contains(role)).collect()
        };
        // What was begun before it was known ends without a text, as noise does.
        let candidate = told("Candidate");
        assert!(
            candidate.is_empty()
                || candidate.len() == 2
                    && candidate[0].contains("speech_started")
                    && candidate[1].contains("speech_ended"),
            "{wire:?}: {candidate:#?}"
        );
        assert_eq!(told("warning"), ["warning echo_suppressed"], "{wire:?}");
        assert_eq!(
            stories[1].finals().iter().map(|(_, text)| text.as_str()).collect::<Vec<_>>(),
            [QUESTION, QUESTION]
        );
        let receipts = |ended: &Ended| -> Vec<_> {
            let answers = ended.events.iter().filter_map(|event| match &event.message {
                ServerMessage::Answer(answer) => Some(answer.timings),
                _ => None,
            });
            answers.collect()
        };
        assert_eq!(receipts(&stories[0]).len(), 2);
        assert_eq!(receipts(&stories[0]), receipts(&stories[1]), "{wire:?}: the echo delays no answer");
    }
}

#[tokio::test(start_paused = true)]
async fn the_candidate_is_heard_over_the_echo() {
    for wire in [Wire::Separate, Wire::Numbered] {
        let far = [rest(300), voice(1, 6_000), rest(1_500)].concat();
        let mut near = echo(&far, 120);
        let own = voice(3, 2_000);
        let at = 3_000 * 16;
        near[at..at + own.len()].iter_mut().zip(&own).for_each(|(sample, own)| *sample += own);
        let mut conversation = setup().connect();
        conversation.send(wire.start(&[Role::Interviewer, Role::Candidate])).await;
        wire.say(&mut conversation, &[&far, &near]).await;
        let ended = conversation.finish().await;
        let candidate: Vec<_> = ended
            .events
            .iter()
            .filter_map(|event| match &event.message {
                ServerMessage::Transcription(words) if words.role == Role::Candidate => {
                    Some((words.start_ms, words.end_ms))
                }
                _ => None,
            })
            .collect();
        let [(start, end)] = candidate[..] else { panic!("{wire:?}: {:#?}", ended.story()) };
        // At the end the judgement takes a while to change its mind.
        assert!(start.abs_diff(3_000) <= 100 && end.abs_diff(5_000) <= 250, "{wire:?}: {start}–{end} ms");
    }
}

/// A marker waits for no text where there is only an echo.
#[tokio::test(start_paused = true)]
async fn a_marker_passes_an_echo() {
    let far = [rest(300), voice(1, 1_000), rest(2_000)].concat();
    let mut conversation = setup().connect();
    conversation.send(Wire::Separate.start(&[Role::Interviewer, Role::Candidate])).await;
    Wire::Separate.say(&mut conversation, &[&far, &echo(&far, 120)]).await;
    let marker = protocol::MarkerId::Number(7);
    conversation.send(protocol::ClientMessage::Marker { id: marker.clone() }).await;
    conversation.wait_for(|message| *message == ServerMessage::Marker { id: marker.clone() }).await;
    conversation.finish().await;
}

/// Only one interviewer and one candidate make a pair.
#[tokio::test(start_paused = true)]
async fn other_roles_are_not_guarded() {
    let far = [rest(300), voice(1, 2_000), rest(1_500)].concat();
    for roles in [[Role::Mixed, Role::Candidate], [Role::Interviewer, Role::Mixed], [Role::Candidate; 2]] {
        let mut conversation = setup().connect();
        conversation.send(Wire::Separate.start(&roles)).await;
        Wire::Separate.say(&mut conversation, &[&far, &echo(&far, 120)]).await;
        assert_eq!(conversation.finish().await.finals().len(), 2, "{roles:?}");
    }
}

/// How two channels travel.
#[derive(Clone, Copy, Debug)]
enum Wire {
    /// Interleaved.
    Separate,
    /// A stream each, the candidate's pieces first.
    Numbered,
}

impl Wire {
    fn start(self, roles: &[Role]) -> protocol::ClientMessage {
        start_with(|start| {
            start.audio.roles = roles.to_vec();
            match self {
                Self::Separate => {
                    start.audio.layout = Layout::Separate;
                    start.audio.channels = Some(roles.len() as u16);
                }
                Self::Numbered => start.audio.framing = Framing::Numbered,
            }
        })
    }

    /// Sends both channels in pieces of 20 ms, in real time on the test's clock.
    async fn say(self, conversation: &mut Conversation, channels: &[&[i16]; 2]) {
        assert_eq!(channels[0].len(), channels[1].len());
        let pieces = channels[0].chunks(320).zip(channels[1].chunks(320));
        for (seq, (far, near)) in (0..).zip(pieces) {
            tokio::time::sleep(Duration::from_millis(20)).await;
            let messages = match self {
                Self::Separate => vec![bytes(far.iter().zip(near).flat_map(|(far, near)| [*far, *near]))],
                Self::Numbered => [(1, near), (0, far)]
                    .map(|(channel, piece)| {
                        let header = FrameHeader { channel, seq, last: false };
                        [&header.to_bytes()[..], &bytes(piece.iter().copied())].concat()
                    })
                    .to_vec(),
            };
            for message in messages {
                conversation.sender.audio(message).await.expect("the session is open");
            }
            conversation.take_in();
        }
    }
}

/// Each channel says its own words.
fn setup() -> Setup {
    Setup::with(ScriptedTranscriber::new(|request| {
        let candidate = request.stream % 8 == 1;
        (Duration::from_millis(50), Ok(transcript(if candidate { OWN_WORDS } else { QUESTION })))
    }))
}

/// One event with its channel and role; acknowledgements, deltas and whole answers left out.
fn who(message: &ServerMessage) -> Option<String> {
    Some(match message {
        ServerMessage::SpeechStarted { channel, role, turn, .. } => {
            format!("{channel} {role:?} speech_started {turn}")
        }
        ServerMessage::SpeechEnded { channel, role, turn, .. } => {
            format!("{channel} {role:?} speech_ended {turn}")
        }
        ServerMessage::Transcription(words) => {
            let kind = if words.is_final { "final" } else { "interim" };
            format!("{} {:?} {kind} {}: {}", words.channel, words.role, words.turn, words.text)
        }
        ServerMessage::AnswerStarted { turn, .. } => format!("answer_started {turn}"),
        ServerMessage::Warning { code, .. } => format!("warning {code}"),
        _ => return None,
    })
}

/// `ms` of a voice of its own: noise, which correlates with nothing but itself.
fn voice(seed: u32, ms: usize) -> Vec<i16> {
    let mut state = seed;
    let noise = (0..ms * 16).map(|_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        ((state >> 16) as i16) / 4
    });
    noise.collect()
}

fn rest(ms: usize) -> Vec<i16> {
    vec![0; ms * 16]
}

/// `voice` heard again, 12 dB quieter.
fn echo(voice: &[i16], delay_ms: usize) -> Vec<i16> {
    let delayed = std::iter::repeat_n(0, delay_ms * 16).chain(voice.iter().map(|sample| sample / 4));
    delayed.take(voice.len()).collect()
}

fn bytes(samples: impl Iterator<Item = i16>) -> Vec<u8> {
    samples.flat_map(i16::to_le_bytes).collect()
}
