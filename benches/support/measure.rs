//! What benches over recordings measure with: the true end of speech, CPU time of a process, load, quantiles.
//!
//! Shared by `benches/speech.rs` and `benches/peers`, tested by `tests/measure.rs`. Not here: anything about a system.

#![allow(dead_code, reason = "each bench that includes this file uses a part of it")]

use std::path::Path;

use serde_json::Value;

/// The first byte leaves when the first 20 ms have been said; `received_ms` of `interviewai stream` counts from there.
pub(crate) const CHUNK_MS: f64 = 20.0;

/// Milliseconds into the recording at which the last word ends: as people labelled it, else as loudness shows.
pub(crate) fn speech_end_ms(dir: &Path, entry: &Value, file: &Path) -> f64 {
    labelled_end_ms(dir, entry).unwrap_or_else(|| {
        let (mono, rate) = decoded(file);
        loud_end_ms(&mono, rate)
    })
}

fn labelled_end_ms(dir: &Path, entry: &Value) -> Option<f64> {
    let files: Vec<_> = entry["timings_files"].as_array()?.iter().filter_map(Value::as_str).collect();
    let labels = |kind: &str| {
        let file = files.iter().find(|file| file.ends_with(kind))?;
        std::fs::read_to_string(dir.join(file)).ok()
    };
    labels(".ctm")
        .and_then(|text| ctm_end_ms(&text))
        .or_else(|| labels(".TextGrid").and_then(|text| text_grid_end_ms(&text)))
}

/// The end of the last labelled interval of a `.TextGrid` file in Praat's short form: start, end, label, a line each.
pub(crate) fn text_grid_end_ms(text: &str) -> Option<f64> {
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    let number = |line: &str| line.parse::<f64>().ok();
    let spoken = lines.windows(3).filter_map(|lines| {
        let (_start, end) = (number(lines[0])?, number(lines[1])?);
        let label = lines[2].strip_prefix('"')?.strip_suffix('"')?;
        (!label.is_empty()).then_some(end * 1e3)
    });
    spoken.max_by(f64::total_cmp)
}

/// The end of the last word of a `.ctm` file: a word a line, as file, channel, start, duration, word.
pub(crate) fn ctm_end_ms(text: &str) -> Option<f64> {
    let fields = text.lines().last()?.split_whitespace().skip(2).take(2);
    let fields: Vec<f64> = fields.filter_map(|field| field.parse().ok()).collect();
    (fields.len() == 2).then(|| fields.iter().sum::<f64>() * 1e3)
}

/// The end of the last 10 ms that are louder than 30 dB below the loudest: a stand-in for labels, found without any
/// detector that is being measured. Late on a noisy recording, which makes latencies look shorter.
pub(crate) fn loud_end_ms(mono: &[f32], rate: u32) -> f64 {
    let loudness = |frame: &[f32]| frame.iter().map(|sample| sample * sample).sum::<f32>();
    let frames: Vec<f32> = mono.chunks(rate as usize / 100).map(loudness).collect();
    let loudest = frames.iter().copied().fold(0.0, f32::max);
    let last = frames.iter().rposition(|energy| *energy > loudest * 1e-3).unwrap_or_default();
    (last + 1) as f64 * 10.0
}

/// A recording as mono samples, and their rate.
pub(crate) fn decoded(file: &Path) -> (Vec<f32>, u32) {
    let format = codecs::StreamFormat { codec: codecs::Codec::Auto, sample_rate: None, channels: None };
    let (mut mono, mut rate) = (Vec::new(), 16_000);
    let mut keep = |pcm: codecs::Pcm<'_>| {
        rate = pcm.sample_rate;
        codecs::downmix(pcm.interleaved, pcm.channels, &mut mono);
    };
    let bytes = std::fs::read(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    codecs::decode_whole(format, &bytes, &mut keep).expect("the recording decodes");
    (mono, rate)
}

/// CPU seconds that a process and its children that have ended used.
pub(crate) fn cpu_seconds(pid: u32) -> Option<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // Fields 14 to 17 of proc(5); the name before them may hold spaces but ends with ')'.
    let (_, after) = stat.rsplit_once(')')?;
    let ticks = after.split_whitespace().skip(11).take(4).map(|ticks| ticks.parse::<f64>().ok());
    Some(ticks.sum::<Option<f64>>()? / CLOCK_TICKS)
}

/// How busy the machine was in the last minute and the last five.
pub(crate) fn load() -> String {
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    load.split(' ').take(2).collect::<Vec<_>>().join(" ")
}

/// The value below which the part `quantile` of `values` lies, by nearest rank over sorted values; `None` without any.
pub(crate) fn quantile(values: &[f64], quantile: f64) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let last = sorted.len().checked_sub(1)?;
    sorted.get((last as f64 * quantile).round() as usize).copied()
}

/// Milliseconds for a table, or a dash.
pub(crate) fn shown(value: Option<f64>) -> String {
    value.map_or("–".to_owned(), |value| format!("{value:.0}"))
}

/// `USER_HZ` on Linux.
const CLOCK_TICKS: f64 = 100.0;
