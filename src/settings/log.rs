//! `[log]`: what is logged. Not here: the subscriber (`logging`).

use tracing_subscriber::EnvFilter;

use super::Reader;

/// What is logged, to standard error.
#[derive(Debug)]
pub(crate) struct Log {
    /// As `RUST_LOG` understands it; each command has a default of its own.
    pub(crate) level: Option<String>,
    /// One JSON object a line instead of text.
    pub(crate) json: bool,
}

impl Reader {
    pub(super) fn log(&mut self) -> Log {
        let level = self.optional::<String>("log.level");
        if let Some(Err(error)) = level.as_ref().map(EnvFilter::try_new) {
            self.problem(format!("log.level: {error}; use error, warn, info, debug or trace"));
        }
        Log { level, json: self.get("log.json", false) }
    }
}
