//! The earshot voice-activity detector (a small recurrent network, pure Rust) behind the seam.
//!
//! Its own window is 256 samples (16 ms); frames are gathered here. Not here: a threshold, which is the endpointer's.

use ::earshot::Detector;

use super::VoiceActivityDetector;

/// Earshot's detector: a graded score, renewed on five of each eight frames.
pub struct EarshotVad {
    /// 8 KiB, which a session that says nothing need not have.
    detector: Option<Box<Detector>>,
    window: [f32; WINDOW],
    filled: usize,
    score: f32,
}

impl EarshotVad {
    /// A detector that has heard nothing; its score is 0 until 16 ms have been heard.
    pub fn new() -> Self {
        Self { detector: None, window: [0.0; WINDOW], filled: 0, score: 0.0 }
    }
}

impl Default for EarshotVad {
    fn default() -> Self {
        Self::new()
    }
}

impl VoiceActivityDetector for EarshotVad {
    fn classify(&mut self, frame: &[f32]) -> f32 {
        for sample in frame {
            // One NaN would stay in the network's memory for good.
            self.window[self.filled] = if sample.is_nan() { 0.0 } else { sample.clamp(-1.0, 1.0) };
            self.filled += 1;
            if self.filled == WINDOW {
                let detector = self.detector.get_or_insert_default();
                self.score = detector.predict_f32(&self.window).clamp(0.0, 1.0);
                self.filled = 0;
            }
        }
        self.score
    }

    fn reset(&mut self) {
        if let Some(detector) = &mut self.detector {
            detector.reset();
        }
        self.filled = 0;
        self.score = 0.0;
    }
}

/// Samples earshot scores at once.
const WINDOW: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vad::testing::{conforms, noise, silence, speech_share, voice};

    #[test]
    fn obeys_the_seam() {
        conforms(EarshotVad::new);
    }

    #[test]
    fn hears_a_voice_and_not_silence_or_hiss() {
        let share = |audio: &[f32]| speech_share(&mut EarshotVad::new(), audio);
        assert!(share(&silence(2.0)) < 0.05);
        assert!(share(&noise(2.0, 0.01)) < 0.1);
        assert!(share(&voice(2.0)) > 0.5);
    }

    #[test]
    fn scores_do_not_depend_on_how_frames_fall_into_windows() {
        let audio = voice(1.6);
        let mut framed = EarshotVad::new();
        let mut whole = Detector::default();
        let mut expected = vec![0.0];
        expected.extend(audio.chunks_exact(WINDOW).map(|window| whole.predict_f32(window)));
        for (index, frame) in audio.chunks_exact(160).enumerate() {
            assert_eq!(framed.classify(frame), expected[(index + 1) * 160 / WINDOW]);
        }
    }
}
