//! The server under load: a child of this process on free ports, or one that runs already. Its memory, CPU, descriptors, threads
//! and tasks over time, as Linux and the server's own metrics tell them.
//!
//! Not here: what the sessions see of it.

use std::{
    net::SocketAddr,
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use client::CertificateHash;
use serde::Serialize;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::{Instant, sleep, timeout},
};

use crate::{
    Error,
    bridge::TASKS_GAUGE,
    cli::{BenchSessions, Transport},
};

/// Where the load goes.
pub(super) struct Under {
    pub(super) url: String,
    pub(super) certificate: Option<CertificateHash>,
    /// It was started for this, and takes no text from memory.
    pub(super) ours: bool,
    /// None of a server elsewhere.
    pub(super) process: Option<Process>,
    _child: Option<Killed>,
}

/// The server's process, as it was over time.
pub(super) struct Process {
    pid: u32,
    /// Where its metrics are.
    metrics: Option<SocketAddr>,
    started: Instant,
    /// Before the first session.
    first: Option<Usage>,
    pub(super) samples: Vec<Sample>,
    /// After the last session.
    pub(super) last: Option<Usage>,
}

/// What a process has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub(super) struct Usage {
    pub(super) resident_kib: u64,
    /// Since it started.
    pub(super) cpu_s: f64,
    pub(super) descriptors: u64,
    pub(super) threads: u64,
    /// Of its runtime, when it tells.
    pub(super) tasks: Option<u64>,
}

/// What it had at one instant.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Sample {
    /// Since the load began.
    pub(super) at_s: f64,
    /// Sessions open then.
    pub(super) open: usize,
    /// All sessions were begun and none was asked to end.
    pub(super) steady: bool,
    pub(super) usage: Usage,
}

impl Under {
    /// The server at `--url`, or a child of this program's own.
    ///
    /// # Errors
    /// The child did not start, or does not speak the wanted transport.
    pub(super) async fn start(config: Option<&Path>, arguments: &BenchSessions) -> Result<Self, Error> {
        if let Some(url) = &arguments.url {
            let process = arguments.pid.map(|pid| Process::new(pid, None));
            let certificate = arguments.certificate_sha256;
            return Ok(Self { url: url.clone(), certificate, ours: false, process, _child: None });
        }
        let folder = tempfile::tempdir()?;
        let ready_file = folder.path().join("ready.json");
        let log = std::fs::File::create(folder.path().join("log"))?;
        let mut command = Command::new(std::env::current_exe()?);
        if let Some(config) = config {
            command.arg("--config").arg(config);
        }
        command
            .arg("serve")
            .arg("--ready-file")
            .arg(&ready_file)
            .env("INTERVIEWAI_AUDIO__PORT", "0")
            .env("INTERVIEWAI_AUDIO__QUIC_PORT", "0")
            .env("INTERVIEWAI_API__PORT", "0")
            .env("INTERVIEWAI_DATA_DIR", folder.path().join("data"))
            // All of them come from one address, and as fast as the bench wants.
            .env("INTERVIEWAI_AUDIO__HANDSHAKES_PER_MINUTE", "0")
            // Recordings come again, and are to be written down each time.
            .env("INTERVIEWAI_CACHE__TRANSCRIPTS_MB", "0")
            .env("INTERVIEWAI_LOG__LEVEL", "warn");
        if let Some(max) = arguments.max_sessions {
            command.env("INTERVIEWAI_SESSIONS__MAX", max.to_string());
        }
        if arguments.talk == 0.0 && arguments.flood == 0 {
            // Nobody writes down what nobody says: no weights are loaded, and what they could serve is no bound.
            command
                .env("INTERVIEWAI_SPEECH__PROVIDER", "openai")
                .env("INTERVIEWAI_SPEECH__BASE_URL", "http://127.0.0.1:9/v1");
        }
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let mut child = Killed { child: command.spawn()?, folder };
        let ready = child.ready(&ready_file).await?;
        let address = |key: &str| ready[key].as_str().map(str::to_owned);
        let missing = match arguments.transport {
            Transport::Ws => "the server does not say where it listens",
            Transport::Quic => "the settings turn QUIC off (audio.quic); use --transport ws",
        };
        let url = address(arguments.transport.scheme()).ok_or(missing)?;
        let certificate = address("certificate_sha256").map(|hash| hash.parse()).transpose()?;
        let metrics = address("http").and_then(|http| http.strip_prefix("http://")?.parse().ok());
        let process = Process::new(child.child.id(), metrics);
        Ok(Self { url, certificate, ours: true, process: Some(process), _child: Some(child) })
    }
}

/// A child that ends with this program.
struct Killed {
    child: Child,
    folder: tempfile::TempDir,
}

impl Killed {
    async fn ready(&mut self, file: &Path) -> Result<serde_json::Value, Error> {
        let deadline = Instant::now() + LONGEST_START;
        while Instant::now() < deadline {
            if let Some(status) = self.child.try_wait()? {
                let log = std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
                return Err(format!("the server ended before it was ready ({status}):\n{log}").into());
            }
            if let Ok(text) = std::fs::read_to_string(file) {
                return Ok(serde_json::from_str(&text)?);
            }
            sleep(Duration::from_millis(50)).await;
        }
        Err(format!("the server was not ready within {} s", LONGEST_START.as_secs()).into())
    }
}

impl Drop for Killed {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Process {
    fn new(pid: u32, metrics: Option<SocketAddr>) -> Self {
        Self { pid, metrics, started: Instant::now(), first: None, samples: Vec::new(), last: None }
    }

    /// Notes what it has before the load, which begins now.
    pub(super) async fn baseline(&mut self) -> Result<(), Error> {
        let usage = self.usage().await?;
        self.first = Some(usage);
        self.started = Instant::now();
        Ok(())
    }

    pub(super) fn first(&self) -> Usage {
        self.first.unwrap_or_default()
    }

    /// Notes what it has now; in words, for a line of progress.
    pub(super) async fn sample(&mut self, open: usize, steady: bool) -> Result<String, Error> {
        let usage = self.usage().await?;
        let at_s = self.started.elapsed().as_secs_f64();
        let cores = match self.samples.last() {
            Some(before) if at_s > before.at_s => (usage.cpu_s - before.usage.cpu_s) / (at_s - before.at_s),
            _ => 0.0,
        };
        self.samples.push(Sample { at_s, open, steady, usage });
        Ok(format!(
            "; server {} MiB, {cores:.2} cores, {} descriptors",
            usage.resident_kib / 1_024,
            usage.descriptors
        ))
    }

    /// Notes what it has after the load.
    pub(super) async fn finish(&mut self) -> Result<(), Error> {
        self.last = Some(self.usage().await?);
        Ok(())
    }

    async fn usage(&self) -> Result<Usage, Error> {
        let read = |name: &str| {
            std::fs::read_to_string(format!("/proc/{}/{name}", self.pid))
                .map_err(|error| format!("the server's process cannot be looked at: {error}"))
        };
        let (status, stat) = (read("status")?, read("stat")?);
        let descriptors = std::fs::read_dir(format!("/proc/{}/fd", self.pid));
        let tasks = match self.metrics {
            // A server that is too busy to tell is measured all the same.
            Some(address) => timeout(METRICS_PATIENCE, tasks(address)).await.unwrap_or(None),
            None => None,
        };
        Ok(Usage {
            resident_kib: field(&status, "VmRSS:").unwrap_or_default(),
            cpu_s: cpu_seconds(&stat).unwrap_or_default(),
            descriptors: descriptors.map_or(0, |entries| entries.count() as u64),
            threads: field(&status, "Threads:").unwrap_or_default(),
            tasks,
        })
    }
}

/// A number of `/proc/PID/status`.
fn field(status: &str, name: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

/// User and system time of `/proc/PID/stat`.
fn cpu_seconds(stat: &str) -> Option<f64> {
    // Fields 14 and 15 of proc(5); the name before them may hold spaces but ends with ')'.
    let (_, after) = stat.rsplit_once(')')?;
    let ticks = after.split_whitespace().skip(11).take(2).map(|ticks| ticks.parse::<f64>().ok());
    Some(ticks.sum::<Option<f64>>()? / CLOCK_TICKS)
}

/// Tasks alive in the server's runtime, by its metrics.
async fn tasks(address: SocketAddr) -> Option<u64> {
    let mut socket = TcpStream::connect(address).await.ok()?;
    let request = format!("GET /metrics HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    socket.write_all(request.as_bytes()).await.ok()?;
    let mut answer = Vec::new();
    socket.take(MAX_METRICS).read_to_end(&mut answer).await.ok()?;
    gauge(&String::from_utf8_lossy(&answer), TASKS_GAUGE).map(|tasks| tasks as u64)
}

/// The value of a gauge without labels in Prometheus' text.
fn gauge(text: &str, name: &str) -> Option<f64> {
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.trim().parse().ok())
}

/// `USER_HZ` on Linux.
const CLOCK_TICKS: f64 = 100.0;
/// Weights may have to be fetched.
const LONGEST_START: Duration = Duration::from_secs(300);
const METRICS_PATIENCE: Duration = Duration::from_secs(1);
const MAX_METRICS: u64 = 4 * 1_024 * 1_024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_linux_tells() {
        let status = "Name:\tinterview ai\nVmHWM:\t  9 kB\nVmRSS:\t    5120 kB\nThreads:\t7\n";
        assert_eq!((field(status, "VmRSS:"), field(status, "Threads:")), (Some(5_120), Some(7)));
        assert_eq!(field(status, "VmSwap:"), None);
        let stat = "1 (a b) c) S 1 1 1 0 -1 4194560 1 2 3 4 250 150 7 8 20 0 7 0 1 2";
        assert_eq!(cpu_seconds(stat), Some(4.0));
        assert_eq!(cpu_seconds("nonsense"), None);
    }

    #[test]
    fn reads_a_gauge() {
        let text = "# TYPE tasks_alive gauge\ntasks_alive_total 9\ntasks_alive 42\n";
        assert_eq!(gauge(text, TASKS_GAUGE), Some(42.0));
        assert_eq!(gauge(text, "other"), None);
    }

    #[tokio::test]
    async fn looks_at_a_process() {
        let mut process = Process::new(std::process::id(), None);
        process.baseline().await.unwrap();
        assert!(process.first().resident_kib > 1_000 && process.first().descriptors >= 3);
        assert!(Process::new(u32::MAX, None).baseline().await.is_err());
    }
}
