//! Logs as text or JSON: a server to standard output, a tool, whose output is something else, to standard error. With the feature
//! `otlp`, spans go to a collector too. Never transcripts, answers, CV text or tokens.

use std::io::IsTerminal as _;

use tracing::{Level, Metadata};
use tracing_subscriber::{
    EnvFilter, Layer as _, filter::filter_fn, fmt, fmt::writer::BoxMakeWriter, layer::SubscriberExt as _,
    util::SubscriberInitExt as _,
};

use crate::{Error, settings::Log};

/// What is under way with the log; dropped at the end of the process, it sends the last spans.
#[derive(Default)]
pub(crate) struct Logging {
    #[cfg(feature = "otlp")]
    spans: Option<opentelemetry_sdk::trace::SdkTracerProvider>,
}

/// Starts logging for the life of the process, at `default` unless the settings name a level. In a tokio runtime.
pub(crate) fn start(log: &Log, default: &str, serves: bool) -> Result<Logging, Error> {
    let level = log.level.as_deref().unwrap_or(default);
    // The last directives keep answers and bearer tokens out of the log, whatever the settings say.
    let directives = format!("{level},tungstenite=warn,{}", models::chat::LOG_DIRECTIVE);
    let filter =
        EnvFilter::try_new(directives).map_err(|error| format!("log.level is {level:?}: {error}"))?;
    let writer =
        if serves { BoxMakeWriter::new(std::io::stdout) } else { BoxMakeWriter::new(std::io::stderr) };
    let on_terminal = if serves { std::io::stdout().is_terminal() } else { std::io::stderr().is_terminal() };
    let lines = fmt::layer().with_ansi(on_terminal).with_writer(writer);
    let lines = if log.json { lines.json().boxed() } else { lines.boxed() };
    let registry = tracing_subscriber::registry().with(filter).with(filter_fn(is_public)).with(lines);
    #[cfg(feature = "otlp")]
    if let Some(endpoint) = &log.otlp_endpoint {
        let provider = otlp::provider(endpoint)?;
        registry.with(otlp::layer(&provider)).init();
        return Ok(Logging { spans: Some(provider) });
    }
    registry.init();
    Ok(Logging::default())
}

/// All but what shows the CONNECT request of a WebTransport, in which a ticket is.
fn is_public(metadata: &Metadata<'_>) -> bool {
    !metadata.target().starts_with("web_transport") || *metadata.level() <= Level::INFO
}

#[cfg(feature = "otlp")]
impl Drop for Logging {
    fn drop(&mut self) {
        if let Some(spans) = self.spans.take()
            && let Err(error) = spans.shutdown()
        {
            eprintln!("the last spans were not sent: {error}");
        }
    }
}

/// Spans over OTLP, as protobuf in HTTP.
#[cfg(feature = "otlp")]
mod otlp {
    use opentelemetry::trace::TracerProvider as _;
    use opentelemetry_otlp::{SpanExporter, WithExportConfig as _};
    use opentelemetry_sdk::{Resource, trace::SdkTracerProvider};
    use tracing::Subscriber;
    use tracing_subscriber::{Layer, registry::LookupSpan};

    use crate::Error;

    pub(super) fn provider(endpoint: &str) -> Result<SdkTracerProvider, Error> {
        let exporter = SpanExporter::builder().with_http().with_endpoint(endpoint).build()?;
        let resource = Resource::builder().with_service_name(env!("CARGO_PKG_NAME")).build();
        Ok(SdkTracerProvider::builder().with_resource(resource).with_batch_exporter(exporter).build())
    }

    pub(super) fn layer<S>(provider: &SdkTracerProvider) -> impl Layer<S> + use<S>
    where
        S: Subscriber + for<'span> LookupSpan<'span>,
    {
        tracing_opentelemetry::layer().with_tracer(provider.tracer(env!("CARGO_PKG_NAME")))
    }
}
