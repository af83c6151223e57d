//! Does a remark after a question go on with it?
//!
//! Not here: who spoke and after what pause; the session has seen to both.

use super::{
    idle::{idle, reaction},
    is_question,
    words::{Sentence, plain, sentences},
};
use crate::turn_end::{TurnEnd, turn_end};

/// Whether `text`, said by the interviewer within 1.5 s after the question `before`, goes on with it, so that both together
/// are to be answered. False when it is a remark of its own.
///
/// False when every sentence of `text` is plainly a remark: thanks, reactions ("Okay."), patience ("Take your time."),
/// apologies, small talk and talk about the call; and, where `before` ended whole, remarks about the question or the
/// speaker ("It's a hard one.", "I'll write that down."). True for everything else, qualifiers and further questions
/// first: a question half answered is worse than an answer begun again. False when one of the two is empty.
///
/// ```
/// use engine::goes_on;
/// let before = "How would you design a cache?";
/// assert!(goes_on(before, "in a distributed setting"));
/// assert!(goes_on(before, "And why?"));
/// assert!(goes_on(before, "Take your time. Preferably in Rust."));
/// assert!(!goes_on(before, "Take your time."));
/// assert!(!goes_on(before, "Sorry, my dog."));
/// ```
pub fn goes_on(before: &str, text: &str) -> bool {
    if before.trim().is_empty() {
        return false;
    }
    if is_question(text) {
        return true;
    }
    let broke_off = matches!(turn_end(before), TurnEnd::Unfinished | TurnEnd::Unknown);
    let text = plain(text);
    !sentences(&text).iter().all(|sentence| remark(sentence) || (!broke_off && aside(sentence)))
}

/// Whether the sentence is plainly no part of a question.
fn remark(sentence: &Sentence) -> bool {
    let words = &sentence.words;
    let apology = words.iter().any(|word| ["sorry", "apologies"].contains(word))
        || words.starts_with(&["excuse", "me"]);
    let start = courtesies(words);
    let rest = &words[start..];
    let said = words.iter().any(|word| ["thanks", "thank"].contains(word));
    if rest.is_empty() || reaction(sentence) || idle(sentence, start) > 0 {
        return true;
    }
    // "Sorry, I mean why not Go": a correction, not an excuse.
    if apology {
        return !matches!(
            rest,
            ["i", "mean" | "meant", ..]
                | ["not" | "in" | "with" | "without" | "for" | "what" | "why" | "how", ..]
        );
    }
    if said && matches!(rest, ["for" | "so" | "very" | "a" | "again", ..]) {
        return true;
    }
    let moment = ["moment", "minute", "second", "sec", "breath"];
    match rest {
        ["take", "your", "time", ..]
        | ["take", "as" | "all", ..]
        | ["whenever", "you", ..]
        | ["when", "you", "'re", "ready", ..] => true,
        ["no", calm, ..] if CALM.contains(calm) => true,
        ["there", "'s" | "is" | "are", "no", calm, ..] => CALM.contains(calm),
        ["not" | "no", "at", "all"]
        | ["don't", "worry" | "rush", ..]
        | ["feel", "free", "to", "think" | "take" | "ask" | "pause", ..] => true,
        ["hang" | "hold", "on", ..]
        | ["bear", "with", ..]
        | ["go", "on" | "ahead", ..]
        | ["the", "floor", ..]
        | ["over", "to", "you"] => true,
        ["one" | "just", next, ..] if moment.contains(next) => true,
        ["just", "a" | "one", next, ..] => moment.contains(next),
        ["that", "was" | "'s", "my", ..] => true,
        _ => false,
    }
}

/// Whether the sentence is about the question or its speaker, not about what is asked. It might be the rest of a sentence
/// that broke off.
fn aside(sentence: &Sentence) -> bool {
    let words = &sentence.words;
    let start = courtesies(words);
    match &words[start..] {
        ["it" | "that" | "this", "'s" | "is" | "was", rest @ ..] => {
            rest.iter().take(4).any(|word| JUDGEMENTS.contains(word))
        }
        ["i" | "we", "'ll" | "will", ..] => {
            !sentence.addresses(start)
                || sentence.has(start, &["minute", "moment", "second", "think", "time"])
        }
        ["i", "can" | "can't", "hear" | "see" | "wait" | "repeat", ..] => true,
        ["i", "'m" | "am", doing, ..] => [
            "listening",
            "curious",
            "taking",
            "writing",
            "just",
            "here",
            "all",
            "going",
            "ready",
            "muted",
            "back",
        ]
        .contains(doing),
        [
            "i",
            "know" | "ask" | "hope" | "love" | "always" | "realise" | "realize" | "appreciate" | "understand",
            ..,
        ] => true,
        ["let", "me", ..] => true,
        ["we", "can", "come" | "skip" | "move" | "go" | "always", ..] => true,
        ["you", "can", "skip" | "think" | "pass" | "take", ..] => true,
        _ => false,
    }
}

/// How many words at the start are courtesies and reactions, which may stand before anything or alone.
fn courtesies(words: &[&str]) -> usize {
    let mut at = 0;
    loop {
        at += match &words[at..] {
            ["thank", "you", ..]
            | ["thanks", "a", "lot", ..]
            | ["got", "it", ..]
            | ["i", "see"]
            | ["fair", "enough", ..] => 2,
            ["of", "course", ..] | ["bless", "you", ..] | ["all", "yours", ..] => 2,
            ["excuse", "me", ..] | ["all", "right" | "good", ..] | ["very" | "so", "much", ..] => 2,
            // "No rush."
            ["no", next, ..] if CALM.contains(next) || *next == "at" => return at,
            [word, ..] if COURTESIES.contains(word) => 1,
            _ => return at,
        };
        at = at.min(words.len());
    }
}

const COURTESIES: &[&str] = &[
    "okay",
    "ok",
    "good",
    "great",
    "right",
    "yes",
    "yeah",
    "yep",
    "no",
    "sure",
    "perfect",
    "exactly",
    "thanks",
    "sorry",
    "apologies",
    "alright",
    "well",
    "nice",
    "cool",
    "interesting",
    "please",
    "oh",
    "ha",
    "haha",
    "wow",
    "fine",
    "lovely",
    "excellent",
    "hello",
    "hi",
    "true",
    "correct",
];

/// "No rush", "there are no wrong answers".
const CALM: &[&str] = &[
    "rush", "hurry", "worries", "worry", "problem", "pressure", "stress", "need", "right", "wrong", "trick",
    "correct",
];

/// "It's a hard one."
const JUDGEMENTS: &[&str] = &[
    "hard",
    "tough",
    "tricky",
    "difficult",
    "good",
    "big",
    "long",
    "open",
    "fine",
    "okay",
    "ok",
    "favourite",
    "favorite",
    "easy",
    "loud",
    "lovely",
    "great",
    "question",
    "classic",
    "all",
];
