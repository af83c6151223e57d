//! Hostile bytes: whatever comes, a decoder ends, says what was wrong, and keeps its memory; and after honest damage it
//! goes on with the next packet.
//!
//! The allocator of this test program ends it when a limit is passed. Not here: coverage-guided search (`codecs/fuzz`);
//! files that were only cut (`golden.rs`); damage to FLAC (`containers.rs`).

#![allow(clippy::unwrap_used)] // A test may panic.

#[path = "hostile/absurd.rs"]
mod absurd;
#[path = "support/bounded_allocator.rs"]
mod bounded_allocator;
#[path = "support/fixtures.rs"]
mod fixtures;
#[path = "support/stream.rs"]
mod stream;

use std::{
    ops::ControlFlow,
    sync::{Mutex, MutexGuard},
};

use bounded_allocator::BoundedAllocator;
use codecs::Codec;
use fixtures::{Decoded, codec_of, decode, packet_ends, read};
use stream::Outcome;

#[global_allocator]
static ALLOCATOR: BoundedAllocator = BoundedAllocator::new(MAX_LIVE, MAX_KEPT);

/// The tests run one at a time, for each counts what is live.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// Decodes a stream without keeping its audio; what was said, samples in all, and the most memory it took.
fn run(codec: Codec, bytes: &[u8], size: usize) -> (Outcome, usize, usize) {
    let mut samples = 0;
    let (outcome, peak, _) = ALLOCATOR.measure(|| {
        stream::decode(stream::container(codec), bytes.chunks(size), &mut |pcm| {
            samples += pcm.interleaved.len();
            ControlFlow::Continue(())
        })
    });
    (outcome, samples, peak)
}

#[test]
fn absurd_streams_end_in_bounded_memory() {
    let _alone = alone();
    for (name, codec, bytes) in absurd::cases() {
        let (outcome, samples, peak) = run(codec, &bytes, 4_000);
        let said = outcome.failure.or(outcome.not_live).or(outcome.skips.into_iter().next());
        println!("{name:50} {:6} KiB, {samples:8} samples: {}", peak / 1024, said.as_deref().unwrap_or("-"));
        let bound = if name.contains("before its index") { MAX_KEPT } else { MAX_PEAK };
        assert!(peak <= bound, "{name}: {} KiB", peak / 1024);
    }
}

/// Files that end before they begin, and noise behind their beginnings.
#[test]
fn stumps_and_noise_end_with_a_text() {
    let _alone = alone();
    let noise = Random(1).bytes(300_000);
    for name in FILES {
        let (codec, bytes) = (codec_of(name), read(name));
        for header in [0, 1, 4, 12, 40, 200, 1_000] {
            let header = &bytes[..header.min(bytes.len() / 4)];
            // A stump of MP3 or AAC is a stream that was joined too late.
            let headless = [Codec::Mp3, Codec::Aac].contains(&codec);
            let stump = run(codec, header, 7).0;
            assert!(
                stump.failure.is_some() || header.len() > 40 || headless,
                "{name}: {} bytes are a stream",
                header.len()
            );
            let (outcome, _, peak) = run(codec, &[header, &noise].concat(), 5_000);
            assert!(peak <= MAX_PEAK, "{name}: {} KiB", peak / 1024);
            // The samples of WAV and AIFF are any bytes.
            let any = headless || name.starts_with("wav") || name.starts_with("aiff");
            let said = outcome.failure.is_some() || !outcome.skips.is_empty() || outcome.not_live.is_some();
            assert!(
                said || any || header.len() > 12,
                "{name}: {} bytes and noise go without a word",
                header.len()
            );
        }
        // What is no codec at all.
        assert!(run(Codec::Auto, &[0x20; 1_000], 100).0.failure.is_some());
    }
}

#[test]
fn flipped_bits_break_nothing_but_the_audio() {
    let _alone = alone();
    let mut random = Random(2);
    let mut worst = 0;
    for name in FILES {
        let bytes = read(name);
        for round in 0..60 {
            let mut damaged = bytes.clone();
            // Every second round in the header.
            let within = if round % 2 == 0 { bytes.len() } else { bytes.len().min(600) };
            for _ in 0..=random.below(20) {
                damaged[random.below(within)] ^= 1 << random.below(8);
            }
            let (_, _, peak) = run(codec_of(name), &damaged, 1 + random.below(3_000));
            worst = worst.max(peak);
            assert!(peak <= MAX_PEAK, "{name}, round {round}: {} KiB", peak / 1024);
        }
    }
    println!("flipped bits: {} KiB at most", worst / 1024);
}

/// Pieces of files of all formats, glued.
#[test]
fn splices_break_nothing() {
    let _alone = alone();
    let mut random = Random(3);
    let files: Vec<(Codec, Vec<u8>)> = FILES.iter().map(|name| (codec_of(name), read(name))).collect();
    for round in 0..500 {
        let (codec, start) = &files[random.below(files.len())];
        let mut spliced = start[..random.below(start.len())].to_vec();
        for _ in 0..random.below(4) {
            let (_, other) = &files[random.below(files.len())];
            let from = random.below(other.len());
            spliced.extend_from_slice(&other[from..from + random.below(other.len() - from)]);
        }
        let codec = if round % 2 == 0 { *codec } else { Codec::Auto };
        let (_, _, peak) = run(codec, &spliced, 1 + random.below(3_000));
        assert!(peak <= MAX_PEAK, "round {round}: {} KiB", peak / 1024);
    }
}

/// What one damaged byte behind the first packet costs: the milliseconds that may be missing, measured and rounded up.
const COSTS: [(&str, f64); 21] = [
    // A packet.
    ("aac-16k-mono.aac", 64.0),
    ("aac-44k-stereo.aac", 24.0),
    ("webm-opus.webm", 20.0),
    ("webm-opus-live.webm", 20.0),
    ("webm-opus-mediarecorder.webm", 20.0),
    ("mkv-opus.mka", 20.0),
    ("webm-vorbis.webm", 32.0),
    ("mp4-aac-fragmented.mp4", 22.0),
    ("mp4-aac-faststart.mp4", 64.0),
    ("m4a-aac-index-last.m4a", 64.0),
    // A wrong length swallows the frames behind it; the longest frame is as long as 14 of these.
    ("mp3-mpeg2-16k-mono.mp3", 504.0),
    ("mp3-mpeg25-8k-mono.mp3", 144.0),
    ("mp3-cbr-id3v2-44k-stereo.mp3", 53.0),
    ("mp3-vbr-xing-44k-stereo.mp3", 27.0),
    // A fragment.
    ("mp4-opus-fragmented.mp4", 100.0),
    // A page: its checksum is wrong.
    ("ogg-opus-mono.ogg", 100.0),
    ("ogg-vorbis-mono.ogg", 128.0),
    ("ogg-opus-stereo.ogg", WITHOUT_END),
    ("ogg-chained-opus.ogg", WITHOUT_END),
    ("ogg-chained-vorbis.ogg", WITHOUT_END),
    // One place of 80, in the index of a fragment, costs all that follows.
    ("mp4-aac-fragmented-100ms.mp4", WITHOUT_END),
];

/// A second: half of the file, so that its end may be missing too.
const WITHOUT_END: f64 = 1_000.0;

#[test]
fn one_damaged_byte_costs_little_and_the_audio_goes_on() {
    let _alone = alone();
    let ends = packet_ends();
    for (name, most) in COSTS {
        let bytes = read(name);
        let (_, packets) = ends.iter().find(|(of, _)| of == name).unwrap();
        let whole = heard(&decode(codec_of(name), [&bytes[..]]));
        let behind = packets[0]..bytes.len() * 7 / 10;
        let (mut worst, mut total, mut count, mut unsaid) = (0.0f64, 0.0, 0, 0);
        for at in behind.clone().step_by(behind.len() / 80 + 1) {
            let mut damaged = bytes.clone();
            damaged[at] ^= 0x41;
            let decoded = decode(codec_of(name), [&damaged[..]]);
            let rest = heard(&decoded);
            let missing = (whole.len() as f64 - rest.len() as f64) / 16.0;
            assert_eq!(decoded.outcome.failure, None, "{name}, byte {at}");
            assert!(missing <= most, "{name}, byte {at}: {missing:.0} ms are missing");
            assert!(most >= WITHOUT_END || same_end(&whole, &rest), "{name}, byte {at}: the end is lost");
            (worst, total, count) = (worst.max(missing), total + missing.max(0.0), count + 1);
            unsaid += usize::from(missing > 30.0 && decoded.outcome.skips.is_empty());
        }
        println!(
            "{name:30} {count} times one byte: {worst:4.0} ms missing at most, {:5.1} on average, {unsaid} unsaid",
            total / f64::from(count)
        );
    }
}

fn heard(decoded: &Decoded) -> Vec<f32> {
    decoded.segments.iter().flat_map(|segment| segment.heard()).collect()
}

/// Whether both end with the same 300 ms, give or take 60 ms that an end was trimmed.
fn same_end(a: &[f32], b: &[f32]) -> bool {
    let end = &a[a.len() - 5_800..a.len() - 1_000];
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>();
    let correlation = |place: &[f32]| dot(end, place) / (dot(end, end) * dot(place, place)).sqrt();
    b[b.len().saturating_sub(6_800)..].windows(end.len()).any(|place| correlation(place) > 0.8)
}

/// A seeded generator (xorshift64*, Vigna 2016): the same damage in every run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32
    }

    /// Less than `bound`; 0 for 0.
    fn below(&mut self, bound: usize) -> usize {
        (self.next() as usize).checked_rem(bound).unwrap_or(0)
    }

    fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| self.next() as u8).collect()
    }
}

/// One file of each kind.
const FILES: [&str; 20] = [
    "wav-s24-96k-3ch.wav",
    "wav-alaw-8k-mono.wav",
    "wav-extensible-192k-8ch.wav",
    "aiff-s16-48k-stereo.aiff",
    "flac-s16-48k-stereo.flac",
    "ogg-flac-16k-mono.oga",
    "ogg-opus-mono.ogg",
    "ogg-vorbis-mono.ogg",
    "ogg-chained-vorbis.ogg",
    "mkv-flac-16k-mono.mka",
    "webm-opus-live.webm",
    "webm-opus-mediarecorder.webm",
    "webm-vorbis.webm",
    "mp4-aac-fragmented-100ms.mp4",
    "mp4-opus-fragmented.mp4",
    "mp4-aac-faststart.mp4",
    "m4a-aac-index-last.m4a",
    "mp3-vbr-xing-44k-stereo.mp3",
    "mp3-mpeg25-8k-mono.mp3",
    "aac-16k-mono.aac",
];

/// A decoder's memory, whatever comes. Measured: 14 MiB, for an MP4 index of 7 MiB.
const MAX_PEAK: usize = 16 << 20;

/// That of a decoder which keeps a file until its index comes. Measured: 64 MiB, when the file is as long as it may be and
/// its buffer grows for the last time. Also the most of one allocation.
const MAX_KEPT: usize = 68 << 20;

/// All of the test program, its own lists included.
const MAX_LIVE: usize = 512 << 20;
