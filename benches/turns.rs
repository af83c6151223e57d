//! When turns end, against labels made by hand: too early, too late or not at all; and what guessing at pauses costs.
//!
//! `cargo bench --bench turns -- [WEIGHTS]`. Recordings run through the real ear at full speed; where it stands still, the
//! words of the turn so far are written down by the real recogniser and decide, as in a session. Two ways to end a turn are
//! compared: by how much was said (500 to 1,000 ms of silence), and by what was said (the defaults).
//! Not here: how long any of that takes (`speech`).

#[path = "../tests/support/server.rs"]
mod server;

use std::{path::Path, sync::Arc};

use codecs::{Codec, Finish, StreamFormat};
use engine::{
    endpointer::EndpointerConfig,
    listener::{Listener, TurnEvent, TurnEventKind, Utterance},
    turn_end::{TurnEnd, turn_end},
};
use futures_util::StreamExt as _;
use models::{
    speech::{InferencePool, PoolConfig, Priority, TranscribeRequest, Transcriber as _, TranscriptEvent},
    vad::EarshotVad,
};
use server::{interviewai, manifest, run, speech_dir};

fn main() {
    let Some(dir) = speech_dir() else { return };
    let weights = std::env::args().skip(1).find(|argument| argument != "--bench");
    let weights = weights.unwrap_or_else(|| "tiny.en".to_owned());
    let (output, path, err) = run(interviewai().args(["models", "path", &weights]));
    assert!(output.status.success(), "{err}");
    let speech = Speech {
        pool: InferencePool::load(Path::new(path.trim()), PoolConfig::default()).expect("the weights load"),
        runtime: tokio::runtime::Runtime::new().expect("a runtime starts"),
    };
    let recordings: Vec<_> = SETS.iter().flat_map(|set| recordings(&dir, set)).collect();
    let minutes =
        recordings.iter().map(|recording| recording.samples.len() as f64 / 16e3 / 60.0).sum::<f64>();
    println!("{} recordings, {minutes:.1} min, weights {weights}\n", recordings.len());

    println!("guesses, by the silence before one    per minute  dropped  s of audio dropped per minute");
    for pause_ms in [60, 80, 100, 120, 200] {
        let config = EndpointerConfig { pause_ms, ..EndpointerConfig::default() };
        let (mut made, mut dropped, mut dropped_s) = (0u32, 0u32, 0.0);
        for recording in &recordings {
            let mut open = None;
            for event in hear(&recording.samples, config, &mut |_| TurnEnd::Open) {
                match event.kind {
                    TurnEventKind::Paused(utterance) => {
                        made += 1;
                        open = Some(utterance.audio.len() as f64 / 16e3);
                    }
                    TurnEventKind::Resumed => {
                        dropped += 1;
                        dropped_s += open.take().unwrap_or_default();
                    }
                    _ => {}
                }
            }
        }
        let (rate, audio) = (f64::from(made) / minutes, dropped_s / minutes);
        let share = 100.0 * f64::from(dropped) / f64::from(made.max(1));
        println!("{pause_ms:>31} ms {rate:>14.1} {share:>6.0} % {audio:>10.1}");
    }

    println!(
        "\n{:<20} {:<8} {:>5} {:>6} {:>6} {:>6} {:>6}   end of speech → decided, ms",
        "set", "by", "ends", "missed", "late", "turns", "early"
    );
    let before =
        EndpointerConfig { min_silence_ms: 500, max_silence_ms: 1_000, ..EndpointerConfig::default() };
    let after = EndpointerConfig { hints: true, ..EndpointerConfig::default() };
    for set in SETS {
        for (name, config) in [("silence", before), ("words", after)] {
            let mut score = Score::default();
            for recording in recordings.iter().filter(|recording| recording.set == set) {
                let events = hear(&recording.samples, config, &mut |utterance| speech.turn_end(utterance));
                score.add(recording, &events, u64::from(config.max_silence_ms));
            }
            score.print(set, name);
        }
    }
}

const SETS: [&str; 4] = ["timit_sample", "mfa_spontaneous", "telephone_dialogue", "ami_rttm"];

struct Speech {
    pool: InferencePool,
    runtime: tokio::runtime::Runtime,
}

impl Speech {
    fn turn_end(&self, utterance: &Utterance) -> TurnEnd {
        let request = TranscribeRequest {
            audio: Arc::clone(&utterance.audio),
            language: Some("en".to_owned()),
            vocabulary: Arc::from([]),
            priority: Priority::Speculative,
            stream: 1,
            settled: Arc::from([]),
            before: Arc::from(""),
            cache: false,
        };
        let events = self.runtime.block_on(self.pool.transcribe(request).collect::<Vec<_>>());
        match events.into_iter().last() {
            Some(Ok(TranscriptEvent::Final(transcript))) => turn_end(&transcript.text),
            _ => TurnEnd::Unknown,
        }
    }
}

/// Somebody speaks: milliseconds.
struct Span {
    start: u64,
    end: u64,
    speaker: String,
}

struct Recording {
    set: &'static str,
    /// 16 kHz, with two seconds of silence at the end.
    samples: Vec<f32>,
    /// In the order of their starts.
    spans: Vec<Span>,
    /// The labels are good for this much of it.
    length_ms: u64,
}

fn recordings(dir: &Path, set: &'static str) -> Vec<Recording> {
    let labelled = manifest(dir, set).into_iter().filter_map(|(file, entry)| {
        let labels = entry["timings_files"].as_array()?.iter().filter_map(|file| file.as_str());
        let mut spans = labels.filter_map(|file| spans(&dir.join(file))).next()?;
        spans.sort_by_key(|span| span.start);
        let mut samples = Vec::new();
        let format = StreamFormat { codec: Codec::Auto, sample_rate: None, channels: None };
        let mut keep = |pcm: codecs::Pcm<'_>| codecs::downmix(pcm.interleaved, pcm.channels, &mut samples);
        codecs::decode_whole(format, &std::fs::read(file).ok()?, &mut keep).ok()?;
        let length_ms = samples.len() as u64 / 16;
        samples.extend(std::iter::repeat_n(0.0, 32_000));
        Some(Recording { set, samples, spans, length_ms })
    });
    labelled.collect()
}

/// Spans of `.ctm` (words), `.TextGrid` (the tier of words) or `.rttm` (a speaker's stretches).
fn spans(file: &Path) -> Option<Vec<Span>> {
    let ms = |seconds: &str| seconds.parse::<f64>().ok().map(|s| (s * 1e3).round() as u64);
    let text = std::fs::read_to_string(file).ok()?;
    let span = |start: u64, length: u64, speaker: &str| Span {
        start,
        end: start + length,
        speaker: speaker.to_owned(),
    };
    match file.extension()?.to_str()? {
        "ctm" => text
            .lines()
            .map(|line| {
                let fields: Vec<_> = line.split_whitespace().collect();
                Some(span(ms(fields.get(2)?)?, ms(fields.get(3)?)?, "only"))
            })
            .collect(),
        "rttm" => text
            .lines()
            .map(|line| {
                let fields: Vec<_> = line.split_whitespace().collect();
                Some(span(ms(fields.get(3)?)?, ms(fields.get(4)?)?, fields.get(7)?))
            })
            .collect(),
        "TextGrid" => {
            // The short form: a tier is its class, name, start, end, count, and three lines an interval.
            let mut lines = text.lines().skip_while(|line| *line != "\"words\"").skip(3);
            let count: usize = lines.next()?.trim().parse().ok()?;
            let mut words = Vec::new();
            for _ in 0..count {
                let (start, end, word) =
                    (ms(lines.next()?.trim())?, ms(lines.next()?.trim())?, lines.next()?);
                if !matches!(word, "\"\"" | "\"sil\"" | "\"sp\"" | "\"<eps>\"") {
                    words.push(span(start, end - start, "only"));
                }
            }
            Some(words)
        }
        _ => None,
    }
}

/// What the ear hears, `words` deciding where it stands still.
fn hear(
    samples: &[f32],
    config: EndpointerConfig,
    words: &mut dyn FnMut(&Utterance) -> TurnEnd,
) -> Vec<TurnEvent> {
    let format = StreamFormat { codec: Codec::PcmF32le, sample_rate: Some(16_000), channels: Some(1) };
    let mut listener =
        Listener::new(format, vec![Box::new(EarshotVad::new())], config).expect("PCM is known");
    let mut events: Vec<TurnEvent> = Vec::new();
    let mut answer = |listener: &mut Listener, events: &mut Vec<TurnEvent>| {
        while listener.stands_still() {
            let paused = events.iter().rev().find_map(|event| match &event.kind {
                TurnEventKind::Paused(utterance) => Some(utterance.clone()),
                _ => None,
            });
            let utterance = paused.expect("it stands still in a pause");
            let hint = words(&utterance);
            listener.hint(0, utterance.speech_end, hint, events);
        }
    };
    for message in samples.chunks(320) {
        let bytes: Vec<u8> = message.iter().flat_map(|sample| sample.to_le_bytes()).collect();
        listener.push(&bytes, &mut events).expect("PCM");
        answer(&mut listener, &mut events);
    }
    while listener.finish(&mut events).expect("PCM") == Finish::More {
        answer(&mut listener, &mut events);
    }
    events
}

#[derive(Default)]
struct Score {
    ends: u32,
    missed: u32,
    late: u32,
    turns: u32,
    early: u32,
    delays: Vec<u64>,
}

impl Score {
    fn add(&mut self, recording: &Recording, events: &[TurnEvent], max_silence_ms: u64) {
        let turns: Vec<_> = events
            .iter()
            .filter_map(|event| match &event.kind {
                TurnEventKind::Ended(utterance) => {
                    Some((utterance.speech_end.as_ms(), utterance.heard.as_ms()))
                }
                _ => None,
            })
            .collect();
        for (speech_end, _) in &turns {
            self.turns += 1;
            self.early += u32::from(goes_on(&recording.spans, *speech_end));
        }
        for end in ends(&recording.spans) {
            self.ends += 1;
            let patience = end + max_silence_ms + SLACK_MS;
            // The detector may lose the last sound of a word.
            let decided = turns.iter().map(|(_, decided)| *decided).find(|decided| *decided + LOST_MS >= end);
            match decided.filter(|decided| *decided <= patience.min(recording.length_ms + 2_000)) {
                None => self.missed += 1,
                Some(decided) => {
                    let delay = decided.saturating_sub(end);
                    self.late += u32::from(delay > LATE_MS);
                    self.delays.push(delay);
                }
            }
        }
    }

    fn print(&mut self, set: &str, name: &str) {
        self.delays.sort_unstable();
        let at = |quantile: f64| {
            let last = self.delays.len().saturating_sub(1) as f64;
            self.delays.get((last * quantile).round() as usize).copied().unwrap_or_default()
        };
        println!(
            "{set:<20} {name:<8} {:>5} {:>6} {:>6} {:>6} {:>6}   p50 {} p90 {} p95 {} max {}",
            self.ends,
            self.missed,
            self.late,
            self.turns,
            self.early,
            at(0.5),
            at(0.9),
            at(0.95),
            at(1.0)
        );
    }
}

/// Whether whoever spoke last before `speech_end` goes on within a second.
fn goes_on(spans: &[Span], speech_end: u64) -> bool {
    let Some(last) = spans.iter().rposition(|span| span.start + LOST_MS <= speech_end) else { return false };
    let own = spans[..=last].iter().filter(|span| span.speaker == spans[last].speaker);
    let end = own.map(|span| span.end).max().unwrap_or_default();
    let mut next = spans[last + 1..].iter().filter(|span| span.speaker == spans[last].speaker);
    // Words run on, or follow soon.
    end > speech_end + 3 * LOST_MS || next.next().is_some_and(|next| next.start < end + GOES_ON_MS)
}

/// Where everybody falls silent for longer than any turn waits, or for good.
fn ends(spans: &[Span]) -> Vec<u64> {
    let mut ends = Vec::new();
    let mut end = 0;
    for span in spans {
        if end > 0 && span.start > end + SILENT_MS {
            ends.push(end);
        }
        end = end.max(span.end);
    }
    ends.push(end);
    ends
}

/// The same voice within this goes on.
const GOES_ON_MS: u64 = 1_000;
/// Silence that ends a turn for certain.
const SILENT_MS: u64 = 1_700;
/// What a label or the detector may be off.
const LOST_MS: u64 = 100;
/// Beyond the longest silence: the detector's hang-over.
const SLACK_MS: u64 = 400;
/// Later than this is late.
const LATE_MS: u64 = 800;
