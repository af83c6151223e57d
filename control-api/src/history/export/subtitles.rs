//! Turns as subtitles: SubRip and WebVTT.
//!
//! A cue is at most 84 characters (two lines of 42, as broadcasters have it) and 7 s long; a longer turn is several, which share its time by
//! their length. No two cues overlap: where two people speak at once, a cue ends when the next begins. Not here: answers, which nobody spoke.

use super::{TurnBody, clock, speaker};

/// A subtitle.
#[derive(Debug, PartialEq, Eq)]
struct Cue {
    start_ms: i64,
    end_ms: i64,
    speaker: &'static str,
    text: String,
}

/// SubRip. It has no speakers and no escapes, so the speaker is text, and what players might take for markup looks a little different.
pub(super) fn srt(turns: &[TurnBody]) -> String {
    let mut srt = String::new();
    for (number, cue) in cues(turns).iter().enumerate() {
        let text = cue.text.replace('<', "‹").replace("{\\", "{\u{2060}\\");
        // Some readers take any two times of a line for those of a cue.
        let text = if text.contains("-->") { text.replace(':', ":\u{2060}") } else { text };
        let text = text.replace('>', "›");
        let (start, end) = (time(cue.start_ms, ','), time(cue.end_ms, ','));
        srt.push_str(&format!("{}\n{start} --> {end}\n{}: {text}\n\n", number + 1, cue.speaker));
    }
    srt
}

/// WebVTT.
pub(super) fn vtt(turns: &[TurnBody]) -> String {
    let mut vtt = "WEBVTT\n\n".to_owned();
    for cue in cues(turns) {
        let arrow = cue.text.contains("-->");
        let text = cue.text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
        let text = if arrow { text.replace(':', "&#58;") } else { text };
        let (start, end) = (time(cue.start_ms, '.'), time(cue.end_ms, '.'));
        vtt.push_str(&format!("{start} --> {end}\n<v {}>{text}</v>\n\n", cue.speaker));
    }
    vtt
}

fn time(ms: i64, point: char) -> String {
    let (clock, ms) = clock(ms);
    format!("{clock}{point}{ms:03}")
}

/// In the order of their times.
fn cues(turns: &[TurnBody]) -> Vec<Cue> {
    let mut cues: Vec<Cue> = turns.iter().flat_map(split).collect();
    cues.sort_by_key(|cue| cue.start_ms);
    for at in 1..cues.len() {
        let (before, after) = cues.split_at_mut(at);
        let (cue, next) = (&mut before[at - 1], &mut after[0]);
        next.start_ms = next.start_ms.max(cue.start_ms + 1);
        cue.end_ms = cue.end_ms.min(next.start_ms);
    }
    for cue in &mut cues {
        cue.end_ms = cue.end_ms.max(cue.start_ms + 1);
    }
    cues
}

fn split(turn: &TurnBody) -> Vec<Cue> {
    let words: Vec<&str> = turn.text.split_whitespace().collect();
    let total: usize = words.iter().map(|word| word.chars().count() + 1).sum();
    if total == 0 {
        return Vec::new();
    }
    let start = turn.start_ms.max(0);
    let duration = (turn.end_ms - start).max(1);
    // What is said in 7 s at this turn's pace.
    let in_time = usize::try_from(MAX_MS * total as i64 / duration).unwrap_or(usize::MAX);
    let pieces = pieces(&words, in_time.clamp(1, MAX_CHARS));
    let length: usize = pieces.iter().map(|piece| piece.chars().count() + 1).sum();
    let mut said = 0;
    let at = |said: usize| start + duration * said as i64 / length as i64;
    let mut cues = Vec::with_capacity(pieces.len());
    for text in pieces {
        let start_ms = at(said);
        said += text.chars().count() + 1;
        let end_ms = at(said).min(start_ms + MAX_MS);
        cues.push(Cue { start_ms, end_ms, speaker: speaker(&turn.role), text });
    }
    cues
}

/// The words, as many together as fit into `max` characters. A word is broken only when a cue cannot hold it.
fn pieces(words: &[&str], max: usize) -> Vec<String> {
    let mut pieces: Vec<String> = Vec::new();
    let mut room = 0;
    for word in words {
        let length = word.chars().count();
        match pieces.last_mut() {
            Some(piece) if length < room => {
                piece.push(' ');
                piece.push_str(word);
                room -= length + 1;
            }
            _ => {
                let characters: Vec<char> = word.chars().collect();
                for part in characters.chunks(MAX_CHARS) {
                    pieces.push(part.iter().collect());
                    room = max.saturating_sub(part.len());
                }
            }
        }
    }
    pieces
}

/// Two lines of 42 characters, and what is read in them: as in the guides of the BBC and of Netflix.
const MAX_CHARS: usize = 84;
const MAX_MS: i64 = 7_000;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn turn(text: &str, start_ms: i64, end_ms: i64) -> TurnBody {
        TurnBody {
            turn: 1,
            role: "interviewer".to_owned(),
            text: text.to_owned(),
            start_ms,
            end_ms,
            confidence: 1.0,
            language: "en".to_owned(),
            answers: Vec::new(),
        }
    }

    #[test]
    fn a_short_turn_is_one_cue_and_a_long_one_several() {
        let [cue] = &cues(&[turn("Why Rust?", 480, 2_310)])[..] else { panic!("one cue") };
        assert_eq!((cue.start_ms, cue.end_ms, &*cue.text), (480, 2_310, "Why Rust?"));
        let long = cues(&[turn(&"word ".repeat(100), 0, 40_000)]);
        assert!(long.len() > 5);
        assert!(long.iter().all(|cue| cue.text.chars().count() <= 84 && cue.end_ms - cue.start_ms <= 7_000));
        assert_eq!(long.last().unwrap().end_ms, 40_000);
    }

    proptest! {
        #[test]
        fn cues_follow_each_other_and_lose_no_word(
            turns in prop::collection::vec(("[ a-zé語<>-]{0,300}", 0i64..100_000, -10i64..60_000), 0..8)
        ) {
            let turns: Vec<_> =
                turns.iter().map(|(text, start, length)| turn(text, *start, start + length)).collect();
            let cues = cues(&turns);
            let mut free = 0;
            for cue in &cues {
                prop_assert!(cue.start_ms >= free && cue.end_ms > cue.start_ms);
                prop_assert!(cue.end_ms - cue.start_ms <= 7_000 && cue.text.chars().count() <= 84);
                free = cue.end_ms;
            }
            let letters = |text: &str| text.chars().filter(|it| !it.is_whitespace()).count();
            prop_assert_eq!(
                cues.iter().map(|cue| letters(&cue.text)).sum::<usize>(),
                turns.iter().map(|turn| letters(&turn.text)).sum::<usize>()
            );
        }
    }
}
