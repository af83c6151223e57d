//! What a person at a terminal sees of a session: interim text overwritten in place, finals, tokens as they stream.
//!
//! Where standard output is no terminal nothing is overwritten: interim text is left out.

use std::{
    collections::HashSet,
    io::{self, Write},
};

use console::{Term, style, truncate_str};
use protocol::{ServerMessage, Timings};

/// Shows the events of one session.
pub(crate) struct Screen {
    term: Term,
    /// Interim text stands on the current line.
    interim: bool,
    /// The answer being written on screen; deltas of others wait for their `answer`.
    answer: Option<u64>,
    shown: HashSet<u64>,
}

impl Screen {
    pub(crate) fn new() -> Self {
        Self { term: Term::stdout(), interim: false, answer: None, shown: HashSet::new() }
    }

    /// Shows one event.
    ///
    /// # Errors
    /// Standard output is gone.
    pub(crate) fn show(&mut self, message: &ServerMessage) -> io::Result<()> {
        match message {
            ServerMessage::Transcription(words) if words.is_final => {
                let span = format!("{}–{}", clock(words.start_ms), clock(words.end_ms));
                self.line(&format!("{} {}", style(span).dim(), style(&words.text).bold()))
            }
            ServerMessage::Transcription(words) => self.interim(&words.text),
            ServerMessage::AnswerStarted { answer_id, .. } if self.answer.is_none() => {
                self.answer = Some(*answer_id);
                self.clear()?;
                writeln!(self.term)
            }
            ServerMessage::AnswerDelta { answer_id, text, .. } if self.answer == Some(*answer_id) => {
                self.shown.insert(*answer_id);
                write!(self.term, "{}", style(text).cyan())?;
                self.term.flush()
            }
            ServerMessage::Answer(answer) => {
                if self.answer == Some(answer.answer_id) {
                    self.answer = None;
                    write!(self.term, "\n\n")?;
                }
                if !self.shown.contains(&answer.answer_id) {
                    self.line(&style(&answer.content).cyan().to_string())?;
                }
                if !answer.sources.is_empty() {
                    let lines: Vec<_> =
                        answer.sources.iter().map(|source| source.cv_line.to_string()).collect();
                    self.line(&format!("built on CV lines {}", lines.join(", ")))?;
                }
                self.receipt(&answer.model, answer.timings)
            }
            ServerMessage::AnswerCancelled { answer_id, reason } => {
                if self.answer == Some(*answer_id) {
                    self.answer = None;
                    writeln!(self.term)?;
                }
                self.line(&format!("answer {answer_id} cancelled: {reason:?}"))
            }
            ServerMessage::Warning { message, .. } => {
                self.line(&format!("{} {message}", style("warning:").yellow()))
            }
            ServerMessage::Error { message, .. } => {
                self.line(&format!("{} {message}", style("error:").red()))
            }
            _ => Ok(()),
        }
    }

    fn interim(&mut self, text: &str) -> io::Result<()> {
        if !self.term.is_term() || self.answer.is_some() {
            return Ok(());
        }
        let width = usize::from(self.term.size().1).saturating_sub(2);
        // The newest words matter: a long text loses its beginning.
        let chars = text.chars().count();
        let newest: String = text.chars().skip(chars.saturating_sub(width)).collect();
        self.term.clear_line()?;
        write!(self.term, "{}", style(truncate_str(&newest, width, "")).dim())?;
        self.interim = true;
        self.term.flush()
    }

    fn clear(&mut self) -> io::Result<()> {
        if std::mem::take(&mut self.interim) { self.term.clear_line() } else { Ok(()) }
    }

    fn line(&mut self, text: &str) -> io::Result<()> {
        self.clear()?;
        if self.answer.is_some() {
            writeln!(self.term)?;
        }
        self.term.write_line(text)
    }

    /// Where the time went, stage by stage.
    fn receipt(&mut self, model: &str, timings: Timings) -> io::Result<()> {
        let Timings { endpoint, transcript, request, first_token, last_token, total_to_first_token } =
            timings;
        let rows = [
            ("end of speech → turn decided", endpoint),
            ("→ final text", transcript),
            ("→ model asked", request),
            ("→ first text of the answer", first_token),
            ("end of speech → first text", total_to_first_token),
            ("first text → last text", last_token),
        ];
        self.line(&style(format!("latency receipt, answer by {model}")).dim().to_string())?;
        for (name, ms) in rows {
            self.line(&style(format!("  {name:<30} {ms:>6} ms")).dim().to_string())?;
        }
        self.line("")
    }
}

/// `m:ss.s` of a time in milliseconds.
pub(crate) fn clock(ms: u64) -> String {
    format!("{}:{:02}.{}", ms / 60_000, ms / 1_000 % 60, ms / 100 % 10)
}
