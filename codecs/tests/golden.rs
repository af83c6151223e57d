//! Golden tests of every format: each fixture gives the recording it was made of, under every chunking, as soon as its
//! packets are complete, and as far as it goes when it is cut.
//!
//! Exact for lossless formats, by signal-to-noise ratio for the others. Not here: damaged bytes (`hostile.rs`); WAV and
//! FLAC in depth, on synthetic signals (`containers.rs`).

#![allow(clippy::unwrap_used)] // A test may panic.

#[path = "support/fixtures.rs"]
mod fixtures;
#[path = "support/likeness.rs"]
mod likeness;
#[path = "support/stream.rs"]
mod stream;

use std::{env, fs, ops::ControlFlow, path::PathBuf};

use codecs::{Codec, Finish, StreamFormat, decoder_for, downmix};
use fixtures::{Decoded, Segment, codec_of, decode, exact, packet_ends, read, reference};
use likeness::likeness;
use proptest::prelude::*;

/// What a fixture must give.
struct Golden {
    name: &'static str,
    /// Rate, channels and frames of each segment. Opus comes at 16 kHz, whatever it was recorded at.
    segments: &'static [(u32, u16, usize)],
    holds: Holds,
}

enum Holds {
    /// The lossless samples, of so many bits.
    Exact(u32),
    /// The reference, later by so many samples at 16 kHz (the encoder's delay, where the container does not say it), with
    /// this signal-to-noise ratio at least: what was measured, less 1 dB.
    Like { lag: isize, snr_db: f64 },
}
use Holds::{Exact, Like};

/// AAC encodes 1,024 samples of nothing first and fills its last packet; MP3 1,105 and the same, unless a Xing header says
/// so; Opus in WebM and MP4 keeps the padding of its last packet, because there symphonia does not read its length.
const GOLDEN: [Golden; 33] = [
    row("wav-s24-96k-3ch.wav", &[(96_000, 3, 500)], Exact(24)),
    row("wav-f32-44k-stereo.wav", &[(44_100, 2, 500)], Exact(16)),
    row("wav-extensible-192k-8ch.wav", &[(192_000, 8, 500)], Exact(16)),
    row("wav-u8-8k-mono.wav", &[(8_000, 1, 500)], Exact(8)),
    row("wav-alaw-8k-mono.wav", &[(8_000, 1, 500)], Like { lag: 0, snr_db: 0.0 }),
    row("wav-mulaw-8k-mono.wav", &[(8_000, 1, 500)], Like { lag: 0, snr_db: 0.0 }),
    row("aiff-s16-48k-stereo.aiff", &[(48_000, 2, 500)], Exact(16)),
    row("flac-s16-16k-mono.flac", &[(16_000, 1, 500)], Exact(16)),
    row("flac-s16-48k-stereo.flac", &[(48_000, 2, 500)], Exact(16)),
    row("flac-s24-96k-mono.flac", &[(96_000, 1, 500)], Exact(24)),
    row("ogg-flac-16k-mono.oga", &[(16_000, 1, 500)], Exact(16)),
    row("mkv-flac-16k-mono.mka", &[(16_000, 1, 500)], Exact(16)),
    row("mp3-cbr-id3v2-44k-stereo.mp3", &[(44_100, 2, 89_856)], Like { lag: 401, snr_db: 20.5 }),
    row("mp3-vbr-xing-44k-stereo.mp3", &[(44_100, 2, 88_200)], Like { lag: 0, snr_db: 24.9 }),
    row("mp3-mpeg2-16k-mono.mp3", &[(16_000, 1, 33_408)], Like { lag: 1_105, snr_db: 21.1 }),
    row("mp3-mpeg25-8k-mono.mp3", &[(8_000, 1, 17_280)], Like { lag: 2_210, snr_db: 19.6 }),
    row("aac-16k-mono.aac", &[(16_000, 1, 33_792)], Like { lag: 1_024, snr_db: 17.4 }),
    row("aac-44k-stereo.aac", &[(44_100, 2, 90_112)], Like { lag: 371, snr_db: 17.3 }),
    row("mp4-aac-fragmented.mp4", &[(48_000, 1, 97_280)], Like { lag: 341, snr_db: 12.2 }),
    row("mp4-aac-fragmented-100ms.mp4", &[(48_000, 1, 97_280)], Like { lag: 341, snr_db: 12.2 }),
    row("mp4-aac-faststart.mp4", &[(16_000, 1, 33_792)], Like { lag: 1_024, snr_db: 17.4 }),
    row(INDEX_LAST, &[(16_000, 1, 33_792)], Like { lag: 1_024, snr_db: 17.4 }),
    row("mp4-opus-fragmented.mp4", &[(16_000, 1, 32_216)], Like { lag: 0, snr_db: 20.6 }),
    row("webm-opus.webm", &[(16_000, 1, 32_216)], Like { lag: 0, snr_db: 20.6 }),
    row("webm-opus-live.webm", &[(16_000, 1, 32_216)], Like { lag: 0, snr_db: 20.6 }),
    row("webm-opus-mediarecorder.webm", &[(16_000, 1, 32_216)], Like { lag: 0, snr_db: 20.6 }),
    row("mkv-opus.mka", &[(16_000, 1, 32_216)], Like { lag: 0, snr_db: 20.6 }),
    row("webm-vorbis.webm", &[(16_000, 1, 32_256)], Like { lag: 0, snr_db: 21.2 }),
    row("ogg-opus-mono.ogg", &[(16_000, 1, 32_000)], Like { lag: 0, snr_db: 20.6 }),
    row("ogg-opus-stereo.ogg", &[(16_000, 2, 32_000)], Like { lag: 0, snr_db: 20.6 }),
    row("ogg-vorbis-mono.ogg", &[(16_000, 1, 32_000)], Like { lag: 0, snr_db: 21.2 }),
    row("ogg-chained-opus.ogg", &[(16_000, 2, 16_000), (16_000, 1, 16_000)], Like { lag: 0, snr_db: 19.8 }),
    row("ogg-chained-vorbis.ogg", &[(24_000, 2, 24_000), (16_000, 1, 16_000)], Like { lag: 0, snr_db: 19.5 }),
];

const fn row(name: &'static str, segments: &'static [(u32, u16, usize)], holds: Holds) -> Golden {
    Golden { name, segments, holds }
}

/// The only fixture that cannot be decoded as it comes.
const INDEX_LAST: &str = "m4a-aac-index-last.m4a";

#[test]
fn every_fixture_is_the_recording_it_was_made_of() {
    for golden in &GOLDEN {
        let bytes = read(golden.name);
        let decoded = decode(codec_of(golden.name), [&bytes[..]]);
        check(golden, &decoded);
        assert_eq!(decode(Codec::Auto, [&bytes[..]]), decoded, "{}: recognised by content", golden.name);
    }
    let mut listed = GOLDEN.map(|golden| golden.name).to_vec();
    listed.sort_unstable();
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures");
    let names = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names.filter(|name| name.contains('-')).collect();
    names.sort_unstable();
    assert_eq!(names, listed, "every fixture has its row");
}

fn check(golden: &Golden, decoded: &Decoded) {
    let name = golden.name;
    assert_eq!((&decoded.outcome.skips, &decoded.outcome.failure), (&Vec::new(), &None), "{name}");
    assert_eq!(decoded.outcome.not_live.is_some(), name == INDEX_LAST, "{name}");
    let layout = |segment: &Segment| (segment.sample_rate, segment.channels, segment.frames());
    assert_eq!(decoded.segments.iter().map(layout).collect::<Vec<_>>(), golden.segments, "{name}");
    for segment in &decoded.segments {
        match golden.holds {
            Exact(bits) => assert!(segment.samples == exact(bits, segment.channels), "{name}"),
            Like { snr_db: 0.0, .. } => check_companded(name, segment),
            Like { lag, snr_db } => {
                let original = reference();
                let seconds = original.len() / decoded.segments.len();
                let found = likeness(&original[..seconds], &segment.heard());
                println!("{name}: {found:?}");
                assert_eq!(found.lag, lag, "{name}");
                assert!(found.snr_db >= snr_db, "{name}: {found:?}");
                assert!(found.gain_db.abs() < 0.5, "{name}: {found:?}");
            }
        }
    }
}

/// G.711 keeps each sample to within a step: a 16th of its size, and 16 of 32,768 at least.
fn check_companded(name: &str, segment: &Segment) {
    for (n, (decoded, original)) in segment.samples.iter().zip(exact(16, 1)).enumerate() {
        let step = (original.abs() / 16.0).max(16.0 / 32_768.0);
        assert!((decoded - original).abs() <= step, "{name}: sample {n} is {decoded}, not {original}");
    }
}

/// Raw packets give what the Ogg file gives that they were taken from, with its pre-skip of 312 samples at 48 kHz.
#[test]
fn raw_opus_packets_give_what_their_container_gives() {
    let format = StreamFormat { codec: Codec::Opus, sample_rate: Some(48_000), channels: Some(1) };
    let bytes = read("opus.packets");
    let mut rest = &bytes[..];
    let packets = std::iter::from_fn(|| {
        let (length, after) = rest.split_first_chunk()?;
        let (packet, after) = after.split_at(u16::from_be_bytes(*length).into());
        rest = after;
        Some(packet)
    });
    let mut samples = Vec::new();
    let outcome = stream::decode(format, packets, &mut |pcm| {
        assert_eq!((pcm.sample_rate, pcm.channels, pcm.interleaved.len()), (16_000, 1, 320));
        samples.extend_from_slice(pcm.interleaved);
        ControlFlow::Continue(())
    });
    assert_eq!(outcome, stream::Outcome::default());
    let contained = decode(Codec::Ogg, [&read("ogg-opus-mono.ogg")[..]]).samples();
    assert!(samples[312 / 3..][..contained.len()] == contained);
}

#[test]
fn a_byte_at_a_time_gives_the_same() {
    for golden in &GOLDEN {
        let bytes = read(golden.name);
        let mut whole = decode(Codec::Auto, [&bytes[..]]);
        let mut single = decode(Codec::Auto, bytes.chunks(1));
        forget_runs(&mut [&mut whole, &mut single]);
        assert_eq!(single, whole, "{}", golden.name);
    }
}

/// PCM comes in as many runs as there are chunks.
fn forget_runs(decoded: &mut [&mut Decoded]) {
    decoded.iter_mut().flat_map(|decoded| &mut decoded.segments).for_each(|segment| segment.runs = 0);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 32, ..ProptestConfig::default() })]

    #[test]
    fn any_chunking_gives_the_same(
        golden in prop::sample::select((0..GOLDEN.len()).collect::<Vec<_>>()),
        sizes in prop::collection::vec(1usize..3_000, 1..20),
    ) {
        let name = GOLDEN[golden].name;
        let bytes = read(name);
        let (mut rest, mut sizes) = (&bytes[..], sizes.iter().cycle());
        let chunks = std::iter::from_fn(|| {
            let (chunk, after) = rest.split_at(rest.len().min(*sizes.next()?));
            rest = after;
            (!chunk.is_empty()).then_some(chunk)
        });
        let (mut cut, mut whole) = (decode(Codec::Auto, chunks), decode(Codec::Auto, [&bytes[..]]));
        forget_runs(&mut [&mut cut, &mut whole]);
        prop_assert_eq!(cut, whole, "{}", name);
    }
}

/// How much later than its own last byte the audio of a packet comes out.
struct Delay {
    /// Bytes behind the packet that must have come.
    bytes: usize,
    /// Packets that give nothing: Vorbis's first, and what is trimmed off an end; or that wait for the end of the file.
    silent: usize,
}

/// The delay of a compressed fixture.
fn delay_of(name: &str) -> Delay {
    let (bytes, silent) = match name.split_once('-').unwrap().0 {
        // The header of the next frame tells a frame from noise, until two have been seen.
        "mp3" if !name.contains("xing") => (4, 0),
        // The header of the next packet is looked for in steps of 1 KiB; the last packet waits for the end.
        "flac" => (1024, 1),
        // A Vorbis packet overlaps with the next.
        _ if name == "ogg-chained-vorbis.ogg" => (0, 5),
        _ if name == "ogg-chained-opus.ogg" => (0, 2),
        _ if name.contains("vorbis") => (0, 1),
        // Behind the last block, in a group of its own, stands how much of it is padding.
        "webm" | "mkv" if name.contains("opus") => (7, 0),
        _ => (0, 0),
    };
    Delay { bytes, silent }
}

#[test]
fn audio_comes_out_as_soon_as_its_packet_is_complete() {
    println!("{:32} {:>12} {:>10} {:>9}", "byte by byte", "first packet", "and audio", "held back");
    for (name, ends) in packet_ends().iter().filter(|(name, _)| name != INDEX_LAST) {
        let bytes = read(name);
        let delay = delay_of(name);
        let mut decoder = decoder_for(stream::container(codec_of(name))).unwrap();
        let (mut runs, mut first, mut held) = (0, None, 0);
        for (n, byte) in bytes.iter().enumerate() {
            decoder.decode(&[*byte], &mut |_| runs += 1).unwrap();
            let complete = |come: usize| ends.iter().filter(|end| **end <= come).count();
            held = held.max(complete(n + 1).saturating_sub(runs));
            first = first.or((runs > 0).then_some(n + 1));
            let owed = complete((n + 1).saturating_sub(delay.bytes)).saturating_sub(delay.silent);
            assert!(runs >= owed, "{name}: {runs} runs of {owed} packets after {} bytes", n + 1);
        }
        let first = first.map_or("at the end".to_owned(), |first| first.to_string());
        println!("{name:32} {:>12} {first:>10} {held:>9}", ends[0]);
        assert_eq!(decoder.finish(&mut |_| runs += 1).unwrap(), Finish::Done);
        assert!(runs + delay.silent >= ends.len(), "{name}: {runs} runs of {} packets", ends.len());
    }
}

#[test]
fn a_cut_anywhere_loses_at_most_the_packet_cut() {
    for (name, ends) in packet_ends() {
        let bytes = read(&name);
        let whole = decode(codec_of(&name), [&bytes[..]]).samples();
        let silent = delay_of(&name).silent.max(usize::from(name.contains("flac-")));
        for end in (0..bytes.len()).step_by(bytes.len() / 150 + 1) {
            let cut = decode(codec_of(&name), [&bytes[..end]]);
            assert!(whole.starts_with(&cut.samples()), "{name} cut at {end}: other samples");
            assert_eq!(cut.outcome.skips, [""; 0], "{name} cut at {end}");
            // Behind the last block of WebM stands how much of it is padding: it is part of the packet.
            let padding = if name.contains("webm") { delay_of(&name).bytes } else { 0 };
            let complete = ends.iter().filter(|packet_end| **packet_end + padding <= end).count();
            if name == INDEX_LAST {
                assert!(cut.outcome.failure.is_some(), "{name} cut at {end}: there is no index");
            } else {
                let owed = complete.saturating_sub(silent);
                assert!(cut.runs() >= owed, "{name} cut at {end}: {} of {owed} packets", cut.runs());
            }
        }
    }
}

/// A real recording of Chromium, in the chunks in which it was sent.
#[test]
fn a_recording_of_chromium_is_heard_as_it_comes() {
    let Some([webm, chunks, source]) =
        shared(["chromium-mediarecorder.webm", "chromium-mediarecorder.chunks.txt", "source-16k.wav"])
    else {
        return;
    };
    let sizes = String::from_utf8(chunks).unwrap();
    let sizes = sizes.lines().map(|line| line.split(' ').nth(1).unwrap().parse::<usize>().unwrap());
    let mut decoder = decoder_for(stream::container(Codec::WebM)).unwrap();
    let (mut samples, mut runs) = (Vec::new(), 0);
    let mut runs_after = Vec::new();
    let mut rest = &webm[..];
    for size in sizes {
        let (chunk, after) = rest.split_at(size);
        rest = after;
        decoder
            .decode(chunk, &mut |pcm| {
                assert_eq!((pcm.sample_rate, pcm.channels), (16_000, 2));
                downmix(pcm.interleaved, 2, &mut samples);
                runs += 1;
            })
            .unwrap();
        runs_after.push(runs);
    }
    assert!(rest.is_empty(), "the chunks are the file");
    assert_eq!(decoder.finish(&mut |_| panic!("nothing is held back")).unwrap(), Finish::Done);
    let (before_last, all) = (runs_after[runs_after.len() - 2], runs);

    let mut first = decoder_for(stream::container(Codec::WebM)).unwrap();
    let mut heard = false;
    let by_byte = webm.iter().position(|byte| {
        first.decode(&[*byte], &mut |_| heard = true).unwrap();
        heard
    });
    let by_byte = by_byte.unwrap() + 1;
    println!("Chromium: first audio by byte {by_byte}, {before_last} of {all} packets before the last chunk");
    assert!(by_byte <= 400, "first audio by byte {by_byte}");
    assert!(before_last + 1 >= all, "{before_last} of {all} packets before the last chunk");

    // Two seconds from the middle stand somewhere in the source, which the fake microphone plays over and over.
    let source = decode(Codec::Wav, [&source[..]]).samples();
    let found = likeness::find(&source, &samples[80_000..112_000]);
    println!("Chromium: {found:?}");
    assert!(found.correlation > 0.9, "{found:?}");
}

/// Fragmented MP4 of another writer.
#[test]
fn a_foreign_fragmented_mp4_is_heard() {
    let Some([mp4]) = shared(["fragmented.mp4"]) else { return };
    let decoded = decode(Codec::Auto, mp4.chunks(1_000));
    assert_eq!(decoded.outcome, stream::Outcome::default());
    let [segment] = &decoded.segments[..] else { panic!("{} segments", decoded.segments.len()) };
    assert_eq!((segment.sample_rate, segment.channels), (48_000, 1));
    assert!((12.2..12.3).contains(&(segment.frames() as f64 / 48_000.0)), "{} frames", segment.frames());
}

/// Files that the founders were lent: no part of the repository.
fn shared<const N: usize>(names: [&str; N]) -> Option<[Vec<u8>; N]> {
    let default = concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared");
    let folder = PathBuf::from(env::var_os("INTERVIEWAI_SHARED_DIR").unwrap_or_else(|| default.into()));
    let files = names.map(|name| fs::read(folder.join("media").join(name)).ok());
    if files.iter().any(Option::is_none) {
        eprintln!("SKIPPED: {names:?} are not in {} (set INTERVIEWAI_SHARED_DIR)", folder.display());
        return None;
    }
    Some(files.map(Option::unwrap))
}
