//! What was said and answered in a session: bounded, newest kept.
//!
//! Not here: history that is stored (`recorder`).

use std::collections::VecDeque;

use protocol::Role;
use sha2::{Digest as _, Sha256};

use crate::answerer::{budget, sentences, untrusted};

/// The conversation so far: at most 200 entries of 16 KiB, 256 KiB in all; the oldest go first.
#[derive(Clone, Debug, Default)]
pub struct History {
    entries: VecDeque<Entry>,
    bytes: usize,
}

#[derive(Clone, Debug)]
struct Entry {
    source: Source,
    text: String,
}

/// Who an entry is from; turns and answers of an earlier connection have no number any more.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Source {
    Said { turn: Option<u64>, role: Role },
    Suggested { answer: Option<u64> },
}

impl History {
    /// Notes the final text of a turn.
    pub fn said(&mut self, turn: u64, role: Role, text: &str) {
        self.push(Source::Said { turn: Some(turn), role }, text);
    }

    /// Notes an answer that was suggested to the candidate.
    pub fn suggested(&mut self, answer: u64, text: &str) {
        self.push(Source::Suggested { answer: Some(answer) }, text);
    }

    /// Forgets a suggestion: its question went on, and another answer takes its place. Nothing when there is none.
    pub fn withdraw(&mut self, answer: u64) {
        let wanted = Source::Suggested { answer: Some(answer) };
        self.entries.retain(|entry| entry.source != wanted);
        self.bytes = self.entries.iter().map(|entry| entry.text.len()).sum();
    }

    /// The same for a new connection, which numbers turns and answers anew: no number finds the old ones.
    pub fn carried_over(mut self) -> Self {
        for entry in &mut self.entries {
            match &mut entry.source {
                Source::Said { turn: number, .. } | Source::Suggested { answer: number } => *number = None,
            }
        }
        self
    }

    /// Whether nothing was said yet.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The text of `turn`, or of the last turn, with its number; 0 for a turn of an earlier connection.
    pub fn turn(&self, wanted: Option<u64>) -> Option<(u64, &str)> {
        self.entries.iter().rev().find_map(|entry| match entry.source {
            Source::Said { turn, .. } if wanted.is_none() || wanted == turn => {
                Some((turn.unwrap_or(0), entry.text.as_str()))
            }
            _ => None,
        })
    }

    /// The conversation in at most `budget` tokens by the estimate of the prompts, as safe data, oldest first, one entry a line.
    ///
    /// The newest entries are whole. When not all fit, three quarters of the budget go to whole entries; older ones are
    /// shortened to their first sentence, at most 20 words, and then left out, oldest first, which a first line says. A
    /// newest entry that alone is too long loses its beginning. Of suggestions in a row the newest stands for all.
    pub fn excerpt(&self, budget: usize) -> String {
        self.excerpt_before("", budget)
    }

    /// As [`excerpt`](Self::excerpt), without the turns that `question` is made of.
    pub fn excerpt_before(&self, question: &str, budget: usize) -> String {
        let entries = self.before(question);
        if let Some(all) = fitting(&entries, budget) {
            return all;
        }
        let Some(mut left) = budget.checked_sub(budget::tokens(LEFT_OUT)) else { return String::new() };
        let mut left_for_whole = left * 3 / 4;
        // Newest first.
        let mut lines = Vec::new();
        for entry in entries.iter().rev() {
            let whole = match lines.is_empty() {
                true => entry.last_words(left_for_whole),
                false => entry.line(&entry.text),
            };
            let line = match left_for_whole.checked_sub(budget::tokens(&whole)) {
                Some(rest) => {
                    left_for_whole = rest;
                    whole
                }
                None => {
                    left_for_whole = 0;
                    entry.line(&shortened(&entry.text))
                }
            };
            match left.checked_sub(budget::tokens(&line)) {
                Some(rest) => left = rest,
                None => break,
            }
            lines.push(line);
        }
        if lines.len() < entries.len() {
            lines.push(LEFT_OUT.to_owned());
        }
        lines.into_iter().rev().collect()
    }

    /// Takes what a prompt for `question` could hold of the conversation into `digest`.
    pub(crate) fn digest_before(&self, question: &str, digest: &mut Sha256) {
        for entry in self.before(question) {
            digest.update(entry.label());
            digest.update((entry.text.len() as u64).to_le_bytes());
            digest.update(&entry.text);
        }
    }

    /// Entries that stand before `question`, oldest first.
    fn before(&self, question: &str) -> Vec<&Entry> {
        let is_part = |entry: &&Entry| {
            matches!(entry.source, Source::Said { role: Role::Interviewer | Role::Mixed, .. })
                && question.contains(entry.text.trim())
        };
        let mut entries: Vec<&Entry> = Vec::new();
        for entry in self.entries.iter().filter(|entry| !is_part(entry) && !entry.text.trim().is_empty()) {
            let suggested = |entry: &Entry| matches!(entry.source, Source::Suggested { .. });
            entries.pop_if(|last| suggested(last) && suggested(entry));
            entries.push(entry);
        }
        entries
    }

    fn push(&mut self, source: Source, text: &str) {
        let text = text[..text.floor_char_boundary(MAX_ENTRY_BYTES)].to_owned();
        self.bytes += text.len();
        self.entries.push_back(Entry { source, text });
        while self.entries.len() > MAX_ENTRIES || self.bytes > MAX_BYTES {
            let Some(oldest) = self.entries.pop_front() else { break };
            self.bytes -= oldest.text.len();
        }
    }
}

impl Entry {
    /// `text` of this entry as a line of an excerpt.
    fn line(&self, text: &str) -> String {
        format!("{}: {}\n", self.label(), untrusted::line(text))
    }

    /// The whole line, or as much of its end as `budget` allows.
    fn last_words(&self, budget: usize) -> String {
        let label = self.label();
        let text = untrusted::line(&self.text);
        let room = budget.saturating_sub(budget::tokens(label) + LINE);
        format!("{label}: {}\n", budget::tail(&text, room))
    }

    fn label(&self) -> &'static str {
        match self.source {
            Source::Said { role: Role::Interviewer, .. } => "Interviewer",
            Source::Said { role: Role::Candidate, .. } => "Candidate",
            Source::Said { role: Role::Mixed, .. } => "Heard",
            Source::Suggested { .. } => "Suggested to the candidate",
        }
    }
}

/// All of `entries`, when they cost at most `budget` tokens.
fn fitting(entries: &[&Entry], budget: usize) -> Option<String> {
    let mut left = budget;
    let mut lines = Vec::new();
    for entry in entries.iter().rev() {
        let line = entry.line(&entry.text);
        left = left.checked_sub(budget::tokens(&line))?;
        lines.push(line);
    }
    Some(lines.into_iter().rev().collect())
}

/// The first sentence of `text`, at most [`SHORT_WORDS`] of it, and a mark when there was more.
fn shortened(text: &str) -> String {
    let sentence = sentences::sentences(text).next().unwrap_or_default();
    let words: Vec<&str> = sentence.split_whitespace().take(SHORT_WORDS).collect();
    let short = words.join(" ");
    // Scripts without spaces have no words to count.
    let short = &short[..short.floor_char_boundary(SHORT_BYTES)];
    match short.len() < text.trim().len() {
        true => format!("{short} …"),
        false => short.to_owned(),
    }
}

const MAX_ENTRIES: usize = 200;
const MAX_ENTRY_BYTES: usize = 16 * 1024;
const MAX_BYTES: usize = 256 * 1024;

/// Of an older entry.
const SHORT_WORDS: usize = 20;
const SHORT_BYTES: usize = 200;

/// Tokens of what stands around label and text of a line, at most.
const LINE: usize = 4;

const LEFT_OUT: &str = "(earlier parts left out)\n";

#[cfg(test)]
mod tests {
    use super::*;

    /// `(role, text)` of turns 1, 2, …; no role for a suggestion.
    fn history(entries: &[(Option<Role>, &str)]) -> History {
        let mut history = History::default();
        for ((role, text), number) in entries.iter().zip(1..) {
            match role {
                Some(role) => history.said(number, *role, text),
                None => history.suggested(number, text),
            }
        }
        history
    }

    const I: Option<Role> = Some(Role::Interviewer);
    const C: Option<Role> = Some(Role::Candidate);

    #[test]
    fn what_fits_is_whole() {
        let history =
            history(&[(I, "Who are you?"), (None, "I am Ada."), (C, "I am\nAda."), (Some(Role::Mixed), " ")]);
        let all = "Interviewer: Who are you?\nSuggested to the candidate: I am Ada.\nCandidate: I am Ada.\n";
        assert_eq!(history.excerpt(budget::tokens(all) + 3), all);
    }

    #[test]
    fn older_entries_are_shortened_then_left_out() {
        let long =
            "A first sentence. And a second one that goes on and on about nothing at all, for many words. "
                .repeat(3);
        let history = history(&[(I, &long), (C, &long), (I, &long), (C, "Short.")]);
        let excerpt = |budget| {
            let excerpt = history.excerpt(budget);
            assert!(budget::tokens(&excerpt) <= budget, "{budget}: {excerpt}");
            excerpt
        };
        let full = excerpt(1_000);
        assert_eq!(full.matches("second one").count(), 9, "{full}");
        let fewer = excerpt(260);
        assert_eq!(fewer.matches("second one").count(), 3, "{fewer}");
        assert!(
            fewer.starts_with(
                "Interviewer: A first sentence. …\nCandidate: A first sentence. …\nInterviewer: A"
            )
        );
        let short = excerpt(60);
        assert!(short.starts_with("(earlier parts left out)\nCandidate: A first sentence. …\n"), "{short}");
        assert!(short.ends_with("\nInterviewer: A first sentence. …\nCandidate: Short.\n"), "{short}");
        assert_eq!(excerpt(3), "");
        for budget in 0..400 {
            excerpt(budget);
        }
    }

    #[test]
    fn an_overlong_newest_entry_is_cut_not_dropped() {
        let history = history(&[(C, "Old."), (I, &format!("{} and why so?", "blah ".repeat(3_000)))]);
        let excerpt = history.excerpt(100);
        assert!(budget::tokens(&excerpt) <= 100, "{excerpt}");
        assert!(excerpt.contains("\nInterviewer: …") || excerpt.starts_with("Interviewer: …"), "{excerpt}");
        assert!(excerpt.ends_with("blah and why so?\n"), "{excerpt}");
    }

    #[test]
    fn the_question_does_not_appear_twice() {
        let history =
            history(&[(C, "Why Rust?"), (I, "Tell me"), (I, "why Rust?"), (None, "a"), (None, "b")]);
        let excerpt = history.excerpt_before("Tell me why Rust?", 1_000);
        assert_eq!(excerpt, "Candidate: Why Rust?\nSuggested to the candidate: b\n");
    }

    #[test]
    fn turns_are_found_until_the_connection_ends() {
        let mut history = history(&[(I, "one"), (None, "suggested"), (C, "three")]);
        assert_eq!(history.turn(None), Some((3, "three")));
        assert_eq!(history.turn(Some(1)), Some((1, "one")));
        assert_eq!((history.turn(Some(2)), history.turn(Some(9))), (None, None));
        history = history.carried_over();
        assert_eq!(history.turn(None), Some((0, "three")));
        assert_eq!((history.turn(Some(1)), history.turn(Some(0))), (None, None));
        history.withdraw(2);
        assert!(history.excerpt(1_000).contains("suggested"), "an old answer's number is a new one's");
        history.said(1, Role::Interviewer, "new");
        assert_eq!(history.turn(Some(1)), Some((1, "new")));
        history.suggested(2, "again");
        history.withdraw(2);
        assert!(!history.excerpt(1_000).contains("again"));
    }

    #[test]
    fn memory_is_bounded() {
        let mut history = History::default();
        for turn in 0..10_000 {
            history.said(turn, Role::Mixed, "x");
        }
        assert_eq!((history.entries.len(), history.turn(Some(1))), (MAX_ENTRIES, None));
        for turn in 0..100 {
            history.suggested(turn, &"é".repeat(100_000));
        }
        let bytes: usize = history.entries.iter().map(|entry| entry.text.len()).sum();
        assert!(bytes == history.bytes && bytes <= MAX_BYTES, "{bytes}");
        assert_eq!(history.entries.len(), MAX_BYTES / MAX_ENTRY_BYTES);
    }
}
