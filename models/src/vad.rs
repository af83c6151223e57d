//! The voice-activity seam: is there speech in this frame?
//!
//! Not here: when a turn begins or ends (the engine's endpointer decides that from these scores).

mod earshot;
mod webrtc;

pub use self::{earshot::EarshotVad, webrtc::WebRtcVad};

/// Scores 10 ms frames of mono 16 kHz audio, in order, one detector a channel.
pub trait VoiceActivityDetector: Send {
    /// How likely `frame` (exactly 160 samples in [-1, 1]) holds speech, in 0–1. A detector with a longer window of
    /// its own repeats its last score until the window is full. Never allocates.
    fn classify(&mut self, frame: &[f32]) -> f32;

    /// Forgets everything heard, as if new.
    fn reset(&mut self);
}
