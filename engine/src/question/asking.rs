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
    let mut at = sentence.start().max(withdrawn(words));
    // Statements are the most: told apart before small talk is looked for.
    let asks = |at, addressed| word_order_asks(sentence, at) || requests(sentence, at, addressed);
    let marked = sentence.asked || asks_at_its_end(sentence);
    if !marked && !(at..words.len()).any(|at| asks(at, true)) {
        return Verdict::Tells;
    }
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
        if asks(at, addressed) {
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

/// "Candidates often ask us…", "my boss says, why do you…", "I asked myself…": somebody else's question. "A customer asks
/// you", "if your manager said" and "if I asked your manager" are a setting instead.
fn reports(sentence: &Sentence, at: usize) -> bool {
    let words = &sentence.words;
    let asks = ["ask", "asks", "asked", "asking", "wonder", "wonders", "wondered"].contains(&words[at]);
    // "As my old boss used to say, who dares wins."
    let used_to_say = at > 1 && words[at] == "say" && ["used", "likes"].contains(&words[at - 2]);
    let says = ["says", "said", "saying", "goes", "thinking"].contains(&words[at]) || used_to_say;
    let Some(next) = words.get(at + 1).filter(|_| at > 0 && (asks || says)) else { return false };
    if ["myself", "ourselves", "themselves", "himself", "herself"].contains(next) {
        return true;
    }
    let quoted =
        QUESTION_WORDS.contains(next) || (says || sentence.after_mark(at + 1)) && AUXILIARIES.contains(next);
    let whom = asks && ["us", "me", "him", "her", "them"].contains(next);
    if !(quoted || whom)
        || (words[at - 1] == "to" && !used_to_say)
        || ["you", "i", "'d", "would", "can", "could", "may", "me"].contains(&words[at - 1])
        || (words[at] == "thinking" && !words[..at].contains(&"remember"))
    {
        return false;
    }
    let has = |some: &[&str]| words[..at].iter().any(|word| some.contains(word));
    let told = whom || has(&["us", "me", "my", "our", "we", "i"]);
    told || !has(&["a", "an", "someone", "somebody", "your", "you", "if", "when", "suppose", "imagine"])
}

/// Up to where the sentence takes back a question: "I was going to ask you about that, but you've covered it".
fn withdrawn(words: &[&str]) -> usize {
    let end = words.iter().rposition(|word| WITHDRAWALS.contains(word)).unwrap_or(0);
    let raised = words[..end].iter().position(|word| ["ask", "question", "questions"].contains(word));
    let but = |raised| words[raised..end].iter().any(|word| ["but", "never", "so"].contains(word));
    if raised.is_some_and(but) { end + 1 } else { 0 }
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
        || (sentence.after_mark(at) && negated(rest[0]) && auxiliary_begins(rest))
        || (at == sentence.start() || (at <= 2 && sentence.clause_begins(at))) && auxiliary_begins(rest)
}

/// "What tools…", "how many…", "why Rust"; not "what we do", "how nice", "which is why".
fn question_word_begins(sentence: &Sentence, at: usize) -> bool {
    let rest = &sentence.words[at..];
    match rest {
        ["why" | "how"] | ["how", "so"] | ["such", "as"] | ["like", "what"] | ["what", "else", ..] => true,
        [_] | [_, _, "i"] | [_, _, "i", ..] if !sentence.addresses(at) => false,
        ["how", "to", ..] => false,
        [first, next, ..] if QUESTION_WORDS.contains(first) => {
            if PRONOUNS.contains(next) || DETERMINERS.contains(next) {
                return false;
            }
            match *first {
                "what" => !is_a_topic(sentence, at),
                "how" => rest.len() >= 3 || ["many", "much", "long", "often", "so"].contains(next),
                "why" => true,
                "which" => ![
                    "is", "was", "means", "meant", "reminds", "leads", "explains", "makes", "made", "brings",
                    "will", "can",
                ]
                .contains(next),
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
        "had" => false,
        "should" | "may" | "might" if *next == "you" => false,
        // "Can't wait", "couldn't agree more".
        "can't" | "couldn't" | "won't" if !subject => false,
        // "Should I repeat that?"
        _ if *next == "i" => false,
        first
            if AUXILIARIES.contains(&first) && !first.starts_with('\'') && !QUESTION_WORDS.contains(next) =>
        {
            !["do", "be", "have", "not", "get", "got", "fine", "great", "good", "nice", "ok", "okay", "love"]
                .contains(next)
        }
        _ => false,
    }
}

/// "…, couldn't a spreadsheet do that?"
fn negated(word: &str) -> bool {
    word.ends_with("n't")
}

/// "You led that team, correct", "you halved the build time. How?" without the marks.
fn asks_at_its_end(sentence: &Sentence) -> bool {
    let words = &sentence.words[sentence.start()..];
    match words {
        ["you" | "your", _, .., "right" | "correct"] => words.len() >= 4,
        // "And the budget for that was what, roughly?"
        [_, _, .., "is" | "was" | "were", "what" | "when" | "where" | "who"]
        | [_, _, .., "is" | "was" | "were", "what" | "when" | "where" | "who", _] => {
            !sentence.has(0, &["know", "it", "depends"]) && !words.ends_with(&["it"])
        }
        [_, _, .., before, "how" | "why"] => {
            sentence.addresses(0)
                && !["know", "is", "'s", "see", "tell", "understand", "explain", "reason", "exactly"]
                    .contains(before)
        }
        _ => false,
    }
}

/// With which a question is taken back.
const WITHDRAWALS: &[&str] = &["mind", "covered", "answered", "leave", "skip", "forget"];

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
