//! Questions and requests that nobody wants a prepared answer to: small talk, how the call goes, reactions.
//!
//! Not here: what asks (`asking`).

use super::{asking::AUXILIARIES, words::Sentence};

/// How many words of small talk, or of talk about the call, begin at `at`; 0 for none. What follows them may ask still:
/// "Can you share your screen and walk me through it?"
pub(super) fn idle(sentence: &Sentence, at: usize) -> usize {
    let rest = &sentence.words[at..];
    let clause = sentence.clause(at);
    small_talk(rest, clause).max(about_the_call(rest, clause)).max(rhetorical(rest, clause))
}

/// Whether it is nothing but a reaction or a check, so that its question mark asks nothing: "Really?", "That's fine, right?"
pub(super) fn reaction(sentence: &Sentence) -> bool {
    let words = &sentence.words[..];
    let tag = matches!(
        words,
        [.., "right" | "yeah" | "okay" | "ok" | "huh" | "correct" | "alright"]
            | [.., "isn't" | "wasn't" | "aren't" | "doesn't", "it" | "that" | "they"]
            | [.., "you", "know"]
    );
    words.iter().all(|word| REACTIONS.contains(word))
        || (tag && !sentence.addresses(0))
        || matches!(words, ["you", "know"] | ["what"])
}

fn small_talk(rest: &[&str], clause: &[&str]) -> usize {
    match rest {
        ["how", "are", "you", "doing" | "feeling" | "keeping", ..] if clause.len() <= 6 => 4,
        ["how", "are", "you", ..] if clause.len() == 3 => 3,
        ["how", "are", "you", "today" | "all" | "guys" | "this", ..] => 3,
        ["how", "do", "you", "do", ..] if clause.len() == 4 => 4,
        ["how", "'s" | "is", "it" | "everything" | "life", "going" | "with", ..] => 4,
        ["how", "'s" | "is" | "was" | "were" | "are", "your" | "the", next, ..] if DAYS.contains(next) => 4,
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
        ["do" | "would" | "did", "you", "like" | "want" | "need" | "have", ..]
            if clause.iter().take(8).any(|word| PAUSES.contains(word))
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
        ["take", "a" | "one", "moment" | "minute" | "second", ..] => 3,
        ["how", "have", "you", "been"]
        | ["where", "are", "you", "calling" | "joining" | "dialling" | "dialing", ..] => 4,
        ["what", "'s", "up"] | ["you", "all", "set"] => 3,
        ["is", "now" | "this" | "it", "a", "good" | "bad", "time", ..] => 5,
        ["have", "you", "got", ..] if clause.iter().any(|word| PAUSES.contains(word)) => clause.len(),
        ["and", "you" | "yourself"] => 2,
        ["what" | "how", "about", "you" | "yourself"] => 3,
        _ => 0,
    }
}

/// Sound, screens, who is there, when to begin, what was not understood.
fn about_the_call(rest: &[&str], clause: &[&str]) -> usize {
    let checks = match rest {
        ["does", "that" | "this" | "it" | "all", "make", "sense", ..] => 4,
        [
            "does",
            "that" | "this" | "it",
            "sound",
            "good" | "okay" | "ok" | "fine" | "alright" | "right" | "fair" | "reasonable",
            ..,
        ] => 4,
        ["does", "that" | "this" | "it", "sound"] | ["does", "that" | "this" | "it", "help"] => 3,
        ["does", "that" | "this" | "it", "work", "for", ..] | ["does", "that" | "this", "answer", ..] => 4,
        ["is" | "'s" | "was", "it" | "that" | "this" | "everything", state, ..] if AGREED.contains(state) => {
            3
        }
        ["is" | "'s", "it" | "that" | "this" | "everything", "all", "right" | "good" | "clear", ..] => 4,
        ["everything" | "all", state] if AGREED.contains(state) => 2,
        ["makes" | "make", "sense"]
        | ["sounds" | "sound", "good" | "okay" | "fair"]
        | ["got", "it"]
        | ["you", "ready" | "there"] => 2,
        ["are", "you", "still"] | ["are", "you", "there" | "muted" | "frozen", ..] => 3,
        ["are", "you", "ready" | "back" | "set" | "good"] | ["are", "you", "ready", "for", ..] => 3,
        ["are", "you", "okay" | "ok" | "happy" | "good" | "ready", "to", step, ..]
            if STEPS.contains(step) =>
        {
            5
        }
        ["would", "it", "be", state, "if", ..] if AGREED.contains(state) => 5,
        ["are", "you", "all", "set" | "good" | "right", ..] | ["are", "you", "on", "mute", ..] => 4,
        ["are", "you", "still", "there" | "here" | "with" | "on", ..] | ["are", "you", "able", "to", ..]
            if clause.len() <= 9 =>
        {
            4
        }
        ["you", "'re" | "are", "on", "mute", ..] => 4,
        ["you", "'re" | "are", "muted" | "frozen" | "breaking", ..] | ["you", "broke" | "froze", ..] => {
            3.min(rest.len())
        }
        ["still", "there", ..] | ["ready", ..] if clause.len() <= 4 => clause.len(),
        ["shall", "we" | "i", ..] | ["are", "we", ..] => 2,
        ["do" | "would", "you", "mind", "if" | "me", ..] => 4,
        ["did", "i" | "we", ..] => 2,
        ["did", "you", "say" | "catch" | "hear", ..] if clause.len() <= 5 => clause.len(),
        ["what", "was" | "is" | "'s", "that"] => 3,
        ["what", "did", "you", "say"] => 4,
        ["you", "were", "saying"] | ["how" | "what", "about", "now"] => 3,
        [_, "we" | "i", next, ..] | [_, "we" | "i", "just" | "quickly" | "maybe" | "please", next, ..]
            if AUXILIARIES.contains(&rest[0]) && STEPS.contains(next) && !clause.contains(&"your") =>
        {
            3
        }
        ["why", "don't", "we", ..] | ["how" | "what", "about", "we" | "if", "we" | "start", ..]
            if !clause.contains(&"your") =>
        {
            3
        }
        ["let", "me", "know", "if" | "when" | "whenever" | "once", ..] => clause.len(),
        ["let", "me" | "us", next, ..] => {
            if *next == "ask" {
                0
            } else {
                2
            }
        }
        ["is", "there", _, "echo" | "noise" | "lag" | "delay", ..] => 4,
        _ => 0,
    };
    checks.max(call_request(rest, clause))
}

/// "Could you mute yourself", "is my camera on", "can everybody see the slides".
fn call_request(rest: &[&str], clause: &[&str]) -> usize {
    let [first, subject, ..] = rest else { return 0 };
    if ["is", "are"].contains(first) {
        return if ["my", "your", "the", "this", "our"].contains(subject)
            && rest.get(2).is_some_and(|word| THINGS.contains(word))
        {
            3
        } else {
            0
        };
    }
    let whom = ["you", "everyone", "everybody", "anyone", "we", "i", "they"].contains(subject);
    let request = ["can", "could", "would", "will", "do", "did", "can't"].contains(first) && whom;
    // "I'd like you to mute yourself."
    let indirect = [*first, *subject] == ["you", "to"];
    if !(request || indirect) {
        return 0;
    }
    let soft = [
        "please", "just", "still", "maybe", "all", "quickly", "also", "mind", "possibly", "at", "least",
        "to", "actually", "briefly",
    ];
    let verb = 2 + rest[2..].iter().take_while(|word| soft.contains(word)).count();
    let of_the_call = matches!(
        &rest[verb..],
        ["hear" | "mute" | "unmute" | "reconnect" | "rejoin" | "refresh" | "wait" | "excuse" | "repeat", ..]
            | ["see", "it" | "this" | "that" | "now"]
            | ["see", "me" | "us" | "my", ..]
            | ["say", "that" | "it", ..]
            | ["speak", "up" | "louder" | "slower" | "more", ..]
            | ["come" | "move", "closer", ..]
            | [
                "give",
                "me" | "us",
                "a" | "one" | "two",
                "second" | "sec" | "minute" | "moment" | "minutes",
                ..
            ]
            | ["hold" | "hang", "on", ..]
            | ["bear", "with", ..]
            | ["send", "me" | "us" | "it" | "that" | "over", ..]
            | ["scroll", ..]
    );
    // "your screen", "the link": a thing of the call, with a word before it that points at it.
    let things = clause.windows(2).take(9).any(|pair| {
        ["my", "your", "the", "this", "that", "our", "a"].contains(&pair[0]) && THINGS.contains(&pair[1])
            || *pair == ["on", "mute"]
    });
    let technical = clause
        .iter()
        .any(|word| ["explain", "describe", "design", "how", "why", "about", "tell"].contains(word));
    if of_the_call || (things && !technical && clause.len() <= 14) { (verb + 1).min(rest.len()) } else { 0 }
}

/// Nobody is meant to answer.
fn rhetorical(rest: &[&str], clause: &[&str]) -> usize {
    match rest {
        // To themselves.
        ["where", "was" | "did", "i" | "we", ..] | ["where", "is" | "'s" | "are", "my", ..] => 3,
        ["who", "would", "have", "thought", ..] => 4,
        ["who", "knows" | "cares" | "doesn't" | "wouldn't" | "hasn't" | "isn't" | "didn't", ..] => 2,
        ["how", "hard" | "difficult" | "bad", "can" | "could", "it" | "that" | "this", "be", ..] => 5,
        ["how", _, "is" | "'s" | "was", "that" | "this"] => 4,
        ["isn't" | "wasn't" | "aren't", "that" | "it" | "this" | "they", praise, ..]
            if PRAISE.contains(praise) =>
        {
            3
        }
        ["is", "that", "so"] => 3,
        ["do", "you", "know" | "see", "what", "i", "mean", ..] => 6,
        ["do", "you", "know", "what", ..] if clause.len() == 4 => 4,
        ["guess", "what", ..] => 2,
        ["you", "know", "what", ..] => 3,
        ["what" | "how", praise, ..] if PRAISE.contains(praise) && clause.len() <= 3 => clause.len(),
        ["what", "do" | "did", "you", "know"] => 4,
        _ => 0,
    }
}

/// What days and journeys were like.
const DAYS: &[&str] = &[
    "day",
    "weekend",
    "week",
    "morning",
    "afternoon",
    "evening",
    "trip",
    "journey",
    "flight",
    "holiday",
    "holidays",
    "vacation",
    "commute",
    "travel",
    "weather",
    "traffic",
    "drive",
    "summer",
    "lunch",
    "family",
];

/// What is offered and what is asked for in between.
const PAUSES: &[&str] =
    &["coffee", "tea", "water", "drink", "break", "minute", "moment", "second", "pen", "stop"];

/// What a call is made of.
const THINGS: &[&str] = &[
    "mute",
    "mic",
    "microphone",
    "camera",
    "webcam",
    "screen",
    "video",
    "audio",
    "sound",
    "volume",
    "headset",
    "headphones",
    "chat",
    "link",
    "slides",
    "recording",
    "connection",
    "internet",
    "wifi",
    "tab",
    "window",
    "editor",
    "document",
    "invite",
    "call",
    "background",
    "phone",
    "door",
    "page",
    "whiteboard",
    "notebook",
    "meeting",
];

/// How a call goes on when "we" or "I" do it.
const STEPS: &[&str] = &[
    "start",
    "begin",
    "get",
    "jump",
    "dive",
    "kick",
    "move",
    "continue",
    "take",
    "wait",
    "proceed",
    "wrap",
    "stop",
    "pause",
    "record",
    "share",
    "switch",
    "turn",
    "reschedule",
    "check",
    "skip",
    "finish",
    "leave",
    "interrupt",
];

/// "Is that…"
const AGREED: &[&str] = &["ok", "okay", "alright", "fine", "clear", "good", "better", "cool"];

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
