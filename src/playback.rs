//! Plays a recording to a server in its own time, while its events are taken in.

use std::{ops::ControlFlow, time::Duration};

use client::{ClientConfig, ClientError, Closed, Pacer, connect};
use protocol::{ClientMessage, CloseCode, ConfigUpdate, ServerEvent, StartStream};
use tokio::time::Instant;

use crate::{Error, recording::Recording, terminal::printable};

/// How to play.
pub(crate) struct Playback<'a> {
    pub(crate) server: &'a ClientConfig,
    pub(crate) recording: &'a Recording,
    /// 1 is real time, 0 as fast as the server listens.
    pub(crate) speed: f64,
    pub(crate) config: Option<ConfigUpdate>,
}

impl Playback<'_> {
    /// Plays the recording as one session. `on_event` gets each event with the time since the first audio byte was
    /// sent, zero before that.
    ///
    /// # Errors
    /// The server could not be reached, the connection broke, or the session did not end with 1000.
    pub(crate) async fn run(&self, mut on_event: impl FnMut(Duration, ServerEvent)) -> Result<(), Error> {
        let (mut sender, mut events) = connect(self.server).await?;
        let start = StartStream {
            session_id: None,
            audio: self.recording.format.clone(),
            config: self.config.clone(),
            resume: None,
        };
        sender.start(start).await?;
        let mut pacer = Pacer::new(self.speed)?;
        let (started, mut first_sent) = tokio::sync::watch::channel(None);
        let sending = async {
            for chunk in &self.recording.chunks {
                pacer.wait(Duration::from_secs_f64(chunk.at_ms / 1e3)).await;
                started.send_if_modified(|at| at.is_none().then(|| *at = Some(Instant::now())).is_some());
                sender.audio(&self.recording.bytes[chunk.bytes.clone()]).await?;
            }
            sender.send(&ClientMessage::EndStream {}).await
        };
        let reading = async {
            while let Some(event) = events.next().await {
                let since = first_sent.borrow_and_update().map(|at: Instant| at.elapsed());
                match event {
                    Ok(event) => on_event(since.unwrap_or_default(), event),
                    Err(error) => return ControlFlow::Break(error),
                }
            }
            ControlFlow::Continue(())
        };
        let (sent, read) = tokio::join!(sending, reading);
        if let ControlFlow::Break(error) = read {
            return Err(error.into());
        }
        match (events.closed().and_then(Closed::meaning), sent) {
            (Some(CloseCode::Done), Ok(())) => Ok(()),
            // Over QUIC credentials are judged behind the handshake, and no event says so.
            (Some(CloseCode::Unauthenticated), _) => {
                let reason = events.closed().map_or("", |closed| &closed.reason);
                Err(format!("the server did not let us in: {}", printable(reason)).into())
            }
            (Some(code), _) => {
                Err(format!("the session was closed with {}; the error event says why", u16::from(code))
                    .into())
            }
            (None, Err(error)) => Err(error.into()),
            (None, Ok(())) => Err("the connection was lost before the session had ended".into()),
        }
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
