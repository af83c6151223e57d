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
    /// Put load on a server and show how it bears it
    Bench(Bench),
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
    /// settings. Given again: another server, or another way to one, tried when those before it do not answer; a session
    /// goes on there when its connection is lost
    #[arg(long, value_name = "URL")]
    pub(crate) url: Vec<String>,
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

#[derive(Debug, Args)]
pub(crate) struct Bench {
    #[command(subcommand)]
    pub(crate) what: BenchKind,
}

#[derive(Debug, Subcommand)]
pub(crate) enum BenchKind {
    /// Many sessions in real time: latencies, refusals, losses, and what the server needs for them
    #[command(after_help = BENCH_EXAMPLES)]
    Sessions(BenchSessions),
}

#[derive(Debug, Args)]
pub(crate) struct BenchSessions {
    /// Sessions at once
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=50_000))]
    pub(crate) count: u32,
    /// Share of the time with speech, 0 to 1; 0 is idle: no audio, only keep_alive
    #[arg(long, default_value_t = 0.5, value_parser = share, value_name = "SHARE")]
    pub(crate) talk: f64,
    /// How the sessions connect
    #[arg(long, value_enum, default_value_t = Transport::Ws)]
    pub(crate) transport: Transport,
    /// How long, once all sessions have begun
    #[arg(long, default_value_t = 60, value_name = "S", value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub(crate) seconds: u64,
    /// A server that runs already, instead of one that is started for this; its address says the transport
    #[arg(long, value_name = "URL")]
    pub(crate) url: Option<String>,
    /// Trust the server at --url with this certificate (SHA-256, 64 hexadecimal digits) and no other
    #[arg(long, value_name = "SHA256", requires = "url")]
    pub(crate) certificate_sha256: Option<CertificateHash>,
    /// The process of the server at --url, on this machine, to measure its memory, CPU and descriptors
    #[arg(long, value_name = "PID", requires = "url")]
    pub(crate) pid: Option<u32>,
    /// Sessions that the started server takes (sessions.max); it takes no more than it can write down in time
    #[arg(long, value_name = "N", conflicts_with = "url", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) max_sessions: Option<u32>,
    /// Recordings to say, as JSON lines with the field "file"; by default ../shared/speech, or else the sample interview
    #[arg(long, value_name = "FILE")]
    pub(crate) manifest: Option<PathBuf>,
    /// Time over which the first sessions begin; by default a second for every 200
    #[arg(long, value_name = "S", value_parser = seconds)]
    pub(crate) spread: Option<f64>,
    /// A soak: sessions of this mean length, each followed by another; every third hangs up without a word
    #[arg(long, value_name = "S", value_parser = seconds)]
    pub(crate) churn: Option<f64>,
    /// Further sessions that send speech as fast as the server takes it: what do the others notice?
    #[arg(long, default_value_t = 0, value_name = "N", value_parser = clap::value_parser!(u32).range(..=1_000))]
    pub(crate) flood: u32,
    /// Write everything here, with each second's sample of the server
    #[arg(long, value_name = "PATH")]
    pub(crate) json: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Transport {
    /// WebSocket
    Ws,
    /// QUIC
    Quic,
}

const BENCH_EXAMPLES: &str = "Examples:
  bench sessions --count 4 --talk 0.5                        four that speak half of the time
  bench sessions --count 1000 --talk 0 --max-sessions 1000   a thousand idle ones
  bench sessions --count 4 --churn 20 --seconds 3600         an hour of opening and closing: is anything left behind?";

fn share(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(share) if share == 0.0 || (0.01..=1.0).contains(&share) => Ok(share),
        _ => Err("use 0, or 0.01 to 1".to_owned()),
    }
}

fn seconds(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(seconds) if (0.1..=3_600.0).contains(&seconds) => Ok(seconds),
        _ => Err("use 0.1 to 3600".to_owned()),
    }
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
