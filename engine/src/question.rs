//! Three questions about the interviewer's words, each answered by an explainable rule: is this turn one to answer, does it
//! ask for an account, does it go on with the question before? ([ADR 0010](../../docs/adr/0010-what-is-answered.md))
//!
//! Not here: who said it (the session asks only for the interviewer's turns), or what to answer. The words are English; in
//! other languages only the marks count. No state, no I/O; a turn costs microseconds, so guesses are judged like finals.

mod account;
mod asking;
mod call;
mod going_on;
mod idle;
mod requests;
mod words;

pub use account::is_behavioural;
pub use going_on::goes_on;

use asking::Verdict;

/// Whether `text`, a turn of the interviewer, asks the candidate something or tells them to speak.
///
/// True when a sentence of it has the word order of a question to the candidate ("How would you…", with or without a
/// mark), a request to speak ("Tell me about…", "I'd love to hear…", "Let's say you have…"), or a question mark. Not when
/// that sentence is small talk, about the call ("Can you share your screen?"), a report ("They often ask us…"), a
/// reaction, or answered by its speaker. "Do you have any questions for me?" is one to answer.
///
/// ```
/// use engine::is_question;
/// assert!(is_question("Great, thanks. So, um, walk me through your CV."));
/// assert!(is_question("we deploy daily have you worked like that before"));
/// assert!(is_question("Do you have any questions for me?"));
/// assert!(!is_question("Hi! How are you? Can you hear me?"));
/// assert!(!is_question("The candidates often ask us what we do about on-call."));
/// assert!(!is_question("Why do we do that? Because it's cheap."));
/// ```
pub fn is_question(text: &str) -> bool {
    let text = words::plain(text);
    if text.contains(FOREIGN_MARKS) || greek(&text) {
        return true;
    }
    let sentences = words::sentences(&text);
    sentences.iter().enumerate().any(|(n, sentence)| match asking::verdict(sentence) {
        Verdict::Asks => true,
        // "And what do we do when it breaks? We roll back."
        Verdict::AsksItself => {
            sentences.get(n + 1).is_none_or(|next| next.addresses(0) || next.words.first() == Some(&"i"))
        }
        Verdict::Tells => false,
    })
}

/// Whether `text` ends in a question mark of any script known here.
pub(crate) fn ends_in_a_question_mark(text: &str) -> bool {
    text.ends_with(['?', '？']) || text.ends_with(FOREIGN_MARKS) || greek(text)
}

/// Greek keyboards write its question mark as a semicolon.
fn greek(text: &str) -> bool {
    text.ends_with(';') && text.contains(|c| ('\u{370}'..='\u{3ff}').contains(&c))
}

/// Question marks of Arabic, Greek, Armenian (inside the word it stresses) and Ethiopic.
const FOREIGN_MARKS: [char; 4] = ['؟', '\u{37e}', '՞', '፧'];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions() {
        let check = |text: &str, expected| assert_eq!(is_question(text), expected, "{text:?}");
        check("", false);
        check("...", false);
        check("?", false);
        check("Why?", true);
        check("Isn't great?", false);
        check("Why do we test? Because we ship. And why do you?", true);
        check("And how do we do that?", true);
        check("And how do we do that? We don't.", false);
        check("Can you hear me? Good. Tell me about yourself.", true);
        check("Can you share your screen and explain the code?", true);
        check("何をしましたか？", true);
        check("我做了这个。", false);
        check("¿Por qué Rust?", true);
        check("لماذا؟", true);
        check("Γιατί;", true);
        check("We test; we ship;", false);
        check("Ինչո՞ւ", true);
    }

    #[test]
    fn accounts() {
        assert!(!is_behavioural(""));
        assert!(is_behavioural("Hi. Tell me about a time when you failed. No rush."));
    }

    #[test]
    fn going_on() {
        let check = |before: &str, text: &str, expected| {
            assert_eq!(goes_on(before, text), expected, "{before:?} {text:?}")
        };
        check("", "And why?", false);
        check("Why?", "", false);
        check("Why?", "...", false);
        // After whole words it is about the question; after broken-off ones it may be the rest of it.
        check("What is this?", "It's a classic.", false);
        check("What do you do when they say", "It's a classic.", true);
        check("Warum Rust?", "Und warum nicht Go?", true);
    }
}
