//! `interviewai serve`: the server, until SIGTERM or Ctrl-C.

use std::{io::Write as _, path::Path, process::ExitCode, sync::Arc};

use tokio::signal::unix::{SignalKind, signal};

use crate::{
    Error, bridge,
    cli::Serve,
    compose::{self, Servers, control},
    settings::Settings,
};

pub(crate) async fn run(settings: Settings, arguments: Serve) -> Result<ExitCode, Error> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let metrics = bridge::metrics()?;
    let control = control::build(&settings, &settings.storage.dir, metrics.clone())?;
    let ports = compose::account_ports(&settings, &control);
    let engine = tokio::select! {
        engine = compose::engine(&settings, ports) => Arc::new(engine?),
        _ = terminate.recv() => return Ok(ExitCode::SUCCESS),
        _ = interrupt.recv() => return Ok(ExitCode::SUCCESS),
    };
    let model = engine.chat.name().to_owned();
    let mut servers = compose::serve(engine, control, metrics, settings.audio, settings.api.address).await?;
    if let Some(path) = &arguments.ready_file {
        write_ready(path, &servers)?;
    }
    eprintln!("audio {}  api {}  answers by {model}", servers.ws, servers.http);
    if let (Some(quic), Some(sha256)) = (&servers.quic, &servers.certificate_sha256) {
        eprintln!("audio {quic}  certificate sha256 {sha256}");
    }
    let stopped = tokio::select! {
        _ = terminate.recv() => Ok("SIGTERM"),
        _ = interrupt.recv() => Ok("Ctrl-C"),
        () = servers.failed() => Err("a server stopped by itself; the log says why"),
    };
    if let Some(path) = &arguments.ready_file {
        // Nobody should connect to a server that is leaving.
        let _ = std::fs::remove_file(path);
    }
    tracing::info!(reason = stopped.unwrap_or_default(), "draining");
    tokio::select! {
        () = servers.shut_down() => {}
        _ = interrupt.recv() => eprintln!("not waiting for open sessions"),
    }
    stopped?;
    Ok(ExitCode::SUCCESS)
}

/// Appears whole or not at all: whoever waits for it reads a complete file.
fn write_ready(path: &Path, servers: &Servers) -> Result<(), Error> {
    let mut ready = serde_json::json!({ "ws": servers.ws, "http": servers.http, "pid": std::process::id() });
    for (name, value) in [("quic", &servers.quic), ("certificate_sha256", &servers.certificate_sha256)] {
        if let Some(value) = value {
            ready[name] = value.as_str().into();
        }
    }
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let write = || {
        let mut file = tempfile::NamedTempFile::new_in(folder)?;
        writeln!(file, "{ready}")?;
        file.persist(path).map_err(|error| error.error)
    };
    write().map_err(|error| format!("--ready-file {}: {error}", path.display()))?;
    Ok(())
}
