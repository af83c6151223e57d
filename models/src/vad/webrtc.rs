//! The WebRTC voice-activity detector (a Gaussian mixture over six sub-bands, 8 kHz inside) behind the seam.
//!
//! Cheap and binary: scores are 0 or 1. Not here: smoothing over frames, which is the endpointer's.

use webrtc_vad::{SampleRate, Vad, VadMode};

use super::VoiceActivityDetector;

/// How sure WebRTC's detector must be before it says speech; each step trades false alarms for missed onsets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WebRtcMode {
    /// Hears nearly all speech and much that is not.
    Quality,
    /// A little stricter.
    LowBitrate,
    /// Stricter still.
    Aggressive,
    /// The fewest false alarms.
    VeryAggressive,
}

/// WebRTC's detector at 16 kHz, one decision for each 10 ms frame.
pub struct WebRtcVad {
    vad: Vad,
    mode: WebRtcMode,
}

// SAFETY: `Vad` lacks `Send` only because it holds a raw pointer. The pointer is the sole handle to a heap block that
// libfvad allocates in `new` and frees in `drop`; the library keeps no global or thread-local state and every call
// goes through `&mut self`, so the block may move between threads as any owned box may.
#[allow(unsafe_code)]
unsafe impl Send for WebRtcVad {}

impl WebRtcVad {
    /// A detector that has heard nothing.
    pub fn new(mode: WebRtcMode) -> Self {
        Self { vad: Vad::new_with_rate_and_mode(SampleRate::Rate16kHz, mode.into()), mode }
    }
}

impl VoiceActivityDetector for WebRtcVad {
    /// # Panics
    /// When `frame` is not 160 samples.
    fn classify(&mut self, frame: &[f32]) -> f32 {
        assert_eq!(frame.len(), FRAME, "a frame is 10 ms at 16 kHz");
        let mut pcm = [0i16; FRAME];
        for (to, from) in pcm.iter_mut().zip(frame) {
            // `as` saturates beyond full scale and turns NaN into silence.
            *to = (from * 32768.0) as i16;
        }
        match self.vad.is_voice_segment(&pcm).expect("160 samples at 16 kHz are a valid frame") {
            true => 1.0,
            false => 0.0,
        }
    }

    fn reset(&mut self) {
        // The library's reset also forgets rate and mode.
        self.vad.reset();
        self.vad.set_sample_rate(SampleRate::Rate16kHz);
        self.vad.set_mode(self.mode.into());
    }
}

impl From<WebRtcMode> for VadMode {
    fn from(mode: WebRtcMode) -> Self {
        match mode {
            WebRtcMode::Quality => Self::Quality,
            WebRtcMode::LowBitrate => Self::LowBitrate,
            WebRtcMode::Aggressive => Self::Aggressive,
            WebRtcMode::VeryAggressive => Self::VeryAggressive,
        }
    }
}

const FRAME: usize = 160;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vad::testing::{conforms, noise, silence, speech_share, voice};

    #[test]
    fn obeys_the_seam() {
        conforms(|| WebRtcVad::new(WebRtcMode::VeryAggressive));
    }

    #[test]
    fn hears_a_voice_and_not_silence_or_hiss() {
        let share = |audio: &[f32]| speech_share(&mut WebRtcVad::new(WebRtcMode::VeryAggressive), audio);
        assert_eq!(share(&silence(2.0)), 0.0);
        assert!(share(&noise(2.0, 0.01)) < 0.1);
        assert!(share(&voice(2.0)) > 0.8);
    }

    #[test]
    fn reset_keeps_rate_and_mode() {
        let audio = noise(3.0, 0.02);
        let score = |vad: &mut WebRtcVad| {
            audio.chunks_exact(FRAME).map(|frame| vad.classify(frame)).collect::<Vec<_>>()
        };
        let mut vad = WebRtcVad::new(WebRtcMode::VeryAggressive);
        let fresh = score(&mut vad);
        vad.reset();
        assert_eq!(score(&mut vad), fresh);
    }
}
