//! Is this turn one to answer? An explainable rule over its words.
//!
//! Not here: who said it (the session asks only for the interviewer's turns), or what to answer.

/// Whether `text` asks something or tells the candidate to speak.
///
/// True when a sentence of it ends in a question mark, begins like a question ("How would…", "Have you…"), or contains
/// a cue to speak ("Tell me about…"), after greetings and fillers. Small talk ("How are you?") is not a question.
pub fn is_question(text: &str) -> bool {
    let text = text.to_lowercase().replace('’', "'");
    sentences(&text).any(|sentence| {
        let words: Vec<&str> = sentence
            .split(|c: char| !(c.is_alphanumeric() || c == '\''))
            .filter(|word| !word.is_empty())
            .skip_while(|word| FILLERS.contains(word))
            .collect();
        let plain = words.join(" ");
        if words.is_empty() || SMALL_TALK.iter().any(|talk| plain.starts_with(talk)) {
            return false;
        }
        sentence.ends_with('?')
            || CUES.iter().any(|cue| contains_words(&plain, cue))
            || (words.len() >= 3 && asks(words[0], words[1]))
    })
}

/// Whether `text` asks for an account of something that happened: such an answer tells situation, task, action and result.
pub fn is_behavioural(text: &str) -> bool {
    text.to_lowercase().contains("a time when")
}

/// Whether `text`, said right after the question `before`, goes on with it rather than being a remark of its own.
pub fn goes_on(before: &str, text: &str) -> bool {
    !before.is_empty() && !text.is_empty()
}

/// "How would…" and "Have you…" ask; "When we…" and "has got…" tell.
fn asks(first: &str, second: &str) -> bool {
    let pronoun = PRONOUNS.contains(&second);
    let auxiliary = AUXILIARIES.contains(&first) && (pronoun || DETERMINERS.contains(&second));
    (INTERROGATIVES.contains(&first) && !pronoun) || auxiliary
}

fn sentences(text: &str) -> impl Iterator<Item = &str> {
    text.split_inclusive(['.', '?', '!', ';']).map(str::trim).filter(|sentence| !sentence.is_empty())
}

fn contains_words(text: &str, phrase: &str) -> bool {
    text.match_indices(phrase).any(|(at, _)| {
        let starts = at == 0 || text.as_bytes()[at - 1] == b' ';
        let end = at + phrase.len();
        starts && (end == text.len() || text.as_bytes()[end] == b' ')
    })
}

/// Words that say nothing at the start of a sentence.
const FILLERS: &[&str] = &[
    "so", "and", "ok", "okay", "well", "now", "alright", "right", "great", "um", "uh", "then", "but", "also",
    "good", "thanks", "hi", "hello", "yeah", "yes", "perfect", "first", "next", "finally", "hmm", "please",
];

/// Questions that nobody wants a prepared answer to.
const SMALL_TALK: &[&str] = &[
    "how are you",
    "how's it going",
    "how is it going",
    "can you hear me",
    "do you hear me",
    "can you see",
    "is that ok",
    "is this ok",
    "does that make sense",
    "does that sound",
    "shall we",
    "are you ready",
    "you ready",
    "right",
    "is it ok if i",
    "do you mind if i",
    "can i share",
    "let me",
    "nice to",
    "how was your",
];

/// Ways to tell the candidate to speak.
const CUES: &[&str] = &[
    "tell me",
    "tell us",
    "walk me through",
    "walk us through",
    "talk me through",
    "talk us through",
    "describe",
    "explain",
    "give me an example",
    "give us an example",
    "give an example",
    "talk about",
    "talk to me about",
    "share an example",
    "introduce yourself",
    "i'd like to hear",
    "i would like to hear",
    "i'd love to hear",
    "i'd like to know",
    "i would like to know",
    "i want to know",
    "i'm curious",
    "i am curious",
    "let's talk about",
    "can you",
    "could you",
    "would you",
    "imagine",
    "suppose",
    "show me how",
    "compare",
    "convince me",
    "sell me",
];

/// Question words; they also begin statements.
const INTERROGATIVES: &[&str] =
    &["what", "what's", "which", "who", "whom", "whose", "when", "where", "why", "how", "how's", "if"];

/// Verbs that come first only in questions.
const AUXILIARIES: &[&str] = &[
    "have", "has", "had", "do", "does", "did", "are", "is", "was", "were", "can", "could", "would", "will",
    "should",
];

/// After a question word these make a statement ("What I mean"), after an auxiliary a question ("Have you").
const PRONOUNS: &[&str] = &["i", "we", "it", "that", "they", "he", "she", "this", "you"];

/// After an auxiliary these too begin its subject.
const DETERMINERS: &[&str] = &["there", "your", "our", "the", "any", "anyone"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions() {
        let check = |text: &str, expected| assert_eq!(is_question(text), expected, "{text:?}");
        check("Tell me about a time when you reduced the latency of a production system.", true);
        check("How would you design a rate limiter for a public API?", true);
        check("how would you design a rate limiter for a public api", true);
        check("So, um, walk me through your CV.", true);
        check("Great. Why did you leave your last job?", true);
        check("We use Rust here. Have you worked with it before", true);
        check("What's your greatest weakness", true);
        check("do you know the difference between tcp and udp", true);
        check("Describe a conflict with a colleague.", true);
        check("Hi, nice to meet you. How are you?", false);
        check("Can you hear me?", false);
        check("Thanks for coming in today.", false);
        check("When I joined the company we were ten people.", false);
        check("What I mean is the whole team.", false);
        check("has got a little too much of steel.", false);
        check("is the service still running", true);
        check("Right?", false);
        check("", false);
        check("...", false);
        check("I led the migration to Kubernetes.", false);
    }
}
