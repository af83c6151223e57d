//! Settings: one name in TOML (`[section] field`), one in the environment (`INTERVIEWAI_SECTION__FIELD`).
//!
//! The only place that reads the environment. Everything is checked at once, before anything binds; every problem is
//! listed. One file a section, `reader` for what they share. Not here: what the settings do (`compose`).

mod access;
mod accounts;
mod answers;
mod api;
mod audio;
mod cache;
mod candidate;
mod log;
mod reader;
mod session;
mod speech;
mod storage;

pub(crate) use self::{
    access::Auth,
    accounts::Accounts,
    answers::{Answering, Answers},
    api::Api,
    audio::Audio,
    cache::Cache,
    candidate::{Candidate, Document},
    log::Log,
    session::Detector,
    speech::{Provider, Speech},
    storage::Storage,
};

use std::{
    env, fmt,
    net::{IpAddr, Ipv4Addr},
    path::{Path, PathBuf},
};

use engine::config::{SessionConfig, SessionLimits};

use self::reader::Reader;

/// Every setting, checked.
#[derive(Debug)]
pub(crate) struct Settings {
    /// The doors of live sessions.
    pub(crate) audio: Audio,
    /// The control API's door.
    pub(crate) api: Api,
    /// Who may connect.
    pub(crate) auth: Auth,
    /// Who writes speech down.
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
    /// What is kept, and where.
    pub(crate) cache: Cache,
    /// Where accounts, history and files are kept.
    pub(crate) storage: Storage,
    /// What accounts need of the world.
    pub(crate) accounts: Accounts,
    /// What is logged.
    pub(crate) log: Log,
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

    /// Where the keys lie that sign access tokens.
    pub(crate) fn keys_dir(&self) -> PathBuf {
        self.accounts.keys_dir.clone().unwrap_or_else(|| self.storage.dir.join("keys"))
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
        let audio = reader.audio(loopback);
        let api = reader.api(loopback);
        // QUIC listens on the host of the WebSocket.
        let auth = reader.auth(&[("audio.host", audio.address), ("api.host", api.address)]);
        let speech = reader.speech();
        let candidate = reader.candidate();
        let session = reader.session();
        let answers = reader.answers();
        let cache = reader.cache();
        // All are read before the first that is wrong ends this, so that every problem is listed.
        let (limits, log) = (reader.limits(), reader.log());
        let (storage, accounts) = (reader.storage(), reader.accounts());
        let detector = reader.get("turns.detector", Detector::Earshot);
        Some(Self {
            audio,
            api,
            auth: auth?,
            speech,
            answers: answers?,
            candidate,
            limits,
            session: session?,
            detector,
            cache: cache?,
            storage: storage?,
            accounts,
            log,
        })
    }
}

fn utf8((name, value): (std::ffi::OsString, std::ffi::OsString)) -> Option<(String, String)> {
    Some((name.into_string().ok()?, value.into_string().ok()?))
}

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
        assert_eq!(settings.audio.address.to_string(), "127.0.0.1:8081");
        assert_eq!(settings.audio.quic.unwrap().to_string(), "127.0.0.1:8443");
        assert_eq!(settings.api.address.to_string(), "127.0.0.1:8080");
        assert_eq!(settings.cache.dir, Path::new("/home/ada/.cache/interviewai"));
        assert!(matches!(settings.auth, Auth::Off) && settings.answers.are_notes());
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
        assert_eq!((settings.audio.address.port(), settings.session.turns.min_silence_ms), (0, 700));
        assert_eq!(settings.cache.dir, Path::new("/x"));
    }

    #[test]
    fn certificates_are_read_at_start_and_what_is_wrong_with_them_is_named() {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let (certificate, key) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
        std::fs::write(&certificate, made.cert.pem()).unwrap();
        std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
        let toml = |certificate: &Path, key: &Path| {
            format!("[audio]\ntls_certificate_file = {certificate:?}\ntls_key_file = {key:?}\nquic = false\n")
        };
        let settings = load(&toml(&certificate, &key), &[]).unwrap();
        assert!(settings.audio.quic.is_none());
        let url = settings.audio.url(settings.audio.address);
        assert_eq!(url, "wss://127.0.0.1:8081/audio");
        assert!(!format!("{settings:?}").contains("PRIVATE KEY"));

        let wrong = |toml: &str, expected: &str| {
            let error = load(toml, &[]).unwrap_err();
            assert!(error.contains(expected), "{expected:?} is missing in: {error}");
        };
        wrong(&toml(&folder.path().join("none"), &key), "audio.tls_certificate_file: /");
        wrong(&toml(&key, &key), "the certificates cannot be used");
        wrong(&toml(&certificate, &certificate), "the key cannot be used");
        wrong(
            "[audio]\ntls_key_file = \"x\"",
            "audio.tls_key_file is set and audio.tls_certificate_file is not",
        );
        wrong("[audio]\ntls_certificate_file = \"x\"", "audio.tls_key_file is not");
        wrong("[audio]\nquic_port = 70000", "audio.quic_port");
    }

    #[test]
    fn a_provider_is_used_when_one_is_configured() {
        let chain = |toml: &str, environment: &[(&str, &str)]| {
            let answers = load(toml, environment).unwrap().answers;
            answers.chain.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        let (key, here) = (("OPENAI_API_KEY", "sk-x"), ("OPENAI_BASE_URL", "http://127.0.0.1:1/v1"));
        let openai = "gpt-4o-mini at https://api.openai.com/v1";
        assert_eq!(chain("", &[]), ["notes"]);
        assert_eq!(chain("", &[here]), ["gpt-4o-mini at http://127.0.0.1:1/v1"]);
        assert_eq!(chain("", &[key]), [openai]);
        assert_eq!(chain("[answers]\nprovider = \"notes\"", &[key]), ["notes"]);
        let anthropic = ("ANTHROPIC_API_KEY", "sk-y");
        let claude = "claude-haiku-4-5 at https://api.anthropic.com";
        assert_eq!(chain("", &[anthropic]), [claude]);
        assert_eq!(chain("", &[anthropic, key]), [openai]);
        assert_eq!(
            chain("[answers]\nfallback = [\"anthropic\", \"notes\"]", &[anthropic, key]),
            [openai, claude, "notes"]
        );
        let fallback = ("INTERVIEWAI_ANSWERS__FALLBACK", "[\"notes\"]");
        assert_eq!(chain("", &[fallback]), ["notes"]);
        assert_eq!(chain("", &[fallback, key]), [openai, "notes"]);

        let wrong = |toml: &str, expected: &str| {
            let error = load(&format!("[answers]\n{toml}"), &[]).unwrap_err();
            assert!(error.contains(expected), "{expected:?} is missing in: {error}");
        };
        wrong("provider = \"openai\"", "answers.provider names openai: set OPENAI_API_KEY");
        wrong("fallback = [\"openai\"]", "answers.fallback names openai: set OPENAI_API_KEY");
        wrong("provider = \"anthropic\"", "answers.provider names anthropic: set ANTHROPIC_API_KEY");
        wrong("provider = \"me\"", "answers.provider is \"me\": use \"auto\"");
        wrong("fallback = [\"auto\"]", "answers.fallback is \"auto\": use \"openai\"");
        let twice = "provider = \"openai\"\nfallback = [\"openai\"]\nbase_url = \"http://127.0.0.1:1/v1\"";
        wrong(twice, "answers.fallback: \"openai\" is asked already");
        let after = "fallback = [\"openai\"]\nprovider = \"notes\"\nbase_url = \"http://127.0.0.1:1/v1\"";
        wrong(after, "answers.fallback: \"openai\" is never asked");
        wrong("base_url = \"nowhere\"", "[answers] the base URL");
        wrong("retries = 11", "answers.retries is 11: use 0 to 10");
        wrong("rest_s = 0", "answers.rest_s is 0");
        wrong("on_break = \"cry\"", "answers.on_break");
        wrong("context_tokens = 100", "answers.context_tokens is 100: use 2048 or more");
        wrong("monthly_tokens = -1", "answers.monthly_tokens");
    }

    #[test]
    fn headers_and_monthly_limits_are_taken() {
        let toml =
            "[answers]\nheaders = { x-title = \"s3cret\" }\nmonthly_requests = 7\n[cache]\nanswers_mb = 0";
        let settings =
            load(toml, &[("OPENAI_API_KEY", "sk-x"), ("INTERVIEWAI_ANSWERS__MONTHLY_TOKENS", "9")]).unwrap();
        assert!(!format!("{settings:?}").contains("s3cret"));
        let [Answering::OpenAi(config)] = &settings.answers.chain[..] else {
            panic!("{:?}", settings.answers)
        };
        assert_eq!(config.headers[0].0, "x-title");
        let monthly = settings.answers.monthly;
        assert_eq!((monthly.requests, monthly.tokens, settings.cache.answers_mb), (Some(7), Some(9), 0));
    }

    #[test]
    fn speech_goes_where_it_is_configured_to_go() {
        let settings = load("", &[]).unwrap().speech;
        assert_eq!((settings.provider, settings.fallback), (Provider::Local, None));
        // The key for answers sends no audio anywhere.
        let settings = load("", &[("OPENAI_API_KEY", "sk-x")]).unwrap().speech;
        assert!(!settings.uses(Provider::OpenAi) && settings.openai.api_key.is_none());
        let toml = "[speech]\nprovider = \"openai\"\nfallback = \"local\"\nbase_url = \"http://127.0.0.1:1/v1\"\nupload = \"opus\"\n";
        let settings = load(toml, &[]).unwrap().speech;
        assert_eq!((settings.provider, settings.fallback), (Provider::OpenAi, Some(Provider::Local)));
        assert_eq!(settings.openai.base_url, "http://127.0.0.1:1/v1");

        let wrong = |toml: &str, expected: &str| {
            let error = load(&format!("[speech]\n{toml}"), &[]).unwrap_err();
            assert!(error.contains(expected), "{expected:?} is missing in: {error}");
        };
        wrong("provider = \"remote\"", "speech.provider is \"remote\": use \"local\" or \"openai\"");
        wrong("fallback = \"auto\"", "speech.fallback is \"auto\": use \"none\" or \"local\" or \"openai\"");
        wrong("fallback = \"local\"", "speech.fallback is the same as speech.provider");
        wrong("provider = \"openai\"", "set speech.api_key, or speech.base_url");
        wrong("fallback = \"openai\"", "set speech.api_key, or speech.base_url");
        wrong("provider = \"openai\"\nbase_url = \"nowhere\"", "[speech] the base URL");
        wrong("upload = \"mp3\"", "speech.upload is \"mp3\": use \"wav\" or \"opus\"");
        wrong("retries = 11", "speech.retries is 11: use 0 to 10");
        wrong("max_concurrent_requests = 0", "use 1 to 1000");
        wrong("max_speculative_requests_per_minute = 601", "use 0 to 600");
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
    fn a_store_that_no_url_names_is_refused_without_showing_its_password() {
        for url in ["mongodb://ann:p@ss:word@db/x", "mongodb://db:notaport", "mongodb://"] {
            let error = load("", &[("INTERVIEWAI_MONGODB_URL", url)]).unwrap_err();
            assert!(error.contains("storage.mongodb_url") && !error.contains("p@ss"), "{url}: {error}");
        }
        load("", &[("INTERVIEWAI_MONGODB_URL", "mongodb://ann:p%40ss@db1,db2/x?replicaSet=rs")]).unwrap();
    }

    /// As numbers they would be refused, or lose their zeros.
    #[test]
    fn secrets_of_the_environment_are_text_whatever_they_look_like() {
        use secrecy::ExposeSecret as _;
        let token = "00000000000000000000000000000012";
        for value in [token, "true00000000000000000000000000000", "[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10]"] {
            let settings = load(
                "[answers]\nfallback = [\"anthropic\"]",
                &[
                    ("INTERVIEWAI_AUTH__TOKEN", value),
                    ("INTERVIEWAI_SPEECH__API_KEY", value),
                    ("INTERVIEWAI_ANSWERS__API_KEY", value),
                    ("INTERVIEWAI_ANSWERS__ANTHROPIC_API_KEY", value),
                ],
            )
            .unwrap_or_else(|error| panic!("{value}: {error}"));
            let Auth::Token(taken) = &settings.auth else { panic!("{:?}", settings.auth) };
            let [Answering::OpenAi(openai), Answering::Anthropic(anthropic)] = &settings.answers.chain[..]
            else {
                panic!("{:?}", settings.answers)
            };
            let keys = [&openai.api_key, &anthropic.api_key, &settings.speech.openai.api_key];
            assert_eq!(taken.expose_secret(), value);
            assert!(keys.iter().all(|key| key.as_ref().is_some_and(|key| key.expose_secret() == value)));
        }
        let quoted = load("", &[("INTERVIEWAI_AUTH__TOKEN", &format!("\"{token}\""))]).unwrap();
        let Auth::Token(taken) = quoted.auth else { panic!("{:?}", quoted.auth) };
        assert_eq!(taken.expose_secret(), token, "as other texts, with or without quotes");
    }

    #[test]
    fn thoughts_take_their_room_from_the_context() {
        let settings = load(
            "[answers]\nthinking_tokens = 3000\nfallback = [\"anthropic\"]",
            &[("OPENAI_API_KEY", "sk-x"), ("ANTHROPIC_API_KEY", "sk-y")],
        )
        .unwrap();
        let [Answering::OpenAi(openai), Answering::Anthropic(anthropic)] = &settings.answers.chain[..] else {
            panic!("{:?}", settings.answers)
        };
        assert_eq!((openai.thinking_tokens, anthropic.thinking_tokens), (3_000, 3_000));
        assert_eq!(settings.session.context_tokens, 8_192 - 3_000);
        let error = load("[answers]\nthinking_tokens = 8000", &[]).unwrap_err();
        assert!(error.contains("answers.context_tokens is 8192: use 10048 or more"), "{error}");
    }

    #[test]
    fn secrets_stay_out_of_debug_output() {
        let token = "0123456789abcdef0123456789abcdef";
        let settings = load(
            "[speech]\napi_key = \"sk-secret\"",
            &[("OPENAI_API_KEY", "sk-secret"), ("INTERVIEWAI_AUTH__TOKEN", token)],
        )
        .unwrap();
        let shown = format!("{settings:?}");
        assert!(!shown.contains("sk-secret") && !shown.contains(token), "{shown}");
    }
}
