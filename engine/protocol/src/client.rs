//! Messages a client sends as text frames.

use base64::Engine as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{AudioFormat, ConfigUpdate};

/// One JSON message of a client. Unknown fields are refused, so that a misspelt one is not silently without effect.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum ClientMessage {
    /// Opens or resumes the session; must be the first message.
    StartStream(Box<StartStream>),
    /// Audio for clients that cannot send binary frames.
    AudioChunk {
        /// Logical stream; 0 when absent.
        #[serde(default)]
        channel: u8,
        /// Sequence number, with numbered framing.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        seq: Option<u32>,
        /// The bytes, base64 on the wire.
        #[serde(serialize_with = "to_base64", deserialize_with = "from_base64")]
        data: Vec<u8>,
    },
    /// End the current turn now, of one channel or of all.
    Finalize {
        /// `None`: every channel.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        channel: Option<u8>,
    },
    /// Answer `text`, or the words of `turn`, or the last turn, whatever the answer mode.
    AnswerNow {
        /// A question of the client's own.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        text: Option<String>,
        /// A turn whose transcript is the question.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        turn: Option<u64>,
    },
    /// Stop that answer.
    CancelAnswer {
        /// As in `answer_started`.
        answer_id: u64,
    },
    /// Any subset of the configuration; takes effect from the next turn.
    UpdateConfig {
        /// What changes.
        config: ConfigUpdate,
    },
    /// Echoed once all audio sent before it has been recognised and its events sent.
    Marker {
        /// Any id of the client's own.
        id: MarkerId,
    },
    /// Resets the idle timer.
    KeepAlive {},
    /// No more audio: finish every open turn and answer, then `stream_ended`.
    EndStream {},
}

/// The first message of a session.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StartStream {
    /// The client's own name for the session; made up by the server when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_id: Option<String>,
    /// What the audio is.
    pub audio: AudioFormat,
    /// Wishes for this session.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config: Option<ConfigUpdate>,
    /// Goes on with a session whose connection was lost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resume: Option<Resume>,
}

/// Where a lost connection left off.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Resume {
    /// From `stream_started`.
    pub token: String,
    /// Number of the last event the client has.
    pub last_event: u64,
}

/// A marker's id: a number or a short text, echoed as it came.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged, expecting = "marker id must be a whole number or a text")]
pub enum MarkerId {
    /// A number.
    Number(u64),
    /// A text.
    Text(String),
}

fn to_base64<S: Serializer>(data: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&base64::engine::general_purpose::STANDARD.encode(data))
}

fn from_base64<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
    let text = String::deserialize(deserializer)?;
    base64::engine::general_purpose::STANDARD
        .decode(text)
        .map_err(|error| serde::de::Error::custom(format!("data is not base64: {error}")))
}
