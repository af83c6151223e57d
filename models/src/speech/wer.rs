//! Word error rate: how far a transcript is from what was said.
//!
//! For benches and tests. English number words only. Not here: alignment output, character error rate.

use std::{iter::Sum, ops::Add};

/// Errors against a number of reference words; add them up before taking the rate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WordErrors {
    /// Substitutions, insertions and deletions of the cheapest alignment (Levenshtein distance in words).
    pub errors: usize,
    /// Words of the reference.
    pub words: usize,
}

impl WordErrors {
    /// Compares `hypothesis` with `reference`, both [normalised](normalise) first.
    ///
    /// ```
    /// let errors = models::speech::wer::WordErrors::between("I paid 20 dollars.", "I, uh, paid twenty dollar");
    /// assert_eq!((errors.errors, errors.words), (2, 4));
    /// assert_eq!(errors.rate(), 0.5);
    /// ```
    pub fn between(reference: &str, hypothesis: &str) -> Self {
        let (reference, hypothesis) = (normalise(reference), normalise(hypothesis));
        let mut row: Vec<usize> = (0..=hypothesis.len()).collect();
        for (i, said) in reference.iter().enumerate() {
            let mut diagonal = row[0];
            row[0] = i + 1;
            for (j, heard) in hypothesis.iter().enumerate() {
                let substituted = diagonal + usize::from(said != heard);
                diagonal = row[j + 1];
                row[j + 1] = substituted.min(row[j] + 1).min(diagonal + 1);
            }
        }
        Self { errors: row[hypothesis.len()], words: reference.len() }
    }

    /// Errors for each reference word; above 1 when much was invented. Without reference words: 0, or 1 with errors.
    pub fn rate(self) -> f64 {
        match (self.errors, self.words) {
            (0, 0) => 0.0,
            (_, 0) => 1.0,
            (errors, words) => errors as f64 / words as f64,
        }
    }
}

impl Add for WordErrors {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self { errors: self.errors + other.errors, words: self.words + other.words }
    }
}

impl Sum for WordErrors {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.fold(Self::default(), Add::add)
    }
}

/// The words of `text` as they are compared: lower case, without punctuation and apostrophes, hyphens as spaces,
/// bracketed tags such as `[adif]` left out, whole numbers up to 999,999,999 in words, a few abbreviations spelt out.
pub fn normalise(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    for part in without_tags(text).to_lowercase().split(|c: char| c.is_whitespace() || "-–—/".contains(c))
    {
        let percent = part.contains('%');
        // "1,000" is one number; "two,three" are two words.
        for piece in split_punctuation(part) {
            let word: String = piece.chars().filter(|c| c.is_alphanumeric()).collect();
            match (word.as_str(), word.parse::<u32>()) {
                ("", _) => {}
                (_, Ok(number)) if number < 1_000_000_000 => cardinal(number, &mut words),
                (word, _) => {
                    let spelt =
                        ABBREVIATIONS.iter().find(|(short, _)| *short == word).map_or(word, |(_, long)| long);
                    words.push(spelt.to_owned());
                }
            }
        }
        if percent {
            words.push("percent".to_owned());
        }
    }
    words
}

/// `text` without what stands in square or angle brackets.
fn without_tags(text: &str) -> String {
    let mut kept = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(open) = rest.find(['[', '<']) {
        let close = if rest[open..].starts_with('[') { ']' } else { '>' };
        let Some(length) = rest[open..].find(close) else { break };
        kept.push_str(&rest[..open]);
        kept.push(' ');
        rest = &rest[open + length + 1..];
    }
    kept + rest
}

/// Divides at punctuation that is neither an apostrophe nor a separator of thousands.
fn split_punctuation(part: &str) -> impl Iterator<Item = String> {
    let characters: Vec<char> = part.chars().collect();
    let joins = |index: usize| match characters[index] {
        '\'' | '’' => true,
        ',' => {
            let digit = |at: usize| characters.get(at).is_some_and(char::is_ascii_digit);
            index > 0 && digit(index - 1) && (1..=3).all(|ahead| digit(index + ahead)) && !digit(index + 4)
        }
        c => c.is_alphanumeric(),
    };
    let divided: String =
        (0..characters.len()).map(|index| if joins(index) { characters[index] } else { ' ' }).collect();
    divided.split_whitespace().map(str::to_owned).collect::<Vec<_>>().into_iter()
}

/// `number` in English words, American style (no "and").
fn cardinal(number: u32, words: &mut Vec<String>) {
    let mut push = |word: &str| words.push(word.to_owned());
    match number {
        0..=19 => push(SMALL[number as usize]),
        20..=99 => {
            push(TENS[number as usize / 10]);
            if !number.is_multiple_of(10) {
                push(SMALL[number as usize % 10]);
            }
        }
        _ => {
            let (unit, name) = match number {
                1_000_000.. => (1_000_000, "million"),
                1_000..1_000_000 => (1_000, "thousand"),
                _ => (100, "hundred"),
            };
            cardinal(number / unit, words);
            words.push(name.to_owned());
            if !number.is_multiple_of(unit) {
                cardinal(number % unit, words);
            }
        }
    }
}

const SMALL: [&str; 20] = [
    "zero",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
    "thirteen",
    "fourteen",
    "fifteen",
    "sixteen",
    "seventeen",
    "eighteen",
    "nineteen",
];
const TENS: [&str; 10] =
    ["", "", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"];
const ABBREVIATIONS: [(&str, &str); 5] =
    [("mr", "mister"), ("mrs", "missus"), ("dr", "doctor"), ("ok", "okay"), ("vs", "versus")];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn normalises() {
        let check = |text: &str, expected: &str| assert_eq!(normalise(text).join(" "), expected, "{text}");
        check("", "");
        check("  Well, DON'T you—think so?", "well dont you think so");
        check("Mr. O’Hale's half-brother", "mister ohales half brother");
        check("[adif] a <unk> tag [never closed", "a tag never closed");
        check("0 7 13 42 90", "zero seven thirteen forty two ninety");
        check(
            "100 1,215 2000 1,000,001",
            "one hundred one thousand two hundred fifteen two thousand one million one",
        );
        check("one,two 3,4", "one two three four");
        check("20% of 4000000000", "twenty percent of 4000000000");
        check("C++ and E2E", "c and e2e");
        check("Żółw 你好", "żółw 你好");
    }

    #[test]
    fn counts_errors() {
        let check = |reference: &str, hypothesis: &str, errors: usize, words: usize| {
            assert_eq!(WordErrors::between(reference, hypothesis), WordErrors { errors, words });
        };
        check("", "", 0, 0);
        check("a b c", "A, b. C!", 0, 3);
        check("a b c", "a c", 1, 3);
        check("a b c", "a x b c", 1, 3);
        check("a b c", "x y z", 3, 3);
        check("a b c", "", 3, 3);
        check("", "a b", 2, 0);
        check("kitten sitting on the mat", "sitting on a mat kitten", 3, 5);
    }

    #[test]
    fn rates_are_of_sums() {
        let all: WordErrors = [("a b c d", "a b c d"), ("a", "b")]
            .into_iter()
            .map(|(said, heard)| WordErrors::between(said, heard))
            .sum();
        assert_eq!(all.rate(), 0.2);
        assert_eq!(WordErrors::default().rate(), 0.0);
        assert_eq!(WordErrors::between("", "x").rate(), 1.0);
    }
}
