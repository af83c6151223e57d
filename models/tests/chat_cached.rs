//! `Cached` around a scripted chat model: what is kept, what is served, what never is.
#![allow(clippy::unwrap_used, reason = "a test says so by panicking")]

use std::time::Duration;

use futures_util::StreamExt;
use models::chat::{
    AnswerCache, AnswerDelta, AnswerEnd, Cached, ChatError, ChatModel, ChatRequest, ScriptedChat,
    ScriptedDelta, TokenUsage,
};

#[tokio::test]
async fn a_hit_streams_word_by_word_and_says_so() {
    let usage = Some(TokenUsage { prompt: 9, completion: 4 });
    let end = AnswerEnd { confidence: Some(0.5), usage, ..AnswerEnd::new("stop", "m-1") };
    let model = ScriptedChat::new([
        text("I led "),
        text("the ledger's\nmi"),
        text("gration."),
        ScriptedDelta::End(end),
    ]);
    let cached = Cached::new(model.clone(), "m", cache());
    let asked = ask(&cached, request("Have you led?")).await;
    let again = ask(&cached, request("um, have you  led")).await;
    assert_eq!(model.requests().len(), 1);
    let said = |text: &str| Ok(AnswerDelta::Text(text.into()));
    let sent = Ok(AnswerDelta::RequestSent);
    let end = |usage, cached| {
        Ok(AnswerDelta::Done(AnswerEnd {
            confidence: Some(0.5),
            usage,
            cached,
            ..AnswerEnd::new("stop", "m-1")
        }))
    };
    assert_eq!(
        asked,
        [sent.clone(), said("I led "), said("the ledger's\nmi"), said("gration."), end(usage, false)]
    );
    let words = ["I ", "led ", "the ", "ledger's\n", "migration."].map(said);
    assert_eq!(again, [&[sent][..], &words, &[end(None, true)]].concat());
}

#[tokio::test]
async fn everything_else_that_decides_an_answer_misses() {
    let model = ScriptedChat::new([text("Yes.")]);
    let cache = cache();
    let cached = Cached::new(model.clone(), "m", cache.clone());
    ask(&cached, request("Rust?")).await;
    for other in [
        request("Go?"),
        ChatRequest { context: Some([8; 32]), ..request("Rust?") },
        ChatRequest { max_tokens: 101, ..request("Rust?") },
    ] {
        let before = model.requests().len();
        ask(&cached, other.clone()).await;
        assert_eq!(model.requests().len(), before + 1, "{other:?}");
    }
    let other = Cached::new(model.clone(), "n", cache.clone());
    let before = model.requests().len();
    ask(&other, request("Rust?")).await;
    assert_eq!(model.requests().len(), before + 1, "another model");
    let same = Cached::new(model.clone(), "m", cache);
    ask(&same, request("Rust?")).await;
    assert_eq!(model.requests().len(), before + 1, "the same cache");
}

#[tokio::test]
async fn only_whole_answers_are_kept() {
    let usual = vec![text("Yes.")];
    for (why, script) in [
        ("it broke off", vec![text("Yes."), ScriptedDelta::Fail(ChatError::Timeout(1))]),
        ("it was cut", vec![text("Yes."), ScriptedDelta::End(AnswerEnd::new("length", "m"))]),
        ("nobody knows", vec![text("Yes."), ScriptedDelta::End(AnswerEnd::new("unknown", "m"))]),
        ("too long", vec![text(&"long ".repeat(14_000))]),
    ] {
        let model = ScriptedChat::sequence([script, usual.clone()]);
        let cached = Cached::new(model.clone(), "m", cache());
        ask(&cached, request("Rust?")).await;
        ask(&cached, request("Rust?")).await;
        assert_eq!(model.requests().len(), 2, "{why}");
    }
    // One that nobody heard to its end.
    let model = ScriptedChat::new(usual);
    let cached = Cached::new(model.clone(), "m", cache());
    let mut dropped = cached.answer(request("Rust?"));
    while !matches!(dropped.next().await, Some(Ok(AnswerDelta::Text(_)))) {}
    drop(dropped);
    assert_eq!(model.cancelled(), 1, "dropping cancels");
    ask(&cached, request("Rust?")).await;
    assert_eq!(model.requests().len(), 2);
}

#[tokio::test]
async fn without_a_context_nothing_is_kept_or_served() {
    let model = ScriptedChat::new([text("Yes.")]);
    let cache = cache();
    let cached = Cached::new(model.clone(), "m", cache.clone());
    let private = || ChatRequest { context: None, ..request("Rust?") };
    ask(&cached, private()).await;
    assert_eq!(cache.size().1, 0);
    ask(&cached, request("Rust?")).await;
    ask(&cached, private()).await;
    assert_eq!((model.requests().len(), cache.size().1), (3, 1));
}

#[tokio::test]
async fn two_at_once_are_asked_twice() {
    let model = ScriptedChat::new([text("Yes.")]);
    let cached = Cached::new(model.clone(), "m", cache());
    let (mut one, mut two) = (cached.answer(request("Rust?")), cached.answer(request("Rust?")));
    one.next().await.unwrap().unwrap();
    two.next().await.unwrap().unwrap();
    assert_eq!(model.requests().len(), 2);
}

#[tokio::test]
async fn is_bounded_in_bytes_and_age() {
    let model = ScriptedChat::new([text(&"word ".repeat(200))]);
    let bounded = AnswerCache::new(100_000, Duration::from_secs(60));
    let cached = Cached::new(model.clone(), "m", bounded.clone());
    for number in 0..1_000 {
        ask(&cached, request(&format!("Question {number}?"))).await;
    }
    let (bytes, answers) = bounded.size();
    assert!(bytes <= 100_000 && (50..=100).contains(&answers), "{bytes} bytes, {answers} answers");
    let before = model.requests().len();
    ask(&cached, request("Question 999?")).await;
    assert_eq!(model.requests().len(), before, "the last one is still there");

    let forgetful = Cached::new(model.clone(), "m", AnswerCache::new(100_000, Duration::ZERO));
    ask(&forgetful, request("Rust?")).await;
    ask(&forgetful, request("Rust?")).await;
    assert_eq!(model.requests().len(), before + 2);
}

#[tokio::test]
async fn passes_on_name_and_warmth() {
    let model = ScriptedChat::new([]).named("inner");
    let cached = Cached::new(model.clone(), "m", cache());
    cached.warm().await;
    assert_eq!((cached.name(), model.warmed()), ("inner", 1));
}

async fn ask(model: &dyn ChatModel, request: ChatRequest) -> Vec<Result<AnswerDelta, ChatError>> {
    model.answer(request).collect().await
}

fn cache() -> AnswerCache {
    AnswerCache::new(1 << 20, Duration::from_secs(60))
}

fn text(text: &str) -> ScriptedDelta {
    ScriptedDelta::Text(text.into())
}

fn request(question: &str) -> ChatRequest {
    ChatRequest {
        messages: vec![],
        question: question.into(),
        sources: [].into(),
        max_tokens: 100,
        context: Some([7; 32]),
    }
}
