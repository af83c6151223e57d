//! Settings: one name in TOML (`[section] field`), one in the environment (`INTERVIEWAI_SECTION__FIELD`).
//!
//! The only place that reads the environment. Everything is checked at once, before anything binds; every problem is
//! listed. Not here: what the settings do (`compose`).

use std::{
    collections::BTreeSet,
    env, fmt,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    num::NonZeroUsize,
    path::{Path, PathBuf},
    time::Duration,
};

use engine::config::{SessionConfig, SessionLimits};
use figment::{
    Figment,
    providers::{Format as _, Serialized, Toml},
    value::{Dict, Value},
};
use models::chat::{OpenAiChat, OpenAiChatConfig};
use protocol::{AnswerLength, AnswerMode, AnswersUpdate, ConfigUpdate, TurnsUpdate, Variant};
use secrecy::SecretString;
use serde::de::DeserializeOwned;
use tracing_subscriber::EnvFilter;

/// Every setting, checked.
#[derive(Debug)]
pub(crate) struct Settings {
    /// Where the WebSocket listens.
    pub(crate) audio_address: SocketAddr,
    /// Origins of web pages and extensions that may connect, beside pages of this machine.
    pub(crate) allowed_origins: Vec<String>,
    /// Where the control API listens.
    pub(crate) api_address: SocketAddr,
    /// Who may connect.
    pub(crate) auth: Auth,
    /// Local speech recognition.
    pub(crate) speech: Speech,
    /// Who answers.
    pub(crate) answers: Answers,
    /// Files about the candidate.
    pub(crate) candidate: Candidate,
    /// Bounds of every session.
    pub(crate) limits: SessionLimits,
    /// What a session is like unless its client says otherwise.
    pub(crate) session: SessionConfig,
    /// Which voice-activity detector.
    pub(crate) detector: Detector,
    /// Where weights lie.
    pub(crate) cache_dir: PathBuf,
    /// What is logged.
    pub(crate) log: Log,
}

/// Who may connect.
#[derive(Debug)]
pub(crate) enum Auth {
    /// Everybody on this machine.
    Off,
    /// Who shows this token.
    Token(SecretString),
}

/// Local speech recognition.
#[derive(Debug)]
pub(crate) struct Speech {
    /// Name of the weights in the catalogue.
    pub(crate) weights: String,
    /// A ggml file to use instead.
    pub(crate) weights_file: Option<PathBuf>,
    /// Inference threads that work at once; chosen by the number of cores when `None`.
    pub(crate) workers: Option<NonZeroUsize>,
    /// Threads of each worker; chosen by the number of cores when `None`.
    pub(crate) threads: Option<NonZeroUsize>,
}

/// Who answers.
#[derive(Debug)]
pub(crate) enum Answers {
    /// No language model: lines of the CV.
    Notes,
    /// An OpenAI-compatible provider.
    OpenAi(Box<OpenAiChatConfig>),
}

/// Documents about the candidate.
#[derive(Debug, Default)]
pub(crate) struct Candidate {
    /// The CV.
    pub(crate) cv: Option<Document>,
    /// The job description.
    pub(crate) job: Option<Document>,
}

/// A text file, read at start.
pub(crate) struct Document {
    /// Where it was.
    pub(crate) path: PathBuf,
    /// What it says.
    pub(crate) text: String,
}

impl Document {
    /// Reads a text of a sensible size.
    pub(crate) fn read(path: PathBuf) -> Result<Self, String> {
        let at = |why: String| format!("{}: {why}", path.display());
        let size = std::fs::metadata(&path).map_err(|error| at(error.to_string()))?.len();
        if size > MAX_DOCUMENT_BYTES {
            return Err(at(format!("{size} bytes; a text of at most {MAX_DOCUMENT_BYTES} is read")));
        }
        let text = std::fs::read_to_string(&path).map_err(|error| match error.kind() {
            std::io::ErrorKind::InvalidData => {
                at("not a UTF-8 text; save the document as plain text".to_owned())
            }
            _ => at(error.to_string()),
        })?;
        Ok(Self { path, text })
    }
}

impl fmt::Debug for Document {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({} bytes)", self.path.display(), self.text.len())
    }
}

/// A voice-activity detector.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Detector {
    /// The small neural detector of the crate `earshot`.
    Earshot,
    /// The Gaussian-mixture detector of WebRTC.
    Webrtc,
}

/// What is logged, to standard error.
#[derive(Debug)]
pub(crate) struct Log {
    /// As `RUST_LOG` understands it; each command has a default of its own.
    pub(crate) level: Option<String>,
    /// One JSON object a line instead of text.
    pub(crate) json: bool,
}

/// Everything that is wrong with the settings.
#[derive(Debug)]
pub(crate) struct SettingsError(Vec<String>);

impl std::error::Error for SettingsError {}

impl fmt::Display for SettingsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "the settings have {} problem(s):", self.0.len())?;
        self.0.iter().try_for_each(|problem| writeln!(f, "  - {problem}"))
    }
}

impl Settings {
    /// Reads `file` if one is named, then the environment, over the defaults.
    ///
    /// # Errors
    /// Lists every unknown name, malformed value and impossible combination.
    pub(crate) fn load(file: Option<&Path>) -> Result<Self, SettingsError> {
        Self::from_sources(file, &env::vars_os().filter_map(utf8).collect::<Vec<_>>())
    }

    fn from_sources(file: Option<&Path>, environment: &[(String, String)]) -> Result<Self, SettingsError> {
        let mut reader = Reader::new(file, environment);
        let settings = Self::read(&mut reader);
        reader.refuse_unknown();
        match settings {
            Some(settings) if reader.problems.is_empty() => Ok(settings),
            _ => Err(SettingsError(reader.problems)),
        }
    }

    fn read(reader: &mut Reader) -> Option<Self> {
        let loopback = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let audio_address =
            SocketAddr::new(reader.get("audio.host", loopback), reader.get("audio.port", 8081));
        let api_address = SocketAddr::new(reader.get("api.host", loopback), reader.get("api.port", 8080));
        let allowed_origins = reader.get("audio.allowed_origins", Vec::new());
        let auth = reader.auth(&[("audio.host", audio_address), ("api.host", api_address)]);
        let speech = Speech {
            weights: reader.get("speech.weights", models::weights::DEFAULT_WEIGHTS.to_owned()),
            weights_file: reader.optional("speech.weights_file"),
            workers: reader.optional("speech.workers"),
            threads: reader.optional("speech.threads"),
        };
        if let Err(error) = models::weights::find(&speech.weights) {
            reader.problem(format!("speech.weights: {error}"));
        }
        for (name, value) in [("speech.workers", speech.workers), ("speech.threads", speech.threads)] {
            if value.is_some_and(|value: NonZeroUsize| value.get() > 64) {
                reader.problem(format!("{name}: use 1 to 64, or leave it out"));
            }
        }
        if let Some(file) = speech.weights_file.as_ref().filter(|file| !file.is_file()) {
            reader.problem(format!("speech.weights_file: {} is no file", file.display()));
        }
        let candidate = Candidate {
            cv: reader.document("candidate.cv_file"),
            job: reader.document("candidate.job_file"),
        };
        let session = reader.session();
        Some(Self {
            audio_address,
            allowed_origins,
            api_address,
            auth: auth?,
            speech,
            answers: reader.answers()?,
            candidate,
            limits: reader.limits(),
            session: session?,
            detector: reader.get("turns.detector", Detector::Earshot),
            cache_dir: reader.cache_dir()?,
            log: reader.log(),
        })
    }
}

/// Takes settings one by one, remembering which names there are and what was wrong.
struct Reader {
    figment: Figment,
    known: BTreeSet<&'static str>,
    problems: Vec<String>,
    home: Option<String>,
    xdg_cache: Option<String>,
}

impl Reader {
    fn new(file: Option<&Path>, environment: &[(String, String)]) -> Self {
        let mut figment = Figment::new();
        let mut problems = Vec::new();
        if let Some(file) = file {
            match std::fs::read_to_string(file) {
                Ok(text) => {
                    let toml = Figment::from(Toml::string(&text));
                    match toml.extract::<Dict>() {
                        Ok(_) => figment = figment.merge(toml),
                        Err(error) => {
                            problems.push(format!("{}: not TOML: {}", file.display(), first_line(&error)))
                        }
                    }
                }
                Err(error) => problems.push(format!("{}: {error}", file.display())),
            }
        }
        let find = |wanted: &str| {
            environment.iter().find(|(name, _)| name == wanted).map(|(_, value)| value.clone())
        };
        for (name, key) in SHORT_FORMS {
            // Shells and container files set what they do not have to nothing.
            if let Some(value) = find(name).filter(|value| !value.is_empty()) {
                figment = figment.merge(Serialized::default(key, value));
            }
        }
        for (name, value) in environment {
            let Some((section, field)) =
                name.strip_prefix("INTERVIEWAI_").and_then(|rest| rest.split_once("__"))
            else {
                continue;
            };
            let key = format!("{}.{}", section.to_lowercase(), field.to_lowercase());
            // Figment's own reading of a value: numbers, booleans and lists are recognised, the rest is text.
            let value: Value = value.parse().unwrap_or_else(|never: std::convert::Infallible| match never {});
            figment = figment.merge(Serialized::default(&key, value));
        }
        Self {
            figment,
            known: BTreeSet::new(),
            problems,
            home: find("HOME"),
            xdg_cache: find("XDG_CACHE_HOME"),
        }
    }

    fn problem(&mut self, problem: impl Into<String>) {
        self.problems.push(problem.into());
    }

    fn optional<T: DeserializeOwned>(&mut self, key: &'static str) -> Option<T> {
        self.known.insert(key);
        match self.figment.extract_inner(key) {
            Ok(value) => Some(value),
            Err(error) if error.missing() => None,
            Err(error) => {
                self.problem(format!("{key}: {}", error.kind));
                None
            }
        }
    }

    fn get<T: DeserializeOwned>(&mut self, key: &'static str, default: T) -> T {
        self.optional(key).unwrap_or(default)
    }

    fn document(&mut self, key: &'static str) -> Option<Document> {
        let path = self.optional(key)?;
        Document::read(path).map_err(|error| self.problem(format!("{key}: {error}"))).ok()
    }

    fn log(&mut self) -> Log {
        let level = self.optional::<String>("log.level");
        if let Some(Err(error)) = level.as_ref().map(EnvFilter::try_new) {
            self.problem(format!("log.level: {error}; use error, warn, info, debug or trace"));
        }
        Log { level, json: self.get("log.json", false) }
    }

    fn auth(&mut self, listeners: &[(&str, SocketAddr)]) -> Option<Auth> {
        let token = self.optional::<SecretString>("auth.token");
        let mode = self.get("auth.mode", if token.is_some() { "token" } else { "off" }.to_owned());
        match (mode.as_str(), token) {
            ("off", _) => {
                for (name, address) in listeners.iter().filter(|(_, address)| !address.ip().is_loopback()) {
                    self.problem(format!(
                        "auth.mode is off, which is only for one machine, but {name} is {}: \
                         use 127.0.0.1, or set auth.token",
                        address.ip()
                    ));
                }
                Some(Auth::Off)
            }
            ("token", Some(token)) => {
                if secrecy::ExposeSecret::expose_secret(&token).len() < MIN_TOKEN_BYTES {
                    self.problem(format!("auth.token is shorter than {MIN_TOKEN_BYTES} characters"));
                }
                Some(Auth::Token(token))
            }
            ("token", None) => {
                self.problem("auth.mode is token: set auth.token");
                None
            }
            (other, _) => {
                self.problem(format!("auth.mode is {other:?}: use \"off\" or \"token\""));
                None
            }
        }
    }

    fn answers(&mut self) -> Option<Answers> {
        let default = OpenAiChatConfig::new("gpt-4o-mini");
        let api_key = self.optional::<SecretString>("answers.api_key");
        let base_url = self.optional::<String>("answers.base_url");
        let configured = api_key.is_some() || base_url.is_some();
        let config = OpenAiChatConfig {
            api_key,
            base_url: base_url.unwrap_or(default.base_url),
            organisation: self.optional("answers.organisation"),
            model: self.get("answers.model", default.model),
            logprobs: self.get("answers.logprobs", default.logprobs),
            first_token_timeout: self.seconds("answers.first_token_timeout_s", default.first_token_timeout),
            between_tokens_timeout: self
                .seconds("answers.between_tokens_timeout_s", default.between_tokens_timeout),
            ..OpenAiChatConfig::new("")
        };
        let provider = self.get("answers.provider", "auto".to_owned());
        match provider.as_str() {
            "notes" => Some(Answers::Notes),
            "auto" if !configured => Some(Answers::Notes),
            "auto" | "openai" if configured => match OpenAiChat::new(config.clone()) {
                Ok(_) => Some(Answers::OpenAi(Box::new(config))),
                Err(error) => {
                    self.problem(format!("[answers] {error}"));
                    None
                }
            },
            "openai" => {
                self.problem("answers.provider is openai: set OPENAI_API_KEY, or OPENAI_BASE_URL for a server without keys");
                None
            }
            other => {
                self.problem(format!("answers.provider is {other:?}: use \"auto\", \"openai\" or \"notes\""));
                None
            }
        }
    }

    fn limits(&mut self) -> SessionLimits {
        let default = SessionLimits::default();
        let limits = SessionLimits {
            max_sessions: self.get("sessions.max", default.max_sessions),
            start_timeout: self.seconds("sessions.start_timeout_s", default.start_timeout),
            idle_timeout: self.seconds("sessions.idle_timeout_s", default.idle_timeout),
            max_session: self.seconds("sessions.max_length_s", default.max_session),
            slow_client: self.seconds("sessions.slow_client_s", default.slow_client),
            drain: self.seconds("sessions.drain_s", default.drain),
        };
        if !(1..=100_000).contains(&limits.max_sessions) {
            self.problem("sessions.max: use 1 to 100000");
        }
        limits
    }

    fn seconds(&mut self, key: &'static str, default: Duration) -> Duration {
        let seconds = self.get(key, default.as_secs_f64());
        if (0.1..=86_400.0).contains(&seconds) {
            Duration::from_secs_f64(seconds)
        } else {
            self.problem(format!("{key} is {seconds}: use 0.1 to 86400"));
            default
        }
    }

    /// The defaults of sessions, through the same checks as a client's wishes.
    fn session(&mut self) -> Option<SessionConfig> {
        let update = ConfigUpdate {
            language: self.optional("session.language"),
            interim_results: self.optional("session.interim_results"),
            answers: Some(AnswersUpdate {
                mode: self.optional::<AnswerMode>("answers.mode"),
                variants: self.optional::<Vec<Variant>>("answers.variants"),
                length: self.optional::<AnswerLength>("answers.length"),
            }),
            turns: Some(TurnsUpdate {
                min_silence_ms: self.optional("turns.min_silence_ms"),
                max_silence_ms: self.optional("turns.max_silence_ms"),
                eager: self.optional("turns.eager"),
            }),
            vocabulary: self.optional("session.vocabulary"),
            save_history: self.optional("session.save_history"),
        };
        SessionConfig::default().updated(update).map_err(|error| self.problem(error.to_string())).ok()
    }

    fn cache_dir(&mut self) -> Option<PathBuf> {
        if let Some(dir) = self.optional::<PathBuf>("cache.dir") {
            return Some(dir);
        }
        let xdg = self.xdg_cache.clone().filter(|dir| !dir.is_empty()).map(PathBuf::from);
        let dir = xdg.or_else(|| self.home.as_ref().map(|home| Path::new(home).join(".cache")));
        match dir {
            Some(dir) => Some(dir.join("interviewai")),
            None => {
                self.problem("there is no home folder to keep weights in: set INTERVIEWAI_CACHE_DIR");
                None
            }
        }
    }

    /// A misspelt name would otherwise be silently without effect.
    fn refuse_unknown(&mut self) {
        match self.figment.extract::<Dict>() {
            Ok(dict) => {
                let mut found = Vec::new();
                for (section, value) in &dict {
                    match value.as_dict() {
                        Some(fields) => found.extend(fields.keys().map(|field| format!("{section}.{field}"))),
                        None => found.push(section.clone()),
                    }
                }
                found.retain(|key| !self.known.contains(key.as_str()));
                for key in found {
                    let close: Vec<_> =
                        self.known.iter().filter(|known| similar(known, &key)).copied().collect();
                    let hint = if close.is_empty() {
                        String::new()
                    } else {
                        format!("; is it {}?", close.join(" or "))
                    };
                    self.problem(format!("{key} is not a setting{hint}"));
                }
            }
            Err(error) => self.problem(error.to_string()),
        }
    }
}

/// What is wrong and where, without the line itself, which may hold a key.
fn first_line(error: &figment::Error) -> String {
    error.to_string().lines().next().unwrap_or_default().to_owned()
}

/// Same section or same field: enough for a hint.
fn similar(known: &str, key: &str) -> bool {
    let (section, field) = known.split_once('.').unwrap_or((known, ""));
    key.split_once('.').is_none_or(|(s, f)| {
        f == field || (s == section && (f.starts_with(&field[..field.len().min(3)]) || field.contains(f)))
    }) && (key.contains('.') || key == section)
}

fn utf8((name, value): (std::ffi::OsString, std::ffi::OsString)) -> Option<(String, String)> {
    Some((name.into_string().ok()?, value.into_string().ok()?))
}

/// Names that people know, and what they mean here.
const SHORT_FORMS: [(&str, &str); 4] = [
    ("INTERVIEWAI_AUTH", "auth.mode"),
    ("INTERVIEWAI_CACHE_DIR", "cache.dir"),
    ("OPENAI_API_KEY", "answers.api_key"),
    ("OPENAI_BASE_URL", "answers.base_url"),
];
const MAX_DOCUMENT_BYTES: u64 = 1024 * 1024;
/// 128 bits as hexadecimal digits.
const MIN_TOKEN_BYTES: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    fn load(toml: &str, environment: &[(&str, &str)]) -> Result<Settings, String> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), toml).unwrap();
        let home = [("HOME".to_owned(), "/home/ada".to_owned())];
        let environment: Vec<_> =
            environment.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).chain(home).collect();
        Settings::from_sources(Some(file.path()), &environment).map_err(|error| error.to_string())
    }

    #[test]
    fn no_configuration_at_all_works() {
        let settings = Settings::from_sources(None, &[("HOME".to_owned(), "/home/ada".to_owned())]).unwrap();
        assert_eq!(settings.audio_address.to_string(), "127.0.0.1:8081");
        assert_eq!(settings.api_address.to_string(), "127.0.0.1:8080");
        assert_eq!(settings.cache_dir, Path::new("/home/ada/.cache/interviewai"));
        assert!(matches!((settings.auth, settings.answers), (Auth::Off, Answers::Notes)));
        assert_eq!(settings.session, SessionConfig::default());
        assert_eq!(settings.limits, SessionLimits::default());
    }

    /// The documented file, with the settings that have no default filled in by the lines shown.
    #[test]
    fn the_documented_settings_are_all_there_are_and_show_the_defaults() {
        let documented = include_str!("../docs/settings.toml");
        let home = [("HOME".to_owned(), "/home/ada".to_owned())];
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), documented).unwrap();
        let shown = format!("{:?}", Settings::from_sources(Some(file.path()), &home).unwrap());
        assert_eq!(shown, format!("{:?}", Settings::from_sources(None, &home).unwrap()));

        let mut reader = Reader::new(None, &home);
        Settings::read(&mut reader).unwrap();
        for key in reader.known {
            let (section, field) = key.split_once('.').unwrap();
            let (_, after) =
                documented.split_once(&format!("[{section}]")).unwrap_or_else(|| panic!("[{section}]"));
            let body = after.split("\n[").next().unwrap();
            let has =
                body.lines().any(|line| line.trim_start_matches("# ").starts_with(&format!("{field} = ")));
            assert!(has, "{key} is not in docs/settings.toml");
        }
    }

    #[test]
    fn the_environment_goes_over_the_file() {
        let toml = "[audio]\nport = 1\n[turns]\nmin_silence_ms = 700\n";
        let settings =
            load(toml, &[("INTERVIEWAI_AUDIO__PORT", "0"), ("INTERVIEWAI_CACHE_DIR", "/x")]).unwrap();
        assert_eq!((settings.audio_address.port(), settings.session.turns.min_silence_ms), (0, 700));
        assert_eq!(settings.cache_dir, Path::new("/x"));
    }

    #[test]
    fn a_provider_is_used_when_one_is_configured() {
        let settings = load("", &[("OPENAI_BASE_URL", "http://127.0.0.1:1/v1")]).unwrap();
        assert!(
            matches!(settings.answers, Answers::OpenAi(config) if config.base_url == "http://127.0.0.1:1/v1")
        );
        assert!(matches!(load("", &[("OPENAI_API_KEY", "sk-x")]).unwrap().answers, Answers::OpenAi(_)));
        let notes = load("[answers]\nprovider = \"notes\"", &[("OPENAI_API_KEY", "sk-x")]).unwrap();
        assert!(matches!(notes.answers, Answers::Notes));
    }

    #[test]
    fn every_problem_is_listed() {
        let toml = "speed = 3\n[audio]\nport = 99999\nhost = \"0.0.0.0\"\n[turns]\nmin_silence = 5\n[speech]\nweights = \"huge\"\n";
        let error = load(toml, &[("INTERVIEWAI_ANSWERS__MODE", "sometimes"), ("INTERVIEWAI_AUTH", "off")])
            .unwrap_err();
        let named = [
            "speed is not",
            "audio.port",
            "auth.mode is off",
            "turns.min_silence is not",
            "speech.weights",
            "answers.mode",
        ];
        for name in named {
            assert!(error.contains(name), "{name} is missing in: {error}");
        }
        assert!(error.contains("min_silence_ms"), "no hint in: {error}");
    }

    #[test]
    fn secrets_stay_out_of_debug_output() {
        let token = "0123456789abcdef0123456789abcdef";
        let settings =
            load("", &[("OPENAI_API_KEY", "sk-secret"), ("INTERVIEWAI_AUTH__TOKEN", token)]).unwrap();
        let shown = format!("{settings:?}");
        assert!(!shown.contains("sk-secret") && !shown.contains(token), "{shown}");
    }
}
