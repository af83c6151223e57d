//! Finds words in a text whatever their case, and says where.
//!
//! A character is folded by its upper case and then its lower case, so `ß` finds `SS` and `ς` finds `Σ`. Not here: accents (`e` does not
//! find `é`), word forms.

/// Words to look for.
pub(super) struct Words(Vec<String>);

/// Characters of a text, counted as Unicode code points.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) start: usize,
    pub(super) length: usize,
}

/// A part of a text, and where the words are in it.
pub(super) struct Snippet {
    pub(super) text: String,
    pub(super) places: Vec<Place>,
}

impl Words {
    /// The words of `text`, in any order.
    pub(super) fn of(text: &str) -> Self {
        let mut words: Vec<String> = text.split_whitespace().map(|word| fold(word).0).collect();
        words.sort();
        words.dedup();
        Self(words)
    }

    pub(super) fn count(&self) -> usize {
        self.0.len()
    }

    /// Where all the words occur in `text`, around the first of the places; none when one of them does not occur.
    pub(super) fn find(&self, text: &str) -> Option<Snippet> {
        let (folded, origin) = fold(text);
        let mut places = Vec::new();
        for word in &self.0 {
            let before = places.len();
            for (at, _) in folded.match_indices(word).take(MAX_PLACES) {
                let (first, last) = (origin[at], origin[at + word.len() - 1]);
                places.push(Place { start: first, length: last + 1 - first });
            }
            if places.len() == before {
                return None;
            }
        }
        places.sort_by_key(|place| (place.start, place.length));
        Some(around(text, &places))
    }
}

/// The folded text, and for each of its bytes which character it came from.
fn fold(text: &str) -> (String, Vec<usize>) {
    let (mut folded, mut origin) = (String::with_capacity(text.len()), Vec::with_capacity(text.len()));
    for (at, character) in text.chars().enumerate() {
        folded.extend(character.to_uppercase().flat_map(char::to_lowercase));
        origin.resize(folded.len(), at);
    }
    (folded, origin)
}

fn around(text: &str, places: &[Place]) -> Snippet {
    let start = places.first().map_or(0, |place| place.start.saturating_sub(BEFORE));
    let text: String = text.chars().skip(start).take(LENGTH).collect();
    let length = text.chars().count();
    let mut shown: Vec<Place> = Vec::new();
    for place in places {
        let (from, to) = (place.start - start, (place.start - start + place.length).min(length));
        match shown.last_mut() {
            // Words that overlap are shown as one place.
            Some(last) if from < last.start + last.length => {
                last.length = last.length.max(to.saturating_sub(last.start))
            }
            _ if from < length => shown.push(Place { start: from, length: to - from }),
            _ => {}
        }
    }
    Snippet { text, places: shown }
}

/// Of one word in one text.
const MAX_PLACES: usize = 20;
/// Characters of a snippet before the first place, and in all.
const BEFORE: usize = 60;
const LENGTH: usize = 200;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn found(words: &str, text: &str) -> Option<Vec<String>> {
        let snippet = Words::of(words).find(text)?;
        let part = |place: &Place| snippet.text.chars().skip(place.start).take(place.length).collect();
        Some(snippet.places.iter().map(part).collect())
    }

    #[test]
    fn case_does_not_matter_in_any_script() {
        let all = |texts: &[&str]| Some(texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>());
        assert_eq!(found("rust", "Why RUST, and rusty?"), all(&["RUST", "rust"]));
        assert_eq!(found("STRASSE", "in der Straße"), all(&["Straße"]));
        assert_eq!(found("straße", "STRASSE"), all(&["STRASSE"]));
        assert_eq!(found("ΟΔΟΣ", "η οδος"), all(&["οδος"]));
        assert_eq!(found("привет", "ПРИВЕТ, мир"), all(&["ПРИВЕТ"]));
        assert_eq!(found("i̇stanbul", "İstanbul"), all(&["İstanbul"]));
    }

    #[test]
    fn all_words_must_occur_in_any_order() {
        assert!(found("limiter rate", "a Rate Limiter").is_some());
        assert!(found("limiter missing", "a Rate Limiter").is_none());
        assert_eq!(found("ab bc", "xabcx"), Some(vec!["abc".to_owned()]), "overlapping places are one");
    }

    #[test]
    fn a_snippet_is_short_and_holds_the_first_place() {
        let text = format!("{}needle{}", "ä ".repeat(500), " ö".repeat(500));
        let snippet = Words::of("NEEDLE").find(&text).unwrap();
        assert_eq!(
            (snippet.text.chars().count(), &snippet.places[..]),
            (200, &[Place { start: 60, length: 6 }][..])
        );
    }

    proptest! {
        #[test]
        fn places_lie_within_the_snippet(text in ".{0,300}", words in ".{1,3}( .{1,3})?") {
            let words = Words::of(&words);
            prop_assume!(words.count() > 0);
            if let Some(snippet) = words.find(&text) {
                let length = snippet.text.chars().count();
                let mut free = 0;
                prop_assert!(!snippet.places.is_empty());
                for place in snippet.places {
                    prop_assert!(place.start >= free && place.length > 0 && place.start + place.length <= length);
                    free = place.start + place.length;
                }
            }
        }
    }
}
