//! Events on their way to the client: bounded, written by a task of their own.
//!
//! Not here: their numbers, and keeping them for a client that comes back (`session::events`).

use std::sync::Arc;

use protocol::CloseCode;
use tokio::{sync::mpsc, task::JoinHandle};

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
/// peer is gone, which the sender sees as a closed channel.
pub(crate) fn start(mut transmit: impl Transmit + 'static) -> (mpsc::Sender<Outgoing>, JoinHandle<()>) {
    let (sender, mut receiver) = mpsc::channel(CAPACITY);
    let writer = tokio::spawn(async move {
        while let Some(outgoing) = receiver.recv().await {
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
