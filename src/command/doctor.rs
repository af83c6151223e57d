//! `interviewai doctor`: what this machine has and lacks, and what to do about each.

use std::{net::SocketAddr, process::ExitCode, time::Duration};

use models::{
    speech::{PoolConfig, Precision, Transcriber as _},
    weights::{WeightsCache, WeightsStatus, find},
};
use tokio::{
    net::{TcpListener, TcpStream},
    time::timeout,
};

use crate::{
    Error, compose,
    settings::{Answering, Answers, Auth, Provider, Settings},
};

/// What one check found.
enum Finding {
    /// As it should be.
    Good(String),
    /// Works, but not as well as it could; what to do.
    Weak(String),
    /// Does not work; what to do.
    Bad(String),
}

use Finding::{Bad, Good, Weak};

pub(crate) async fn run(settings: &Settings) -> Result<ExitCode, Error> {
    let findings = [
        ("speech", speech(settings).await),
        ("weights", weights(settings)),
        ("cache", cache(settings)),
        ("processor", processor()),
        ("threads", threads(settings)),
        ("speed", speed(settings).await),
        ("audio port", port("audio.port", settings.audio.address).await),
        ("quic port", quic_port(settings)),
        ("api port", port("api.port", settings.api.address).await),
        ("auth", auth(settings)),
        ("answers", answers(&settings.answers).await),
        ("candidate", candidate(settings)),
        ("open files", open_files(settings.limits.max_sessions)),
    ];
    let mut failed = false;
    for (name, finding) in findings {
        let (mark, text) = match finding {
            Good(text) => ("ok  ", text),
            Weak(text) => ("note", text),
            Bad(text) => {
                failed = true;
                ("BAD ", text)
            }
        };
        println!("{mark} {name:<10} {text}");
    }
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

async fn speech(settings: &Settings) -> Finding {
    let speech = &settings.speech;
    let name = |provider| match provider {
        Provider::Local => "this machine".to_owned(),
        Provider::OpenAi => format!("{} by {}", speech.openai.model, speech.openai.base_url),
    };
    let mut text = name(speech.provider);
    if let Some(fallback) = speech.fallback {
        text = format!("{text}; when that fails, {}", name(fallback));
    }
    if !speech.uses(Provider::OpenAi) {
        return Good(text);
    }
    match reach("speech.base_url", &speech.openai.base_url).await {
        Ok(()) => Good(format!("{text} (reachable; the key is not checked)")),
        // The other one does the work meanwhile.
        Err(why) if speech.fallback.is_some() => Weak(format!("{text}. {why}")),
        Err(why) => Bad(format!("{text}. {why}")),
    }
}

fn weights(settings: &Settings) -> Finding {
    if !settings.speech.uses(Provider::Local) {
        return Good("not needed: speech goes to a server".to_owned());
    }
    if let Some(file) = &settings.speech.local.weights_file {
        return match std::fs::metadata(file) {
            Ok(found) => Good(format!("{} ({} MB, own file)", file.display(), found.len() / 1_000_000)),
            Err(error) => Bad(format!("{}: {error}; correct speech.weights_file", file.display())),
        };
    }
    let name = &settings.speech.local.weights;
    let cache = WeightsCache::new(settings.cache.dir.clone());
    let entry = match find(name) {
        Ok(entry) => entry,
        Err(error) => return Bad(error.to_string()),
    };
    match cache.status(entry) {
        Ok(WeightsStatus::Present { .. }) => Good(format!(
            "{name} at {}; `interviewai models verify {name}` checks its hash",
            cache.path(entry).display()
        )),
        Ok(WeightsStatus::Missing) => {
            Bad(format!("{name} is not here: run `interviewai models fetch {name}`"))
        }
        Ok(WeightsStatus::WrongSize { bytes }) => Bad(format!(
            "{name} has {bytes} bytes instead of {}: run `interviewai models fetch {name}`",
            entry.bytes
        )),
        Err(error) => Bad(error.to_string()),
    }
}

fn cache(settings: &Settings) -> Finding {
    let dir = &settings.cache.dir;
    match std::fs::create_dir_all(dir).and_then(|()| tempfile::tempfile_in(dir)) {
        Ok(_) => Good(format!("{} can be written", dir.display())),
        Err(error) => {
            Bad(format!("{}: {error}; set INTERVIEWAI_CACHE_DIR to a folder of yours", dir.display()))
        }
    }
}

#[cfg(target_arch = "x86_64")]
fn processor() -> Finding {
    if std::arch::is_x86_feature_detected!("avx512vnni") {
        Good("x86-64 with AVX-512 VNNI: 8-bit speech recognition at its fastest".to_owned())
    } else if std::arch::is_x86_feature_detected!("avx2") {
        Good("x86-64 with AVX2".to_owned())
    } else {
        Weak("x86-64 without AVX2: speech recognition will be slow; use tiny.en (speech.weights)".to_owned())
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn processor() -> Finding {
    Good(std::env::consts::ARCH.to_owned())
}

/// What the local recogniser does on this machine: measured now, in the precision chosen and, for the reason, in the other.
async fn speed(settings: &Settings) -> Finding {
    if !settings.speech.uses(Provider::Local) {
        return Good("not measured: speech goes to a server".to_owned());
    }
    let chosen = compose::pool_config(settings);
    let other = match chosen.precision {
        Precision::Int8 => Precision::Float32,
        Precision::Float32 => Precision::Int8,
    };
    let (pass, capacity) = match measure(settings, chosen.clone()).await {
        Ok(Some(measured)) => measured,
        Ok(None) => return Weak("not measured: the weights are not here".to_owned()),
        Err(error) => return Bad(error.to_string()),
    };
    let compared = match measure(settings, PoolConfig { precision: other, ..chosen.clone() }).await {
        Ok(Some((pass, _))) => format!("{} ms in {}", pass.as_millis(), name(other)),
        _ => format!("{} was not measured", name(other)),
    };
    let why = if settings.speech.local.precision.is_some() { "speech.precision" } else { "by the processor" };
    let sessions = compose::max_sessions(settings.limits.max_sessions, Some(capacity));
    let text = format!(
        "5 s of speech in {} ms, all workers busy: {} {why} ({compared}); the encoder's context is as long as the turn and 5 s, 15 s where \
         that went wrong; {capacity} sessions in time, {sessions} let in",
        pass.as_millis(),
        name(chosen.precision),
    );
    if pass > SLOW_PASS {
        return Weak(format!(
            "{text}. Texts will be late: use smaller weights (speech.weights), or stop what keeps this machine busy"
        ));
    }
    Good(text)
}

async fn measure(settings: &Settings, config: PoolConfig) -> Result<Option<(Duration, usize)>, Error> {
    let pool = compose::measured_pool(settings, config).await.transpose()?;
    Ok(pool.and_then(|pool| pool.pass_time().zip(pool.capacity())))
}

fn name(precision: Precision) -> &'static str {
    match precision {
        Precision::Int8 => "int8",
        Precision::Float32 => "float32",
    }
}

fn threads(settings: &Settings) -> Finding {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let pool = compose::pool_config(settings);
    let (workers, threads) = (pool.workers.get(), pool.threads_per_worker.get());
    let text = format!("{workers} speech worker(s) of {threads} thread(s) on {cores} core(s)");
    if workers * threads > cores {
        Weak(format!("{text}: they wait for each other; leave speech.workers and speech.threads out"))
    } else {
        Good(format!("{text}: two turns at once beat one turn sooner (docs/adr/0008-ctranslate2.md)"))
    }
}

fn quic_port(settings: &Settings) -> Finding {
    let Some(address) = settings.audio.quic else { return Good("off (audio.quic)".to_owned()) };
    let certificate = match &settings.audio.tls {
        Some(tls) => format!("certificate sha256 {}", tls.sha256()),
        None => "with a certificate for development (audio.tls_certificate_file)".to_owned(),
    };
    match std::net::UdpSocket::bind(address) {
        Ok(_) => Good(format!("{address}/udp is free, {certificate}")),
        Err(error) => Bad(format!("{address}/udp: {error}; set audio.quic_port, or audio.quic = false")),
    }
}

async fn port(name: &str, address: SocketAddr) -> Finding {
    match TcpListener::bind(address).await {
        Ok(_) => Good(format!("{address} is free")),
        Err(error) => Bad(format!("{address}: {error}; is another server running? otherwise set {name}")),
    }
}

fn auth(settings: &Settings) -> Finding {
    match &settings.auth {
        Auth::Off => {
            Weak("off: everybody on this machine may connect; set auth.token for more than that".to_owned())
        }
        Auth::Token(_) => Good("by token, or with an account".to_owned()),
        Auth::Accounts => Good("with an account".to_owned()),
    }
}

async fn answers(answers: &Answers) -> Finding {
    if answers.are_notes() {
        return Weak(
            "notes: lines of the CV, no language model; set OPENAI_API_KEY or ANTHROPIC_API_KEY, or OPENAI_BASE_URL for a local server"
                .to_owned(),
        );
    }
    let mut problems = Vec::new();
    for answering in &answers.chain {
        let reached = match answering {
            Answering::Notes => Ok(()),
            Answering::OpenAi(config) => reach("answers.base_url", &config.base_url).await,
            Answering::Anthropic(config) => reach("answers.anthropic_base_url", &config.base_url).await,
        };
        problems.extend(reached.err());
    }
    let (text, failed) = (answers.names(), problems.len());
    match problems.join(". ") {
        why if failed == answers.chain.len() => Bad(format!("{text}. {why}")),
        why if failed > 0 => Weak(format!("{text}. {why}")),
        _ => Good(format!("{text} (reachable; keys are not checked)")),
    }
}

/// Whether the host of `url` takes connections; if not, what to do about it.
async fn reach(setting: &str, url: &str) -> Result<(), String> {
    let address = authority(url).ok_or_else(|| format!("{setting} {url:?} names no host"))?;
    match timeout(REACH_TIMEOUT, TcpStream::connect(&address)).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(format!("{address}: {error}; is the model server running? see {setting}")),
        Err(_) => {
            Err(format!("{address} does not answer within {} s; check the network", REACH_TIMEOUT.as_secs()))
        }
    }
}

/// `host:port` of a URL.
fn authority(url: &str) -> Option<String> {
    let (scheme, rest) = url.split_once("://")?;
    let authority = rest.split('/').next().filter(|authority| !authority.is_empty())?;
    let has_port = authority.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
    let default = if scheme == "https" { 443 } else { 80 };
    Some(if has_port { authority.to_owned() } else { format!("{authority}:{default}") })
}

fn candidate(settings: &Settings) -> Finding {
    match &settings.candidate.cv {
        None => Weak("no CV: set candidate.cv_file, so that answers know the candidate".to_owned()),
        Some(cv) => Good(format!("{} ({} lines)", cv.path.display(), cv.text.lines().count())),
    }
}

/// Each session has a socket; the rest is for files, the control API and providers.
fn open_files(max_sessions: usize) -> Finding {
    let needed = max_sessions * 2 + 64;
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let soft = limits.lines().find_map(|line| line.strip_prefix("Max open files")?.split_whitespace().next());
    match soft.map(|soft| (soft, soft.parse::<usize>())) {
        Some((_, Ok(soft))) if soft < needed => Bad(format!(
            "at most {soft}, but {max_sessions} sessions need {needed}: run `ulimit -n {needed}` first"
        )),
        Some((soft, _)) => Good(format!("at most {soft}; {max_sessions} sessions need {needed}")),
        None => Weak("the limit is not known on this system".to_owned()),
    }
}

/// For five seconds of speech. Above it a final is not there when its turn ends.
const SLOW_PASS: Duration = Duration::from_millis(600);
const REACH_TIMEOUT: Duration = Duration::from_secs(3);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn authorities() {
        let check = |url, expected: Option<&str>| assert_eq!(authority(url).as_deref(), expected, "{url}");
        check("http://127.0.0.1:11434/v1", Some("127.0.0.1:11434"));
        check("https://models.example/v1", Some("models.example:443"));
        check("http://models.example", Some("models.example:80"));
        check("models.example", None);
        check("http:///v1", None);
    }
}
