//! `interviewai demo`: the whole system in one process, on a sample interview, through a real WebSocket.

use std::{
    net::{Ipv4Addr, SocketAddr},
    process::ExitCode,
    sync::Arc,
};

use client::ClientConfig;
use engine::{Engine, ports::CandidateContext, ports::memory::OneCandidate};

use crate::{
    Error, bridge,
    cli::Demo,
    compose::{self, control},
    playback::Playback,
    recording::Recording,
    settings::{Audio, Auth, Document, Settings, Storage},
    terminal::{Screen, clock},
};

pub(crate) async fn run(mut settings: Settings, arguments: Demo) -> Result<ExitCode, Error> {
    // One person on one machine: the demo's server listens on loopback only.
    settings.auth = Auth::Off;
    // Nothing of it is kept, wherever the server of the same settings keeps things.
    let folder = tempfile::tempdir()?;
    settings.storage = Storage {
        dir: folder.path().to_owned(),
        mongodb_url: None,
        redis_url: None,
        s3: None,
        ..settings.storage
    };
    settings.accounts.smtp_url = None;
    settings.accounts.keys_dir = None;
    if let Some(path) = arguments.cv {
        settings.candidate.cv = Some(Document::read(path)?);
    }
    let mut recording = match &arguments.file {
        Some(file) => Recording::as_microphone(file)?,
        None => Recording::microphone(SAMPLE_INTERVIEW)?,
    };
    recording.add_silence(AFTERMATH_MS);
    let mut answers = settings.answers.names();
    if settings.answers.are_notes() {
        answers += ": lines of the CV, no language model (OPENAI_API_KEY, ANTHROPIC_API_KEY or OPENAI_BASE_URL adds one)";
    }
    let cv =
        settings.candidate.cv.as_ref().map_or("the sample CV".to_owned(), |cv| cv.path.display().to_string());
    let mut engine = compose::engine(&settings, compose::local_ports(&settings)).await?;
    if settings.candidate.cv.is_none() {
        use_sample_cv(&mut engine);
    }
    let any_port = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let metrics = bridge::metrics()?;
    let control = control::build(&settings, folder.path(), metrics.clone())?;
    let servers =
        compose::serve(Arc::new(engine), control, metrics, Audio::websocket_here(), any_port).await?;

    let file =
        arguments.file.as_ref().map_or("the sample interview".to_owned(), |file| file.display().to_string());
    let pace = if arguments.fast { "as fast as possible" } else { "in real time" };
    println!("server   {}  (all in this process)", servers.ws);
    println!("hearing  {file}, {} {pace}", clock(recording.duration_ms as u64));
    println!("CV       {cv}");
    println!("answers  {answers}\n");

    let mut screen = Screen::new();
    let mut broken = None;
    let server = [ClientConfig::new(servers.ws.clone())];
    let speed = if arguments.fast { 0.0 } else { 1.0 };
    let played = Playback { servers: &server, recording: &recording, speed, config: None }
        .run(|_, event| {
            if let Err(error) = screen.show(&event.message) {
                broken.get_or_insert(error);
            }
        })
        .await;
    servers.shut_down().await;
    played?;
    broken.map_or(Ok(ExitCode::SUCCESS), |error| Err(error.into()))
}

fn use_sample_cv(engine: &mut Engine) {
    let context = CandidateContext { cv: SAMPLE_CV.to_owned(), ..CandidateContext::default() };
    engine.context = Arc::new(OneCandidate(context));
}

/// The last question ends by silence, as a live one would, not by the end of the file.
const AFTERMATH_MS: u32 = 1_500;
/// In the binary, so that the demo runs from anywhere. See samples/README.md.
pub(crate) const SAMPLE_INTERVIEW: &[u8] = include_bytes!("../../samples/interview.flac");
const SAMPLE_CV: &str = include_str!("../../samples/cv.txt");
