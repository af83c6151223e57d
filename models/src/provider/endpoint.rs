//! Where a server is: address and headers, checked, and made into what `async-openai` and `reqwest` ask for.
//!
//! Not here: where the values come from, and every client's own settings.

use std::{net::IpAddr, time::Duration};

use async_openai::config::Config;
use http::{HeaderMap, HeaderName, HeaderValue, header::AUTHORIZATION};
use secrecy::{ExposeSecret, SecretString};

use super::root_cause;

/// Why a configuration is unusable. No message holds a secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProviderConfigError {
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

/// The address and credentials of a server, as configured.
pub(crate) struct Access<'a> {
    /// With the version, `http` or `https`.
    pub(crate) base_url: &'a str,
    /// Sent as bearer token.
    pub(crate) api_key: Option<&'a SecretString>,
    /// `OpenAI-Organization`.
    pub(crate) organisation: Option<&'a str>,
    /// Added to each request; they replace those of the same name.
    pub(crate) headers: &'a [(String, SecretString)],
}

/// Base URL and headers, ready to send. The library's own configuration reads the environment and panics on odd keys.
#[derive(Clone)]
pub(crate) struct Endpoint {
    base: String,
    headers: HeaderMap,
    /// Whether the server is on this machine, so that no proxy may stand between.
    is_loopback: bool,
    no_key: SecretString,
}

impl Endpoint {
    /// Checks `access`; contacts nobody.
    pub(crate) fn new(access: &Access<'_>) -> Result<Self, ProviderConfigError> {
        let url = reqwest::Url::parse(access.base_url).map_err(|_| ProviderConfigError::BaseUrl)?;
        let plain = matches!(url.scheme(), "http" | "https")
            && url.query().is_none()
            && url.fragment().is_none()
            && url.username().is_empty()
            && url.password().is_none();
        let host = url.host_str().filter(|_| plain).ok_or(ProviderConfigError::BaseUrl)?;
        let is_loopback = host == "localhost"
            || host.trim_matches(['[', ']']).parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback());

        let mut headers = HeaderMap::new();
        let mut add = |name: &str, value: &str| {
            let unusable = || ProviderConfigError::Header(name.into());
            let header = HeaderName::try_from(name).map_err(|_| unusable())?;
            let mut value = HeaderValue::try_from(value).map_err(|_| unusable())?;
            value.set_sensitive(true);
            headers.insert(header, value);
            Ok(())
        };
        if let Some(key) = access.api_key {
            add(AUTHORIZATION.as_str(), &format!("Bearer {}", key.expose_secret()))?;
        }
        if let Some(organisation) = access.organisation {
            add("openai-organization", organisation)?;
        }
        for (name, value) in access.headers {
            add(name, value.expose_secret())?;
        }
        let base = access.base_url.trim_end_matches('/').to_owned();
        Ok(Self { base, headers, is_loopback, no_key: SecretString::default() })
    }

    /// Whether the server is on this machine.
    pub(crate) fn is_loopback(&self) -> bool {
        self.is_loopback
    }

    /// An HTTP client for this server alone, which keeps connections open: nobody asks anything for minutes of an interview. What
    /// stands between is kept aware of an idle connection, and one that leads nowhere any more is noticed.
    pub(crate) fn http_client(
        &self,
        connect_timeout: Duration,
    ) -> Result<reqwest::Client, ProviderConfigError> {
        let mut http = reqwest::Client::builder()
            .connect_timeout(connect_timeout)
            .pool_idle_timeout(IDLE)
            .tcp_keepalive(KEEP_ALIVE)
            .tcp_keepalive_interval(KEEP_ALIVE_AGAIN)
            .http2_keep_alive_interval(KEEP_ALIVE)
            .http2_keep_alive_timeout(KEEP_ALIVE_AGAIN)
            .http2_keep_alive_while_idle(true)
            // A redirect would carry key and prompt to a place nobody configured.
            .redirect(reqwest::redirect::Policy::none());
        if self.is_loopback {
            http = http.no_proxy();
        }
        http.build().map_err(|error| ProviderConfigError::Client(root_cause(&error)))
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

/// The server ends an idle connection sooner, as a rule.
const IDLE: Duration = Duration::from_secs(600);
const KEEP_ALIVE: Duration = Duration::from_secs(30);
/// For the answer to one, and from there to the next.
const KEEP_ALIVE_AGAIN: Duration = Duration::from_secs(10);
