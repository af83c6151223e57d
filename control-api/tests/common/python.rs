//! Python packages that tests run, each set in a virtual environment of its own in the cache, by hash.
//!
//! They come from the package index by pip, once a machine. Not here: which packages, what is done with them.

use std::{env, fs, path::PathBuf, process::Command};

/// The environment `name`, which changes with `requirements` (`package==1 --hash=sha256:…`). `what` is fetched, for the terminal;
/// `without` says how to do without it.
///
/// Made beside its place and then renamed, so that it is whole or absent.
///
/// # Panics
/// When Python, pip or a wheel is missing: such a machine cannot run the test, and is told what to install.
pub(crate) fn environment(name: &str, requirements: &str, what: &str, without: &str) -> PathBuf {
    let cache = env::var_os("INTERVIEWAI_CACHE_DIR").map(PathBuf::from).unwrap_or_else(|| {
        PathBuf::from(env::var_os("HOME").expect("HOME is set where tests run")).join(".cache/interviewai")
    });
    let servers = cache.join("test-servers");
    let home = servers.join(name);
    if home.join("bin/python").exists() {
        return home;
    }
    eprintln!("Fetching {what} for tests into {}, once", home.display());
    fs::create_dir_all(&servers).expect("the cache can be written");
    let fresh = tempfile::tempdir_in(&servers).expect("the cache can be written");
    let list = fresh.path().join("requirements.txt");
    fs::write(&list, requirements).expect("the cache can be written");
    run(Command::new("python3").args(["-m", "venv"]).arg(fresh.path()), without);
    let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"];
    let strictly = ["--only-binary=:all:", "--require-hashes", "--requirement"];
    run(Command::new(fresh.path().join("bin/python")).args(pip).args(strictly).arg(&list), without);
    // Another test may have been first; its environment is as good.
    let _ = fs::rename(fresh.path(), &home);
    assert!(home.join("bin/python").exists(), "{} cannot be made", home.display());
    home
}

fn run(command: &mut Command, without: &str) {
    let needed = format!(
        "this test needs python3 with venv and pip (Debian: apt-get install python3-venv) and a package registry{without}"
    );
    let output =
        command.output().unwrap_or_else(|error| panic!("{command:?} did not run: {error}; {needed}"));
    let said = [output.stdout, output.stderr].concat();
    assert!(output.status.success(), "{command:?} failed; {needed}\n{}", String::from_utf8_lossy(&said));
}
