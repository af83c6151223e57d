//! Logs to standard error, as text or JSON. Never transcripts, answers, CV text or tokens.

use tracing_subscriber::{EnvFilter, fmt};

use crate::{Error, settings::Log};

/// Starts logging for the life of the process, at `default` unless the settings name a level.
pub(crate) fn start(log: &Log, default: &str) -> Result<(), Error> {
    let level = log.level.as_deref().unwrap_or(default);
    // The last directives keep answers and bearer tokens out of the log, whatever the settings say.
    let directives = format!("{level},tungstenite=warn,{}", models::chat::LOG_DIRECTIVE);
    let filter =
        EnvFilter::try_new(directives).map_err(|error| format!("log.level is {level:?}: {error}"))?;
    let builder = fmt().with_env_filter(filter).with_writer(std::io::stderr);
    if log.json {
        builder.json().init();
    } else {
        builder.init();
    }
    Ok(())
}
