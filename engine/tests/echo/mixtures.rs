//! What two microphones hear in one interview: recordings mixed with echoes, rooms, noise and a telephone's band.
//!
//! The recordings are read where they lie. Not here: what the guard makes of it (`tests/echo.rs`).

use std::path::PathBuf;

use codecs::{Codec, Finish, Resampler, StreamFormat};
use realfft::{RealFftPlanner, num_complex::Complex32};

/// One voice: 16 kHz mono, −23 dBFS while it speaks.
pub(crate) struct Voice {
    pub(crate) name: String,
    pub(crate) speaker: String,
    pub(crate) samples: Vec<f32>,
}

/// The recordings of `INTERVIEWAI_SPEECH_DIR`, at most `seconds` of each, in the manifest's order; `None` without them.
pub(crate) fn recordings(seconds: f32) -> Option<Vec<Voice>> {
    let folder = std::env::var_os("INTERVIEWAI_SPEECH_DIR").map_or_else(
        || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared/speech"),
        |folder| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..").join(folder),
    );
    let manifest = std::fs::read_to_string(folder.join("manifest.jsonl")).ok()?;
    let entries = manifest
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).expect("a line of the manifest is JSON"));
    let voices = entries
        .filter(|entry| {
            let one_voice = ["read", "spontaneous", "question", "command"]
                .contains(&entry["kind"].as_str().unwrap_or_default());
            let long = entry["duration_s"].as_f64().unwrap_or_default() >= 3.0;
            one_voice && long && entry["duplicate_audio"] == false
        })
        .map(|entry| {
            let file = entry["file"].as_str().expect("an entry names its file");
            let bytes = std::fs::read(folder.join(file)).expect("the manifest's files are there");
            let mut samples = decoded(&bytes);
            samples.truncate((seconds * 16_000.0) as usize);
            level(&mut samples);
            let speaker = entry["speaker"].as_str().unwrap_or(file).to_owned();
            Voice { name: file.to_owned(), speaker, samples }
        });
    Some(voices.collect())
}

/// The project's own sample in two voices: each of its two questions.
pub(crate) fn bundled() -> Vec<Voice> {
    let samples = decoded(include_bytes!("../../../samples/interview.flac"));
    let voice = |name: &str, from: usize, to: usize| {
        let mut samples = samples[from * 1_600..to * 1_600].to_vec();
        level(&mut samples);
        Voice { name: name.to_owned(), speaker: name.to_owned(), samples }
    };
    vec![voice("the first question", 4, 60), voice("the second question", 97, 140)]
}

/// The first channel of a recording, at 16 kHz.
fn decoded(file: &[u8]) -> Vec<f32> {
    let format = StreamFormat { codec: Codec::Auto, sample_rate: None, channels: None };
    let mut decoder = codecs::decoder_for(format).expect("auto needs nothing");
    let (mut rate, mut mono) = (16_000, Vec::new());
    let mut keep = |pcm: codecs::Pcm<'_>| {
        rate = pcm.sample_rate;
        codecs::pick_channel(pcm.interleaved, pcm.channels, 0, &mut mono);
    };
    decoder.decode(file, &mut keep).expect("the recording is sound");
    while decoder.finish(&mut keep).expect("the recording is whole") == Finish::More {}
    let mut resampler = Resampler::new(rate).expect("the rate is a usual one");
    let mut out = Vec::new();
    resampler.process(&mono, &mut out);
    resampler.flush(&mut out);
    out
}

/// Brings speech to −23 dBFS: the mean of the loudest half of its 10 ms frames.
fn level(samples: &mut [f32]) {
    let mut powers: Vec<f32> =
        samples.chunks(160).map(|frame| frame.iter().map(|s| s * s).sum::<f32>() / 160.0).collect();
    powers.sort_by(f32::total_cmp);
    let loud = &powers[powers.len() / 2..];
    let rms = (loud.iter().sum::<f32>() / loud.len() as f32).sqrt();
    let gain = 10f32.powf(-23.0 / 20.0) / rms.max(1e-6);
    samples.iter_mut().for_each(|sample| *sample = (*sample * gain).clamp(-1.0, 1.0));
}

/// How the interviewer comes back.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Echo {
    pub(crate) delay_ms: usize,
    pub(crate) level_db: f32,
    pub(crate) room: Room,
}

/// What a room and a codec do to a voice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Room {
    /// Delay and level only.
    Dry,
    /// As much reverberation as direct sound, 60 dB down after so many milliseconds.
    Reverberant(usize),
    /// The same after 200 ms, and 300–3,400 Hz only.
    Telephone,
}

/// The echo of `voice`, as long as it.
pub(crate) fn echo_of(voice: &[f32], echo: Echo, seed: u32) -> Vec<f32> {
    let mut path = vec![0.0f32; echo.delay_ms * 16];
    path.push(1.0);
    let reverberation = match echo.room {
        Room::Dry => 0,
        Room::Reverberant(ms) => ms,
        Room::Telephone => 200,
    };
    if reverberation > 0 {
        let mut noise = Noise(seed);
        // −60 dB is e^−6.9.
        let tail: Vec<f32> = (0..reverberation * 16)
            .map(|n| noise.next() * (-6.9 * n as f32 / (reverberation * 16) as f32).exp())
            .collect();
        let energy: f32 = tail.iter().map(|tap| tap * tap).sum();
        path.extend(tail.iter().map(|tap| tap / energy.sqrt() * 0.5f32.sqrt()));
        let direct = echo.delay_ms * 16;
        path[direct] = 0.5f32.sqrt();
    }
    let mut heard = convolved(voice, &path);
    if echo.room == Room::Telephone {
        telephone_band(&mut heard);
    }
    let gain = 10f32.powf(echo.level_db / 20.0);
    heard.iter_mut().for_each(|sample| *sample *= gain);
    heard
}

fn convolved(signal: &[f32], path: &[f32]) -> Vec<f32> {
    let length = (signal.len() + path.len()).next_power_of_two();
    let mut planner = RealFftPlanner::new();
    let (forward, inverse) = (planner.plan_fft_forward(length), planner.plan_fft_inverse(length));
    let spectrum = |samples: &[f32]| -> Vec<Complex32> {
        let mut input = samples.to_vec();
        input.resize(length, 0.0);
        let mut output = forward.make_output_vec();
        forward.process(&mut input, &mut output).expect("the lengths are the plan's");
        output
    };
    let mut product = spectrum(signal);
    product.iter_mut().zip(spectrum(path)).for_each(|(a, b)| *a *= b);
    let mut out = inverse.make_output_vec();
    inverse.process(&mut product, &mut out).expect("the lengths are the plan's");
    out.truncate(signal.len());
    out.iter_mut().for_each(|sample| *sample /= length as f32);
    out
}

/// 300–3,400 Hz, second-order slopes twice.
fn telephone_band(samples: &mut [f32]) {
    for _ in 0..2 {
        biquad(samples, 300.0, true);
        biquad(samples, 3_400.0, false);
    }
}

/// The low-pass and the high-pass of the Audio EQ Cookbook (R. Bristow-Johnson), Q = 0.707.
fn biquad(samples: &mut [f32], hertz: f32, high_pass: bool) {
    let omega = std::f32::consts::TAU * hertz / 16_000.0;
    let (alpha, cos) = (omega.sin() / 1.414, omega.cos());
    let edge = if high_pass { 1.0 + cos } else { 1.0 - cos };
    let middle = if high_pass { -edge } else { edge };
    let (b, a) = ([edge / 2.0, middle, edge / 2.0], [1.0 + alpha, -2.0 * cos, 1.0 - alpha]);
    let (mut x, mut y) = ([0.0f32; 2], [0.0f32; 2]);
    for sample in samples {
        let out = (b[0] * *sample + b[1] * x[0] + b[2] * x[1] - a[1] * y[0] - a[2] * y[1]) / a[0];
        (x, y) = ([*sample, x[0]], [out, y[0]]);
        *sample = out;
    }
}

/// White noise, about −1 to 1.
pub(crate) struct Noise(pub(crate) u32);

impl Noise {
    pub(crate) fn next(&mut self) -> f32 {
        self.0 = self.0.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (self.0 >> 8) as f32 / (1u32 << 23) as f32 - 1.0
    }
}

/// Adds `other` from sample `at` on, lengthening `to` where needed.
pub(crate) fn add(to: &mut Vec<f32>, other: &[f32], at: usize) {
    to.resize(to.len().max(at + other.len()), 0.0);
    to[at..].iter_mut().zip(other).for_each(|(sample, more)| *sample += more);
}

/// Adds noise of `db` dBFS.
pub(crate) fn add_noise(to: &mut [f32], db: f32, seed: u32) {
    // Uniform noise of amplitude 1 has a power of 1/3.
    let gain = 10f32.powf(db / 20.0) * 3f32.sqrt();
    let mut noise = Noise(seed);
    to.iter_mut().for_each(|sample| *sample += gain * noise.next());
}
