//! A turn as the rules over words see it: sentences of plain words.
//!
//! Not here: what the words mean (`asking`, `idle`, `account`, `going_on`).

/// A sentence: its words in lower case, without marks, hesitations and stammered repetitions; contractions are two words
/// ("what", "'s").
#[derive(Debug, Default)]
pub(super) struct Sentence<'t> {
    pub(super) words: Vec<&'t str>,
    /// For each word, whether a comma, colon or dash stands before it.
    breaks: Vec<bool>,
    /// Whether it ends in a question mark.
    pub(super) asked: bool,
}

impl<'t> Sentence<'t> {
    /// Whether a new clause begins at word `at`: at the start, after a mark, after "so" and the like, and after the greetings
    /// and fillers that follow one of these.
    pub(super) fn clause_begins(&self, at: usize) -> bool {
        if at == 0 || self.breaks[at] {
            return true;
        }
        let before = self.words[at - 1];
        OPENERS.contains(&before) || (FILLERS.contains(&before) && self.clause_begins(at - 1))
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
        if HESITATIONS.contains(&word) || (!breaks && self.words.last() == Some(&word)) {
            // The next word takes over the mark before a hesitation: "so, um how".
            return;
        }
        self.words.push(word);
        self.breaks.push(breaks);
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
            let count = sentence.words.len();
            push_word(&mut sentence, word.trim_matches('\''), breaks);
            breaks &= sentence.words.len() == count;
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
    let unmarked = UNMARKED.iter().find(|(written, ..)| *written == word);
    if let Some((_, stem, ending)) = unmarked {
        sentence.push(stem, breaks);
        sentence.push(ending, false);
        return;
    }
    match word.rfind('\'') {
        Some(at) if matches!(&word[at..], "'s" | "'d" | "'re" | "'ve" | "'ll" | "'m") => {
            sentence.push(&word[..at], breaks);
            sentence.push(&word[at..], false);
        }
        _ => sentence.push(word, breaks),
    }
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

/// Contractions as a recogniser without apostrophes writes them.
const UNMARKED: &[(&str, &str, &str)] = &[
    ("whats", "what", "'s"),
    ("hows", "how", "'s"),
    ("wheres", "where", "'s"),
    ("whos", "who", "'s"),
    ("thats", "that", "'s"),
    ("theres", "there", "'s"),
    ("lets", "let", "'s"),
    ("im", "i", "'m"),
    ("ive", "i", "'ve"),
    ("youre", "you", "'re"),
    ("youve", "you", "'ve"),
    ("youd", "you", "'d"),
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
