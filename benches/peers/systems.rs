//! What is compared: this server and its peers, behind the few calls that measuring needs.
//!
//! Not here: what is measured, the peers' own process (`peer.rs`).

use crate::{
    CHUNK_MS, Recording,
    environment::Environment,
    measure,
    peer::Peer,
    recordings::{Heard, Spoken},
    server::Server,
    sessions,
};

/// A system that is running.
pub(crate) struct System {
    pub(crate) name: String,
    kind: Kind,
}

enum Kind {
    Ours(Server),
    Peer(Peer),
}

impl System {
    /// Starts the system of this name, one of [`NAMES`], and fetches what it needs when this is the first time.
    pub(crate) fn start(name: &str) -> Self {
        let peer = |library, mode, compute| {
            let environment = Environment::get();
            let model = if library == "faster-whisper" { &environment.ct2 } else { &environment.ggml };
            Kind::Peer(Peer::start(
                &environment.python,
                &[library, &model.display().to_string(), mode, compute],
            ))
        };
        let kind = match name {
            // Its log of sessions would stand between the rows.
            "interviewai" => Kind::Ours(Server::start(&[("INTERVIEWAI_LOG__LEVEL", "error")])),
            "faster-whisper" => peer("faster-whisper", "utterance", "int8"),
            "faster-whisper-float32" => peer("faster-whisper", "utterance", "float32"),
            "faster-whisper-streaming" => peer("faster-whisper", "streaming", "int8"),
            "pywhispercpp" => peer("pywhispercpp", "utterance", "default"),
            other => panic!("{other} is none of {NAMES:?}"),
        };
        Self { name: name.to_owned(), kind }
    }

    pub(crate) fn version(&self) -> &str {
        match &self.kind {
            Kind::Ours(_) => env!("CARGO_PKG_VERSION"),
            Kind::Peer(peer) => &peer.version,
        }
    }

    /// Of the whole process so far; `None` when it has ended.
    pub(crate) fn cpu_seconds(&self) -> Option<f64> {
        measure::cpu_seconds(match &self.kind {
            Kind::Ours(server) => server.pid(),
            Kind::Peer(peer) => peer.pid(),
        })
    }

    /// Says one recording and its silence in real time; the final texts.
    ///
    /// # Errors
    /// What went wrong; nothing was heard then.
    pub(crate) fn hear(&mut self, recording: &Recording) -> Result<Vec<Heard>, String> {
        match &mut self.kind {
            Kind::Ours(server) => {
                let tail = (crate::recordings::TAIL_SAMPLES / 16).to_string();
                let events =
                    server.try_stream(&["--silence", &tail], std::slice::from_ref(&recording.file))?;
                let finals = events
                    .iter()
                    .filter(|event| event["type"] == "transcription" && event["is_final"] == true);
                let heard = finals.map(|event| Heard {
                    text: event["text"].as_str().unwrap_or_default().to_owned(),
                    end_ms: event["end_ms"].as_f64().unwrap_or_default(),
                    at_ms: event["received_ms"].as_f64().unwrap_or_default() + CHUNK_MS,
                });
                Ok(heard.collect())
            }
            Kind::Peer(peer) => {
                let spoken = Spoken::once(&recording.samples, recording.speech_end_ms);
                Ok(peer.play(std::slice::from_ref(&spoken))?.swap_remove(0))
            }
        }
    }

    /// Lets clients speak at once; for each its final texts, or why it was refused or broke off.
    pub(crate) fn hear_at_once(&mut self, clients: &[Spoken]) -> Vec<Result<Vec<Heard>, String>> {
        match &mut self.kind {
            Kind::Ours(server) => sessions::stream(&server.ws, clients),
            Kind::Peer(peer) => match peer.play(clients) {
                Ok(heard) => heard.into_iter().map(Ok).collect(),
                Err(why) => clients.iter().map(|_| Err(why.clone())).collect(),
            },
        }
    }

    /// Whether it serves several clients at once.
    pub(crate) fn serves_many(&self) -> bool {
        !self.name.ends_with("streaming")
    }
}

/// All that `--system` takes.
pub(crate) const NAMES: [&str; 5] =
    ["interviewai", "faster-whisper", "faster-whisper-float32", "faster-whisper-streaming", "pywhispercpp"];
/// Those of a run without `--system`: as their users run them on a CPU.
pub(crate) const USUAL: [&str; 4] =
    ["interviewai", "faster-whisper", "faster-whisper-streaming", "pywhispercpp"];
