//! `[speech]`: who writes speech down: this machine, a server, or one of them with the other for bad times.
//!
//! Not here: loading weights (`compose`).

use std::{num::NonZeroUsize, path::PathBuf};

use models::speech::{FallbackConfig, OpenAiSpeechConfig, OpenAiTranscriber, Precision, UploadFormat};
use secrecy::SecretString;

use super::Reader;

/// Who writes speech down.
#[derive(Debug)]
pub(crate) struct Speech {
    /// Who is asked.
    pub(crate) provider: Provider,
    /// Who is asked when that one fails, if anybody; never the same.
    pub(crate) fallback: Option<Provider>,
    /// When that happens.
    pub(crate) fallback_config: FallbackConfig,
    /// Recognition on this machine.
    pub(crate) local: Local,
    /// A server; checked when it is one of the two.
    pub(crate) openai: OpenAiSpeechConfig,
}

/// A place where speech is recognised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Provider {
    /// Whisper on this machine.
    Local,
    /// A server that speaks the OpenAI API.
    OpenAi,
}

/// Recognition on this machine.
#[derive(Debug)]
pub(crate) struct Local {
    /// Name of the weights in the catalogue.
    pub(crate) weights: String,
    /// A ggml file to use instead.
    pub(crate) weights_file: Option<PathBuf>,
    /// Inference threads that work at once; chosen by the number of cores when `None`.
    pub(crate) workers: Option<NonZeroUsize>,
    /// Threads of each worker; chosen by the number of cores when `None`.
    pub(crate) threads: Option<NonZeroUsize>,
    /// How weights are kept; chosen by the processor when `None`.
    pub(crate) precision: Option<Precision>,
}

impl Speech {
    /// Whether `provider` may be asked at all.
    pub(crate) fn uses(&self, provider: Provider) -> bool {
        self.provider == provider || self.fallback == Some(provider)
    }
}

impl Reader {
    pub(super) fn speech(&mut self) -> Speech {
        let provider = self.provider("speech.provider", "local", &["local", "openai"]);
        let fallback = self.provider("speech.fallback", "none", &["none", "local", "openai"]);
        if provider.is_some() && provider == fallback {
            self.problem("speech.fallback is the same as speech.provider: use the other one, or \"none\"");
        }
        let default = FallbackConfig::default();
        let fallback_config = FallbackConfig {
            patience: self.seconds("speech.fallback_after_s", default.patience),
            cool_down: self.seconds("speech.fallback_rest_s", default.cool_down),
        };
        let local = self.local_speech();
        let (openai, configured) = self.openai_speech();
        let speech = Speech {
            provider: provider.unwrap_or(Provider::Local),
            fallback,
            fallback_config,
            local,
            openai,
        };
        if speech.uses(Provider::OpenAi) {
            if !configured {
                self.problem(
                    "speech goes to openai: set speech.api_key, or speech.base_url for a server without keys \
                     (OPENAI_API_KEY is for answers only)",
                );
            }
            if let Err(error) = OpenAiTranscriber::new(speech.openai.clone()) {
                self.problem(format!("[speech] {error}"));
            }
        }
        speech
    }

    fn local_speech(&mut self) -> Local {
        let local = Local {
            weights: self.get("speech.weights", models::weights::DEFAULT_WEIGHTS.to_owned()),
            weights_file: self.optional("speech.weights_file"),
            workers: self.optional("speech.workers"),
            threads: self.optional("speech.threads"),
            precision: self.precision(),
        };
        if let Err(error) = models::weights::find(&local.weights) {
            self.problem(format!("speech.weights: {error}"));
        }
        for (name, value) in [("speech.workers", local.workers), ("speech.threads", local.threads)] {
            if value.is_some_and(|value: NonZeroUsize| value.get() > 64) {
                self.problem(format!("{name}: use 1 to 64, or leave it out"));
            }
        }
        if let Some(file) = local.weights_file.as_ref().filter(|file| !file.is_file()) {
            self.problem(format!("speech.weights_file: {} is no file", file.display()));
        }
        local
    }

    fn precision(&mut self) -> Option<Precision> {
        match self.get("speech.precision", "auto".to_owned()).as_str() {
            "auto" => None,
            "int8" => Some(Precision::Int8),
            "float32" => Some(Precision::Float32),
            other => {
                self.problem(format!("speech.precision is {other:?}: use \"auto\", \"int8\" or \"float32\""));
                None
            }
        }
    }

    /// The server, and whether one is named at all.
    fn openai_speech(&mut self) -> (OpenAiSpeechConfig, bool) {
        let default = OpenAiSpeechConfig::default();
        let api_key = self.optional::<SecretString>("speech.api_key");
        let base_url = self.optional::<String>("speech.base_url");
        let configured = api_key.is_some() || base_url.is_some();
        let upload = match self.get("speech.upload", "wav".to_owned()).as_str() {
            "wav" => UploadFormat::Wav,
            "opus" => UploadFormat::Opus,
            other => {
                self.problem(format!("speech.upload is {other:?}: use \"wav\" or \"opus\""));
                default.upload
            }
        };
        let config = OpenAiSpeechConfig {
            api_key,
            base_url: base_url.unwrap_or(default.base_url),
            organisation: self.optional("speech.organisation"),
            model: self.get("speech.model", default.model),
            upload,
            interims: self.get("speech.remote_interims", default.interims),
            max_speculative_requests_per_minute: self.number(
                "speech.max_speculative_requests_per_minute",
                default.max_speculative_requests_per_minute,
                600,
            ),
            try_timeout: self.seconds("speech.try_timeout_s", default.try_timeout),
            total_timeout: self.seconds("speech.total_timeout_s", default.total_timeout),
            retries: self.number("speech.retries", default.retries as usize, 10) as u32,
            max_concurrent: self.number("speech.max_concurrent_requests", default.max_concurrent, 1_000),
            ..OpenAiSpeechConfig::default()
        };
        if config.max_concurrent == 0 {
            self.problem("speech.max_concurrent_requests is 0: use 1 to 1000");
        }
        (config, configured)
    }

    /// One of `names`; `None` also for "none".
    fn provider(&mut self, key: &'static str, default: &str, names: &[&str]) -> Option<Provider> {
        let name = self.get(key, default.to_owned());
        match name.as_str() {
            "local" => Some(Provider::Local),
            "openai" => Some(Provider::OpenAi),
            "none" if names.contains(&"none") => None,
            other => {
                let names: Vec<_> = names.iter().map(|name| format!("{name:?}")).collect();
                self.problem(format!("{key} is {other:?}: use {}", names.join(" or ")));
                None
            }
        }
    }
}
