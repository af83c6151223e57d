//! Where sentences end, in any script.
//!
//! A rule over marks, not a parser. Not here: what a sentence says.

use super::citations;

/// The sentences of `text` in order, trimmed, each with its end mark and the citations right behind it.
///
/// A sentence ends at `.`, `!`, `?`, `…` before a space, unless it goes on in a small letter or the mark ends an abbreviation;
/// at the full stops of Chinese, Japanese, Hindi and Arabic; and at the end of a line.
pub(crate) fn sentences(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        rest = rest.trim_start();
        if rest.is_empty() {
            return None;
        }
        let (sentence, after) = rest.split_at(end(rest));
        rest = after;
        Some(sentence.trim_end())
    })
}

/// Whether `sentence` ends as a sentence does, rather than being broken off.
pub(crate) fn is_whole(sentence: &str) -> bool {
    let mut text = sentence.trim_end();
    while let Some(open) = text.rfind('[').filter(|_| text.ends_with(']')) {
        text = text[..open].trim_end();
    }
    text.trim_end_matches(CLOSERS).ends_with(|c| MARKS.contains(&c) || FULL_STOPS.contains(&c))
}

/// Byte length of the first sentence of `text`, which does not begin with a space.
fn end(text: &str) -> usize {
    for (at, c) in text.char_indices() {
        if c == '\n' {
            return at;
        }
        let ends_anywhere = FULL_STOPS.contains(&c);
        if !ends_anywhere && !MARKS.contains(&c) {
            continue;
        }
        let mut end = at + c.len_utf8();
        end += length(&text[end..], |c| MARKS.contains(&c) || CLOSERS.contains(&c));
        let after_mark = &text[end..];
        let cited = citations::leading(after_mark);
        end += cited;
        let rest = &text[end..];
        let is_apart = ends_anywhere || cited > 0 || rest.is_empty() || rest.starts_with(char::is_whitespace);
        let goes_on = rest.trim_start().starts_with(char::is_lowercase) && !ends_anywhere;
        if is_apart && !goes_on && !(c == '.' && abbreviates(&text[..at])) {
            return end;
        }
    }
    text.len()
}

/// Whether a full stop after `text` belongs to its last word: `Dr`, `e.g`, the `J` of a name.
fn abbreviates(text: &str) -> bool {
    let word = text.rsplit(|c: char| c.is_whitespace() || c == '(').next().unwrap_or_default();
    let is_initial = word.chars().count() == 1 && word.starts_with(char::is_uppercase) && word != "I";
    is_initial || ABBREVIATIONS.contains(&word.to_lowercase().as_str())
}

fn length(text: &str, belongs: impl Fn(char) -> bool) -> usize {
    text.chars().take_while(|&c| belongs(c)).map(char::len_utf8).sum()
}

/// End a sentence when something else follows.
const MARKS: [char; 4] = ['.', '!', '?', '…'];
/// End a sentence anywhere.
const FULL_STOPS: [char; 5] = ['。', '！', '？', '।', '؟'];
/// May stand between the mark and the end.
const CLOSERS: [char; 8] = ['"', '\'', ')', '”', '’', '»', '」', '』'];

/// Without their last full stop.
const ABBREVIATIONS: [&str; 14] =
    ["dr", "mr", "mrs", "ms", "prof", "st", "e.g", "i.e", "vs", "approx", "ltd", "z.b", "bzw", "ca"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends() {
        let check = |text: &str, expected: &[&str]| {
            assert_eq!(sentences(text).collect::<Vec<_>>(), expected, "{text:?}");
        };
        check("", &[]);
        check("I led it. Then we grew!", &["I led it.", "Then we grew!"]);
        check(
            "By 3.5 times, e.g. This one, said Dr. Who. Yes",
            &["By 3.5 times, e.g. This one, said Dr. Who.", "Yes"],
        );
        check("It works... mostly. \"Really?\" Yes.", &["It works... mostly.", "\"Really?\"", "Yes."]);
        check("I led it. [7] [8, 9] Then. [1]", &["I led it. [7] [8, 9]", "Then. [1]"]);
        check("Led it [7].[8] So", &["Led it [7].[8]", "So"]);
        check("One\n\nTwo\nthree", &["One", "Two", "three"]);
        check("我降低了延迟。[3]然后成长。", &["我降低了延迟。[3]", "然后成长。"]);
        check("So did I. Then", &["So did I.", "Then"]);
    }

    #[test]
    fn whole_ones_end_in_a_mark() {
        for (sentence, expected) in
            [("Yes. [1] [2]", true), ("No!)", true), ("是。", true), ("And then", false), ("x [1]", false)]
        {
            assert_eq!(is_whole(sentence), expected, "{sentence}");
        }
    }
}
