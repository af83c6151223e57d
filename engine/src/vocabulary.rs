//! Names and terms of the candidate's papers that the recogniser would not guess by itself.
//!
//! A rule of spelling, no dictionary: whoever writes "PostgreSQL", "gRPC", "C++" or "K8s" means a name, and so does who
//! writes a capital in mid-sentence. Not here: what the client names itself (`config.vocabulary`), and how a back-end is told.

use std::collections::HashMap;

/// The terms of `texts` (CV, job description), most telling first: odd spellings before capitalised words, and frequent
/// before rare. At most [`MAX_TERMS`], each once whatever its case.
pub(crate) fn terms(texts: &[&str]) -> Vec<String> {
    let mut found: HashMap<String, Term> = HashMap::new();
    let mut place = 0;
    for line in texts.iter().flat_map(|text| text.lines()).take(MAX_LINES) {
        // The first word of a line or sentence is capitalised anyway.
        let mut opening = true;
        for written in line.split(|c: char| c.is_whitespace() || ",;()[]|•".contains(c)) {
            let word = written.trim_matches(|c: char| !c.is_alphanumeric() && !"+#".contains(c));
            if let Some(kind) = kind(word, opening) {
                place += 1;
                let term = found.entry(word.to_lowercase()).or_insert(Term { word, kind, count: 0, place });
                term.count += 1;
                term.kind = term.kind.min(kind);
            }
            if !word.is_empty() {
                opening = written.ends_with(['.', '!', '?', ':', '–', '-']);
            }
        }
    }
    let mut terms: Vec<Term> = found.into_values().collect();
    terms.sort_by_key(|term| (term.kind, std::cmp::Reverse(term.count), term.place));
    terms.truncate(MAX_TERMS);
    terms.into_iter().map(|term| term.word.to_owned()).collect()
}

struct Term<'a> {
    word: &'a str,
    kind: Kind,
    count: usize,
    place: usize,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    /// Spelt like nothing in a dictionary.
    Odd,
    /// Capitalised where a common word would not be.
    Name,
}

fn kind(word: &str, opening: bool) -> Option<Kind> {
    let letters = word.chars().filter(|c| c.is_alphabetic()).count();
    if letters == 0 || !(2..=MAX_TERM_BYTES).contains(&word.len()) || word.contains(['@', ':']) {
        return None;
    }
    let inner_capital = word.chars().skip(1).any(char::is_uppercase);
    let mixed = word.chars().any(|c| c.is_ascii_digit()) || word.contains(['+', '#', '.']);
    let capital = word.chars().next().is_some_and(char::is_uppercase);
    if inner_capital || (mixed && (capital || letters > 1)) {
        Some(Kind::Odd)
    } else if capital && !opening && letters > 2 && !COMMON.contains(&word.to_lowercase().as_str()) {
        Some(Kind::Name)
    } else {
        None
    }
}

/// What a prompt holds with room to spare.
const MAX_TERMS: usize = 40;
const MAX_TERM_BYTES: usize = 32;
/// A CV has a few hundred; hostile ones are not read to the end.
const MAX_LINES: usize = 2_000;
/// Capitalised in every CV, and known to every recogniser.
const COMMON: [&str; 42] = [
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
    "jan",
    "feb",
    "mar",
    "apr",
    "jun",
    "jul",
    "aug",
    "sep",
    "oct",
    "nov",
    "dec",
    "senior",
    "junior",
    "lead",
    "principal",
    "staff",
    "software",
    "engineer",
    "engineering",
    "developer",
    "manager",
    "team",
    "university",
    "college",
    "school",
    "bachelor",
    "master",
    "degree",
    "present",
    "the",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_names_by_their_spelling() {
        let check = |text: &str, expected: &[&str]| assert_eq!(terms(&[text]), expected, "{text}");
        check("", &[]);
        check("Built the rate limiter of the public interface.", &[]);
        check(
            "Moved PostgreSQL to Kubernetes (K8s) with gRPC, C++ and Node.js. Then wrote it up.",
            &["PostgreSQL", "K8s", "gRPC", "C++", "Node.js", "Kubernetes"],
        );
        check("Senior Software Engineer, Harbourline Payments, 2021 – present", &["Harbourline", "Payments"]);
        check("Redis here. Redis there. We like Redis, and Kafka; Kafka, and Redis.", &["Redis", "Kafka"]);
        check("ada@example.com https://example.com +44 20 7946 0000", &[]);
        let many = (0..500).map(|n| format!("name{n}X ")).collect::<String>();
        assert_eq!(terms(&[&many]).len(), MAX_TERMS);
    }
}
