//! What can be read off an answer's text: its points, and the CV lines it cites.
//!
//! Not here: whether a citation is right (`citations`).

use models::chat::SourceLine;
use protocol::Source;

use super::{
    citations,
    sentences::{is_whole, sentences},
};

/// The points of an answer, in its own words without citations: its bullet lines; or else the first sentence of each paragraph;
/// of a single paragraph its first sentence and each that cites the CV. A sentence that is broken off is no point.
pub(super) fn key_points(content: &str) -> Vec<String> {
    let mut points: Vec<&str> = content.lines().filter_map(|line| bullet(line.trim())).collect();
    if points.is_empty() {
        let paragraphs: Vec<&str> = content.split("\n\n").filter(|text| !text.trim().is_empty()).collect();
        points = match paragraphs[..] {
            [only] => sentences(only)
                .enumerate()
                .filter(|(index, sentence)| *index == 0 || citations::found(sentence).next().is_some())
                .map(|(_, sentence)| sentence)
                .collect(),
            _ => paragraphs.iter().filter_map(|paragraph| sentences(paragraph).next()).collect(),
        };
        points.retain(|point| is_whole(point));
    }
    points.into_iter().map(without_citations).filter(|point| !point.is_empty()).take(MAX_POINTS).collect()
}

/// The lines of `cv` that `content` cites as `[n]`, `[n, m]` or `[n-m]`, in order of first mention.
pub(super) fn sources(content: &str, cv: &[SourceLine]) -> Vec<Source> {
    let mut sources: Vec<Source> = Vec::new();
    for number in citations::found(content).flat_map(|(_, lines)| lines) {
        let known = sources.iter().any(|source| source.cv_line == number);
        if let Some(line) = cv.iter().find(|line| line.number == number && !known) {
            sources.push(Source { cv_line: number, text: line.text.clone() });
        }
    }
    sources
}

fn bullet(line: &str) -> Option<&str> {
    let rest = line.strip_prefix(['•', '-', '*'])?;
    rest.starts_with(' ').then(|| rest.trim())
}

/// `text` without its citations and the spaces before them.
fn without_citations(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut from = 0;
    for (range, _) in citations::found(text) {
        plain.push_str(text[from..range.start].trim_end_matches(' '));
        from = range.end;
    }
    plain.push_str(&text[from..]);
    plain.trim().to_owned()
}

const MAX_POINTS: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points() {
        let check = |content: &str, expected: &[&str]| {
            let points = key_points(content);
            assert_eq!(points, expected, "{content:?}");
            let plain = without_citations(content);
            for point in points {
                assert!(plain.contains(&point), "{point:?} is not in {plain:?}");
            }
        };
        check("", &[]);
        check(
            "Two points:\n• Cut p99 to 80 ms [12]\n• Led five people [3, 4].",
            &["Cut p99 to 80 ms", "Led five people."],
        );
        check("- one\n-two", &["one"]);
        check(
            "I cut latency by 3.5 times [7]. Then we grew.\n\nI also led. [3-5]\nAnd so on.\n\nIt was",
            &["I cut latency by 3.5 times.", "I also led."],
        );
        check(
            "Yes, often. I cut latency [7]. We were glad. I led [3, 5] a team. [4] We gr",
            &["Yes, often.", "I cut latency.", "I led a team."],
        );
        check("I was cut off in", &[]);
        check("我降低了延迟[7]。我们成长了。", &["我降低了延迟。"]);
    }

    #[test]
    fn cited_lines() {
        let cv: Vec<_> = [(3, "c"), (4, "d"), (7, "g")]
            .map(|(number, text)| SourceLine { number, text: text.into() })
            .into();
        let check = |content: &str, expected: &[u32]| {
            let numbers: Vec<u32> = sources(content, &cv).iter().map(|source| source.cv_line).collect();
            assert_eq!(numbers, expected, "{content:?}");
        };
        check("Built it [7] and ran it [3, 7].", &[7, 3]);
        check("Both [7, 3-5].", &[7, 3, 4]);
        check("Invented [99], [x], [, ] and [", &[]);
        check("none", &[]);
    }
}
