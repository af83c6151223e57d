//! A session to read: plain text and Markdown.
//!
//! What was said stays text: Markdown shows it as it was, without links, pictures or HTML. Not here: subtitles.

use super::{ExportBody, KeptAnswer, clock, speaker};

/// Plain text.
pub(super) fn plain(export: &ExportBody) -> String {
    let mut text = format!("{}\n{}\n\n", title(export), about(export));
    for turn in &export.turns {
        let (time, _) = clock(turn.start_ms);
        text.push_str(&format!("[{time}] {}: {}\n", speaker(&turn.role), one_line(&turn.text)));
        turn.answers.iter().for_each(|answer| plain_answer(&mut text, answer));
    }
    export.other_answers.iter().for_each(|answer| plain_answer(&mut text, answer));
    text
}

fn plain_answer(text: &mut String, answer: &KeptAnswer) {
    text.push_str(&format!(
        "\n    Answer ({}) to: {}\n",
        one_line(&answer.variant),
        one_line(&answer.question)
    ));
    for line in lines(&answer.content) {
        text.push_str(&format!("    {line}\n"));
    }
    for source in &answer.sources {
        text.push_str(&format!("    CV line {}: {}\n", source.cv_line, one_line(&source.text)));
    }
    text.push('\n');
}

/// Markdown: CommonMark, and harmless in GitHub's, too.
pub(super) fn markdown(export: &ExportBody) -> String {
    let mut text = format!("# {}\n\n{}\n\n", escaped(&title(export)), escaped(&about(export)));
    for turn in &export.turns {
        let (time, _) = clock(turn.start_ms);
        text.push_str(&format!("**{}** ({time}): {}\n\n", speaker(&turn.role), escaped(&turn.text)));
        turn.answers.iter().for_each(|answer| markdown_answer(&mut text, answer));
    }
    export.other_answers.iter().for_each(|answer| markdown_answer(&mut text, answer));
    text
}

fn markdown_answer(text: &mut String, answer: &KeptAnswer) {
    text.push_str(&format!(
        "> **Answer** ({}) to: {}\n",
        escaped(&answer.variant),
        escaped(&answer.question)
    ));
    let mut paragraph = lines(&answer.content).map(escaped).collect::<Vec<_>>();
    paragraph.extend(
        answer.sources.iter().map(|source| format!("CV line {}: {}", source.cv_line, escaped(&source.text))),
    );
    // A backslash at a line's end keeps the break.
    text.push_str(&format!(">\n> {}\n\n", paragraph.join("\\\n> ")));
}

fn title(export: &ExportBody) -> String {
    match &export.session.interview_title {
        Some(title) => one_line(title),
        None => "Interview".to_owned(),
    }
}

fn about(export: &ExportBody) -> String {
    let (length, _) = clock(export.session.audio_ms);
    format!("{}, {length} of audio", export.session.started_at)
}

/// The lines of `text` that hold something.
fn lines(text: &str) -> impl Iterator<Item = &str> {
    text.split(is_break).map(str::trim).filter(|line| !line.is_empty())
}

fn is_break(it: char) -> bool {
    matches!(it, '\n' | '\r' | '\u{b}' | '\u{c}' | '\u{85}' | '\u{2028}' | '\u{2029}')
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// One line of Markdown that shows `text` as it is. CommonMark (2.4) lets every ASCII punctuation be escaped; what can mean nothing
/// where it stands is not, to stay readable.
fn escaped(text: &str) -> String {
    let line = one_line(text);
    let mut escaped = String::with_capacity(line.len());
    let (mut before, mut rest) = (None, line.chars().peekable());
    while let Some(it) = rest.next() {
        let after_digit = before.is_some_and(|it: char| it.is_ascii_digit());
        let in_word = rest.peek().is_some_and(|it| !it.is_whitespace());
        let harmless = match it {
            ',' | ';' | '?' | '!' | '\'' | '"' | '/' | '%' | '(' => true,
            // Lists and underlined headings begin a line.
            '-' | '+' | '=' => before.is_some(),
            ')' => !after_digit,
            // Numbered lists, and the addresses of which GitHub makes links.
            '.' => !after_digit && !in_word,
            ':' => !in_word,
            _ => false,
        };
        if it.is_ascii_punctuation() && !harmless {
            escaped.push('\\');
        }
        escaped.push(it);
        before = Some(it);
    }
    escaped
}
