//! A model's train of thought, `<think>…</think>`, taken out of its streamed text.
//!
//! Pure. Not here: thoughts that come in a field of their own (`reasoning_content`), which nobody reads. A thought whose opening
//! tag is missing (some templates put it into the prompt) cannot be told from text until it is over, and stays.

/// Takes thoughts out of a text that comes in pieces, wherever these are cut.
///
/// White space before the first visible text goes too: the first text shown is one that can be read. A thought that is
/// never closed lasts to the end. Holds back at most seven bytes.
#[derive(Debug, Default)]
pub(super) struct ThinkFilter {
    /// The beginning of what may become a tag.
    held: String,
    thinks: bool,
    has_text: bool,
}

impl ThinkFilter {
    /// Takes the next piece in; the text that can be shown now, often empty.
    pub(super) fn push(&mut self, piece: &str) -> String {
        let mut text = std::mem::take(&mut self.held);
        text.push_str(piece);
        let mut rest = text.as_str();
        let mut shown = String::new();
        loop {
            let tag = if self.thinks { CLOSE } else { OPEN };
            let found = rest.find(tag);
            let (said, after) = match found {
                Some(at) => (&rest[..at], &rest[at + tag.len()..]),
                None => rest.split_at(rest.len() - unfinished(rest, tag)),
            };
            if !self.thinks {
                shown.push_str(if self.has_text { said } else { said.trim_start() });
                self.has_text |= !shown.is_empty();
            }
            if found.is_none() {
                self.held = after.to_owned();
                return shown;
            }
            rest = after;
            self.thinks = !self.thinks;
        }
    }

    /// The text has ended; what was held back of it, which was no tag after all.
    pub(super) fn finish(&mut self) -> String {
        let held = std::mem::take(&mut self.held);
        if self.thinks { String::new() } else { held }
    }
}

/// Bytes at the end of `text` that `tag` may begin with.
fn unfinished(text: &str, tag: &str) -> usize {
    (1..tag.len()).rev().find(|&length| text.ends_with(&tag[..length])).unwrap_or(0)
}

const OPEN: &str = "<think>";
const CLOSE: &str = "</think>";

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn filtered<'a>(pieces: impl IntoIterator<Item = &'a str>) -> String {
        let mut filter = ThinkFilter::default();
        let mut shown = String::new();
        for piece in pieces {
            shown.push_str(&filter.push(piece));
            assert!(filter.held.len() < CLOSE.len());
        }
        shown + &filter.finish()
    }

    #[test]
    fn takes_thoughts_out() {
        let check = |text: &str, expected: &str| assert_eq!(filtered([text]), expected, "{text:?}");
        check("Yes.", "Yes.");
        check("", "");
        check("<think>hm</think>\n\nYes.", "Yes.");
        check("\n <think>hm</think><think>\n</think> Yes.\n", "Yes.\n");
        check("One <think>hm <think> hm</think> two", "One  two");
        check("One <think>never closed", "One ");
        check("<think></think>", "");
        check("a < b, <thin> and </think>", "a < b, <thin> and </think>");
        check("ends in <thi", "ends in <thi");
        check("<<think>x</think>thi", "<thi");
        check("<think>a</thin</think>Grüße", "Grüße");
    }

    #[test]
    fn shows_at_once_what_can_be_no_tag() {
        let mut filter = ThinkFilter::default();
        let shown: Vec<_> = [" ", "a", "<", "thin", "g", "<think", ">b</", "think>", " c"]
            .map(|piece| filter.push(piece))
            .into();
        assert_eq!(shown, ["", "a", "", "", "<thing", "", "", "", " c"]);
    }

    /// The same by looking at the whole text.
    fn reference(text: &str) -> String {
        let mut thoughts = text.split("<think>");
        let mut shown = thoughts.next().unwrap_or_default().to_owned();
        for thought in thoughts {
            // An opening tag inside of a thought is part of it.
            if let Some((_, after)) = thought.split_once("</think>") {
                shown.push_str(after);
            }
        }
        shown.trim_start().to_owned()
    }

    proptest! {
        #[test]
        fn any_cut_gives_the_same_text(
            parts in prop::collection::vec(prop_oneof!["<think>", "</think>", "[<>/a ü\n]{0,6}", "<?/?thin?k?>?"], 0..12),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
        ) {
            let text = parts.concat();
            let mut places: Vec<_> = cuts.iter().map(|cut| cut.index(text.len() + 1)).filter(|&at| text.is_char_boundary(at)).collect();
            places.extend([0, text.len()]);
            places.sort_unstable();
            let pieces = places.windows(2).map(|ends| &text[ends[0]..ends[1]]);
            let shown = filtered(pieces);
            prop_assert_eq!(&shown, &filtered([text.as_str()]));
            prop_assert_eq!(shown, reference(&text));
        }
    }
}
