//! Streams at once: how many clients, each half the time talking, have their final text within a second.
//!
//! The number is raised until a system's p95 is above the limit, it refuses a client, or loses more than [`MAX_MISSING`] of the
//! recordings. Not here: one recording after the other (`main.rs`).

use std::time::{Duration, Instant};

use client::{ClientConfig, Pacer, connect};
use protocol::{AudioFormat, ClientMessage, CloseCode, Codec, Role, ServerMessage, StartStream};
use serde_json::{Value, json};

use crate::{
    Recording,
    measure::{load, quantile, shown},
    recordings::{Heard, Spoken},
    systems::System,
};

pub(crate) fn measure(systems: &mut [System], recordings: &[Recording], limit_ms: f64) -> Value {
    let fit = |recording: &&Recording| LENGTHS_S.contains(&recording.seconds());
    let recordings: Vec<_> = recordings
        .iter()
        .filter(fit)
        .map(|recording| (recording.samples.clone(), recording.speech_end_ms))
        .collect();
    assert!(!recordings.is_empty(), "no recording of {LENGTHS_S:?} seconds");
    println!(
        "end of speech → final text, ms, of clients at once; half the time is talk; {SECONDS} s each; load {}",
        load()
    );
    println!(
        "{:<26} {:>7} {:>7} {:>7} {:>10} {:>8} {:>11}  load",
        "", "clients", "p50", "p95", "missing", "refused", "CPU s/s"
    );
    let mut rows = Vec::new();
    for system in systems.iter_mut().filter(|system| system.serves_many()) {
        // The first run of a model is slower than all others.
        let _ = system.hear_at_once(&[Spoken::session(&recordings, 0, 1.0)]);
        for clients in CLIENTS {
            let level = Level::measure(system, &recordings, clients);
            rows.push(level.row(&system.name, limit_ms));
            if !level.holds(limit_ms) {
                break;
            }
        }
    }
    json!({ "seconds": SECONDS, "limit_ms": limit_ms, "load": load(), "levels": rows })
}

/// What became of so many clients.
struct Level {
    clients: usize,
    said: usize,
    latencies_ms: Vec<f64>,
    refused: usize,
    /// CPU seconds a second.
    cpu: f64,
}

impl Level {
    fn measure(system: &mut System, recordings: &[(Vec<f32>, f64)], clients: usize) -> Self {
        let spoken: Vec<_> = (0..clients)
            .map(|number| Spoken {
                offset_ms: STAGGER_MS * number as f64 / clients as f64,
                // Neighbours say different recordings.
                ..Spoken::session(recordings, number * 3 % recordings.len(), SECONDS)
            })
            .collect();
        let (cpu_before, began) = (system.cpu_seconds(), Instant::now());
        let heard = system.hear_at_once(&spoken);
        let cpu_s = system.cpu_seconds().zip(cpu_before).map_or(0.0, |(after, before)| after - before);
        let mut level = Self { clients, said: 0, latencies_ms: Vec::new(), refused: 0, cpu: 0.0 };
        level.cpu = cpu_s / began.elapsed().as_secs_f64();
        for (spoken, heard) in spoken.iter().zip(heard) {
            match heard {
                Ok(heard) => {
                    level.said += spoken.clips.len();
                    level.latencies_ms.extend(spoken.clips.iter().filter_map(|clip| clip.latency_ms(&heard)));
                }
                Err(why) => {
                    level.refused += 1;
                    eprintln!("{}: {why}", system.name);
                }
            }
        }
        level
    }

    fn missing(&self) -> usize {
        self.said - self.latencies_ms.len()
    }

    fn holds(&self, limit_ms: f64) -> bool {
        self.refused == 0
            && self.missing() as f64 <= self.said as f64 * MAX_MISSING
            && quantile(&self.latencies_ms, 0.95).is_some_and(|p95| p95 <= limit_ms)
    }

    fn row(&self, system: &str, limit_ms: f64) -> Value {
        let (p50, p95) = (quantile(&self.latencies_ms, 0.5), quantile(&self.latencies_ms, 0.95));
        let missing = format!("{} of {}", self.missing(), self.said);
        println!(
            "{system:<26} {:>7} {:>7} {:>7} {missing:>10} {:>8} {:>11.2}  {}",
            self.clients,
            shown(p50),
            shown(p95),
            self.refused,
            self.cpu,
            load()
        );
        json!({
            "system": system, "clients": self.clients, "p50_ms": p50, "p95_ms": p95, "said": self.said,
            "missing": self.missing(), "refused": self.refused, "cpu_s_per_s": self.cpu, "holds": self.holds(limit_ms),
        })
    }
}

/// Streams to the server at `url` as so many clients; for each its final texts, or why there are none.
pub(crate) fn stream(url: &str, clients: &[Spoken]) -> Vec<Result<Vec<Heard>, String>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(futures_util::future::join_all(clients.iter().map(|client| stream_one(url, client))))
}

async fn stream_one(url: &str, spoken: &Spoken) -> Result<Vec<Heard>, String> {
    tokio::time::sleep(Duration::from_secs_f64(spoken.offset_ms / 1e3)).await;
    let (mut sender, mut events) =
        connect(&ClientConfig::new(url)).await.map_err(|error| error.to_string())?;
    let audio = AudioFormat::mono(Codec::PcmS16le, Some(16_000), Role::Mixed);
    let start = StartStream { session_id: None, audio, config: None, resume: None };
    sender.start(start).await.map_err(|error| error.to_string())?;
    let mut pacer = Pacer::new(1.0).map_err(|error| error.to_string())?;
    // Starts the schedule: the first sample is said now.
    pacer.wait(Duration::ZERO).await;
    let began = pacer.started().expect("the pacer has started");
    let pcm = spoken.pcm();
    let sending = async {
        for (number, chunk) in (1..).zip(pcm.chunks(CHUNK_BYTES)) {
            pacer.wait(CHUNK * number).await;
            sender.audio(chunk).await?;
        }
        sender.send(&ClientMessage::EndStream {}).await
    };
    let reading = async {
        let mut heard = Vec::new();
        while let Some(event) = events.next().await {
            let Ok(event) = event else { continue };
            if let ServerMessage::Transcription(words) = event.message
                && words.is_final
            {
                let at_ms = began.elapsed().as_secs_f64() * 1e3;
                heard.push(Heard { text: words.text, end_ms: words.end_ms as f64, at_ms });
            }
        }
        (heard, events.closed().cloned())
    };
    // A refusal ends both: the socket is closed.
    let (sent, (heard, closed)) = tokio::join!(sending, reading);
    match closed {
        Some(closed) if closed.meaning() == Some(CloseCode::Done) => Ok(heard),
        Some(closed) => Err(format!("closed with {}", closed.code)),
        None => Err(sent.err().map_or("the connection was lost".to_owned(), |error| error.to_string())),
    }
}

const CLIENTS: [usize; 9] = [1, 2, 4, 8, 12, 16, 24, 32, 48];
const SECONDS: f64 = 45.0;
const MAX_MISSING: f64 = 0.05;
/// Clients begin within this time, evenly: about a recording and its silence.
const STAGGER_MS: f64 = 10_000.0;
/// Long enough that its silence ends a turn, short enough that several fit.
const LENGTHS_S: std::ops::RangeInclusive<f64> = 2.0..=7.0;
const CHUNK: Duration = Duration::from_millis(20);
const CHUNK_BYTES: usize = 640;
