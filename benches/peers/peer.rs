//! The other end of `peer.py`: a child process that is asked over its standard input and answers over its output.
//!
//! Not here: which Python runs it (`environment.rs`).

use std::{
    io::{BufRead as _, BufReader, Read as _, Seek as _, Write as _},
    path::Path,
    process::{Child, ChildStdin, Command, Stdio},
    sync::mpsc::{Receiver, sync_channel},
    time::Duration,
};

use serde_json::{Value, json};

use crate::recordings::{Heard, Spoken};

/// A running peer; dropped, it is killed.
pub(crate) struct Peer {
    child: Child,
    requests: ChildStdin,
    replies: Receiver<Value>,
    log: std::fs::File,
    pub(crate) version: String,
}

impl Peer {
    /// Starts `peer.py` and waits until its model is loaded.
    ///
    /// # Panics
    /// With what the process said, when it does not come up.
    pub(crate) fn start(python: &Path, arguments: &[&str]) -> Self {
        let mut log = tempfile::tempfile().expect("a temporary file");
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/peers/peer.py");
        let mut child = Command::new(python)
            .arg(script)
            .args(arguments)
            // No hub is asked for anything, and no file is written beside the script.
            .env("HF_HUB_OFFLINE", "1")
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log.try_clone().expect("the file is open"))
            .spawn()
            .unwrap_or_else(|error| panic!("{}: {error}", python.display()));
        let output = BufReader::new(child.stdout.take().expect("stdout is piped"));
        // Full: the reader waits, and then the peer, whose replies are small.
        let (sender, replies) = sync_channel(MAX_REPLIES);
        std::thread::spawn(move || {
            let replies =
                output.lines().map_while(Result::ok).filter_map(|line| serde_json::from_str(&line).ok());
            for reply in replies {
                if sender.send(reply).is_err() {
                    break;
                }
            }
        });
        let ready = replies.recv_timeout(START).ok();
        let version = ready.and_then(|reply: Value| reply["ready"].as_str().map(str::to_owned));
        let version = version.unwrap_or_else(|| panic!("{arguments:?} did not start:\n{}", said(&mut log)));
        let requests = child.stdin.take().expect("stdin is piped");
        Self { child, requests, replies, log, version }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Each client says its part in real time; the final texts of each.
    ///
    /// # Errors
    /// The process ended, with what it said, or gave no answer in time.
    pub(crate) fn play(&mut self, clients: &[Spoken]) -> Result<Vec<Vec<Heard>>, String> {
        let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
        let mut play = Vec::new();
        for (number, client) in clients.iter().enumerate() {
            let file = folder.path().join(format!("{number}.pcm"));
            std::fs::write(&file, client.pcm()).map_err(|error| error.to_string())?;
            play.push(json!({ "pcm": file, "offset_ms": client.offset_ms }));
        }
        let longest =
            clients.iter().map(|client| client.offset_ms + client.duration_ms()).fold(0.0, f64::max);
        let patience = Duration::from_secs_f64(longest / 1e3) + PATIENCE;
        let mut heard = vec![Vec::new(); clients.len()];
        if let Err(error) = writeln!(self.requests, "{}", json!({ "play": play })) {
            return Err(format!("{error}\n{}", said(&mut self.log)));
        }
        loop {
            let reply = self
                .replies
                .recv_timeout(patience)
                .map_err(|why| format!("{why}\n{}", said(&mut self.log)))?;
            if reply["done"] == true {
                return Ok(heard);
            }
            let client = reply["client"].as_u64().and_then(|client| heard.get_mut(client as usize));
            client.ok_or("a final text of no client")?.push(Heard {
                text: reply["text"].as_str().unwrap_or_default().to_owned(),
                end_ms: reply["end_ms"].as_f64().ok_or("no end_ms")?,
                at_ms: reply["at_ms"].as_f64().ok_or("no at_ms")?,
            });
        }
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // Already gone when it has crashed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The end of what a process wrote to its error output.
fn said(log: &mut std::fs::File) -> String {
    let mut text = Vec::new();
    let read = log.rewind().and_then(|()| log.read_to_end(&mut text));
    let from = text.len().saturating_sub(2_000);
    read.map_or_else(|error| error.to_string(), |_| String::from_utf8_lossy(&text[from..]).into_owned())
}

const MAX_REPLIES: usize = 1024;
const START: Duration = Duration::from_secs(120);
/// For what is left to write down when all has been said: a peer that is too slow for its clients has a long queue.
const PATIENCE: Duration = Duration::from_secs(180);
