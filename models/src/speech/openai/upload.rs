//! What is sent: the audio as a file, and what the server is told of it.
//!
//! Not here: HTTP (`exchange`).

use async_openai::{error::OpenAIError, traits::AsyncTryFrom};
use bytes::Bytes;
use reqwest::{
    Body,
    multipart::{Form, Part},
};

use super::{OpenAiSpeechConfig, UploadFormat};
use crate::speech::TranscribeRequest;

/// One request's form. Cloned for each try, which copies no audio.
#[derive(Clone)]
pub(super) struct Upload {
    audio: Bytes,
    file_name: &'static str,
    mime: &'static str,
    fields: Vec<(&'static str, String)>,
}

impl Upload {
    /// Encodes the audio of `request`; blocks for up to a second for a long turn as Opus.
    pub(super) fn new(config: &OpenAiSpeechConfig, request: &TranscribeRequest) -> Result<Self, String> {
        let (audio, file_name, mime) = match config.upload {
            UploadFormat::Wav => (codecs::encode_wav(&request.audio), "turn.wav", "audio/wav"),
            UploadFormat::Opus => {
                let file = codecs::encode_ogg_opus(&request.audio).map_err(|error| error.to_string())?;
                (file, "turn.ogg", "audio/ogg")
            }
        };
        let mut fields = vec![("model", config.model.clone())];
        fields.extend(answer_shape(&config.model).iter().map(|(name, value)| (*name, (*value).to_owned())));
        fields.extend(request.language.iter().map(|language| ("language", language.clone())));
        fields.extend(prompt(&request.vocabulary).map(|prompt| ("prompt", prompt)));
        Ok(Self { audio: audio.into(), file_name, mime, fields })
    }
}

impl AsyncTryFrom<Upload> for Form {
    type Error = OpenAIError;

    async fn try_from(upload: Upload) -> Result<Self, OpenAIError> {
        let length = upload.audio.len() as u64;
        let part = Part::stream_with_length(Body::from(upload.audio), length).file_name(upload.file_name);
        let mut form = Self::new().part("file", part.mime_str(upload.mime)?);
        for (name, value) in upload.fields {
            form = form.text(name, value);
        }
        Ok(form)
    }
}

/// How the answer is asked for. Whisper and all that serve it: with times of words, and segments for their
/// probabilities. OpenAI's GPT models refuse that, and know log-probabilities of tokens instead (some of them).
fn answer_shape(model: &str) -> &'static [(&'static str, &'static str)] {
    match model {
        _ if model.starts_with("gpt-4o") && !model.contains("diarize") => {
            &[("response_format", "json"), ("include[]", "logprobs")]
        }
        _ if model.starts_with("gpt-") => &[("response_format", "json")],
        _ => &[
            ("response_format", "verbose_json"),
            ("timestamp_granularities[]", "word"),
            ("timestamp_granularities[]", "segment"),
        ],
    }
}

/// `vocabulary` as the text that went before, the way Whisper is told spellings; earlier terms first.
pub(super) fn prompt(vocabulary: &[String]) -> Option<String> {
    let mut prompt = String::new();
    for term in vocabulary.iter().map(|term| term.trim()).filter(|term| !term.is_empty()) {
        if prompt.len() + term.len() + 2 > PROMPT_BYTES {
            break;
        }
        prompt += if prompt.is_empty() { "" } else { ", " };
        prompt += term;
    }
    // Text that follows a list without an end is written without punctuation.
    (!prompt.is_empty()).then(|| prompt + ".")
}

/// Whisper reads the last 224 tokens of a prompt; names take a token for every three bytes or so.
const PROMPT_BYTES: usize = 600;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prompts() {
        let check = |terms: &[&str], expected: Option<&str>| {
            let terms: Vec<_> = terms.iter().map(|term| (*term).to_owned()).collect();
            assert_eq!(prompt(&terms).as_deref(), expected);
        };
        check(&[], None);
        check(&["", "  "], None);
        check(&["Kubernetes", " Rust "], Some("Kubernetes, Rust."));
        check(&["a", &"b".repeat(600), "c"], Some("a."));
    }
}
