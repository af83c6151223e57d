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
    /// Finals that found the queue full: bounded by the length of the session, a few a minute.
    backlog: VecDeque<Box<ServerEvent>>,
    failed: Arc<AtomicBool>,
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
            note(writer.close().await);
        });
        Self { queue, backlog: VecDeque::new(), failed }
    }

    /// Keeps `event` if it belongs to history: final texts, what is asked and answered, and the end.
    pub(crate) fn record(&mut self, event: &ServerEvent) {
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
            self.backlog.push_back(Box::new(event.clone()));
            self.pump();
        }
    }

    /// Moves the backlog on as far as the queue has room.
    pub(crate) fn pump(&mut self) {
        while let Some(event) = self.backlog.pop_front() {
            if let Err(mpsc::error::TrySendError::Full(event)) = self.queue.try_send(event) {
                self.backlog.push_front(event);
                return;
            }
        }
    }

    /// Whether storage has failed at least once.
    pub(crate) fn failed(&self) -> bool {
        self.failed.load(Ordering::Relaxed)
    }
}

const CAPACITY: usize = 1_024;
