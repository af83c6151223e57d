//! What changes in the middle of a stream: its rate, its channels, and whether its packets arrive.

#![allow(clippy::unwrap_used)] // A test may panic.

use codecs::{Codec, DecodeError, Decoder, Finish, Pcm, StreamFormat, decoder_for};
use opusic_c::{Application, Bitrate, Channels, Encoder, InbandFec, SampleRate};

fn decoder(codec: Codec) -> Box<dyn Decoder> {
    decoder_for(StreamFormat { codec, sample_rate: Some(48_000), channels: Some(1) }).unwrap()
}

/// The shapes of the audio in `bytes`, in order, each with its frames.
fn shapes(codec: Codec, bytes: &[u8]) -> Vec<(u32, u16, usize)> {
    let mut shapes: Vec<(u32, u16, usize)> = Vec::new();
    let mut note = |pcm: Pcm<'_>| {
        let frames = pcm.interleaved.len() / usize::from(pcm.channels);
        match shapes.last_mut() {
            Some((rate, channels, sum)) if (*rate, *channels) == (pcm.sample_rate, pcm.channels) => {
                *sum += frames
            }
            _ => shapes.push((pcm.sample_rate, pcm.channels, frames)),
        }
    };
    let mut decoder = decoder(codec);
    for piece in bytes.chunks(100) {
        match decoder.decode(piece, &mut note) {
            Ok(()) | Err(DecodeError::PacketSkipped(_)) => {}
            Err(error) => panic!("{error}"),
        }
    }
    assert_eq!(decoder.finish(&mut note).unwrap(), Finish::Done);
    shapes
}

#[test]
fn rate_and_channels_may_change_in_mid_stream() {
    let check = |codec, parts: [&[u8]; 2], expected: [(u32, u16); 2]| {
        let alone = parts.map(|part| shapes(codec, part)[0]);
        assert_eq!(alone.map(|(rate, channels, _)| (rate, channels)), expected);
        let together = shapes(codec, &parts.concat());
        let specs: Vec<_> = together.iter().map(|(rate, channels, _)| (*rate, *channels)).collect();
        assert_eq!(specs, expected);
        for (together, alone) in together.iter().zip(alone) {
            // At the joint a frame may lack what it builds on.
            let (_, _, together) = *together;
            let (_, _, alone) = alone;
            assert!(alone - together <= 2 * 1_152, "{together} of {alone} frames");
        }
    };
    let mp3 = include_bytes!("../fixtures/mp3-cbr-id3v2-44k-stereo.mp3");
    let mpeg2 = include_bytes!("../fixtures/mp3-mpeg2-16k-mono.mp3");
    check(Codec::Mp3, [mp3, mpeg2], [(44_100, 2), (16_000, 1)]);
    check(Codec::Mp3, [mpeg2, mp3], [(16_000, 1), (44_100, 2)]);
    let aac = include_bytes!("../fixtures/aac-44k-stereo.aac");
    let mono = include_bytes!("../fixtures/aac-16k-mono.aac");
    check(Codec::Aac, [aac, mono], [(44_100, 2), (16_000, 1)]);
    check(Codec::Aac, [mono, aac], [(16_000, 1), (44_100, 2)]);
    let vorbis = include_bytes!("../fixtures/ogg-vorbis-mono.ogg");
    let opus = include_bytes!("../fixtures/ogg-opus-stereo.ogg");
    check(Codec::Ogg, [opus, vorbis], [(16_000, 2), (16_000, 1)]);
    check(Codec::Ogg, [vorbis, opus], [(16_000, 1), (16_000, 2)]);
}

/// Two seconds of speech at 16 kHz.
fn speech() -> Vec<f32> {
    let mut samples = Vec::new();
    let wav = StreamFormat { codec: Codec::Wav, sample_rate: None, channels: None };
    let file = include_bytes!("../fixtures/reference.wav");
    codecs::decode_whole(wav, file, &mut |pcm| samples.extend_from_slice(pcm.interleaved)).unwrap();
    samples
}

const PACKET: usize = 320;

fn packets(speech: &[f32], redundancy: bool) -> Vec<Vec<u8>> {
    let mut encoder = Encoder::new(Channels::Mono, SampleRate::Hz16000, Application::Voip).unwrap();
    encoder.set_bitrate(Bitrate::Value(32_000)).unwrap();
    if redundancy {
        encoder.set_inband_fec(InbandFec::Mode1).unwrap();
        encoder.set_packet_loss(25).unwrap();
    }
    let encode = |frame| {
        let mut packet = Vec::with_capacity(1_500);
        encoder.encode_float_to_vec(frame, &mut packet).unwrap();
        packet
    };
    speech.chunks_exact(PACKET).map(encode).collect()
}

/// Decodes with the packets of `lost` missing; the decoder is told of them or not.
fn decode(packets: &[Vec<u8>], lost: &[usize], told: bool) -> Vec<f32> {
    let mut decoder = decoder(Codec::Opus);
    let mut samples = Vec::new();
    for (n, packet) in packets.iter().enumerate() {
        if !lost.contains(&n) {
            decoder.decode(packet, &mut |pcm| samples.extend_from_slice(pcm.interleaved)).unwrap();
        } else if told {
            assert!(decoder.lose(1), "Opus conceals");
        }
    }
    samples
}

/// How close `heard` is to `wanted` in the packets of `lost`, in decibels.
fn snr(heard: &[f32], wanted: &[f32], lost: &[usize]) -> f64 {
    let (mut signal, mut noise) = (0.0, 0.0);
    for n in lost.iter().flat_map(|packet| packet * PACKET..(packet + 1) * PACKET) {
        signal += f64::from(wanted[n]).powi(2);
        noise += f64::from(wanted[n] - heard[n]).powi(2);
    }
    10.0 * (signal / noise).log10()
}

#[test]
fn lost_packets_are_filled_in_time_and_in_sound() {
    let speech = speech();
    let lost: Vec<usize> = (10..95).step_by(6).collect();
    let check = |redundancy, at_least: f64| {
        let packets = packets(&speech, redundancy);
        let whole = decode(&packets, &[], true);
        assert_eq!(whole.len(), speech.len());
        let filled = decode(&packets, &lost, true);
        assert_eq!(filled.len(), whole.len(), "the gaps are as long as what they replace");
        let filled = snr(&filled, &whole, &lost);
        assert!(filled >= at_least, "{filled:.1} dB with redundancy {redundancy}");
        let untold = decode(&packets, &lost, false);
        assert_eq!(untold.len(), whole.len() - lost.len() * PACKET);
        filled
    };
    // Silence in the gaps would have 0 dB.
    let extrapolated = check(false, 0.5);
    let redundant = check(true, 4.0);
    assert!(redundant > extrapolated + 2.0, "{redundant:.1} dB, {extrapolated:.1} dB without redundancy");
}

#[test]
fn a_gap_is_filled_up_to_a_bound_and_what_is_no_packet_is_a_gap() {
    let packets = packets(&speech(), false);
    let mut decoder = decoder(Codec::Opus);
    let mut frames = 0;
    let mut count = |pcm: Pcm<'_>| frames += pcm.interleaved.len();
    decoder.decode(&packets[0], &mut count).unwrap();
    decoder.lose(u32::MAX);
    decoder.lose(u32::MAX);
    decoder.decode(&packets[1], &mut count).unwrap();
    assert_eq!(frames, PACKET + 10 * 16_000 + PACKET, "ten seconds are filled, no more");

    let mut decoder = self::decoder(Codec::Opus);
    let mut frames = 0;
    let mut count = |pcm: Pcm<'_>| frames += pcm.interleaved.len();
    decoder.decode(&packets[0], &mut count).unwrap();
    for no_packet in [&[][..], &[0xff], &[0x03; 1_000], &[0; 70_000]] {
        let error = decoder.decode(no_packet, &mut count).unwrap_err();
        assert!(matches!(error, DecodeError::PacketSkipped(_)), "{error:?}");
        assert!(error.to_string().contains(&format!("A message of {} bytes", no_packet.len())), "{error}");
    }
    decoder.decode(&packets[5], &mut count).unwrap();
    // The four are one gap each, filled when a packet comes again.
    assert_eq!(frames, 6 * PACKET);
    assert_eq!(decoder.finish(&mut |_| {}).unwrap(), Finish::Done);
    decoder.decode(&packets[6], &mut |_| panic!("audio after the end")).unwrap();
}
