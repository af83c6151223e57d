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

use std::process::ExitCode;

use clap::Parser as _;

use crate::{
    cli::{Cli, Command},
    settings::{Settings, SettingsError},
};

fn main() -> ExitCode {
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

fn run(cli: Cli) -> Result<ExitCode, Error> {
    let settings = Settings::load(cli.config.as_deref())?;
    let serves = matches!(cli.command, Command::Serve(_));
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let _logging = {
        let _inside = runtime.enter();
        logging::start(&settings.log, cli.command.default_log_level(), serves)?
    };
    let code = runtime.block_on(async {
        match cli.command {
            Command::Demo(arguments) => command::demo::run(settings, arguments).await,
            Command::Serve(arguments) => command::serve::run(settings, arguments).await,
            Command::Stream(arguments) => command::stream::run(&settings, arguments).await,
            Command::Transcribe(arguments) => command::transcribe::run(settings, arguments).await,
            Command::Models(arguments) => command::models::run(&settings, arguments).await,
            Command::Keys(arguments) => command::keys::run(&settings, &arguments),
            Command::Bench(arguments) => {
                command::bench::run(&settings, cli.config.as_deref(), arguments).await
            }
            Command::Settings => {
                print!("{}", include_str!("../docs/settings.toml"));
                Ok(ExitCode::SUCCESS)
            }
            Command::Doctor => command::doctor::run(&settings).await,
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
