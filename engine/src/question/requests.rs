//! Is the candidate told to speak, without the order of words of a question?
//!
//! Not here: questions (`asking`), requests about the call (`idle`).

use super::{
    asking::{DETERMINERS, QUESTION_WORDS},
    words::Sentence,
};

/// Whether a request to speak begins at `at`. `addressed`: the candidate was asked for something before in the sentence.
pub(super) fn requests(sentence: &Sentence, at: usize, addressed: bool) -> bool {
    let words = &sentence.words;
    let rest = &words[at..];
    let told_by = |subjects: &[&str]| at > 0 && subjects.contains(&words[at - 1]);
    let for_me = match rest {
        ["tell" | "show" | "teach" | "give" | "remind", "me" | "us", next, ..] => *next != "that",
        ["walk" | "talk" | "take" | "run" | "guide" | "lead", "me" | "us", "through" | "back", ..] => true,
        ["talk", "to" | "with", "me" | "us", "about", ..] | ["help", "me" | "us", "understand", ..] => true,
        ["convince" | "persuade", "me" | "us", ..] | ["sell", "me" | "us" | "yourself", ..] => true,
        ["introduce", "yourself", ..]
        | ["mind", "telling" | "sharing" | "walking" | "explaining" | "describing", ..] => true,
        _ => false,
    };
    // "They tell us", "feel free to tell us", "it will give us"; but "I want you to tell us", "maybe you could tell us".
    let told = || {
        told_by(TELLERS) && !words[at.saturating_sub(2)..at].contains(&"you")
            || (told_by(&["to"]) && !words[at.saturating_sub(6)..at].contains(&"you"))
    };
    if for_me && !told() {
        return true;
    }
    if wants_to_hear(sentence, at) || hands_over(sentence, at) || raises_a_question(words, at) {
        return true;
    }
    let begins = sentence.clause_begins(at) || (addressed && told_by(&["and"]));
    begins && (commands(rest) || supposes(sentence, at) || fragment(sentence, at))
}

/// "Describe…", "compare…", "write a…".
fn commands(rest: &[&str]) -> bool {
    match rest {
        [
            "describe" | "explain" | "compare" | "contrast" | "elaborate" | "implement" | "define"
            | "summarise" | "summarize" | "outline" | "discuss" | "solve" | "reverse" | "rewrite"
            | "optimise" | "optimize" | "refactor" | "simplify",
            ..,
        ] => true,
        ["think", "of" | "back", ..] | ["think", "about", "a" | "an" | "the" | "your" | "something", ..] => {
            true
        }
        ["talk", "about", ..] | ["expand" | "reflect", "on", ..] | ["go", "into" | "deeper" | "back", ..] => {
            true
        }
        ["go", "ahead", "and", _, ..] => true,
        ["start" | "begin" | "focus", "with" | "by" | "from" | "on", ..] => true,
        [
            "write" | "sketch" | "draw" | "design" | "estimate" | "list" | "name" | "pick" | "choose"
            | "rate" | "rank" | "prove" | "share" | "consider" | "recall" | "remember" | "take" | "build"
            | "find" | "code" | "give",
            next,
            ..,
        ] => {
            DETERMINERS.contains(next) && *next != "our"
                || ["one", "two", "three", "some", "yourself", "me"].contains(next)
        }
        _ => false,
    }
}

/// "Imagine you…", "let's say you have…", "say a customer…"; "let's talk about your…".
fn supposes(sentence: &Sentence, at: usize) -> bool {
    let rest = &sentence.words[at..];
    match rest {
        ["imagine" | "suppose" | "supposing" | "assume" | "assuming" | "pretend" | "picture", _, _, ..] => {
            true
        }
        ["let", "'s", "say" | "imagine" | "suppose" | "assume" | "pretend", _, _, ..] => true,
        ["say", "you" | "your" | "we" | "our" | "a" | "an" | "the" | "i", _, ..] => true,
        ["let", "'s", "talk" | "discuss" | "chat", ..] => {
            !sentence.has(at, &["we", "our", "us", "role", "next"])
        }
        ["let", "'s", "start" | "begin" | "go" | "dig" | "dive" | "hear" | "look" | "come" | "kick", ..]
        | ["why", "don't", "we", ..] => sentence.has(at, &["your"]),
        _ => false,
    }
}

/// Questions of which the verb is left out.
fn fragment(sentence: &Sentence, at: usize) -> bool {
    match &sentence.words[at..] {
        ["any", "questions" | "experience" | "thoughts" | "ideas" | "concerns" | "examples", ..] => true,
        ["anything", "else" | "you", ..] | ["thoughts", "on", ..] | ["ever", _, _, ..] => true,
        ["your", "thoughts" | "view" | "views" | "opinion" | "take", "on" | "about", ..] => true,
        ["an" | "another" | "one", "example", ..] => true,
        ["a", "bit" | "little", "more", ..] | ["more", "about" | "on" | "detail", ..] => {
            at == sentence.start()
        }
        _ => false,
    }
}

/// "I'd love to hear…", "I'm curious how…", "I was wondering whether you…", "it would be great if you could…".
fn wants_to_hear(sentence: &Sentence, at: usize) -> bool {
    let rest = &sentence.words[at..];
    let tail: &[&str] = match rest {
        [
            "i" | "we",
            "'d" | "would" | "'m" | "'re" | "am" | "are" | "was" | "want" | "wanted" | "wonder" | "need"
            | "appreciate",
            ..,
        ] => &rest[1..],
        [
            "be",
            "great" | "good" | "nice" | "helpful" | "interesting" | "useful" | "lovely" | "wonderful",
            ..,
        ] => rest,
        _ => return false,
    };
    let softened = |word: &&&str| {
        ![
            "really",
            "also",
            "just",
            "quite",
            "be",
            "very",
            "still",
            "'d",
            "would",
            "'m",
            "am",
            "'re",
            "are",
            "was",
            "it",
            "next",
            "now",
            "first",
            "briefly",
            "interested",
        ]
        .contains(*word)
    };
    let mut core = tail.iter().filter(softened);
    let will = *core.next().unwrap_or(&"");
    let [one, two, three] = [(); 3].map(|()| *core.next().unwrap_or(&""));
    let hears = |verb: &str| {
        ["hear", "know", "understand", "learn", "see", "explore", "dig", "discuss"].contains(&verb)
    };
    let wishes = [
        "love",
        "like",
        "want",
        "wanted",
        "need",
        "great",
        "good",
        "nice",
        "helpful",
        "interesting",
        "useful",
        "lovely",
        "wonderful",
        "curious",
        "trying",
        "keen",
        "appreciate",
    ]
    .contains(&will);
    match (will, one, two) {
        ("curious", next, _) => !next.is_empty(),
        ("wondering" | "wonder", "if" | "whether", "we" | "i") => false,
        ("wondering" | "wonder", next, _) => {
            (["if", "whether", "about"].contains(&next) || QUESTION_WORDS.contains(&next))
                && sentence.addresses(at)
        }
        // "I'd be interested in your view"; "we're interested in people who" is a statement.
        ("in", ..) => tail.contains(&"interested") && sentence.addresses(at),
        ("to", verb, _) => tail.contains(&"interested") && hears(verb),
        (_, "to", verb) if wishes => {
            hears(verb) && !["", "back", "from"].contains(&three)
                || (verb == "get" && three == "your")
                || (verb == "ask" && three == "about")
                || ((verb == "talk" && three == "about" || verb == "start" || verb == "go")
                    && sentence.has(at, &["your"]))
        }
        (_, "you", "to") | (_, "if", "you") => wishes,
        _ => false,
    }
}

/// "I want to give you a chance to ask us anything", "now it's your turn to ask"; not "you'll have the chance at the end".
fn hands_over(sentence: &Sentence, at: usize) -> bool {
    matches!(
        &sentence.words[at..],
        ["give", "you", "a" | "the" | "some", "chance" | "opportunity" | "time", ..]
            | ["your", "turn" | "chance" | "opportunity", ..]
    ) && sentence.has(at, &["ask", "questions"])
        && !sentence.has(0, &["will", "'ll", "later", "end", "then"])
}

/// "My next question is…", "let me ask you about…"; not "I'll ask you about" or "a few questions".
fn raises_a_question(words: &[&str], at: usize) -> bool {
    let before = |back: usize| at.checked_sub(back).map_or("", |at| words[at]);
    match &words[at..] {
        // "Can I get you to explain that?"
        ["get", "you", "to", ..] => true,
        ["question", "is" | "'s" | "would" | "about" | "on" | "concerns", _, ..] => {
            !["no", "good", "great", "big", "the"].contains(&before(1))
        }
        ["one", "is" | "'s", "about" | "on", ..] => {
            ["next", "last", "first", "final", "second"].contains(&before(1))
        }
        [
            "ask",
            "you",
            "about" | "how" | "what" | "why" | "whether" | "if" | "something" | "this" | "to",
            ..,
        ] => {
            let asker = words[at.saturating_sub(6)..at].iter().any(|word| ["i", "me", "we"].contains(word));
            asker
                && !["will", "'ll", "won't", "'d", "not", "never", "don't"].contains(&before(1))
                && before(2) != "going"
        }
        _ => false,
    }
}

/// Whoever "tells us" something is not told to.
const TELLERS: &[&str] = &[
    "i",
    "we",
    "they",
    "he",
    "she",
    "it",
    "who",
    "that",
    "people",
    "candidates",
    "customers",
    "users",
    "will",
    "'ll",
    "would",
    "can",
    "could",
    "should",
    "may",
    "might",
    "must",
    "didn't",
    "don't",
    "doesn't",
    "never",
    "always",
    "often",
    "sometimes",
    "usually",
    "did",
];
