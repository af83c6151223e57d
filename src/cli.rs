//! Every command and flag of the program.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use client::CertificateHash;

/// Hears a live interview, writes it down as it is spoken, and streams an answer built on the CV.
#[derive(Debug, Parser)]
#[command(
    version,
    after_help = "Settings: TOML by --config, or INTERVIEWAI_SECTION__FIELD in the environment; see docs/settings.toml."
)]
pub(crate) struct Cli {
    /// Settings in TOML; the environment goes over them
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Play a sample interview through a real server on this machine and show what comes back
    Demo(Demo),
    /// Run the server: audio over WebSocket, QUIC and WebTransport, and the control API
    Serve(Serve),
    /// Stream recordings to a running server and print its events
    Stream(Stream),
    /// Write recordings down here, without a server
    Transcribe(Transcribe),
    /// List, fetch and verify weights
    Models(Models),
    /// The keys that sign access tokens
    Keys(Keys),
    /// Print every setting with its default and what it does, as a file to begin with
    Settings,
    /// Check this machine and say what to do about what is missing
    Doctor,
}

impl Command {
    /// What is logged unless the settings say otherwise: a server tells what it does, a tool only what went wrong.
    pub(crate) fn default_log_level(&self) -> &'static str {
        match self {
            Self::Serve(_) => "info",
            _ => "error",
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct Demo {
    /// A recording to play instead of the sample interview (WAV, FLAC, Ogg, WebM, MP4, M4A, MP3, AAC or AIFF)
    #[arg(long, value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,
    /// The candidate's CV as plain text, instead of the sample CV
    #[arg(long, value_name = "FILE")]
    pub(crate) cv: Option<PathBuf>,
    /// Play as fast as the server listens, instead of in real time
    #[arg(long)]
    pub(crate) fast: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Serve {
    /// Write {"ws", "http", "quic", "certificate_sha256", "pid"} here once connections are accepted
    #[arg(long, value_name = "PATH")]
    pub(crate) ready_file: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct Stream {
    /// Recordings, each streamed as a session of its own (WAV, FLAC, Ogg, WebM, MP4, M4A, MP3, AAC or AIFF)
    #[arg(required = true, value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,
    /// The server (ws://, wss://, quic:// or https://, which is WebTransport); by default the one that `serve` runs with the same
    /// settings
    #[arg(long, value_name = "URL")]
    pub(crate) url: Option<String>,
    /// Trust the server with this certificate (SHA-256, 64 hexadecimal digits, as `serve` prints it) and no other
    #[arg(long, value_name = "SHA256")]
    pub(crate) certificate_sha256: Option<CertificateHash>,
    /// Over QUIC and WebTransport, send audio as datagrams: what is lost on the way is lost, and nothing waits for it
    #[arg(long)]
    pub(crate) datagrams: bool,
    /// How fast to play: 1 is real time, 50 is fifty times that, 0 is as fast as the server listens
    #[arg(long, default_value_t = 1.0, value_parser = speed, value_name = "FACTOR")]
    pub(crate) speed: f64,
    /// Print each event as one JSON line, with received_ms since the first audio byte was sent
    #[arg(long)]
    pub(crate) json: bool,
    /// Go on with this much silence after each recording, as an open microphone would
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u32).range(..=60_000), value_name = "MS")]
    pub(crate) silence: u32,
    /// Send the file's own bytes instead of 20 ms pieces of PCM as a microphone would
    #[arg(long)]
    pub(crate) original: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Transcribe {
    /// Recordings (WAV, FLAC, Ogg, WebM, MP4, M4A, MP3, AAC or AIFF)
    #[arg(required = true, value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,
    /// Print one JSON object a file: file, text, turns
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Models {
    #[command(subcommand)]
    pub(crate) action: ModelsAction,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ModelsAction {
    /// Show all weights there are, and which of them are on this machine
    List,
    /// Get weights, unless they are there
    Fetch {
        /// Which; the configured ones by default
        name: Option<String>,
    },
    /// Compare the weights on this machine with their pinned sha256
    Verify {
        /// Which; all that are here by default
        name: Option<String>,
    },
    /// Print where the file lies
    Path {
        /// Which; the configured ones by default
        name: Option<String>,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Keys {
    #[command(subcommand)]
    pub(crate) action: KeysAction,
}

#[derive(Debug, Subcommand)]
pub(crate) enum KeysAction {
    /// Add a key, which signs in six minutes, and remove those that are not needed any more; logs nobody out
    Rotate,
}

fn speed(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(speed) if speed == 0.0 || (0.1..=1_000.0).contains(&speed) => Ok(speed),
        _ => Err("use 0 (as fast as possible) or 0.1 to 1000".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_flag_has_help() {
        fn check(command: &clap::Command) {
            for argument in command.get_arguments() {
                assert!(argument.get_help().is_some(), "{} {argument} has no help", command.get_name());
            }
            command.get_subcommands().for_each(check);
        }
        check(&Cli::command());
    }
}
