//! What the client says of its audio.

use serde::{Deserialize, Serialize};

/// The `audio` object of `start_stream`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AudioFormat {
    /// Coding of the bytes.
    pub codec: Codec,
    /// Samples per second; required for headerless codecs, ignored for containers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sample_rate: Option<u32>,
    /// Interleaved channels of one stream; required for headerless codecs, ignored for containers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channels: Option<u16>,
    /// What becomes of interleaved channels.
    #[serde(default)]
    pub layout: Layout,
    /// Who speaks on each logical channel; one `mixed` channel when empty.
    #[serde(default)]
    pub roles: Vec<Role>,
    /// How binary messages are cut.
    #[serde(default)]
    pub framing: Framing,
}

impl AudioFormat {
    /// One mono channel of `codec`, raw framing.
    pub fn mono(codec: Codec, sample_rate: Option<u32>, role: Role) -> Self {
        Self {
            codec,
            sample_rate,
            channels: Some(1),
            layout: Layout::Mono,
            roles: vec![role],
            framing: Framing::Raw,
        }
    }

    /// The roles in force: [`roles`](Self::roles), or one [`Role::Mixed`].
    pub fn effective_roles(&self) -> &[Role] {
        if self.roles.is_empty() { &[Role::Mixed] } else { &self.roles }
    }

    /// Checks what the types cannot: required fields and their ranges.
    ///
    /// # Errors
    /// Names the field and what is accepted; answer with close code 4400.
    pub fn validate(&self) -> Result<(), AudioFormatError> {
        if self.codec.is_headerless() {
            let rate = self.sample_rate.ok_or(AudioFormatError::MissingRate(self.codec))?;
            if !(8_000..=192_000).contains(&rate) {
                return Err(AudioFormatError::Rate(rate));
            }
            let channels = self.channels.ok_or(AudioFormatError::MissingChannels(self.codec))?;
            if !(1..=MAX_CHANNELS).contains(&channels) {
                return Err(AudioFormatError::Channels(channels));
            }
        }
        if self.effective_roles().len() > usize::from(MAX_CHANNELS) {
            return Err(AudioFormatError::Roles(self.roles.len()));
        }
        Ok(())
    }
}

/// A field of `audio` that cannot be accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AudioFormatError {
    /// A headerless codec without its rate.
    #[error("audio.sample_rate is required for codec {0}")]
    MissingRate(Codec),
    /// A headerless codec without its channel count.
    #[error("audio.channels is required for codec {0}")]
    MissingChannels(Codec),
    /// A rate nobody records with.
    #[error("audio.sample_rate is {0}; send 8000 to 192000")]
    Rate(u32),
    /// A channel count out of range.
    #[error("audio.channels is {0}; send 1 to {MAX_CHANNELS}")]
    Channels(u16),
    /// Too many roles.
    #[error("audio.roles names {0} channels; at most {MAX_CHANNELS} are accepted")]
    Roles(usize),
}

/// Coding of the audio bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Codec {
    /// A container recognised by its content.
    Auto,
    /// Headerless signed 16-bit little-endian.
    PcmS16le,
    /// Headerless signed 24-bit little-endian.
    PcmS24le,
    /// Headerless 32-bit float little-endian.
    PcmF32le,
    /// Headerless G.711 µ-law.
    Mulaw,
    /// Headerless G.711 A-law.
    Alaw,
    /// One Opus packet a message.
    Opus,
    /// Ogg with Opus or Vorbis.
    Ogg,
    /// WebM/Matroska with Opus or Vorbis.
    Webm,
    /// Fragmented MP4.
    Mp4,
    /// MPEG layer 3.
    Mp3,
    /// AAC in ADTS.
    Aac,
    /// Native FLAC.
    Flac,
    /// RIFF/WAVE.
    Wav,
}

impl Codec {
    /// Whether the bytes carry no rate and channel count of their own.
    pub const fn is_headerless(self) -> bool {
        matches!(
            self,
            Self::PcmS16le | Self::PcmS24le | Self::PcmF32le | Self::Mulaw | Self::Alaw | Self::Opus
        )
    }
}

impl std::fmt::Display for Codec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.serialize(f)
    }
}

/// What becomes of interleaved channels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Layout {
    /// Mixed to one.
    #[default]
    Mono,
    /// Kept apart: left is `roles[0]`, right is `roles[1]`.
    Separate,
}

/// Who speaks on a logical channel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Asks; questions of this role are answered.
    Interviewer,
    /// Is being interviewed; never answered.
    Candidate,
    /// Both on one channel.
    #[default]
    Mixed,
}

/// How binary messages are cut.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Framing {
    /// Each binary message is the next bytes of channel 0.
    #[default]
    Raw,
    /// Each binary message starts with a [`FrameHeader`](crate::FrameHeader).
    Numbered,
}

const MAX_CHANNELS: u16 = 8;
