//! The voice-activity detectors on real speech and real noise: that they work, and that the documented choice stands.
//!
//! Not here: a benchmark of either.
#![allow(clippy::unwrap_used)]

#[path = "common/recordings.rs"]
#[allow(dead_code)]
mod recordings;

use models::vad::{EarshotVad, VoiceActivityDetector, WebRtcMode, WebRtcVad};
use recordings::recordings;

/// The share of all frames of `set` that a new detector scores 0.5 or more; `None` where there are no recordings.
fn speech_share(set: &str, new: fn() -> Box<dyn VoiceActivityDetector>) -> Option<f32> {
    let (mut speech, mut frames) = (0, 0);
    for recording in recordings(set) {
        let mut detector = new();
        for frame in recording.audio().chunks_exact(160) {
            speech += usize::from(detector.classify(frame) >= 0.5);
            frames += 1;
        }
    }
    (frames > 0).then(|| speech as f32 / frames as f32)
}

#[test]
fn hear_people_and_earshot_is_less_often_fooled() {
    let earshot = || -> Box<dyn VoiceActivityDetector> { Box::new(EarshotVad::new()) };
    let webrtc = || -> Box<dyn VoiceActivityDetector> { Box::new(WebRtcVad::new(WebRtcMode::Aggressive)) };
    // Read sentences: about a fifth of them is pause.
    for (name, new) in [("earshot", earshot as fn() -> _), ("WebRTC", webrtc)] {
        let Some(share) = speech_share("ljspeech", new) else { return };
        println!("{name} hears speech in {:.0} % of read sentences", share * 100.0);
        assert!((0.7..0.98).contains(&share), "{name}: {share}");
    }
    let (earshot, webrtc) =
        (speech_share("nonspeech", earshot).unwrap(), speech_share("nonspeech", webrtc).unwrap());
    println!(
        "false alarms without any speech: earshot {:.0} %, WebRTC {:.0} %",
        earshot * 100.0,
        webrtc * 100.0
    );
    assert!(earshot < webrtc, "{earshot} {webrtc}");
}
