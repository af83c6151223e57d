//! What hearing costs: nanoseconds of CPU for each 20 ms of audio, stage by stage, and how the stages compare.
//!
//! `cargo bench --bench ear`; `--json FILE` also writes the table as JSON. Wall time on a busy machine is noisy: compare
//! rows of one run.

use std::{hint::black_box, time::Instant};

use codecs::{Codec, FRAME_SAMPLES, Framer, Resampler, SampleIndex, StreamFormat};
use engine::{
    echo,
    endpointer::{Endpointer, EndpointerConfig},
    listener::Listener,
};
use models::vad::{EarshotVad, VoiceActivityDetector, WebRtcMode, WebRtcVad};

fn main() {
    let sample = include_bytes!("../samples/interview.flac");
    let (rate, mono) = decoded(sample);
    let pcm: Vec<u8> = mono.iter().flat_map(|sample| ((sample * 32_768.0) as i16).to_le_bytes()).collect();
    let at_16k = resampled(rate, &mono);
    let at_48k = synthetic(48_000, 10);
    let chunks = mono.len() as f64 / f64::from(rate) / 0.02;
    let chunks_48k = 10.0 / 0.02;

    let mut table = Table::default();
    table.row("decode pcm_s16le", chunks, || {
        let mut decoder = codecs::decoder_for(headerless(rate)).expect("the format is complete");
        for chunk in pcm.chunks(rate as usize / 50 * 2) {
            decoder
                .decode(chunk, &mut |pcm| {
                    black_box(pcm);
                })
                .expect("PCM always decodes");
        }
    });
    table.row("decode flac", chunks, || {
        let format = StreamFormat { codec: Codec::Flac, sample_rate: None, channels: None };
        let mut decoder = codecs::decoder_for(format).expect("the format is complete");
        for chunk in sample.chunks(512) {
            decoder
                .decode(chunk, &mut |pcm| {
                    black_box(pcm);
                })
                .expect("the sample decodes");
        }
    });
    table.row("resample 48 kHz to 16 kHz", chunks_48k, || {
        black_box(resampled(48_000, &at_48k));
    });
    table.row("frame", chunks, || {
        let mut framer = Framer::new();
        for chunk in at_16k.chunks(320) {
            framer.push(chunk);
            while let Some(frame) = framer.next_frame() {
                black_box(frame);
            }
        }
    });
    table.row("classify, webrtc", chunks, || {
        classify(&mut WebRtcVad::new(WebRtcMode::VeryAggressive), &at_16k)
    });
    table.row("classify, earshot", chunks, || classify(&mut EarshotVad::new(), &at_16k));
    table.row("echo guard, both ends, an echo", chunks, || {
        guard(&at_16k, |at| 0.25 * at_16k[at.saturating_sub(1_600)])
    });
    table.row("echo guard, both ends, silence", chunks, || guard(&vec![0.0; at_16k.len()], |_| 0.0));
    table.row("endpoint", chunks, || {
        let mut endpointer = Endpointer::new(EndpointerConfig::default());
        for frame in 0..at_16k.len() / FRAME_SAMPLES {
            let score = f32::from(u8::from(frame % 200 < 150));
            black_box(endpointer.push(SampleIndex((frame * FRAME_SAMPLES) as u64), score));
        }
    });
    table.row("whole ear, pcm 48 kHz, earshot", chunks_48k, || {
        let bytes: Vec<u8> =
            at_48k.iter().flat_map(|sample| ((sample * 32_767.0) as i16).to_le_bytes()).collect();
        listen(48_000, &bytes);
    });
    table.row("whole ear, sample interview", chunks, || listen(rate, &pcm));
    table.print();
}

fn headerless(rate: u32) -> StreamFormat {
    StreamFormat { codec: Codec::PcmS16le, sample_rate: Some(rate), channels: Some(1) }
}

fn listen(rate: u32, pcm: &[u8]) {
    let detectors: Vec<Box<dyn VoiceActivityDetector>> = vec![Box::new(EarshotVad::new())];
    let mut listener = Listener::new(headerless(rate), detectors, EndpointerConfig::default())
        .expect("the format is complete");
    let mut events = Vec::new();
    for chunk in pcm.chunks(rate as usize / 50 * 2) {
        listener.push(chunk, &mut events).expect("PCM is always heard");
    }
    black_box(events);
}

/// Both ends of an echo guard, with the candidate's sample at each place.
fn guard(interviewer: &[f32], candidate: impl Fn(usize) -> f32) {
    let (mut far_end, mut near_end) = echo::pair();
    let candidate: Vec<f32> = (0..interviewer.len()).map(candidate).collect();
    for (far, near) in interviewer.chunks_exact(FRAME_SAMPLES).zip(candidate.chunks_exact(FRAME_SAMPLES)) {
        far_end.hear(far);
        black_box(near_end.hear(near, 1.0));
    }
}

fn classify(detector: &mut dyn VoiceActivityDetector, samples: &[f32]) {
    for frame in samples.chunks_exact(FRAME_SAMPLES) {
        black_box(detector.classify(frame));
    }
}

fn decoded(file: &[u8]) -> (u32, Vec<f32>) {
    let format = StreamFormat { codec: Codec::Auto, sample_rate: None, channels: None };
    let (mut rate, mut mono) = (0, Vec::new());
    let mut keep = |pcm: codecs::Pcm<'_>| {
        rate = pcm.sample_rate;
        codecs::downmix(pcm.interleaved, pcm.channels, &mut mono);
    };
    codecs::decode_whole(format, file, &mut keep).expect("the sample decodes");
    (rate, mono)
}

fn resampled(rate: u32, mono: &[f32]) -> Vec<f32> {
    let mut resampler = Resampler::new(rate).expect("the rate is supported");
    let mut out = Vec::new();
    for chunk in mono.chunks(rate as usize / 50) {
        resampler.process(chunk, &mut out);
    }
    resampler.flush(&mut out);
    out
}

/// Noise in bursts of a second, loud enough for every stage to work.
fn synthetic(rate: u32, seconds: u32) -> Vec<f32> {
    let mut state = 1u32;
    let noise = (0..rate * seconds).map(|n| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let loud = if (n / rate).is_multiple_of(2) { 0.3 } else { 0.001 };
        (state >> 8) as f32 / (1u32 << 23) as f32 * loud - loud
    });
    noise.collect()
}

#[derive(Default)]
struct Table(Vec<(&'static str, f64)>);

impl Table {
    /// Runs `work`, which handles `chunks` pieces of 20 ms, until the best of many runs is steady.
    fn row(&mut self, name: &'static str, chunks: f64, mut work: impl FnMut()) {
        work();
        let mut best = f64::MAX;
        let began = Instant::now();
        while began.elapsed().as_millis() < 700 {
            let run = Instant::now();
            work();
            best = best.min(run.elapsed().as_nanos() as f64 / chunks);
        }
        self.0.push((name, best));
    }

    fn print(&self) {
        println!("{:<34} {:>12} {:>16}", "stage", "ns / 20 ms", "of real time");
        for (name, ns) in &self.0 {
            println!("{name:<34} {ns:>12.0} {:>15.3}%", ns / 20e6 * 100.0);
        }
        let mut arguments = std::env::args().skip_while(|argument| argument != "--json").skip(1);
        if let Some(file) = arguments.next() {
            let rows: Vec<_> = self
                .0
                .iter()
                .map(|(name, ns)| serde_json::json!({ "stage": name, "ns_per_20_ms": ns }))
                .collect();
            let json = serde_json::to_string_pretty(&rows).expect("a table is plain data");
            std::fs::write(&file, json).unwrap_or_else(|error| panic!("{file}: {error}"));
        }
    }
}
