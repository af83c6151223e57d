//! Scripted conversations in virtual time: audio in, the exact list of events out.

#[path = "support/harness.rs"]
mod harness;

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use engine::{config::OnBreak, transport::Frame};
use harness::*;
use models::{
    chat::{ChatError, ScriptedChat, ScriptedDelta},
    speech::{Priority, ScriptedTranscriber, TranscribeError},
};
use protocol::{ClientMessage, CloseCode, FrameHeader, MarkerId, Role, ServerMessage};

const QUESTION: &str = "How would you test this?";

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

#[tokio::test(start_paused = true)]
async fn a_question_is_written_down_and_answered() {
    let mut conversation = Setup::hearing(QUESTION).start().await;
    conversation.say(&[silence(500), speech(2_000), silence(1_000)].concat()).await;
    let ended = conversation.finish().await;
    assert_eq!(
        ended.story(),
        [
            "stream_started",
            "speech_started 1 at 500",
            "speech_ended 1 at 2520",
            "final 1 500-2520 How would you test this?",
            "answer_started 1 turn 1: How would you test this?",
            "answer_delta 1.0 One",
            "answer_delta 1.1  two.",
            "answer 1 One two.",
            "stream_ended Client 3500 ms 1 turns 1 answers",
        ]
    );
    assert_eq!(ended.code, Some(CloseCode::Done));
    let numbers: Vec<_> = ended.events.iter().map(|event| event.event).collect();
    assert_eq!(
        numbers,
        (1..=numbers.len() as u64).collect::<Vec<_>>(),
        "events count up from 1 without gaps"
    );
}

#[tokio::test(start_paused = true)]
async fn the_receipt_adds_up() {
    let mut conversation = Setup::hearing(QUESTION).start().await;
    conversation.send(config(r#"{"turns":{"eager":false}}"#)).await;
    conversation.say(&[speech(2_000), silence(1_000)].concat()).await;
    let answer = conversation.wait_for(|message| matches!(message, ServerMessage::Answer(_))).await;
    let ServerMessage::Answer(answer) = answer else { unreachable!() };
    let t = answer.timings;
    assert_eq!(t.endpoint + t.transcript + t.request + t.first_token, t.total_to_first_token);
    // 500 ms of silence decide, the transcriber takes 50, the model 10 a word.
    assert_eq!((t.endpoint, t.transcript, t.request, t.first_token, t.last_token), (500, 50, 0, 10, 10));
}

#[tokio::test(start_paused = true)]
async fn speculation_hides_the_transcriber() {
    let mut conversation = Setup::hearing(QUESTION).start().await;
    conversation.say(&[speech(2_000), silence(1_000)].concat()).await;
    let answer = conversation.wait_for(|message| matches!(message, ServerMessage::Answer(_))).await;
    let ServerMessage::Answer(answer) = answer else { unreachable!() };
    // A whole question needs no more silence than this.
    assert_eq!((answer.timings.endpoint, answer.timings.transcript), (250, 0));
}

#[tokio::test(start_paused = true)]
async fn a_guess_that_was_wrong_is_dropped_and_never_seen() {
    let speculative = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&speculative);
    let transcriber = ScriptedTranscriber::new(move |request| {
        seen.fetch_add(usize::from(request.priority == Priority::Speculative), Ordering::Relaxed);
        let whole = request.audio.len() > 16 * 3_000;
        (ms(5_000), Ok(transcript(if whole { "The whole turn." } else { "The first half." })))
    });
    let cancelled = transcriber.clone();
    let mut conversation = Setup::with(transcriber).start().await;
    conversation.say(&[speech(2_000), silence(300), speech(2_000), silence(1_000)].concat()).await;
    let ended = conversation.finish().await;
    assert_eq!(ended.finals(), [(1, "The whole turn.".to_owned())]);
    assert_eq!(speculative.load(Ordering::Relaxed), 2);
    assert_eq!(cancelled.cancelled(), 1, "the first guess was cancelled, the second became the final");
}

#[tokio::test(start_paused = true)]
async fn what_is_no_question_is_not_answered() {
    let mut conversation = Setup::hearing("Thanks for coming in today.").start().await;
    conversation.say(&[speech(2_000), silence(1_000)].concat()).await;
    let story = conversation.finish().await.story();
    assert!(!story.iter().any(|line| line.starts_with("answer")), "{story:#?}");
}

#[tokio::test(start_paused = true)]
async fn noise_gives_no_text() {
    let mut conversation = Setup::hearing("").start().await;
    conversation.say(&[speech(2_000), silence(1_000)].concat()).await;
    let ended = conversation.finish().await;
    assert_eq!(
        ended.story(),
        [
            "stream_started",
            "speech_started 1 at 0",
            "speech_ended 1 at 2020",
            "stream_ended Client 3000 ms 0 turns 0 answers"
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn interim_text_comes_while_speech_goes_on_and_never_after() {
    let transcriber = ScriptedTranscriber::new(|request| {
        (ms(400), Ok(transcript(&format!("{} s", request.audio.len() / 16_000))))
    });
    let mut conversation = Setup::with(transcriber).start().await;
    conversation.send(config(r#"{"interim_results":true}"#)).await;
    conversation.say(&[speech(3_000), silence(1_000)].concat()).await;
    let story = conversation.finish().await.story();
    let interims = story.iter().filter(|line| line.starts_with("interim")).count();
    assert!(interims >= 4, "{story:#?}");
    let ended = story.iter().position(|line| line.starts_with("speech_ended")).unwrap();
    let last_interim = story.iter().rposition(|line| line.starts_with("interim")).unwrap();
    assert!(last_interim < ended, "{story:#?}");
}

#[tokio::test(start_paused = true)]
async fn a_slow_transcriber_is_asked_for_one_interim_at_a_time() {
    let transcriber = ScriptedTranscriber::new(|_| (ms(1_900), Ok(transcript("words"))));
    let requests = transcriber.clone();
    let mut conversation = Setup::with(transcriber).start().await;
    conversation.send(config(r#"{"interim_results":true,"turns":{"eager":false}}"#)).await;
    conversation.say(&[speech(6_000), silence(1_000)].concat()).await;
    conversation.finish().await;
    let interims = requests.requests().iter().filter(|request| request.priority == Priority::Interim).count();
    assert!((3..=4).contains(&interims), "{interims} interim passes of 1.9 s in 6 s");
}

#[tokio::test(start_paused = true)]
async fn a_file_gives_the_same_events_at_any_speed() {
    let audio =
        [silence(300), speech(1_700), silence(900), speech(800), silence(1_400), speech(400)].concat();
    let mut stories = Vec::new();
    for every_ms in [20, 1, 0] {
        let mut conversation = Setup::hearing(QUESTION).start().await;
        conversation.send(config(r#"{"answers":{"mode":"manual"}}"#)).await;
        conversation.say_at(&audio, every_ms).await;
        let mut story = conversation.finish().await.story();
        // A final may come before or after the next turn begins; within a turn the order is fixed.
        story.sort_by_key(|line| line.split(' ').nth(1).unwrap_or_default().to_owned());
        stories.push(story);
    }
    assert_eq!(stories[0].iter().filter(|line| line.starts_with("final")).count(), 3, "{:#?}", stories[0]);
    assert_eq!(stories[0], stories[1]);
    assert_eq!(stories[0], stories[2]);
}

#[tokio::test(start_paused = true)]
async fn the_client_cancels_an_answer_and_the_model_stops() {
    let chat = ScriptedChat::new([ScriptedDelta::Text("One".to_owned()), ScriptedDelta::Hang]);
    let mut setup = Setup::hearing(QUESTION);
    setup.chat = Arc::new(chat.clone());
    let mut conversation = setup.start().await;
    conversation.say(&[speech(2_000), silence(1_000)].concat()).await;
    conversation.send(ClientMessage::CancelAnswer { answer_id: 1 }).await;
    conversation.send(ClientMessage::CancelAnswer { answer_id: 1 }).await;
    let story = conversation.finish().await.story();
    assert_eq!(
        story[4..],
        [
            "answer_started 1 turn 1: How would you test this?",
            "answer_delta 1.0 One",
            "answer_cancelled 1 Client",
            "error 4400 fatal false",
            "stream_ended Client 3000 ms 1 turns 0 answers",
        ]
    );
    assert_eq!(chat.cancelled(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_flood_of_tokens_does_not_make_the_session_deaf() {
    let flood = (0..20_000).map(|n| ScriptedDelta::Text(format!("{n} "))).collect::<Vec<_>>();
    let mut setup = Setup::hearing(QUESTION);
    setup.chat = Arc::new(ScriptedChat::new(flood));
    let mut conversation = setup.start().await;
    conversation.send(ClientMessage::AnswerNow { text: Some(QUESTION.to_owned()), turn: None }).await;
    conversation.wait_for(|message| matches!(message, ServerMessage::AnswerDelta { .. })).await;
    conversation.send(ClientMessage::CancelAnswer { answer_id: 1 }).await;
    conversation.wait_for(|message| matches!(message, ServerMessage::AnswerCancelled { .. })).await;
    let deltas = conversation.events.len();
    assert!(deltas < 500, "{deltas} events were sent before the client was heard");
}

#[tokio::test(start_paused = true)]
async fn a_continued_question_supersedes_its_answer() {
    let texts = ["Tell me about a project.", "And what you learned."];
    let turn = AtomicUsize::new(0);
    let transcriber = ScriptedTranscriber::new(move |_| {
        (ms(50), Ok(transcript(texts[turn.fetch_add(1, Ordering::Relaxed).min(1)])))
    });
    let slow = |text: &str| vec![ScriptedDelta::Wait(ms(3_000)), ScriptedDelta::Text(text.to_owned())];
    let chat = ScriptedChat::sequence([slow("First."), slow("Second.")]);
    let mut setup = Setup::with(transcriber);
    setup.chat = Arc::new(chat.clone());
    let mut conversation = setup.start().await;
    conversation.say(&[speech(2_000), silence(700), speech(2_000), silence(700)].concat()).await;
    let story = conversation.finish().await.story();
    let answers: Vec<_> = story.iter().filter(|line| line.starts_with("answer")).collect();
    assert_eq!(
        answers,
        [
            "answer_started 1 turn 1: Tell me about a project.",
            "answer_cancelled 1 Superseded",
            "answer_started 2 turn 2: Tell me about a project. And what you learned.",
            "answer_delta 2.0 Second.",
            "answer 2 Second.",
        ]
    );
    assert_eq!(chat.cancelled(), 1);
}

#[tokio::test(start_paused = true)]
async fn end_stream_in_mid_word_loses_nothing() {
    let mut conversation = Setup::hearing(QUESTION).start().await;
    conversation.say(&speech(1_000)).await;
    let ended = conversation.finish().await;
    assert_eq!(ended.finals(), [(1, QUESTION.to_owned())]);
    assert_eq!(ended.story().last().unwrap(), "stream_ended Client 1000 ms 1 turns 1 answers");
}

#[tokio::test(start_paused = true)]
async fn a_server_that_leaves_finishes_what_was_said() {
    let mut conversation = Setup::hearing("We are done.").start().await;
    conversation.say(&speech(1_000)).await;
    // What has not been read when the server leaves was never acknowledged; this has.
    tokio::time::sleep(ms(1)).await;
    conversation.stop.cancel();
    let ended = conversation.read_to_end().await;
    assert_eq!(ended.finals(), [(1, "We are done.".to_owned())]);
    assert_eq!(ended.story().last().unwrap(), "stream_ended Shutdown 1000 ms 1 turns 0 answers");
    assert_eq!(ended.code, Some(CloseCode::Leaving));
}

#[tokio::test(start_paused = true)]
async fn a_server_that_leaves_does_not_wait_for_ever() {
    let transcriber = ScriptedTranscriber::new(|_| (Duration::from_secs(3_600), Ok(transcript("late"))));
    let mut conversation = Setup::with(transcriber).start().await;
    conversation.say(&speech(1_000)).await;
    let asked = tokio::time::Instant::now();
    conversation.stop.cancel();
    let ended = conversation.read_to_end().await;
    assert!(asked.elapsed() <= ms(5_100), "{:?}", asked.elapsed());
    assert!(ended.story().contains(&"warning turns_lost".to_owned()), "{:?}", ended.story());
    assert_eq!(ended.code, Some(CloseCode::Leaving));
}

#[tokio::test(start_paused = true)]
async fn an_idle_session_is_closed_and_keep_alive_keeps_it() {
    let conversation = Setup::hearing(QUESTION).start().await;
    tokio::time::sleep(ms(29_000)).await;
    conversation.send(ClientMessage::KeepAlive {}).await;
    let kept = tokio::time::Instant::now();
    let ended = conversation.read_to_end().await;
    assert!(kept.elapsed() >= ms(29_900), "{:?}", kept.elapsed());
    assert_eq!(ended.story(), ["stream_started", "error 4408 fatal true"]);
    assert_eq!(ended.code, Some(CloseCode::Idle));
}

#[tokio::test(start_paused = true)]
async fn nonsense_is_answered_and_costs_nothing_else() {
    let mut conversation = Setup::hearing(QUESTION).start().await;
    conversation.say(&speech(1_000)).await;
    for nonsense in ["{", r#"{"type":"dance"}"#, r#"{"type":"finalize","chanel":0}"#, "\u{fffd}"] {
        conversation.sender.frame(Frame::Control(nonsense.to_owned().into())).await.unwrap();
    }
    conversation.send(start_message()).await;
    conversation.say(&[speech(1_000), silence(1_000)].concat()).await;
    let ended = conversation.finish().await;
    let errors: Vec<_> = ended.story().into_iter().filter(|line| line.starts_with("error")).collect();
    assert_eq!(errors, vec!["error 4400 fatal false"; 5]);
    assert_eq!(ended.finals(), [(1, QUESTION.to_owned())]);
    let messages: Vec<_> = ended
        .events
        .iter()
        .filter_map(|event| match &event.message {
            ServerMessage::Error { message, .. } => Some(message.as_str()),
            _ => None,
        })
        .collect();
    assert!(messages[1].contains("dance") && messages[2].contains("chanel"), "{messages:#?}");
}

#[tokio::test(start_paused = true)]
async fn a_client_that_only_talks_nonsense_is_closed() {
    let conversation = Setup::hearing(QUESTION).start().await;
    let sender = conversation.sender.clone();
    tokio::spawn(async move {
        while sender.frame(Frame::Control("{".into())).await.is_ok() {
            tokio::time::sleep(ms(1)).await;
        }
    });
    let ended = conversation.read_to_end().await;
    assert_eq!(ended.story().last().unwrap(), "error 4400 fatal true");
    assert_eq!(ended.code, Some(CloseCode::Malformed));
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_opened_is_refused_with_a_reason() {
    async fn check(first: Frame, code: CloseCode, reason: &str) {
        let conversation = Setup::hearing(QUESTION).connect();
        conversation.sender.frame(first).await.unwrap();
        let ended = conversation.read_to_end().await;
        let [event] = &ended.events[..] else { panic!("{:?}", ended.events) };
        let ServerMessage::Error { code: said, message, fatal: true, .. } = &event.message else {
            panic!("{event:?}")
        };
        assert!((*said, ended.code) == (code, Some(code)) && message.contains(reason), "{message}");
    }
    let control = |message: ClientMessage| Frame::Control(serde_json::to_vec(&message).unwrap().into());
    check(Frame::Audio(vec![0; 640].into()), CloseCode::Malformed, "before start_stream").await;
    check(control(ClientMessage::KeepAlive {}), CloseCode::Malformed, "first message").await;
    check(Frame::Control(" ".repeat(20_000).into()), CloseCode::TooBig, "16384").await;
    let opus =
        start_with(|start| (start.audio.codec, start.audio.channels) = (protocol::Codec::Opus, Some(6)));
    check(control(opus), CloseCode::Undecodable, "Opus of 6 channels").await;
    let rate = start_with(|start| start.audio.sample_rate = None);
    check(control(rate), CloseCode::Malformed, "sample_rate").await;
    let resume =
        start_with(|start| start.resume = Some(protocol::Resume { token: "x".into(), last_event: 0 }));
    check(control(resume), CloseCode::Forbidden, "resume token").await;
    let roles = start_with(|start| start.audio.roles = vec![Role::Interviewer, Role::Candidate]);
    check(control(roles), CloseCode::Malformed, "framing numbered").await;
    let session = start_with(|start| start.session_id = Some("a b".into()));
    check(control(session), CloseCode::Malformed, "session_id").await;
}

#[tokio::test(start_paused = true)]
async fn a_full_server_refuses_at_once() {
    let mut setup = Setup::hearing(QUESTION);
    setup.limits.max_sessions = 1;
    let engine = setup.engine();
    let first = Conversation::new(Arc::clone(&engine));
    first.send(start_message()).await;
    tokio::time::sleep(ms(1)).await;
    let second = Conversation::new(Arc::clone(&engine));
    second.send(start_message()).await;
    let ended = second.read_to_end().await;
    assert_eq!(ended.code, Some(CloseCode::Overloaded));
    let ServerMessage::Error { retry_after_ms, .. } = &ended.events[0].message else {
        panic!("{:?}", ended.events)
    };
    assert!(retry_after_ms.is_some());
    first.finish().await;
    let third = Conversation::new(engine);
    third.send(start_message()).await;
    assert_eq!(third.finish().await.code, Some(CloseCode::Done), "the place is free again");
}

fn numbered(channel: u8, seq: u32, audio: &[u8]) -> Vec<u8> {
    [&FrameHeader { channel, seq, last: false }.to_bytes()[..], audio].concat()
}

#[tokio::test(start_paused = true)]
async fn each_voice_has_its_role_and_only_the_interviewer_is_answered() {
    let conversation = Setup::hearing(QUESTION).connect();
    conversation.send(two_voices()).await;
    let audio = [speech(2_000), silence(1_000)].concat();
    for (seq, piece) in audio.chunks(640).enumerate() {
        for channel in [1, 0] {
            conversation.sender.audio(numbered(channel, seq as u32, piece)).await.unwrap();
        }
    }
    let ended = conversation.finish().await;
    let roles: Vec<_> = ended
        .events
        .iter()
        .filter_map(|event| match &event.message {
            ServerMessage::Transcription(words) => Some((words.channel, words.role)),
            _ => None,
        })
        .collect();
    assert_eq!(roles, [(1, Role::Candidate), (0, Role::Interviewer)]);
    let questions = ended.story().iter().filter(|line| line.starts_with("answer_started")).count();
    assert_eq!(questions, 1);
}

#[tokio::test(start_paused = true)]
async fn numbered_chunks_that_repeat_are_ignored_and_gaps_are_told() {
    let conversation = Setup::hearing(QUESTION).connect();
    conversation.send(two_voices()).await;
    let second = speech(1_000);
    for seq in [0, 0, 1, 0, 4] {
        conversation.sender.audio(numbered(0, seq, &second)).await.unwrap();
    }
    conversation.sender.audio(numbered(7, 0, &second)).await.unwrap();
    conversation.sender.audio(vec![1, 0]).await.unwrap();
    let ended = conversation.finish().await;
    let told: Vec<_> =
        ended.story().into_iter().filter(|l| l.starts_with("warn") || l.starts_with("err")).collect();
    assert_eq!(told, ["error 4400 fatal false", "error 4400 fatal false", "warning audio_gap"]);
    assert_eq!(ended.story().last().unwrap(), "stream_ended Client 3000 ms 1 turns 1 answers");
}

#[tokio::test(start_paused = true)]
async fn base64_audio_is_heard_too() {
    let conversation = Setup::hearing(QUESTION).start().await;
    for piece in [speech(2_000), silence(600)].concat().chunks(6_400) {
        conversation.send(ClientMessage::AudioChunk { channel: 0, seq: None, data: piece.to_vec() }).await;
    }
    assert_eq!(conversation.finish().await.finals(), [(1, QUESTION.to_owned())]);
}

#[tokio::test(start_paused = true)]
async fn a_marker_waits_for_the_words_before_it() {
    let mut conversation = Setup::hearing(QUESTION).start().await;
    let marker = |id| ClientMessage::Marker { id: MarkerId::Number(id) };
    conversation.send(marker(1)).await;
    conversation.say(&[speech(2_000), silence(600)].concat()).await;
    conversation.send(marker(2)).await;
    conversation.say(&speech(1_000)).await;
    // In mid-turn: answered once the words so far have been recognised, without waiting for the end of the turn.
    conversation.send(marker(3)).await;
    conversation.wait_for(|message| *message == ServerMessage::Marker { id: MarkerId::Number(3) }).await;
    let story = conversation.finish().await.story();
    let at = |wanted: &str| story.iter().position(|line| line.starts_with(wanted)).unwrap();
    assert!(at("marker Number(1)") < at("speech_started 1"), "{story:#?}");
    assert!(at("final 1") < at("marker Number(2)"), "{story:#?}");
    assert!(at("marker Number(3)") < at("speech_ended 2"), "{story:#?}");
}

#[tokio::test(start_paused = true)]
async fn finalize_ends_the_turn_now() {
    let mut conversation = Setup::hearing(QUESTION).start().await;
    conversation.say(&speech(1_000)).await;
    conversation.send(ClientMessage::Finalize { channel: None }).await;
    let ended = conversation.wait_for(|message| matches!(message, ServerMessage::SpeechEnded { .. })).await;
    assert!(matches!(ended, ServerMessage::SpeechEnded { at_ms: 1_000, .. }), "{ended:?}");
    conversation.send(ClientMessage::Finalize { channel: Some(3) }).await;
    let story = conversation.finish().await.story();
    assert!(story.contains(&"error 4400 fatal false".to_owned()), "{story:#?}");
}

#[tokio::test(start_paused = true)]
async fn answer_now_answers_whatever_the_mode() {
    let mut conversation = Setup::hearing("We like cake.").start().await;
    let ask = |text: Option<&str>, turn| ClientMessage::AnswerNow { text: text.map(str::to_owned), turn };
    conversation.send(config(r#"{"answers":{"mode":"off"}}"#)).await;
    conversation.send(ask(None, None)).await;
    conversation.say(&[speech(2_000), silence(1_000)].concat()).await;
    conversation.send(ask(None, None)).await;
    conversation.send(ask(Some("Why cake?"), None)).await;
    conversation.send(ask(None, Some(1))).await;
    conversation.send(ask(None, Some(9))).await;
    let story = conversation.finish().await.story();
    let mut asked: Vec<_> =
        story.iter().filter(|l| l.starts_with("answer_started") || l.starts_with("error")).collect();
    asked.sort();
    assert_eq!(
        asked,
        [
            "answer_started 1 turn 1: We like cake.",
            "answer_started 2 turn 1: Why cake?",
            "answer_started 3 turn 1: We like cake.",
            "error 4400 fatal false",
            "error 4400 fatal false",
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn a_provider_that_breaks_off_is_told_and_the_text_stands() {
    let broken = ChatError::Provider("no more".to_owned());
    let mut setup = Setup::hearing(QUESTION);
    setup.defaults.on_break = OnBreak::Keep;
    setup.chat =
        Arc::new(ScriptedChat::new([ScriptedDelta::Text("One".to_owned()), ScriptedDelta::Fail(broken)]));
    let mut conversation = setup.start().await;
    conversation.say(&[speech(2_000), silence(1_000)].concat()).await;
    let story = conversation.finish().await.story();
    assert_eq!(
        story[5..],
        [
            "answer_delta 1.0 One",
            "error 4503 fatal false",
            "answer_cancelled 1 ProviderError",
            "stream_ended Client 3000 ms 1 turns 0 answers"
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn a_transcriber_that_fails_is_asked_again_and_then_the_loss_is_told() {
    let calls = AtomicUsize::new(0);
    let transcriber = ScriptedTranscriber::new(move |_| {
        let failed = Err(TranscribeError::Failed("cosmic ray".to_owned()));
        // The first turn fails once, the second for good.
        let call = calls.fetch_add(1, Ordering::Relaxed);
        (ms(10), if call == 1 { Ok(transcript("Back again.")) } else { failed })
    });
    let mut conversation = Setup::with(transcriber).start().await;
    conversation.send(config(r#"{"turns":{"eager":false}}"#)).await;
    conversation.say(&[speech(2_000), silence(1_000), speech(2_000), silence(1_000)].concat()).await;
    let ended = conversation.finish().await;
    assert_eq!(ended.finals(), [(1, "Back again.".to_owned())]);
    assert!(ended.story().contains(&"error 4503 fatal false".to_owned()), "{:?}", ended.story());
    assert_eq!(ended.code, Some(CloseCode::Done));
}

#[tokio::test(start_paused = true)]
async fn a_client_that_does_not_read_is_closed() {
    let flood = (0..5_000).map(|n| ScriptedDelta::Text(format!("{n} "))).collect::<Vec<_>>();
    let mut setup = Setup::hearing(QUESTION);
    setup.chat = Arc::new(ScriptedChat::new(flood));
    let conversation = setup.start().await;
    conversation.send(ClientMessage::AnswerNow { text: Some(QUESTION.to_owned()), turn: None }).await;
    let asked = tokio::time::Instant::now();
    conversation.session.await.unwrap();
    assert!(
        asked.elapsed() <= ms(10_100),
        "5 s until it is slow, 5 s for the goodbye: {:?}",
        asked.elapsed()
    );
}

#[tokio::test(start_paused = true)]
async fn a_lost_connection_still_gets_its_words_into_history() {
    let recorder = Arc::new(engine::ports::memory::RecentSessions::default());
    let mut setup = Setup::hearing("Remember this.");
    setup.recorder = recorder.clone();
    let mut conversation = setup.start().await;
    conversation.say(&speech(1_000)).await;
    let Conversation { mut client, sender, session, .. } = conversation;
    client.hang_up();
    drop((client, sender));
    session.await.unwrap();
    tokio::time::sleep(ms(1)).await;
    let kept = recorder.events("test");
    assert!(
        kept.iter()
            .any(|e| matches!(&e.message, ServerMessage::Transcription(w) if w.text == "Remember this."))
    );
}

#[tokio::test(start_paused = true)]
async fn a_storage_outage_costs_history_only() {
    struct Outage;
    impl engine::ports::SessionRecorder for Outage {
        fn open(&self, _: &engine::ports::Access, _: &str, _: &str) -> Box<dyn engine::ports::SessionWriter> {
            Box::new(Outage)
        }
    }
    impl engine::ports::SessionWriter for Outage {
        fn write<'a>(
            &'a mut self,
            _: &'a protocol::ServerEvent,
        ) -> futures_util::future::BoxFuture<'a, Result<(), engine::ports::PortError>> {
            Box::pin(async { Err(engine::ports::PortError("disk on fire".to_owned())) })
        }

        fn close(&mut self) -> futures_util::future::BoxFuture<'_, Result<(), engine::ports::PortError>> {
            Box::pin(async { Ok(()) })
        }
    }
    let mut setup = Setup::hearing(QUESTION);
    setup.recorder = Arc::new(Outage);
    let mut conversation = setup.start().await;
    conversation.say(&[speech(2_000), silence(3_000), speech(2_000), silence(3_000)].concat()).await;
    let ended = conversation.finish().await;
    assert_eq!(ended.story().iter().filter(|line| *line == "warning history_unavailable").count(), 1);
    assert_eq!(ended.story().last().unwrap(), "stream_ended Client 10000 ms 2 turns 2 answers");
}

#[tokio::test(start_paused = true)]
async fn audio_is_acknowledged_at_least_once_a_second() {
    let mut conversation = Setup::hearing(QUESTION).start().await;
    conversation.say(&silence(5_000)).await;
    let ended = conversation.finish().await;
    let acks: Vec<_> = ended
        .events
        .iter()
        .filter_map(|event| match event.message {
            ServerMessage::Ack { next_seq, audio_ms, .. } => Some((next_seq, audio_ms)),
            _ => None,
        })
        .collect();
    assert!(acks.len() >= 5 && acks.is_sorted(), "{acks:?}");
    assert_eq!(acks.last(), Some(&(250, 5_000)));
}
