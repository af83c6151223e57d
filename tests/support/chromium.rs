//! Chromium without a window, its microphone played from a file; any browser of the family will do.
//!
//! The page it opens does everything by itself. Not here: remote control, and what the page is.

use std::{
    fs::File,
    io::Write as _,
    os::unix::process::CommandExt as _,
    path::Path,
    process::{Child, Command, Stdio},
};

/// A running browser with a fresh profile; dropped, it is killed with all its processes.
pub(crate) struct Chromium {
    child: Child,
    folder: tempfile::TempDir,
}

impl Chromium {
    /// The browser's program. `None`, and a line on the terminal, when the test is to be left out: the machine's owner
    /// says so by `INTERVIEWAI_SKIP_CHROMIUM=1`, or no browser is here and none can be installed.
    ///
    /// # Panics
    /// When there is none although it can be installed: such a machine would test less than it could.
    pub(crate) fn program() -> Option<&'static str> {
        if std::env::var("INTERVIEWAI_SKIP_CHROMIUM").is_ok_and(|skip| skip == "1") {
            skipped("INTERVIEWAI_SKIP_CHROMIUM=1");
            return None;
        }
        let found = PROGRAMS.into_iter().find(|program| succeeds(&format!("command -v {program}")));
        if found.is_none() {
            assert!(
                !succeeds(CAN_INSTALL),
                "no Chromium here, and `scripts/install-packages tests` installs it"
            );
            skipped("no Chromium is installed, and this user or system cannot install the package");
        }
        found
    }

    /// Opens `url`. The microphone is open to every page, and plays `microphone` (WAV) once, from the moment a page asks
    /// for it; then it is silent.
    pub(crate) fn open(program: &str, url: &str, microphone: &Path) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let console = File::create(folder.path().join(CONSOLE)).expect("the folder can be written");
        // Should the test be killed, its destructors do not run: then the kernel ends the browser.
        let child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", program])
            .args(FLAGS)
            .arg(format!("--user-data-dir={}", folder.path().join("profile").display()))
            .arg(format!("--use-file-for-fake-audio-capture={}%noloop", microphone.display()))
            .arg(url)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(console)
            .process_group(0)
            .spawn()
            .expect("the browser starts");
        Self { child, folder }
    }

    /// What the browser and the page's console have said so far.
    pub(crate) fn console(&self) -> String {
        let said = std::fs::read(self.folder.path().join(CONSOLE)).unwrap_or_default();
        String::from_utf8_lossy(&said).into_owned()
    }
}

impl Drop for Chromium {
    fn drop(&mut self) {
        let group = format!("-{}", self.child.id());
        let _ = Command::new("kill").args(["-KILL", "--", &group]).status();
        let _ = self.child.wait();
    }
}

/// On the terminal itself, where the test runner does not swallow it.
fn skipped(why: &str) {
    let line = format!("SKIPPED: no real browser, as {why}\n");
    let _ = std::io::stderr().write_all(line.as_bytes());
}

fn succeeds(script: &str) -> bool {
    let status = Command::new("sh").args(["-c", script]).stdout(Stdio::null()).stderr(Stdio::null()).status();
    status.is_ok_and(|status| status.success())
}

const PROGRAMS: [&str; 4] = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];
/// As `scripts/install-packages` decides it.
const CAN_INSTALL: &str =
    r#"{ [ "$(id -u)" = 0 ] || sudo -n true; } && apt-cache --no-all-versions show chromium"#;
const CONSOLE: &str = "console.txt";
const FLAGS: [&str; 13] = [
    "--headless=new",
    // Its sandbox refuses to run as root, which tests in containers are.
    "--no-sandbox",
    "--disable-gpu",
    // Containers have a /dev/shm of 64 MB.
    "--disable-dev-shm-usage",
    "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream",
    "--autoplay-policy=no-user-gesture-required",
    "--enable-logging=stderr",
    // No traffic of its own.
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-sync",
];
