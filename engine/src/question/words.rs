//! A turn as the rules over words see it: sentences of plain words.
//!
//! Not here: what the words mean (`asking`, `idle`, `account`, `going_on`).

use super::asking::{AUXILIARIES, QUESTION_WORDS};

/// A sentence: its words in lower case, without marks, hesitations and stammered repetitions; contractions are two words
/// ("what", "'s").
#[derive(Debug, Default)]
pub(super) struct Sentence<'t> {
    pub(super) words: Vec<&'t str>,
    /// For each word, whether a comma, colon or dash stands before it.
    breaks: Vec<bool>,
    /// For each word, whether a clause begins there.
    begins: Vec<bool>,
    /// Whether it ends in a question mark.
    pub(super) asked: bool,
}

impl<'t> Sentence<'t> {
    /// Whether a new clause begins at word `at`: at the start, after a mark, after "so" and the like, and after the greetings
    /// and fillers that follow one of these.
    pub(super) fn clause_begins(&self, at: usize) -> bool {
        self.begins[at]
    }

    /// Whether a comma, colon or dash stands before word `at`.
    pub(super) fn after_mark(&self, at: usize) -> bool {
        self.breaks[at]
    }

    /// The words from `at` to the next mark.
    pub(super) fn clause(&self, at: usize) -> &[&'t str] {
        let rest = &self.breaks[at + 1..];
        let end = rest.iter().position(|&breaks| breaks).map_or(self.words.len(), |more| at + 1 + more);
        &self.words[at..end]
    }

    /// The first word that is no greeting or filler.
    pub(super) fn start(&self) -> usize {
        self.words.iter().position(|word| !FILLERS.contains(word)).unwrap_or(self.words.len())
    }

    /// Whether one of `words` is in it at `from` or later.
    pub(super) fn has(&self, from: usize, words: &[&str]) -> bool {
        self.words.iter().skip(from).any(|word| words.contains(word))
    }

    /// Whether it speaks of the candidate at `from` or later.
    pub(super) fn addresses(&self, from: usize) -> bool {
        self.has(from, &["you", "your", "yours", "yourself"])
    }

    fn push(&mut self, word: &'t str, breaks: bool) {
        if self.words.last() == Some(&word) {
            return;
        }
        let begins = breaks
            || self.words.last().is_none_or(|before| {
                OPENERS.contains(before) || (self.begins[self.begins.len() - 1] && FILLERS.contains(before))
            });
        self.words.push(word);
        self.breaks.push(breaks);
        self.begins.push(begins);
        self.forget_a_false_start();
    }

    /// "Can you, can you see", "could you just, sorry, could you wait": what began the same way some words before is dropped.
    fn forget_a_false_start(&mut self) {
        let [earlier @ .., first, second] = &self.words[..] else { return };
        let from = earlier.len().saturating_sub(7);
        let again = self.words[from..=earlier.len()].windows(2).position(|pair| pair == [*first, *second]);
        let Some(again) = again.filter(|_| AUXILIARIES.contains(first) || QUESTION_WORDS.contains(first))
        else {
            return;
        };
        self.words.truncate(from + again + 2);
        self.breaks.truncate(from + again + 2);
        self.begins.truncate(from + again + 2);
    }
}

/// `text` in lower case with plain apostrophes, as [`sentences`] wants it.
pub(super) fn plain(text: &str) -> String {
    text.to_lowercase().replace(['’', '‘'], "'")
}

/// The sentences of a [`plain`] text that have words.
pub(super) fn sentences(text: &str) -> Vec<Sentence<'_>> {
    let mut sentences = Vec::new();
    let mut sentence = Sentence::default();
    let mut breaks = false;
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let word_end = rest.find(|c: char| !(c.is_alphanumeric() || c == '\'')).unwrap_or(rest.len());
        if word_end > 0 {
            let (word, after) = rest.split_at(word_end);
            rest = after;
            let word = word.trim_matches('\'');
            // The next word takes over the mark before a hesitation: "so, um how".
            if !hesitation(word) {
                push_word(&mut sentence, word, breaks);
                breaks = false;
            }
            continue;
        }
        rest = &rest[first.len_utf8()..];
        // The dot of "Node.js" and "3.5" ends nothing; neither does the hyphen of "on-call".
        let inside_a_word = rest.starts_with(|c: char| c.is_alphanumeric());
        match first {
            '?' | '？' | '؟' => {
                sentence.asked = true;
                end(&mut sentences, &mut sentence);
            }
            '!' | ';' | '…' | '。' | '！' | '\n' => end(&mut sentences, &mut sentence),
            '.' if !inside_a_word => end(&mut sentences, &mut sentence),
            ',' | ':' | '–' | '—' | '(' | ')' => breaks = true,
            '-' if !inside_a_word => breaks = true,
            _ => {}
        }
    }
    end(&mut sentences, &mut sentence);
    sentences
}

fn end<'t>(sentences: &mut Vec<Sentence<'t>>, sentence: &mut Sentence<'t>) {
    let sentence = std::mem::take(sentence);
    if !sentence.words.is_empty() {
        sentences.push(sentence);
    }
}

fn push_word<'t>(sentence: &mut Sentence<'t>, word: &'t str, breaks: bool) {
    if word.is_empty() {
        return;
    }
    let word = UNMARKED.iter().find(|contraction| unmarked(contraction, word)).unwrap_or(&word);
    match word.rfind('\'') {
        Some(at) if matches!(&word[at..], "'s" | "'d" | "'re" | "'ve" | "'ll" | "'m") => {
            sentence.push(&word[..at], breaks);
            sentence.push(&word[at..], false);
        }
        _ => sentence.push(word, breaks),
    }
}

fn hesitation(word: &str) -> bool {
    word.len() <= 3 && HESITATIONS.contains(&word)
}

/// Whether `word` is `contraction` without its apostrophe.
fn unmarked(contraction: &str, word: &str) -> bool {
    contraction.len() == word.len() + 1
        && contraction.as_bytes()[0] == word.as_bytes()[0]
        && contraction
            .split_once('\'')
            .is_some_and(|(stem, ending)| word.strip_prefix(stem).is_some_and(|rest| rest == ending))
}

/// Sounds, not words.
const HESITATIONS: &[&str] =
    &["um", "uh", "uhm", "umm", "uhh", "erm", "er", "hmm", "hm", "mm", "mhm", "mmm", "ah", "eh"];

/// Words that say nothing at the start of a sentence.
const FILLERS: &[&str] = &[
    "so",
    "and",
    "or",
    "ok",
    "okay",
    "well",
    "now",
    "alright",
    "right",
    "great",
    "then",
    "but",
    "also",
    "good",
    "thanks",
    "hi",
    "hello",
    "hey",
    "yeah",
    "yes",
    "yep",
    "perfect",
    "first",
    "next",
    "finally",
    "please",
    "cool",
    "nice",
    "oh",
    "sure",
    "excellent",
    "interesting",
    "sorry",
    "actually",
    "just",
    "maybe",
    "perhaps",
    "anyway",
    "again",
    "like",
    "lovely",
    "fine",
    "no",
    "awesome",
    "fantastic",
    "wonderful",
    "lastly",
    "secondly",
    "firstly",
];

/// After these a new clause begins wherever they stand; without marks nothing else tells.
const OPENERS: &[&str] = &["so", "okay", "ok", "please", "alright", "now", "then", "anyway"];

/// Contractions that a recogniser may write without their apostrophe. Not those that are a common word then ("were", "well",
/// "ill", "its"); "wed" and "id" are seldom meant.
const UNMARKED: &[&str] = &[
    "what's",
    "how's",
    "where's",
    "who's",
    "that's",
    "there's",
    "let's",
    "i'm",
    "i've",
    "i'd",
    "we'd",
    "we've",
    "you're",
    "you've",
    "you'd",
    "you'll",
    "don't",
    "doesn't",
    "didn't",
    "isn't",
    "wasn't",
    "aren't",
    "weren't",
    "haven't",
    "hasn't",
    "can't",
    "couldn't",
    "wouldn't",
    "won't",
    "shouldn't",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn splits() {
        let check = |text: &str, expected: &[&str]| {
            let plain = plain(text);
            let found: Vec<String> = sentences(&plain)
                .iter()
                .map(|sentence| {
                    let mut line = String::new();
                    for (word, breaks) in sentence.words.iter().zip(&sentence.breaks) {
                        line += if *breaks { " / " } else { " " };
                        line += word;
                    }
                    line + if sentence.asked { " ?" } else { "" }
                })
                .collect();
            assert_eq!(found.iter().map(|line| line.trim_start()).collect::<Vec<_>>(), expected, "{text:?}");
        };
        check("", &[]);
        check("...", &[]);
        check("What’s Node.js?", &["what 's node js ?"]);
        check("So, um, how how would you… Fine.", &["so / how would you", "fine"]);
        check("Can you, uh, can you see?", &["can you see ?"]);
        check("Could you just, sorry, could you wait", &["could you wait"]);
        check("Is the, uh, the id on, isnt it", &["is the i 'd on / isn't it"]);
        check("on-call – whats that", &["on call / what 's that"]);
        check("Mm-hmm.", &[]);
        check("何をしましたか？はい。", &["何をしましたか ?", "はい"]);
    }

    #[test]
    fn clauses_begin() {
        let plain = plain("Okay great, thanks so tell me, and explain it and go.");
        let sentence = &sentences(&plain)[0];
        let begins: Vec<&str> = (0..sentence.words.len())
            .filter(|&at| sentence.clause_begins(at))
            .map(|at| sentence.words[at])
            .collect();
        assert_eq!(begins, ["okay", "great", "thanks", "so", "tell", "and", "explain"]);
        assert_eq!(sentence.start(), 4);
        assert_eq!(sentence.clause(4), ["tell", "me"]);
    }
}
