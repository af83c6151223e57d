//! Does a sentence ask the candidate something? Word order and marks.
//!
//! Not here: requests to speak (`requests`), what nobody wants a prepared answer to (`idle`), several sentences together (`question`).

use super::{
    idle::{self, idle},
    requests::requests,
    words::Sentence,
};

/// What a sentence does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Asks the candidate, or tells them to speak.
    Asks,
    /// Asks what its speaker may be about to answer: "And why do we do that?"
    AsksItself,
    /// Neither.
    Tells,
}

/// Goes through the sentence from left to right; the first place that asks decides. Stretches of small talk are skipped, and
/// what follows a report of somebody else's question is not looked at. If no place asks, a question mark does.
pub(super) fn verdict(sentence: &Sentence) -> Verdict {
    let words = &sentence.words;
    let mut at = sentence.start();
    let mut small = false;
    let mut addressed = false;
    while at < words.len() {
        if reports(sentence, at) {
            return Verdict::Tells;
        }
        let skipped = idle(sentence, at);
        if skipped > 0 {
            small = true;
            addressed |= words[at..at + skipped].contains(&"you");
            at += skipped;
            continue;
        }
        if word_order_asks(sentence, at) || requests(sentence, at, addressed) {
            return by_subject(sentence, at);
        }
        at += 1;
    }
    if asks_at_its_end(sentence) || (sentence.asked && !small && !idle::reaction(sentence)) {
        return by_subject(sentence, sentence.start());
    }
    Verdict::Tells
}

/// A question about "us" alone may be one that its speaker answers; so may a bare "Why?".
fn by_subject(sentence: &Sentence, at: usize) -> Verdict {
    let about_us = sentence.has(at, &["we", "our", "us"]) || matches!(&sentence.words[at..], ["why" | "how"]);
    if about_us && !sentence.addresses(0) { Verdict::AsksItself } else { Verdict::Asks }
}

/// "Candidates often ask us…", "People ask, how do you…": somebody else's question. "A customer asks you" and "if I asked
/// your manager" are a setting instead.
fn reports(sentence: &Sentence, at: usize) -> bool {
    let words = &sentence.words;
    let asks = ["ask", "asks", "asked", "asking", "wonder", "wonders"].contains(&words[at]) && at > 0;
    let by_others =
        asks && !["to", "you", "i", "'d", "would", "can", "could", "may", "me"].contains(&words[at - 1]);
    let object = ["us", "me", "ourselves", "themselves", "myself", "him", "her"];
    let whom = words.get(at + 1).is_some_and(|next| object.contains(next) || QUESTION_WORDS.contains(next));
    by_others && whom && !["if", "when", "suppose", "imagine"].contains(&words[sentence.start().min(at)])
}

/// Whether a question begins at `at` by the order of its words.
fn word_order_asks(sentence: &Sentence, at: usize) -> bool {
    let words = &sentence.words;
    let rest = &words[at..];
    let before = if at == 0 { "" } else { words[at - 1] };
    let inverted = match rest {
        // "We'd love to have you on the team."
        ["have" | "do", "you", ..] if ["to", "will", "'ll", "can"].contains(&before) => false,
        // "How would you", "have you ever": with "you" it asks wherever it stands, "…what we do, you know" apart.
        // "Should you have questions, write" is a condition.
        [auxiliary, "you", ..]
            if AUXILIARIES.contains(auxiliary)
                && !(SUBJECTS.contains(&before) && rest.get(2) == Some(&"know")) =>
        {
            let condition = matches!(*auxiliary, "should" | "had" | "were" | "may" | "'d" | "might");
            let open = words[at.saturating_sub(4)..at].iter().any(|word| QUESTION_WORDS.contains(word));
            !condition || sentence.asked || open
        }
        // "What can I say", "where was I": to themselves.
        [first, auxiliary, "i", ..] if QUESTION_WORDS.contains(first) && AUXILIARIES.contains(auxiliary) => {
            sentence.addresses(at) && !matches!(*auxiliary, "did" | "was")
        }
        [
            "what" | "how" | "why" | "when" | "where",
            "do" | "does" | "did" | "would" | "could" | "should" | "can",
            next,
            ..,
        ] => *next != "is" && *next != "be",
        ["how", _, "is" | "are" | "was" | "were", next, ..] => {
            PRONOUNS.contains(next) || DETERMINERS.contains(next)
        }
        ["what" | "how" | "why", "is" | "are" | "'s" | "was" | "were" | "has" | "have", next, ..] => {
            (PRONOUNS.contains(next) || DETERMINERS.contains(next)) && !is_a_topic(sentence, at)
        }
        ["would" | "will" | "could" | "can", "that" | "this" | "it", "be" | "work", ..] => true,
        ["what", "happens" | "happened", "if" | "when" | "to" | "in" | "then", ..] => true,
        ["what", "if", ..] | ["how", "come", ..] => true,
        ["what" | "how", "about", next, ..] => *next != "we",
        _ => false,
    };
    inverted
        || (sentence.clause_begins(at) && question_word_begins(sentence, at))
        || (at == sentence.start() || (at <= 2 && sentence.clause_begins(at))) && auxiliary_begins(rest)
}

/// "What tools…", "how many…", "why Rust"; not "what we do", "how nice", "which is why".
fn question_word_begins(sentence: &Sentence, at: usize) -> bool {
    let rest = &sentence.words[at..];
    match rest {
        ["why" | "how"] | ["how", "so"] | ["such", "as"] | ["like", "what"] | ["what", "else", ..] => true,
        [_] | [_, _, "i"] | [_, _, "i", ..] if !sentence.addresses(at) => false,
        [_] | ["what", "a" | "an", ..] | ["how", "to", ..] => false,
        ["why", "the" | "that" | "this", ..] => !sentence.has(at, &["is", "are", "was"]),
        [first, next, ..] if QUESTION_WORDS.contains(first) => {
            if PRONOUNS.contains(next) || DETERMINERS.contains(next) {
                return false;
            }
            match *first {
                "what" => !is_a_topic(sentence, at),
                "how" => rest.len() >= 3 || ["many", "much", "long", "often", "so"].contains(next),
                "why" => true,
                "which" => {
                    !["is", "was", "means", "meant", "makes", "made", "brings", "will", "can"].contains(next)
                }
                "who" | "whose" => !is_a_topic(sentence, at),
                _ => AUXILIARIES.contains(next),
            }
        }
        _ => false,
    }
}

/// "What happens next is that…", "What's important to us is speed": a subject, not a question.
fn is_a_topic(sentence: &Sentence, at: usize) -> bool {
    let rest = &sentence.words[at..];
    let copula = rest.iter().skip(2).position(|word| ["is", "are", "was", "'s"].contains(word));
    copula.is_some_and(|copula| {
        let subject = &rest[1..copula + 2];
        !sentence.asked && !subject.contains(&"you") && !subject.contains(&"if") && !subject.contains(&"when")
    })
}

/// "Is a mutex enough", "does Kafka keep the order"; not "will do", "has got", "have a look", "do come in".
fn auxiliary_begins(rest: &[&str]) -> bool {
    let [first, next, _, ..] = rest else { return false };
    let subject = PRONOUNS.contains(next) || DETERMINERS.contains(next);
    match *first {
        "have" | "has" | "do" | "don't" => subject && !["a", "an", "it", "that", "this"].contains(next),
        "was" | "were" if ["a", "an"].contains(next) => false,
        // A condition, or a wish.
        "should" | "had" | "may" | "might" if *next == "you" => false,
        first
            if AUXILIARIES.contains(&first) && !first.starts_with('\'') && !QUESTION_WORDS.contains(next) =>
        {
            !["do", "be", "have", "not", "get", "got", "fine", "great", "good", "nice", "ok", "okay", "love"]
                .contains(next)
        }
        _ => false,
    }
}

/// "You led that team, correct", "you halved the build time. How?" without the marks.
fn asks_at_its_end(sentence: &Sentence) -> bool {
    let words = &sentence.words[sentence.start()..];
    match words {
        ["you" | "your", _, .., "right" | "correct"] => words.len() >= 4,
        [_, _, .., before, "how" | "why"] => {
            sentence.addresses(0)
                && !["know", "is", "'s", "see", "tell", "understand", "explain", "reason", "exactly"]
                    .contains(before)
        }
        _ => false,
    }
}

pub(super) const QUESTION_WORDS: &[&str] =
    &["what", "which", "who", "whom", "whose", "when", "where", "why", "how"];

/// Verbs that come before their subject only in questions.
pub(super) const AUXILIARIES: &[&str] = &[
    "have",
    "has",
    "had",
    "do",
    "does",
    "did",
    "are",
    "is",
    "was",
    "were",
    "can",
    "could",
    "would",
    "will",
    "should",
    "'d",
    "might",
    "may",
    "don't",
    "doesn't",
    "didn't",
    "haven't",
    "hasn't",
    "aren't",
    "isn't",
    "wasn't",
    "weren't",
    "can't",
    "couldn't",
    "wouldn't",
    "won't",
    "shouldn't",
];

/// "What we do you know": no inversion after these.
const SUBJECTS: &[&str] = &["i", "we", "they", "he", "she", "it", "you", "people"];

/// Subjects of sentences and, after question words, of statements ("What I mean").
const PRONOUNS: &[&str] = &[
    "i",
    "we",
    "it",
    "that",
    "they",
    "he",
    "she",
    "this",
    "you",
    "these",
    "those",
    "there",
    "everyone",
    "everybody",
    "anyone",
    "anybody",
    "someone",
    "somebody",
    "people",
    "one",
];

pub(super) const DETERMINERS: &[&str] =
    &["the", "a", "an", "your", "our", "my", "their", "his", "her", "its", "any", "all", "both", "most"];
