//! `interviewai`: the one binary. Command line, settings, and the composition of engine and control API.
//!
//! | module | is |
//! |---|---|
//! | `cli` | every command and flag |
//! | `settings` | every setting; the only place that reads the environment |
//! | `compose` | builds models, engine and control API from the settings |
//! | `bridge` | what the control API asks of the engine |
//! | `command` | one file a command |

mod bridge;
mod cli;
mod command;
mod compose;
mod logging;
mod playback;
mod recording;
mod settings;
mod terminal;

use std::{
    os::unix::process::CommandExt as _,
    process::{Command, ExitCode},
};

use clap::Parser as _;

use crate::{
    cli::Cli,
    settings::{OMP_WAIT_POLICY, Settings, SettingsError},
};

fn main() -> ExitCode {
    let error = if settings::openmp_is_told() { None } else { Some(restart_with_sleeping_threads()) };
    if let Some(error) = error {
        eprintln!("interviewai: {error}; speech recognition will be slow on a busy machine");
    }
    // Two providers are in the dependency tree; rustls cannot choose by itself.
    if rustls::crypto::aws_lc_rs::default_provider().install_default().is_err() {
        eprintln!("another TLS provider was installed first");
        return ExitCode::FAILURE;
    }
    match run(Cli::parse()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("interviewai: {error}");
            let settings_are_wrong = error.downcast_ref::<SettingsError>().is_some();
            if settings_are_wrong { ExitCode::from(EX_USAGE) } else { ExitCode::FAILURE }
        }
    }
}

/// Starts this program anew in the same process, with OpenMP's threads sleeping while they wait instead of spinning: on a
/// busy machine a pass takes seconds otherwise (docs/adr/0005-openmp-waits-passively.md). Returns only when it failed.
fn restart_with_sleeping_threads() -> std::io::Error {
    let mut arguments = std::env::args_os();
    let name = arguments.next().unwrap_or_default();
    match std::env::current_exe() {
        Ok(program) => {
            Command::new(program).arg0(name).args(arguments).env(OMP_WAIT_POLICY, "passive").exec()
        }
        Err(error) => error,
    }
}

fn run(cli: Cli) -> Result<ExitCode, Error> {
    let settings = Settings::load(cli.config.as_deref())?;
    logging::start(&settings.log, cli.command.default_log_level())?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let code = runtime.block_on(async {
        match cli.command {
            cli::Command::Demo(arguments) => command::demo::run(settings, arguments).await,
            cli::Command::Serve(arguments) => command::serve::run(settings, arguments).await,
            cli::Command::Stream(arguments) => command::stream::run(&settings, arguments).await,
            cli::Command::Transcribe(arguments) => command::transcribe::run(settings, arguments).await,
            cli::Command::Models(arguments) => command::models::run(&settings, arguments).await,
            cli::Command::Doctor => command::doctor::run(&settings).await,
        }
    });
    // A download that was asked to stop does not notice before its client does.
    runtime.shutdown_background();
    code
}

/// Any failure of a command, worded for the person at the terminal.
type Error = Box<dyn std::error::Error + Send + Sync>;

/// `EX_USAGE` of sysexits.h: the configuration is wrong.
const EX_USAGE: u8 = 64;
