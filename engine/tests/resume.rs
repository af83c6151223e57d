//! Exactly once: whatever happens to the connection, a client ends with the same texts and events as one undisturbed.
//!
//! In virtual time, over the memory transport, with scripted models. Not here: real sockets and a killed server (root tests).

#![allow(clippy::unwrap_used, reason = "a test says so by panicking")]

#[path = "support/flaky.rs"]
mod flaky;
#[path = "support/harness.rs"]
#[allow(dead_code, reason = "the harness serves other suites too")]
mod harness;

use std::{sync::Arc, time::Duration};

use engine::{Engine, ports::Access, ports::Principal};
use flaky::{Schedule, numbered, told};
use harness::*;
use models::speech::ScriptedTranscriber;
use protocol::{ClientMessage, CloseCode, Resume, ServerEvent, ServerMessage};
use tokio::time::sleep;

const QUESTION: &str = "How would you test this?";

#[tokio::test(start_paused = true)]
async fn a_client_that_comes_back_gets_every_event_once_and_is_told_what_to_send() {
    let engine = Setup::hearing(QUESTION).engine();
    let mut first = open(&engine).await;
    let audio = [speech(1_000), silence(1_000)].concat();
    let chunks = numbered(&audio);
    send(&first, &chunks[..60]).await;
    first.wait_for(|message| matches!(message, ServerMessage::SpeechStarted { .. })).await;
    let (token, _) = started(&first.events[0]);
    let last_event = first.events.last().unwrap().event;
    lose(first);
    sleep(ms(1_000)).await;

    let mut second = Conversation::new(Arc::clone(&engine));
    second.send(resuming(&token, last_event)).await;
    second.wait_for(|message| matches!(message, ServerMessage::StreamStarted { .. })).await;
    assert_eq!(second.events[0].event, 1, "the session's first event, as it is now");
    assert_eq!(started(&second.events[0]), (token, 60));
    send(&second, &chunks[50..]).await;
    let ended = second.finish().await;
    let numbers: Vec<_> = ended.events[1..].iter().map(|event| event.event).collect();
    assert!(numbers.iter().copied().eq(last_event + 1..=last_event + numbers.len() as u64), "{numbers:?}");
    assert_eq!(ended.story().last().unwrap(), "stream_ended Client 2000 ms 1 turns 1 answers");
    assert_eq!(ended.code, Some(CloseCode::Done));
}

#[tokio::test(start_paused = true)]
async fn what_is_heard_is_written_down_and_answered_while_nobody_is_there() {
    let slow = ScriptedTranscriber::new(|_| (ms(500), Ok(transcript(QUESTION))));
    let engine = Setup::with(slow).engine();
    let mut first = open(&engine).await;
    send(&first, &numbered(&[speech(1_000), silence(400)].concat())).await;
    let (token, _) = started(&first.events[0]);
    first.take_in();
    assert!(!first.events.iter().any(|event| matches!(event.message, ServerMessage::Transcription(_))));
    let last_event = first.events.last().unwrap().event;
    lose(first);
    sleep(ms(60_000)).await;
    let mut second = Conversation::new(Arc::clone(&engine));
    second.send(resuming(&token, last_event)).await;
    sleep(ms(1)).await;
    second.take_in();
    let told: Vec<_> = second.events.iter().filter_map(|event| line(&event.message)).collect();
    assert!(told.iter().any(|line| line == "answer 1 One two."), "{told:?}");
}

#[tokio::test(start_paused = true)]
async fn a_second_connection_takes_the_session_over_and_the_first_is_told() {
    let engine = Setup::hearing(QUESTION).engine();
    let mut first = open(&engine).await;
    let chunks = numbered(&[speech(1_000), silence(1_000)].concat());
    send(&first, &chunks[..30]).await;
    first.take_in();
    let (token, _) = started(&first.events[0]);
    let mut second = Conversation::new(Arc::clone(&engine));
    second.send(resuming(&token, first.events.last().unwrap().event)).await;
    second.wait_for(|message| matches!(message, ServerMessage::StreamStarted { .. })).await;
    let first = first.read_to_end().await;
    assert_eq!(first.code, Some(CloseCode::TakenOver));
    assert_eq!(first.story().last().unwrap(), "error 4409 fatal true");
    send(&second, &chunks[30..]).await;
    assert_eq!(second.finish().await.finals().len(), 1);
}

/// Whoever waits for its client without a slot ends with its login, too, and leaves no journal.
#[tokio::test(start_paused = true)]
async fn a_session_that_waits_ends_with_its_login() {
    let engine = Setup::hearing(QUESTION).engine();
    let mut first = open(&engine).await;
    first.take_in();
    let (token, _) = started(&first.events[0]);
    let last_event = first.events.last().unwrap().event;
    lose(first);
    sleep(ms(30_000)).await;
    assert_eq!(engine.registry.active(), 0, "others have its slot");
    assert_eq!(engine.registry.revoke(|_| true), 1);
    sleep(ms(10)).await;
    let second = Conversation::new(Arc::clone(&engine));
    second.send(resuming(&token, last_event)).await;
    let ended = second.read_to_end().await;
    assert_eq!(ended.code, Some(CloseCode::Unauthenticated), "{:?}", ended.events);
}

#[tokio::test(start_paused = true)]
async fn a_token_opens_nothing_for_others_nor_too_late() {
    let engine = Setup::hearing(QUESTION).engine();
    let first = open(&engine).await;
    let (token, _) = started(&first.events[0]);
    let refused = async |user: &str, message: ClientMessage, code| {
        let stranger = Conversation::of_user(Arc::clone(&engine), user);
        stranger.send(message).await;
        let ended = stranger.read_to_end().await;
        assert_eq!(ended.code, Some(code), "{:?}", ended.events);
    };
    refused("eve", resuming(&token, 0), CloseCode::Forbidden).await;
    refused("ada", resuming("0197b0c2-no-such-token", 0), CloseCode::Forbidden).await;
    let only = Access { session_id: Some("other".to_owned()), ..Principal { user: "ada".to_owned() }.into() };
    let ticket = Conversation::with_access(Arc::clone(&engine), only);
    ticket.send(resuming(&token, 0)).await;
    assert_eq!(ticket.read_to_end().await.code, Some(CloseCode::Forbidden), "a ticket is for one session");
    assert_eq!(engine.registry.active(), 1, "whom strangers do not disturb");

    lose(first);
    sleep(ms(1_000)).await;
    refused("ada", resuming(&token, 99), CloseCode::Malformed).await;
    sleep(ms(5_000)).await;
    assert_eq!(engine.registry.active(), 1, "it has its slot");
    sleep(ms(10_000)).await;
    assert_eq!(engine.registry.active(), 0, "it waits without");
    refused("ada", resuming(&token, 99), CloseCode::Malformed).await;
    sleep(ms(130_000)).await;
    refused("ada", resuming(&token, 0), CloseCode::Forbidden).await;
}

#[tokio::test(start_paused = true)]
async fn the_end_waits_for_a_client_that_did_not_read_it() {
    let mut setup = Setup::hearing(QUESTION);
    setup.limits.max_sessions = 1;
    let engine = setup.engine();
    let first = open(&engine).await;
    send(&first, &numbered(&[speech(1_000), silence(1_000)].concat())).await;
    let (token, _) = started(&first.events[0]);
    first.send(ClientMessage::EndStream {}).await;
    lose(first);
    sleep(ms(10_000)).await;
    assert_eq!(engine.registry.active(), 0, "it is finished and needs no slot");
    let second = Conversation::new(Arc::clone(&engine));
    second.send(resuming(&token, 1)).await;
    let ended = second.read_to_end().await;
    assert_eq!((ended.finals().len(), ended.code), (1, Some(CloseCode::Done)));
    assert_eq!(ended.story().last().unwrap(), "stream_ended Client 2000 ms 1 turns 1 answers");
    let third = Conversation::new(Arc::clone(&engine));
    third.send(resuming(&token, 1)).await;
    assert_eq!(third.read_to_end().await.code, Some(CloseCode::Forbidden), "it was read");
}

#[tokio::test(start_paused = true)]
async fn a_full_server_takes_back_those_it_has() {
    let mut setup = Setup::hearing(QUESTION);
    setup.limits.max_sessions = 1;
    let engine = setup.engine();
    let first = open(&engine).await;
    let (token, _) = started(&first.events[0]);
    lose(first);
    sleep(ms(10)).await;
    let other = Conversation::new(Arc::clone(&engine));
    other.send(start_message()).await;
    assert_eq!(other.read_to_end().await.code, Some(CloseCode::Overloaded));
    let second = Conversation::new(Arc::clone(&engine));
    second.send(resuming(&token, 1)).await;
    assert_eq!(second.finish().await.code, Some(CloseCode::Done));
}

#[tokio::test(start_paused = true)]
async fn a_slot_is_kept_shortly_and_then_asked_for_again() {
    let mut setup = Setup::hearing(QUESTION);
    setup.limits.max_sessions = 1;
    let engine = setup.engine();
    let first = open(&engine).await;
    let (token, _) = started(&first.events[0]);
    lose(first);
    sleep(ms(15_000)).await;
    let other = open(&engine).await;
    let busy = Conversation::new(Arc::clone(&engine));
    busy.send(resuming(&token, 1)).await;
    let ended = busy.read_to_end().await;
    let ServerMessage::Error { retry_after_ms: Some(_), .. } = &ended.events[0].message else {
        panic!("{:?}", ended.events)
    };
    assert_eq!(ended.code, Some(CloseCode::Overloaded));
    other.finish().await;
    let second = Conversation::new(Arc::clone(&engine));
    second.send(resuming(&token, 1)).await;
    assert_eq!(second.finish().await.code, Some(CloseCode::Done), "it had waited");
}

#[tokio::test(start_paused = true)]
async fn a_login_that_ends_ends_a_session_that_waits() {
    let engine = Setup::hearing(QUESTION).engine();
    let first = open(&engine).await;
    let (token, _) = started(&first.events[0]);
    lose(first);
    sleep(ms(10)).await;
    assert_eq!(engine.registry.revoke(|_| true), 1);
    sleep(ms(10)).await;
    let second = Conversation::new(Arc::clone(&engine));
    second.send(resuming(&token, 1)).await;
    let told = second.read_to_end().await;
    assert_eq!(told.code, Some(CloseCode::Unauthenticated), "it is told why");
}

#[tokio::test(start_paused = true)]
async fn chunks_that_overtake_each_other_are_put_in_order() {
    let engine = Setup::hearing(QUESTION).engine();
    let conversation = open(&engine).await;
    let mut chunks = numbered(&[speech(1_000), silence(1_000)].concat());
    for pair in chunks.chunks_mut(7) {
        pair.reverse();
    }
    send(&conversation, &chunks).await;
    let ended = conversation.finish().await;
    assert_eq!(ended.story().last().unwrap(), "stream_ended Client 2000 ms 1 turns 1 answers");
    assert!(!ended.story().contains(&"warning audio_gap".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn what_never_comes_is_told_in_one_warning_and_waited_for_only_shortly() {
    let engine = Setup::hearing(QUESTION).engine();
    let mut conversation = open(&engine).await;
    let chunks = numbered(&[speech(1_000), silence(1_000)].concat());
    send(&conversation, &chunks[..20]).await;
    send(&conversation, &chunks[30..]).await;
    let gap = conversation.wait_for(|message| matches!(message, ServerMessage::Warning { .. })).await;
    let ServerMessage::Warning { message, .. } = gap else { panic!() };
    assert!(message.starts_with("audio chunks 20 to 29 of channel 0 never came"), "{message}");
    let ended = conversation.finish().await;
    assert_eq!(ended.story().last().unwrap(), "stream_ended Client 1800 ms 1 turns 1 answers");
    assert_eq!(ended.story().iter().filter(|line| line.starts_with("warning")).count(), 1);
}

/// Each schedule loses connections, takes sessions over, sends chunks twice and out of order, at random moments.
#[test]
fn ten_thousand_random_schedules_end_as_an_undisturbed_one() {
    let schedules = std::env::var("INTERVIEWAI_SCHEDULES").map_or(SCHEDULES, |n| n.parse().unwrap());
    let undisturbed = flaky::play(Schedule::undisturbed());
    assert_eq!(told(&undisturbed).iter().filter(|line| line.starts_with("final")).count(), 2);
    assert_eq!(told(&undisturbed).iter().filter(|line| line.starts_with("answer ")).count(), 2);
    let (mut lost, mut taken_over, mut out_of_order) = (0, 0, 0);
    for seed in 0..schedules {
        let mut schedule = Schedule::random(seed);
        let events = flaky::play_as(&mut schedule);
        assert_eq!(told(&events), told(&undisturbed), "seed {seed}");
        assert!(events.iter().map(|event| event.event).eq(1..=events.len() as u64), "seed {seed}");
        lost += schedule.lost;
        taken_over += schedule.taken_over;
        out_of_order += schedule.out_of_order;
    }
    println!(
        "{schedules} schedules: {lost} connections lost, {taken_over} taken over, {out_of_order} chunks twice or out of order"
    );
    assert!(
        lost > schedules / 2 && taken_over > schedules / 4 && out_of_order > schedules,
        "they do disturb"
    );
}

/// As above, and the server is killed, with what it had not written yet torn or lost.
#[test]
fn ten_thousand_kills_lose_and_double_nothing() {
    let schedules = std::env::var("INTERVIEWAI_SCHEDULES").map_or(SCHEDULES, |n| n.parse().unwrap());
    let undisturbed = flaky::for_good(&flaky::play(Schedule::undisturbed()));
    let mut killed = 0;
    for seed in 0..schedules {
        let mut schedule = Schedule::killing(seed);
        let events = flaky::play_as(&mut schedule);
        assert_eq!(flaky::for_good(&events), undisturbed, "seed {seed}");
        assert!(events.iter().map(|event| event.event).eq(1..=events.len() as u64), "seed {seed}");
        killed += schedule.killed;
    }
    println!("{schedules} schedules: {killed} kills");
    assert!(killed > schedules / 2, "they do kill");
}

/// As above, over servers that share their journals: the client leaves one while that one still knows the session, and may
/// come back to it when it has long been elsewhere.
#[test]
fn ten_thousand_moves_between_servers_lose_and_double_nothing() {
    let schedules = std::env::var("INTERVIEWAI_SCHEDULES").map_or(SCHEDULES, |n| n.parse().unwrap());
    let undisturbed = flaky::for_good(&flaky::play(Schedule::undisturbed()));
    let mut moved = 0;
    for seed in 0..schedules {
        let mut schedule = Schedule::moving(seed);
        let events = flaky::play_as(&mut schedule);
        assert_eq!(flaky::for_good(&events), undisturbed, "seed {seed}");
        assert!(events.iter().map(|event| event.event).eq(1..=events.len() as u64), "seed {seed}");
        moved += schedule.moved;
    }
    println!("{schedules} schedules: {moved} moves");
    assert!(moved > schedules / 2, "they do move");
}

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

async fn open(engine: &Arc<Engine>) -> Conversation {
    let mut conversation = Conversation::new(Arc::clone(engine));
    conversation.send(flaky::start(None)).await;
    conversation.wait_for(|message| matches!(message, ServerMessage::StreamStarted { .. })).await;
    conversation
}

fn resuming(token: &str, last_event: u64) -> ClientMessage {
    flaky::start(Some(Resume { token: token.to_owned(), last_event }))
}

/// In real time, on the test's clock.
async fn send(conversation: &Conversation, chunks: &[Vec<u8>]) {
    for chunk in chunks {
        sleep(ms(20)).await;
        conversation.sender.audio(chunk.clone()).await.unwrap();
    }
    sleep(ms(1)).await;
}

/// Without a word, and without waiting for what the session makes of it.
fn lose(conversation: Conversation) {
    drop(conversation);
}

fn started(event: &ServerEvent) -> (String, u32) {
    let ServerMessage::StreamStarted { resume_token, next_seq, .. } = &event.message else {
        panic!("{event:?}")
    };
    (resume_token.clone(), next_seq[0])
}

const SCHEDULES: u64 = 10_000;
