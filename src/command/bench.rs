//! `interviewai bench sessions`: many real-time sessions against a server, and what became of them.
//!
//! | module | is |
//! |---|---|
//! | `speech` | what the sessions say |
//! | `talker` | one session: says it, and notes what comes back and when |
//! | `server` | the server under load: a child of this process, or one that runs already; its memory, CPU and descriptors |
//! | `report` | the table, and the JSON |
//!
//! Not here: accuracy, comparison with others (`benches/`), the time of single stages.

mod report;
mod server;
mod speech;
mod talker;

use std::{
    io::{IsTerminal as _, Write as _},
    path::Path,
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use client::ClientConfig;
use tokio::{
    task::JoinSet,
    time::{Instant, MissedTickBehavior, interval, sleep, sleep_until},
};

use self::{
    report::Report,
    server::Under,
    speech::{Clip, Script},
    talker::{Farewell, Outcome, Talker},
};
use crate::{
    Error,
    cli::{Bench, BenchKind, BenchSessions, Transport},
    settings::{Auth, Settings},
};

pub(crate) async fn run(
    settings: &Settings,
    config: Option<&Path>,
    arguments: Bench,
) -> Result<ExitCode, Error> {
    let BenchKind::Sessions(arguments) = arguments.what;
    let clips: Arc<[Clip]> = match arguments.talk {
        0.0 if arguments.flood == 0 => Arc::from([]),
        _ => speech::clips(arguments.manifest.as_deref())?.into(),
    };
    let under = Under::start(config, &arguments).await?;
    let mut target = ClientConfig::new(under.url.clone());
    if let Auth::Token(token) = &settings.auth {
        target.token = Some(token.clone());
    }
    target.certificate = under.certificate;
    // A server at its limits shakes hands late, which is to be measured and not to be cut off.
    target.connect_timeout = Duration::from_secs(30);
    let report = load(&arguments, under, target, clips).await?;
    println!("{report}");
    if let Some(path) = &arguments.json {
        let json = serde_json::to_string_pretty(&report)?;
        std::fs::write(path, json + "\n").map_err(|error| format!("--json {}: {error}", path.display()))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// How many sessions are where.
#[derive(Default)]
struct Progress {
    open: AtomicUsize,
    begun: AtomicUsize,
    over: AtomicUsize,
}

/// Puts the load on the server, watching it meanwhile.
async fn load(
    arguments: &BenchSessions,
    mut under: Under,
    target: ClientConfig,
    clips: Arc<[Clip]>,
) -> Result<Report, Error> {
    let progress = Arc::new(Progress::default());
    let start = Instant::now();
    let spread = Duration::from_secs_f64(arguments.spread.unwrap_or_else(|| default_spread(arguments.count)));
    let end = start + spread + Duration::from_secs(arguments.seconds);
    if let Some(process) = &mut under.process {
        process.baseline().await?;
    }
    let mut slots = JoinSet::new();
    for number in 0..arguments.count + arguments.flood {
        let floods = number >= arguments.count;
        let turn = f64::from(number) / f64::from(arguments.count);
        let slot = Slot {
            number: number as usize,
            floods,
            // Those that flood come when all others are there.
            begin: start + spread.mul_f64(turn.min(1.0)),
            end,
            talk: if floods { FLOOD_TALK } else { arguments.talk },
            churn: arguments.churn.filter(|_| !floods),
            target: target.clone(),
            kept: under.ours,
            clips: Arc::clone(&clips),
            progress: Arc::clone(&progress),
        };
        slots.spawn(slot.run());
    }
    let mut outcomes = Vec::new();
    let mut tick = interval(SAMPLE_EVERY);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut line = Line::new();
    loop {
        tokio::select! {
            joined = slots.join_next() => match joined {
                Some(slot) => outcomes.extend(slot?),
                None => break,
            },
            _ = tick.tick() => {
                let steady = Instant::now() > start + spread && Instant::now() < end;
                let open = progress.open.load(Ordering::Relaxed);
                let sample = match &mut under.process {
                    Some(process) => process.sample(open, steady).await?,
                    None => String::new(),
                };
                line.show(&format!(
                    "{:>5.0} s of {:.0}: {open} sessions open, {} begun, {} over{sample}",
                    start.elapsed().as_secs_f64(),
                    (end - start).as_secs_f64(),
                    progress.begun.load(Ordering::Relaxed),
                    progress.over.load(Ordering::Relaxed),
                ));
            }
        }
    }
    line.clear();
    if let Some(process) = &mut under.process {
        // What the sessions had is given back a little after they are gone.
        sleep(AFTERMATH).await;
        process.finish().await?;
    }
    Ok(Report::new(arguments, &under, &outcomes, start.elapsed()))
}

/// One session after the other, or a single one for all of the time.
struct Slot {
    number: usize,
    floods: bool,
    begin: Instant,
    end: Instant,
    talk: f64,
    /// Mean length of a session in seconds.
    churn: Option<f64>,
    target: ClientConfig,
    kept: bool,
    clips: Arc<[Clip]>,
    progress: Arc<Progress>,
}

impl Slot {
    async fn run(self) -> Vec<Outcome> {
        let mut outcomes = Vec::new();
        sleep_until(self.begin).await;
        for round in 0.. {
            // The same numbers in every run: a golden-ratio sequence spreads them evenly.
            let chance = spread_number(self.number + 7 * round);
            let (until, farewell) = match self.churn {
                None => (self.end, Farewell::Ends),
                Some(mean) => {
                    let length = Duration::from_secs_f64(mean * (0.5 + chance));
                    let farewell = if round % 3 == 2 { Farewell::HangsUp } else { Farewell::Ends };
                    ((Instant::now() + length).min(self.end), farewell)
                }
            };
            let script = (self.talk > 0.0)
                .then(|| Script::new(Arc::clone(&self.clips), self.talk, self.number + 5 * round, chance));
            self.progress.begun.fetch_add(1, Ordering::Relaxed);
            let (target, kept, open) = (&self.target, self.kept, &self.progress.open);
            let floods = self.floods;
            let outcome = Talker { target, kept, open, script, floods, until, farewell }.run().await;
            let refused = !outcome.was_let_in();
            outcomes.push(outcome);
            self.progress.over.fetch_add(1, Ordering::Relaxed);
            if self.churn.is_none() || Instant::now() >= self.end {
                break;
            }
            if refused {
                sleep(REFUSED_PAUSE).await;
            }
        }
        outcomes
    }
}

/// The `n`th of numbers from 0 to 1 that are spread evenly, however many are taken.
fn spread_number(n: usize) -> f64 {
    (n as f64 * 0.618_033_988_749_895).fract()
}

/// Two hundred sessions a second, and a second at least.
fn default_spread(count: u32) -> f64 {
    (f64::from(count) / 200.0).max(1.0)
}

/// Where it stands: one line that is written over on a terminal, one every half minute elsewhere.
struct Line {
    terminal: bool,
    written: Option<Instant>,
}

impl Line {
    fn new() -> Self {
        Self { terminal: std::io::stderr().is_terminal(), written: None }
    }

    fn show(&mut self, text: &str) {
        if self.terminal {
            let _ = write!(std::io::stderr(), "\r\x1b[2K{text}");
        } else if self.written.is_none_or(|written| written.elapsed() >= LINE_EVERY) {
            eprintln!("{text}");
            self.written = Some(Instant::now());
        }
    }

    fn clear(&self) {
        if self.terminal {
            let _ = write!(std::io::stderr(), "\r\x1b[2K");
        }
    }
}

impl Transport {
    /// The scheme of its addresses.
    fn scheme(self) -> &'static str {
        match self {
            Self::Ws => "ws",
            Self::Quic => "quic",
        }
    }
}

/// Turns must end, or they are cut at a minute.
const FLOOD_TALK: f64 = 0.8;
const SAMPLE_EVERY: Duration = Duration::from_secs(1);
const LINE_EVERY: Duration = Duration::from_secs(30);
/// The server renews its gauges every five seconds.
const AFTERMATH: Duration = Duration::from_secs(7);
/// Before a slot whose session was refused tries again.
const REFUSED_PAUSE: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spread_numbers_are_spread() {
        let mut quarters = [0; 4];
        for n in 0..1_000 {
            quarters[(spread_number(n) * 4.0) as usize] += 1;
        }
        assert!(quarters.iter().all(|count| (240..=260).contains(count)), "{quarters:?}");
    }
}
