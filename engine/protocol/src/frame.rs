//! The 8-byte header of a numbered binary frame.

/// What stands before the audio bytes of a numbered frame: `version u8 = 1 · channel u8 · flags u16 · seq u32`, big-endian.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameHeader {
    /// Logical stream.
    pub channel: u8,
    /// Counts the frames of the channel, from 0.
    pub seq: u32,
    /// The last chunk of this channel.
    pub last: bool,
}

/// A binary message that is no numbered frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// Shorter than the header.
    #[error("a numbered frame of {0} bytes is shorter than its 8-byte header")]
    Short(usize),
    /// Another version.
    #[error("numbered frame version {0}; this server speaks version 1")]
    Version(u8),
    /// Bits that have no meaning in this version.
    #[error("numbered frame flags {0:#06x}; only bit 0 has a meaning")]
    Flags(u16),
}

impl FrameHeader {
    /// Bytes of a header.
    pub const LEN: usize = 8;

    /// Splits a binary message into its header and the audio bytes.
    ///
    /// # Errors
    /// The message is malformed; answer with close code 4400.
    pub fn parse(message: &[u8]) -> Result<(Self, &[u8]), FrameError> {
        let Some((header, audio)) = message.split_first_chunk::<{ Self::LEN }>() else {
            return Err(FrameError::Short(message.len()));
        };
        let [version, channel, f1, f0, s3, s2, s1, s0] = *header;
        if version != VERSION {
            return Err(FrameError::Version(version));
        }
        let flags = u16::from_be_bytes([f1, f0]);
        if flags & !FLAG_LAST != 0 {
            return Err(FrameError::Flags(flags));
        }
        let seq = u32::from_be_bytes([s3, s2, s1, s0]);
        Ok((Self { channel, seq, last: flags & FLAG_LAST != 0 }, audio))
    }

    /// The header's bytes.
    pub fn to_bytes(self) -> [u8; Self::LEN] {
        let flags = if self.last { FLAG_LAST } else { 0 };
        let [f1, f0] = flags.to_be_bytes();
        let [s3, s2, s1, s0] = self.seq.to_be_bytes();
        [VERSION, self.channel, f1, f0, s3, s2, s1, s0]
    }
}

const VERSION: u8 = 1;
const FLAG_LAST: u16 = 1;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn refuses_what_is_no_frame() {
        let check = |bytes: &[u8], expected| assert_eq!(FrameHeader::parse(bytes), Err(expected));
        check(&[], FrameError::Short(0));
        check(&[1, 0, 0, 0, 0, 0, 0], FrameError::Short(7));
        check(&[2, 0, 0, 0, 0, 0, 0, 0], FrameError::Version(2));
        check(&[1, 0, 0, 2, 0, 0, 0, 0], FrameError::Flags(2));
    }

    proptest! {
        #[test]
        fn round_trip(channel: u8, seq: u32, last: bool, audio: Vec<u8>) {
            let header = FrameHeader { channel, seq, last };
            let message = [&header.to_bytes()[..], &audio].concat();
            prop_assert_eq!(FrameHeader::parse(&message), Ok((header, &audio[..])));
        }

        #[test]
        fn any_bytes_are_parsed_or_refused(bytes: Vec<u8>) {
            if let Ok((header, audio)) = FrameHeader::parse(&bytes) {
                prop_assert_eq!([&header.to_bytes()[..], audio].concat(), bytes);
            }
        }
    }
}
