//! A real Redis for tests: Debian's `redis-server`, as a child process on a free loopback port.
//!
//! Not here: any client.

// Each suite uses a part.
#![allow(dead_code)]

use std::{
    env,
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, Stdio},
    time::{Duration, Instant},
};

use secrecy::SecretString;
use tempfile::TempDir;
use tokio::time;

/// A running server; dropped, it is killed.
pub(crate) struct RedisServer {
    folder: TempDir,
    port: u16,
    running: Option<Running>,
}

struct Running {
    shell: Child,
    /// The shell kills the server when this closes, so that it cannot outlive the test, however that ends.
    leash: Option<ChildStdin>,
}

impl RedisServer {
    /// Starts a server that writes every command to disk before it answers, and waits until it does.
    ///
    /// `None`, and a line on stderr, when `INTERVIEWAI_SKIP_REDIS=1`.
    ///
    /// # Panics
    /// When there is no `redis-server`: such a machine cannot run this test, and is told what to install.
    pub(crate) async fn start() -> Option<Self> {
        if env::var("INTERVIEWAI_SKIP_REDIS").is_ok_and(|skip| skip == "1") {
            eprintln!("SKIPPED: no real Redis, as INTERVIEWAI_SKIP_REDIS=1");
            return None;
        }
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        // Somebody may take the port in between: then another one.
        for _ in 0..10 {
            let port = free_port();
            if let Some(running) = run(folder.path(), port).await {
                return Some(Self { folder, port, running: Some(running) });
            }
        }
        panic!("redis-server does not start:\n{}", log(folder.path()));
    }

    /// What a client takes as its URL.
    pub(crate) fn url(&self) -> SecretString {
        format!("redis://127.0.0.1:{}/0", self.port).into()
    }

    /// `kill -9`. Its port refuses connections from then on.
    pub(crate) fn kill(&mut self) {
        self.running.take().expect("the server runs").kill();
    }

    /// Starts it again where it was, with what it had on disk.
    pub(crate) async fn restart(&mut self) {
        assert!(self.running.is_none(), "kill it first");
        self.running = run(self.folder.path(), self.port).await;
        assert!(self.running.is_some(), "redis-server does not start again:\n{}", log(self.folder.path()));
    }

    /// Whether any command that was ever sent holds `text`: each is on its disk.
    #[allow(dead_code, reason = "the tests of the whole program ask")]
    pub(crate) fn was_told(&self, text: &str) -> bool {
        let files = std::fs::read_dir(self.folder.path().join("appendonlydir")).expect("it writes there");
        let mut files = files.map(|file| std::fs::read(file.expect("it can be listed").path()));
        files.any(|bytes| {
            let bytes = bytes.expect("it can be read");
            bytes.windows(text.len()).any(|at| at == text.as_bytes())
        })
    }

    /// Whether anything that it has now holds `text`: what was deleted is no longer on its disk.
    #[allow(dead_code, reason = "the tests of the whole program ask")]
    #[allow(clippy::disallowed_methods, reason = "a test waits for another process")]
    pub(crate) fn holds(&self, text: &str) -> bool {
        assert!(
            self.type_in("CONFIG SET aof-use-rdb-preamble no").starts_with("+OK"),
            "it writes plain text"
        );
        self.type_in("BGREWRITEAOF");
        let deadline = Instant::now() + START;
        let written = || {
            let files = std::fs::read_dir(self.folder.path().join("appendonlydir")).expect("it writes there");
            // What it had, what came since, and which these are.
            self.type_in("INFO persistence").contains("aof_rewrite_in_progress:0") && files.count() == 3
        };
        while !written() {
            assert!(
                Instant::now() < deadline,
                "Redis does not write its file anew:\n{}",
                log(self.folder.path())
            );
            std::thread::sleep(Duration::from_millis(20));
        }
        self.was_told(text)
    }

    /// Sends commands as a person would type them; returns the raw answers.
    pub(crate) fn type_in(&self, line: &str) -> String {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).expect("the server runs");
        stream.write_all(format!("{line}\r\nQUIT\r\n").as_bytes()).expect("the server reads");
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).expect("the server answers");
        String::from_utf8_lossy(&answer).into_owned()
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        if let Some(running) = self.running.take() {
            running.kill();
        }
    }
}

impl Running {
    fn kill(mut self) {
        drop(self.leash.take());
        let _ = self.shell.wait();
    }
}

async fn run(folder: &Path, port: u16) -> Option<Running> {
    let program = program();
    let log = std::fs::File::create(log_file(folder)).expect("the folder can be written");
    let mut shell = Command::new("sh")
        .args(["-c", LEASHED, "sh"])
        .arg(program)
        .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--dir"])
        .arg(folder)
        .args(["--appendonly", "yes", "--appendfsync", "always", "--databases", "1"])
        .stdin(Stdio::piped())
        .stderr(log.try_clone().expect("a file handle can be cloned"))
        .stdout(log)
        .spawn()
        .expect("sh runs");
    let leash = shell.stdin.take();
    let running = Running { shell, leash };
    let deadline = Instant::now() + START;
    while Instant::now() < deadline {
        // Not a ping: the port may be somebody else's.
        let said = self::log(folder);
        if said.contains("Ready to accept connections") {
            return Some(running);
        }
        if said.contains("Address already in use") {
            break;
        }
        time::sleep(Duration::from_millis(20)).await;
    }
    running.kill();
    None
}

fn program() -> PathBuf {
    let path = env::var_os("PATH").unwrap_or_default();
    let found = env::split_paths(&path).map(|folder| folder.join("redis-server")).find(|file| file.is_file());
    found.unwrap_or_else(|| {
        panic!(
            "This test needs redis-server (Debian: apt-get install redis-server). INTERVIEWAI_SKIP_REDIS=1 leaves it out."
        )
    })
}

fn free_port() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("loopback has a free port");
    listener.local_addr().expect("a bound listener has an address").port()
}

fn log_file(folder: &Path) -> PathBuf {
    folder.join("redis.log")
}

fn log(folder: &Path) -> String {
    std::fs::read_to_string(log_file(folder)).unwrap_or_default()
}

/// Runs the program until stdin closes; then kills it, and waits until its port is free.
const LEASHED: &str = r#""$@" </dev/null & cat >/dev/null; kill -9 $! 2>/dev/null; wait $!"#;
const START: Duration = Duration::from_secs(20);
