//! The text of a turn while it is spoken, in virtual time: soon, steady, and whole however long the turn.
//!
//! The transcriber of these tests reads words out of the audio itself, so that what is cut, lost or doubled shows.

#[path = "support/harness.rs"]
#[allow(dead_code, reason = "each test file uses a part of the harness")]
mod harness;

use std::time::Duration;

use harness::*;
use models::speech::{Priority, ScriptedTranscriber, TranscribeRequest, Transcript, Word};
use protocol::{ServerMessage, Transcription};

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// Word `n`, as 300 ms of a tone whose loudness says which it is, and 10 ms of near silence.
fn word(n: usize) -> Vec<u8> {
    let level = 1_000 + 100 * n as i16;
    let tone = (0..4_800).map(|at| if at % 8 < 4 { level } else { -level });
    tone.chain((0..160).map(|at| if at % 8 < 4 { 400 } else { -400 })).flat_map(i16::to_le_bytes).collect()
}

fn words(range: std::ops::Range<usize>) -> Vec<u8> {
    range.flat_map(word).collect()
}

fn name(n: usize) -> String {
    format!("w{n}")
}

/// Reads the words of `request`; one that is there by less than half is missed.
fn read(request: &TranscribeRequest) -> Transcript {
    let mut words: Vec<(usize, usize, usize)> = Vec::new();
    for (at, frame) in request.audio.chunks(160).enumerate() {
        let mean = frame.iter().map(|sample| sample.abs()).sum::<f32>() / frame.len() as f32;
        let level = mean * 32_768.0;
        if level < 900.0 {
            continue;
        }
        let n = ((level - 1_000.0) / 100.0).round() as usize;
        match words.last_mut() {
            Some((last, _, end)) if *last == n => *end = at + 1,
            _ => words.push((n, at, at + 1)),
        }
    }
    words.retain(|(_, start, end)| end - start >= 15);
    let words: Vec<_> = words
        .into_iter()
        .map(|(n, start, end)| Word {
            text: name(n),
            start_ms: start as u32 * 10,
            end_ms: end as u32 * 10,
            confidence: 0.9,
        })
        .collect();
    let text = words.iter().map(|word| word.text.as_str()).collect::<Vec<_>>().join(" ");
    Transcript { text, language: "en".to_owned(), confidence: 0.9, words }
}

fn reader(delay_ms: u64) -> ScriptedTranscriber {
    ScriptedTranscriber::new(move |request| (ms(delay_ms), Ok(read(request))))
}

async fn start(transcriber: ScriptedTranscriber) -> Conversation {
    let mut setup = Setup::with(transcriber);
    setup.defaults.interim_results = true;
    setup.start().await
}

fn transcriptions(ended: &Ended) -> Vec<&Transcription> {
    let messages = ended.events.iter().filter_map(|event| match &event.message {
        ServerMessage::Transcription(text) => Some(text),
        _ => None,
    });
    messages.collect()
}

fn check_steady(ended: &Ended) {
    let mut stable = (0, String::new());
    for text in transcriptions(ended) {
        if stable.0 != text.turn {
            stable = (text.turn, String::new());
        }
        assert!(text.text.starts_with(&stable.1), "{:?} was stable, then came {:?}", stable.1, text.text);
        assert_eq!(text.stable_chars.is_some(), !text.is_final);
        if let Some(chars) = text.stable_chars {
            assert!(chars as usize >= stable.1.len(), "what is stable grows");
            stable.1 = text.text.chars().take(chars as usize).collect();
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_first_words_come_within_a_second_and_settle() {
    let mut conversation = start(reader(200)).await;
    let began = tokio::time::Instant::now();
    let audio = [words(0..12), silence(1_500)].concat();
    for piece in audio.chunks(640) {
        tokio::time::sleep(ms(20)).await;
        conversation.sender.audio(piece.to_vec()).await.unwrap();
        conversation.take_in();
        let came = conversation.events.iter().any(|e| matches!(e.message, ServerMessage::Transcription(_)));
        assert!(came || began.elapsed() < ms(1_000), "no words after {:?}", began.elapsed());
    }
    let ended = conversation.finish().await;
    check_steady(&ended);
    let texts = transcriptions(&ended);
    assert!(texts.len() >= 6, "{}", texts.len());
    let settled = texts.iter().filter_map(|text| text.stable_chars).max();
    assert!(settled >= Some("w0 w1 w2 w3 w4 w5".len() as u64), "{settled:?}");
}

#[tokio::test(start_paused = true)]
async fn pauses_between_words_do_not_keep_text_back() {
    let mut conversation = start(reader(200)).await;
    // A pause every second word, each too short for its guess to come in time.
    let audio: Vec<u8> = (0..12).flat_map(|n| [words(2 * n..2 * n + 2), silence(150)].concat()).collect();
    conversation.say(&[audio, silence(1_500)].concat()).await;
    let ended = conversation.finish().await;
    check_steady(&ended);
    let texts = transcriptions(&ended);
    let interims = texts.iter().filter(|text| !text.is_final).count();
    assert!(interims >= 6, "{interims} interim texts in 9 s");
    assert_eq!(texts.last().unwrap().text, (0..24).map(name).collect::<Vec<_>>().join(" "));
}

async fn long_turn(audio: Vec<u8>, count: usize) -> (Ended, ScriptedTranscriber) {
    let transcriber = reader(100);
    let mut conversation = start(transcriber.clone()).await;
    conversation.say(&[audio, silence(1_500)].concat()).await;
    let ended = conversation.finish().await;
    check_steady(&ended);
    let finals: Vec<_> = transcriptions(&ended).into_iter().filter(|text| text.is_final).cloned().collect();
    let [text] = &finals[..] else { panic!("{:#?}", ended.story()) };
    assert_eq!(text.text, (0..count).map(name).collect::<Vec<_>>().join(" "));
    (ended, transcriber)
}

#[tokio::test(start_paused = true)]
async fn a_long_turn_is_cut_at_its_pauses_and_stitched() {
    // 70 words in 24 s, a pause of 180 ms after each tenth.
    let audio = (0..7).flat_map(|n| [words(10 * n..10 * n + 10), silence(180)].concat()).collect();
    let (ended, transcriber) = long_turn(audio, 70).await;
    let longest = transcriber.requests().iter().map(|request| request.audio.len() / 16).max();
    assert!(longest < Some(13_000), "{longest:?} ms in one request");
    let last = transcriber.requests().pop().unwrap();
    assert_eq!(last.priority, Priority::Speculative);
    assert!(last.before.ends_with("w59") || last.before.ends_with("w49"), "{}", last.before);
    // Times are the session's.
    let texts = transcriptions(&ended);
    let words = texts.last().unwrap().words.as_ref().unwrap();
    for (n, word) in words.iter().enumerate() {
        let expected = n as u64 * 310 + n as u64 / 10 * 180;
        assert!(word.start_ms.abs_diff(expected) <= 20, "{word:?} at {expected}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_long_turn_without_a_pause_is_cut_where_it_is_quiet() {
    // 130 words in 40 s without a pause.
    let mut setup = Setup::with(reader(100));
    setup.defaults.interim_results = true;
    setup.defaults.turns.long_turn_ms = 60_000;
    let transcriber = reader(100);
    setup.transcriber = std::sync::Arc::new(transcriber.clone());
    let mut conversation = setup.start().await;
    conversation.say(&[words(0..130), silence(1_500)].concat()).await;
    let ended = conversation.finish().await;
    check_steady(&ended);
    let texts = transcriptions(&ended);
    assert_eq!(texts.last().unwrap().text, (0..130).map(name).collect::<Vec<_>>().join(" "));
    let longest = transcriber.requests().iter().map(|request| request.audio.len() / 16).max();
    assert!(longest < Some(22_000), "{longest:?} ms in one request");
}

#[tokio::test(start_paused = true)]
async fn a_long_turn_is_cut_the_same_way_at_any_speed_and_however_slow_its_texts() {
    let audio: Vec<u8> = (0..9).flat_map(|n| [words(8 * n..8 * n + 8), silence(170)].concat()).collect();
    let audio = [audio, silence(1_500)].concat();
    for delay in [20, 400, 3_000] {
        let mut seen: Vec<(Vec<String>, Vec<usize>)> = Vec::new();
        for (every_ms, piece) in [(20, 640), (0, 640), (0, 64_000)] {
            let transcriber = reader(delay);
            let mut conversation = Setup::with(transcriber.clone()).start().await;
            for piece in audio.chunks(piece) {
                tokio::time::sleep(ms(every_ms)).await;
                conversation.sender.audio(piece.to_vec()).await.unwrap();
                conversation.take_in();
            }
            let ended = conversation.finish().await;
            let asked = transcriber.requests().iter().map(|request| request.audio.len()).collect();
            seen.push((ended.story(), asked));
        }
        let finals = seen[0].0.iter().filter(|line| line.starts_with("final")).count();
        assert!(finals == 1 && seen[0].0[3].ends_with("w69 w70 w71"), "{:#?}", seen[0].0);
        assert!(seen[0].1.iter().all(|samples| *samples < 16 * 12_500), "{:?}", seen[0].1);
        assert!(seen[1] == seen[0] && seen[2] == seen[0], "{delay} ms: {seen:#?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_part_that_fails_is_asked_for_again_and_then_its_loss_is_told() {
    for (failures, lost) in [(1, 0), (100, 1)] {
        let left = std::sync::atomic::AtomicUsize::new(failures);
        let transcriber = ScriptedTranscriber::new(move |request| {
            let text = read(request);
            // The part with the first word, once the turn is long: only what has the same words fails again.
            let part = text.text.starts_with("w0 ") && request.audio.len() > 16 * 8_000;
            let fails = part
                && left
                    .fetch_update(
                        std::sync::atomic::Ordering::Relaxed,
                        std::sync::atomic::Ordering::Relaxed,
                        |left| left.checked_sub(1),
                    )
                    .is_ok();
            let failed = Err(models::speech::TranscribeError::Failed("cosmic ray".to_owned()));
            (ms(100), if fails { failed } else { Ok(text) })
        });
        let mut conversation = Setup::with(transcriber).start().await;
        let audio = [words(0..30), silence(170), words(30..40), silence(1_500)].concat();
        conversation.say(&audio).await;
        let ended = conversation.finish().await;
        let errors = ended.story().iter().filter(|line| line.starts_with("error 4503")).count();
        assert_eq!(errors, lost, "{:#?}", ended.story());
        let from = if lost > 0 { 30 } else { 0 };
        assert_eq!(ended.finals(), [(1, (from..40).map(name).collect::<Vec<_>>().join(" "))]);
    }
}
