//! Work that goes on whether or not its stream is polled, and ends when that is dropped.
//!
//! Not here: what the work is.

use std::future::Future;

use futures_util::{StreamExt, stream, stream::BoxStream};
use tokio::task::JoinSet;

use super::{TranscribeError, TranscriptEvent};

/// What a stream of a [`Transcriber`](super::Transcriber) consists of.
pub(super) type Event = Result<TranscriptEvent, TranscribeError>;

/// Starts `work` on the runtime now; its events come when it has ended. Dropping the stream aborts it.
///
/// # Panics
/// Outside a tokio runtime.
pub(super) fn started(work: impl Future<Output = Vec<Event>> + Send + 'static) -> BoxStream<'static, Event> {
    // A set of one, because a set aborts its tasks when it is dropped.
    let mut task = JoinSet::new();
    task.spawn(work);
    stream::once(async move {
        match task.join_next().await {
            Some(Ok(events)) => events,
            // A panic, which the runtime has reported, or the end of the runtime.
            _ => vec![Err(TranscribeError::Failed("the request was stopped".into()))],
        }
    })
    .flat_map(stream::iter)
    .boxed()
}

/// A stream of one event.
pub(super) fn at_once(event: Event) -> BoxStream<'static, Event> {
    stream::iter([event]).boxed()
}
