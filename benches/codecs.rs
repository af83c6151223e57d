//! What decoding costs, format by format: CPU, memory, and how long audio is held back.
//!
//! `cargo bench --bench codecs`; `--json FILE` also writes the table as JSON. The files are the fixtures of crate
//! `codecs`. Wall time on a busy machine is noisy: compare rows of one run. Memory is read from /proc.

use std::{hint::black_box, path::Path, time::Instant};

use codecs::{Codec, DecodeError, Decoder, Finish, Pcm, Resampler, StreamFormat};
use serde_json::json;

fn main() {
    let inputs = inputs();
    let webm = inputs.iter().find(|input| input.name == "webm opus").expect("it is in the list");
    let (threads, before) = (status("Threads:"), status("VmRSS:"));
    let decoders: Vec<_> = (0..1_000).map(|_| webm.half_fed()).collect();
    let (with_threads, with) = (status("Threads:"), status("VmRSS:"));
    println!(
        "{} WebM decoders in mid-stream: {:.1} MiB resident, {} threads before, {} with them\n",
        decoders.len(),
        (with - before) / 1024.0,
        threads,
        with_threads
    );
    println!("{HEAD}");
    let mut rows = Vec::new();
    // They stay alive, so that memory given back by one is not taken for another's.
    let mut alive = decoders;
    for input in &inputs {
        let seconds = input.seconds();
        let decode = best(|| {
            input.decode(&mut |pcm| {
                black_box(pcm);
            });
        });
        let hear = best(|| {
            let mut resampler = None;
            let (mut mono, mut out) = (Vec::new(), Vec::new());
            input.decode(&mut |pcm| {
                let resampler = resampler
                    .get_or_insert_with(|| Resampler::new(pcm.sample_rate).expect("the rate is supported"));
                mono.clear();
                out.clear();
                codecs::downmix(pcm.interleaved, pcm.channels, &mut mono);
                resampler.process(&mono, &mut out);
                black_box(&out);
            });
        });
        let delay = input.delay();
        let memory = resident_of(LIVE_DECODERS, input, &mut alive);
        println!(
            "{:<22}{:>9.0}{:>12.0}{:>9}{:>11.1}{:>11.1}{:>11.1}{:>11.1}",
            input.name,
            decode / seconds * 1e6,
            hear / seconds * 1e6,
            delay.first_byte,
            delay.longest_run_ms,
            delay.mean_held_ms,
            delay.most_held_ms,
            memory,
        );
        rows.push(json!({
            "format": input.name,
            "decode_us_per_second": decode / seconds * 1e6,
            "decode_and_resample_us_per_second": hear / seconds * 1e6,
            "first_audio_at_byte": delay.first_byte,
            "longest_run_ms": delay.longest_run_ms,
            "mean_held_back_ms": delay.mean_held_ms,
            "most_held_back_ms": delay.most_held_ms,
            "resident_kib": memory,
        }));
    }

    let thousand =
        json!({ "resident_kib": with - before, "threads_before": threads, "threads": with_threads });
    write_json(&json!({ "formats": rows, "thousand_webm_decoders": thousand }));
}

/// One stream, in pieces as a client sends them.
struct Input {
    name: &'static str,
    format: StreamFormat,
    pieces: Vec<Vec<u8>>,
}

fn inputs() -> Vec<Input> {
    let reference = fixture("reference.wav");
    let mono = samples(&reference);
    let pcm: Vec<u8> = mono.iter().flat_map(|sample| ((sample * 32_768.0) as i16).to_le_bytes()).collect();
    // Any bytes are G.711.
    let mulaw: Vec<u8> = pcm.iter().copied().step_by(4).collect();
    let mut packets = fixture("opus.packets");
    let mut pieces = Vec::new();
    while packets.len() > 2 {
        let length = usize::from(u16::from_be_bytes([packets[0], packets[1]]));
        pieces.push(packets[2..2 + length].to_vec());
        packets.drain(..2 + length);
    }
    let headerless = |codec, rate| StreamFormat { codec, sample_rate: Some(rate), channels: Some(1) };
    let auto = StreamFormat { codec: Codec::Auto, sample_rate: None, channels: None };
    let container = |name, file| Input { name, format: auto, pieces: cut(&fixture(file)) };
    vec![
        Input { name: "pcm_s16le 16 kHz", format: headerless(Codec::PcmS16le, 16_000), pieces: cut(&pcm) },
        Input { name: "mulaw 8 kHz", format: headerless(Codec::Mulaw, 8_000), pieces: cut(&mulaw) },
        Input { name: "opus packets", format: headerless(Codec::Opus, 48_000), pieces },
        container("wav 16 kHz", "reference.wav"),
        Input { name: "flac 16 kHz", format: auto, pieces: cut(include_bytes!("../samples/interview.flac")) },
        container("webm opus", "webm-opus-mediarecorder.webm"),
        container("webm vorbis", "webm-vorbis.webm"),
        container("ogg opus", "ogg-opus-mono.ogg"),
        container("ogg vorbis", "ogg-vorbis-mono.ogg"),
        container("mp4 aac 48 kHz", "mp4-aac-fragmented-100ms.mp4"),
        container("mp4 opus", "mp4-opus-fragmented.mp4"),
        container("aac 16 kHz", "aac-16k-mono.aac"),
        container("aac 44 kHz stereo", "aac-44k-stereo.aac"),
        container("mp3 16 kHz", "mp3-mpeg2-16k-mono.mp3"),
        container("mp3 44 kHz stereo", "mp3-cbr-id3v2-44k-stereo.mp3"),
    ]
}

/// How late audio comes.
#[derive(Default)]
struct Delay {
    /// Bytes of the stream when the first audio came.
    first_byte: usize,
    /// The longest run of audio that came with one piece of one byte, or one packet: what the format itself holds back.
    longest_run_ms: f64,
    /// Audio that was there and came only when the stream was said to be over, at 100 places of the stream: what the
    /// decoder holds back.
    mean_held_ms: f64,
    most_held_ms: f64,
}

impl Input {
    fn decode(&self, sink: &mut dyn FnMut(Pcm<'_>)) {
        let mut decoder = self.decoder();
        self.pieces.iter().for_each(|piece| feed(&mut *decoder, piece, sink));
        finish(&mut *decoder, sink);
    }

    fn decoder(&self) -> Box<dyn Decoder> {
        codecs::decoder_for(self.format).expect("the format is complete")
    }

    fn half_fed(&self) -> Box<dyn Decoder> {
        let mut decoder = self.decoder();
        self.pieces[..self.pieces.len() / 2].iter().for_each(|piece| feed(&mut *decoder, piece, &mut |_| {}));
        decoder
    }

    fn seconds(&self) -> f64 {
        let mut milliseconds = 0.0;
        self.decode(&mut |pcm| milliseconds += ms(pcm));
        milliseconds / 1e3
    }

    fn delay(&self) -> Delay {
        let packets = self.format.codec == Codec::Opus;
        let bytes = self.pieces.concat();
        let pieces: Vec<&[u8]> =
            if packets { self.pieces.iter().map(Vec::as_slice).collect() } else { bytes.chunks(1).collect() };
        let mut delay = Delay::default();
        let mut decoder = self.decoder();
        let mut fed = 0;
        for piece in &pieces {
            fed += piece.len();
            let mut run = 0.0;
            feed(&mut *decoder, piece, &mut |pcm| run += ms(pcm));
            if run > 0.0 && delay.first_byte == 0 {
                delay.first_byte = fed;
            }
            delay.longest_run_ms = delay.longest_run_ms.max(run);
        }
        let places = (1..=100).map(|percent| pieces.len() * percent / 100);
        let held: Vec<f64> = places
            .map(|place| {
                let mut decoder = self.decoder();
                let mut late = 0.0;
                if packets {
                    pieces[..place].iter().for_each(|piece| feed(&mut *decoder, piece, &mut |_| {}));
                } else {
                    feed(&mut *decoder, &bytes[..place], &mut |_| {});
                }
                finish(&mut *decoder, &mut |pcm| late += ms(pcm));
                late
            })
            .collect();
        delay.mean_held_ms = held.iter().sum::<f64>() / held.len() as f64;
        delay.most_held_ms = held.into_iter().fold(0.0, f64::max);
        delay
    }
}

fn feed(decoder: &mut dyn Decoder, piece: &[u8], sink: &mut dyn FnMut(Pcm<'_>)) {
    decoder.decode(piece, sink).expect("the fixtures are sound");
}

fn finish(decoder: &mut dyn Decoder, sink: &mut dyn FnMut(Pcm<'_>)) {
    // A stream may be cut in its header here.
    while matches!(decoder.finish(sink), Ok(Finish::More) | Err(DecodeError::PacketSkipped(_))) {}
}

fn ms(pcm: Pcm<'_>) -> f64 {
    pcm.interleaved.len() as f64 * 1e3 / f64::from(pcm.channels) / f64::from(pcm.sample_rate)
}

fn fixture(name: &str) -> Vec<u8> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("codecs/fixtures").join(name);
    std::fs::read(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

fn samples(wav: &[u8]) -> Vec<f32> {
    let mut mono = Vec::new();
    let auto = StreamFormat { codec: Codec::Auto, sample_rate: None, channels: None };
    codecs::decode_whole(auto, wav, &mut |pcm| mono.extend_from_slice(pcm.interleaved))
        .expect("a sound file");
    mono
}

fn cut(bytes: &[u8]) -> Vec<Vec<u8>> {
    bytes.chunks(PIECE_BYTES).map(<[u8]>::to_vec).collect()
}

/// The shortest of many runs, in seconds.
fn best(mut run: impl FnMut()) -> f64 {
    let time = |_| {
        let start = Instant::now();
        run();
        start.elapsed().as_secs_f64()
    };
    (0..RUNS).map(time).fold(f64::INFINITY, f64::min)
}

/// KiB that one of `count` live decoders of `input` keeps resident.
fn resident_of(count: usize, input: &Input, alive: &mut Vec<Box<dyn Decoder>>) -> f64 {
    let before = status("VmRSS:");
    alive.extend((0..count).map(|_| input.half_fed()));
    (status("VmRSS:") - before) / count as f64
}

/// A number of /proc/self/status.
fn status(field: &str) -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux has /proc");
    let line = status.lines().find_map(|line| line.strip_prefix(field)).expect("the field exists");
    line.split_whitespace().next().and_then(|number| number.parse().ok()).expect("a number")
}

fn write_json(report: &serde_json::Value) {
    let mut arguments = std::env::args().skip_while(|argument| argument != "--json").skip(1);
    if let Some(file) = arguments.next() {
        std::fs::write(&file, format!("{report:#}\n")).unwrap_or_else(|error| panic!("{file}: {error}"));
    }
}

const HEAD: &str =
    "format               decode µs  and to      first  longest run       held back ms    resident
                      a second    16 kHz  at byte         ms       mean       most        KiB";
/// About what a browser sends at once.
const PIECE_BYTES: usize = 512;
const LIVE_DECODERS: usize = 200;
const RUNS: usize = 30;
