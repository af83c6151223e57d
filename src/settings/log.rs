//! `[log]`: what is logged. Not here: the subscriber (`logging`).

use tracing_subscriber::EnvFilter;

use super::Reader;

/// What is logged.
#[derive(Debug)]
pub(crate) struct Log {
    /// As `RUST_LOG` understands it; each command has a default of its own.
    pub(crate) level: Option<String>,
    /// One JSON object a line instead of text.
    pub(crate) json: bool,
    /// Where an OpenTelemetry collector takes traces over HTTP.
    #[cfg_attr(not(feature = "otlp"), expect(dead_code, reason = "refused without the feature"))]
    pub(crate) otlp_endpoint: Option<String>,
}

impl Reader {
    pub(super) fn log(&mut self) -> Log {
        let level = self.optional::<String>("log.level");
        if let Some(Err(error)) = level.as_ref().map(EnvFilter::try_new) {
            self.problem(format!("log.level: {error}; use error, warn, info, debug or trace"));
        }
        let otlp_endpoint = self.optional::<String>("log.otlp_endpoint");
        if otlp_endpoint.is_some() && cfg!(not(feature = "otlp")) {
            self.problem(
                "log.otlp_endpoint: this program was built without it; build it with --features otlp",
            );
        }
        Log { level, json: self.get("log.json", false), otlp_endpoint }
    }
}
