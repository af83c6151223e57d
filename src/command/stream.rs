//! `interviewai stream`: recordings to a running server, its events to standard output.

use std::{path::Path, process::ExitCode, time::Duration};

use client::ClientConfig;
use protocol::{ServerEvent, ServerMessage};
use serde::Serialize;

use crate::{
    Error,
    cli::Stream,
    playback::{Playback, is_unreachable},
    recording::Recording,
    settings::{Auth, Settings},
    terminal::{clock, printable},
};

pub(crate) async fn run(settings: &Settings, arguments: Stream) -> Result<ExitCode, Error> {
    let mut urls = arguments.url.clone();
    if urls.is_empty() {
        urls.push(settings.audio.url(settings.audio.address));
    }
    let way = |url| {
        let mut server = ClientConfig::new(url);
        if let Auth::Token(token) = &settings.auth {
            server.token = Some(token.clone());
        }
        server.certificate = arguments.certificate_sha256;
        server.datagrams = arguments.datagrams;
        server
    };
    let servers: Vec<_> = urls.into_iter().map(way).collect();
    let mut failed = false;
    for file in &arguments.files {
        if let Err(error) = stream(&servers, file, &arguments).await {
            failed = true;
            eprintln!("interviewai: {}: {error}", file.display());
            if is_unreachable(&error) {
                break;
            }
        }
    }
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// One line of `--json`: the event as it came, the file, and when.
#[derive(Serialize)]
struct Line<'a> {
    file: &'a str,
    received_ms: f64,
    #[serde(flatten)]
    event: &'a ServerEvent,
}

async fn stream(servers: &[ClientConfig], file: &Path, arguments: &Stream) -> Result<(), Error> {
    let mut recording =
        if arguments.original { Recording::as_recorded(file)? } else { Recording::as_microphone(file)? };
    recording.add_silence(arguments.silence);
    let name = file.display().to_string();
    if !arguments.json {
        println!("{name} ({})", clock(recording.duration_ms as u64));
    }
    let mut failure = None;
    let playback = Playback { servers, recording: &recording, speed: arguments.speed, config: None };
    playback
        .run(|received, event| {
            if let ServerMessage::Error { message, fatal: true, .. } = &event.message {
                failure = Some(message.clone());
            }
            let shown = if arguments.json {
                let received_ms = (received.as_secs_f64() * 1e4).round() / 10.0;
                print_json(&Line { file: &name, received_ms, event: &event })
            } else {
                print_text(received, &event.message);
                Ok(())
            };
            if let Err(error) = shown {
                failure = Some(error.to_string());
            }
        })
        .await
        .map_err(|error| failure.map_or(error, Error::from))
}

fn print_json(line: &Line<'_>) -> serde_json::Result<()> {
    println!("{}", serde_json::to_string(line)?);
    Ok(())
}

fn print_text(received: Duration, message: &ServerMessage) {
    let at = clock(received.as_millis() as u64);
    match message {
        ServerMessage::Transcription(words) if words.is_final => {
            println!("{at}  [{}–{}] {}", clock(words.start_ms), clock(words.end_ms), printable(&words.text));
        }
        ServerMessage::Answer(answer) => {
            println!(
                "{at}  answer by {}, first text {} ms after the question:",
                printable(&answer.model),
                answer.timings.total_to_first_token
            );
            printable(&answer.content).lines().for_each(|line| println!("         {line}"));
        }
        ServerMessage::AnswerCancelled { answer_id, reason } => {
            println!("{at}  answer {answer_id} cancelled: {reason:?}")
        }
        ServerMessage::Warning { message, .. } => println!("{at}  warning: {}", printable(message)),
        ServerMessage::Error { message, .. } => println!("{at}  error: {}", printable(message)),
        ServerMessage::StreamEnded { totals, .. } => {
            println!("{at}  ended: {} turns, {} answers", totals.turns, totals.answers);
        }
        _ => {}
    }
}
