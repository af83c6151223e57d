//! Audio and the one behaviour suite for the detectors' tests.
//!
//! The voice is a synthetic vowel: enough to tell a detector that works from one that is wired wrongly, not to judge it.

use std::f32::consts::TAU;

use super::VoiceActivityDetector;

/// What every detector behind the seam must do.
pub(super) fn conforms<V: VoiceActivityDetector + 'static>(new: impl Fn() -> V) {
    fn is_send<T: Send>(_: &T) {}
    let mut vad = new();
    is_send(&vad);

    let audio = voice(1.0);
    let first: Vec<f32> = audio.chunks_exact(160).map(|frame| vad.classify(frame)).collect();
    assert!(first.iter().all(|score| (0.0..=1.0).contains(score)));

    // As if new after a reset, even in mid-window and after samples no microphone gives.
    for bad in [f32::NAN, f32::INFINITY, -7.0, f32::MIN_POSITIVE] {
        assert!((0.0..=1.0).contains(&vad.classify(&[bad; 160])));
    }
    vad.reset();
    let again: Vec<f32> = audio.chunks_exact(160).map(|frame| vad.classify(frame)).collect();
    assert_eq!(again, first);
}

/// The share of frames scored 0.5 or more, the first 200 ms left out (detectors settle).
pub(super) fn speech_share(vad: &mut dyn VoiceActivityDetector, audio: &[f32]) -> f32 {
    let scores: Vec<f32> = audio.chunks_exact(160).map(|frame| vad.classify(frame)).skip(20).collect();
    scores.iter().filter(|score| **score >= 0.5).count() as f32 / scores.len() as f32
}

pub(super) fn silence(seconds: f32) -> Vec<f32> {
    vec![0.0; (seconds * 16_000.0) as usize]
}

/// White noise of the given peak, from a fixed seed.
pub(super) fn noise(seconds: f32, peak: f32) -> Vec<f32> {
    let mut state = 0x2545_F491u32;
    silence(seconds)
        .iter()
        .map(|_| {
            // xorshift32, Marsaglia 2003
            state ^= state << 13;
            state ^= state >> 17;
            state ^= state << 5;
            (state as f32 / u32::MAX as f32 * 2.0 - 1.0) * peak
        })
        .collect()
}

/// A vowel on a gliding pitch, four syllables a second, over a little breath: a pulse train through three formants.
pub(super) fn voice(seconds: f32) -> Vec<f32> {
    let mut phase = 0.0f32;
    let mut formants = [500.0f32, 1500.0, 2500.0].map(|frequency| (frequency, [0.0f32; 2]));
    let breath = noise(seconds, 0.002);
    let mut audio: Vec<f32> = (breath.iter().enumerate())
        .map(|(n, breath)| {
            let t = n as f32 / 16_000.0;
            phase += (130.0 + 25.0 * (TAU * 0.7 * t).sin()) / 16_000.0;
            let mut sample = if phase >= 1.0 { 1.0 } else { 0.0 };
            phase = phase.fract();
            for (frequency, past) in &mut formants {
                // A two-pole resonator 90 Hz wide (Klatt 1980), the formants in cascade.
                let r = (-TAU / 2.0 * 90.0 / 16_000.0).exp();
                let b = 2.0 * r * (TAU * *frequency / 16_000.0).cos();
                let out = (1.0 - b + r * r) * sample + b * past[0] - r * r * past[1];
                *past = [out, past[0]];
                sample = out;
            }
            let syllable = 0.3 + 0.7 * (0.5 - 0.5 * (TAU * 4.0 * t).cos());
            sample * syllable + breath
        })
        .collect();
    let peak = audio.iter().fold(0.0f32, |peak, sample| peak.max(sample.abs()));
    for sample in &mut audio {
        *sample *= 0.3 / peak;
    }
    audio
}
