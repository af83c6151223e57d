//! What audio is: decode, encode, resample, frame. Pure and synchronous: no I/O, no clock, no tokio, spawns nothing.
//!
//! The listening path of one chunk uses this crate in order:
//! [`Decoder::decode`] → [`downmix`] or [`pick_channel`] → [`Resampler::process`] → [`Framer::next_frame`].

mod channels;
mod decode;
mod encode;
mod frame;
mod resample;

pub use channels::{downmix, pick_channel};
pub use decode::{Codec, DecodeError, Decoder, Finish, Pcm, StreamFormat, decode_whole, decoder_for};
pub use encode::{EncodeError, encode_ogg_opus, encode_wav};
pub use frame::{AudioFrame, FRAME_SAMPLES, Framer, SAMPLE_RATE, SampleIndex};
pub use resample::{ResampleError, Resampler};
