//! Cuts audio that is too long for one pass, where it is quietest.
//!
//! Pure. Not here: turning pieces into words; finding turns (the engine's endpointer).

use std::ops::Range;

/// Consecutive ranges of at most [`LONGEST`] samples that together cover `audio` (16 kHz) exactly, in order. Each but
/// the last is at least [`SHORTEST`] long and ends in the middle of the quietest 200 ms to be found there.
pub(super) fn pieces(audio: &[f32]) -> Vec<Range<usize>> {
    let mut pieces = Vec::new();
    let mut start = 0;
    while audio.len() - start > LONGEST {
        let end = start + SHORTEST + quietest(&audio[start + SHORTEST..start + LONGEST]);
        pieces.push(start..end);
        start = end;
    }
    pieces.push(start..audio.len());
    pieces
}

/// The middle of the quietest window of `audio`; the last of equals, which makes the fewest pieces.
fn quietest(audio: &[f32]) -> usize {
    let energy =
        |start: usize| audio[start..start + WINDOW].iter().map(|sample| sample * sample).sum::<f32>();
    (0..=audio.len() - WINDOW)
        .step_by(HOP)
        .map(|start| (energy(start), start))
        .reduce(|best, next| if next.0 <= best.0 { next } else { best })
        .map_or(audio.len(), |(_, start)| start + WINDOW / 2)
}

/// 28 s: Whisper's window is 30 s, and its last timestamps are poor when it is full.
const LONGEST: usize = 28 * 16_000;
/// 16 s: late enough to leave few pieces, early enough to find a pause.
const SHORTEST: usize = 16 * 16_000;
const WINDOW: usize = 16_000 / 5;
const HOP: usize = 16_000 / 50;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_audio_stays_whole() {
        for length in [0, 1, LONGEST - 1, LONGEST] {
            assert_eq!(pieces(&vec![0.5; length]), vec![0..length]);
        }
    }

    #[test]
    fn cuts_in_the_pauses() {
        let mut audio = vec![0.5; 70 * 16_000];
        for pause in [20.0, 41.5] {
            let start = (pause * 16_000.0) as usize;
            audio[start..start + 8_000].fill(0.01);
        }
        let pieces = pieces(&audio);
        assert_eq!(pieces.len(), 4);
        for (piece, pause) in pieces.iter().zip([20.0..20.5, 41.5..42.0]) {
            assert!(pause.contains(&(piece.end as f64 / 16_000.0)), "{piece:?}");
        }
    }

    proptest::proptest! {
        #![proptest_config(proptest::prelude::ProptestConfig::with_cases(32))]
        #[test]
        fn covers_everything_once(seconds in 0.0f32..120.0, seed in 1u32..) {
            let mut state = seed;
            let audio: Vec<f32> = (0..(seconds * 16_000.0) as usize)
                .map(|_| {
                    state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    (state >> 16) as f32 / 65_536.0 - 0.5
                })
                .collect();
            let pieces = pieces(&audio);
            let mut next = 0;
            for piece in &pieces {
                proptest::prop_assert_eq!(piece.start, next);
                proptest::prop_assert!(piece.len() <= LONGEST);
                next = piece.end;
            }
            proptest::prop_assert_eq!(next, audio.len());
            for piece in &pieces[..pieces.len() - 1] {
                proptest::prop_assert!(piece.len() >= SHORTEST);
            }
        }
    }
}
