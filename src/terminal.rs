//! What a person at a terminal sees of a session: interim text overwritten in place, finals, answers as they stream.
//!
//! One answer streams at a time; those that run beside it wait, with what has come of them. Where standard output is no terminal
//! nothing is overwritten: interim text is left out.

use std::{
    collections::VecDeque,
    io::{self, Write},
};

use console::{Term, measure_text_width, style};
use protocol::{Answer, CancelReason, ServerMessage, Timings, Variant};

/// Shows the events of one session.
pub(crate) struct Screen<W = Term> {
    out: W,
    /// Columns of the terminal, if it is one.
    width: Option<usize>,
    /// Interim text stands on the current line.
    interim: bool,
    /// Answers that have begun and are not all shown, the one on screen first.
    answers: VecDeque<Running>,
    /// The question whose words stand right above.
    asked: Option<String>,
}

/// An answer that is being written.
struct Running {
    id: u64,
    question: String,
    variant: Variant,
    /// Its text that is not shown yet.
    text: String,
    /// Its heading is on screen.
    begun: bool,
    end: Option<End>,
}

enum End {
    Whole(Box<Answer>),
    Cancelled(CancelReason),
}

impl Screen {
    pub(crate) fn new() -> Self {
        let term = Term::stdout();
        let width = term.is_term().then(|| usize::from(term.size().1));
        Self::on(term, width)
    }
}

impl<W: Write> Screen<W> {
    fn on(out: W, width: Option<usize>) -> Self {
        Self { out, width, interim: false, answers: VecDeque::new(), asked: None }
    }

    /// Shows one event.
    ///
    /// # Errors
    /// Standard output is gone.
    pub(crate) fn show(&mut self, message: &ServerMessage) -> io::Result<()> {
        match message {
            ServerMessage::Transcription(words) if words.is_final => {
                let span = format!("{}–{}", clock(words.start_ms), clock(words.end_ms));
                let text = printable(&words.text);
                self.line(&format!("{} {}", style(span).dim(), style(&text).bold()))?;
                self.asked = Some(text);
                Ok(())
            }
            ServerMessage::Transcription(words) => self.interim(&printable(&words.text)),
            ServerMessage::AnswerStarted { answer_id, question, variant, .. } => {
                self.answers.push_back(Running {
                    id: *answer_id,
                    question: printable(question),
                    variant: *variant,
                    text: String::new(),
                    begun: false,
                    end: None,
                });
                Ok(())
            }
            ServerMessage::AnswerDelta { answer_id, text, .. } => {
                if let Some(running) = self.answers.iter_mut().find(|running| running.id == *answer_id) {
                    running.text.push_str(&printable(text));
                }
                self.catch_up()
            }
            ServerMessage::Answer(answer) => self.end(answer.answer_id, End::Whole(answer.clone())),
            ServerMessage::AnswerCancelled { answer_id, reason } => {
                if self.answers.iter().any(|running| running.id == *answer_id) {
                    return self.end(*answer_id, End::Cancelled(*reason));
                }
                self.line(&style(format!("answer {answer_id} {}", cancelled(*reason))).dim().to_string())
            }
            ServerMessage::Warning { message, .. } => {
                self.line(&format!("{} {}", style("warning:").yellow(), printable(message)))
            }
            ServerMessage::Error { message, .. } => {
                self.line(&format!("{} {}", style("error:").red(), printable(message)))
            }
            _ => Ok(()),
        }
    }

    fn end(&mut self, id: u64, end: End) -> io::Result<()> {
        if let Some(running) = self.answers.iter_mut().find(|running| running.id == id) {
            running.end = Some(end);
        }
        self.catch_up()
    }

    /// Shows what has come of the first answer, and, once it is over, of the next.
    fn catch_up(&mut self) -> io::Result<()> {
        while let Some(running) = self.answers.front_mut() {
            let (text, end) = (std::mem::take(&mut running.text), running.end.take());
            if !text.is_empty() {
                if !std::mem::replace(&mut running.begun, true) {
                    let heading = format!("{} ({:?})", running.question, running.variant);
                    // The words of the question that is answered stand above already, as a rule.
                    let known = self.asked.take().is_some_and(|asked| asked == running.question);
                    self.clear()?;
                    writeln!(self.out)?;
                    if !known {
                        writeln!(self.out, "{}", style(heading).dim())?;
                    }
                }
                write!(self.out, "{}", style(text).cyan())?;
                self.out.flush()?;
            }
            let Some(end) = end else { return Ok(()) };
            let begun = self.answers.pop_front().is_some_and(|running| running.begun);
            if begun {
                write!(self.out, "\n\n")?;
            }
            match end {
                End::Whole(answer) => self.receipt(&answer)?,
                End::Cancelled(reason) => {
                    self.line(&style(format!("answer {}", cancelled(reason))).dim().to_string())?;
                }
            }
        }
        Ok(())
    }

    fn is_mid_answer(&self) -> bool {
        self.answers.front().is_some_and(|running| running.begun)
    }

    fn interim(&mut self, text: &str) -> io::Result<()> {
        let Some(width) = self.width.filter(|_| !self.is_mid_answer()) else { return Ok(()) };
        // The newest words matter: a long text loses its beginning.
        let mut newest = text;
        while measure_text_width(newest) > width.saturating_sub(2) {
            newest = &newest[newest.chars().next().map_or(0, char::len_utf8)..];
        }
        self.clear()?;
        write!(self.out, "{}", style(newest).dim())?;
        self.interim = true;
        self.out.flush()
    }

    fn clear(&mut self) -> io::Result<()> {
        if std::mem::take(&mut self.interim) { write!(self.out, "\r\x1b[2K") } else { Ok(()) }
    }

    fn line(&mut self, text: &str) -> io::Result<()> {
        self.clear()?;
        self.asked = None;
        if self.is_mid_answer() {
            writeln!(self.out)?;
        }
        writeln!(self.out, "{text}")
    }

    /// What the answer rests on, and where the time went, stage by stage.
    fn receipt(&mut self, answer: &Answer) -> io::Result<()> {
        if !answer.sources.is_empty() {
            let lines: Vec<_> = answer.sources.iter().map(|source| source.cv_line.to_string()).collect();
            self.line(&format!("built on CV lines {}", lines.join(", ")))?;
        }
        // Local servers name a file.
        let model = answer.model.rsplit('/').next().unwrap_or_default();
        let mut about = format!("latency receipt, answer by {}", printable(model));
        if answer.cached {
            about.push_str(", remembered");
        }
        if let Some(confidence) = answer.confidence {
            about.push_str(&format!(", confidence {confidence:.2}"));
        }
        if answer.finish_reason != "stop" {
            let why =
                if answer.finish_reason == "length" { "cut at its longest" } else { &answer.finish_reason };
            about.push_str(&format!(", {}", printable(why)));
        }
        self.line(&style(about).dim().to_string())?;
        let Timings { endpoint, transcript, request, first_token, last_token, total_to_first_token } =
            answer.timings;
        let rows = [
            ("end of speech → turn decided", endpoint),
            ("→ final text", transcript),
            ("→ model asked", request),
            ("→ first text of the answer", first_token),
            ("end of speech → first text", total_to_first_token),
            ("first text → last text", last_token),
        ];
        for (name, ms) in rows {
            self.line(&style(format!("  {name:<30} {ms:>6} ms")).dim().to_string())?;
        }
        self.line("")
    }
}

fn cancelled(reason: CancelReason) -> &'static str {
    match reason {
        CancelReason::Client => "cancelled",
        CancelReason::Superseded => "withdrawn: another takes its place",
        CancelReason::Shutdown => "not finished: the session ends",
        CancelReason::ProviderError => "not finished",
    }
}

/// `text` without what would steer the terminal.
pub(crate) fn printable(text: &str) -> String {
    text.chars().filter(|c| !c.is_control() || *c == '\n').collect()
}

/// `m:ss.s` of a time in milliseconds.
pub(crate) fn clock(ms: u64) -> String {
    format!("{}:{:02}.{}", ms / 60_000, ms / 1_000 % 60, ms / 100 % 10)
}

#[cfg(test)]
mod tests {
    use protocol::{Role, Transcription};

    use super::*;

    fn words(text: &str, is_final: bool) -> ServerMessage {
        ServerMessage::Transcription(Transcription {
            turn: 1,
            channel: 0,
            role: Role::Mixed,
            text: text.to_owned(),
            is_final,
            start_ms: 0,
            end_ms: 1_000,
            confidence: 1.0,
            language: "en".to_owned(),
            stable_chars: None,
            words: None,
        })
    }

    fn started(answer_id: u64, question: &str) -> ServerMessage {
        let question = question.to_owned();
        ServerMessage::AnswerStarted { answer_id, turn: 1, variant: Variant::Balanced, question }
    }

    fn delta(answer_id: u64, text: &str) -> ServerMessage {
        ServerMessage::AnswerDelta { answer_id, index: 0, text: text.to_owned() }
    }

    fn whole(answer_id: u64, finish_reason: &str) -> ServerMessage {
        ServerMessage::Answer(Box::new(Answer {
            answer_id,
            turn: 1,
            variant: Variant::Balanced,
            content: String::new(),
            key_points: Vec::new(),
            confidence: None,
            finish_reason: finish_reason.to_owned(),
            model: "/models/tiny.gguf".to_owned(),
            cached: false,
            sources: Vec::new(),
            timings: Timings::default(),
        }))
    }

    /// What stands on a screen of 20 columns, or in a file; the rows of receipts left out.
    fn shown(width: Option<usize>, events: &[ServerMessage]) -> Vec<String> {
        let mut screen = Screen::on(Vec::new(), width);
        events.iter().for_each(|event| screen.show(event).unwrap());
        let text = String::from_utf8(screen.out).unwrap();
        let lines = text.lines().map(|line| console::strip_ansi_codes(line).into_owned());
        lines.filter(|line| !line.contains(" ms")).collect()
    }

    #[test]
    fn an_answer_streams_under_its_question() {
        let events =
            [words("Why?", true), started(1, "Why?"), delta(1, "Be"), delta(1, "cause."), whole(1, "stop")];
        assert_eq!(
            shown(None, &events),
            ["0:00.0–0:01.0 Why?", "", "Because.", "", "latency receipt, answer by tiny.gguf", ""]
        );
    }

    #[test]
    fn a_second_answer_streams_once_the_first_is_over_and_says_what_it_answers() {
        let events = [
            words("Why?", true),
            started(1, "Why?"),
            delta(1, "One"),
            words("How?", true),
            started(2, "How?"),
            delta(2, "Two"),
            delta(1, " more"),
            whole(1, "length"),
            delta(2, " more"),
        ];
        assert_eq!(
            shown(None, &events),
            [
                "0:00.0–0:01.0 Why?",
                "",
                "One",
                "0:00.0–0:01.0 How?",
                " more",
                "",
                "latency receipt, answer by tiny.gguf, cut at its longest",
                "",
                "",
                "How? (Balanced)",
                "Two more",
            ]
        );
    }

    #[test]
    fn interim_text_is_overwritten_until_an_answer_is_on_screen() {
        let events = [words("Why do you", false), words("Why do you like Rust so much", false)];
        let mut screen = Screen::on(Vec::new(), Some(20));
        events.iter().for_each(|event| screen.show(event).unwrap());
        screen.show(&started(1, "Why?")).unwrap();
        screen.show(&words("and", false)).unwrap();
        screen.show(&delta(1, "Yes")).unwrap();
        screen.show(&words("never", false)).unwrap();
        let text = String::from_utf8(screen.out).unwrap();
        let text = console::strip_ansi_codes(&text).into_owned();
        assert!(text.contains("\r like Rust so much\r"), "{text:?}");
        assert!(text.contains("and") && !text.contains("never"), "{text:?}");
        assert_eq!(shown(None, &events), [""; 0]);
    }

    #[test]
    fn what_is_shown_cannot_steer_the_terminal() {
        let events = [words("a\x1b[2Jb\r", true), started(1, "?"), delta(1, "\x07c\n\u{9b}31md")];
        assert_eq!(shown(None, &events)[0], "0:00.0–0:01.0 a[2Jb");
        let mut screen = Screen::on(Vec::new(), None);
        screen.show(&events[0]).unwrap();
        assert!(!screen.out.contains(&7) && !screen.out.windows(3).any(|bytes| bytes == b"\x1b[2"));
    }

    #[test]
    fn a_withdrawn_answer_says_so() {
        let superseded =
            |answer_id| ServerMessage::AnswerCancelled { answer_id, reason: CancelReason::Superseded };
        let events = [started(1, "Why?"), delta(1, "One"), superseded(1), superseded(7)];
        let shown = shown(None, &events);
        assert_eq!(
            shown[3..],
            ["", "answer withdrawn: another takes its place", "answer 7 withdrawn: another takes its place"]
        );
    }
}
