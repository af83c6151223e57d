//! Nothing is dropped in silence: for each kind of loss there is, what the client is told and what is counted agree.
//!
//! Not here: who is not let in at all (`overload`).
#![allow(clippy::unwrap_used)]

#[path = "support/counters.rs"]
mod counters;
#[path = "support/harness.rs"]
#[allow(dead_code, reason = "the harness serves conversations in real time too")]
mod harness;
#[path = "support/mp4.rs"]
mod mp4;

use std::{collections::BTreeMap, path::Path, sync::Arc, time::Duration};

use counters::Counters;
use engine::ports::{Access, PortError, SessionRecorder, SessionWriter};
use futures_util::future::{BoxFuture, FutureExt as _, ready};
use harness::*;
use models::speech::{Priority, ScriptedTranscriber, TranscribeError};
use mp4::mp4_index_last;
use protocol::{Codec, FrameHeader, Framing, ServerEvent, ServerMessage};

/// The codes of a session's warnings and of its errors, and how often each came; and the speech it says it lost.
#[derive(Debug, Default, PartialEq)]
struct Told {
    warnings: BTreeMap<String, u64>,
    errors: BTreeMap<String, u64>,
    dropped_ms: Option<u64>,
}

/// What the session told, after checking it against the counters.
fn told(ended: &Ended, counters: &Counters) -> Told {
    let mut told = Told::default();
    for event in &ended.events {
        match &event.message {
            ServerMessage::Warning { code, .. } => *told.warnings.entry(code.clone()).or_default() += 1,
            ServerMessage::Error { code, .. } => {
                *told.errors.entry(u16::from(*code).to_string()).or_default() += 1;
            }
            ServerMessage::StreamEnded { totals, .. } => told.dropped_ms = Some(totals.audio_dropped_ms),
            _ => {}
        }
    }
    assert_eq!(told.warnings, counters.family("warnings_total"), "{:#?}", ended.story());
    assert_eq!(told.errors, counters.family("errors_total"), "{:#?}", ended.story());
    if let Some(dropped_ms) = told.dropped_ms {
        assert_eq!(dropped_ms, counters.get("audio_dropped_ms_total"), "{:#?}", ended.story());
    }
    told
}

fn once(codes: &[&str]) -> BTreeMap<String, u64> {
    codes.iter().map(|code| ((*code).to_owned(), 1)).collect()
}

fn failing(fails: impl Fn(Priority) -> bool + Send + Sync + 'static) -> ScriptedTranscriber {
    ScriptedTranscriber::new(move |request| {
        let failed = Err(TranscribeError::Failed("cosmic ray".to_owned()));
        (Duration::from_millis(10), if fails(request.priority) { failed } else { Ok(transcript("Well.")) })
    })
}

fn fixture(name: &str) -> Vec<u8> {
    std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("../codecs/fixtures").join(name)).unwrap()
}

/// One turn, and a second of silence.
fn turn() -> Vec<u8> {
    [speech(2_000), silence(1_000)].concat()
}

#[tokio::test(start_paused = true)]
async fn chunks_that_never_came() {
    let counters = Counters::default();
    let _counting = metrics::set_default_local_recorder(&counters);
    let conversation = Setup::hearing("Well.").connect();
    conversation.send(start_with(|start| start.audio.framing = Framing::Numbered)).await;
    for seq in [0, 1, 5, 6, 6, 9] {
        let header = FrameHeader { channel: 0, seq, last: false }.to_bytes();
        conversation.sender.audio([&header[..], &silence(20)].concat()).await.unwrap();
    }
    let told = told(&conversation.finish().await, &counters);
    assert_eq!(told.warnings, BTreeMap::from([("audio_gap".to_owned(), 2)]));
    assert_eq!(counters.get("audio_chunks_repeated_total"), 1, "nothing is lost of what came before");
}

#[tokio::test(start_paused = true)]
async fn audio_that_is_damaged() {
    let counters = Counters::default();
    let _counting = metrics::set_default_local_recorder(&counters);
    let mut file = fixture("ogg-opus-mono.ogg");
    let middle = file.len() / 2;
    file[middle..middle + 40].fill(0xff);
    let conversation = Setup::hearing("Well.").connect();
    conversation.send(start_with(|start| start.audio.codec = Codec::Ogg)).await;
    for piece in file.chunks(500) {
        conversation.sender.audio(piece.to_vec()).await.unwrap();
    }
    let told = told(&conversation.finish().await, &counters);
    assert!(told.warnings["audio_skipped"] >= 1, "{told:?}");
}

#[tokio::test(start_paused = true)]
async fn a_turn_that_cannot_be_written_down() {
    let counters = Counters::default();
    let _counting = metrics::set_default_local_recorder(&counters);
    let mut conversation = Setup::with(failing(|_| true)).start().await;
    conversation.say(&turn()).await;
    let told = told(&conversation.finish().await, &counters);
    assert_eq!((told.errors, told.warnings), (once(&["4503"]), once(&[])));
    assert_eq!(told.dropped_ms, Some(2_020));
}

#[tokio::test(start_paused = true)]
async fn interim_texts_that_fail() {
    let counters = Counters::default();
    let _counting = metrics::set_default_local_recorder(&counters);
    let mut setup = Setup::with(failing(|priority| priority == Priority::Interim));
    setup.defaults.interim_results = true;
    let mut conversation = setup.start().await;
    conversation.say(&turn()).await;
    let told = told(&conversation.finish().await, &counters);
    assert_eq!((told.warnings, told.errors), (once(&["interim_unavailable"]), once(&[])));
    assert!(counters.get("interims_failed_total") >= 1);
    assert_eq!(told.dropped_ms, Some(0), "the final came all the same");
}

#[tokio::test(start_paused = true)]
async fn turns_that_are_not_written_down_before_the_server_leaves() {
    let counters = Counters::default();
    let _counting = metrics::set_default_local_recorder(&counters);
    let stuck = ScriptedTranscriber::new(|_| (Duration::from_secs(600), Ok(transcript("Too late."))));
    let mut conversation = Setup::with(stuck).start().await;
    conversation.say(&[turn(), turn()].concat()).await;
    conversation.stop.cancel();
    let told = told(&conversation.read_to_end().await, &counters);
    assert_eq!((told.warnings, told.errors), (once(&["turns_lost"]), once(&[])));
    assert_eq!(told.dropped_ms, Some(4_040));
}

#[tokio::test(start_paused = true)]
async fn a_kept_file_that_is_given_up() {
    let counters = Counters::default();
    let _counting = metrics::set_default_local_recorder(&counters);
    let turn = [speech(2_000), silence(1_500)].concat();
    let mut setup = Setup::hearing("Well.");
    setup.limits.max_session = Duration::from_secs(15);
    let conversation = setup.connect();
    conversation.send(start_with(|start| start.audio.codec = Codec::Mp4)).await;
    for piece in mp4_index_last(&turn.repeat(20)).chunks(60_000) {
        conversation.sender.audio(piece.to_vec()).await.unwrap();
    }
    let told = told(&conversation.finish().await, &counters);
    assert_eq!((told.warnings, told.errors), (once(&["audio_not_live", "audio_cut"]), once(&["4413"])));
}

#[tokio::test(start_paused = true)]
async fn history_that_is_not_kept() {
    struct Outage;
    impl SessionRecorder for Outage {
        fn open(&self, _: &Access, _: &str, _: &str) -> Box<dyn SessionWriter> {
            Box::new(Outage)
        }
    }
    impl SessionWriter for Outage {
        fn write<'a>(&'a mut self, _: &'a ServerEvent) -> BoxFuture<'a, Result<(), PortError>> {
            ready(Err(PortError("down".to_owned()))).boxed()
        }
        fn close(&mut self) -> BoxFuture<'_, Result<(), PortError>> {
            ready(Ok(())).boxed()
        }
    }
    let counters = Counters::default();
    let _counting = metrics::set_default_local_recorder(&counters);
    let mut setup = Setup::hearing("Well.");
    setup.recorder = Arc::new(Outage);
    let mut conversation = setup.start().await;
    conversation.say(&turn()).await;
    let told = told(&conversation.finish().await, &counters);
    assert_eq!((told.warnings, told.dropped_ms), (once(&["history_unavailable"]), Some(0)));
    // The final text, and the end.
    assert_eq!(counters.get("history_failures_total"), 2);
}

#[tokio::test(start_paused = true)]
async fn messages_that_are_refused() {
    let counters = Counters::default();
    let _counting = metrics::set_default_local_recorder(&counters);
    let conversation = Setup::hearing("Well.").start().await;
    for _ in 0..3 {
        conversation.sender.frame(engine::transport::Frame::Control("nonsense".into())).await.unwrap();
    }
    let told = told(&conversation.finish().await, &counters);
    assert_eq!(told.errors, BTreeMap::from([("4400".to_owned(), 3)]));
    assert_eq!(counters.family("messages_refused_total"), told.errors);
}
