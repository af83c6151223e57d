//! What the fuzz targets do with an input; `engine/protocol/tests/seeds.rs` does the same with every seed and finding.
//!
//! Not here: libFuzzer, whose entry points are in `targets/`.

use protocol::{ClientMessage, FrameHeader, ServerMessage};

/// A numbered frame is refused, or is made of its header and its audio again.
pub fn frame_header(data: &[u8]) {
    match FrameHeader::parse(data) {
        Ok((header, audio)) => assert_eq!([&header.to_bytes()[..], audio].concat(), data),
        Err(error) => {
            let sound = matches!(data, [1, _, 0, 0 | 1, ..]) && data.len() >= FrameHeader::LEN;
            assert!(!sound, "{error}");
        }
    }
}

/// A message of either side is refused, or says the same when it is written and read again.
pub fn control_json(data: &[u8]) {
    if let Ok(message) = serde_json::from_slice::<ClientMessage>(data) {
        let text = serde_json::to_string(&message).expect("what was read can be written");
        assert_eq!(
            serde_json::from_str::<ClientMessage>(&text).expect("what was written can be read"),
            message
        );
    }
    if let Ok(message) = serde_json::from_slice::<ServerMessage>(data) {
        let text = serde_json::to_string(&message).expect("what was read can be written");
        // Numbers such as 1e999 do not survive, and no server writes them: only reading is asked for.
        serde_json::from_str::<ServerMessage>(&text).expect("what was written can be read");
    }
}
