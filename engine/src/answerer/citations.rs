//! Citations of CV lines, `[12]`, checked while the answer streams: wrong ones never reach the client.
//!
//! Not here: the list of sources at the end (`reading`).

use std::{
    ops::{Range, RangeInclusive},
    sync::Arc,
};

use models::chat::{SourceIndex, StemSet};

use super::sentences::sentences;

/// Lets text through and takes wrong citations out of it, each with the space before it.
///
/// A citation is `[3]`, `[3, 7]` or `[3-5]`. It is wrong when the CV lacks the line (of a range: any of its lines), or when it
/// is plainly of another line: the line shares no word with the sentence, and no word of the same matter, while another
/// line shares at least two telling words with the claim, which is what was said since the citation before. A paraphrase
/// that resembles no other line better stays.
///
/// Spaces are held back until something else follows, and what may be a citation until it is one, at most 24
/// characters; nothing else waits. How the text is cut into pieces makes no difference.
#[derive(Clone)]
pub struct Citations {
    cv: Arc<SourceIndex>,
    held: Held,
    /// The end of the text so far, without citations.
    said: String,
    /// Where in it the last citation stood.
    claim: usize,
    /// What the last citation stood behind: one right after it stands behind the same.
    last_claim: String,
    at_line_start: bool,
    removed: u64,
}

/// What is not yet shown.
#[derive(Clone, Debug, Default)]
struct Held {
    spaces: String,
    /// What stands after the opening bracket.
    inside: Option<String>,
    /// Spaces to come are not shown: a citation at the start of a line was removed.
    skips_spaces: bool,
}

impl Citations {
    pub(super) fn new(cv: Arc<SourceIndex>) -> Self {
        Self {
            cv,
            held: Held::default(),
            said: String::new(),
            claim: 0,
            last_claim: String::new(),
            at_line_start: true,
            removed: 0,
        }
    }

    /// Takes the next text in; what can be shown of the text so far, perhaps nothing.
    pub fn push(&mut self, text: &str) -> String {
        let mut shown = String::with_capacity(text.len());
        for c in text.chars() {
            self.take(c, &mut shown);
        }
        shown
    }

    /// The text is over; what was held back.
    pub fn finish(&mut self) -> String {
        let mut shown = String::new();
        self.release(&mut shown);
        shown
    }

    /// How many citations were removed so far; each line or range counts.
    pub fn removed(&self) -> u64 {
        self.removed
    }

    fn take(&mut self, c: char, shown: &mut String) {
        if let Some(inside) = &mut self.held.inside {
            if c == ']' {
                let inside = self.held.inside.take().unwrap_or_default();
                self.decide(&inside, shown);
                return;
            }
            if (c.is_ascii_digit() || SEPARATORS.contains(&c)) && inside.len() + c.len_utf8() <= MAX_INSIDE {
                inside.push(c);
                return;
            }
            self.release(shown);
        }
        match c {
            ' ' | '\t' | '\u{a0}' => {
                if self.held.skips_spaces {
                    return;
                }
                if self.held.spaces.len() >= MAX_INSIDE {
                    self.release(shown);
                }
                self.held.spaces.push(c);
            }
            '[' => self.held.inside = Some(String::new()),
            // `[11 [99]]` without what is wrong in it would be `[11 ]`, which was never checked.
            ']' if self.removed > 0 && self.is_open() => {}
            c => {
                self.release(shown);
                self.say(c, shown);
            }
        }
    }

    /// The brackets are closed around `inside`.
    fn decide(&mut self, inside: &str, shown: &mut String) {
        let cited = parse(inside).unwrap_or_default();
        if cited.is_empty() {
            self.held.inside = Some(inside.to_owned());
            self.release(shown);
            self.say(']', shown);
            return;
        }
        let claim = self.claim();
        let right: Vec<_> = cited.iter().filter(|lines| self.is_right(lines, &claim)).cloned().collect();
        self.claim = self.said.len();
        self.removed += (cited.len() - right.len()) as u64;
        if right.is_empty() {
            self.held.spaces.clear();
            self.held.skips_spaces = self.at_line_start;
            return;
        }
        self.held.skips_spaces = false;
        // The text of a citation is no part of what is said.
        shown.push_str(&std::mem::take(&mut self.held.spaces));
        self.at_line_start = false;
        if right.len() == cited.len() {
            shown.push_str(&format!("[{inside}]"));
        } else {
            let right: Vec<String> = right.iter().map(written).collect();
            shown.push_str(&format!("[{}]", right.join(", ")));
        }
    }

    /// Shows what was held back, as it is.
    fn release(&mut self, shown: &mut String) {
        for c in std::mem::take(&mut self.held.spaces).chars() {
            self.say(c, shown);
        }
        if let Some(inside) = self.held.inside.take() {
            for c in std::iter::once('[').chain(inside.chars()) {
                self.say(c, shown);
            }
        }
    }

    fn say(&mut self, c: char, shown: &mut String) {
        shown.push(c);
        self.held.skips_spaces = false;
        self.at_line_start = c == '\n';
        self.said.push(c);
        if self.said.len() > 2 * MAX_SAID {
            let from = self.said.ceil_char_boundary(self.said.len() - MAX_SAID);
            self.said.drain(..from);
            self.claim = self.claim.saturating_sub(from);
        }
    }

    /// Whether a bracket here would close a citation.
    fn is_open(&self) -> bool {
        self.said.rfind('[').is_some_and(|open| parse(&self.said[open + 1..]).is_some())
    }

    /// The sentence that a citation here stands in or behind, and what of it the citation is for.
    fn claim(&mut self) -> Claim {
        let sentence = sentences(&self.said).last().unwrap_or_default();
        let since = &self.said[self.claim..];
        if since.contains(char::is_alphanumeric) {
            // The shorter: a sentence may have begun after the last citation, or hold it.
            let claim = if since.len() < sentence.len() { since } else { sentence };
            self.last_claim = claim.to_owned();
        }
        let claim = self.cv.telling(&StemSet::of(&self.last_claim));
        Claim { sentence: StemSet::of(sentence).with_related(), telling: claim }
    }

    fn is_right(&self, lines: &RangeInclusive<u32>, claim: &Claim) -> bool {
        if !is_range(lines) {
            return false;
        }
        let mut shares = false;
        for line in lines.clone() {
            match self.cv.shared(line, &claim.sentence) {
                Some(shared) => shares |= shared > 0,
                None => return false,
            }
        }
        shares
            || !self.cv.lines().iter().any(|line| self.cv.shared(line.number, &claim.telling) >= Some(RIVAL))
    }
}

/// What a citation rests on.
struct Claim {
    /// Words of the sentence so far and of the same matter.
    sentence: StemSet,
    /// Telling words since the citation before.
    telling: StemSet,
}

/// The citations of `text`: where each stands, brackets included, and the lines it names.
pub(super) fn found(text: &str) -> impl Iterator<Item = (Range<usize>, Vec<u32>)> {
    text.match_indices('[').filter_map(|(open, _)| {
        let close = open + text[open..].find(']')?;
        let cited = parse(&text[open + 1..close])?;
        Some((open..close + 1, cited.into_iter().filter(is_range).flatten().collect()))
    })
}

/// Bytes of the citations that `text` begins with, spaces before and between them included.
pub(super) fn leading(text: &str) -> usize {
    let mut length = 0;
    while let Some(rest) = text[length..].trim_start_matches(' ').strip_prefix('[')
        && let Some((inside, after)) = rest.split_once(']')
        && parse(inside).is_some()
    {
        length = text.len() - after.len();
    }
    length
}

/// The lines that `[inside]` names, as written; `None` when it is no citation.
fn parse(inside: &str) -> Option<Vec<RangeInclusive<u32>>> {
    if inside.len() > MAX_INSIDE {
        return None;
    }
    let number = |text: &str| -> Option<u32> {
        let text = text.trim_matches(' ');
        let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        // Beyond any document is beyond it, however far.
        is_number.then(|| text.parse().unwrap_or(u32::MAX))
    };
    let pieces = inside.split([',', ';']).map(|piece| match piece.split_once(['-', '–']) {
        Some((first, last)) => Some(number(first)?..=number(last)?),
        None => number(piece).map(|line| line..=line),
    });
    pieces.collect()
}

/// Whether `lines` are so few that a claim can rest on them, and not none.
fn is_range(lines: &RangeInclusive<u32>) -> bool {
    !lines.is_empty() && lines.end() - lines.start() < MAX_RANGE
}

fn written(lines: &RangeInclusive<u32>) -> String {
    let (first, last) = (lines.start(), lines.end());
    if first == last { first.to_string() } else { format!("{first}-{last}") }
}

/// Telling words that another line must share with a claim to make a citation wrong.
const RIVAL: usize = 2;
/// Bytes between the brackets of a citation.
const MAX_INSIDE: usize = 24;
/// Between the numbers of a citation.
const SEPARATORS: [char; 5] = [' ', ',', ';', '-', '–'];
/// A range of more lines is nothing that a claim rests on.
const MAX_RANGE: u32 = 20;
/// Bytes kept of what was said: a long sentence.
const MAX_SAID: usize = 1_000;

#[cfg(test)]
mod tests;
