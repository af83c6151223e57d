//! Passes over a turn and the texts they give: steady, whole, with nothing twice.

use proptest::prelude::*;

use super::*;

const fn at(ms: u64) -> SampleIndex {
    SampleIndex::from_ms(ms)
}

fn words(text: &str, start_ms: u32) -> Vec<Word> {
    let words = text.split_whitespace().zip(0u32..).map(|(word, n)| Word {
        text: word.to_owned(),
        start_ms: start_ms + n * 500,
        end_ms: start_ms + n * 500 + 400,
        confidence: 0.8,
    });
    words.collect()
}

/// A pass from `start` to `heard` that says `text`, two words a second.
fn pass(start: u64, heard: u64, text: &str) -> Pass {
    let words = words(text, 0);
    let transcript = Transcript { text: text.to_owned(), language: "en".to_owned(), confidence: 0.9, words };
    Pass { start: at(start), heard: at(heard), transcript }
}

fn utterance(heard: u64) -> Utterance {
    let audio = Arc::from(vec![0.0; (heard * 16) as usize]);
    Utterance { audio_start: at(0), speech_start: at(0), speech_end: at(heard), heard: at(heard), audio }
}

fn stable(text: &Text) -> &str {
    let end = text.text.char_indices().nth(text.stable_chars as usize).map_or(text.text.len(), |(at, _)| at);
    &text.text[..end]
}

#[test]
fn what_two_passes_agree_on_is_settled_and_stays() {
    let mut draft = Draft::default();
    let mut check = |heard, said: &str, text: &str, settled: &str| {
        let read = draft.read(&pass(0, heard, said));
        assert_eq!((&*read.text, stable(&read)), (text, settled), "{said:?}");
    };
    check(1_100, "how would", "how would", "");
    check(1_600, "How would you", "How would you", "How");
    // The last word of a pass, and all near the end of its audio, may change.
    check(2_100, "How would you test", "How would you test", "How would");
    // A pass that changes its mind about settled words is not followed.
    check(2_600, "Now wood you taste this", "How would you taste this", "How would you");
    check(3_100, "How would you test this thing", "How would you test this thing", "How would you");
    let text = draft.finish(Some(&pass(0, 4_000, "Now would you test this thing?")));
    assert_eq!(text.text, "How would you test this thing?");
}

#[test]
fn words_near_the_end_of_the_audio_are_not_settled() {
    let mut draft = Draft::default();
    draft.read(&pass(0, 1_700, "one two three four"));
    // The third word ends 300 ms before the end.
    assert_eq!(stable(&draft.read(&pass(0, 1_700, "one two three four"))), "one two");
    assert_eq!(stable(&draft.read(&pass(0, 1_900, "one two three four"))), "one two");
    // Both passes must have heard enough.
    assert_eq!(stable(&draft.read(&pass(0, 2_400, "one two three four"))), "one two three");
}

#[test]
fn a_final_that_begins_as_settled_is_the_guess_itself() {
    let mut draft = Draft::default();
    draft.read(&pass(0, 2_000, "how would you test"));
    draft.read(&pass(0, 2_500, "how would you test this"));
    let guess = pass(0, 3_000, "how would you test this?");
    let text = draft.finish(Some(&guess));
    assert_eq!((text.text, text.confidence), (guess.transcript.text, 0.9));
    assert_eq!(text.words[1].start_ms, 500);
}

#[test]
fn settled_words_are_told_to_the_next_request() {
    let mut draft = Draft::default();
    draft.read(&pass(1_000, 4_000, "one two three four"));
    draft.read(&pass(1_000, 4_500, "one two three four"));
    let turn = Utterance { audio_start: at(1_000), audio: Arc::from([0.0; 16_000]), ..utterance(2_000) };
    let ask = draft.ask(&turn);
    assert_eq!(ask.settled[..], words("one two three", 0)[..]);
    assert_eq!((ask.start, ask.audio.len(), &*ask.before), (at(1_000), 16_000, ""));
}

#[test]
fn a_long_turn_is_cut_at_a_pause_and_stitched() {
    let mut draft = Draft::default();
    assert_eq!(draft.cut_in_pause(at(0), at(7_000), at(7_080)), None);
    assert_eq!(draft.cut_in_pause(at(0), at(9_000), at(9_080)), Some(at(9_040)));
    let settled = draft.cut(at(9_040));
    assert_eq!(draft.cut_in_pause(at(0), at(9_500), at(9_580)), None, "of a pass that began before the cut");
    draft.fill(settled, Some(&pass(0, 9_080, "I led the team that moved it all. Then the rest.")));
    let ask = draft.ask(&utterance(11_000));
    assert_eq!((ask.start, ask.audio.len()), (at(9_040), 1_960 * 16));
    assert_eq!(&*ask.before, "I led the team that moved it all. Then the rest.");
    let read = draft.read(&pass(9_040, 11_000, "of the"));
    assert_eq!(read.text, "I led the team that moved it all. Then the rest of the");
    assert_eq!(stable(&read), "I led the team that moved it all. Then the rest");
    let text = draft.finish(Some(&pass(9_040, 12_000, "of the data too.")));
    assert_eq!(text.text, "I led the team that moved it all. Then the rest of the data too.");
    assert_eq!(text.words[11].start_ms, 9_040);
    assert!((text.confidence - 0.8).abs() < 1e-3, "{}", text.confidence);
}

#[test]
fn a_cut_keeps_what_was_settled_on_both_sides() {
    let mut draft = Draft::default();
    let said: Vec<_> = (0..24).map(|n| format!("word{n}")).collect();
    draft.read(&pass(0, 11_500, &said[..23].join(" ")));
    draft.read(&pass(0, 12_000, &said.join(" ")));
    let settled = draft.cut(at(9_000));
    assert_eq!((settled.len(), draft.ask(&utterance(12_000)).settled.len()), (18, 4));
    // The pass before the cut failed: its settled words stand.
    draft.fill(settled, None);
    assert_eq!(draft.finish(Some(&pass(9_000, 12_000, &said[18..].join(" ")))).text, said.join(" "));
}

#[test]
fn a_turn_without_a_pause_is_cut_where_it_is_quietest() {
    let said: Vec<_> = (0..44).map(|n| format!("word{n}")).collect();
    let mut draft = Draft::default();
    draft.read(&pass(0, 20_000, &said[..40].join(" ")));
    draft.read(&pass(0, 20_600, &said[..41].join(" ")));
    let mut turn = utterance(20_600);
    // Between word 19 and word 20, and more quietly still in the middle of word 30.
    let loud = |n: usize| if (9_900 * 16..9_980 * 16).contains(&n) { 0.01 } else { 0.5 };
    turn.audio = (0..turn.audio.len()).map(loud).collect();
    draft.commit(&turn);
    let ask = draft.ask(&turn);
    assert!((9_930..=9_950).contains(&ask.start.as_ms()), "{:?}", ask.start);
    assert!(ask.before.ends_with("word19"), "{}", ask.before);
    assert_eq!(ask.settled[0].text, "word20");
    let rest = Pass { start: ask.start, ..pass(0, 22_000, &said[20..].join(" ")) };
    assert_eq!(draft.finish(Some(&rest)).text, said.join(" "));
}

#[test]
fn a_pass_that_failed_leaves_what_was_settled() {
    let mut draft = Draft::default();
    assert_eq!(Draft::default().finish(None), Text::default());
    draft.read(&pass(0, 2_000, "one two three four"));
    draft.read(&pass(0, 2_500, "one two three four"));
    assert_eq!(draft.finish(None).text, "one two three");
}

/// What was said from `from` on, word by word, two a second; of a word that is cut nothing is heard.
fn heard(said: &[String], from: u64, to: u64) -> Pass {
    let first = from.saturating_sub(100).div_ceil(500) as usize;
    let last = (to / 500).min(said.len() as u64) as usize;
    let text = said.get(first..last).unwrap_or_default().join(" ");
    let offset = (first as u64 * 500).saturating_sub(from) as u32;
    let mut pass = pass(from, to, &text);
    pass.transcript.words = words(&text, offset);
    pass
}

proptest! {
    /// However passes and pauses come, the final is what was said, and no text takes settled words back.
    #[test]
    fn stitching_loses_nothing_and_doubles_nothing(
        said in prop::collection::vec("[a-d]{1,2}", 4..120),
        steps in prop::collection::vec((300u64..3_000, any::<bool>()), 0..60),
        slips in prop::collection::vec(any::<bool>(), 60),
    ) {
        let end = said.len() as u64 * 500;
        let mut draft = Draft::default();
        let (mut now, mut settled, mut cuts) = (0, String::new(), 0);
        for ((step, pause), slip) in steps.into_iter().zip(slips) {
            now += step;
            if now >= end { break }
            // A pause falls between two words.
            if pause { now = now / 500 * 500 }
            let turn = utterance(now);
            let mut pass = heard(&said, draft.ask(&turn).start.as_ms(), now);
            if slip && let Some(last) = pass.transcript.words.last_mut() {
                last.text = "slip".to_owned();
                pass.transcript.text = join(&timed(&pass));
            }
            let cut = draft.cut_in_pause(pass.start, at(now.saturating_sub(80)), at(now + 80));
            if pause && !slip && let Some(cut) = cut {
                let settled = draft.cut(cut);
                draft.fill(settled, Some(&pass));
                cuts += 1;
            } else {
                let read = draft.read(&pass);
                prop_assert!(read.text.starts_with(&settled), "{:?} after {settled:?}", read.text);
                settled = stable(&read).to_owned();
            }
            draft.commit(&turn);
        }
        let last = heard(&said, draft.ask(&utterance(end)).start.as_ms(), end);
        let text = draft.finish(Some(&last));
        prop_assert_eq!(&text.text, &said.join(" "));
        prop_assert!(text.text.starts_with(&settled));
        prop_assert!(cuts <= end / 8_000);
        prop_assert!(text.words.is_sorted_by_key(|word| word.start_ms));
    }
}
