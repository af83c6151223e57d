//! Words of one pass joined on to words of another: nothing lost, nothing twice.
//!
//! Not here: which words are settled or committed (`draft`).

use protocol::WordTiming;

/// `word` as it is compared: without case and punctuation.
pub(super) fn fold(word: &str) -> String {
    word.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}

/// The middle of `word`, in milliseconds on the session's clock.
pub(super) fn middle_ms(word: &WordTiming) -> u64 {
    word.start_ms.midpoint(word.end_ms)
}

/// The text of `words`.
pub(super) fn join(words: &[WordTiming]) -> String {
    let mut text = String::new();
    for word in words {
        let unspaced = |c: Option<char>| c.is_some_and(is_unspaced);
        let spaced = !(unspaced(text.chars().next_back()) || unspaced(word.word.chars().next()));
        if spaced && !text.is_empty() {
            text.push(' ');
        }
        text.push_str(&word.word);
    }
    text
}

/// Chinese, Japanese and Thai are written without spaces.
fn is_unspaced(c: char) -> bool {
    matches!(u32::from(c), 0x0e00..=0x0e7f | 0x3000..=0x30ff | 0x3400..=0x9fff | 0xff00..=0xff65)
}

/// Appends `words`, which were heard apart from those before: a full stop in between that only the cut made goes.
pub(super) fn append(before: &mut Vec<WordTiming>, words: Vec<WordTiming>) {
    if let (Some(last), Some(next)) = (before.last_mut(), words.first())
        && next.word.starts_with(char::is_lowercase)
        && last.word.ends_with('.')
        && !last.word.ends_with("..")
        && last.word.len() > 1
    {
        last.word.pop();
    }
    before.extend(words);
}

/// How many of `words` say what `settled` says: both are heard from the same start, and what `words` say after that is new.
///
/// As a rule `words` begin with the settled ones. Where a recogniser changed its mind, the place is found by the last
/// settled words, near where they should be, and failing that by time.
pub(super) fn new_words(settled: &[WordTiming], words: &[WordTiming]) -> usize {
    let same = |a: &WordTiming, b: &WordTiming| fold(&a.word) == fold(&b.word);
    let count = settled.len();
    if words.len() >= count && settled.iter().zip(words).all(|(a, b)| same(a, b)) {
        return count;
    }
    for length in (1..=TAIL.min(count)).rev() {
        let tail = &settled[count - length..];
        let ends = (length..=words.len()).filter(|end| end.abs_diff(count) <= length);
        let found = ends.filter(|end| tail.iter().zip(&words[end - length..*end]).all(|(a, b)| same(a, b)));
        if let Some(end) = found.min_by_key(|end| end.abs_diff(count)) {
            return end;
        }
    }
    let until = settled.last().map_or(0, |word| word.end_ms);
    words.iter().take_while(|word| middle_ms(word) < until).count()
}

/// So many of the last settled words are looked for, and so many words away at most.
const TAIL: usize = 3;
