//! Golden tests of the containers: exact samples under every chunking, every truncation, and damage.

#![allow(clippy::unwrap_used)] // A test may panic.

use codecs::{Codec, DecodeError, Finish, Pcm, StreamFormat, decoder_for};
use proptest::prelude::*;

/// The test signal, 24 bits; the same formula is in `fixtures/signal.py`.
fn signal(n: u32, channel: u32) -> i32 {
    let phase = (channel * 0x1000_0000)
        .wrapping_add(n.wrapping_mul(0x0100_0000))
        .wrapping_add(n.wrapping_mul(n).wrapping_mul(0x2000));
    let triangle = (phase.min(!phase) >> 8) as i32 - 0x40_0000;
    let mut noise = (n * 8 + channel + 1).wrapping_mul(2_654_435_761);
    noise ^= noise >> 15;
    noise = noise.wrapping_mul(2_246_822_519);
    noise ^= noise >> 13;
    triangle + (noise >> 14) as i32 - 0x2_0000
}

/// The interleaved signal, each sample from its 24 bits by `convert`.
fn interleaved<T>(frames: u32, channels: u32, convert: impl Fn(i32) -> T) -> Vec<T> {
    (0..frames).flat_map(|n| (0..channels).map(move |c| signal(n, c))).map(convert).collect()
}

fn reference_16(frames: u32, channels: u32) -> Vec<f32> {
    interleaved(frames, channels, |s| (s >> 8) as f32 / 32_768.0)
}

/// All that came out of a stream.
#[derive(Debug, Default, PartialEq)]
struct Decoded {
    sample_rate: u32,
    channels: u16,
    samples: Vec<f32>,
    skips: Vec<String>,
    failure: Option<String>,
}

fn decode_in<'a>(codec: Codec, chunks: impl IntoIterator<Item = &'a [u8]>) -> Decoded {
    let mut decoder = decoder_for(StreamFormat { codec, sample_rate: None, channels: None }).unwrap();
    let mut decoded = Decoded::default();
    let mut chunks = chunks.into_iter();
    loop {
        let chunk = chunks.next();
        let mut sink = |pcm: Pcm<'_>| {
            assert!(!pcm.interleaved.is_empty());
            assert_eq!(pcm.interleaved.len() % usize::from(pcm.channels), 0);
            assert!(pcm.interleaved.iter().all(|s| (-1.0..=1.0).contains(s)));
            (decoded.sample_rate, decoded.channels) = (pcm.sample_rate, pcm.channels);
            decoded.samples.extend_from_slice(pcm.interleaved);
        };
        let result = match chunk {
            Some(chunk) => decoder.decode(chunk, &mut sink).map(|()| Finish::Done),
            None => decoder.finish(&mut sink),
        };
        match result {
            Ok(finish) => assert_eq!(finish, Finish::Done, "less than ten seconds"),
            Err(DecodeError::PacketSkipped(what)) => decoded.skips.push(what),
            Err(DecodeError::Undecodable(why)) => {
                let again = decoder.decode(b"more", &mut |_| panic!("audio after a failure")).unwrap_err();
                assert_eq!(again.to_string(), why, "a failed decoder repeats its error");
                decoded.failure = Some(why);
                return decoded;
            }
            Err(other) => panic!("{other:?}"),
        }
        if chunk.is_none() {
            decoder.decode(b"more", &mut |_| panic!("audio after the end")).unwrap();
            return decoded;
        }
    }
}

/// Cuts `bytes` into chunks of the given sizes, over and over.
fn cut<'a>(bytes: &'a [u8], sizes: &'a [usize]) -> impl Iterator<Item = &'a [u8]> {
    let (mut rest, mut sizes) = (bytes, sizes.iter().cycle());
    std::iter::from_fn(move || {
        let size = *sizes.next().expect("a cycle");
        if rest.is_empty() {
            return None;
        }
        let (chunk, later) = rest.split_at(size.min(rest.len()));
        rest = later;
        Some(chunk)
    })
}

/// The bytes give these samples, exactly, announced by name or recognised, under any chunking.
fn check(codec: Codec, bytes: &[u8], sample_rate: u32, channels: u16, expected: &[f32]) {
    for codec in [codec, Codec::Auto] {
        for size in [usize::MAX, 1, 2, 7, 44, 45, 61, 640, 1021, 4096, 5003] {
            let decoded = decode_in(codec, cut(bytes, &[size]));
            assert_eq!((decoded.sample_rate, decoded.channels), (sample_rate, channels));
            assert_eq!((&decoded.skips, &decoded.failure), (&Vec::new(), &None), "chunks of {size}");
            assert!(decoded.samples == expected, "chunks of {size}: {} samples", decoded.samples.len());
        }
    }
}

/// A WAV header as it is written to files.
fn wav_header(format: u16, channels: u16, rate: u32, bits: u16, riff: u32, data: u32) -> Vec<u8> {
    let frame = channels * bits / 8;
    let mut header = b"RIFF".to_vec();
    header.extend_from_slice(&riff.to_le_bytes());
    header.extend_from_slice(b"WAVEfmt \x10\0\0\0");
    header.extend_from_slice(&format.to_le_bytes());
    header.extend_from_slice(&channels.to_le_bytes());
    header.extend_from_slice(&rate.to_le_bytes());
    header.extend_from_slice(&(rate * u32::from(frame)).to_le_bytes());
    header.extend_from_slice(&frame.to_le_bytes());
    header.extend_from_slice(&bits.to_le_bytes());
    header.extend_from_slice(b"data");
    header.extend_from_slice(&data.to_le_bytes());
    header
}

fn wav(format: u16, channels: u16, rate: u32, bits: u16, data: &[u8]) -> Vec<u8> {
    let length = data.len() as u32;
    [wav_header(format, channels, rate, bits, length + 36, length), data.to_vec()].concat()
}

fn wav_16(frames: u32, channels: u16) -> Vec<u8> {
    let data: Vec<u8> = interleaved(frames, channels.into(), |s| (s >> 8) as i16)
        .iter()
        .flat_map(|s| s.to_le_bytes())
        .collect();
    wav(INT, channels, 16_000, 16, &data)
}

const INT: u16 = 1;
const FLOAT: u16 = 3;

#[test]
fn wav_of_every_coding_is_exact() {
    let samples = interleaved(3_000, 1, |s| s);
    let bytes = |f: &dyn Fn(i32) -> Vec<u8>| samples.iter().flat_map(|&s| f(s)).collect::<Vec<u8>>();
    let floats = |f: &dyn Fn(i32) -> f32| samples.iter().map(|&s| f(s)).collect::<Vec<f32>>();
    let full = 8_388_608.0;

    let coded = bytes(&|s| vec![((s >> 16) + 128) as u8]);
    check(Codec::Wav, &wav(INT, 1, 8_000, 8, &coded), 8_000, 1, &floats(&|s| (s >> 16) as f32 / 128.0));
    let coded = bytes(&|s| ((s >> 8) as i16).to_le_bytes().to_vec());
    check(Codec::Wav, &wav(INT, 1, 16_000, 16, &coded), 16_000, 1, &floats(&|s| (s >> 8) as f32 / 32_768.0));
    let coded = bytes(&|s| s.to_le_bytes()[..3].to_vec());
    check(Codec::Wav, &wav(INT, 1, 44_100, 24, &coded), 44_100, 1, &floats(&|s| s as f32 / full));
    let coded = bytes(&|s| (s << 8).to_le_bytes().to_vec());
    check(Codec::Wav, &wav(INT, 1, 48_000, 32, &coded), 48_000, 1, &floats(&|s| s as f32 / full));
    let coded = bytes(&|s| (s as f32 / full).to_le_bytes().to_vec());
    check(Codec::Wav, &wav(FLOAT, 1, 96_000, 32, &coded), 96_000, 1, &floats(&|s| s as f32 / full));
    let coded = bytes(&|s| (f64::from(s) / f64::from(full)).to_le_bytes().to_vec());
    check(Codec::Wav, &wav(FLOAT, 1, 192_000, 64, &coded), 192_000, 1, &floats(&|s| s as f32 / full));
}

#[test]
fn wav_of_1_to_8_channels_is_exact() {
    for channels in 1..=8 {
        check(Codec::Wav, &wav_16(700, channels), 16_000, channels, &reference_16(700, channels.into()));
    }
}

#[test]
fn wav_floats_are_cleaned() {
    let samples = [f32::NAN, 2.0, -3.0, f32::INFINITY, 0.5];
    let data: Vec<u8> = samples.iter().flat_map(|s| s.to_le_bytes()).collect();
    check(Codec::Wav, &wav(FLOAT, 1, 16_000, 32, &data), 16_000, 1, &[0.0, 1.0, -1.0, 0.0, 0.5]);
}

#[test]
fn wav_of_unknown_length_lasts_as_long_as_the_stream() {
    let file = wav_16(2_000, 1);
    let expected = reference_16(2_000, 1);
    for (riff, data) in
        [(0, 0), (36, 0), (u32::MAX, u32::MAX), (0, u32::MAX), (36, u32::MAX), (u32::MAX - 8, 0x7fff_ffff)]
    {
        let streamed = [wav_header(INT, 1, 16_000, 16, riff, data), file[44..].to_vec()].concat();
        check(Codec::Wav, &streamed, 16_000, 1, &expected);
    }
}

#[test]
fn wav_chunks_around_the_audio_are_ignored() {
    let file = wav_16(500, 2);
    // A list whose entry claims 4 GiB, an odd chunk with its padding byte, a fact chunk that lies.
    let before = [
        b"LIST\x0c\0\0\0INFOIART\xff\xff\xff\xff".as_slice(),
        b"odd \x03\0\0\0abc\0",
        b"fact\x04\0\0\0\x01\0\0\0",
    ];
    let behind = b"LIST\x04\0\0\0INFO";
    let bytes =
        [&file[..12], &before.concat(), &file[12..36], &before.concat(), &file[36..], behind].concat();
    check(Codec::Wav, &bytes, 16_000, 2, &reference_16(500, 2));
}

#[test]
fn flac_is_exact() {
    let stereo: Vec<f32> = interleaved(4_800, 2, |s| s as f32 / 8_388_608.0);
    check(Codec::Flac, MONO, 16_000, 1, &reference_16(12_000, 1));
    check(Codec::Flac, STEREO, 48_000, 2, &stereo);
    check(Codec::Flac, EIGHT, 8_000, 8, &reference_16(1_600, 8));
    check(Codec::Flac, LIVE, 16_000, 1, &reference_16(8_000, 1));
}

const MONO: &[u8] = include_bytes!("fixtures/mono.flac");
const STEREO: &[u8] = include_bytes!("fixtures/stereo24.flac");
const EIGHT: &[u8] = include_bytes!("fixtures/eight.flac");
const LIVE: &[u8] = include_bytes!("fixtures/live.flac");

#[test]
fn wav_comes_out_frame_by_frame_and_flac_at_most_1_kib_late() {
    let bytes = wav_16(100, 2);
    let mut decoder =
        decoder_for(StreamFormat { codec: Codec::Auto, sample_rate: None, channels: None }).unwrap();
    let mut frames = 0;
    for (n, byte) in bytes.iter().enumerate() {
        decoder.decode(&[*byte], &mut |pcm| frames += pcm.interleaved.len() / 2).unwrap();
        assert_eq!(frames, (n + 1).saturating_sub(44) / 4, "after byte {n}");
    }

    // The packets of the fixture are 256 samples and about 370 bytes: none may wait for more than its own end
    // and 1 KiB.
    let mut decoder =
        decoder_for(StreamFormat { codec: Codec::Auto, sample_rate: None, channels: None }).unwrap();
    let (mut samples, mut packets_at) = (0, Vec::new());
    for (n, byte) in LIVE.iter().enumerate() {
        let before = samples;
        decoder.decode(&[*byte], &mut |pcm| samples += pcm.interleaved.len()).unwrap();
        if samples > before {
            packets_at.push(n);
        }
    }
    let starts: Vec<usize> =
        (0..LIVE.len() - 2).filter(|&n| LIVE[n..].starts_with(&[0xff, 0xf8, 0x85])).collect();
    let late = packets_at.iter().zip(&starts[1..]).map(|(at, end)| at.saturating_sub(*end)).max().unwrap();
    println!("FLAC: a packet comes out at most {late} bytes after its end");
    assert!(late <= 1024 + 32, "{late} bytes late");
}

#[test]
fn a_stream_cut_anywhere_is_a_clean_end() {
    for (codec, bytes, expected) in [
        (Codec::Wav, &wav_16(300, 2)[..], reference_16(300, 2)),
        (Codec::Flac, &LIVE[..11_000], reference_16(8_000, 1)),
        (Codec::Flac, EIGHT, reference_16(1_600, 8)),
    ] {
        let mut header = true;
        for end in 0..bytes.len() {
            let decoded = decode_in(codec, [&bytes[..end]]);
            // Once in 65,536 the checksum of half a packet is right by accident, and it is seen to be too
            // short.
            assert!(
                decoded.skips.iter().all(|what| what.contains("end of bitstream")),
                "cut at {end}: {:?}",
                decoded.skips
            );
            assert!(expected.starts_with(&decoded.samples), "cut at {end}");
            header &= decoded.failure.is_some();
            assert_eq!(decoded.failure.is_some(), header, "cut at {end}: {:?}", decoded.failure);
            if codec == Codec::Wav {
                assert_eq!(decoded.samples.len(), end.saturating_sub(44) / 4 * 2);
            }
        }
    }
}

#[test]
fn a_damaged_packet_is_reported_and_only_it_is_lost() {
    let expected = reference_16(8_000, 1);
    let starts: Vec<usize> =
        (0..LIVE.len() - 2).filter(|&n| LIVE[n..].starts_with(&[0xff, 0xf8, 0x85])).collect();
    for packet in [1, 7, 20] {
        let mut damaged = LIVE.to_vec();
        damaged[starts[packet] + 100] ^= 0x10;
        for size in [usize::MAX, 1, 640] {
            let decoded = decode_in(Codec::Flac, cut(&damaged, &[size]));
            let (before, after) = (&expected[..packet * 256], &expected[(packet + 1) * 256..]);
            assert_eq!(decoded.samples, [before, after].concat());
            assert_eq!(decoded.failure, None);
            assert_eq!(decoded.skips.len(), 1, "{:?}", decoded.skips);
            assert!(decoded.skips[0].contains("256 samples are missing"), "{:?}", decoded.skips);
        }
    }
}

#[test]
fn what_is_no_audio_is_refused_with_advice() {
    let check = |codec, bytes: &[u8], expected: &str| {
        for size in [usize::MAX, 1] {
            let decoded = decode_in(codec, cut(bytes, &[size]));
            let failure = decoded.failure.unwrap_or_default();
            assert!(failure.contains(expected), "{failure:?} does not contain {expected:?}");
            assert_eq!(decoded.samples, []);
        }
    };
    check(Codec::Auto, b"", "ended before its header");
    check(Codec::Auto, b"RIFF", "ended before its header");
    check(Codec::Auto, b"OggS\0\0\0\0\0\0\0\0", "Ogg stream ended inside its header");
    check(Codec::Auto, &[0; 12], "pcm_s16le");
    check(Codec::Auto, b"RIFF\0\0\0\0AVI ", "none of WAV, FLAC, Ogg");
    check(Codec::Wav, b"{\"type\":\"start", "not WAV");
    check(Codec::Wav, MONO, "it is FLAC");
    check(Codec::Flac, &wav_16(10, 1), "it is WAV");
    check(Codec::Wav, &wav_16(10, 1)[..30], "ended inside its header");
    check(Codec::Flac, &MONO[..60], "ended inside its header");
    check(Codec::Wav, &wav(INT, 1, 400, 16, &[0; 400]), "400 Hz");
    check(Codec::Wav, &wav(INT, 9, 16_000, 16, &[0; 400]), "9 channels");
    check(Codec::Wav, &wav(INT, 0, 16_000, 16, &[0; 400]), "damaged");
    check(Codec::Wav, &wav(INT, 1, 16_000, 12, &[0; 400]), "damaged");
    check(Codec::Wav, &wav(0x55, 1, 16_000, 16, &[0; 400]), "not supported");
    let no_format = [b"RIFF\0\0\0\0WAVE".as_slice(), b"data\0\0\0\0", &[0; 100]].concat();
    check(Codec::Wav, &no_format, "damaged");
    let endless = [b"RIFF\0\0\0\0WAVE".as_slice(), b"JUNK\xf0\xff\xff\xff", &[0; 100]].concat();
    check(Codec::Wav, &endless, "too long without any audio");
    // A sound header, then no packet for ever.
    let noise: Vec<u8> =
        (0..2_000_000u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8 & 0x7f).collect();
    let silent = [&LIVE[..42], &[0x81, 0, 0, 0], &noise].concat();
    let decoded = decode_in(Codec::Flac, cut(&silent, &[60_000]));
    assert!(decoded.failure.unwrap().contains("too long without any audio"));
}

#[test]
fn a_decoder_may_move_between_threads_at_every_chunk() {
    let mut decoder =
        decoder_for(StreamFormat { codec: Codec::Auto, sample_rate: None, channels: None }).unwrap();
    let mut samples = Vec::new();
    for chunk in LIVE.chunks(500) {
        (decoder, samples) = std::thread::spawn(move || {
            decoder.decode(chunk, &mut |pcm| samples.extend_from_slice(pcm.interleaved)).unwrap();
            (decoder, samples)
        })
        .join()
        .unwrap();
    }
    let finished = decoder.finish(&mut |pcm| samples.extend_from_slice(pcm.interleaved)).unwrap();
    assert_eq!(finished, Finish::Done);
    assert_eq!(samples, reference_16(8_000, 1));
}

#[test]
fn a_thousand_decoders_live_side_by_side() {
    let mut decoders: Vec<_> = (0..1_000)
        .map(|_| decoder_for(StreamFormat { codec: Codec::Auto, sample_rate: None, channels: None }).unwrap())
        .collect();
    let mut samples = vec![0; decoders.len()];
    for chunk in LIVE.chunks(3_000) {
        for (decoder, samples) in decoders.iter_mut().zip(&mut samples) {
            decoder.decode(chunk, &mut |pcm| *samples += pcm.interleaved.len()).unwrap();
        }
    }
    // Half of them are dropped in mid-stream.
    for (decoder, samples) in decoders.iter_mut().zip(&mut samples).take(500) {
        assert_eq!(decoder.finish(&mut |pcm| *samples += pcm.interleaved.len()).unwrap(), Finish::Done);
        assert_eq!(*samples, 8_000);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_chunking_gives_the_same_audio(sizes in proptest::collection::vec(1usize..6_000, 1..30)) {
        prop_assert_eq!(decode_in(Codec::Auto, cut(LIVE, &sizes)).samples, reference_16(8_000, 1));
        prop_assert_eq!(decode_in(Codec::Auto, cut(&wav_16(3_000, 3), &sizes)).samples, reference_16(3_000, 3));
    }

    #[test]
    fn flipped_bits_break_nothing_but_the_audio(
        flips in proptest::collection::vec((any::<prop::sample::Index>(), 0u8..8), 1..40),
        in_header in any::<bool>(),
        size in 1usize..5_000,
    ) {
        for (codec, file, header) in [(Codec::Flac, LIVE, 46), (Codec::Flac, EIGHT, 90), (Codec::Wav, &wav_16(2_000, 2)[..], 44)] {
            let mut damaged = file.to_vec();
            for (index, bit) in &flips {
                let within = if in_header { header } else { damaged.len() };
                damaged[index.index(within)] ^= 1 << bit;
            }
            let decoded = decode_in(codec, cut(&damaged, &[size]));
            // It may fail or lose audio, but it invents no more than a packet of the largest size for each
            // real one.
            prop_assert!(decoded.samples.len() <= 65_535 * 8 * 40);
        }
    }

    #[test]
    fn arbitrary_bytes_break_nothing(bytes in proptest::collection::vec(any::<u8>(), 0..3_000), size in 1usize..500) {
        for (codec, start) in [(Codec::Auto, &b""[..]), (Codec::Wav, b"RIFF\0\0\0\0WAVEfmt "), (Codec::Flac, &LIVE[..42]), (Codec::Flac, &MONO[..90])] {
            decode_in(codec, cut(&[start, &bytes].concat(), &[size]));
        }
    }
}
