//! What was said and answered in a session: bounded, newest kept.

use std::{collections::VecDeque, fmt::Write as _};

use protocol::Role;

/// The conversation so far, at most 200 entries.
#[derive(Clone, Debug, Default)]
pub struct History {
    entries: VecDeque<Entry>,
}

#[derive(Clone, Debug)]
enum Entry {
    Said { turn: u64, role: Role, text: String },
    Suggested(u64, String),
}

impl History {
    /// Notes the final text of a turn.
    pub fn said(&mut self, turn: u64, role: Role, text: &str) {
        self.push(Entry::Said { turn, role, text: text.to_owned() });
    }

    /// Notes an answer that was suggested to the candidate.
    pub fn suggested(&mut self, answer_id: u64, text: &str) {
        self.push(Entry::Suggested(answer_id, text.to_owned()));
    }

    /// Takes back what was suggested as `answer_id`.
    pub fn withdraw(&mut self, answer_id: u64) {
        self.entries.retain(|entry| !matches!(entry, Entry::Suggested(id, _) if *id == answer_id));
    }

    /// The same conversation on a new connection, whose turns and answers are counted anew.
    pub fn carried_over(self) -> Self {
        self
    }

    /// Whether nothing was said yet.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The text of `turn`, or of the last turn, with its number.
    pub fn turn(&self, wanted: Option<u64>) -> Option<(u64, &str)> {
        self.entries.iter().rev().find_map(|entry| match entry {
            Entry::Said { turn, text, .. } if wanted.is_none_or(|wanted| wanted == *turn) => {
                Some((*turn, text.as_str()))
            }
            _ => None,
        })
    }

    /// The newest entries that fit into `budget` bytes, oldest first, one a line.
    pub fn excerpt(&self, budget: usize) -> String {
        let mut lines = Vec::new();
        let mut left = budget;
        for entry in self.entries.iter().rev() {
            let mut line = String::new();
            let _ = match entry {
                Entry::Said { role: Role::Interviewer, text, .. } => writeln!(line, "Interviewer: {text}"),
                Entry::Said { role: Role::Candidate, text, .. } => writeln!(line, "Candidate: {text}"),
                Entry::Said { role: Role::Mixed, text, .. } => writeln!(line, "Heard: {text}"),
                Entry::Suggested(_, text) => writeln!(line, "Suggested to the candidate: {text}"),
            };
            match left.checked_sub(line.len()) {
                Some(rest) => left = rest,
                None => break,
            }
            lines.push(line);
        }
        lines.into_iter().rev().collect()
    }

    fn push(&mut self, entry: Entry) {
        if self.entries.len() == MAX_ENTRIES {
            self.entries.pop_front();
        }
        self.entries.push_back(entry);
    }
}

const MAX_ENTRIES: usize = 200;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_lines_fit_the_budget() {
        let mut history = History::default();
        history.said(1, Role::Interviewer, "Who are you?");
        history.suggested(1, "I am Ada.");
        history.said(2, Role::Candidate, "I am Ada.");
        assert_eq!(history.excerpt(60), "Suggested to the candidate: I am Ada.\nCandidate: I am Ada.\n");
        assert_eq!(history.turn(None), Some((2, "I am Ada.")));
        assert_eq!(history.turn(Some(1)), Some((1, "Who are you?")));
        assert_eq!(history.turn(Some(9)), None);
    }

    #[test]
    fn memory_is_bounded() {
        let mut history = History::default();
        for turn in 0..10_000 {
            history.said(turn, Role::Mixed, "x");
        }
        assert_eq!((history.entries.len(), history.turn(Some(1))), (MAX_ENTRIES, None));
    }
}
