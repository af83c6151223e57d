//! Where the model is: the configuration, checked, and made into what `async-openai` asks for.
//!
//! Not here: where the values come from.

use std::{net::IpAddr, time::Duration};

use async_openai::config::{Config, OPENAI_API_BASE};
use http::{HeaderMap, HeaderName, HeaderValue, header::AUTHORIZATION};
use secrecy::{ExposeSecret, SecretString};

/// Where the model is, and how long to wait for it. `Debug` shows no secret.
#[derive(Clone, Debug)]
pub struct OpenAiChatConfig {
    /// Base URL with the version, `http` or `https`; `/chat/completions` is appended. Default: OpenAI's own.
    pub base_url: String,
    /// Sent as bearer token; most local servers need none. Default: none.
    pub api_key: Option<SecretString>,
    /// The organisation that is billed (`OpenAI-Organization`). Default: none.
    pub organisation: Option<String>,
    /// The model, as the provider names it.
    pub model: String,
    /// Headers added to each request; they replace those of the same name. Default: none.
    pub headers: Vec<(String, SecretString)>,
    /// Ask for log-probabilities, from which the confidence comes. Some servers refuse the request then. Default: off.
    pub logprobs: bool,
    /// To reach the server: DNS, TCP and TLS, when no connection is open. Default: 3 s.
    pub connect_timeout: Duration,
    /// From the first poll of the stream to the first text, connecting included. Default: 10 s.
    pub first_token_timeout: Duration,
    /// From one event to the next once there was text. Default: 10 s.
    pub between_tokens_timeout: Duration,
}

impl OpenAiChatConfig {
    /// `model` at OpenAI's own address, with the defaults of each field.
    pub fn new(model: impl Into<String>) -> Self {
        Self {
            base_url: OPENAI_API_BASE.into(),
            api_key: None,
            organisation: None,
            model: model.into(),
            headers: Vec::new(),
            logprobs: false,
            connect_timeout: Duration::from_secs(3),
            first_token_timeout: Duration::from_secs(10),
            between_tokens_timeout: Duration::from_secs(10),
        }
    }
}

/// Why a configuration is unusable. No message holds a secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenAiConfigError {
    /// Not an absolute `http` or `https` URL, or one with a query or credentials in it.
    #[error("the base URL of the model provider is not a plain http(s) URL")]
    BaseUrl,
    /// The model has no name.
    #[error("the model provider needs a model name")]
    Model,
    /// A key, organisation or extra header has characters that no HTTP header may have. Holds the header's name.
    #[error("the header {0} of the model provider cannot be sent: it has characters a header may not have")]
    Header(String),
    /// No TLS: there is no crypto provider or no certificate store on this machine.
    #[error("no HTTP client for the model provider: {0}")]
    Client(String),
}

/// Base URL and headers, ready to send. The library's own configuration reads the environment and panics on odd keys.
#[derive(Clone)]
pub(super) struct Endpoint {
    base: String,
    headers: HeaderMap,
    /// Whether the server is on this machine, so that no proxy may stand between.
    pub(super) is_loopback: bool,
    no_key: SecretString,
}

impl Endpoint {
    pub(super) fn new(config: &OpenAiChatConfig) -> Result<Self, OpenAiConfigError> {
        let url = reqwest::Url::parse(&config.base_url).map_err(|_| OpenAiConfigError::BaseUrl)?;
        let plain = matches!(url.scheme(), "http" | "https")
            && url.query().is_none()
            && url.fragment().is_none()
            && url.username().is_empty()
            && url.password().is_none();
        let host = url.host_str().filter(|_| plain).ok_or(OpenAiConfigError::BaseUrl)?;
        let is_loopback = host == "localhost"
            || host.trim_matches(['[', ']']).parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback());

        let mut headers = HeaderMap::new();
        let mut add = |name: &str, value: &str| {
            let unusable = || OpenAiConfigError::Header(name.into());
            let header = HeaderName::try_from(name).map_err(|_| unusable())?;
            let mut value = HeaderValue::try_from(value).map_err(|_| unusable())?;
            value.set_sensitive(true);
            headers.insert(header, value);
            Ok(())
        };
        if let Some(key) = &config.api_key {
            add(AUTHORIZATION.as_str(), &format!("Bearer {}", key.expose_secret()))?;
        }
        if let Some(organisation) = &config.organisation {
            add("openai-organization", organisation)?;
        }
        for (name, value) in &config.headers {
            add(name, value.expose_secret())?;
        }
        let base = config.base_url.trim_end_matches('/').to_owned();
        Ok(Self { base, headers, is_loopback, no_key: SecretString::default() })
    }
}

impl Config for Endpoint {
    fn headers(&self) -> HeaderMap {
        self.headers.clone()
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }

    fn query(&self) -> Vec<(&str, &str)> {
        Vec::new()
    }

    fn api_base(&self) -> &str {
        &self.base
    }

    fn api_key(&self) -> &SecretString {
        &self.no_key
    }
}
