//! How long this speaker pauses inside a turn: the last pauses that were not the end.
//!
//! Not here: what a pause is (the endpointer).

/// The last pauses of one speaker.
#[derive(Debug, Default)]
pub(super) struct Rhythm {
    /// In milliseconds; a ring once it is full.
    pauses: [u32; KEPT],
    seen: usize,
}

impl Rhythm {
    /// The speaker paused for `ms` and went on.
    pub(super) fn paused(&mut self, ms: u32) {
        self.pauses[self.seen % KEPT] = ms;
        self.seen += 1;
    }

    /// The silence after a whole sentence that is probably no pause of this speaker's, in milliseconds.
    pub(super) fn silence_ms(&self) -> u32 {
        let known = self.seen.min(KEPT);
        if known < ENOUGH {
            return UNKNOWN_MS;
        }
        let mut pauses = self.pauses;
        let pauses = &mut pauses[..known];
        pauses.sort_unstable();
        // A ninth of ten, and a fifth more.
        (pauses[(known * 9 / 10).min(known - 1)] * 6 / 5).clamp(LEAST_MS, MOST_MS)
    }
}

const KEPT: usize = 32;
/// Fewer pauses say little about their speaker.
const ENOUGH: usize = 6;
/// Before the speaker is known. With it 15 turns of the labelled recordings end too early, as many as by 500 to 1,000 ms of
/// silence whatever the words (`benches/turns.rs`, November 2026).
const UNKNOWN_MS: u32 = 320;
const LEAST_MS: u32 = 280;
const MOST_MS: u32 = 800;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slow_speaker_is_given_more_time() {
        let check = |pauses: &[u32], expected| {
            let mut rhythm = Rhythm::default();
            pauses.iter().for_each(|ms| rhythm.paused(*ms));
            assert_eq!(rhythm.silence_ms(), expected, "{pauses:?}");
        };
        check(&[], 320);
        check(&[900; 5], 320);
        check(&[90; 6], 280);
        check(&[400, 100, 100, 500, 100, 450, 100, 100, 100, 100], 600);
        check(&[1_100; 6], 800);
        // Only the last count.
        check(&[[1_000; 40], [300; 40]].concat(), 360);
    }
}
