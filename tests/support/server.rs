//! The real binary, run the way a user runs it. Shared by tests and benches; each uses a part.

#![allow(dead_code, reason = "each test and bench that includes this file uses a part of it")]

use std::{
    io::Write as _,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

use serde_json::Value;

/// The program, without settings of the machine that runs the tests.
pub(crate) fn interviewai() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_interviewai"));
    for (name, _) in std::env::vars() {
        let own = name.starts_with("INTERVIEWAI_") && name != "INTERVIEWAI_CACHE_DIR";
        if own || name.starts_with("OPENAI_") || name.starts_with("ANTHROPIC_") {
            command.env_remove(name);
        }
    }
    command.current_dir(env!("CARGO_MANIFEST_DIR")).stdin(Stdio::null());
    command
}

/// Runs to the end; the output as text.
pub(crate) fn run(command: &mut Command) -> (Output, String, String) {
    let output = command.output().expect("the program starts");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    (output, out, err)
}

/// Streams `files` to `url` as `interviewai stream --json` does; what it complained about, when it failed.
pub(crate) fn stream_to(url: &str, arguments: &[&str], files: &[PathBuf]) -> Result<Vec<Value>, String> {
    stream_to_any(&[url], arguments, files)
}

/// As [`stream_to`], with several servers or ways to one, which are tried in this order.
pub(crate) fn stream_to_any(
    urls: &[&str],
    arguments: &[&str],
    files: &[PathBuf],
) -> Result<Vec<Value>, String> {
    let mut command = interviewai();
    command.args(["stream", "--json"]).args(urls.iter().flat_map(|url| ["--url", url]));
    command.args(arguments).args(files);
    let (output, out, err) = run(&mut command);
    if !output.status.success() {
        return Err(err);
    }
    Ok(out.lines().map(|line| serde_json::from_str(line).expect("each line is JSON")).collect())
}

/// A server on free ports, killed when dropped.
pub(crate) struct Server {
    child: Child,
    pub(crate) ws: String,
    pub(crate) http: String,
    /// What the file says that it writes when it is ready.
    pub(crate) ready: Value,
    folder: tempfile::TempDir,
}

impl Server {
    /// `interviewai serve` with these environment variables.
    pub(crate) fn start(environment: &[(&str, &str)]) -> Self {
        Self::start_in(tempfile::tempdir().expect("a temporary folder"), environment)
    }

    /// As [`start`](Self::start), with what another one left in `folder`; its log is written anew.
    pub(crate) fn start_in(folder: tempfile::TempDir, environment: &[(&str, &str)]) -> Self {
        let ready = folder.path().join("ready.json");
        // Of one that was killed.
        let _ = std::fs::remove_file(&ready);
        let log = std::fs::File::create(folder.path().join("log")).expect("a log file");
        let child = interviewai()
            .arg("serve")
            .arg("--ready-file")
            .arg(&ready)
            .env("INTERVIEWAI_AUDIO__PORT", "0")
            .env("INTERVIEWAI_AUDIO__QUIC_PORT", "0")
            .env("INTERVIEWAI_API__PORT", "0")
            .env("INTERVIEWAI_DATA_DIR", folder.path().join("data"))
            .env("INTERVIEWAI_CANDIDATE__CV_FILE", "samples/cv.txt")
            .envs(environment.iter().copied())
            .stdout(log.try_clone().expect("a file may be open twice"))
            .stderr(log)
            .spawn()
            .expect("the program starts");
        let mut server = Self { child, ws: String::new(), http: String::new(), ready: Value::Null, folder };
        let ready = server.wait_until_ready(&ready);
        assert_eq!(ready["pid"], server.child.id());
        server.ws = ready["ws"].as_str().expect("ws is text").to_owned();
        server.http = ready["http"].as_str().expect("http is text").to_owned();
        server.ready = ready;
        server
    }

    /// Where it keeps accounts and history.
    pub(crate) fn data_dir(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// What it logged so far.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).expect("the log can be read")
    }

    /// The server's process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    #[allow(clippy::disallowed_methods, reason = "a test's own thread waits for another process")]
    fn wait_until_ready(&mut self, path: &Path) -> Value {
        let deadline = Instant::now() + Duration::from_secs(120);
        while Instant::now() < deadline {
            if let Some(status) = self.child.try_wait().expect("the child can be asked") {
                panic!("the server ended before it was ready: {status}\n{}", self.log());
            }
            if let Ok(text) = std::fs::read_to_string(path) {
                return serde_json::from_str(&text).expect("the ready file is whole");
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        panic!("the server was not ready within 120 s");
    }

    /// Streams `files` to this server as `interviewai stream --json` does.
    pub(crate) fn stream(&self, arguments: &[&str], files: &[PathBuf]) -> Vec<Value> {
        self.try_stream(arguments, files).unwrap_or_else(|error| panic!("{error}"))
    }

    /// As [`stream`](Self::stream); what the program complained about, when it failed.
    pub(crate) fn try_stream(&self, arguments: &[&str], files: &[PathBuf]) -> Result<Vec<Value>, String> {
        self.try_stream_to(&self.ws, arguments, files)
    }

    /// As [`try_stream`](Self::try_stream), to an address with a ticket.
    pub(crate) fn try_stream_to(
        &self,
        url: &str,
        arguments: &[&str],
        files: &[PathBuf],
    ) -> Result<Vec<Value>, String> {
        stream_to(url, arguments, files)
    }

    /// Sends SIGTERM and waits; the exit code.
    pub(crate) fn terminate(mut self) -> Option<i32> {
        let sent = Command::new("kill").arg("-TERM").arg(self.pid().to_string()).status();
        assert!(sent.expect("kill is there").success());
        self.child.wait().expect("the server can be waited for").code()
    }
}

impl Server {
    /// As [`terminate`](Self::terminate), which must go well; the folder with what it left: `data`, `log`.
    pub(crate) fn stop(mut self) -> tempfile::TempDir {
        let folder = std::mem::replace(&mut self.folder, tempfile::tempdir().expect("a temporary folder"));
        assert_eq!(self.terminate(), Some(0));
        folder
    }

    /// `kill -9`; the folder with what it left.
    pub(crate) fn kill(mut self) -> tempfile::TempDir {
        self.child.kill().expect("it runs");
        std::mem::replace(&mut self.folder, tempfile::tempdir().expect("a temporary folder"))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Already gone after terminate.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The shared recordings, if they are on this machine; says so when they are not.
pub(crate) fn speech_dir() -> Option<PathBuf> {
    let dir = std::env::var_os("INTERVIEWAI_SPEECH_DIR")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/speech"), PathBuf::from);
    if dir.join("manifest.jsonl").is_file() {
        return Some(dir);
    }
    // On the terminal itself, where the test runner does not swallow it.
    let line = format!("SKIPPED: no recordings at {} (set INTERVIEWAI_SPEECH_DIR)\n", dir.display());
    let _ = std::io::stderr().write_all(line.as_bytes());
    None
}

/// The entries of the manifest in `set`, with their files' paths.
pub(crate) fn manifest(dir: &Path, set: &str) -> Vec<(PathBuf, Value)> {
    let text = std::fs::read_to_string(dir.join("manifest.jsonl")).expect("the manifest can be read");
    let entries = text.lines().map(|line| serde_json::from_str::<Value>(line).expect("each line is JSON"));
    entries
        .filter(|entry| entry["set"] == set && entry["duplicate_audio"] != true)
        .map(|entry| (dir.join(entry["file"].as_str().expect("each entry has a file")), entry))
        .collect()
}

/// The final texts of one file, joined.
pub(crate) fn final_text(events: &[Value], file: &Path) -> String {
    let name = file.display().to_string();
    let finals =
        events.iter().filter(|e| e["file"] == name && e["type"] == "transcription" && e["is_final"] == true);
    finals.filter_map(|event| event["text"].as_str()).collect::<Vec<_>>().join(" ")
}
