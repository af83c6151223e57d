//! Where speech is sent, in which form, how often, and how long to wait. Not here: where the values come from.

use std::time::Duration;

use async_openai::config::OPENAI_API_BASE;
use secrecy::SecretString;

use crate::provider::{Access, Censor};

/// The form in which audio is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UploadFormat {
    /// WAV of 16 bits at 16 kHz: 32 KB for each second. Every server takes it, and it costs no time to make.
    Wav,
    /// Ogg with Opus: 4 KB for each second, 11 ms of CPU to make them. For thin uplinks.
    Opus,
}

/// A transcription service behind the OpenAI API. `Debug` shows no secret.
#[derive(Clone, Debug)]
pub struct OpenAiSpeechConfig {
    /// Base URL with the version, `http` or `https`; `/audio/transcriptions` is appended. Default: OpenAI's own.
    pub base_url: String,
    /// Sent as bearer token; most local servers need none. Default: none.
    pub api_key: Option<SecretString>,
    /// The organisation that is billed (`OpenAI-Organization`). Default: none.
    pub organisation: Option<String>,
    /// The model, as the provider names it. Default: `whisper-1`, the only one of OpenAI's that gives times.
    pub model: String,
    /// Headers added to each request; they replace those of the same name. Default: none.
    pub headers: Vec<(String, SecretString)>,
    /// Default: [`UploadFormat::Wav`].
    pub upload: UploadFormat,
    /// Whether interim requests are sent. Each costs as much as a final one, and there are two in each second of
    /// speech. Default: no.
    pub interims: bool,
    /// Guesses sent in any minute, all sessions together; 0 for none. Each that turns out wrong is paid in vain; without
    /// one, a final text comes later by the time of its turn's silence. At most 600. Default: 60.
    pub max_speculative_requests_per_minute: usize,
    /// To reach the server: DNS, TCP and TLS, when no connection is open. Default: 3 s.
    pub connect_timeout: Duration,
    /// One try, connecting included. Default: 10 s.
    pub try_timeout: Duration,
    /// The whole request, from the call to the text: waiting, tries, and pauses between them. Default: 25 s.
    pub total_timeout: Duration,
    /// Tries after the first, where another is worth it: 429, 5xx, a broken connection, a time-out. Default: 2.
    pub retries: u32,
    /// Longest pause before the first retry; it doubles with each, up to 4 s, and a random part of it is waited.
    /// Default: 250 ms.
    pub retry_pause: Duration,
    /// Requests under way at once. Default: 8.
    pub max_concurrent: usize,
    /// Requests that wait for one of those; more end with [`TranscribeError::Overloaded`](crate::speech::TranscribeError).
    /// Default: 32.
    pub max_waiting: usize,
}

impl Default for OpenAiSpeechConfig {
    fn default() -> Self {
        Self {
            base_url: OPENAI_API_BASE.into(),
            api_key: None,
            organisation: None,
            model: "whisper-1".into(),
            headers: Vec::new(),
            upload: UploadFormat::Wav,
            interims: false,
            max_speculative_requests_per_minute: 60,
            connect_timeout: Duration::from_secs(3),
            try_timeout: Duration::from_secs(10),
            total_timeout: Duration::from_secs(25),
            retries: 2,
            retry_pause: Duration::from_millis(250),
            max_concurrent: 8,
            max_waiting: 32,
        }
    }
}

impl OpenAiSpeechConfig {
    pub(super) fn access(&self) -> Access<'_> {
        Access {
            base_url: &self.base_url,
            api_key: self.api_key.as_ref(),
            organisation: self.organisation.as_deref(),
            headers: &self.headers,
        }
    }

    pub(super) fn censor<'a>(&'a self, asked: Vec<&'a str>) -> Censor<'a> {
        Censor { api_key: self.api_key.as_ref(), headers: &self.headers, asked }
    }
}
