//! Talk about the call itself: sound and screens, who is there, when to begin, a moment's wait, what was not understood.
//!
//! Not here: small talk and rhetorical questions (`idle`), which also says when such a stretch counts.

use super::asking::AUXILIARIES;

/// Sound, screens, who is there, when to begin, what was not understood.
pub(super) fn about_the_call(rest: &[&str], clause: &[&str]) -> usize {
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
        // "Did you manage to park okay?"
        ["did" | "are" | "can" | "do" | "is" | "could", _, ..]
            if clause.len() <= 9
                && matches!(clause, [.., _, "okay" | "ok" | "alright" | "fine"] | [.., "all", "right"]) =>
        {
            clause.len()
        }
        ["are", "you", "happy" | "okay" | "ok" | "fine", "for" | "if", ..] => 4,
        ["would", "it", "help", ..] => 3,
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
        ["shall", "we" | "i", ..] | ["are", "we", ..] | ["should" | "may" | "can", "i", ..] => 2,
        ["do" | "would", "you", "mind", "if" | "me", ..] => 4,
        // "Would you mind closing the door?"
        ["do" | "would", "you", "mind", doing, ..] if doing.ends_with("ing") && !SPEAKING.contains(doing) => {
            4
        }
        ["did", "i" | "we", ..] | ["have", "we", "met", ..] | ["am", "i", ..] => 2,
        ["did", "that" | "it" | "this", "come" | "go", "through", ..] => 4,
        ["do", "we", "have", "everyone" | "everybody", ..] => 4,
        // "Is anyone taking minutes?"
        ["is" | "are" | "can" | "did" | "does" | "has", "everyone" | "everybody", ..]
        | ["is", "anyone" | "anybody", ..]
            if !clause.contains(&"you") && !clause.contains(&"your") =>
        {
            2
        }
        ["how", "long" | "much", rest @ ..]
            if rest
                .windows(3)
                .take(3)
                .any(|three| matches!(three, ["do" | "have", "we", "have" | "got" | "left"])) =>
        {
            clause.len()
        }
        ["did", "you", "say" | "catch" | "hear", ..] if clause.len() <= 5 => clause.len(),
        ["what", "was" | "is" | "'s", "that"] => 3,
        ["what", "did", "you", "say"] => 4,
        ["you", "were", "saying"] | ["how" | "what", "about", "now"] => 3,
        [_, "we" | "i", next, ..]
        | [_, "we" | "i", "just" | "quickly" | "maybe" | "please" | "possibly", next, ..]
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
        ["is", "there", _, "echo" | "noise" | "lag" | "delay", ..] => 4,
        _ => 0,
    };
    checks.max(call_request(rest, clause))
}

/// "Could you mute yourself", "is my camera on", "can everybody see the slides".
fn call_request(rest: &[&str], clause: &[&str]) -> usize {
    let [first, subject, ..] = rest else { return 0 };
    if ["is", "are"].contains(first) && *subject != "you" {
        // "Is my camera on", "is that your phone".
        let thing =
            rest.windows(2).take(3).position(|pair| POINTERS.contains(&pair[0]) && THINGS.contains(&pair[1]));
        return thing.map_or(0, |at| at + 2);
    }
    let whom = ["you", "everyone", "everybody", "anyone", "we", "i", "they"].contains(subject)
        || rest.starts_with(&["would", "it", "be"]);
    let request = ["can", "could", "would", "will", "can't"].contains(first) && whom;
    // "Do you see", "did you get": not "do you close the connection".
    let check = ["do", "did", "are", "have"].contains(first) && whom;
    // "I'd like you to mute yourself."
    let indirect = [*first, *subject] == ["you", "to"];
    if !(request || check || indirect) {
        return 0;
    }
    let verb = 2 + rest[2..].iter().take_while(|word| SOFT.contains(word)).count();
    let of_the_call = matches!(
        &rest[verb..],
        ["hear" | "mute" | "unmute" | "reconnect" | "rejoin" | "refresh" | "wait" | "excuse" | "repeat", ..]
            | ["see" | "open", "it" | "this" | "that" | "now"]
            | ["see", "my", ..]
            | ["say", "that" | "it", ..]
            | ["speak", "up" | "louder" | "slower" | "more", ..]
            | ["come" | "move", "closer", ..]
            | ["hold" | "hang", "on", ..]
            | ["bear", "with", ..]
            | ["send", "me" | "us" | "it" | "that" | "over", ..]
            | ["spell" | "pronounce" | "scroll" | "leave" | "leaving", ..]
    ) || matches!(&rest[verb..], ["give", "me" | "us", rest @ ..] if moment(rest));
    // "Do you need to get that?"
    let of_the_call =
        of_the_call || check && matches!(&rest[verb..], ["get" | "take" | "answer", "that" | "it"]);
    let perceives =
        ["see", "seeing", "hear", "hearing", "get", "getting", "got", "receive", "received", "find", "open"];
    if check
        && !rest.get(verb).is_some_and(|verb| perceives.contains(verb))
        && !rest[..verb].iter().any(|word| ["want", "need"].contains(word))
    {
        return 0;
    }
    // "Your screen", "the shared document": a thing of the call, after a word that points at it.
    let things = clause.windows(3).take(10).any(|three| {
        POINTERS.contains(&three[0]) && (THINGS.contains(&three[1]) || THINGS.contains(&three[2]))
    }) || clause.windows(2).any(|pair| {
        POINTERS.contains(&pair[0]) && THINGS.contains(&pair[1])
            || matches!(pair, ["on", "mute"] | ["hear" | "see", "me" | "us"] | ["your", "end" | "side"])
            || (["we", "i"].contains(subject) && moment(pair))
    });
    let technical = clause
        .iter()
        .any(|word| ["explain", "describe", "design", "how", "why", "about", "tell"].contains(word));
    if of_the_call || (things && !technical && clause.len() <= 14) { (verb + 1).min(rest.len()) } else { 0 }
}

/// "A second", "two more minutes".
pub(super) fn moment(rest: &[&str]) -> bool {
    let count = rest.iter().take_while(|word| COUNTS.contains(word)).count();
    count > 0 && rest.get(count).is_some_and(|word| MOMENTS.contains(word))
}

const COUNTS: &[&str] = &[
    "a", "one", "two", "three", "five", "ten", "just", "another", "few", "couple", "of", "more", "half",
    "quick",
];

pub(super) const MOMENTS: &[&str] =
    &["second", "seconds", "sec", "secs", "minute", "minutes", "moment", "moments"];

/// Words before the verb of a request.
const SOFT: &[&str] = &[
    "please", "just", "still", "maybe", "all", "quickly", "also", "mind", "possibly", "at", "least", "to",
    "actually", "briefly", "try", "want", "need", "quick", "be", "possible",
];

/// "Would you mind explaining…"
const SPEAKING: &[&str] = &[
    "telling",
    "sharing",
    "walking",
    "explaining",
    "describing",
    "giving",
    "talking",
    "going",
    "elaborating",
    "expanding",
    "outlining",
    "working",
];

const POINTERS: &[&str] = &["my", "your", "the", "this", "that", "our", "a"];

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
    "board",
    "pad",
    "monitor",
    "laptop",
    "invitation",
    "handout",
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
