//! What was said and is not known to have arrived: kept in order, and sent again over the next connection.
//!
//! Pure: no clock, no I/O. Not here: connections (`session`).

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use protocol::{ClientMessage, FrameHeader};

/// One thing to send.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Item {
    /// A numbered frame.
    Audio(FrameHeader, Bytes),
    /// A control message, and how many came before it.
    Control(u64, ClientMessage),
}

/// Everything not known to have arrived, and how far it is sent over the present connection.
#[derive(Debug, Default)]
pub(crate) struct Ring {
    items: VecDeque<Item>,
    /// So many of them are sent.
    sent: usize,
    audio_bytes: usize,
    controls: usize,
    next_seq: BTreeMap<u8, u32>,
    next_control: u64,
}

impl Ring {
    /// Appends audio under the channel's next number.
    pub(crate) fn push_audio(&mut self, channel: u8, last: bool, audio: Bytes) {
        let seq = self.next_seq.entry(channel).or_default();
        let header = FrameHeader { channel, seq: *seq, last };
        *seq += 1;
        self.audio_bytes += audio.len();
        self.items.push_back(Item::Audio(header, audio));
    }

    /// Appends a control message; the oldest sent ones are believed to have arrived when there are too many.
    pub(crate) fn push_control(&mut self, message: ClientMessage) {
        self.items.push_back(Item::Control(self.next_control, message));
        self.next_control += 1;
        self.controls += 1;
        while self.controls > MAX_CONTROLS {
            let oldest = self.items.iter().position(|item| matches!(item, Item::Control(..)));
            let Some(oldest) = oldest.filter(|oldest| *oldest < self.sent) else { return };
            self.remove(oldest);
        }
    }

    /// The next item that is not sent over this connection; it counts as sent.
    pub(crate) fn take_unsent(&mut self) -> Option<Item> {
        let item = self.items.get(self.sent)?.clone();
        self.sent += 1;
        Some(item)
    }

    pub(crate) fn has_unsent(&self) -> bool {
        self.sent < self.items.len()
    }

    /// Audio that is not acknowledged.
    pub(crate) fn audio_bytes(&self) -> usize {
        self.audio_bytes
    }

    /// Whether audio was sent that is not acknowledged.
    pub(crate) fn waits_for_ack(&self) -> bool {
        self.items.iter().take(self.sent).any(|item| matches!(item, Item::Audio(..)))
    }

    /// Audio of `channel` before `next_seq` has arrived for good.
    pub(crate) fn acknowledge(&mut self, channel: u8, next_seq: u32) {
        self.retain(|item| match item {
            Item::Audio(header, _) => header.channel != channel || header.seq >= next_seq,
            Item::Control(..) => true,
        });
    }

    /// There is another connection: all is sent again that the server does not have.
    pub(crate) fn rewind(&mut self, next_seq: &[u32], next_control: u64) {
        for (channel, seq) in (0u8..).zip(next_seq) {
            self.acknowledge(channel, *seq);
        }
        self.retain(|item| !matches!(item, Item::Control(number, _) if *number < next_control));
        self.sent = 0;
    }

    fn retain(&mut self, keep: impl Fn(&Item) -> bool) {
        let mut index = 0;
        while index < self.items.len() {
            if keep(&self.items[index]) {
                index += 1;
            } else {
                self.remove(index);
            }
        }
    }

    fn remove(&mut self, index: usize) {
        match self.items.remove(index) {
            Some(Item::Audio(_, audio)) => self.audio_bytes -= audio.len(),
            Some(Item::Control(..)) => self.controls -= 1,
            None => return,
        }
        self.sent -= usize::from(index < self.sent);
    }
}

/// Control messages that are kept, so that one that was under way when the connection was lost is sent again.
const MAX_CONTROLS: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    fn finalize() -> ClientMessage {
        ClientMessage::Finalize { channel: None }
    }

    fn sent(ring: &mut Ring) -> Vec<String> {
        let items = std::iter::from_fn(|| ring.take_unsent());
        items
            .map(|item| match item {
                Item::Audio(header, _) => format!("{}.{}", header.channel, header.seq),
                Item::Control(number, _) => format!("control {number}"),
            })
            .collect()
    }

    #[test]
    fn what_the_server_has_is_not_sent_again_and_the_rest_is_in_order() {
        let mut ring = Ring::default();
        for _ in 0..3 {
            ring.push_audio(0, false, Bytes::from_static(b"abc"));
            ring.push_control(finalize());
            ring.push_audio(1, false, Bytes::from_static(b"de"));
        }
        assert_eq!(sent(&mut ring).len(), 9);
        assert!(ring.waits_for_ack() && !ring.has_unsent());
        ring.acknowledge(0, 1);
        assert_eq!(ring.audio_bytes(), 12);
        ring.push_audio(0, true, Bytes::new());
        assert_eq!(sent(&mut ring), ["0.3"]);
        ring.rewind(&[2, 1], 2);
        assert!(!ring.waits_for_ack());
        assert_eq!(sent(&mut ring), ["1.1", "0.2", "control 2", "1.2", "0.3"]);
        ring.acknowledge(0, 4);
        ring.acknowledge(1, 3);
        assert_eq!((ring.audio_bytes(), ring.waits_for_ack()), (0, false));
    }

    #[test]
    fn control_messages_are_bounded_once_they_are_sent() {
        let mut ring = Ring::default();
        (0..MAX_CONTROLS + 10).for_each(|_| ring.push_control(finalize()));
        assert_eq!(sent(&mut ring).len(), MAX_CONTROLS + 10, "none is lost before it is sent");
        ring.push_control(finalize());
        ring.rewind(&[], 0);
        assert_eq!(sent(&mut ring).len(), MAX_CONTROLS);
    }
}
