//! The last two and a half seconds of one end, frame by frame. Not here: what they mean.

use super::spectrum::Spectrum;

/// 10 ms of one end.
#[derive(Clone)]
pub(super) struct Frame {
    pub(super) spectrum: Spectrum,
    /// The detector hears speech.
    pub(super) voiced: bool,
    /// There is an echo in it and nothing else.
    pub(super) explained: bool,
}

/// The newest frames of one end, by their number since the start of the session.
#[derive(Default)]
pub(super) struct Recent {
    frames: Vec<Frame>,
    end: u64,
}

impl Recent {
    /// Appends a frame; gives back the one it displaces.
    pub(super) fn push(&mut self, spectrum: Spectrum, voiced: bool) -> Option<Frame> {
        let frame = Frame { spectrum, voiced, explained: false };
        let slot = slot(self.end);
        self.end += 1;
        if slot == self.frames.len() {
            self.frames.push(frame);
            return None;
        }
        Some(std::mem::replace(&mut self.frames[slot], frame))
    }

    /// Number of the next frame.
    pub(super) fn end(&self) -> u64 {
        self.end
    }

    /// Number of the oldest frame kept.
    pub(super) fn oldest(&self) -> u64 {
        self.end.saturating_sub(KEPT_FRAMES)
    }

    /// Frame `at`, while it is kept.
    pub(super) fn get(&self, at: u64) -> Option<&Frame> {
        (self.oldest()..self.end).contains(&at).then(|| &self.frames[slot(at)])
    }

    /// As [`get`](Self::get).
    pub(super) fn get_mut(&mut self, at: u64) -> Option<&mut Frame> {
        (self.oldest()..self.end).contains(&at).then(|| &mut self.frames[slot(at)])
    }
}

fn slot(at: u64) -> usize {
    (at % KEPT_FRAMES) as usize
}

/// 2.56 s: the longest delay, two seconds by which one end may be ahead, and what is judged again once a path is known.
pub(super) const KEPT_FRAMES: u64 = 256;
