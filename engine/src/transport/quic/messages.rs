//! Messages on one QUIC stream: a u32 big-endian length and that many bytes, read piece by piece.
//!
//! Not here: what is in them.

use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use web_transport_quinn::{ReadError, RecvStream, generic::poll::RecvStream as _};

use crate::transport::ReceiveError;

/// What a stream had to say.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Read {
    /// A whole message.
    Message(Bytes),
    /// The peer has ended the stream after a whole message.
    Finished,
    /// The peer has given the stream up, and with it what had not come yet.
    Reset,
    /// The connection is closed.
    Gone,
    /// A message too long, or cut off.
    Failed(ReceiveError),
}

/// One stream. Keeps what has come of a message, so that a read given up half-way loses nothing.
#[derive(Debug)]
pub(super) struct Messages {
    stream: RecvStream,
    max: usize,
    /// Bytes of the length, or of the message when that is known.
    had: BytesMut,
    /// Bytes of the message under way.
    length: Option<usize>,
}

impl Messages {
    /// Refuses messages of more than `max` bytes before any memory is spent on them.
    pub(super) fn new(stream: RecvStream, max: usize) -> Self {
        Self { stream, max, had: BytesMut::new(), length: None }
    }

    /// The next message, or how the stream ended. Not to be asked again after that.
    pub(super) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Read> {
        let mut piece = [0; PIECE];
        loop {
            let wanted = self.length.unwrap_or(PREFIX);
            if self.had.len() == wanted {
                let whole = self.had.split().freeze();
                match self.length.take() {
                    Some(_) => return Poll::Ready(Read::Message(whole)),
                    None => match length(&whole, self.max) {
                        Ok(length) => self.length = Some(length),
                        Err(error) => return Poll::Ready(Read::Failed(error)),
                    },
                }
                continue;
            }
            let missing = wanted - self.had.len();
            match ready!(self.stream.poll_read(cx, &mut piece[..missing.min(PIECE)])) {
                // Memory grows with what has come, not with what was announced.
                Ok(Some(read)) => self.had.extend_from_slice(&piece[..read]),
                Ok(None) if self.had.is_empty() && self.length.is_none() => {
                    return Poll::Ready(Read::Finished);
                }
                Ok(None) => {
                    let error = "a stream ended in the middle of a message".to_owned();
                    return Poll::Ready(Read::Failed(ReceiveError::Broken(error)));
                }
                Err(ReadError::SessionError(_)) => return Poll::Ready(Read::Gone),
                Err(_) => return Poll::Ready(Read::Reset),
            }
        }
    }
}

fn length(prefix: &[u8], max: usize) -> Result<usize, ReceiveError> {
    let announced = prefix.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte));
    match usize::try_from(announced) {
        Ok(length) if length <= max => Ok(length),
        _ => Err(ReceiveError::TooBig { max }),
    }
}

/// Bytes of the length.
const PREFIX: usize = 4;
/// Bytes read at once: a few packets.
const PIECE: usize = 4 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_is_checked_before_it_is_believed() {
        let check = |prefix: [u8; 4], expected| assert_eq!(length(&prefix, 65_544), expected, "{prefix:?}");
        check([0, 0, 0, 0], Ok(0));
        check([0, 1, 0, 8], Ok(65_544));
        check([0, 1, 0, 9], Err(ReceiveError::TooBig { max: 65_544 }));
        check([255; 4], Err(ReceiveError::TooBig { max: 65_544 }));
    }
}
