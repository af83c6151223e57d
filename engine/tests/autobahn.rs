//! Others' tests of the WebSocket transport: the Autobahn suite and the `websockets` package, against an echo of what they send.
//!
//! The echo exists here only; it is `transport::websocket` with nothing behind it. Not here: the handshake (`server`).
#![allow(clippy::unwrap_used)]

#[path = "../../control-api/tests/common/python.rs"]
mod python;

use std::{
    collections::BTreeMap,
    env, fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use engine::transport::{Frame, Receive as _, ReceiveError, Transmit as _, websocket};
use protocol::CloseCode;
use tokio::net::{TcpListener, TcpStream};

/// Listens for the life of the runtime; the address.
async fn echo_server() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (socket, _) = listener.accept().await.unwrap();
            tokio::spawn(echo(socket));
        }
    });
    format!("ws://{address}")
}

async fn echo(socket: TcpStream) {
    socket.set_nodelay(true).unwrap();
    let Ok(shaken) = tokio_tungstenite::accept_async(socket).await else { return };
    let (mut receive, mut transmit) = websocket::open_up_to(shaken.into_inner(), MAX_MESSAGE).await;
    while let Some(frame) = receive.recv().await {
        let sent = match frame {
            Ok(Frame::Control(text)) => transmit.send(String::from_utf8(text.to_vec()).unwrap()).await,
            Ok(Frame::Audio(bytes)) => transmit.send_bytes(bytes).await,
            Err(ReceiveError::TooBig { .. }) => return transmit.close(CloseCode::TooBig, "too big").await,
            Err(ReceiveError::Lost) => break,
            Err(ReceiveError::Broken(_)) => return transmit.close(CloseCode::Malformed, "broken").await,
        };
        if sent.is_err() {
            return;
        }
    }
    // As a session does when its peer has closed.
    transmit.close(CloseCode::Done, "").await;
}

/// The largest message of the suites.
const MAX_MESSAGE: usize = 16 * 1024 * 1024;

async fn run(mut command: Command) -> Output {
    let name = format!("{command:?}");
    let run = tokio::task::spawn_blocking(move || command.output());
    run.await.unwrap().unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&[&output.stdout[..], &output.stderr[..]].concat()).into_owned()
}

/// A Python 2.7 that runs: the suite knows no other. None is in Debian any more.
fn python_2() -> Option<PathBuf> {
    let versions = env::var_os("HOME").map(|home| PathBuf::from(home).join(".pyenv/versions"));
    let own = versions.and_then(|versions| fs::read_dir(versions).ok()).into_iter().flatten();
    let own = own.filter_map(|version| Some(version.ok()?.path().join("bin/python2.7")));
    [PathBuf::from("python2.7")].into_iter().chain(own).find(|python| {
        let version = Command::new(python).arg("--version").output();
        version.is_ok_and(|output| output.status.success())
    })
}

/// The suite and what it needs, by hash, in a folder of the cache.
fn autobahn(python: &Path) -> PathBuf {
    let cache = env::var_os("INTERVIEWAI_CACHE_DIR").map_or_else(
        || PathBuf::from(env::var_os("HOME").unwrap()).join(".cache/interviewai"),
        PathBuf::from,
    );
    let servers = cache.join("test-servers");
    let home = servers.join("autobahn-0.8.2");
    if home.is_dir() {
        return home;
    }
    eprintln!("Fetching the Autobahn suite for tests into {}, once", home.display());
    fs::create_dir_all(&servers).unwrap();
    // Whole or absent.
    let fresh = tempfile::tempdir_in(&servers).unwrap();
    let pip =
        ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps", "--require-hashes"];
    let mut command = Command::new(python);
    command.args(pip).arg("--target").arg(fresh.path().join("site"));
    command.arg("--requirement").arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/autobahn/requirements.txt"));
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", text(&output));
    // Another test may have been first; its folder is as good.
    let _ = fs::rename(fresh.path(), &home);
    home
}

/// What became of each case: `OK, OK` is the behaviour, and that of the close.
type Summary = BTreeMap<String, String>;

#[tokio::test(flavor = "multi_thread")]
async fn the_autobahn_suite_finds_no_failure_and_what_it_found_before() {
    let Some(python) = python_2() else {
        // On the terminal itself, where the test runner does not swallow it.
        let line = "SKIPPED: the Autobahn suite needs a python2.7 (pyenv has one); `websockets` is the peer instead\n";
        std::io::stderr().write_all(line.as_bytes()).unwrap();
        return;
    };
    let home = autobahn(&python);
    let folder = tempfile::tempdir().unwrap();
    let spec = folder.path().join("spec.json");
    let reports = folder.path().join("reports");
    // No compression is offered: 12 and 13 are about nothing else.
    let wanted = serde_json::json!({
        "outdir": reports,
        "servers": [{ "agent": "interviewai", "url": echo_server().await }],
        "cases": ["*"],
        "exclude-cases": ["12.*", "13.*"],
    });
    fs::write(&spec, wanted.to_string()).unwrap();
    let mut command = Command::new(&python);
    // A plain path would miss the packages that share a name space.
    let program = "import site, sys; site.addsitedir(sys.argv.pop(1)); \
                   from autobahntestsuite import wstest; wstest.run()";
    command.args(["-W", "ignore", "-c", program]).arg(home.join("site"));
    command.args(["--mode", "fuzzingclient", "--spec"]).arg(&spec).current_dir(folder.path());
    let output = run(command).await;
    let index = fs::read_to_string(reports.join("index.json"))
        .unwrap_or_else(|error| panic!("the suite left no report ({error}):\n{}", text(&output)));
    let index: serde_json::Value = serde_json::from_str(&index).unwrap();
    let found: Summary = index["interviewai"]
        .as_object()
        .unwrap()
        .iter()
        .map(|(case, result)| {
            let says = |key: &str| result[key].as_str().unwrap().to_owned();
            (case.clone(), format!("{}, {}", says("behavior"), says("behaviorClose")))
        })
        .collect();
    assert!(found.len() > 200, "only {} cases ran:\n{}", found.len(), text(&output));
    let good = |behaviour: &str| ["OK", "NON-STRICT", "INFORMATIONAL"].contains(&behaviour);
    let failed: Vec<_> = found.iter().filter(|(_, became)| !became.split(", ").all(good)).collect();
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/autobahn/summary.json");
    if env::var_os("INTERVIEWAI_UPDATE").is_some() {
        fs::write(&file, serde_json::to_string_pretty(&found).unwrap() + "\n").unwrap();
    }
    assert_eq!(failed, [], "{} of {} cases failed", failed.len(), found.len());
    let before: Summary = serde_json::from_str(&fs::read_to_string(&file).unwrap()).unwrap();
    assert_eq!(found, before, "not as in {}; INTERVIEWAI_UPDATE=1 writes it anew", file.display());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_client_of_websockets_finds_nothing_wrong() {
    let url = echo_server().await;
    let peer = tokio::task::spawn_blocking(|| {
        python::environment(
            "websockets-15.0.1",
            "websockets==15.0.1 --hash=sha256:f7a866fbc1e97b5c617ee4116daaa09b722101d4a3c170c787450ba409f9736f\n",
            "a WebSocket client",
            "",
        )
    });
    let mut command = Command::new(peer.await.unwrap().join("bin/python"));
    command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/autobahn/peer.py")).arg(url);
    let output = run(command).await;
    assert!(output.status.success() && text(&output).contains("conforms"), "{}", text(&output));
}
