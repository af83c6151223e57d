//! `interviewai transcribe`: recordings written down here, by the same pipeline, without a server.

use std::{path::Path, process::ExitCode, sync::Arc};

use engine::{Engine, pipeline, ports::Principal, transport::memory};
use protocol::{
    AnswerMode, AnswersUpdate, ClientMessage, ConfigUpdate, ServerMessage, StartStream, Transcription,
};
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use crate::{Error, cli::Transcribe, compose, recording::Recording, settings::Settings};

pub(crate) async fn run(settings: Settings, arguments: Transcribe) -> Result<ExitCode, Error> {
    let engine = Arc::new(compose::engine(&settings, compose::local_ports(&settings)).await?);
    let mut failed = false;
    for file in &arguments.files {
        match transcribe(&engine, file).await {
            Ok(written) if arguments.json => println!("{}", serde_json::to_string(&written)?),
            Ok(written) if arguments.files.len() > 1 => println!("{}: {}", written.file, written.text),
            Ok(written) => println!("{}", written.text),
            Err(error) => {
                failed = true;
                eprintln!("interviewai: {error}");
            }
        }
    }
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// One recording, written down.
#[derive(Debug, Serialize)]
pub(crate) struct WrittenDown {
    /// As it was named.
    file: String,
    /// The texts of all turns.
    text: String,
    /// Each turn as the protocol has it.
    turns: Vec<Transcription>,
}

async fn transcribe(engine: &Arc<Engine>, file: &Path) -> Result<WrittenDown, Error> {
    let recording = Recording::as_microphone(file)?;
    let (receive, transmit, mut client) = memory::pair();
    let access = Principal::local().into();
    let session =
        pipeline::serve_in_memory(Arc::clone(engine), access, receive, transmit, CancellationToken::new());
    let session = tokio::spawn(session);

    let mut turns = Vec::new();
    let mut failure = None;
    // Events are read while audio is sent: a server whose events nobody reads stops hearing.
    let sender = client.sender();
    let sending = async {
        sender.send(&ClientMessage::StartStream(Box::new(start(&recording)))).await?;
        for chunk in recording.bytes.chunks(protocol::MAX_AUDIO_BYTES / 2) {
            sender.audio(chunk.to_vec()).await?;
        }
        sender.send(&ClientMessage::EndStream {}).await
    };
    let reading = async {
        while let Some(event) = client.next().await {
            match event.message {
                ServerMessage::Transcription(turn) if turn.is_final => turns.push(turn),
                ServerMessage::Warning { message, .. } => eprintln!("{}: {message}", file.display()),
                ServerMessage::Error { message, .. } => failure = Some(message),
                _ => {}
            }
        }
    };
    // A session that ends early says why in an error event; that the rest could not be sent adds nothing.
    let (_, ()) = tokio::join!(sending, reading);
    drop(sender);
    // It has all of it.
    let _ = client.sender().close().await;
    client.hang_up();
    session.await?;
    if let Some(message) = failure {
        return Err(format!("{}: {message}", file.display()).into());
    }
    let text = turns.iter().map(|turn| turn.text.as_str()).collect::<Vec<_>>().join(" ");
    Ok(WrittenDown { file: file.display().to_string(), text, turns })
}

fn start(recording: &Recording) -> StartStream {
    StartStream {
        session_id: None,
        audio: recording.format.clone(),
        config: Some(ConfigUpdate {
            interim_results: Some(false),
            answers: Some(AnswersUpdate { mode: Some(AnswerMode::Off), ..AnswersUpdate::default() }),
            save_history: Some(false),
            ..ConfigUpdate::default()
        }),
        resume: None,
    }
}
