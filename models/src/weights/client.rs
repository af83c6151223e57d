//! Runs a registry's own client, so that its mirrors, proxies and credentials apply, and watches what it receives.
//!
//! Not here: which package is wanted, or whether the right one came.

use std::{
    fs::{self, File},
    io::{self, Read, Seek, SeekFrom},
    path::{self, Path},
    process::{Child, Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use super::SourceError;

/// The command lines that start the clients. An empty one is a client that is not to be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Clients {
    /// The model hub's client; default `hf`.
    pub hub: Vec<String>,
    /// Default `npm`.
    pub npm: Vec<String>,
    /// Default `python3 -m pip`.
    pub pip: Vec<String>,
    /// A client that receives nothing for so long is stopped; default 5 minutes.
    pub stall: Duration,
}

impl Default for Clients {
    fn default() -> Self {
        let words = |line: &str| line.split(' ').map(str::to_owned).collect();
        Self {
            hub: words("hf"),
            npm: words("npm"),
            pip: words("python3 -m pip"),
            stall: Duration::from_secs(300),
        }
    }
}

/// One run of a client.
pub(super) struct Run<'a> {
    /// The client's command line, from [`Clients`].
    pub(super) command: &'a [String],
    /// What to say when it is not there.
    pub(super) install: &'static str,
    /// The request.
    pub(super) args: &'a [&'a str],
    /// Its current folder, and that of its temporary files: one folder shows all that it has received.
    pub(super) folder: &'a Path,
    /// Bytes it may write under `folder`.
    pub(super) limit: u64,
    /// How long it may receive nothing.
    pub(super) stall: Duration,
}

impl Run<'_> {
    /// Waits until the client is done. `progress` hears the size in bytes of the largest file it has written so far:
    /// clients copy a finished download, so a sum would count it twice.
    pub(super) fn wait(self, progress: &mut dyn FnMut(u64)) -> Result<(), SourceError> {
        let missing =
            |program: &str| SourceError::ClientMissing { program: program.to_owned(), install: self.install };
        let Some((program, leading)) = self.command.split_first() else { return Err(missing("(none)")) };
        // A file, not a pipe: nobody needs to drain it while the client runs, and `limit` bounds it too.
        let log = self.folder.join(LOG);
        let stderr = File::create(&log).map_err(SourceError::io("write", &log))?;
        let temporary = path::absolute(self.folder).map_err(SourceError::io("find", self.folder))?;
        let spawned = Command::new(program)
            .args(leading)
            .args(self.args)
            .current_dir(self.folder)
            .env("TMPDIR", &temporary)
            .env("NO_COLOR", "1")
            // The hub's chunk store writes where its growth could not be seen.
            .env("HF_HUB_DISABLE_XET", "1")
            .env("HF_HUB_DISABLE_TELEMETRY", "1")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(stderr)
            .spawn();
        let mut child = match spawned {
            Ok(child) => Running(child),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(missing(program)),
            Err(error) => return Err(SourceError::io("start", program)(error)),
        };

        let mut seen = 0;
        let mut grown_at = Instant::now();
        let status = loop {
            if let Some(status) = child.0.try_wait().map_err(SourceError::io("wait for", program))? {
                break status;
            }
            let written = Written::under(self.folder);
            if written.total > self.limit {
                return Err(SourceError::TooLarge { program: program.clone(), limit: self.limit });
            }
            progress(written.largest);
            if written.total != seen {
                seen = written.total;
                grown_at = Instant::now();
            } else if grown_at.elapsed() >= self.stall {
                return Err(SourceError::Stalled {
                    program: program.clone(),
                    seconds: self.stall.as_secs(),
                    stderr: tail(&log),
                });
            }
            #[expect(clippy::disallowed_methods, reason = "a fetch blocks its thread by contract")]
            thread::sleep(LOOK_EVERY);
        };
        outcome(status, self.command, self.install, || tail(&log))
    }
}

/// Stops the client when the wait for it ends early.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // Both fail only when it has already ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn outcome(
    status: ExitStatus,
    command: &[String],
    install: &'static str,
    stderr: impl FnOnce() -> String,
) -> Result<(), SourceError> {
    if status.success() {
        return Ok(());
    }
    let stderr = stderr();
    let program = command.join(" ");
    // `python3 -m pip` starts even where pip is not installed.
    if stderr.contains("No module named pip") {
        return Err(SourceError::ClientMissing { program, install });
    }
    Err(SourceError::ClientFailed { program, status: status.to_string(), stderr })
}

/// Bytes in files under a folder.
#[derive(Default)]
struct Written {
    total: u64,
    largest: u64,
}

impl Written {
    /// Best effort: files come and go while the client works.
    fn under(folder: &Path) -> Self {
        let mut written = Self::default();
        let mut folders = vec![folder.to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
                let Ok(metadata) = entry.metadata() else { continue };
                if metadata.is_dir() {
                    folders.push(entry.path());
                } else {
                    written.total += metadata.len();
                    written.largest = written.largest.max(metadata.len());
                }
            }
        }
        written
    }
}

/// The last lines of a log, at most [`TAIL_LINES`] and [`TAIL_BYTES`], without control characters; empty when it cannot
/// be read.
fn tail(log: &Path) -> String {
    let read = || -> io::Result<Vec<u8>> {
        let mut file = File::open(log)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(TAIL_BYTES)))?;
        let mut bytes = Vec::new();
        file.take(TAIL_BYTES).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let text = String::from_utf8_lossy(&read().unwrap_or_default()).into_owned();
    let plain = text.replace(|c: char| c.is_control() && c != '\n', "");
    let lines: Vec<&str> = plain.lines().filter(|line| !line.trim().is_empty()).collect();
    lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n")
}

const LOG: &str = "client.log";
const LOOK_EVERY: Duration = Duration::from_millis(100);
const TAIL_BYTES: u64 = 2048;
const TAIL_LINES: usize = 5;

#[cfg(test)]
mod tests {
    use super::*;

    fn run(script: &str, limit: u64, stall: Duration) -> Result<(), SourceError> {
        let work = tempfile::tempdir().unwrap();
        let command = ["sh", "-c", script, "sh"].map(str::to_owned);
        Run { command: &command, install: "install it", args: &[], folder: work.path(), limit, stall }
            .wait(&mut |_| ())
    }

    const LONG: Duration = Duration::from_secs(600);

    #[test]
    fn success_is_silent() {
        run("echo chatter >&2", 1 << 20, LONG).unwrap();
    }

    #[test]
    fn a_missing_program_says_how_to_install_it() {
        for command in [vec![], vec!["/nonexistent/client".to_owned()]] {
            let work = tempfile::tempdir().unwrap();
            let run = Run {
                command: &command,
                install: "apt-get install it",
                args: &[],
                folder: work.path(),
                limit: 1,
                stall: LONG,
            };
            let error = run.wait(&mut |_| ()).unwrap_err();
            assert!(matches!(error, SourceError::ClientMissing { .. }), "{error}");
            assert!(error.to_string().contains("apt-get install it"), "{error}");
        }
        let error =
            run("echo '/usr/bin/python3: No module named pip' >&2; exit 1", 1 << 20, LONG).unwrap_err();
        assert!(matches!(error, SourceError::ClientMissing { .. }), "{error}");
    }

    #[test]
    fn failure_quotes_the_last_lines_only() {
        let script = "i=0; while [ $i -lt 900 ]; do echo line $i; i=$((i+1)); done >&2; exit 3";
        let error = run(script, 1 << 20, LONG).unwrap_err();
        let SourceError::ClientFailed { status, stderr, .. } = &error else { panic!("{error}") };
        assert_eq!(status, "exit status: 3");
        assert_eq!(stderr, "line 895\nline 896\nline 897\nline 898\nline 899");
    }

    #[test]
    fn what_a_client_says_cannot_steer_the_terminal() {
        let error = run("printf 'a\\033[2Jb\\r\\n\\n' >&2; exit 1", 1 << 20, LONG).unwrap_err();
        assert!(matches!(&error, SourceError::ClientFailed { stderr, .. } if stderr == "a[2Jb"), "{error}");
    }

    #[test]
    fn one_endless_line_is_cut() {
        let error = run("head -c 100000 /dev/zero | tr '\\0' x >&2; exit 1", 1 << 20, LONG).unwrap_err();
        let SourceError::ClientFailed { stderr, .. } = &error else { panic!("{error}") };
        assert_eq!(stderr.len(), 2048);
    }

    #[test]
    fn a_client_that_writes_too_much_is_stopped() {
        let error = run("head -c 5000 /dev/zero > big; exec sleep 600", 4096, LONG).unwrap_err();
        assert!(matches!(error, SourceError::TooLarge { limit: 4096, .. }), "{error}");
    }

    #[test]
    fn a_client_that_receives_nothing_is_stopped() {
        let error = run("exec sleep 600", 4096, Duration::from_millis(300)).unwrap_err();
        assert!(matches!(error, SourceError::Stalled { .. }), "{error}");
    }
}
