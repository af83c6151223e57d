//! What is encoded here and decoded again is what it was.
//!
//! Not here: whether other programs read it (`models/tests/speech_openai.rs` sends both forms to a real server).
#![allow(clippy::unwrap_used)]

#[path = "support/fixtures.rs"]
mod fixtures;
#[path = "support/likeness.rs"]
mod likeness;
#[path = "support/stream.rs"]
mod stream;

use codecs::{Codec, StreamFormat, decode_whole, encode_ogg_opus, encode_wav};

/// All samples of `file`, which must be mono at 16 kHz and whole.
fn decoded(codec: Codec, file: &[u8]) -> Vec<f32> {
    let format = StreamFormat { codec, sample_rate: None, channels: None };
    let mut samples = Vec::new();
    let notices = decode_whole(format, file, &mut |pcm| {
        assert_eq!((pcm.sample_rate, pcm.channels), (16_000, 1));
        samples.extend_from_slice(pcm.interleaved);
    });
    assert!(notices.as_ref().unwrap().is_empty(), "{notices:?}");
    samples
}

#[test]
fn opus_gives_back_the_speech_in_time_and_at_its_length() {
    let speech = fixtures::reference();
    // Whole packets, a part of one, one sample.
    for length in [speech.len(), 16_001, 319, 1] {
        let file = encode_ogg_opus(&speech[..length]).unwrap();
        assert_eq!(decoded(Codec::Ogg, &file).len(), length);
    }
    let file = encode_ogg_opus(&speech).unwrap();
    let likeness = likeness::likeness(&speech, &decoded(Codec::Ogg, &file));
    let bits_per_second = file.len() * 8 * 16_000 / speech.len();
    println!("{likeness:?}, {bits_per_second} bit/s");
    assert_eq!(likeness.lag, 0);
    assert!(likeness.snr_db > 20.0 && likeness.gain_db.abs() < 0.2, "{likeness:?}");
    assert!((24_000..40_000).contains(&bits_per_second), "{bits_per_second}");
}

#[test]
fn a_minute_of_opus_is_whole() {
    let speech: Vec<f32> = fixtures::reference().into_iter().cycle().take(60 * 16_000).collect();
    let began = std::time::Instant::now();
    let file = encode_ogg_opus(&speech).unwrap();
    println!("60 s: {} bytes in {:?}", file.len(), began.elapsed());
    let decoded = decoded(Codec::Ogg, &file);
    assert_eq!(decoded.len(), speech.len());
    // The end is as good as the beginning.
    let tail = 50 * 16_000;
    assert!(likeness::likeness(&speech[tail..], &decoded[tail..]).snr_db > 20.0);
}

#[test]
fn wav_gives_back_the_samples() {
    let speech = fixtures::reference();
    assert_eq!(decoded(Codec::Wav, &encode_wav(&speech)), speech, "the fixture has 16 bits");
    let odd = [2.0, -2.0, f32::NAN, f32::INFINITY, 1.0, -1.0];
    let loudest = 32_767.0 / 32_768.0;
    assert_eq!(decoded(Codec::Wav, &encode_wav(&odd)), [loudest, -1.0, 0.0, 0.0, loudest, -1.0]);
}

#[test]
fn nothing_and_nonsense_are_encoded_too() {
    assert_eq!(encode_wav(&[]).len(), 44);
    assert_eq!(decoded(Codec::Ogg, &encode_ogg_opus(&[]).unwrap()), []);
    let nonsense = [f32::NAN, f32::NEG_INFINITY, 1e30, -1e30].repeat(400);
    let back = decoded(Codec::Ogg, &encode_ogg_opus(&nonsense).unwrap());
    assert_eq!(back.len(), nonsense.len());
}
