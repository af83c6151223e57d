//! Does a question ask for an account of something that happened?
//!
//! Not here: whether it is a question at all (`asking`), how such an answer is built.

use super::words::{Sentence, plain, sentences};

/// Whether `text` asks for an account of something that happened, which is told as situation, task, action and result.
///
/// True for "a time when…", "an example of a decision you made", "Describe a conflict", "have you ever had to…", "How did
/// you deal with…" and superlatives of experience ("the hardest bug you've fixed", "your biggest failure"). Not for what one
/// would do ("a situation where you would…"), knows, is or wants.
///
/// ```
/// use engine::is_behavioural;
/// assert!(is_behavioural("Tell me about a time when you disagreed with your manager."));
/// assert!(is_behavioural("what's the hardest bug you've fixed"));
/// assert!(!is_behavioural("What is your greatest weakness?"));
/// assert!(!is_behavioural("How would you handle a conflict?"));
/// ```
pub fn is_behavioural(text: &str) -> bool {
    let text = plain(text);
    sentences(&text).iter().any(|sentence| (0..sentence.words.len()).any(|at| asks_for_account(sentence, at)))
}

fn asks_for_account(sentence: &Sentence, at: usize) -> bool {
    let words = &sentence.words;
    let rest = &words[at..];
    // "A situation where you would use a queue": knowledge.
    if rest.windows(2).take(8).any(|pair| matches!(pair, ["you", "would" | "'d" | "could" | "might"])) {
        return false;
    }
    match rest {
        [
            "a",
            "time",
            "your" | "we" | "the" | "they" | "things" | "somebody" | "someone" | "it" | "our" | "something",
            ..,
        ] => true,
        [
            "time" | "times" | "situation" | "occasion" | "moment" | "instance" | "experience",
            "when" | "where" | "you" | "that",
            ..,
        ] => {
            // "The time you need", "in which situation".
            at > 0 && ["a", "an", "any", "one", "another", "some", "last", "first"].contains(&words[at - 1])
        }
        ["last" | "first", "time", ..] => words[..at].contains(&"when") || sentence.addresses(at),
        ["did", "you", "last", ..] => true,
        ["have" | "did", "you", "ever", what, ..] => !KNOWLEDGE.contains(what),
        ["have", "you", "had", "to", ..] => true,
        ["did", "you", verb, ..] => {
            DEALINGS.contains(verb) || (*verb == "do" && sentence.has(at, &["when", "after"]))
        }
        ["example" | "examples" | "instance", "of" | "from" | "when" | "where", ..] => {
            matches!(rest[1..], ["when" | "where", ..])
                || rest
                    .iter()
                    .take(9)
                    .any(|word| HAPPENINGS.contains(word) || *word == "you" || *word == "your")
        }
        ["how" | "when", "have", "you", verb, ..] | ["how", "you", verb, ..] => {
            *verb == "dealt" || *verb == "gone" || past(verb)
        }
        ["proud", "of", ..] | ["proudest", ..] => true,
        ["describe" | "recall" | "share", rest @ ..] => thing_that_happened(rest),
        ["about" | "through" | "of", rest @ ..] => {
            let asked_for = ["me", "us", "hear", "talk", "think", "know", "learn"];
            at > 0 && asked_for.contains(&words[at - 1]) && thing_that_happened(rest)
        }
        [word, ..] if superlative(word) => {
            // "The hardest bug you've fixed", "the most complex system you have worked on", "your biggest failure".
            let near = &rest[1..rest.len().min(7)];
            near.windows(2).any(|pair| matches!(pair, ["you", next] if past(next)))
                || near.iter().take(3).any(|word| HAPPENINGS.contains(word)) && words[..at].contains(&"your")
        }
        _ => false,
    }
}

/// "a really difficult conflict", "a project that went wrong", "the last incident", "something you built".
fn thing_that_happened(words: &[&str]) -> bool {
    match words {
        ["something" | "anything", "you", next, ..] => past(next),
        [article, rest @ ..] if ARTICLES.contains(article) => {
            // "A difficult colleague you worked with."
            if rest.windows(2).take(6).any(|pair| matches!(pair, ["you", next] if past(next))) {
                return true;
            }
            let Some(thing) =
                rest.iter().take(4).position(|word| HAPPENINGS.contains(word) || *word == "project")
            else {
                return false;
            };
            match &rest[thing..] {
                // The project must have gone somehow; "your current project" is a description.
                ["project", "that" | "which" | "you" | "where", ..] => true,
                ["project", ..] => false,
                // "The failure modes of a two-phase commit."
                [_, next, ..] => {
                    *article != "the" || ["last", "first", "worst"].contains(&rest[0]) || *next == "you"
                }
                _ => *article != "the" || rest[0] == "last",
            }
        }
        _ => false,
    }
}

fn superlative(word: &str) -> bool {
    word == "most"
        || word == "worst"
        || word == "best"
        || (word.len() > 5 && word.ends_with("est") && !["latest", "interest", "request"].contains(&word))
}

/// A verb in the past, as far as its ending tells.
fn past(word: &str) -> bool {
    word.ends_with("ed")
        || [
            "'ve", "have", "had", "ever", "did", "made", "built", "took", "wrote", "led", "ran", "learnt",
            "saw", "got",
        ]
        .contains(&word)
}

const ARTICLES: &[&str] = &["a", "an", "the", "your", "one", "some"];

/// What people tell of.
const HAPPENINGS: &[&str] = &[
    "conflict",
    "disagreement",
    "failure",
    "mistake",
    "challenge",
    "situation",
    "time",
    "moment",
    "occasion",
    "incident",
    "outage",
    "achievement",
    "accomplishment",
    "success",
    "decision",
    "setback",
    "crisis",
    "deadline",
    "argument",
    "regret",
    "feedback",
    "risk",
    "bug",
    "problem",
    "obstacle",
    "compromise",
    "negotiation",
    "win",
];

/// "Did you…", of something that happened.
const DEALINGS: &[&str] = &[
    "handle", "deal", "resolve", "convince", "persuade", "react", "respond", "overcome", "manage", "cope",
    "solve", "recover", "fix", "approach", "turn",
];

/// "Have you ever…", answered by yes or no.
const KNOWLEDGE: &[&str] = &[
    "used",
    "worked",
    "written",
    "heard",
    "tried",
    "played",
    "seen",
    "read",
    "programmed",
    "lived",
    "considered",
    "thought",
];
