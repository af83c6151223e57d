//! How many tokens a text costs, about, and texts cut to what may be spent.
//!
//! Not here: who gets how much (`prompt`).

use std::borrow::Cow;

/// Tokens of `text`, estimated so that it is seldom more: every model has its own tokeniser, and asking it costs a round trip.
///
/// A third of a token for a small letter or a space, a half for a capital, one for a digit, three quarters for other ASCII;
/// beyond ASCII 1¼ for two bytes of UTF-8, 2 for three, 3 for four. Against the 49,152-entry English vocabulary of SmolLM2,
/// which cuts finer than the vocabularies of 100,000 and more in use today, that is 1.4 times the tokens of an English CV,
/// 0.9 to 1.1 of German, French, Arabic, Chinese and Thai, 1.4 of Russian; random letters cost twice the estimate.
pub(crate) fn tokens(text: &str) -> usize {
    text.chars().map(twelfths).sum::<usize>().div_ceil(12)
}

/// As much of the beginning of `text` as costs at most `budget` tokens, with [`MARK`] when something is left out.
pub(crate) fn head(text: &str, budget: usize) -> Cow<'_, str> {
    if fits(text, budget) {
        return text.into();
    }
    let Some(mut left) = (budget * 12).checked_sub(twelfths(MARK)) else { return "".into() };
    let kept = text.char_indices().find_map(|(at, c)| match left.checked_sub(twelfths(c)) {
        Some(rest) => {
            left = rest;
            None
        }
        None => Some(at),
    });
    let kept = &text[..kept.unwrap_or(text.len())];
    format!("{}{MARK}", kept.trim_end()).into()
}

/// As much of the end of `text` as costs at most `budget` tokens, after [`MARK`] when something is left out.
pub(crate) fn tail(text: &str, budget: usize) -> Cow<'_, str> {
    if fits(text, budget) {
        return text.into();
    }
    let Some(mut left) = (budget * 12).checked_sub(twelfths(MARK)) else { return "".into() };
    let from = text.char_indices().rev().find_map(|(at, c)| match left.checked_sub(twelfths(c)) {
        Some(rest) => {
            left = rest;
            None
        }
        None => Some(at + c.len_utf8()),
    });
    format!("{MARK}{}", text[from.unwrap_or(0)..].trim_start()).into()
}

/// Bytes beyond which no text costs less than `budget` tokens, once it has no invisible characters.
pub(crate) fn bytes(budget: usize) -> usize {
    // Small letters are the cheapest: three bytes a token.
    budget.saturating_mul(4)
}

/// Whether `text` costs at most `budget` tokens; long texts are not read to their end.
fn fits(text: &str, budget: usize) -> bool {
    text.len() <= bytes(budget) && tokens(text) <= budget
}

fn twelfths(c: char) -> usize {
    match c {
        'a'..='z' | ' ' => 4,
        'A'..='Z' => 6,
        '0'..='9' => 12,
        c => [9, 15, 24, 36][c.len_utf8() - 1],
    }
}

/// Stands for what was cut away.
const MARK: char = '…';

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_cut_to_their_budget() {
        let check = |text: &str, budget: usize, first: &str, last: &str| {
            assert_eq!((head(text, budget).as_ref(), tail(text, budget).as_ref()), (first, last), "{text:?}");
            assert!(tokens(first) <= budget && tokens(last) <= budget);
        };
        check("", 0, "", "");
        check("abc", 1, "abc", "abc");
        check("abcd", 1, "", "");
        check("abcdefghijklm", 4, "abcdef…", "…hijklm");
        check("ab cd ef gh ij kl", 4, "ab cd…", "…ij kl");
        check("漢字漢字漢字", 6, "漢字…", "…漢字");
        check("漢字", 3, "…", "…");
    }
}
