//! Judges what a decoding pass wrote: is it speech at all, is it broken, what in it is no speech.
//!
//! Pure functions over words and probabilities. Not here: running a pass, or running it again (`whisper.rs`).
//!
//! The thresholds were set on 200 English recordings and 30 of noise, music and silence with `base.en`: the mean
//! log-probability of text tokens was above −0.9 for clear speech and between −1.3 and −0.4 for damaged; text invented
//! for noise was below −1.5 unless it was an annotation such as "(wind blowing)", which Whisper writes for most noise
//! as long as its non-speech tokens are not suppressed. That is why they are not.

use std::io::Write;

use flate2::{Compression, write::ZlibEncoder};

use super::Word;

/// What the decoder's probabilities say about a pass.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Evidence {
    /// Mean natural log-probability of the text tokens; 0 when there are none.
    pub(super) mean_logprob: f32,
    /// Probability of the no-speech token before anything is written, 0–1.
    pub(super) no_speech: f32,
}

/// Why a pass is not to be believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// A phrase of three or more words said again at once.
    Repetition,
    /// Text that compresses better than language does.
    Compression,
    /// Tokens the model itself hardly believes.
    Improbable,
    /// Nothing but annotations, although the no-speech token says that there is speech.
    Annotation,
}

impl Fault {
    /// Label for metrics.
    pub(super) fn reason(self) -> &'static str {
        match self {
            Self::Repetition => "repetition",
            Self::Compression => "compression",
            Self::Improbable => "improbable",
            Self::Annotation => "annotation",
        }
    }
}

/// Whether `words` (annotations already removed) were said rather than invented for noise or silence.
///
/// A likely text is speech whatever its words: people do say "Thank you." and "you".
pub(super) fn is_speech(words: &[Word], evidence: Evidence) -> bool {
    let Evidence { mean_logprob, no_speech } = evidence;
    // The less likely the text, the less the no-speech token must say against it.
    let invented = mean_logprob < INVENTED
        || (mean_logprob < -1.0 && no_speech > 0.1)
        || (mean_logprob < CERTAIN && no_speech > 0.6);
    !words.is_empty() && !invented
}

/// What is wrong with a pass that wrote `words` (annotations already removed).
pub(super) fn fault(words: &[Word], evidence: Evidence) -> Option<Fault> {
    if words.is_empty() {
        return (evidence.no_speech < 0.02).then_some(Fault::Annotation);
    }
    let keys: Vec<String> = words.iter().map(key).collect();
    if repeats(&keys, 2, 3).is_some() {
        Some(Fault::Repetition)
    } else if compression_ratio(words) > 1.8 {
        Some(Fault::Compression)
    } else if evidence.mean_logprob < -0.7 {
        Some(Fault::Improbable)
    } else {
        None
    }
}

/// Removes annotations (`[Music]`, "(wind blowing)", "*gunshot*", "♪ … ♪") and marks without a letter or figure
/// ("...", ">>", "(", damaged characters).
///
/// Square brackets, asterisks and notes enclose annotations of any length; round brackets only up to four words, as
/// they may also enclose something said.
pub(super) fn remove_annotations(words: &mut Vec<Word>) {
    let mut kept = Vec::with_capacity(words.len());
    let mut rest = std::mem::take(words).into_iter().peekable();
    while let Some(word) = rest.next() {
        let Some(&(_, close, longest)) = ANNOTATIONS.iter().find(|(open, ..)| word.text.starts_with(*open))
        else {
            kept.push(word);
            continue;
        };
        let mut span = vec![word];
        // The opening mark alone does not close what it opens where both are the same.
        let closes = |word: &Word, first: bool| {
            let text = word.text.trim_end_matches(['.', ',', '!', '?', ';', ':']);
            text.ends_with(close) && !(first && text.chars().count() == 1)
        };
        while !closes(&span[span.len() - 1], span.len() == 1) && span.len() < longest {
            match rest.next() {
                Some(next) => span.push(next),
                None => break,
            }
        }
        if !closes(&span[span.len() - 1], span.len() == 1) {
            // Nothing was closed: these are words, whatever stands before them.
            kept.append(&mut span);
        }
    }
    kept.retain(|word| word.text.chars().any(|c| c.is_alphanumeric()) || MEANT.contains(&word.text.as_str()));
    *words = kept;
}

/// Keeps one of each phrase that was written four or more times running, eight words or more in all. Returns how many
/// words went.
pub(super) fn collapse_loops(words: &mut Vec<Word>) -> usize {
    let before = words.len();
    loop {
        let keys: Vec<String> = words.iter().map(key).collect();
        let Some(found) = repeats(&keys, 4, 1).filter(|found| found.length * found.times >= 8) else { break };
        words.drain(found.start + found.length..found.start + found.length * found.times);
    }
    before - words.len()
}

/// A phrase of `length` words from `start`, there `times` times in a row.
struct Repeats {
    start: usize,
    length: usize,
    times: usize,
}

/// The first phrase of `shortest` or more words that stands `times` or more times in a row; shorter phrases first.
fn repeats(keys: &[String], times: usize, shortest: usize) -> Option<Repeats> {
    for length in shortest..=keys.len() / times {
        for start in 0..=keys.len() - length * times {
            let phrase = &keys[start..start + length];
            let found = keys[start..].chunks_exact(length).take_while(|chunk| *chunk == phrase).count();
            if found >= times {
                return Some(Repeats { start, length, times: found });
            }
        }
    }
    None
}

/// Bytes of the text for each byte of it compressed by zlib (OpenAI's measure of a decoder gone round in circles).
fn compression_ratio(words: &[Word]) -> f32 {
    let mut bytes = 0;
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
    for word in words {
        bytes += word.text.len() + 1;
        encoder
            .write_all(word.text.as_bytes())
            .and_then(|()| encoder.write_all(b" "))
            .expect("a Vec takes every byte");
    }
    bytes as f32 / encoder.finish().expect("a Vec takes every byte").len() as f32
}

/// The word as compared: letters and figures, in lower case.
fn key(word: &Word) -> String {
    word.text.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}

/// Below this mean log-probability a text was not heard.
const INVENTED: f32 = -2.0;

/// Above this mean log-probability the no-speech token need not be asked.
pub(super) const CERTAIN: f32 = -0.5;

/// Opening mark, closing mark, longest span in words.
const ANNOTATIONS: [(char, char, usize); 4] =
    [('[', ']', usize::MAX), ('(', ')', 4), ('*', '*', usize::MAX), ('♪', '♪', usize::MAX)];

/// Words without a letter or figure that are said nevertheless.
const MEANT: [&str; 4] = ["&", "+", "%", "="];

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<Word> {
        text.split_whitespace()
            .map(|text| Word { text: text.into(), start_ms: 0, end_ms: 0, confidence: 1.0 })
            .collect()
    }

    fn text(words: &[Word]) -> String {
        words.iter().map(|word| word.text.as_str()).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn removes_what_was_not_said() {
        let check = |input: &str, expected: &str| {
            let mut words = words(input);
            remove_annotations(&mut words);
            assert_eq!(text(&words), expected, "{input}");
        };
        check("[BLANK_AUDIO]", "");
        check("(wind blowing)", "");
        check("[ Background noise ]", "");
        check("*gunshot*", "");
        check("* * dog barks *", "dog barks *".trim_end_matches(" *"));
        check("♪ and I will always love you ♪", "");
        check("She has a *static*", "She has a");
        check("Well, (laughs) I did. [Music]", "Well, I did.");
        check(">> Okay. >> Go on - please ...", "Okay. Go on please");
        check("( ( ( (", "");
        check("\u{fffd}\u{fffd}\u{fffd}", "");
        check("R & D grew by 5 %", "R & D grew by 5 %");
        check("We used (as I said at the start) Rust.", "We used (as I said at the start) Rust.");
        check("[never closed and going on", "[never closed and going on");
        check("C++ and f(x) and 2*3 [sic].", "C++ and f(x) and 2*3");
    }

    #[test]
    fn finds_faults() {
        let sure = Evidence { mean_logprob: -0.2, no_speech: 0.0 };
        let check = |input: &str, evidence: Evidence, expected: Option<Fault>| {
            assert_eq!(fault(&words(input), evidence), expected, "{input}");
        };
        check("Thank you for having me, I am glad to be here today.", sure, None);
        check("I don't know, I don't know", sure, Some(Fault::Repetition));
        check("six, six, six, six, six, six", sure, Some(Fault::Repetition));
        check("no, no, and yes, yes", sure, None);
        check(
            "brown and blue, blue and brown, brown blue and, blue brown and, and brown blue, blue and blue brown, \
             brown brown and, and blue blue, and and blue, brown and and",
            sure,
            Some(Fault::Compression),
        );
        check("Da'vasu.", Evidence { mean_logprob: -0.82, no_speech: 0.0 }, Some(Fault::Improbable));
        check("", Evidence { mean_logprob: -1.0, no_speech: 0.3 }, None);
        check("", Evidence { mean_logprob: -1.0, no_speech: 0.005 }, Some(Fault::Annotation));
    }

    #[test]
    fn ordinary_language_does_not_compress_like_a_loop() {
        let speech = "So I joined the company four years ago as the second engineer on the payments team, and what we had \
             at the time was one large database that everybody wrote to. The first thing I did was to measure, because \
             nobody could say where the time went, and it turned out that two queries made up most of the load. We \
             moved those behind a cache, with an event whenever a row changed, and the rest we left as it was.";
        assert_eq!(fault(&words(speech), Evidence { mean_logprob: -0.2, no_speech: 0.0 }), None);
    }

    #[test]
    fn tells_speech_from_invention_by_probability() {
        let check = |input: &str, mean_logprob: f32, no_speech: f32, expected: bool| {
            assert_eq!(
                is_speech(&words(input), Evidence { mean_logprob, no_speech }),
                expected,
                "{input} {mean_logprob}"
            );
        };
        // The same words, said and invented; figures as measured.
        check("Thank you.", -0.2, 0.01, true);
        check("Thank you.", -0.86, 0.9, false);
        check("you", -0.4, 0.2, true);
        check("you", -2.16, 0.79, false);
        check("you", -1.69, 0.94, false);
        check("and", -2.9, 0.165, false);
        // Damaged but real.
        check("She has a", -1.29, 0.015, true);
        check("Mountain View", -0.57, 0.165, true);
        check("", -0.1, 0.0, false);
    }

    #[test]
    fn collapses_only_long_loops() {
        let check = |input: &str, expected: &str, removed: usize| {
            let mut words = words(input);
            assert_eq!(collapse_loops(&mut words), removed, "{input}");
            assert_eq!(text(&words), expected, "{input}");
        };
        check("no no no", "no no no", 0);
        check("I mean it, I mean it, I mean it", "I mean it, I mean it, I mean it", 0);
        check("so 6, 6, 6, 6, 6, 6, 6, 6, 6, 6 there", "so 6, there", 9);
        check("Don't ask- Don't ask- Don't ask- Don't ask-", "Don't ask-", 6);
        check("", "", 0);
    }
}
