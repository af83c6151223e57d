//! Do these words sound as if their speaker has finished? An explainable rule over the text of a guess.
//!
//! Not here: how long to wait then (the endpointer), or whether it was a question to answer (`question`).

use crate::question::{ends_in_a_question_mark, is_question};

/// What the words of a turn so far say about its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TurnEnd {
    /// A whole question or request: nothing more is needed.
    Finished,
    /// A whole sentence; another may follow.
    Open,
    /// In the middle of a sentence.
    Unfinished,
    /// The words do not say: there are none, or they end without a mark, as a recogniser leaves them that heard too little of
    /// the silence after them.
    Unknown,
}

/// What `text`, all that was said in a turn so far, says about its end. The words it knows are English; in other languages
/// only the marks count.
///
/// ```
/// use engine::turn_end::{TurnEnd, turn_end};
/// assert_eq!(turn_end("What is a lifetime?"), TurnEnd::Finished);
/// assert_eq!(turn_end("I led the team."), TurnEnd::Open);
/// assert_eq!(turn_end("I led the team and"), TurnEnd::Unfinished);
/// ```
pub fn turn_end(text: &str) -> TurnEnd {
    let text = text.trim().trim_end_matches(['"', '”', '’', '\'', ')']);
    let Some(mark) = text.chars().next_back() else { return TurnEnd::Unknown };
    let asked = ends_in_a_question_mark(text);
    let marked = asked || matches!(mark, '.' | '!' | '。' | '！');
    if text.ends_with("...") || (!asked && TRAILS_OFF.contains(&mark)) || ends_in_a_connector(text) {
        TurnEnd::Unfinished
    } else if !marked {
        TurnEnd::Unknown
    } else if asked || is_question(last_sentence(text)) {
        TurnEnd::Finished
    } else {
        TurnEnd::Open
    }
}

/// A recogniser likes to end what it hears with a mark, the middle of a sentence too: "So, I was working with the."
fn ends_in_a_connector(text: &str) -> bool {
    let mut words = text.split(|c: char| !(c.is_alphanumeric() || matches!(c, '\'' | '’')));
    let last = words.rfind(|word| !word.is_empty()).unwrap_or_default().to_lowercase();
    // "What are you looking for?" and "Where is it?" end in such words and are whole.
    let asked = ends_in_a_question_mark(text);
    NEVER_LAST.contains(&&*last) || (!asked && SELDOM_LAST.contains(&&*last))
}

fn last_sentence(text: &str) -> &str {
    let body = text.trim_end_matches(['.', '!', '。', '！']);
    let start = body.rfind(['.', '?', '!', '。', '？', '！']).map_or(0, |at| body.ceil_char_boundary(at + 1));
    &text[start..]
}

/// Marks that promise more.
const TRAILS_OFF: &[char] = &['…', ',', '-', '–', '—', ':', ';', '、', '，'];

/// No sentence ends in these, whatever its mark.
const NEVER_LAST: &[&str] = &[
    "and", "or", "but", "because", "um", "uh", "uhm", "erm", "er", "hmm", "the", "a", "an", "my", "your",
    "our", "their", "its", "if", "than", "whereas", "although", "unless", "every", "i'm", "we're", "they're",
    "you're", "it's", "that's", "there's", "i've", "we've", "i'd", "i'll", "we'll", "let's",
];

/// Statements seldom end in these.
const SELDOM_LAST: &[&str] = &[
    "so",
    "to",
    "of",
    "with",
    "for",
    "from",
    "into",
    "about",
    "between",
    "during",
    "which",
    "who",
    "when",
    "where",
    "while",
    "since",
    "basically",
    "actually",
    "is",
    "are",
    "was",
    "were",
    "his",
    "i",
    "we",
    "they",
    "he",
    "she",
    "some",
    "very",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends() {
        use TurnEnd::{Finished, Open, Unfinished, Unknown};
        let check = |text: &str, expected| assert_eq!(turn_end(text), expected, "{text:?}");
        check("How would you test this?", Finished);
        check("Great. Tell me about a time you failed.", Finished);
        check("Walk me through your CV.", Finished);
        check("What are you looking for?", Finished);
        check("何をしましたか？", Finished);
        check("لماذا؟", Finished);
        check("Γιατί;", Finished);
        check("We test;", Unfinished);
        check("He asked: \"Why?\"", Finished);
        check("Tell me about yourself. Thanks for that.", Open);
        check("Thanks for coming in today.", Open);
        check("I led the migration to Kubernetes!", Open);
        check("Yes, I can.", Open);
        check("I would test this.", Open);
        check("The goal is.", Unfinished);
        check("我做了这个。", Open);
        check("Tell me about a time when you", Unknown);
        check("how would you test this", Unknown);
        check("Tell me about a project and", Unfinished);
        check("So, I was working with the.", Unfinished);
        check("How would you test this and?", Unfinished);
        check("We moved everything to...", Unfinished);
        check("We moved everything…", Unfinished);
        check("We moved, um.", Unfinished);
        check("I worked there because I'm.", Unfinished);
        check("First,", Unfinished);
        check("It is a well-", Unfinished);
        check("  ", Unknown);
        check("", Unknown);
        check("...", Unfinished);
    }
}
