//! Questions and requests that nobody wants a prepared answer to: small talk, rhetorical questions, reactions.
//!
//! Not here: talk about the call (`call`), what asks (`asking`).

use super::{
    asking::{AUXILIARIES, DETERMINERS},
    call::{MOMENTS, about_the_call, moment},
    words::Sentence,
};

/// How many words of small talk, or of talk about the call, begin at `at`; 0 for none. What follows them may ask still:
/// "Can you share your screen and walk me through it?"
pub(super) fn idle(sentence: &Sentence, at: usize) -> usize {
    let rest = &sentence.words[at..];
    let clause = sentence.clause(at);
    let skipped =
        everyday(rest).max(small_talk(rest, clause)).max(about_the_call(rest, clause)).max(rhetorical(rest));
    skipped.min(rest.len())
}

/// Whether it is nothing but a reaction or a check, so that its question mark asks nothing: "Really?", "That's fine, right?"
pub(super) fn reaction(sentence: &Sentence) -> bool {
    let words = &sentence.words[..];
    let tag = matches!(
        words,
        [.., "right" | "yeah" | "okay" | "ok" | "huh" | "correct" | "alright"] | [.., "you", "know"]
    ) || matches!(words, [_, _, .., verb, "it" | "that" | "they" | "he" | "she" | "we" | "there"] if AUXILIARIES.contains(verb));
    words.iter().all(|word| REACTIONS.contains(word))
        || (tag && !sentence.addresses(0))
        || matches!(words, ["you", "know"] | ["what"])
}

/// "Isn't the weather awful", "is that a dog behind you", "did you have far to come": a plain question with an everyday
/// thing among its first words and nothing of work.
fn everyday(rest: &[&str]) -> usize {
    let plain = match rest {
        ["how" | "what" | "who", "'s" | "is" | "was" | "were" | "are", ..] => true,
        ["what", "time" | "plans", ..] | ["how", "long", "did", ..] => true,
        [first, _, ..] => [
            "is", "isn't", "are", "aren't", "was", "wasn't", "were", "do", "does", "did", "has", "have",
            "don't", "doesn't",
        ]
        .contains(first),
        _ => false,
    };
    let near = &rest[..rest.len().min(10)];
    if !plain || near.iter().any(|word| WORK.contains(word)) {
        return 0;
    }
    let thing = near.iter().position(|word| EVERYDAY.contains(word)).map(|at| at + 1);
    let place = near.windows(2).position(|pair| {
        matches!(
            pair,
            ["behind", "you"]
                | ["front", "of"]
                | ["been", "waiting"]
                | ["get" | "got", "here"]
                | ["to", "come"]
                | ["your", "kids" | "family"]
                | ["the", "background"]
                | ["last", "night"]
        )
    });
    thing.or(place.map(|at| at + 2)).unwrap_or(0)
}

fn small_talk(rest: &[&str], clause: &[&str]) -> usize {
    match rest {
        ["how", "are", "you", "doing" | "feeling" | "keeping", ..] if clause.len() <= 6 => 4,
        ["how", "are", "you", ..] if clause.len() == 3 => 3,
        ["how", "are", "you", "today" | "all" | "guys" | "this", ..] => 3,
        ["how", "'s" | "is", "it" | "everything" | "life", "going" | "with", ..] => 4,
        ["how", "'s" | "is" | "was" | "were" | "are", "your" | "the", next, ..]
            if DAYS.contains(next) || EVERYDAY.contains(next) =>
        {
            4
        }
        ["did", "you", "find", "us" | "it", ..] => 4,
        ["did", "you", "find", _, "office" | "place" | "building" | "room" | "way" | "link", ..] => 5,
        ["did", "you", "have", "any" | "a", "trouble" | "problems" | "difficulty", next, ..]
            if ["getting", "finding", "joining", "connecting", "logging"].contains(next) =>
        {
            6
        }
        ["did", "you", "have", "a", "good" | "nice" | "pleasant" | "great" | "safe" | "relaxing", ..] => 5,
        ["did", "you", "get", "here" | "in" | "home" | "that" | "my", ..] => 4,
        ["did", "you", "know", ..] => 3,
        ["did", "you", "have" | "get", "a", "chance", "to", "look" | "read" | "see", ..] => 7,
        ["have", "you", "been", "to", next, ..] if !DETERMINERS.contains(next) => 4,
        ["do" | "would" | "did" | "have", "you", "like" | "want" | "need" | "have" | "got", ..]
            if clause.iter().take(10).any(|word| PAUSES.contains(word) || MOMENTS.contains(word))
                || matches!(&rest[3..], ["me", "to", ..]) =>
        {
            clause.len()
        }
        ["can" | "could" | "may" | "shall", "i", "get" | "offer" | "bring", "you", next, ..]
            if *next != "to" =>
        {
            4
        }
        ["take", "your", "time", ..] => 3,
        ["take", rest @ ..] | ["give", "me" | "us", rest @ ..] if moment(rest) => 3,
        ["what", "time", "is", "it", ..] => 4,
        ["how", "have", "you", "been"]
        | ["where", "are", "you", "calling" | "joining" | "dialling" | "dialing", ..] => 4,
        ["is", "now" | "this" | "it", "a", "good" | "bad", "time", ..] => 5,
        ["are", "you", "in", _, ..] | ["you", "'re", "in", _, ..] if clause.len() <= 5 => clause.len(),
        ["and", "you" | "yourself"] => 2,
        ["what" | "how", "about", "you" | "yourself"] => 3,
        _ => 0,
    }
}

/// Nobody is meant to answer.
fn rhetorical(rest: &[&str]) -> usize {
    match rest {
        // To themselves.
        ["where", "was" | "did", "i" | "we", ..] | ["where", "is" | "'s" | "are", "my", ..] => 3,
        ["who", "would", "have", "thought", ..] => 4,
        ["who", "knows" | "cares" | "doesn't" | "wouldn't" | "hasn't" | "isn't" | "didn't", ..] => 2,
        ["how", "hard" | "difficult" | "bad", "can" | "could", "it" | "that" | "this", "be", ..] => 5,
        ["how", _, "is" | "'s" | "was", "that" | "this"] => 4,
        // "Isn't technology wonderful?"
        ["isn't" | "wasn't" | "aren't", near @ ..]
            if near.iter().take(4).any(|word| PRAISE.contains(word)) =>
        {
            3
        }
        ["don't", "you", "love" | "hate", ..]
        | ["don't", "you", "just", ..]
        | ["is", "it", "just", "me", ..] => 3,
        ["is", "that", "so"] => 3,
        ["can", "you", "imagine"] => 3,
        ["can" | "would", "you", "believe", _, ..] | ["how", "do", "you", "pronounce" | "spell", ..] => 4,
        ["do", "you", "know" | "see", "what", "i", "mean", ..] => 6,
        ["you", "know", "what", ..] => 3,
        _ => 0,
    }
}

/// What people talk about before they begin.
const EVERYDAY: &[&str] = &[
    "weather",
    "rain",
    "raining",
    "snow",
    "snowing",
    "sunny",
    "freezing",
    "weekend",
    "holiday",
    "holidays",
    "vacation",
    "lunch",
    "breakfast",
    "dinner",
    "coffee",
    "dog",
    "cat",
    "guitar",
    "parking",
    "park",
    "jet",
    "outside",
    "football",
    "christmas",
    "easter",
];

/// With one of these even an everyday thing is asked about in earnest.
const WORK: &[&str] = &[
    "work",
    "working",
    "worked",
    "team",
    "project",
    "handle",
    "experience",
    "role",
    "company",
    "code",
    "build",
    "customer",
    "customers",
    "ever",
];

/// What days and journeys were like.
const DAYS: &[&str] = &[
    "day",
    "week",
    "morning",
    "afternoon",
    "evening",
    "trip",
    "journey",
    "flight",
    "commute",
    "travel",
    "traffic",
    "drive",
    "summer",
];

/// What is offered and what is asked for in between.
const PAUSES: &[&str] = &["coffee", "tea", "water", "drink", "break", "pen", "stop"];

const PRAISE: &[&str] = &[
    "great",
    "nice",
    "cool",
    "interesting",
    "funny",
    "amazing",
    "crazy",
    "lovely",
    "wonderful",
    "fun",
    "awesome",
    "strange",
    "exciting",
    "impressive",
    "sweet",
    "weird",
    "beautiful",
    "fascinating",
    "hot",
    "cold",
    "awful",
    "terrible",
    "horrible",
    "brilliant",
];

/// Words of which a turn may consist without asking.
const REACTIONS: &[&str] = &[
    "oh",
    "really",
    "yeah",
    "yes",
    "no",
    "right",
    "okay",
    "ok",
    "sorry",
    "hello",
    "hi",
    "wow",
    "seriously",
    "pardon",
    "huh",
    "me",
    "good",
    "great",
    "fine",
    "sure",
    "true",
    "is",
    "it",
    "that",
    "so",
    "well",
    "excuse",
    "and",
    "alright",
    "ready",
    "correct",
    "cool",
];
