//! From a pass's tokens to words with times and confidence.
//!
//! Not here: where a token was said (`whisper/model.rs` aligns them).

use super::Word;

/// One token of the text.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct TextToken<'a> {
    /// Maybe a part of a character.
    pub(super) bytes: &'a [u8],
    /// 0–1.
    pub(super) probability: f32,
    /// Seconds from the start of the pass's audio.
    pub(super) start: f32,
    pub(super) end: f32,
}

/// The words that `tokens` write.
///
/// Words are divided at white space; each is free of it. Times never decrease.
pub(super) fn words(tokens: &[TextToken<'_>]) -> Vec<Word> {
    let mut words = Vec::new();
    let mut open: Option<OpenWord> = None;
    for token in tokens {
        let mut counted = false;
        for byte in token.bytes {
            // A byte that is ASCII is never part of a longer character.
            if byte.is_ascii_whitespace() {
                words.extend(open.take().into_iter().flat_map(OpenWord::close));
                counted = false;
                continue;
            }
            let word = open.get_or_insert_with(|| OpenWord::at(token.start));
            word.writing.push(*byte);
            if !std::mem::replace(&mut counted, true) {
                word.probabilities.push(token.probability);
                word.end = token.end;
            }
        }
    }
    words.extend(open.into_iter().flat_map(OpenWord::close));
    let mut before = 0;
    for word in &mut words {
        word.start_ms = word.start_ms.max(before);
        word.end_ms = word.end_ms.max(word.start_ms);
        before = word.start_ms;
    }
    words
}

/// The words of `text`, whose times are not known one by one: the time from `start` to `end` (seconds) is shared out by
/// length of writing.
pub(super) fn spread(text: &str, confidence: f32, start: f32, end: f32) -> Vec<Word> {
    let length = |word: &str| word.chars().count() as f32 + 1.0;
    let total: f32 = text.split_whitespace().map(length).sum();
    let mut written = 0.0;
    let at = |written: f32| ((start + (end - start) * written / total) * 1000.0).round() as u32;
    let word = |word: &str| {
        let start_ms = at(written);
        written += length(word);
        Word { text: word.to_owned(), start_ms, end_ms: at(written), confidence: confidence.clamp(0.0, 1.0) }
    };
    text.split_whitespace().map(word).collect()
}

struct OpenWord {
    writing: Vec<u8>,
    probabilities: Vec<f32>,
    start: f32,
    end: f32,
}

impl OpenWord {
    fn at(start: f32) -> Self {
        Self { writing: Vec::new(), probabilities: Vec::new(), start, end: start }
    }

    /// The word; several where there is white space beyond ASCII in it.
    fn close(self) -> Vec<Word> {
        // Geometric mean, as for the whole text.
        let sum: f32 = self.probabilities.iter().map(|p| p.max(f32::MIN_POSITIVE).ln()).sum();
        let confidence = (sum / self.probabilities.len() as f32).exp().clamp(0.0, 1.0);
        let mut writing = String::from_utf8_lossy(&self.writing).into_owned();
        // A model that is unsure where a short context ends writes one mark too many: "requests?."
        if writing.ends_with("?.") || writing.ends_with("!.") {
            writing.pop();
        }
        let ms = |seconds: f32| (seconds * 1000.0).round() as u32;
        let (start_ms, end_ms) = (ms(self.start), ms(self.end));
        let parts = writing.split_whitespace();
        parts.map(|part| Word { text: part.to_owned(), start_ms, end_ms, confidence }).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(bytes: &[u8], probability: f32, start: f32, end: f32) -> TextToken<'_> {
        TextToken { bytes, probability, start, end }
    }

    #[test]
    fn writing_and_times() {
        let check = |tokens: &[TextToken<'_>], expected: &[(&str, u32, u32)]| {
            let words = words(tokens);
            let found: Vec<_> = words.iter().map(|w| (w.text.as_str(), w.start_ms, w.end_ms)).collect();
            assert_eq!(found, expected);
        };
        check(&[], &[]);
        check(&[token(b" one", 0.5, 0.25, 2.0)], &[("one", 250, 2000)]);
        check(
            &[
                token(b" aa", 0.5, 0.5, 0.7),
                token(b"a,", 0.5, 0.7, 1.0),
                token(b" ", 0.5, 1.0, 1.1),
                token(b"bcd", 0.5, 1.1, 1.4),
            ],
            &[("aaa,", 500, 1000), ("bcd", 1100, 1400)],
        );
        // A character in two tokens, white space of all kinds, a damaged byte.
        let (first, second) = "\u{e9}".as_bytes().split_at(1);
        check(&[token(first, 1.0, 0.0, 0.5), token(second, 1.0, 0.5, 1.0)], &[("\u{e9}", 0, 1000)]);
        check(&[token("a\u{3000}b".as_bytes(), 1.0, 0.0, 1.0)], &[("a", 0, 1000), ("b", 0, 1000)]);
        check(&[token(b" \xff", 1.0, 0.0, 1.0)], &[("\u{fffd}", 0, 1000)]);
        // One mark too many at the end; an ellipsis is meant.
        check(&[token(b" why?", 1.0, 0.0, 0.5), token(b".", 1.0, 0.5, 1.0)], &[("why?", 0, 1000)]);
        check(&[token(b" well", 1.0, 0.0, 0.5), token(b"...", 1.0, 0.5, 1.0)], &[("well...", 0, 1000)]);
        // Time never runs backwards.
        check(
            &[token(b" a", 1.0, 2.0, 1.0), token(b" b", 1.0, 1.0, 1.5)],
            &[("a", 2000, 2000), ("b", 2000, 2000)],
        );
    }

    #[test]
    fn time_is_shared_out_by_length() {
        let words = spread(" aaa,  bcd\n", 0.5, 0.5, 1.4);
        let found: Vec<_> = words.iter().map(|w| (w.text.as_str(), w.start_ms, w.end_ms)).collect();
        assert_eq!(found, [("aaa,", 500, 1000), ("bcd", 1000, 1400)]);
        assert_eq!(spread(" ", 1.0, 0.0, 1.0), []);
    }

    #[test]
    fn confidence_is_the_geometric_mean_of_a_words_tokens() {
        let tokens =
            [token(b" half", 0.25, 0.0, 0.1), token(b"way", 1.0, 0.1, 0.2), token(b" sure", 0.9, 0.2, 0.3)];
        let words = words(&tokens);
        assert!((words[0].confidence - 0.5).abs() < 1e-6);
        assert!((words[1].confidence - 0.9).abs() < 1e-6);
    }
}
