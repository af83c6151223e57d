//! Builds what the program is made of, step by step, from checked settings.

pub(crate) mod control;

use std::{net::SocketAddr, num::NonZeroUsize, sync::Arc, time::Duration};

use control_api::{ApiState, jobs::Worker};

use engine::{
    Engine, VadFactory,
    ports::{
        Authorizer, CandidateContext, ContextProvider, Journals, SessionRecorder, UsageMeter,
        memory::{MonthlyMeter, NoAuth, OneCandidate, RecentSessions, SharedToken},
    },
    registry::Registry,
    server::{Listeners, quic::QuicListener, tls::Tls},
};
use metrics_exporter_prometheus::PrometheusHandle;
use models::{
    chat::{
        self, AnswerCache, AnthropicChat, AnthropicChatConfig, ChatModel, Link, Notes, OpenAiChat,
        OpenAiChatConfig,
    },
    speech::{Cached, Fallback, InferencePool, OpenAiTranscriber, PoolConfig, Transcriber, TranscriptCache},
    vad::{EarshotVad, WebRtcMode, WebRtcVad},
    weights::WeightsCache,
};
use tokio::{net::TcpListener, task::JoinSet};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use self::control::Control;
use crate::{
    Error, bridge,
    command::models::ensure,
    settings::{Answering, Answers, Audio, Auth, Candidate, Detector, Document, Provider, Settings, Speech},
};

/// What an engine asks of the outside.
pub(crate) struct Ports {
    authorizer: Arc<dyn Authorizer>,
    context: Arc<dyn ContextProvider>,
    recorder: Arc<dyn SessionRecorder>,
    meter: Arc<dyn UsageMeter>,
    journals: Option<Arc<dyn Journals>>,
}

/// For who sits at this machine, and nobody else.
pub(crate) fn local_ports(settings: &Settings) -> Ports {
    Ports {
        authorizer: Arc::new(NoAuth),
        context: Arc::new(OneCandidate(candidate(&settings.candidate))),
        recorder: Arc::new(RecentSessions::default()),
        meter: Arc::new(MonthlyMeter::new(settings.answers.monthly)),
        journals: None,
    }
}

/// For users with accounts, and beside them for those whom the settings let in without.
pub(crate) fn account_ports(settings: &Settings, control: &Control) -> Ports {
    let state = &control.state;
    let local = local_ports(settings);
    let others: Option<Arc<dyn Authorizer>> = match &settings.auth {
        Auth::Off => Some(local.authorizer),
        Auth::Token(token) => Some(Arc::new(SharedToken::new(token.clone()))),
        Auth::Accounts => None,
    };
    Ports {
        authorizer: Arc::new(bridge::Doors { state: state.clone(), others }),
        context: Arc::new(bridge::Candidates { state: state.clone(), local: local.context }),
        recorder: Arc::new(bridge::Histories::new(state, local.recorder, settings.storage.history_patience)),
        meter: Arc::new(bridge::Meters::new(state.clone(), local.meter)),
        journals: Some(Arc::clone(&control.journals)),
    }
}

/// An engine built from `settings`; fetches weights that are missing, with a progress bar.
pub(crate) async fn engine(settings: &Settings, ports: Ports) -> Result<Engine, Error> {
    let chat = answers(settings)?;
    let transcriber = speech(settings).await?;
    let max_sessions = max_sessions(settings.limits.max_sessions, transcriber.capacity());
    Ok(Engine {
        limits: settings.limits,
        defaults: settings.session.clone(),
        vad: detector(settings.detector),
        transcriber,
        chat,
        authorizer: ports.authorizer,
        context: ports.context,
        recorder: ports.recorder,
        meter: ports.meter,
        memories: engine::memory::Memories::default(),
        resumables: engine::resume::Resumables::default(),
        journals: ports.journals,
        registry: Registry::new(max_sessions).per_user(settings.limits.max_per_user),
        writers: tokio_util::task::TaskTracker::new(),
    })
}

/// Loads the weights that the settings name and measures them, if they are here.
pub(crate) async fn measured_pool(
    settings: &Settings,
    config: PoolConfig,
) -> Option<Result<InferencePool, Error>> {
    let local = &settings.speech.local;
    let path = match &local.weights_file {
        Some(file) => file.clone(),
        None => {
            let cache = WeightsCache::new(settings.cache.dir.clone());
            cache.locate(models::weights::find(&local.weights).ok()?).ok()?
        }
    };
    let loaded = tokio::task::spawn_blocking(move || InferencePool::load(&path, config)).await;
    Some(match loaded {
        Ok(pool) => pool.map_err(Into::into),
        Err(panicked) => Err(panicked.into()),
    })
}

/// No more sessions than are allowed, nor than are written down in time: further ones are refused at once.
pub(crate) fn max_sessions(allowed: usize, capacity: Option<usize>) -> usize {
    let max = capacity.map_or(allowed, |capacity| capacity.min(allowed));
    tracing::info!(max, allowed, capacity, "sessions at once");
    max
}

/// How many workers and threads the settings, or else the cores, call for.
pub(crate) fn pool_config(settings: &Settings) -> PoolConfig {
    let cores = std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
    let mut config = PoolConfig::for_cores(cores);
    config.workers = settings.speech.local.workers.unwrap_or(config.workers);
    config.threads_per_worker = settings.speech.local.threads.unwrap_or(config.threads_per_worker);
    config.precision = settings.speech.local.precision.unwrap_or(config.precision);
    config
}

/// Who writes speech down; fetches weights that are missing, if they are needed.
async fn speech(settings: &Settings) -> Result<Arc<dyn Transcriber>, Error> {
    let Speech { provider, fallback, ref fallback_config, .. } = settings.speech;
    let megabytes = settings.cache.transcripts_mb as u64;
    // One cache for both: each text is found again by the name of who wrote it.
    let cache = (megabytes > 0).then(|| TranscriptCache::new(megabytes << 20));
    let first = recogniser(settings, provider, cache.as_ref()).await?;
    let Some(fallback) = fallback else { return Ok(first) };
    let second = recogniser(settings, fallback, cache.as_ref()).await?;
    Ok(Arc::new(Fallback::new(first, second, fallback_config.clone())))
}

async fn recogniser(
    settings: &Settings,
    provider: Provider,
    cache: Option<&TranscriptCache>,
) -> Result<Arc<dyn Transcriber>, Error> {
    match provider {
        Provider::Local => {
            let path = match &settings.speech.local.weights_file {
                Some(file) => file.clone(),
                None => ensure(settings, &settings.speech.local.weights).await?,
            };
            let (config, model) = (pool_config(settings), format!("local {}", path.display()));
            let pool = tokio::task::spawn_blocking(move || InferencePool::load(&path, config)).await??;
            Ok(cached(pool, model, cache))
        }
        Provider::OpenAi => {
            let config = settings.speech.openai.clone();
            let model = format!("{} {}", config.base_url, config.model);
            Ok(cached(OpenAiTranscriber::new(config)?, model, cache))
        }
    }
}

fn cached<T: Transcriber + 'static>(
    transcriber: T,
    model: String,
    cache: Option<&TranscriptCache>,
) -> Arc<dyn Transcriber> {
    match cache {
        Some(cache) => Arc::new(Cached::new(transcriber, model, cache.clone())),
        None => Arc::new(transcriber),
    }
}

fn detector(detector: Detector) -> VadFactory {
    match detector {
        Detector::Earshot => Arc::new(|| Box::new(EarshotVad::new())),
        Detector::Webrtc => Arc::new(|| Box::new(WebRtcVad::new(WebRtcMode::VeryAggressive))),
    }
}

/// Who answers: a chain even of one, because time-outs and retries are the chain's.
fn answers(settings: &Settings) -> Result<Arc<dyn ChatModel>, Error> {
    let Answers { ref chain, first_token_timeout, between_tokens_timeout, retries, rest, .. } =
        settings.answers;
    let megabytes = settings.cache.answers_mb as u64;
    let cache = (megabytes > 0).then(|| AnswerCache::new(megabytes << 20, ANSWERS_AGE));
    let mut links = Vec::new();
    for answering in chain {
        let model = chat_model(answering, cache.as_ref())?;
        links.push(Link { first_token_timeout, between_tokens_timeout, retries, ..Link::new(model) });
    }
    let mut links = links.into_iter();
    let first = links.next().ok_or("the settings name nobody who answers")?;
    Ok(Arc::new(chat::Fallback::new(first, links, rest)))
}

fn chat_model(answering: &Answering, cache: Option<&AnswerCache>) -> Result<Arc<dyn ChatModel>, Error> {
    Ok(match answering {
        // As quick as any cache.
        Answering::Notes => Arc::new(Notes::default()),
        Answering::OpenAi(config) => {
            let OpenAiChatConfig { base_url, model, logprobs, thinking_tokens, .. } = &**config;
            let name = format!("openai {base_url} {model} {logprobs} {thinking_tokens}");
            remembered(OpenAiChat::new((**config).clone())?, name, cache)
        }
        Answering::Anthropic(config) => {
            let AnthropicChatConfig { base_url, model, thinking_tokens, .. } = &**config;
            let name = format!("anthropic {base_url} {model} {thinking_tokens}");
            remembered(AnthropicChat::new((**config).clone())?, name, cache)
        }
    })
}

fn remembered<M: ChatModel + 'static>(
    model: M,
    name: String,
    cache: Option<&AnswerCache>,
) -> Arc<dyn ChatModel> {
    match cache {
        Some(cache) => Arc::new(chat::Cached::new(model, name, cache.clone())),
        None => Arc::new(model),
    }
}

fn candidate(candidate: &Candidate) -> CandidateContext {
    let text = |document: &Option<Document>| document.as_ref().map(|document| document.text.clone());
    CandidateContext {
        profile: String::new(),
        cv: text(&candidate.cv).unwrap_or_default(),
        job_description: text(&candidate.job).unwrap_or_default(),
        ..CandidateContext::default()
    }
}

/// Both servers, accepting.
pub(crate) struct Servers {
    /// Where the WebSocket is.
    pub(crate) ws: String,
    /// Where QUIC is, if it is on.
    pub(crate) quic: Option<String>,
    /// SHA-256 of the certificate, where there is TLS.
    pub(crate) certificate_sha256: Option<String>,
    /// Where the control API is.
    pub(crate) http: String,
    stop: CancellationToken,
    tasks: JoinSet<()>,
    /// Run until everything else has stopped.
    _keepers: Vec<AbortOnDropHandle<()>>,
}

/// Binds and starts both servers.
pub(crate) async fn serve(
    engine: Arc<Engine>,
    control: Control,
    metrics: PrometheusHandle,
    audio: Audio,
    api: SocketAddr,
) -> Result<Servers, Error> {
    let websocket = bind("audio.port", audio.address).await?;
    let api_listener = bind("api.port", api).await?;
    let ws = audio.url(websocket.local_addr()?);
    let (quic, made) = quic(&audio)?;
    let certificate_sha256 = audio.tls.as_ref().or(made.as_ref()).map(Tls::sha256);
    let quic_url = quic.as_ref().map(QuicListener::local_addr).transpose()?.map(|at| format!("quic://{at}"));
    let http = format!("http://{}", api_listener.local_addr()?);
    let Control { mut state, mut readiness, mut keepers, .. } = control;
    readiness.push(Arc::new(bridge::SessionSlots(Arc::clone(&engine))));
    state.readiness = readiness.into();
    let stop = CancellationToken::new();
    let mut tasks = JoinSet::new();
    let mut keep = |keeper| keepers.push(AbortOnDropHandle::new(keeper));
    keep(tokio::spawn(bridge::watch_revocations(state.clone(), engine.registry.clone())));
    keep(tokio::spawn(resume_erasures(state.clone())));
    let worker = Worker::new(Arc::clone(&state.jobs), control_api::job_handlers(&state));
    tasks.spawn(worker.run(stop.clone().cancelled_owned()));
    let sessions = engine.registry.clone();
    let listeners = Listeners { websocket, tls: audio.tls, quic };
    tasks.spawn(engine::server::serve(engine, listeners, audio.allowed_origins.into(), stop.clone()));
    tasks.spawn(control_api::serve(api_listener, state, stop.clone().cancelled_owned()));
    keep(tokio::spawn(async move {
        loop {
            // Samples of histograms nobody scrapes would pile up.
            tokio::time::sleep(METRICS_UPKEEP).await;
            metrics.run_upkeep();
            let tasks = tokio::runtime::Handle::current().metrics().num_alive_tasks();
            metrics::gauge!(bridge::TASKS_GAUGE).set(tasks as f64);
            metrics::gauge!(bridge::SESSIONS_GAUGE).set(sessions.active() as f64);
        }
    }));
    Ok(Servers { ws, quic: quic_url, certificate_sha256, http, stop, tasks, _keepers: keepers })
}

/// The QUIC port, if it is on, and the certificate that was made for it, if the settings have none.
fn quic(audio: &Audio) -> Result<(Option<QuicListener>, Option<Tls>), Error> {
    let Some(address) = audio.quic else { return Ok((None, None)) };
    let made = if audio.tls.is_none() { Some(Tls::self_signed()?) } else { None };
    let Some(tls) = audio.tls.as_ref().or(made.as_ref()) else { return Ok((None, None)) };
    let listener = QuicListener::bind(address, tls).map_err(|error| {
        let name = "audio.quic_port";
        format!("{}, or audio.quic = false", cannot_listen(name, address, &error))
    })?;
    Ok((Some(listener), made))
}

/// Accounts whose erasure a queue has forgotten, as Redis lost its disk, or given up, as a store was away for all its tries.
async fn resume_erasures(state: ApiState) {
    loop {
        while let Err(problem) = control_api::auth::resume_erasures(&state).await {
            tracing::warn!(status = problem.status().as_u16(), "closed accounts cannot be looked for yet");
            tokio::time::sleep(ERASURES_PAUSE).await;
        }
        tokio::time::sleep(ERASURES_EVERY).await;
    }
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
    TcpListener::bind(address).await.map_err(|error| cannot_listen(name, address, &error).into())
}

fn cannot_listen(name: &str, address: SocketAddr, error: &std::io::Error) -> String {
    let advice = match error.kind() {
        std::io::ErrorKind::AddrInUse => {
            format!("stop what uses it, or set {name} (0 takes any free port)")
        }
        std::io::ErrorKind::PermissionDenied => format!("ports below 1024 need privileges; set {name}"),
        _ => format!("check {name} and its host"),
    };
    format!("cannot listen on {address}: {error}; {advice}")
}

/// An interview, and some.
const ANSWERS_AGE: Duration = Duration::from_secs(2 * 3_600);
const ERASURES_EVERY: Duration = Duration::from_secs(3_600);
const ERASURES_PAUSE: Duration = Duration::from_secs(10);
const METRICS_UPKEEP: Duration = Duration::from_secs(5);
