//! When a turn ends by what its words say, in virtual time: at any speed, with slow, failing and missing words.
//!
//! Not here: what the words are taken to mean (`turn_end`), the silences without a session (`endpointer`).

#[path = "support/harness.rs"]
#[allow(dead_code, reason = "each test file uses a part of the harness")]
mod harness;

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use codecs::{Codec, Finish, SampleIndex, StreamFormat};
use engine::{
    endpointer::EndpointerConfig,
    listener::{Listener, TurnEvent, TurnEventKind},
    turn_end::TurnEnd,
};
use futures_util::stream::BoxStream;
use harness::*;
use models::{
    speech::{
        Priority, ScriptedTranscriber, TranscribeError, TranscribeRequest, Transcriber, TranscriptEvent,
    },
    vad::VoiceActivityDetector,
};
use proptest::prelude::*;
use protocol::{ClientMessage, MarkerId, ServerMessage};

const QUESTION: &str = "How would you test this?";
const STATEMENT: &str = "I would test this.";
const BROKEN_OFF: &str = "I would test this and";

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// Milliseconds of silence that each turn took to end, when `text` is what is heard in each.
async fn silences(text: &str, config_json: &str) -> Vec<u64> {
    let mut conversation = Setup::hearing(text).start().await;
    conversation.send(config(config_json)).await;
    let mut silences = Vec::new();
    for n in 1..=2u64 {
        conversation.say(&speech(2_000)).await;
        for waited in 1..200 {
            conversation.say(&silence(20)).await;
            // Scripted words come 50 ms after they are asked for.
            let ended = conversation
                .events
                .iter()
                .any(|event| matches!(event.message, ServerMessage::SpeechEnded { turn, .. } if turn == n));
            if ended {
                silences.push(waited * 20);
                break;
            }
        }
    }
    silences
}

#[tokio::test(start_paused = true)]
async fn the_words_decide_how_long_a_turn_waits() {
    // 20 ms of the silence are the tail of the speech, 20 make a message, and 20 later it is seen.
    let check = async |text, config, expected: u64| {
        for silence in silences(text, config).await {
            assert!((expected + 20..=expected + 60).contains(&silence), "{text:?} {config}: {silence} ms");
        }
    };
    check(QUESTION, "{}", 250).await;
    check(STATEMENT, "{}", 320).await;
    check(BROKEN_OFF, "{}", 800).await;
    check("", "{}", 500).await;
    check(BROKEN_OFF, r#"{"turns":{"eager":false}}"#, 500).await;
    check(QUESTION, r#"{"turns":{"min_silence_ms":600,"max_silence_ms":900}}"#, 600).await;
    check(STATEMENT, r#"{"turns":{"min_silence_ms":600,"max_silence_ms":900}}"#, 600).await;
    check(BROKEN_OFF, r#"{"turns":{"min_silence_ms":600,"max_silence_ms":900}}"#, 900).await;
    check(BROKEN_OFF, r#"{"turns":{"min_silence_ms":700,"max_silence_ms":700}}"#, 700).await;
}

#[tokio::test(start_paused = true)]
async fn a_file_gives_the_same_turns_at_any_speed_however_slow_the_words() {
    let pauses = [300, 120, 700, 450, 90, 1_300, 260, 1_000, 380, 600];
    let audio: Vec<u8> = pauses.iter().flat_map(|pause| [speech(900), silence(*pause)].concat()).collect();
    for delay in [0, 150, 700, 990, 1_010, 5_000] {
        let mut stories: Vec<Vec<String>> = Vec::new();
        for (every_ms, piece) in [(20, 640), (1, 640), (0, 640), (0, 60_000)] {
            // What is heard depends on how much audio there is, and on nothing else.
            let transcriber = ScriptedTranscriber::new(move |request| {
                let texts = [QUESTION, BROKEN_OFF, STATEMENT];
                (ms(delay), Ok(transcript(texts[request.audio.len() / 1_600 % 3])))
            });
            let mut conversation = Setup::with(transcriber).start().await;
            conversation.send(config(r#"{"answers":{"mode":"off"}}"#)).await;
            for piece in audio.chunks(piece) {
                tokio::time::sleep(ms(every_ms)).await;
                conversation.sender.audio(piece.to_vec()).await.unwrap();
                conversation.take_in();
            }
            let mut story = conversation.finish().await.story();
            // A final may come before or after the next turn begins; within a turn the order is fixed.
            story.sort_by_key(|line| line.split(' ').nth(1).unwrap_or_default().to_owned());
            stories.push(story);
        }
        assert!(stories[0].iter().filter(|line| line.starts_with("final")).count() >= 3, "{:#?}", stories[0]);
        for story in &stories[1..] {
            assert_eq!(&stories[0], story, "{delay} ms");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn words_that_fail_or_never_come_count_as_none() {
    let fails = |priority| {
        ScriptedTranscriber::new(move |request| match request.priority == priority {
            true => (ms(30), Err(TranscribeError::Failed("cosmic ray".to_owned()))),
            false => (ms(30), Ok(transcript(QUESTION))),
        })
    };
    let slow = ScriptedTranscriber::new(|_| (ms(20_000), Ok(transcript(QUESTION))));
    for transcriber in [fails(Priority::Speculative), slow] {
        let mut conversation = Setup::with(transcriber).start().await;
        conversation.say(&[speech(2_000), silence(400), speech(2_000), silence(2_000)].concat()).await;
        let ended = conversation.finish().await;
        // 400 ms are no end without words; a whole question would have ended there.
        assert_eq!(ended.finals(), [(1, QUESTION.to_owned())], "{:#?}", ended.story());
        assert!(ended.story().contains(&"speech_ended 1 at 4420".to_owned()), "{:#?}", ended.story());
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_is_heard_while_the_words_are_waited_for_and_nothing_lost() {
    let transcriber = ScriptedTranscriber::new(|_| (ms(800), Ok(transcript(QUESTION))));
    let conversation = Setup::with(transcriber).start().await;
    conversation.send(config(r#"{"answers":{"mode":"manual"}}"#)).await;
    // Two turns and a marker, at once; the second turn begins in the first message.
    let audio = [speech(1_000), silence(500), speech(1_000), silence(500)].concat();
    for piece in audio.chunks(56_000) {
        conversation.sender.audio(piece.to_vec()).await.unwrap();
    }
    conversation.send(ClientMessage::Marker { id: MarkerId::Number(1) }).await;
    let story = conversation.finish().await.story();
    let lines: Vec<_> = story.iter().filter(|line| !line.starts_with("answer")).collect();
    assert_eq!(
        lines,
        [
            "stream_started",
            "speech_started 1 at 0",
            "speech_ended 1 at 1020",
            // Both are told of in the same message.
            "speech_started 2 at 1500",
            "final 1 0-1020 How would you test this?",
            "speech_ended 2 at 2520",
            "final 2 1500-2520 How would you test this?",
            "marker Number(1)",
            "stream_ended Client 3000 ms 2 turns 0 answers",
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn a_session_that_ends_while_it_stands_still_loses_nothing() {
    let slow = || ScriptedTranscriber::new(|_| (ms(900), Ok(transcript(BROKEN_OFF))));
    let audio = [speech(1_000), silence(400), speech(600)].concat();
    // The server leaves.
    let mut conversation = Setup::with(slow()).start().await;
    conversation.sender.audio(audio.clone()).await.unwrap();
    conversation.wait_for(|message| matches!(message, ServerMessage::SpeechStarted { .. })).await;
    tokio::time::sleep(ms(100)).await;
    conversation.stop.cancel();
    let story = conversation.read_to_end().await.story();
    assert_eq!(
        story[2..],
        [
            "speech_ended 1 at 2000",
            "final 1 0-2000 I would test this and",
            "stream_ended Shutdown 2000 ms 1 turns 0 answers"
        ]
    );
    // The client is gone.
    let recorder = Arc::new(engine::ports::memory::RecentSessions::default());
    let mut setup = Setup::with(slow());
    setup.recorder = recorder.clone();
    let mut conversation = setup.start().await;
    conversation.sender.audio(audio).await.unwrap();
    conversation.wait_for(|message| matches!(message, ServerMessage::SpeechStarted { .. })).await;
    let Conversation { mut client, sender, session, .. } = conversation;
    client.hang_up();
    drop((client, sender));
    session.await.unwrap();
    tokio::time::sleep(ms(1)).await;
    let kept: Vec<_> = recorder.events("test").iter().filter_map(|event| line(&event.message)).collect();
    assert!(kept.contains(&"final 1 0-2000 I would test this and".to_owned()), "{kept:#?}");
    assert!(!kept.iter().any(|line| line.starts_with("warning")), "{kept:#?}");
}

/// Counts what is confirmed.
struct Confirming {
    speech: ScriptedTranscriber,
    confirmed: Mutex<Vec<u64>>,
}

impl Transcriber for Confirming {
    fn transcribe(
        &self,
        request: TranscribeRequest,
    ) -> BoxStream<'static, Result<TranscriptEvent, TranscribeError>> {
        self.speech.transcribe(request)
    }

    fn confirm(&self, stream: u64) {
        self.confirmed.lock().expect("nothing under this lock panics").push(stream);
    }
}

#[tokio::test(start_paused = true)]
async fn a_guess_that_is_still_running_when_it_proves_right_is_confirmed() {
    for (delay, confirmed) in [(30, 0), (3_000, 1)] {
        let speech_model = ScriptedTranscriber::new(move |_| (ms(delay), Ok(transcript(QUESTION))));
        let transcriber = Arc::new(Confirming { speech: speech_model.clone(), confirmed: Mutex::default() });
        let mut setup = Setup::hearing(QUESTION);
        setup.transcriber = transcriber.clone();
        let mut conversation = setup.start().await;
        conversation.say(&[speech(2_000), silence(1_500)].concat()).await;
        assert_eq!(conversation.finish().await.finals(), [(1, QUESTION.to_owned())]);
        let requests = speech_model.requests();
        assert_eq!((requests.len(), requests[0].priority), (1, Priority::Speculative), "asked once");
        assert_eq!(*transcriber.confirmed.lock().unwrap(), vec![requests[0].stream; confirmed]);
    }
}

#[tokio::test(start_paused = true)]
async fn guesses_are_bounded_by_the_minute() {
    for limit in [0, 3] {
        let guesses = Arc::new(AtomicUsize::new(0));
        let seen = Arc::clone(&guesses);
        let transcriber = ScriptedTranscriber::new(move |request| {
            seen.fetch_add(usize::from(request.priority == Priority::Speculative), Ordering::Relaxed);
            (ms(10), Ok(transcript(QUESTION)))
        });
        let mut setup = Setup::with(transcriber);
        setup.defaults.max_guesses_per_minute = limit;
        let mut conversation = setup.start().await;
        for _ in 0..6 {
            conversation.say(&[speech(2_000), silence(1_000)].concat()).await;
        }
        assert_eq!(guesses.load(Ordering::Relaxed), limit as usize);
        // The minute is over: three more.
        conversation.say(&silence(60_000)).await;
        for _ in 0..6 {
            conversation.say(&[speech(2_000), silence(1_000)].concat()).await;
        }
        assert_eq!(guesses.load(Ordering::Relaxed), 2 * limit as usize);
        assert_eq!(conversation.finish().await.finals().len(), 12, "turns end all the same");
    }
}

/// The meaning of a pause, whenever it is asked for.
fn meaning(speech_end: SampleIndex) -> TurnEnd {
    [TurnEnd::Finished, TurnEnd::Unfinished, TurnEnd::Open, TurnEnd::Unknown][speech_end.0 as usize / 160 % 4]
}

fn two_ears() -> Listener {
    let format = StreamFormat { codec: Codec::PcmS16le, sample_rate: Some(16_000), channels: Some(2) };
    let detectors: Vec<Box<dyn VoiceActivityDetector>> = (0..2).map(|_| Box::new(Loudness) as _).collect();
    Listener::new(format, detectors, EndpointerConfig { hints: true, ..EndpointerConfig::default() })
        .expect("PCM is known")
}

/// Hears `stereo` in `pieces`; hints come `late` pieces after their pauses, or when the listener stands still.
fn hear(stereo: &[u8], pieces: &[usize], late: usize) -> Vec<TurnEvent> {
    let mut listener = two_ears();
    let (mut events, mut seen, mut owed) = (Vec::new(), 0, Vec::new());
    let mut answer = |listener: &mut Listener, events: &mut Vec<TurnEvent>, now: usize| {
        loop {
            for event in &events[seen..] {
                if let TurnEventKind::Paused(utterance) = &event.kind {
                    owed.push((now + late, event.channel, utterance.speech_end));
                }
            }
            seen = events.len();
            let due = owed.iter().position(|(due, ..)| *due <= now || listener.stands_still());
            let Some(due) = due else { return };
            let (_, channel, speech_end) = owed.remove(due);
            listener.hint(channel, speech_end, meaning(speech_end), events);
        }
    };
    let mut rest = stereo;
    for (now, size) in pieces.iter().cycle().enumerate() {
        let (piece, after) = rest.split_at((*size).min(rest.len()));
        listener.push(piece, &mut events).expect("PCM");
        answer(&mut listener, &mut events, now);
        assert!(!listener.stands_still());
        rest = after;
        if rest.is_empty() {
            break;
        }
    }
    while listener.finish(&mut events).expect("PCM") == Finish::More {
        answer(&mut listener, &mut events, usize::MAX / 2);
    }
    events
}

/// What each channel tells, in order, with the audio and when it was known. Within the same 10 ms either channel may be first.
fn told(events: &[TurnEvent]) -> [Vec<String>; 2] {
    [0, 1].map(|channel| {
        let of_channel = events.iter().filter(|event| event.channel == channel);
        let lines = of_channel.map(|event| match &event.kind {
            TurnEventKind::Paused(said) => {
                format!("paused {:?} {:?} {}", said.speech_end, said.heard, said.audio.len())
            }
            TurnEventKind::Ended(said) => {
                format!("ended {:?} {:?} {}", said.speech_end, said.heard, said.audio.len())
            }
            other => format!("{other:?}"),
        });
        lines.collect()
    })
}

/// Both channels, from stretches of speech and silence.
fn stereo(stretches: &[(u64, u64)]) -> Vec<u8> {
    let channel = |flip: bool| {
        let stretch = |(spoken, quiet): &(u64, u64)| {
            let (spoken, quiet) = (speech(*spoken as usize * 10), silence(*quiet as usize * 10));
            if flip { [quiet, spoken].concat() } else { [spoken, quiet].concat() }
        };
        stretches.iter().flat_map(stretch).collect::<Vec<u8>>()
    };
    channel(false).chunks(2).zip(channel(true).chunks(2)).flat_map(|(a, b)| [a, b].concat()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn the_ear_hears_the_same_whenever_the_words_come(
        stretches in prop::collection::vec((0u64..150, 0u64..150), 1..8),
        pieces in prop::collection::vec(1usize..20_000, 1..20),
        late in 0usize..6,
    ) {
        let audio = stereo(&stretches);
        let soon = hear(&audio, &[640], 0);
        prop_assert!(told(&hear(&audio, &pieces, late)) == told(&soon), "{:#?}", told(&soon));
        prop_assert!(told(&hear(&audio, &[usize::MAX], 0)) == told(&soon), "{:#?}", told(&soon));
    }

    /// No audio is lost when a listener that stands still is told to end its turns.
    #[test]
    fn finalize_hears_what_was_kept(stretches in prop::collection::vec((0u64..150, 0u64..150), 1..8)) {
        let audio = stereo(&stretches);
        let mut listener = two_ears();
        let mut events = Vec::new();
        listener.push(&audio, &mut events).expect("PCM");
        listener.finalize(None, &mut events);
        prop_assert_eq!(listener.heard().0, audio.len() as u64 / 4);
        prop_assert!(!listener.stands_still());
        let count = |wanted: fn(&TurnEventKind) -> bool| events.iter().filter(|event| wanted(&event.kind)).count();
        let started = count(|kind| matches!(kind, TurnEventKind::Started(_)));
        prop_assert_eq!(started, count(|kind| matches!(kind, TurnEventKind::Ended(_))));
    }
}
