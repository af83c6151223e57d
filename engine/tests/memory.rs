//! What outlives a connection: the conversation for a client that comes back, and what answers are remembered by.
//!
//! In virtual time, with scripted models. Not here: the answer cache itself (`models`).

#![allow(clippy::unwrap_used, reason = "a test says so by panicking")]

#[path = "support/harness.rs"]
#[allow(dead_code, reason = "the harness serves two voices and servers that leave, too")]
mod harness;

use std::{sync::Arc, time::Duration};

use engine::Engine;
use harness::*;
use protocol::{ClientMessage, ServerMessage};

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// Says something and loses the connection, or ends the session; the next one asks.
async fn told_again(engine: &Arc<Engine>, user: &str, session_id: &str, lose: bool) {
    let mut conversation = Conversation::of_user(Arc::clone(engine), user);
    let id = session_id.to_owned();
    conversation.send(start_with(|start| start.session_id = Some(id))).await;
    conversation.say(&[speech(1_000), silence(1_000)].concat()).await;
    conversation.wait_for(|message| matches!(message, ServerMessage::SpeechEnded { .. })).await;
    if !lose {
        conversation.finish().await;
        return;
    }
    let Conversation { mut client, sender, session, .. } = conversation;
    client.hang_up();
    drop((client, sender));
    session.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_client_that_comes_back_is_remembered() {
    for (lose, user, id, remembered) in [
        (true, "ada", "s", true),
        (false, "ada", "s", false),
        (true, "eve", "s", false),
        (true, "ada", "t", false),
    ] {
        let chat = chat(&["Yes."]);
        let mut setup = Setup::hearing("The project is called Heron.");
        setup.chat = Arc::new(chat.clone());
        let engine = setup.engine();
        told_again(&engine, "ada", "s", lose).await;
        let conversation = Conversation::of_user(Arc::clone(&engine), user);
        conversation.send(start_with(|start| start.session_id = Some(id.to_owned()))).await;
        conversation.send(ClientMessage::AnswerNow { text: Some("Why?".to_owned()), turn: None }).await;
        conversation.finish().await;
        let prompt: String = chat.requests()[0].messages.iter().map(|m| m.content.as_str()).collect();
        assert_eq!(prompt.contains("Heron"), remembered, "lost {lose}, then {user} {id}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_comes_back_while_its_old_connection_still_seems_alive() {
    for (kept, json) in [(true, "{}"), (false, r#"{"save_history":false}"#)] {
        let chat = chat(&["Yes."]);
        let mut setup = Setup::hearing("The project is called Heron.");
        setup.chat = Arc::new(chat.clone());
        let engine = setup.engine();
        let mut lost = Conversation::new(Arc::clone(&engine));
        lost.send(start_message()).await;
        lost.send(config(json)).await;
        lost.say(&[speech(1_000), silence(1_000)].concat()).await;
        let back = Conversation::new(engine);
        back.send(start_message()).await;
        back.send(ClientMessage::AnswerNow { text: Some("Why?".to_owned()), turn: None }).await;
        back.finish().await;
        let prompt: String = chat.requests()[0].messages.iter().map(|m| m.content.as_str()).collect();
        assert_eq!(prompt.contains("Heron"), kept, "with {json}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_is_remembered_for_its_user_and_conversation_unless_nothing_is_kept() {
    let chat = chat(&["Yes."]);
    let mut setup = Setup::hearing("Hello.");
    setup.chat = Arc::new(chat.clone());
    let engine = setup.engine();
    let ask = |user: &'static str, json: &'static str, twice: bool| {
        let engine = Arc::clone(&engine);
        async move {
            let conversation = Conversation::of_user(engine, user);
            conversation.send(start_message()).await;
            conversation.send(config(json)).await;
            for _ in 0..=u8::from(twice) {
                conversation
                    .send(ClientMessage::AnswerNow { text: Some("Why?".to_owned()), turn: None })
                    .await;
                tokio::time::sleep(ms(100)).await;
            }
            conversation.finish().await;
        }
    };
    ask("ada", "{}", true).await;
    ask("ada", "{}", false).await;
    ask("eve", "{}", false).await;
    ask("ada", r#"{"answers":{"length":"long"}}"#, false).await;
    ask("ada", r#"{"save_history":false}"#, false).await;
    let contexts: Vec<_> = chat.requests().into_iter().map(|request| request.context).collect();
    let [first, later, again, eve, long, kept_nowhere] = contexts[..] else { panic!("{}", contexts.len()) };
    assert!(first.is_some() && first == again, "the same again, in another session");
    for (other, why) in [(later, "the conversation"), (eve, "the user"), (long, "the length")] {
        assert!(other.is_some() && other != first, "{why} makes another answer");
    }
    assert_eq!(kept_nowhere, None);
}
