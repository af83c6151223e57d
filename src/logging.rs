//! Logs as text or JSON: a server to standard output, a tool, whose output is something else, to standard error. Never transcripts, answers, CV text or tokens.

use std::io::IsTerminal as _;

use tracing_subscriber::{EnvFilter, fmt, fmt::writer::BoxMakeWriter};

use crate::{Error, settings::Log};

/// Starts logging for the life of the process, at `default` unless the settings name a level.
pub(crate) fn start(log: &Log, default: &str, serves: bool) -> Result<(), Error> {
    let level = log.level.as_deref().unwrap_or(default);
    // The last directives keep answers and bearer tokens out of the log, whatever the settings say.
    let directives = format!("{level},tungstenite=warn,{}", models::chat::LOG_DIRECTIVE);
    let filter =
        EnvFilter::try_new(directives).map_err(|error| format!("log.level is {level:?}: {error}"))?;
    let writer =
        if serves { BoxMakeWriter::new(std::io::stdout) } else { BoxMakeWriter::new(std::io::stderr) };
    let on_terminal = if serves { std::io::stdout().is_terminal() } else { std::io::stderr().is_terminal() };
    let builder = fmt().with_env_filter(filter).with_ansi(on_terminal).with_writer(writer);
    if log.json {
        builder.json().init();
    } else {
        builder.init();
    }
    Ok(())
}
