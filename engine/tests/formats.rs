//! Every format a client sends, through a whole session: the same turn, whatever carried it.
//!
//! Not here: what exactly comes out of a decoder (crate `codecs`), or real recognition.

#[path = "support/harness.rs"]
#[allow(dead_code, reason = "the harness serves conversations in real time too")]
mod harness;
#[path = "support/mp4.rs"]
mod mp4;

use std::path::Path;

use harness::*;
use mp4::mp4_index_last;
use protocol::{ClientMessage, CloseCode, Codec, FrameHeader, Framing, MarkerId, ServerMessage};

const QUESTION: &str = "How would you test this?";

/// A file of the fixtures of crate `codecs`: all of them say the same two seconds.
fn fixture(name: &str) -> Vec<u8> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../codecs/fixtures").join(name);
    std::fs::read(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

/// Streams `bytes` in pieces of `piece` as `codec`, to the end.
async fn stream(codec: Codec, bytes: &[u8], piece: usize) -> Ended {
    let conversation = Setup::hearing(QUESTION).connect();
    let start = start_with(|start| {
        start.audio.codec = codec;
        (start.audio.sample_rate, start.audio.channels) = match codec.is_headerless() {
            true => (Some(8_000), Some(1)),
            false => (None, None),
        };
    });
    conversation.send(start).await;
    for piece in bytes.chunks(piece) {
        conversation.sender.audio(piece.to_vec()).await.expect("the session is open");
    }
    conversation.finish().await
}

/// The times at which speech began and ended, in milliseconds.
fn times(ended: &Ended) -> Vec<u64> {
    let times = ended.events.iter().filter_map(|event| match event.message {
        ServerMessage::SpeechStarted { at_ms, .. } | ServerMessage::SpeechEnded { at_ms, .. } => Some(at_ms),
        _ => None,
    });
    times.collect()
}

fn warnings(ended: &Ended) -> Vec<&str> {
    let warnings = ended.events.iter().filter_map(|event| match &event.message {
        ServerMessage::Warning { code, .. } => Some(&**code),
        _ => None,
    });
    warnings.collect()
}

#[tokio::test(start_paused = true)]
async fn every_container_gives_the_turn_of_the_wav_file() {
    let expected = times(&stream(Codec::Wav, &fixture("reference.wav"), 640).await);
    assert_eq!(expected.len(), 2, "one turn: {expected:?}");
    let check = async |codec, name: &str| {
        for codec in [codec, Codec::Auto] {
            let ended = stream(codec, &fixture(name), 333).await;
            let times = times(&ended);
            assert_eq!(times.len(), 2, "{name}: {times:?} {:?}", ended.story());
            for (time, expected) in times.iter().zip(&expected) {
                // Encoders add silence that not every file tells of: a frame or two, 72 ms each for MP3 at 8 kHz.
                assert!(time.abs_diff(*expected) <= 170, "{name}: {times:?} instead of {expected:?}");
            }
            assert_eq!(ended.finals(), [(1, QUESTION.to_owned())], "{name}");
            assert_eq!(warnings(&ended), [""; 0], "{name}");
            assert_eq!(ended.code, Some(CloseCode::Done), "{name}");
        }
    };
    check(Codec::Webm, "webm-opus-mediarecorder.webm").await;
    check(Codec::Webm, "webm-vorbis.webm").await;
    check(Codec::Webm, "mkv-opus.mka").await;
    check(Codec::Ogg, "ogg-opus-mono.ogg").await;
    check(Codec::Ogg, "ogg-opus-stereo.ogg").await;
    check(Codec::Ogg, "ogg-vorbis-mono.ogg").await;
    check(Codec::Mp4, "mp4-aac-fragmented-100ms.mp4").await;
    check(Codec::Mp4, "mp4-opus-fragmented.mp4").await;
    check(Codec::Mp4, "mp4-aac-faststart.mp4").await;
    check(Codec::Aac, "aac-44k-stereo.aac").await;
    check(Codec::Mp3, "mp3-cbr-id3v2-44k-stereo.mp3").await;
    check(Codec::Mp3, "mp3-mpeg25-8k-mono.mp3").await;
}

#[tokio::test(start_paused = true)]
async fn telephone_codings_are_heard() {
    // µ-law and A-law of the extremes, as a square wave of 1 kHz, then of silence.
    for (codec, loud, quiet) in [(Codec::Mulaw, [0x80, 0x00], 0xff), (Codec::Alaw, [0xaa, 0x2a], 0xd5)] {
        let wave = loud.into_iter().flat_map(|code| [code; 4]);
        let speech: Vec<u8> = wave.cycle().take(8_000).collect();
        let ended = stream(codec, &[speech, vec![quiet; 8_000]].concat(), 160).await;
        assert_eq!(ended.finals(), [(1, QUESTION.to_owned())], "{codec}");
        assert_eq!(times(&ended)[0], 0, "{codec}");
    }
    let wave = [[0, 0, 0x40], [0, 0, 0xc0]].into_iter().flat_map(|sample| [sample; 4]).flatten();
    let loud: Vec<u8> = wave.cycle().take(3 * 8_000).collect();
    let ended = stream(Codec::PcmS24le, &[loud, vec![0; 3 * 8_000]].concat(), 1_000).await;
    assert_eq!(ended.finals(), [(1, QUESTION.to_owned())]);
}

/// The raw packets of `opus.packets`, each behind its length in two bytes.
fn opus_packets() -> Vec<Vec<u8>> {
    let file = fixture("opus.packets");
    let mut rest = &file[..];
    let mut packets = Vec::new();
    while let [high, low, after @ ..] = rest {
        let (packet, later) = after.split_at(usize::from(u16::from_be_bytes([*high, *low])));
        packets.push(packet.to_vec());
        rest = later;
    }
    packets
}

#[tokio::test(start_paused = true)]
async fn lost_opus_packets_are_told_and_leave_the_clock_alone() {
    let packets = opus_packets();
    let ended = async |lost: &[usize]| {
        let conversation = Setup::hearing(QUESTION).connect();
        let start = start_with(|start| {
            start.audio.codec = Codec::Opus;
            (start.audio.sample_rate, start.audio.channels) = (Some(48_000), Some(1));
            start.audio.framing = Framing::Numbered;
        });
        conversation.send(start).await;
        for (seq, packet) in packets.iter().enumerate().filter(|(seq, _)| !lost.contains(seq)) {
            let header = FrameHeader { channel: 0, last: seq + 1 == packets.len(), seq: seq as u32 };
            let frame = [&header.to_bytes()[..], packet].concat();
            conversation.sender.audio(frame).await.expect("the session is open");
        }
        conversation.finish().await
    };
    let whole = ended(&[]).await;
    assert_eq!(times(&whole).len(), 2, "{:?}", whole.story());
    assert_eq!(warnings(&whole), [""; 0]);
    // 20 ms, then 60 ms in a row, in mid-speech.
    let gaps = ended(&[40, 60, 61, 62]).await;
    assert_eq!(warnings(&gaps), ["audio_gap", "audio_gap"]);
    assert_eq!(times(&gaps), times(&whole));
    assert_eq!(gaps.story().last(), whole.story().last(), "the session is as long");
}

#[tokio::test(start_paused = true)]
async fn damage_costs_a_warning_and_a_little_audio() {
    let check = async |codec, name: &str, damage: fn(&mut Vec<u8>)| {
        let mut bytes = fixture(name);
        damage(&mut bytes);
        let ended = stream(codec, &bytes, 500).await;
        assert!(warnings(&ended).contains(&"audio_skipped"), "{name}: {:?}", ended.story());
        assert_eq!(ended.code, Some(CloseCode::Done), "{name}: {:?}", ended.story());
        let audio_ms = ended.events.iter().find_map(|event| match event.message {
            ServerMessage::StreamEnded { totals, .. } => Some(totals.audio_ms),
            _ => None,
        });
        assert!(audio_ms >= Some(1_600), "{name}: {audio_ms:?} ms of 2,000 were heard");
    };
    // A message lost in the middle.
    let lost = |bytes: &mut Vec<u8>| drop(bytes.drain(bytes.len() / 2..bytes.len() / 2 + 300));
    check(Codec::Webm, "webm-opus-mediarecorder.webm", lost).await;
    check(Codec::Mp4, "mp4-aac-fragmented-100ms.mp4", lost).await;
}

#[tokio::test(start_paused = true)]
async fn what_is_not_what_it_was_announced_as_is_refused_by_name() {
    let ended = stream(Codec::Webm, &fixture("ogg-opus-mono.ogg"), 500).await;
    let why = ended.events.iter().find_map(|event| match &event.message {
        ServerMessage::Error { message, fatal: true, .. } => Some(message.clone()),
        _ => None,
    });
    assert_eq!(ended.code, Some(CloseCode::Undecodable));
    assert!(why.as_ref().is_some_and(|why| why.contains("announced as WebM, but it is Ogg")), "{why:?}");
}

#[tokio::test(start_paused = true)]
async fn a_file_with_its_index_at_the_end_is_heard_once_it_is_whole() {
    let ended = stream(Codec::Mp4, &fixture("m4a-aac-index-last.m4a"), 500).await;
    assert_eq!(warnings(&ended), ["audio_not_live"]);
    assert_eq!(ended.finals(), [(1, QUESTION.to_owned())]);
    assert_eq!(ended.code, Some(CloseCode::Done));

    // Longer than what is heard at once, with more turns than may wait for their text.
    let turn = [speech(2_000), silence(1_500)].concat();
    let audio: Vec<u8> = turn.iter().copied().cycle().take(turn.len() * 12).collect();
    let ended = stream(Codec::Auto, &mp4_index_last(&audio), 60_000).await;
    assert_eq!(warnings(&ended), ["audio_not_live"]);
    assert_eq!(ended.finals().len(), 12, "{:?}", ended.story());
    assert_eq!(times(&ended)[22..], [38_500, 40_520]);
    assert_eq!(ended.code, Some(CloseCode::Done));
}

#[tokio::test(start_paused = true)]
async fn a_kept_file_is_no_way_around_the_length_of_a_session() {
    let turn = [speech(2_000), silence(1_500)].concat();
    let audio: Vec<u8> = turn.iter().copied().cycle().take(turn.len() * 20).collect();
    let mut setup = Setup::hearing(QUESTION);
    setup.limits.max_session = std::time::Duration::from_secs(15);
    let conversation = setup.connect();
    conversation.send(start_with(|start| start.audio.codec = Codec::Mp4)).await;
    for piece in mp4_index_last(&audio).chunks(60_000) {
        conversation.sender.audio(piece.to_vec()).await.expect("the session is open");
    }
    let ended = conversation.finish().await;
    assert_eq!(warnings(&ended), ["audio_not_live", "audio_cut"]);
    assert_eq!(ended.code, Some(CloseCode::Limit), "{:?}", ended.story());
    // In steps of ten seconds: what was heard when the limit was met is written down.
    assert_eq!(ended.finals().len(), 6, "{:?}", ended.story());
    assert!(ended.story().iter().filter(|line| line.contains("speech_ended")).count() == 6);
}

#[tokio::test(start_paused = true)]
async fn a_marker_waits_until_a_kept_file_is_written_down() {
    let conversation = Setup::hearing(QUESTION).connect();
    conversation.send(start_with(|start| start.audio.codec = Codec::Auto)).await;
    conversation.sender.audio(fixture("m4a-aac-index-last.m4a")).await.expect("the session is open");
    conversation.send(ClientMessage::Marker { id: MarkerId::Number(7) }).await;
    let story = conversation.finish().await.story();
    let at = |part: &str| story.iter().position(|line| line.contains(part));
    assert!(at("final 1").is_some() && at("final 1") < at("marker"), "{story:?}");
}
