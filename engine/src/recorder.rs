//! Write-behind to history: the session never waits for storage, and no final text is dropped.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use protocol::{ServerEvent, ServerMessage};
use tokio::sync::mpsc;
use tokio_util::task::TaskTracker;

use crate::ports::{Access, PortError, SessionRecorder};

/// Hands what is worth keeping of one session to its [`SessionRecorder`].
pub(crate) struct Recorder {
    /// Boxed: a queue has room for 32 from the start.
    queue: mpsc::Sender<Box<ServerEvent>>,
    /// What waits for the journal, or found the queue full, with the position that the journal must be written to: bounded by
    /// the length of the session, a few a minute.
    backlog: VecDeque<(u64, Box<ServerEvent>)>,
    failed: Arc<AtomicBool>,
    /// Another server writes this session down.
    abandoned: Arc<AtomicBool>,
}

impl Recorder {
    /// Starts the writing task among `writers`; it ends when the recorder is dropped and everything is written.
    pub(crate) fn start(
        port: &dyn SessionRecorder,
        writers: &TaskTracker,
        access: &Access,
        session_id: &str,
        run: &str,
    ) -> Self {
        let mut writer = port.open(access, session_id, run);
        let session_id = session_id.to_owned();
        let (queue, mut events) = mpsc::channel::<Box<ServerEvent>>(CAPACITY);
        let failed = Arc::new(AtomicBool::new(false));
        let failure = Arc::clone(&failed);
        let abandoned = Arc::new(AtomicBool::new(false));
        let is_abandoned = Arc::clone(&abandoned);
        writers.spawn(async move {
            let note = |outcome: Result<(), PortError>| {
                if let Err(error) = outcome {
                    metrics::counter!("history_failures_total").increment(1);
                    if !failure.swap(true, Ordering::Relaxed) {
                        tracing::warn!(session_id, %error, "history is not being kept");
                    }
                }
            };
            while let Some(event) = events.recv().await {
                note(writer.write(&event).await);
            }
            if !is_abandoned.load(Ordering::Acquire) {
                note(writer.close().await);
            }
        });
        Self { queue, backlog: VecDeque::new(), failed, abandoned }
    }

    /// Keeps `event` if it belongs to history, final texts, what is asked and answered, and the end, once the journal is written
    /// up to `after`: who goes on with a session from its journal must not find more in its history.
    pub(crate) fn record(&mut self, event: &ServerEvent, after: u64) {
        let kept = match &event.message {
            ServerMessage::Transcription(transcription) => transcription.is_final,
            ServerMessage::AnswerStarted { .. }
            | ServerMessage::Answer(_)
            // It may have been complete, and kept.
            | ServerMessage::AnswerCancelled { .. }
            | ServerMessage::StreamEnded { .. } => true,
            _ => false,
        };
        if kept {
            self.backlog.push_back((after, Box::new(event.clone())));
        }
    }

    /// Moves the backlog on, as far as the journal is written and the queue has room.
    pub(crate) fn pump(&mut self, written: u64) {
        while let Some((after, event)) = self.backlog.pop_front_if(|(after, _)| *after <= written) {
            if let Err(mpsc::error::TrySendError::Full(event)) = self.queue.try_send(event) {
                self.backlog.push_front((after, event));
                return;
            }
        }
    }

    /// Another server goes on with the session: what it has not seen is dropped, and the end is not ours to tell.
    pub(crate) fn abandon(self) {
        self.abandoned.store(true, Ordering::Release);
    }

    /// Whether storage has failed at least once.
    pub(crate) fn failed(&self) -> bool {
        self.failed.load(Ordering::Relaxed)
    }
}

const CAPACITY: usize = 1_024;
