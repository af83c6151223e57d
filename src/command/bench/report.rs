//! What a bench found: a table for people, JSON for programs.
//!
//! Not here: measuring.

use std::{collections::BTreeMap, fmt, time::Duration};

use serde::Serialize;

use super::{
    server::{Sample, Under, Usage},
    talker::Outcome,
};
use crate::cli::BenchSessions;

/// Everything that a run found.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    url: String,
    count: u32,
    talk: f64,
    seconds: f64,
    sessions: usize,
    admitted: usize,
    /// By close code or HTTP status.
    refused: BTreeMap<String, usize>,
    /// By what went wrong.
    failed: BTreeMap<String, usize>,
    final_ms: Spread,
    decided_ms: Spread,
    admission_ms: Spread,
    refusal_ms: Spread,
    losses: Losses,
    warnings: BTreeMap<String, u64>,
    errors: BTreeMap<String, u64>,
    audio_ms: u64,
    talk_ms: u64,
    late_pieces: usize,
    /// Audio that each of those took in, which sent it as fast as they could.
    flood_audio_ms: Vec<u64>,
    server: Option<Server>,
}

/// How something that was measured often is spread, in its own unit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub(super) struct Spread {
    count: usize,
    p50: f64,
    p95: f64,
    p99: f64,
    worst: f64,
}

/// What should have come and did not.
#[derive(Debug, Default, PartialEq, Serialize)]
struct Losses {
    clips: usize,
    clips_without_text: usize,
    markers: usize,
    markers_missing: usize,
    audio_dropped_ms: u64,
}

#[derive(Debug, Serialize)]
struct Server {
    before: Usage,
    /// The means while all sessions were there.
    steady: Option<Steady>,
    after: Option<Usage>,
    slopes: Option<Slopes>,
    samples: Vec<Sample>,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
struct Steady {
    open: f64,
    resident_kib: f64,
    /// Beyond what it had before.
    resident_kib_per_session: f64,
    cores: f64,
    descriptors: f64,
    tasks: Option<f64>,
}

/// By least squares over the steady time without its first quarter, an hour.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
struct Slopes {
    resident_mib: f64,
    descriptors: f64,
    tasks: Option<f64>,
}

impl Report {
    pub(super) fn new(
        arguments: &BenchSessions,
        under: &Under,
        outcomes: &[Outcome],
        took: Duration,
    ) -> Self {
        let (floods, outcomes): (Vec<_>, Vec<_>) = outcomes.iter().partition(|outcome| outcome.flooded);
        let all = |pick: fn(&Outcome) -> &Vec<f64>| {
            outcomes.iter().copied().flat_map(pick).copied().collect::<Vec<_>>()
        };
        let sum = |pick: fn(&Outcome) -> usize| outcomes.iter().copied().map(pick).sum::<usize>();
        let total = |pick: fn(&Outcome) -> u64| outcomes.iter().copied().map(pick).sum::<u64>();
        let mut report = Self {
            url: under.url.clone(),
            count: arguments.count,
            talk: arguments.talk,
            seconds: took.as_secs_f64(),
            sessions: outcomes.len(),
            admitted: outcomes.iter().filter(|outcome| outcome.was_let_in()).count(),
            refused: BTreeMap::new(),
            failed: BTreeMap::new(),
            final_ms: Spread::of(all(|outcome| &outcome.finals_ms)),
            decided_ms: Spread::of(all(|outcome| &outcome.decided_ms)),
            admission_ms: Spread::of(outcomes.iter().filter_map(|outcome| outcome.admission_ms).collect()),
            refusal_ms: Spread::of(outcomes.iter().filter_map(|o| Some(o.refused?.1)).collect()),
            losses: Losses {
                clips: sum(|outcome| outcome.clips),
                clips_without_text: sum(|outcome| outcome.clips_without_text),
                markers: sum(|outcome| outcome.markers),
                markers_missing: sum(|outcome| outcome.markers_missing),
                audio_dropped_ms: total(|outcome| outcome.audio_dropped_ms),
            },
            warnings: BTreeMap::new(),
            errors: BTreeMap::new(),
            audio_ms: total(|outcome| outcome.audio_ms),
            talk_ms: total(|outcome| outcome.talk_ms),
            late_pieces: sum(|outcome| outcome.late_pieces),
            flood_audio_ms: floods.iter().map(|outcome| outcome.audio_ms).collect(),
            server: under
                .process
                .as_ref()
                .map(|process| Server::new(process.first(), &process.samples, process.last)),
        };
        for outcome in outcomes {
            if let Some((code, _)) = outcome.refused {
                *report.refused.entry(code.to_string()).or_default() += 1;
            }
            if let Some(why) = &outcome.failure {
                *report.failed.entry(why.clone()).or_default() += 1;
            }
            for (code, count) in &outcome.warnings {
                *report.warnings.entry(code.clone()).or_default() += count;
            }
            for (code, count) in &outcome.errors {
                *report.errors.entry(code.clone()).or_default() += count;
            }
        }
        report
    }
}

impl Server {
    fn new(before: Usage, samples: &[Sample], after: Option<Usage>) -> Self {
        Self {
            before,
            steady: Steady::of(before, samples),
            after,
            slopes: Slopes::of(samples),
            samples: samples.to_vec(),
        }
    }
}

impl Steady {
    fn of(before: Usage, samples: &[Sample]) -> Option<Self> {
        let steady: Vec<_> = samples.iter().filter(|sample| sample.steady).collect();
        let (first, last) = (steady.first()?, steady.last()?);
        let mean = |pick: &dyn Fn(&Sample) -> f64| {
            steady.iter().map(|sample| pick(sample)).sum::<f64>() / steady.len() as f64
        };
        let resident_kib = mean(&|sample| sample.usage.resident_kib as f64);
        let open = mean(&|sample| sample.open as f64);
        let elapsed = last.at_s - first.at_s;
        Some(Self {
            open,
            resident_kib,
            resident_kib_per_session: (resident_kib - before.resident_kib as f64) / open.max(1.0),
            cores: if elapsed > 0.0 { (last.usage.cpu_s - first.usage.cpu_s) / elapsed } else { 0.0 },
            descriptors: mean(&|sample| sample.usage.descriptors as f64),
            tasks: last.usage.tasks.map(|_| mean(&|sample| sample.usage.tasks.unwrap_or_default() as f64)),
        })
    }
}

impl Slopes {
    fn of(samples: &[Sample]) -> Option<Self> {
        let steady: Vec<_> = samples.iter().filter(|sample| sample.steady).collect();
        let kept = &steady[steady.len() / 4..];
        if kept.len() < MIN_SLOPE_SAMPLES {
            return None;
        }
        let an_hour = |pick: &dyn Fn(&Sample) -> Option<f64>| {
            let points: Vec<_> =
                kept.iter().filter_map(|sample| Some((sample.at_s, pick(sample)?))).collect();
            slope(&points).map(|a_second| a_second * 3_600.0)
        };
        Some(Self {
            resident_mib: an_hour(&|sample| Some(sample.usage.resident_kib as f64 / 1_024.0))?,
            descriptors: an_hour(&|sample| Some(sample.usage.descriptors as f64))?,
            tasks: an_hour(&|sample| sample.usage.tasks.map(|tasks| tasks as f64)),
        })
    }
}

/// By least squares.
fn slope(points: &[(f64, f64)]) -> Option<f64> {
    let count = points.len() as f64;
    let mean_x = points.iter().map(|(x, _)| x).sum::<f64>() / count;
    let mean_y = points.iter().map(|(_, y)| y).sum::<f64>() / count;
    let spread = points.iter().map(|(x, _)| (x - mean_x).powi(2)).sum::<f64>();
    let together = points.iter().map(|(x, y)| (x - mean_x) * (y - mean_y)).sum::<f64>();
    (spread > 0.0).then(|| together / spread)
}

impl Spread {
    fn of(mut values: Vec<f64>) -> Self {
        values.sort_by(f64::total_cmp);
        let Some(last) = values.len().checked_sub(1) else { return Self::default() };
        // Nearest rank.
        let at = |quantile: f64| values[(last as f64 * quantile).round() as usize];
        Self { count: values.len(), p50: at(0.5), p95: at(0.95), p99: at(0.99), worst: values[last] }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let refused: usize = self.refused.values().sum();
        let failed: usize = self.failed.values().sum();
        writeln!(
            f,
            "{}: {} sessions in {:.0} s, {} admitted, {refused} refused{}, {failed} failed",
            self.url,
            self.sessions,
            self.seconds,
            self.admitted,
            listed(&self.refused),
        )?;
        for (why, count) in &self.failed {
            writeln!(f, "  failed {count} times: {why}")?;
        }
        if self.audio_ms > 0 {
            let share = self.talk_ms as f64 / self.audio_ms as f64;
            writeln!(f, "audio {:.0} min, {:.0} % of it speech", self.audio_ms as f64 / 6e4, share * 1e2)?;
        }
        writeln!(f, "\n{:<34}{:>8}{:>9}{:>9}{:>9}{:>9}", "", "count", "p50", "p95", "p99", "worst")?;
        for (name, spread) in [
            ("end of speech → final text, ms", self.final_ms),
            ("turn decided → final text, ms", self.decided_ms),
            ("connect → stream_started, ms", self.admission_ms),
            ("connect → refusal, ms", self.refusal_ms),
        ] {
            if spread.count > 0 {
                let Spread { count, p50, p95, p99, worst } = spread;
                writeln!(f, "{name:<34}{count:>8}{p50:>9.1}{p95:>9.1}{p99:>9.1}{worst:>9.1}")?;
            }
        }
        let Losses { clips, clips_without_text, markers, markers_missing, audio_dropped_ms } = self.losses;
        writeln!(
            f,
            "\nlost: {clips_without_text} of {clips} recordings without text, {markers_missing} of {markers} markers, \
             {audio_dropped_ms} ms of speech; warnings{}; errors{}",
            listed(&self.warnings),
            listed(&self.errors)
        )?;
        if !self.flood_audio_ms.is_empty() {
            let sent_s = self.flood_audio_ms.iter().sum::<u64>() as f64 / 1e3;
            let count = self.flood_audio_ms.len();
            writeln!(f, "beside them {count} sessions sent {sent_s:.0} s of audio as fast as it was taken")?;
        }
        if self.late_pieces > 0 {
            writeln!(
                f,
                "THIS PROGRAM sent {} pieces more than 50 ms late: it has too few cores",
                self.late_pieces
            )?;
        }
        self.server.as_ref().map_or(Ok(()), |server| server.fmt(f))
    }
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tasks = |tasks: Option<f64>| tasks.map_or("–".to_owned(), |tasks| format!("{tasks:.0}"));
        let mib = |kib: f64| kib / 1_024.0;
        writeln!(
            f,
            "\n{:<12}{:>12}{:>9}{:>14}{:>9}{:>10}",
            "server", "memory, MiB", "cores", "descriptors", "tasks", "sessions"
        )?;
        let row = |f: &mut fmt::Formatter<'_>, name: &str, usage: Usage| {
            let Usage { resident_kib, descriptors, .. } = usage;
            let (memory, tasks) = (mib(resident_kib as f64), tasks(usage.tasks.map(|tasks| tasks as f64)));
            writeln!(f, "{name:<12}{memory:>12.1}{:>9}{descriptors:>14}{tasks:>9}{:>10}", "", 0)
        };
        row(f, "before", self.before)?;
        if let Some(steady) = self.steady {
            let Steady { open, resident_kib, cores, descriptors, .. } = steady;
            let (memory, tasks) = (mib(resident_kib), tasks(steady.tasks));
            writeln!(
                f,
                "{:<12}{memory:>12.1}{cores:>9.3}{descriptors:>14.0}{tasks:>9}{open:>10.0}",
                "meanwhile"
            )?;
        }
        if let Some(after) = self.after {
            row(f, "after", after)?;
        }
        if let Some(steady) = self.steady {
            writeln!(f, "a session: {:.1} KiB", steady.resident_kib_per_session)?;
        }
        if let Some(Slopes { resident_mib, descriptors, tasks }) = self.slopes {
            let tasks = tasks.map_or("–".to_owned(), |tasks| format!("{tasks:+.1}"));
            writeln!(f, "an hour: {resident_mib:+.2} MiB, {descriptors:+.1} descriptors, {tasks} tasks")?;
        }
        Ok(())
    }
}

/// ` (4503: 8)`, or ` none`.
fn listed<T: fmt::Display>(counts: &BTreeMap<String, T>) -> String {
    if counts.is_empty() {
        return String::from(" none");
    }
    let each: Vec<_> = counts.iter().map(|(code, count)| format!("{code}: {count}")).collect();
    format!(" ({})", each.join(", "))
}

/// A minute and a half: less says nothing of an hour.
const MIN_SLOPE_SAMPLES: usize = 90;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spreads() {
        let spread = Spread::of((1..=101).rev().map(f64::from).collect());
        assert_eq!(spread, Spread { count: 101, p50: 51.0, p95: 96.0, p99: 100.0, worst: 101.0 });
        assert_eq!(Spread::of(vec![]), Spread::default());
        assert_eq!(Spread::of(vec![7.0]).p99, 7.0);
    }

    #[test]
    fn slopes_by_least_squares() {
        let line: Vec<_> = (0..10).map(|x| (f64::from(x), 3.0 - 2.0 * f64::from(x))).collect();
        assert!((slope(&line).unwrap() + 2.0).abs() < 1e-9);
        assert_eq!(slope(&[(1.0, 2.0), (1.0, 3.0)]), None);
    }

    fn samples(count: usize) -> Vec<Sample> {
        let sample = |n: usize| {
            let usage = Usage {
                resident_kib: 10_240 + 1_024 * n as u64,
                cpu_s: n as f64 * 0.25,
                descriptors: 20,
                threads: 3,
                tasks: Some(7),
            };
            Sample { at_s: n as f64, open: 4, steady: n >= 5, usage }
        };
        (0..count).map(sample).collect()
    }

    #[test]
    fn what_a_server_had_while_all_were_there() {
        let before = Usage { resident_kib: 10_240, ..Usage::default() };
        let steady = Steady::of(before, &samples(8)).unwrap();
        assert_eq!(
            (steady.open, steady.cores, steady.descriptors, steady.tasks),
            (4.0, 0.25, 20.0, Some(7.0))
        );
        assert_eq!(steady.resident_kib_per_session, 6.0 * 1_024.0 / 4.0);
        assert_eq!(Steady::of(before, &samples(5)), None);
        assert_eq!(Slopes::of(&samples(50)), None, "too short to say anything of an hour");
        let slopes = Slopes::of(&samples(200)).unwrap();
        assert!(
            (slopes.resident_mib - 3_600.0).abs() < 1e-6 && slopes.descriptors.abs() < 1e-9,
            "{slopes:?}"
        );
    }
}
