//! The ear on a real recording: turns as snapshots in samples, the same under any cut of the bytes.

use codecs::{Codec, Finish, SampleIndex, StreamFormat};
use engine::{
    endpointer::EndpointerConfig,
    listener::{Listener, TurnEvent, TurnEventKind, Utterance},
};
use models::vad::{EarshotVad, VoiceActivityDetector, WebRtcMode, WebRtcVad};
use proptest::prelude::*;

const INTERVIEW: &[u8] = include_bytes!("../../samples/interview.flac");

type Detector = fn() -> Box<dyn VoiceActivityDetector>;
const DETECTORS: [(&str, Detector); 2] = [
    ("earshot", || Box::new(EarshotVad::new())),
    ("webrtc", || Box::new(WebRtcVad::new(WebRtcMode::VeryAggressive))),
];

fn listen(
    format: StreamFormat,
    detector: Detector,
    pieces: &mut dyn Iterator<Item = &[u8]>,
) -> Vec<TurnEvent> {
    let mut listener =
        Listener::new(format, vec![detector()], EndpointerConfig::default()).expect("a known format");
    let mut events = Vec::new();
    for piece in pieces {
        listener.push(piece, &mut events).expect("the recording is sound");
    }
    assert_eq!(listener.finish(&mut events).expect("the recording is whole"), Finish::Done);
    events
}

fn flac() -> StreamFormat {
    StreamFormat { codec: Codec::Flac, sample_rate: None, channels: None }
}

fn utterances(events: &[TurnEvent]) -> Vec<&Utterance> {
    let ended = events.iter().filter_map(|event| match &event.kind {
        TurnEventKind::Ended(utterance) => Some(utterance),
        _ => None,
    });
    ended.collect()
}

fn samples(index: SampleIndex) -> u64 {
    index.0
}

#[test]
fn the_turns_of_the_sample_interview() {
    let turns = |detector| {
        let events = listen(flac(), detector, &mut INTERVIEW.chunks(1_000));
        let turns = utterances(&events);
        turns
            .iter()
            .map(|turn| [turn.audio_start, turn.speech_start, turn.speech_end, turn.heard].map(samples))
            .collect::<Vec<_>>()
    };
    // Audio from, first speech, end of speech, decided. A change here is a change of what users hear cut.
    assert_eq!(turns(DETECTORS[0].1), SNAPSHOT_EARSHOT);
    assert_eq!(turns(DETECTORS[1].1), SNAPSHOT_WEBRTC);
}

const SNAPSHOT_EARSHOT: [[u64; 4]; 2] =
    [[4_000, 8_800, 93_920, 101_920], [152_480, 157_280, 222_240, 230_240]];
const SNAPSHOT_WEBRTC: [[u64; 4]; 2] =
    [[3_520, 8_320, 93_600, 101_600], [152_000, 156_800, 222_240, 230_240]];

#[test]
fn the_audio_of_a_turn_is_the_recording_itself() {
    let mut recording = Vec::new();
    let mut keep = |pcm: codecs::Pcm<'_>| recording.extend_from_slice(pcm.interleaved);
    codecs::decode_whole(flac(), INTERVIEW, &mut keep).expect("sound");
    let events = listen(flac(), DETECTORS[0].1, &mut INTERVIEW.chunks(333));
    for turn in utterances(&events) {
        let from = turn.audio_start.0 as usize;
        assert_eq!(turn.audio.len() as u64, turn.heard - turn.audio_start);
        assert!(
            turn.audio[..] == recording[from..from + turn.audio.len()],
            "the sample is 16 kHz: nothing is resampled"
        );
    }
}

/// What bad microphones and bad converters do to a recording.
#[test]
fn offset_clipping_holes_and_silence_leave_the_turns_alone() {
    let mut recording = Vec::new();
    let mut keep = |pcm: codecs::Pcm<'_>| recording.extend_from_slice(pcm.interleaved);
    codecs::decode_whole(flac(), INTERVIEW, &mut keep).expect("sound");
    let format = StreamFormat { codec: Codec::PcmF32le, sample_rate: Some(16_000), channels: Some(1) };
    let turns = |spoil: &dyn Fn(usize, f32) -> f32| {
        let samples = recording.iter().enumerate().map(|(n, sample)| spoil(n, *sample));
        let bytes: Vec<u8> = samples.flat_map(f32::to_le_bytes).collect();
        let events = listen(format, DETECTORS[0].1, &mut bytes.chunks(1_280));
        utterances(&events).iter().map(|turn| [turn.speech_start, turn.speech_end]).collect::<Vec<_>>()
    };
    let sound = turns(&|_, sample| sample);
    assert_eq!(sound.len(), 2);
    let check = |name: &str, spoil: &dyn Fn(usize, f32) -> f32| {
        let spoiled = turns(spoil);
        assert_eq!(spoiled.len(), sound.len(), "{name}");
        for (spoiled, sound) in spoiled.iter().flatten().zip(sound.iter().flatten()) {
            let off = spoiled.as_ms().abs_diff(sound.as_ms());
            assert!(off <= 120, "{name}: {off} ms off");
        }
    };
    check("an offset of 0.1", &|_, sample| sample + 0.1);
    check("an offset of 0.4", &|_, sample| sample * 0.5 + 0.4);
    check("12 dB too loud", &|_, sample| sample * 4.0);
    check("clipped at a tenth", &|_, sample| sample.clamp(-0.1, 0.1));
    check("no number in each hundredth", &|n, sample| if n % 100 == 7 { f32::NAN } else { sample });
    check("infinity in each thousandth", &|n, sample| if n % 1_000 == 7 { f32::INFINITY } else { sample });
    assert_eq!(turns(&|_, _| 0.0), [] as [[SampleIndex; 2]; 0]);
    assert_eq!(turns(&|_, _| 0.7), [] as [[SampleIndex; 2]; 0], "an offset and nothing else");
    assert_eq!(turns(&|_, _| f32::NAN), [] as [[SampleIndex; 2]; 0]);
}

#[test]
fn two_ears_hear_their_own_channel() {
    let loud: Vec<u8> =
        (0..32_000).flat_map(|n| if n % 80 < 40 { 12_000i16 } else { -12_000 }.to_le_bytes()).collect();
    let stereo: Vec<u8> = loud.chunks(2).flat_map(|sample| [sample, &[0, 0]].concat()).collect();
    let format = StreamFormat { codec: Codec::PcmS16le, sample_rate: Some(16_000), channels: Some(2) };
    let detectors: Vec<Box<dyn VoiceActivityDetector>> = (0..2).map(|_| Box::new(Loudness) as _).collect();
    let mut listener = Listener::new(format, detectors, EndpointerConfig::default()).expect("a known format");
    let mut events = Vec::new();
    listener.push(&stereo, &mut events).expect("PCM");
    assert_eq!(listener.finish(&mut events).expect("PCM"), Finish::Done);
    assert!(!events.is_empty() && events.iter().all(|event| event.channel == 0), "{} events", events.len());
}

struct Loudness;

impl VoiceActivityDetector for Loudness {
    fn classify(&mut self, frame: &[f32]) -> f32 {
        f32::from(u8::from(frame.iter().any(|sample| sample.abs() > 0.1)))
    }

    fn reset(&mut self) {}
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn the_cut_of_the_bytes_does_not_matter(sizes in prop::collection::vec(1usize..3_000, 1..40), rate in 0usize..4) {
        let rate = [8_000u32, 16_000, 44_100, 48_000][rate];
        // Two seconds of tone between silences, at each rate.
        let pcm: Vec<u8> = (0..rate * 4).flat_map(|n| {
            let on = (rate..rate * 3).contains(&n);
            let phase = f64::from(n) / f64::from(rate) * 300.0 * std::f64::consts::TAU;
            (if on { (phase.sin() * 12_000.0) as i16 } else { 0 }).to_le_bytes()
        }).collect();
        let format = StreamFormat { codec: Codec::PcmS16le, sample_rate: Some(rate), channels: Some(1) };
        let whole = listen(format, || Box::new(Loudness), &mut std::iter::once(&pcm[..]));
        let mut rest = &pcm[..];
        let mut pieces = Vec::new();
        for size in sizes.iter().cycle() {
            let (piece, after) = rest.split_at((*size).min(rest.len()));
            pieces.push(piece);
            rest = after;
            if rest.is_empty() { break; }
        }
        let cut = listen(format, || Box::new(Loudness), &mut pieces.into_iter());
        prop_assert_eq!(&cut, &whole);
        let turns = utterances(&whole);
        prop_assert_eq!(turns.len(), 1);
        let near = |index: SampleIndex, ms: u64| index.as_ms().abs_diff(ms) <= 50;
        prop_assert!(near(turns[0].speech_start, 1_000) && near(turns[0].speech_end, 3_000), "{:?}", turns[0].speech_start);
    }
}
