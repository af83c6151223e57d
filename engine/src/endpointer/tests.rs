//! The endpointer on scripts of scores: exact boundaries, and what holds for all of them.

use proptest::prelude::*;

use super::*;

/// Runs `(frames, score)` pairs; boundaries come with the millisecond at which they were known.
fn run(config: EndpointerConfig, script: &[(usize, f32)]) -> Vec<(u64, Boundary)> {
    let mut endpointer = Endpointer::new(config);
    let scores = script.iter().flat_map(|(frames, score)| std::iter::repeat_n(*score, *frames));
    let mut at = SampleIndex::default();
    let mut boundaries = Vec::new();
    for score in scores {
        let boundary = endpointer.push(at, score);
        at = at + FRAME_SAMPLES as u64;
        boundaries.extend(boundary.map(|boundary| (at.as_ms(), boundary)));
    }
    boundaries
}

/// As [`run`], each pause answered by the next of `hints`: as soon as it comes, or when the endpointer waits for it.
fn hinted(
    config: EndpointerConfig,
    script: &[(usize, f32)],
    hints: &[Option<usize>],
) -> Vec<(u64, Boundary)> {
    const ENDS: [TurnEnd; 4] = [TurnEnd::Finished, TurnEnd::Open, TurnEnd::Unfinished, TurnEnd::Unknown];
    let mut endpointer = Endpointer::new(config);
    let mut hints = hints.iter().cycle();
    let mut next = hints.next().copied().flatten();
    let scores = script.iter().flat_map(|(frames, score)| std::iter::repeat_n(*score, *frames));
    let (mut at, mut pause) = (SampleIndex::default(), SampleIndex::default());
    let mut boundaries = Vec::new();
    for score in scores {
        let boundary = endpointer.push(at, score);
        at = at + FRAME_SAMPLES as u64;
        boundaries.extend(boundary.map(|boundary| (at.as_ms(), boundary)));
        let paused = matches!(boundary, Some(Boundary::Paused(_)));
        if let Some(Boundary::Paused(end)) = boundary {
            pause = end;
        }
        let hint = match next {
            Some(hint) if paused => Some(ENDS[hint]),
            _ if endpointer.is_waiting() => Some(ENDS[next.unwrap_or(3)]),
            _ => None,
        };
        if let Some(hint) = hint {
            let boundary = endpointer.hint(pause, hint);
            boundaries.extend(boundary.map(|boundary| (at.as_ms(), boundary)));
            assert!(!endpointer.is_waiting(), "one hint is enough for a pause");
            next = hints.next().copied().flatten();
        }
    }
    boundaries
}

fn check(script: &[(usize, f32)], expected: &[(u64, Boundary)]) {
    let config = EndpointerConfig { growing_ms: 1_000, ..EndpointerConfig::default() };
    assert_eq!(run(config, script), expected, "{script:?}");
}

const fn ms(ms: u64) -> SampleIndex {
    SampleIndex::from_ms(ms)
}

#[test]
fn turns() {
    use Boundary::{Ended, Growing, Paused, Resumed, Started};
    // Silence, a click, a whole turn.
    check(&[(500, 0.0)], &[]);
    check(&[(10, 0.0), (7, 1.0), (100, 0.0)], &[]);
    // The last voiced frame plus the two-frame tail of the 3-of-5 rule.
    check(
        &[(10, 0.0), (200, 1.0), (100, 0.0)],
        &[(180, Started(ms(100))), (1_200, Growing), (2_200, Paused(ms(2_120))), (2_620, Ended(ms(2_120)))],
    );
    // Little said: a longer wait.
    check(&[(30, 1.0), (100, 0.0)], &[(80, Started(ms(0))), (400, Paused(ms(320))), (1_120, Ended(ms(320)))]);
    // A pause inside a turn, with a lone noisy frame that is not speech.
    check(
        &[(150, 1.0), (25, 0.0), (1, 1.0), (10, 0.0), (50, 1.0), (80, 0.0)],
        &[
            (80, Started(ms(0))),
            (1_100, Growing),
            (1_600, Paused(ms(1_520))),
            (1_890, Resumed),
            (2_100, Growing),
            (2_460, Paused(ms(2_380))),
            (2_880, Ended(ms(2_380))),
        ],
    );
}

#[test]
fn a_turn_is_never_longer_than_its_bound() {
    let config = EndpointerConfig { max_turn_ms: 2_000, growing_ms: 10_000, ..EndpointerConfig::default() };
    let boundaries = run(config, &[(450, 1.0)]);
    let ended: Vec<_> = boundaries.iter().filter(|(_, b)| matches!(b, Boundary::Ended(_))).collect();
    assert_eq!(ended, [&(2_000, Boundary::Ended(ms(2_000))), &(4_000, Boundary::Ended(ms(4_000)))]);
}

#[test]
fn a_long_turn_ends_at_its_first_pause() {
    let config = EndpointerConfig { long_turn_ms: 2_000, growing_ms: 90_000, ..EndpointerConfig::default() };
    let boundaries = run(config, &[(250, 1.0), (30, 0.0)]);
    assert_eq!(boundaries.last(), Some(&(2_770, Boundary::Ended(ms(2_520)))));
}

#[test]
fn the_words_decide_how_much_silence_is_needed() {
    let check = |hint: TurnEnd, soon: bool, expected: u64| {
        let config = EndpointerConfig { hints: true, ..EndpointerConfig::default() };
        let mut endpointer = Endpointer::new(config);
        assert_eq!(endpointer.hint(ms(0), hint), None, "there is no pause to speak of");
        let (mut ended, mut waited) = (None, false);
        for frame in 0..400u64 {
            let start = SampleIndex(frame * FRAME_SAMPLES as u64);
            let mut boundary = endpointer.push(start, if frame < 200 { 1.0 } else { 0.0 });
            let paused = matches!(boundary, Some(Boundary::Paused(_)));
            waited |= endpointer.is_waiting();
            if paused && soon || endpointer.is_waiting() {
                assert_eq!(endpointer.hint(ms(1), hint), None, "of another pause");
                boundary = endpointer.hint(ms(2_020), hint);
            }
            if let Some(Boundary::Ended(end)) = boundary {
                ended = Some((start + FRAME_SAMPLES as u64) - end);
            }
        }
        assert_eq!((ended, waited), (Some(ms(expected).0), !soon), "{hint:?}");
    };
    for soon in [true, false] {
        check(TurnEnd::Finished, soon, 250);
        check(TurnEnd::Open, soon, 320);
        check(TurnEnd::Unfinished, soon, 800);
        check(TurnEnd::Unknown, soon, 500);
    }
}

#[test]
fn finalize_ends_a_turn_once() {
    let mut endpointer = Endpointer::new(EndpointerConfig::default());
    assert_eq!(endpointer.end_now(), None);
    for frame in 0..20 {
        endpointer.push(SampleIndex(frame * FRAME_SAMPLES as u64), 1.0);
    }
    assert_eq!(endpointer.end_now(), Some(Boundary::Ended(ms(200))));
    assert_eq!(endpointer.end_now(), None);
}

/// Whoever asks for words from now on asked for none before this pause.
#[test]
fn a_pause_that_began_without_words_is_not_waited_for() {
    let silent = EndpointerConfig { hints: false, ..EndpointerConfig::default() };
    let mut endpointer = Endpointer::new(silent);
    let mut at = SampleIndex::default();
    let mut push = |endpointer: &mut Endpointer, score| {
        let boundary = endpointer.push(at, score);
        at = at + FRAME_SAMPLES as u64;
        boundary
    };
    for _ in 0..200 {
        push(&mut endpointer, 1.0);
    }
    while !matches!(push(&mut endpointer, 0.0), Some(Boundary::Paused(_))) {}
    endpointer.set_config(EndpointerConfig { hints: true, ..silent });
    let ended = (0..200).find_map(|_| {
        assert!(!endpointer.is_waiting(), "for words that nobody was asked for");
        push(&mut endpointer, 0.0).filter(|boundary| matches!(boundary, Boundary::Ended(_)))
    });
    assert!(ended.is_some());
}

proptest! {
    #[test]
    fn nothing_ends_that_has_not_begun(
        scores in prop::collection::vec((0usize..120, any::<bool>()), 0..40),
        hints in prop::collection::vec(prop::option::of(0usize..4), 1..8),
        (min, more) in (10u32..60, 0u32..100),
        long in any::<bool>(),
    ) {
        let script: Vec<_> = scores.iter().map(|(n, speech)| (*n, f32::from(u8::from(*speech)))).collect();
        let (mut open, mut paused, mut last_end) = (false, false, ms(0));
        let config = EndpointerConfig {
            min_silence_ms: min * 10,
            max_silence_ms: (min + more) * 10,
            pause_ms: 80.min(min * 5),
            long_turn_ms: if long { 1_000 } else { 1_000_000 },
            max_turn_ms: 1_000_000,
            hints: true,
            ..EndpointerConfig::default()
        };
        for (at, boundary) in hinted(config, &script, &hints) {
            match boundary {
                Boundary::Started(start) => {
                    prop_assert!(!open && start >= last_end && start <= ms(at));
                    open = true;
                }
                Boundary::Growing => prop_assert!(open && !paused),
                Boundary::Paused(end) => {
                    prop_assert!(open && !paused && end <= ms(at));
                    paused = true;
                }
                Boundary::Resumed => prop_assert!(open && std::mem::take(&mut paused)),
                Boundary::Ended(end) => {
                    prop_assert!(std::mem::take(&mut open) && end <= ms(at));
                    let silence = SampleIndex(ms(at) - end).as_ms() as u32;
                    prop_assert!((config.min_silence_ms..=config.max_silence_ms).contains(&silence), "{silence}");
                    paused = false;
                    last_end = end;
                }
            }
        }
    }
}
