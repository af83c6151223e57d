//! Plays a recording to a server in its own time, while its events are taken in.

use std::time::Duration;

use client::{ClientConfig, ClientError, Pacer, SessionConfig, SessionEvent, open_session};
use protocol::{ClientMessage, ConfigUpdate, ServerEvent, StartStream};
use tokio::time::Instant;

use crate::{Error, recording::Recording, terminal::printable};

/// How to play.
pub(crate) struct Playback<'a> {
    /// The servers, or the ways to one, in the order in which they are tried.
    pub(crate) servers: &'a [ClientConfig],
    pub(crate) recording: &'a Recording,
    /// 1 is real time, 0 as fast as the server listens.
    pub(crate) speed: f64,
    pub(crate) config: Option<ConfigUpdate>,
}

impl Playback<'_> {
    /// Plays the recording as one session, over as many connections as it takes. `on_event` gets each event with the time
    /// since the first audio byte was sent, zero before that.
    ///
    /// # Errors
    /// The server could not be reached, or not reached again in time, or it ended the session before its end.
    pub(crate) async fn run(&self, mut on_event: impl FnMut(Duration, ServerEvent)) -> Result<(), Error> {
        let start = StartStream {
            session_id: None,
            audio: self.recording.format.clone(),
            config: self.config.clone(),
            resume: None,
        };
        let config = SessionConfig::new(self.servers.to_vec());
        let (sender, mut events) = open_session(config, start).await?;
        let mut pacer = Pacer::new(self.speed)?;
        let (started, mut first_sent) = tokio::sync::watch::channel(None);
        let sending = async {
            for chunk in &self.recording.chunks {
                pacer.wait(Duration::from_secs_f64(chunk.at_ms / 1e3)).await;
                started.send_if_modified(|at| at.is_none().then(|| *at = Some(Instant::now())).is_some());
                sender.audio(0, false, &self.recording.bytes[chunk.bytes.clone()]).await?;
            }
            sender.send(ClientMessage::EndStream {}).await
        };
        let reading = async {
            while let Some(event) = events.next().await {
                let since = first_sent.borrow_and_update().map(|at: Instant| at.elapsed());
                match event? {
                    SessionEvent::Event(event) => on_event(since.unwrap_or_default(), event),
                    SessionEvent::Disconnected { why } => {
                        eprintln!("interviewai: the connection is lost ({}); resuming", printable(&why));
                    }
                    SessionEvent::Resumed { address } => eprintln!("interviewai: resumed over {address}"),
                }
            }
            Ok::<_, ClientError>(())
        };
        let (sent, read) = tokio::join!(sending, reading);
        // Why nothing more could be sent, the events tell.
        read?;
        sent?;
        Ok(())
    }
}

/// A server that cannot be reached will not be reached for the next file either.
pub(crate) fn is_unreachable(error: &Error) -> bool {
    error.downcast_ref::<ClientError>().is_some_and(|error| {
        matches!(
            error,
            ClientError::Refused { .. } | ClientError::Unreachable { .. } | ClientError::Rejected { .. }
        )
    })
}
