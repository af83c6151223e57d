//! What can be read off an answer's text: its points, and the CV lines it cites.

use models::chat::SourceLine;
use protocol::Source;

/// The points of an answer: its bullet lines, or else the first sentence of each paragraph. Citations are left out.
pub(super) fn key_points(content: &str) -> Vec<String> {
    let bullets: Vec<String> =
        content.lines().filter_map(|line| bullet(line.trim())).map(without_citations).collect();
    let points = if bullets.is_empty() {
        content.split("\n\n").filter_map(first_sentence).map(without_citations).collect()
    } else {
        bullets
    };
    points.into_iter().filter(|point| !point.is_empty()).take(MAX_POINTS).collect()
}

/// The lines of `cv` that `content` cites as `[n]` or `[n, m]`, in order of first mention.
pub(super) fn sources(content: &str, cv: &[SourceLine]) -> Vec<Source> {
    let mut sources: Vec<Source> = Vec::new();
    for number in citations(content).flat_map(|(_, numbers)| numbers) {
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

fn first_sentence(paragraph: &str) -> Option<&str> {
    let paragraph = paragraph.trim();
    let end = paragraph.match_indices(['.', '!', '?']).map(|(at, mark)| at + mark.len()).find(|end| {
        // "3.5" and "e.g. this" do not end a sentence; a capital after a space begins one.
        let mut rest = paragraph[*end..].trim_start_matches(['[', ']', ' ', ',']).chars();
        paragraph[*end..].starts_with([' ', '\n']) && rest.next().is_none_or(|c| !c.is_lowercase())
    });
    let sentence = &paragraph[..end.unwrap_or(paragraph.len())];
    (!sentence.is_empty()).then_some(sentence)
}

/// Each `[n, m]` of `text`: its byte range and its numbers.
fn citations(text: &str) -> impl Iterator<Item = (std::ops::Range<usize>, Vec<u32>)> {
    text.match_indices('[').filter_map(|(open, _)| {
        let close = open + text[open..].find(']')?;
        let numbers: Option<Vec<u32>> =
            text[open + 1..close].split(',').map(|number| number.trim().parse().ok()).collect();
        Some((open..close + 1, numbers?))
    })
}

fn without_citations(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut from = 0;
    for (range, _) in citations(text) {
        plain.push_str(text[from..range.start].trim_end());
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
        let check =
            |content: &str, expected: &[&str]| assert_eq!(key_points(content), expected, "{content:?}");
        check("", &[]);
        check(
            "Two points:\n• Cut p99 to 80 ms [12]\n• Led five people [3, 4].",
            &["Cut p99 to 80 ms", "Led five people."],
        );
        check(
            "I cut latency by 3.5 times [7]. Then we grew.\n\nI also led.",
            &["I cut latency by 3.5 times.", "I also led."],
        );
        check("- one\n-two", &["one"]);
    }

    #[test]
    fn cited_lines() {
        let cv: Vec<_> =
            [(3, "c"), (7, "g")].map(|(number, text)| SourceLine { number, text: text.into() }).into();
        let check = |content: &str, expected: &[u32]| {
            let numbers: Vec<u32> = sources(content, &cv).iter().map(|source| source.cv_line).collect();
            assert_eq!(numbers, expected, "{content:?}");
        };
        check("Built it [7] and ran it [3, 7].", &[7, 3]);
        check("Invented [99], [x], [, ] and [", &[]);
        check("none", &[]);
    }
}
