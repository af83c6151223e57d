//! Builds what the program is made of, step by step, from checked settings.

use std::{net::SocketAddr, num::NonZeroUsize, sync::Arc, time::Duration};

use engine::{
    Engine, VadFactory,
    ports::{
        Authorizer, CandidateContext,
        memory::{NoAuth, OneCandidate, RecentSessions, SharedToken, Unmetered},
    },
    registry::Registry,
};
use models::{
    chat::{ChatModel, Notes, OpenAiChat},
    speech::{InferencePool, PoolConfig},
    vad::{EarshotVad, WebRtcMode, WebRtcVad},
};
use tokio::{net::TcpListener, task::JoinSet};
use tokio_util::sync::CancellationToken;

use crate::{
    Error, bridge,
    command::models::ensure,
    settings::{Answers, Auth, Candidate, Detector, Document, Settings},
};

/// An engine built from `settings`; fetches weights that are missing, with a progress bar.
pub(crate) async fn engine(settings: &Settings) -> Result<Engine, Error> {
    let candidate = candidate(&settings.candidate);
    let chat = chat(&settings.answers)?;
    let pool = speech(settings).await?;
    let authorizer: Arc<dyn Authorizer> = match &settings.auth {
        Auth::Off => Arc::new(NoAuth),
        Auth::Token(token) => Arc::new(SharedToken::new(token.clone())),
    };
    Ok(Engine {
        limits: settings.limits,
        defaults: settings.session.clone(),
        vad: detector(settings.detector),
        transcriber: Arc::new(pool),
        chat,
        authorizer,
        context: Arc::new(OneCandidate(candidate)),
        recorder: Arc::new(RecentSessions::default()),
        meter: Arc::new(Unmetered::default()),
        registry: Registry::new(settings.limits.max_sessions),
    })
}

/// How many workers and threads the settings, or else the cores, call for.
pub(crate) fn pool_config(settings: &Settings) -> PoolConfig {
    let cores = std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
    let mut config = PoolConfig::for_cores(cores);
    config.workers = settings.speech.workers.unwrap_or(config.workers);
    config.threads_per_worker = settings.speech.threads.unwrap_or(config.threads_per_worker);
    config
}

async fn speech(settings: &Settings) -> Result<InferencePool, Error> {
    let path = match &settings.speech.weights_file {
        Some(file) => file.clone(),
        None => ensure(settings, &settings.speech.weights).await?,
    };
    let config = pool_config(settings);
    Ok(tokio::task::spawn_blocking(move || InferencePool::load(&path, config)).await??)
}

fn detector(detector: Detector) -> VadFactory {
    match detector {
        Detector::Earshot => Arc::new(|| Box::new(EarshotVad::new())),
        Detector::Webrtc => Arc::new(|| Box::new(WebRtcVad::new(WebRtcMode::VeryAggressive))),
    }
}

fn chat(answers: &Answers) -> Result<Arc<dyn ChatModel>, Error> {
    Ok(match answers {
        Answers::Notes => Arc::new(Notes::default()),
        Answers::OpenAi(config) => Arc::new(OpenAiChat::new((**config).clone())?),
    })
}

fn candidate(candidate: &Candidate) -> CandidateContext {
    let text = |document: &Option<Document>| document.as_ref().map(|document| document.text.clone());
    CandidateContext {
        profile: String::new(),
        cv: text(&candidate.cv).unwrap_or_default(),
        job_description: text(&candidate.job).unwrap_or_default(),
    }
}

/// Both servers, accepting.
pub(crate) struct Servers {
    /// Where the WebSocket is.
    pub(crate) ws: String,
    /// Where the control API is.
    pub(crate) http: String,
    stop: CancellationToken,
    tasks: JoinSet<()>,
}

/// Binds and starts both servers.
pub(crate) async fn serve(
    engine: Arc<Engine>,
    audio: SocketAddr,
    api: SocketAddr,
    allowed_origins: &[String],
) -> Result<Servers, Error> {
    let audio_listener = bind("audio.port", audio).await?;
    let api_listener = bind("api.port", api).await?;
    let ws = format!("ws://{}{}", audio_listener.local_addr()?, protocol::AUDIO_PATH);
    let http = format!("http://{}", api_listener.local_addr()?);
    let metrics = bridge::metrics()?;
    let state = bridge::api_state(Arc::clone(&engine), metrics.clone());
    let stop = CancellationToken::new();
    let mut tasks = JoinSet::new();
    let origins = Arc::from(allowed_origins);
    tasks.spawn(engine::server::serve(engine, audio_listener, origins, stop.clone()));
    tasks.spawn(control_api::serve(api_listener, state, stop.clone().cancelled_owned()));
    tokio::spawn(async move {
        loop {
            // Samples of histograms nobody scrapes would pile up.
            tokio::time::sleep(METRICS_UPKEEP).await;
            metrics.run_upkeep();
        }
    });
    Ok(Servers { ws, http, stop, tasks })
}

impl Servers {
    /// Waits until a server stops by itself, which is a failure. Cancel-safe.
    pub(crate) async fn failed(&mut self) {
        let _ = self.tasks.join_next().await;
    }

    /// Lets sessions finish, then stops.
    pub(crate) async fn shut_down(mut self) {
        self.stop.cancel();
        while self.tasks.join_next().await.is_some() {}
    }
}

async fn bind(name: &str, address: SocketAddr) -> Result<TcpListener, Error> {
    TcpListener::bind(address).await.map_err(|error| {
        let advice = match error.kind() {
            std::io::ErrorKind::AddrInUse => {
                format!("stop what uses it, or set {name} (0 takes any free port)")
            }
            std::io::ErrorKind::PermissionDenied => format!("ports below 1024 need privileges; set {name}"),
            _ => format!("check {name} and its host"),
        };
        format!("cannot listen on {address}: {error}; {advice}").into()
    })
}

const METRICS_UPKEEP: Duration = Duration::from_secs(5);
