//! Right and wrong citations, and that no cut of the stream makes a difference.

use models::chat::SourceLine;
use proptest::prelude::*;

use super::*;

const CV: [(u32, &str); 8] = [
    (1, "Ada Lovelace"),
    (3, "EXPERIENCE"),
    (4, "Engineer, Northwind, 2020 – present"),
    (5, "- Reduced the latency of the checkout from 900 ms to 140 ms"),
    (6, "- Mentored four junior engineers; two of them are"),
    (7, "now seniors"),
    (8, "- Built the rate limiter of the public API in Redis"),
    (10, "Languages: Rust, Go, Python"),
];

fn index() -> Arc<SourceIndex> {
    let lines = CV.map(|(number, text)| SourceLine { number, text: text.to_owned() });
    Arc::new(SourceIndex::new(lines.into()))
}

/// The text that is shown of `pieces`, and how many citations were removed.
fn shown<'a>(index: &Arc<SourceIndex>, pieces: impl IntoIterator<Item = &'a str>) -> (String, u64) {
    let mut citations = Citations::new(Arc::clone(index));
    let mut text: String = pieces.into_iter().map(|piece| citations.push(piece)).collect();
    text.push_str(&citations.finish());
    (text, citations.removed())
}

#[test]
fn wrong_citations_are_taken_out() {
    let index = index();
    let check = |text: &str, expected: &str, removed: u64| {
        assert_eq!(shown(&index, [text]), (expected.to_owned(), removed), "{text:?}");
    };
    let stays = |text: &str| check(text, text, 0);
    // Right, and what is no citation.
    stays("I reduced latency [5] and mentored juniors [6].");
    stays("");
    stays("Arrays like a[i], [x], [], [,], [3 4], [+5], [- 5], [5, and  spaces  ");
    stays("[not 5] [\n5] [1234567890123456789012345]");
    stays("I mentored four engineers [6, 7].");
    stays("I mentored and built [6-8].");
    stays("At Northwind [4] I led. Rust [10]");
    // After the full stop, and one right after another.
    stays("I reduced the latency of the checkout. [5]\nThen I built the limiter [8] [4].");
    // The second half of a sentence that the CV breaks, a paraphrase, a related word.
    stays("Two juniors I mentored are seniors [7].");
    stays("I made things quicker for everybody [8].");
    stays("I coached younger colleagues [6].");
    // Not in the CV.
    check("I flew [99].", "I flew.", 1);
    check("I flew [99] to [2] Leeds [0].", "I flew to Leeds.", 3);
    check("[99] I flew.\n[2]  So.", "I flew.\nSo.", 2);
    check("I mentored [6, 99].", "I mentored [6].", 1);
    check("I mentored [99;6-7, 2].", "I mentored [6-7].", 2);
    check("I mentored [6-9] or [7-6] or [1-900].", "I mentored or or.", 3);
    check("I flew  [99][98], and [99", "I flew, and [99", 2);
    check("I flew [4294967296]", "I flew", 1);
    check("I flew [11 [99]] so", "I flew [11  so", 1);
    // In the CV, and plainly another line.
    check(
        "I cut checkout latency from 900 ms to 140 ms [10].",
        "I cut checkout latency from 900 ms to 140 ms.",
        1,
    );
    check("I built a rate limiter [5, 8]. Yes", "I built a rate limiter [8]. Yes", 1);
    check("I built a rate limiter in Redis. [6]", "I built a rate limiter in Redis.", 1);
    // The first half of the sentence is another's; the second has no better line.
    stays("I built the rate limiter in Redis [8] and made all quicker [5].");
}

#[test]
fn only_what_may_be_a_citation_waits() {
    let mut citations = Citations::new(index());
    let steps = [
        ("I led", "I led"),
        (" ", ""),
        ("it", " it"),
        (" [", ""),
        ("4", ""),
        ("] a", " [4] a"),
        ("[b", "[b"),
    ];
    for (piece, expected) in steps {
        assert_eq!(citations.push(piece), expected, "after {piece:?}");
    }
    let digits = format!("[{}", "1".repeat(MAX_INSIDE + 1));
    assert_eq!(citations.push(&digits), digits, "too long for a citation");
    assert_eq!((citations.push(" [12"), citations.finish()), (String::new(), " [12".to_owned()));
}

#[test]
fn memory_is_bounded() {
    let mut citations = Citations::new(index());
    for _ in 0..10_000 {
        citations.push("no end é [5] ");
        citations.push("                                    ");
    }
    assert!(citations.said.len() <= 2 * MAX_SAID + 4 && citations.held.spaces.len() <= MAX_INSIDE);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_cut_shows_the_same(
        words in prop::collection::vec(
            prop_oneof![
                Just(" "), Just("["), Just("]"), Just("[5]"), Just(" [99]"), Just("[6-7, 99]"), Just("\n"), Just(". "),
                Just("1"), Just(","), Just("–"), Just("latency "), Just("rate limiter"), Just("é"), Just("漢。"),
            ],
            0..40,
        ),
        sizes in prop::collection::vec(1usize..9, 1..20),
    ) {
        let index = index();
        let text = words.concat();
        let mut pieces = Vec::new();
        let mut rest = text.as_str();
        for size in sizes.iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let (piece, after) = rest.split_at(rest.ceil_char_boundary(*size));
            pieces.push(piece);
            rest = after;
        }
        let whole = shown(&index, [text.as_str()]);
        prop_assert_eq!(shown(&index, pieces), whole.clone());
        // Nothing but citations and spaces goes, and all that is left exists.
        let plain = |text: &str| text.replace(|c: char| " \t0123456789,-–[]".contains(c), "");
        prop_assert_eq!(plain(&whole.0), plain(&text));
        for line in found(&whole.0).flat_map(|(_, lines)| lines) {
            prop_assert!(CV.iter().any(|(number, _)| *number == line));
        }
        if whole.1 == 0 {
            prop_assert_eq!(whole.0, text);
        }
    }
}
