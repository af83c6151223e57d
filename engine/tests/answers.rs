//! Answers of scripted conversations in virtual time: what is asked when, what the client sees of it, what it costs.
//!
//! Not here: which words are a question (`questions.rs`), what the prompt says (`prompts.rs`).

#![allow(clippy::unwrap_used, reason = "a test says so by panicking")]

#[path = "support/harness.rs"]
#[allow(dead_code, reason = "the harness serves two voices and servers that leave, too")]
mod harness;

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use engine::{
    config::OnBreak,
    ports::{LimitReached, Principal, Reservation, UsageMeter, memory::MonthlyLimits, memory::MonthlyMeter},
};
use futures_util::{
    FutureExt as _, StreamExt as _,
    future::{BoxFuture, ready},
    stream::{self, BoxStream},
};
use harness::*;
use models::{
    chat::{
        AnswerDelta, AnswerEnd, ChatError, ChatModel, ChatRequest, ScriptedChat, ScriptedDelta, TokenUsage,
    },
    speech::ScriptedTranscriber,
};
use protocol::{ClientMessage, Role, ServerMessage};

const QUESTION: &str = "How would you test this?";

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn text(text: &str) -> ScriptedDelta {
    ScriptedDelta::Text(text.to_owned())
}

/// Turn after turn says these, written down in 50 ms; the last one again and again.
fn turns(texts: &'static [&'static str]) -> ScriptedTranscriber {
    let calls = AtomicUsize::new(0);
    ScriptedTranscriber::new(move |_| {
        let call = calls.fetch_add(1, Ordering::Relaxed);
        (ms(50), Ok(transcript(texts[call.min(texts.len() - 1)])))
    })
}

fn answers(story: &[String]) -> Vec<&str> {
    story.iter().map(String::as_str).filter(|line| line.starts_with("answer")).collect()
}

#[tokio::test(start_paused = true)]
async fn an_answer_begun_at_the_pause_is_there_when_the_turn_ends() {
    let chat = chat(&["One", " two."]);
    let mut setup = Setup::hearing(QUESTION);
    setup.chat = Arc::new(chat.clone());
    let mut conversation = setup.start().await;
    conversation.say(&[speech(2_000), silence(160)].concat()).await;
    conversation.take_in();
    assert_eq!(chat.requests().len(), 1, "asked 80 ms into the pause, plus 50 for its words");
    assert!(answers(&story_of(&conversation)).is_empty(), "nothing is shown before the turn is over");
    conversation.say(&silence(400)).await;
    let answer = conversation.wait_for(|message| matches!(message, ServerMessage::Answer(_))).await;
    let ServerMessage::Answer(answer) = answer else { unreachable!() };
    let t = answer.timings;
    // 250 ms of silence end a whole question; everything else had been done by then.
    assert_eq!((t.endpoint, t.transcript, t.request, t.first_token, t.last_token), (250, 0, 0, 0, 0));
    assert_eq!(chat.requests().len(), 1);
    assert_eq!(
        answers(&conversation.finish().await.story()),
        [
            "answer_started 1 turn 1: How would you test this?",
            "answer_delta 1.0 One",
            "answer_delta 1.1  two.",
            "answer 1 One two."
        ]
    );
}

fn story_of(conversation: &Conversation) -> Vec<String> {
    conversation.events.iter().filter_map(|event| line(&event.message)).collect()
}

#[tokio::test(start_paused = true)]
async fn an_answer_begun_in_vain_is_cancelled_never_seen_and_paid() {
    let chat = ScriptedChat::sequence([vec![text("Wrong."), ScriptedDelta::Hang], vec![text("Right.")]]);
    let meter = Arc::new(Ledger::default());
    let mut setup = Setup::with(turns(&[QUESTION, "How would you test this in a week?"]));
    setup.chat = Arc::new(chat.clone());
    setup.meter = Arc::clone(&meter) as Arc<dyn UsageMeter>;
    let mut conversation = setup.start().await;
    conversation.say(&[speech(2_000), silence(200), speech(1_000), silence(1_000)].concat()).await;
    let ended = conversation.finish().await;
    let story = ended.story();
    assert_eq!(
        answers(&story),
        [
            "answer_started 1 turn 1: How would you test this in a week?",
            "answer_delta 1.0 Right.",
            "answer 1 Right."
        ]
    );
    assert_eq!((chat.requests().len(), chat.cancelled()), (2, 1));
    tokio::task::yield_now().await;
    let entries = meter.0.lock().unwrap().clone();
    let [(first, Some(wasted)), (_, Some(used))] = entries[..] else { panic!("{entries:?}") };
    assert!(wasted > 0 && wasted < first, "the prompt and two tokens of {first} are paid, not {wasted}");
    assert!(used > 0);
}

/// A meter that lets everything through: what was reserved, and what was used of it.
#[derive(Default)]
struct Ledger(Mutex<Vec<(u64, Option<u64>)>>);

impl UsageMeter for Ledger {
    fn reserve(&self, _: &Principal, tokens: u64) -> BoxFuture<'_, Result<Reservation, LimitReached>> {
        let mut entries = self.0.lock().unwrap();
        entries.push((tokens, None));
        ready(Ok(Reservation { period: entries.len() as u32, tokens })).boxed()
    }

    fn settle(&self, _: &Principal, reservation: Reservation, used: u64) -> BoxFuture<'_, ()> {
        let mut entries = self.0.lock().unwrap();
        let (reserved, settled) = &mut entries[reservation.period as usize - 1];
        assert_eq!((*reserved, *settled), (reservation.tokens, None), "settled once, and rightly");
        *settled = Some(used);
        ready(()).boxed()
    }
}

#[tokio::test(start_paused = true)]
async fn speculation_is_bounded_a_minute() {
    for (limit, expected) in [(0, 1), (1, 2), (20, 4)] {
        let chat = ScriptedChat::new([ScriptedDelta::Wait(ms(600)), text("Yes.")]);
        let mut setup = Setup::hearing(QUESTION);
        setup.defaults.max_speculative_requests_per_minute = limit;
        setup.chat = Arc::new(chat.clone());
        let mut conversation = setup.start().await;
        // Three guesses that come to nothing, and one that does not.
        let pauses = [speech(1_000), silence(180)].concat().repeat(3);
        conversation.say(&[pauses, speech(1_000), silence(1_000)].concat()).await;
        let ended = conversation.finish().await;
        assert_eq!(answers(&ended.story()).last(), Some(&"answer 1 Yes."));
        assert_eq!(chat.requests().len(), expected, "with {limit} a minute");
    }
}

#[tokio::test(start_paused = true)]
async fn a_flood_that_is_held_back_is_bounded_and_comes_whole() {
    let polled = Arc::new(AtomicUsize::new(0));
    let mut setup = Setup::hearing(QUESTION);
    setup.chat = Arc::new(Flood(Arc::clone(&polled)));
    let mut conversation = setup.start().await;
    conversation.say(&[speech(2_000), silence(160)].concat()).await;
    let held = polled.load(Ordering::Relaxed);
    assert!((1..300).contains(&held), "{held} tokens were taken in before the turn was over");
    conversation.say(&silence(500)).await;
    let ended = conversation.finish().await;
    let deltas = ended.events.iter().filter(|e| matches!(e.message, ServerMessage::AnswerDelta { .. }));
    assert_eq!(deltas.count(), 2_000);
}

/// Says 2,000 words as fast as they are taken.
struct Flood(Arc<AtomicUsize>);

impl ChatModel for Flood {
    fn name(&self) -> &str {
        "flood"
    }

    fn answer(&self, _: ChatRequest) -> BoxStream<'static, Result<AnswerDelta, ChatError>> {
        let polled = Arc::clone(&self.0);
        let words = (0..2_000).map(move |_| {
            polled.fetch_add(1, Ordering::Relaxed);
            Ok(AnswerDelta::Text(" word".to_owned()))
        });
        let end = Ok(AnswerDelta::Done(AnswerEnd::new("stop", "flood")));
        stream::iter([Ok(AnswerDelta::RequestSent)].into_iter().chain(words).chain([end])).boxed()
    }
}

#[tokio::test(start_paused = true)]
async fn the_other_variants_wait_for_the_first_text_of_the_preferred_one() {
    let chat = ScriptedChat::sequence([
        vec![ScriptedDelta::Wait(ms(2_000)), text("Formal"), ScriptedDelta::Wait(ms(500)), text(" one.")],
        vec![ScriptedDelta::Wait(ms(100)), text("Balanced.")],
        vec![ScriptedDelta::Wait(ms(200)), text("Simple.")],
    ]);
    let mut setup = Setup::hearing(QUESTION);
    setup.chat = Arc::new(chat.clone());
    let mut conversation = setup.start().await;
    let variants = r#"{"answers":{"variants":["professional","balanced","simple"]}}"#;
    conversation.send(config(variants)).await;
    conversation.say(&[speech(2_000), silence(1_900)].concat()).await;
    assert_eq!(
        chat.requests().len(),
        1,
        "nothing is asked beside the preferred variant before its first text"
    );
    let ended = conversation.finish().await;
    assert_eq!(chat.requests().len(), 3);
    assert_eq!(
        answers(&ended.story()),
        [
            "answer_started 1 turn 1: How would you test this?",
            "answer_delta 1.0 Formal",
            "answer_started 2 turn 1: How would you test this?",
            "answer_started 3 turn 1: How would you test this?",
            "answer_delta 2.0 Balanced.",
            "answer 2 Balanced.",
            "answer_delta 3.0 Simple.",
            "answer 3 Simple.",
            "answer_delta 1.1  one.",
            "answer 1 Formal one.",
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn variants_come_even_where_the_preferred_one_fails_or_is_cancelled() {
    let broken = || ScriptedDelta::Fail(ChatError::Provider("no".to_owned()));
    for (first, cancels) in [(vec![broken()], false), (vec![ScriptedDelta::Hang], true)] {
        let chat = ScriptedChat::sequence([first.clone(), first.clone(), vec![text("Simple.")]]);
        let mut setup = Setup::hearing("Hello.");
        setup.chat = Arc::new(chat.clone());
        let conversation = setup.start().await;
        conversation.send(config(r#"{"answers":{"variants":["professional","simple"]}}"#)).await;
        // The first script is another question's.
        for _ in 0..2 {
            conversation.send(ClientMessage::AnswerNow { text: Some(QUESTION.to_owned()), turn: None }).await;
            tokio::time::sleep(ms(10)).await;
        }
        if cancels {
            conversation.send(ClientMessage::CancelAnswer { answer_id: 1 }).await;
            conversation.send(ClientMessage::CancelAnswer { answer_id: 2 }).await;
        }
        let story = conversation.finish().await.story();
        let simple = answers(&story).iter().filter(|line| line.ends_with(" Simple.")).count();
        assert!(simple >= 2, "{story:#?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_question_that_goes_on_withdraws_even_a_complete_answer() {
    let chat = ScriptedChat::sequence([vec![text("First.")], vec![text("Second.")]]);
    let mut setup = Setup::with(turns(&["Tell me about a project.", "And what you learned from it."]));
    setup.chat = Arc::new(chat.clone());
    let mut conversation = setup.start().await;
    conversation.say(&[speech(2_000), silence(700), speech(2_000), silence(1_000)].concat()).await;
    conversation.send(ClientMessage::AnswerNow { text: None, turn: None }).await;
    let ended = conversation.finish().await;
    let story = ended.story();
    let both = "Tell me about a project. And what you learned from it.";
    assert_eq!(
        answers(&story)[..7],
        [
            "answer_started 1 turn 1: Tell me about a project.",
            "answer_delta 1.0 First.",
            "answer 1 First.",
            "answer_cancelled 1 Superseded",
            &format!("answer_started 2 turn 2: {both}"),
            "answer_delta 2.0 Second.",
            "answer 2 Second.",
        ]
    );
    let requests = chat.requests();
    assert_eq!(requests.len(), 3, "what was asked on the guess was right: {story:#?}");
    let prompt = |n: usize| requests[n].messages.iter().map(|m| m.content.clone()).collect::<String>();
    assert!(!prompt(1).contains("First."), "the withdrawn answer is no part of the conversation");
    assert!(prompt(2).contains("Second.") && !prompt(2).contains("First."));
    assert!(story.last().unwrap().ends_with("2 turns 2 answers"), "{story:#?}");
}

#[tokio::test(start_paused = true)]
async fn an_answer_stands_where_the_plan_has_none_for_the_whole_question() {
    let mut setup = Setup::with(turns(&["Tell me about a project.", "And what you learned from it."]));
    setup.chat = Arc::new(chat(&["First."]));
    setup.meter = Arc::new(MonthlyMeter::new(MonthlyLimits { requests: Some(1), tokens: None }));
    let mut conversation = setup.start().await;
    conversation.say(&[speech(2_000), silence(700), speech(2_000), silence(1_000)].concat()).await;
    let story = conversation.finish().await.story();
    assert_eq!(
        answers(&story),
        ["answer_started 1 turn 1: Tell me about a project.", "answer_delta 1.0 First.", "answer 1 First."]
    );
    assert_eq!(story.iter().filter(|line| *line == "error 4413 fatal false").count(), 1, "{story:#?}");
    assert!(story.last().unwrap().ends_with("2 turns 1 answers"), "{story:#?}");
}

/// The answer to the second part waits for its grant when the third part comes, or when it is unwanted.
#[tokio::test(start_paused = true)]
async fn an_answer_is_withdrawn_once_by_whichever_is_granted() {
    for unwanted in [false, true] {
        let mut setup =
            Setup::with(turns(&["How would you design a cache?", "Preferably in Rust.", "And C."]));
        setup.chat = Arc::new(chat(&["Yes."]));
        setup.meter = Arc::new(SlowLedger::default());
        setup.defaults.max_speculative_requests_per_minute = 0;
        let mut conversation = setup.connect();
        conversation.send(start_with(|start| start.audio.roles = vec![Role::Interviewer])).await;
        conversation.say(&[speech(1_000), silence(700)].concat()).await;
        conversation.send(config(r#"{"answers":{"variants":["professional","simple","balanced"]}}"#)).await;
        conversation.say(&[speech(1_000), silence(700)].concat()).await;
        if unwanted {
            conversation.send(ClientMessage::CancelAnswer { answer_id: 2 }).await;
        } else {
            conversation.say(&speech(800)).await;
        }
        conversation.say(&silence(3_000)).await;
        let story = conversation.finish().await.story();
        let cancelled: Vec<_> = story.iter().filter(|line| line.starts_with("answer_cancelled 1 ")).collect();
        assert_eq!(cancelled, ["answer_cancelled 1 Superseded"], "{story:#?}");
        assert!(!story.iter().any(|line| line.starts_with("answer_delta 2.")), "2 was granted: {story:#?}");
        let left = if unwanted { "2 turns 2 answers" } else { "3 turns 3 answers" };
        assert!(story.last().unwrap().ends_with(left), "{story:#?}");
    }
}

/// Lets everything through, the second request after a while.
#[derive(Default)]
struct SlowLedger(AtomicUsize);

impl UsageMeter for SlowLedger {
    fn reserve(&self, _: &Principal, tokens: u64) -> BoxFuture<'_, Result<Reservation, LimitReached>> {
        let wait = if self.0.fetch_add(1, Ordering::Relaxed) == 1 { ms(1_900) } else { ms(10) };
        async move {
            tokio::time::sleep(wait).await;
            Ok(Reservation { period: 0, tokens })
        }
        .boxed()
    }

    fn settle(&self, _: &Principal, _: Reservation, _: u64) -> BoxFuture<'_, ()> {
        ready(()).boxed()
    }
}

#[tokio::test(start_paused = true)]
async fn a_remark_after_a_question_leaves_its_answer_alone() {
    let chat = ScriptedChat::new([ScriptedDelta::Wait(ms(4_000)), text("Yes.")]);
    let mut setup = Setup::with(turns(&["Tell me about a project.", "Take your time."]));
    setup.chat = Arc::new(chat.clone());
    let mut conversation = setup.start().await;
    conversation.say(&[speech(2_000), silence(700), speech(1_000), silence(1_000)].concat()).await;
    let story = conversation.finish().await.story();
    assert_eq!(
        answers(&story),
        ["answer_started 1 turn 1: Tell me about a project.", "answer_delta 1.0 Yes.", "answer 1 Yes."]
    );
}

#[tokio::test(start_paused = true)]
async fn the_candidates_reply_on_the_same_channel_is_no_part_of_the_question() {
    for reply in [
        &["Tell me about a project.", "And so I led my team through it."],
        &["What is a mutex?", "A mutex is a lock that one thread holds."],
    ] {
        let chat = chat(&["Yes."]);
        let mut setup = Setup::with(turns(reply));
        setup.chat = Arc::new(chat.clone());
        let mut conversation = setup.start().await;
        conversation.say(&[speech(2_000), silence(700), speech(1_000), silence(1_000)].concat()).await;
        conversation.finish().await;
        assert_eq!(chat.requests().len(), 1, "{reply:?}");
    }
}

/// A session of the interviewer's channel alone, in which these turns are said, 700 ms apart.
async fn interviewer(texts: &'static [&'static str], chat: ScriptedChat, variants: &str) -> Conversation {
    let mut setup = Setup::with(turns(texts));
    setup.chat = Arc::new(chat);
    let mut conversation = setup.connect();
    conversation.send(start_with(|start| start.audio.roles = vec![Role::Interviewer])).await;
    conversation.send(config(variants)).await;
    let turn = [speech(1_000), silence(1_000)].concat();
    conversation.say(&turn.repeat(texts.len())).await;
    conversation
}

#[tokio::test(start_paused = true)]
async fn a_question_goes_on_after_a_remark_and_in_three_parts() {
    let cases: [(&[&str], &str); 2] = [
        (
            &["How would you design a cache?", "Take your time.", "Preferably in Rust."],
            "How would you design a cache? Preferably in Rust.",
        ),
        (
            &["So imagine that in your,", "last team at Harbourline,", "what went wrong?"],
            "So imagine that in your, last team at Harbourline, what went wrong?",
        ),
    ];
    for (texts, expected) in cases {
        let conversation = interviewer(texts, chat(&["Yes."]), "{}").await;
        let story = conversation.finish().await.story();
        let last = story.iter().rfind(|line| line.starts_with("answer_started")).unwrap();
        assert!(last.ends_with(expected), "{story:#?}");
    }
}

#[tokio::test(start_paused = true)]
async fn of_a_question_that_goes_on_only_its_own_answers_are_withdrawn() {
    let chat = ScriptedChat::new([text("Yes"), ScriptedDelta::Wait(ms(20_000)), text(".")]);
    let mut setup = Setup::with(turns(&["How would you design a cache?", "Preferably in Rust."]));
    setup.chat = Arc::new(chat);
    let mut conversation = setup.connect();
    conversation.send(start_with(|start| start.audio.roles = vec![Role::Interviewer])).await;
    conversation.send(config(r#"{"answers":{"variants":["professional","simple"]}}"#)).await;
    conversation.say(&[speech(1_000), silence(700)].concat()).await;
    // One of two variants is unwanted; the typed question is another.
    conversation.send(ClientMessage::CancelAnswer { answer_id: 2 }).await;
    conversation.send(ClientMessage::AnswerNow { text: Some("What is LRU?".to_owned()), turn: None }).await;
    conversation.say(&[speech(1_000), silence(1_000)].concat()).await;
    let story = conversation.finish().await.story();
    let cancelled: Vec<_> = story.iter().filter(|line| line.starts_with("answer_cancelled")).collect();
    assert_eq!(cancelled, ["answer_cancelled 2 Client", "answer_cancelled 1 Superseded"], "{story:#?}");
    assert!(story.iter().any(|line| line.ends_with("How would you design a cache? Preferably in Rust.")));
}

#[tokio::test(start_paused = true)]
async fn a_question_in_two_turns_is_answered_as_one() {
    let chat = chat(&["Yes."]);
    let mut setup = Setup::with(turns(&["So in your last role at Harbourline,", "what went wrong?"]));
    setup.chat = Arc::new(chat.clone());
    let mut conversation = setup.start().await;
    conversation.say(&[speech(2_000), silence(1_000), speech(2_000), silence(1_000)].concat()).await;
    let story = conversation.finish().await.story();
    assert_eq!(
        answers(&story)[0],
        "answer_started 1 turn 2: So in your last role at Harbourline, what went wrong?"
    );
    assert_eq!(chat.requests().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_provider_that_breaks_off_is_followed_by_another_answer_once() {
    let broken = || ScriptedDelta::Fail(ChatError::Provider("gone".to_owned()));
    let story = |on_break, second: Vec<ScriptedDelta>| async move {
        let chat = ScriptedChat::sequence([vec![text("One"), broken()], second]);
        let mut setup = Setup::hearing("Hello.");
        setup.chat = Arc::new(chat);
        setup.defaults.on_break = on_break;
        let conversation = setup.start().await;
        conversation.send(ClientMessage::AnswerNow { text: Some("Why?".to_owned()), turn: None }).await;
        let story = conversation.finish().await.story();
        story[2..story.len() - 1].to_vec()
    };
    let asked_again =
        ["answer_delta 1.0 One", "warning answer_asked_again", "answer_cancelled 1 ProviderError"];
    assert_eq!(
        story(OnBreak::AskNext, vec![text("Two.")]).await,
        [&asked_again[..], &["answer_started 2 turn 0: Why?", "answer_delta 2.0 Two.", "answer 2 Two."]]
            .concat()
    );
    let twice = [
        "answer_started 2 turn 0: Why?",
        "answer_delta 2.0 Two",
        "error 4503 fatal false",
        "answer_cancelled 2 ProviderError",
    ];
    assert_eq!(
        story(OnBreak::AskNext, vec![text("Two"), broken()]).await,
        [&asked_again[..], &twice].concat()
    );
    assert_eq!(
        story(OnBreak::Keep, vec![text("Two.")]).await,
        ["answer_delta 1.0 One", "error 4503 fatal false", "answer_cancelled 1 ProviderError"]
    );
}

#[tokio::test(start_paused = true)]
async fn a_plan_that_is_used_up_costs_answers_only() {
    let mut setup = Setup::hearing(QUESTION);
    setup.meter = Arc::new(MonthlyMeter::new(MonthlyLimits { requests: Some(1), tokens: None }));
    let mut conversation = setup.start().await;
    let question = [speech(2_000), silence(3_000)].concat();
    conversation.say(&question.repeat(2)).await;
    let ended = conversation.finish().await;
    let story = ended.story();
    assert_eq!(ended.finals().len(), 2, "{story:#?}");
    assert_eq!(story.iter().filter(|line| line.starts_with("answer_started")).count(), 1);
    assert_eq!(story.iter().filter(|line| *line == "error 4413 fatal false").count(), 1, "{story:#?}");
    let why = ended.events.iter().find_map(|event| match &event.message {
        ServerMessage::Error { message, .. } => Some(message.clone()),
        _ => None,
    });
    assert!(why.is_some_and(|why| why.contains("this month's 1 requests")), "the error says which limit");
}

#[tokio::test(start_paused = true)]
async fn tokens_are_paid_as_the_provider_counts_them() {
    let usage = Some(TokenUsage { prompt: 100, completion: 23 });
    let end = ScriptedDelta::End(AnswerEnd { usage, ..AnswerEnd::new("stop", "m") });
    let meter = Arc::new(Ledger::default());
    let mut setup = Setup::hearing(QUESTION);
    setup.meter = Arc::clone(&meter) as Arc<dyn UsageMeter>;
    setup.chat = Arc::new(ScriptedChat::new([text("Yes."), end]));
    let mut conversation = setup.start().await;
    conversation.say(&[speech(2_000), silence(1_000)].concat()).await;
    conversation.finish().await;
    tokio::task::yield_now().await;
    let entries = meter.0.lock().unwrap().clone();
    assert!(matches!(entries[..], [(reserved, Some(123))] if reserved > 123), "{entries:?}");
}

#[tokio::test(start_paused = true)]
async fn the_model_is_warmed_when_somebody_may_ask() {
    let warmed = Arc::new(AtomicUsize::new(0));
    let mut setup = Setup::hearing("Hello.");
    setup.chat = Arc::new(Warm(Arc::clone(&warmed)));
    let mut conversation = setup.start().await;
    tokio::task::yield_now().await;
    assert_eq!(warmed.load(Ordering::Relaxed), 1, "at the start of the session");
    conversation.say(&speech(500)).await;
    assert_eq!(warmed.load(Ordering::Relaxed), 2, "and when somebody begins to speak");
}

struct Warm(Arc<AtomicUsize>);

impl ChatModel for Warm {
    fn name(&self) -> &str {
        "warm"
    }

    fn answer(&self, _: ChatRequest) -> BoxStream<'static, Result<AnswerDelta, ChatError>> {
        let text = AnswerDelta::Text("Yes.".to_owned());
        stream::iter([text, AnswerDelta::Done(AnswerEnd::new("stop", "warm"))].map(Ok)).boxed()
    }

    fn warm(&self) -> BoxFuture<'static, ()> {
        let warmed = Arc::clone(&self.0);
        async move {
            warmed.fetch_add(1, Ordering::Relaxed);
        }
        .boxed()
    }
}

#[tokio::test(start_paused = true)]
async fn a_model_that_keeps_prompts_is_given_the_papers_ahead_and_it_is_paid() {
    let meter = Arc::new(Ledger::default());
    let prefills = Arc::new(Prefills::default());
    let mut setup = Setup::hearing("Hello.");
    setup.meter = Arc::clone(&meter) as Arc<dyn UsageMeter>;
    setup.chat = Arc::clone(&prefills) as Arc<dyn ChatModel>;
    let conversation = setup.start().await;
    tokio::task::yield_now().await;
    conversation.send(ClientMessage::AnswerNow { text: Some(QUESTION.to_owned()), turn: None }).await;
    conversation.finish().await;
    tokio::task::yield_now().await;
    let requests = prefills.0.lock().unwrap().clone();
    let [ahead, asked] = &requests[..] else { panic!("{} requests", requests.len()) };
    let common = ahead.bytes().zip(asked.bytes()).take_while(|(a, b)| a == b).count();
    let papers = ahead.find("Built engines").unwrap();
    assert!(common > papers, "the request begins as what was read ahead: {common} bytes of {papers}");
    assert_eq!(meter.0.lock().unwrap()[0].1, Some(43), "as the provider counts");
}

/// Keeps what it reads.
#[derive(Default)]
struct Prefills(Mutex<Vec<String>>);

impl Prefills {
    fn read(&self, request: &ChatRequest) {
        let text = request.messages.iter().map(|message| message.content.as_str()).collect();
        self.0.lock().unwrap().push(text);
    }
}

impl ChatModel for Prefills {
    fn name(&self) -> &str {
        "prefills"
    }

    fn answer(&self, request: ChatRequest) -> BoxStream<'static, Result<AnswerDelta, ChatError>> {
        self.read(&request);
        let text = AnswerDelta::Text("Yes.".to_owned());
        stream::iter([text, AnswerDelta::Done(AnswerEnd::new("stop", "prefills"))].map(Ok)).boxed()
    }

    fn prefills(&self) -> bool {
        true
    }

    fn prefill(&self, request: ChatRequest) -> BoxFuture<'static, Option<TokenUsage>> {
        self.read(&request);
        ready(Some(TokenUsage { prompt: 42, completion: 1 })).boxed()
    }
}
