//! Who of several providers answers, as each client is told it, in virtual time.
//!
//! Not here: which provider a chain asks (`models/tests/chat_fallback.rs`).

#![allow(clippy::unwrap_used, reason = "a test says so by panicking")]

#[path = "support/harness.rs"]
#[allow(dead_code, reason = "the harness serves two voices and servers that leave, too")]
mod harness;

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use harness::*;
use models::{
    chat::{ChatError, Fallback, Link, ScriptedChat, ScriptedDelta},
    speech::ScriptedTranscriber,
};
use protocol::{ClientMessage, ServerMessage};

#[tokio::test(start_paused = true)]
async fn each_session_is_told_once_of_another_and_once_of_the_return() {
    let first = [says("One."), says("One."), fails(gone()), says("Back.")];
    let mut setup = Setup::hearing("Hello.");
    setup.chat = Arc::new(chain(first, says("Two.")));
    let engine = setup.engine();
    let mut sessions = Vec::new();
    for user in ["ada", "bo", "cy"] {
        let session = Conversation::of_user(Arc::clone(&engine), user);
        session.send(start_message()).await;
        sessions.push((session, 0));
    }
    // Cy asks nothing before the first has failed.
    for (round, users) in [("One.", 0..2), ("Two.", 0..3), ("Two.", 0..3), ("Back.", 0..3), ("Back.", 0..3)] {
        if round == "Back." {
            tokio::time::sleep(REST).await;
        }
        for (session, asked) in &mut sessions[users] {
            *asked += 1;
            assert_eq!(answer_of(session, *asked).await, round);
        }
    }
    let back = ("answers_restored", "first answers again".to_owned());
    let known = "the model provider failed: gone; second answers instead for now";
    let unknown = "another provider is left alone after a failure; second answers instead for now";
    for ((session, _), why) in sessions.into_iter().zip([known, unknown, unknown]) {
        let ended = session.finish().await;
        assert_eq!(warnings(&ended), [("answers_fallback", why.to_owned()), back.clone()]);
        let story = ended.story();
        let told = story.iter().position(|line| line == "warning answers_fallback").unwrap();
        assert!(story[told + 1].ends_with(" Two."), "just before the text that is another's: {story:#?}");
    }
}

/// The next answer to a typed question.
async fn answer_of(session: &mut Conversation, id: u64) -> String {
    session.send(ClientMessage::AnswerNow { text: Some(format!("Why {id}?")), turn: None }).await;
    let is_it = |message: &ServerMessage| matches!(message, ServerMessage::Answer(a) if a.answer_id == id);
    let ServerMessage::Answer(answer) = session.wait_for(is_it).await else { unreachable!() };
    answer.content
}

#[tokio::test(start_paused = true)]
async fn of_an_answer_begun_on_a_guess_it_is_told_when_the_answer_is_shown() {
    let mut setup = Setup::hearing("How would you test this?");
    setup.chat = Arc::new(chain([fails(gone()), says("One.")], says("Two.")));
    let mut conversation = setup.start().await;
    conversation.say(&[speech(2_000), silence(160)].concat()).await;
    let told = |events: &[protocol::ServerEvent]| {
        events.iter().any(|event| matches!(event.message, ServerMessage::Warning { .. }))
    };
    conversation.take_in();
    assert!(!told(&conversation.events), "nobody knows yet whether it will be shown");
    conversation.say(&silence(800)).await;
    let story = conversation.finish().await.story();
    let from = story.iter().position(|line| line.starts_with("answer_started")).unwrap();
    assert_eq!(story[from + 1..from + 3], ["warning answers_fallback", "answer_delta 1.0 Two."]);
}

#[tokio::test(start_paused = true)]
async fn of_a_guess_in_vain_nobody_is_told() {
    let turns = ["How would you test this?", "How would you test this in a week?"];
    let calls = AtomicUsize::new(0);
    let transcriber = ScriptedTranscriber::new(move |_| {
        let call = calls.fetch_add(1, Ordering::Relaxed);
        (Duration::from_millis(50), Ok(transcript(turns[call.min(1)])))
    });
    let second = ScriptedChat::new(says("Two.")).named("second");
    let first = [fails(ChatError::Refused("filtered".to_owned())), says("One.")];
    let mut setup = Setup::with(transcriber);
    setup.chat = Arc::new(chain_of(ScriptedChat::sequence(first), second.clone()));
    let mut conversation = setup.start().await;
    conversation.say(&[speech(2_000), silence(200), speech(1_000), silence(1_000)].concat()).await;
    let ended = conversation.finish().await;
    assert_eq!(second.requests().len(), 1, "the guess was answered by the second");
    let story = ended.story();
    assert!(story.iter().any(|line| line == "answer 1 One."), "{story:#?}");
    assert_eq!(warnings(&ended), []);
}

fn warnings(ended: &Ended) -> Vec<(&str, String)> {
    let warnings = ended.events.iter().filter_map(|event| match &event.message {
        ServerMessage::Warning { code, message } => Some((code.as_str(), message.clone())),
        _ => None,
    });
    warnings.collect()
}

fn chain<const N: usize>(first: [Vec<ScriptedDelta>; N], second: Vec<ScriptedDelta>) -> Fallback {
    chain_of(ScriptedChat::sequence(first), ScriptedChat::new(second).named("second"))
}

fn chain_of(first: ScriptedChat, second: ScriptedChat) -> Fallback {
    let link = |model| Link { retries: 0, ..Link::new(Arc::new(model)) };
    Fallback::new(link(first.named("first")), [link(second)], REST)
}

fn says(text: &str) -> Vec<ScriptedDelta> {
    vec![ScriptedDelta::Text(text.to_owned())]
}

fn fails(error: ChatError) -> Vec<ScriptedDelta> {
    vec![ScriptedDelta::Fail(error)]
}

fn gone() -> ChatError {
    ChatError::Provider("gone".to_owned())
}

/// Shorter than a session may be idle.
const REST: Duration = Duration::from_secs(10);
