//! `Fallback` of scripted chat models, in virtual time. Not here: the conformance suite (`chat_conformance.rs`).
#![allow(clippy::unwrap_used, reason = "a test says so by panicking")]

use std::{sync::Arc, time::Duration};

use futures_util::{FutureExt, StreamExt, future::join_all};
use models::chat::{
    AnswerDelta, AnswerEnd, ChatError, ChatModel, ChatRequest, Fallback, Link, ScriptedChat, ScriptedDelta,
};
use tokio::time::{Instant, advance};

#[tokio::test(start_paused = true)]
async fn switches_once_and_back_after_a_probe() {
    let first = scripts("first", [says("one"), fails(down()), fails(down()), says("back"), says("again")]);
    let chain = chain([&first, &always("second", "two")]);
    assert_eq!(ask(&chain).await, answer(0, "one"));

    let switched = chain.answer(request()).collect::<Vec<_>>().await;
    assert_eq!(switched[0], Ok(AnswerDelta::RequestSent));
    let by = |place, name: &str, why| Ok(AnswerDelta::By { place, name: name.into(), why });
    assert_eq!(switched[1], by(1, "second", Some(down())), "not before the first text");
    assert_eq!(outcome(switched), answer(1, "two"));
    // It rests: nothing more is asked of it, and this request cannot know why.
    let later = chain.answer(request()).collect::<Vec<_>>().await;
    assert_eq!(later[1], by(1, "second", None));
    for _ in 0..3 {
        assert_eq!(ask(&chain).await, answer(1, "two"));
    }
    assert_eq!(first.requests().len(), 2);

    // A probe that fails, and another rest.
    advance(REST).await;
    assert_eq!(ask(&chain).await, answer(1, "two"));
    assert_eq!(ask(&chain).await, answer(1, "two"));
    assert_eq!(first.requests().len(), 3);

    advance(REST).await;
    assert_eq!(ask(&chain).await, answer(0, "back"));
    assert_eq!(ask(&chain).await, answer(0, "again"));
}

#[tokio::test(start_paused = true)]
async fn what_may_pass_is_asked_again_within_the_time_for_the_first_text() {
    let limited = |retry_after: Option<u64>| ChatError::RateLimited {
        message: "slow down".into(),
        retry_after: retry_after.map(Duration::from_secs),
    };
    let check = async |error: ChatError,
                       retries: u32,
                       expected: (usize, &str),
                       waits: std::ops::RangeInclusive<u64>| {
        let first = scripts("first", [fails(error.clone()), fails(error.clone()), says("one")]);
        let link = Link { retries, retry_pause: Duration::from_millis(200), ..link(&first) };
        let chain = Fallback::new(link, [Link::new(Arc::new(always("second", "two")))], REST);
        let began = Instant::now();
        let place = usize::from(expected.1 == "two");
        let said = ask(&chain).await;
        let (asked, expected) = ((first.requests().len(), said), (expected.0, answer(place, expected.1)));
        assert_eq!(asked, expected, "{error}, {retries}");
        let took = began.elapsed().as_millis() as u64;
        assert!(waits.contains(&took), "{error}, {retries}: {took} ms");
    };
    check(down(), 0, (1, "two"), 0..=0).await;
    check(down(), 1, (2, "two"), 100..=310).await;
    check(down(), 2, (3, "one"), 200..=620).await;
    check(ChatError::Timeout(3_000), 2, (3, "one"), 200..=620).await;
    // One that is over soon is waited for; of a longer one, another need not know.
    check(limited(Some(1)), 2, (3, "one"), 2_000..=2_000).await;
    check(limited(Some(2)), 2, (1, "two"), 0..=0).await;
    check(limited(Some(9)), 2, (1, "two"), 0..=0).await;
    check(limited(Some(u64::MAX)), 2, (1, "two"), 0..=0).await;
    check(limited(None), 2, (1, "two"), 0..=0).await;
    check(ChatError::Unauthorised("no".into()), 2, (1, "two"), 0..=0).await;
    check(ChatError::Refused("too long".into()), 2, (1, "two"), 0..=0).await;
}

/// Nobody else could answer at once.
#[tokio::test(start_paused = true)]
async fn a_rate_limit_is_waited_for_where_all_others_rest_or_there_are_none() {
    let limited = |seconds| ChatError::RateLimited {
        message: "slow down".into(),
        retry_after: Some(Duration::from_secs(seconds)),
    };
    for (seconds, asked, waits) in [(3, 3, 6), (5, 2, 5), (9, 1, 0)] {
        let script = || [fails(limited(seconds)), fails(limited(seconds)), says("one")];
        let whole = asked == 3;
        let only = scripts("only", script());
        let chain = Fallback::new(Link { retries: 2, ..link(&only) }, [], REST);
        let began = Instant::now();
        let expected = if whole { Ok("one".to_owned()) } else { Err(limited(seconds)) };
        assert_eq!(ask(&chain).await, (None, expected), "{seconds} s");
        assert_eq!((only.requests().len(), began.elapsed().as_secs()), (asked, waits), "{seconds} s");

        let refused = ChatError::Refused("filtered".into());
        let first = scripts("first", [fails(refused.clone())].into_iter().chain(script()));
        let second = scripts("second", [fails(down()), says("two")]);
        let chain = chain_of(Link { retries: 2, ..link(&first) }, &second);
        assert_eq!(ask(&chain).await, (None, Err(refused)), "and the second rests now");
        let began = Instant::now();
        let expected = if whole { answer(0, "one") } else { answer(1, "two") };
        assert_eq!(ask(&chain).await, expected, "{seconds} s");
        assert_eq!((first.requests().len() - 1, began.elapsed().as_secs()), (asked, waits), "{seconds} s");
    }
}

#[tokio::test(start_paused = true)]
async fn a_late_first_text_is_given_up_once_and_for_all_tries() {
    let first = scripts(
        "first",
        [
            vec![ScriptedDelta::Wait(Duration::from_secs(5)), ScriptedDelta::Fail(down())],
            vec![ScriptedDelta::Hang],
        ],
    );
    let chain = chain_of(
        Link { retries: 5, retry_pause: Duration::from_millis(1), ..link(&first) },
        &always("second", "two"),
    );
    let began = Instant::now();
    assert_eq!(ask(&chain).await, answer(1, "two"));
    assert_eq!(began.elapsed(), FIRST);
    assert_eq!((first.requests().len(), first.cancelled()), (2, 1));
}

#[tokio::test(start_paused = true)]
async fn what_breaks_off_after_the_first_text_is_not_asked_again() {
    for (rest, error, seconds) in [
        (vec![ScriptedDelta::Fail(down())], down(), 0),
        (vec![ScriptedDelta::Hang], ChatError::Timeout(BETWEEN.as_millis() as u64), BETWEEN.as_secs()),
    ] {
        let first = scripts("first", [[says("half an"), rest].concat(), says("one")]);
        let second = always("second", "two");
        let chain = chain([&first, &second]);
        let began = Instant::now();
        assert_eq!(ask(&chain).await, (Some(0), Err(error)));
        assert_eq!((began.elapsed().as_secs(), second.requests().len()), (seconds, 0));
        // The next request finds it resting.
        assert_eq!(ask(&chain).await, answer(1, "two"));
    }
    // Slow is not broken.
    let wait = ScriptedDelta::Wait(BETWEEN - Duration::from_millis(1));
    let slow = scripts("slow", [[says("a"), vec![wait.clone()], says("b"), vec![wait]].concat()]);
    assert_eq!(ask(&chain([&slow])).await, answer(None, "ab"));
}

#[tokio::test(start_paused = true)]
async fn a_refusal_is_the_requests_own_affair() {
    let first = scripts("first", [fails(ChatError::Refused("filtered".into())), says("one")]);
    let chain = chain([&first, &always("second", "two")]);
    assert_eq!(ask(&chain).await, answer(1, "two"));
    assert_eq!(ask(&chain).await, answer(0, "one"), "it does not rest, and nobody was switched");
}

#[tokio::test(start_paused = true)]
async fn a_rate_limit_rests_as_long_as_it_says() {
    let limited = |seconds| {
        fails(ChatError::RateLimited {
            message: "slow down".into(),
            retry_after: Some(Duration::from_secs(seconds)),
        })
    };
    for (said, rests) in [(90, 90), (10, 30), (u64::MAX, 3_600)] {
        let first = scripts("first", [limited(said), says("one")]);
        let link = Link { retries: 0, ..link(&first) };
        let chain = chain_of(link, &always("second", "two"));
        assert_eq!(ask(&chain).await, answer(1, "two"));
        advance(Duration::from_secs(rests - 1)).await;
        assert_eq!(ask(&chain).await, answer(1, "two"), "{said}");
        advance(Duration::from_secs(1)).await;
        assert_eq!(ask(&chain).await, answer(0, "one"), "{said}");
    }
}

#[tokio::test(start_paused = true)]
async fn where_all_rest_the_one_whose_rest_ends_first_is_asked() {
    let error = |message: &str| ChatError::Provider(message.into());
    let first = scripts("first", [fails(error("a")), fails(error("c")), says("one")]);
    let second = scripts("second", [fails(error("b")), says("two"), says("two")]);
    let chain = chain([&first, &second]);
    // Both fail, one after the other; the first reason is told.
    let second_fails_later = async {
        assert_eq!(ask(&chain).await, (None, Err(error("a"))));
        advance(Duration::from_secs(1)).await;
    };
    second_fails_later.await;
    // The first is asked, fails, and rests longer; of the second, nothing is asked in the same breath.
    assert_eq!(ask(&chain).await, (None, Err(error("c"))));
    assert_eq!((first.requests().len(), second.requests().len()), (2, 1));
    // Now the second's rest ends first.
    assert_eq!(ask(&chain).await, answer(1, "two"));
    advance(REST).await;
    assert_eq!(ask(&chain).await, answer(0, "one"));
}

/// One model alone has the same time-outs, and is asked however often it failed.
#[tokio::test(start_paused = true)]
async fn a_chain_of_one() {
    let only = scripts("only", [vec![ScriptedDelta::Hang], says("one")]);
    let chain = chain([&only]);
    assert_eq!(chain.name(), "only");
    assert_eq!(ask(&chain).await, (None, Err(ChatError::Timeout(FIRST.as_millis() as u64))));
    assert_eq!(ask(&chain).await, answer(None, "one"), "who answers is no news");
}

#[tokio::test(start_paused = true)]
async fn three_links_and_every_step_back() {
    let first = scripts("first", [fails(down()), says("one")]);
    let second = scripts("second", [says("two"), fails(down()), says("two")]);
    let chain = chain([&first, &second, &always("third", "three")]);
    assert_eq!(ask(&chain).await, answer(1, "two"));
    advance(REST / 2).await;
    assert_eq!(ask(&chain).await, answer(2, "three"));
    assert_eq!(ask(&chain).await, answer(2, "three"));
    advance(REST / 2).await;
    assert_eq!(ask(&chain).await, answer(0, "one"));
}

#[tokio::test(start_paused = true)]
async fn a_hundred_failures_at_once_are_one_rest() {
    let slow =
        |said: Vec<ScriptedDelta>| [vec![ScriptedDelta::Wait(Duration::from_millis(100))], said].concat();
    let first = scripts("first", std::iter::repeat_n(slow(fails(down())), 100).chain([slow(says("one"))]));
    let chain = chain([&first, &always("second", "two")]);
    let answers = join_all((0..100).map(|_| ask(&chain))).await;
    assert!(answers.iter().all(|answer| *answer == self::answer(1, "two")));
    // And a hundred that come after the rest are one probe.
    advance(REST).await;
    let answers = join_all((0..100).map(|_| ask(&chain))).await;
    assert_eq!(first.requests().len(), 101);
    let probes = answers.iter().filter(|answer| **answer == self::answer(0, "one")).count();
    assert_eq!((probes, answers.len()), (1, 100));
    assert_eq!(answers.iter().filter(|answer| **answer == self::answer(1, "two")).count(), 99);
}

/// One that failed, and was answered by the next, says nothing new of a link that is well again.
#[tokio::test(start_paused = true)]
async fn what_began_before_a_failure_is_no_verdict() {
    let late = |seconds, said: Vec<ScriptedDelta>| {
        [vec![ScriptedDelta::Wait(Duration::from_secs(seconds))], said].concat()
    };
    let first = scripts("first", [late(4, says("late")), late(6, fails(down())), fails(down()), says("one")]);
    let link = Link { retries: 0, ..link(&first) };
    let chain = Fallback::new(link, [Link::new(Arc::new(always("second", "two")))], Duration::from_secs(5));
    let answers = tokio::join!(ask(&chain), ask(&chain), async {
        let third = ask(&chain).await;
        // Its rest is over when the second fails.
        tokio::time::sleep(Duration::from_secs(5)).await;
        let fourth = ask(&chain).await;
        tokio::time::sleep(Duration::from_secs(2)).await;
        (third, fourth, ask(&chain).await)
    });
    assert_eq!(answers.0, answer(0, "late"), "an answer of before restores nothing");
    assert_eq!(answers.1, answer(1, "two"));
    assert_eq!(answers.2.0, answer(1, "two"));
    assert_eq!(answers.2.1, answer(0, "one"));
    assert_eq!(answers.2.2, answer(0, "one"), "a failure of before breaks nothing");
}

#[tokio::test(start_paused = true)]
async fn dropping_cancels_and_a_dropped_probe_leaves_the_verdict_to_the_next() {
    let first = scripts("first", [fails(down()), fails(down()), vec![ScriptedDelta::Hang], says("one")]);
    let chain = chain([&first, &always("second", "two")]);
    ask(&chain).await.1.unwrap();
    advance(REST).await;
    // As link() has no retries, the second script plays to the first probe.
    ask(&chain).await.1.unwrap();
    advance(REST).await;
    let mut probe = chain.answer(request());
    assert_eq!(probe.next().await, Some(Ok(AnswerDelta::RequestSent)));
    assert!(probe.next().now_or_never().is_none());
    assert_eq!(ask(&chain).await, answer(1, "two"), "others do not wait for a probe");
    drop(probe);
    assert_eq!(first.cancelled(), 1);
    assert_eq!(ask(&chain).await, answer(0, "one"));
    drop(chain.answer(request()));
    assert_eq!(first.requests().len(), 4, "nothing is asked before it is polled");
}

/// A remembered answer would say that a provider is well which nobody asked.
#[tokio::test(start_paused = true)]
async fn a_probe_goes_past_the_cache() {
    let first = scripts("first", [fails(down()), says("one")]);
    let chain = chain([&first, &always("second", "two")]);
    ask(&chain).await.1.unwrap();
    advance(REST).await;
    ask(&chain).await.1.unwrap();
    ask(&chain).await.1.unwrap();
    let contexts: Vec<_> = first.requests().into_iter().map(|request| request.context).collect();
    assert_eq!(contexts, [request().context, None, request().context]);
}

#[tokio::test(start_paused = true)]
async fn warms_whom_the_next_request_asks() {
    let (first, second) = (scripts("first", [fails(down()), says("one")]), always("second", "two"));
    let chain = chain([&first, &second]);
    chain.warm().await;
    assert_eq!((first.warmed(), second.warmed()), (1, 0));
    ask(&chain).await.1.unwrap();
    chain.warm().await;
    assert_eq!((first.warmed(), second.warmed()), (1, 1));
    advance(REST).await;
    chain.warm().await;
    assert_eq!((first.warmed(), second.warmed()), (2, 1));
}

/// Which link said that it answers, where there are several, and the text.
type Outcome = (Option<usize>, Result<String, ChatError>);

async fn ask(chain: &Fallback) -> Outcome {
    outcome(chain.answer(request()).collect().await)
}

/// What came of a request, once the order of things was checked.
#[track_caller]
fn outcome(deltas: Vec<Result<AnswerDelta, ChatError>>) -> Outcome {
    let (mut by, mut text, mut end) = (None, String::new(), None);
    for (at, delta) in deltas.iter().enumerate() {
        assert!(end.is_none(), "after the end: {delta:?}");
        assert_eq!(*delta == Ok(AnswerDelta::RequestSent), at == 0, "{deltas:?}");
        match delta.clone() {
            Ok(AnswerDelta::RequestSent) => {}
            Ok(AnswerDelta::By { place, .. }) => {
                assert!(text.is_empty() && by.is_none(), "told too late or twice: {deltas:?}");
                by = Some(place);
            }
            Ok(AnswerDelta::Text(more)) => text += &more,
            Ok(AnswerDelta::Done(AnswerEnd { .. })) => end = Some(Ok(text.clone())),
            Err(error) => end = Some(Err(error)),
        }
    }
    (by, end.unwrap_or_else(|| panic!("no end: {deltas:?}")))
}

fn answer(by: impl Into<Option<usize>>, text: &str) -> Outcome {
    (by.into(), Ok(text.to_owned()))
}

fn chain<const N: usize>(models: [&ScriptedChat; N]) -> Fallback {
    let mut links = models.into_iter().map(link);
    Fallback::new(links.next().unwrap(), links, REST)
}

fn chain_of(first: Link, second: &ScriptedChat) -> Fallback {
    Fallback::new(first, [link(second)], REST)
}

fn link(model: &ScriptedChat) -> Link {
    Link {
        first_token_timeout: FIRST,
        between_tokens_timeout: BETWEEN,
        retries: 0,
        ..Link::new(Arc::new(model.clone()))
    }
}

fn scripts(name: &str, scripts: impl IntoIterator<Item = Vec<ScriptedDelta>>) -> ScriptedChat {
    ScriptedChat::sequence(scripts).named(name)
}

fn always(name: &str, text: &str) -> ScriptedChat {
    ScriptedChat::new(says(text)).named(name)
}

fn says(text: &str) -> Vec<ScriptedDelta> {
    vec![ScriptedDelta::Text(text.into())]
}

fn fails(error: ChatError) -> Vec<ScriptedDelta> {
    vec![ScriptedDelta::Fail(error)]
}

fn down() -> ChatError {
    ChatError::Provider("cosmic ray".into())
}

fn request() -> ChatRequest {
    ChatRequest {
        messages: vec![],
        question: "?".into(),
        sources: [].into(),
        max_tokens: 100,
        context: Some([7; 32]),
    }
}

const FIRST: Duration = Duration::from_secs(8);
const BETWEEN: Duration = Duration::from_secs(10);
const REST: Duration = Duration::from_secs(30);
