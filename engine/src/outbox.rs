//! Events on their way to the client: bounded, written by a task of their own.
//!
//! Not here: their numbers, and keeping them for a client that comes back (`session::events`).

use std::{sync::Arc, time::Duration};

use protocol::CloseCode;
use tokio::{sync::mpsc, task::JoinHandle, time::timeout};

use crate::transport::Transmit;

/// What the writer is told.
#[derive(Debug)]
pub(crate) enum Outgoing {
    /// Send this event, as JSON.
    Event(Arc<str>),
    /// Send nothing more and close.
    Close(CloseCode, &'static str),
}

/// Starts the writer of one connection. It ends after [`Outgoing::Close`], when the sender is dropped, or when the
/// peer is gone, which the sender sees as a closed channel. A peer that was sent nothing for `ping_every` is asked whether it is there.
pub(crate) fn start(
    mut transmit: impl Transmit + 'static,
    ping_every: Duration,
) -> (mpsc::Sender<Outgoing>, JoinHandle<()>) {
    let (sender, mut receiver) = mpsc::channel(CAPACITY);
    let writer = tokio::spawn(async move {
        loop {
            let outgoing = match timeout(ping_every, receiver.recv()).await {
                Ok(Some(outgoing)) => outgoing,
                Ok(None) => return,
                Err(_) if transmit.ping().await.is_ok() => continue,
                Err(_) => return,
            };
            match outgoing {
                Outgoing::Event(json) => {
                    if transmit.send(json.to_string()).await.is_err() {
                        return;
                    }
                }
                Outgoing::Close(code, reason) => return transmit.close(code, reason).await,
            }
        }
    });
    (sender, writer)
}

/// Events waiting for the writer; when full the session stops hearing the client, and closes it if that lasts.
const CAPACITY: usize = 64;
