//! The echo guard: tells whether the candidate's microphone hears the candidate, or the interviewer's loudspeaker.
//!
//! The interviewer's channel is the far end, the candidate's the near end. [`coherence`](self) finds whether the far
//! end is in the near end, and how late; [`path`](self) learns how loud it comes back and judges each frame: *explained* when
//! nothing but the far end is in it. Pure and synchronous, time in frames of 10 ms.
//! Not here: taking the echo out of the audio (speech on top of an echo keeps the echo), what the words say.

mod coherence;
mod path;
mod spectrum;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use self::{
    coherence::Coherence,
    path::{Path, PathEstimator},
    spectrum::{Analyser, Spectrum},
};

/// The two ends of a new guard.
pub fn pair() -> (FarEnd, NearEnd) {
    let shared = Arc::new(Mutex::new(Guard::default()));
    let far = FarEnd { analyser: Analyser::new(), shared: Arc::clone(&shared) };
    (far, NearEnd { analyser: Analyser::new(), shared })
}

/// The interviewer's end.
pub struct FarEnd {
    analyser: Analyser,
    shared: Arc<Mutex<Guard>>,
}

impl FarEnd {
    /// Takes the next 10 ms.
    pub fn hear(&mut self, frame: &[f32]) {
        let spectrum = self.analyser.next(frame);
        lock(&self.shared).far(spectrum);
    }
}

/// The candidate's end.
pub struct NearEnd {
    analyser: Analyser,
    shared: Arc<Mutex<Guard>>,
}

impl NearEnd {
    /// Takes the next 10 ms and their voice-activity score; the score of the candidate's own voice.
    pub fn hear(&mut self, frame: &[f32], score: f32) -> f32 {
        let spectrum = self.analyser.next(frame);
        let explained = lock(&self.shared).near(spectrum, score >= VOICED);
        if explained { 0.0 } else { score }
    }

    /// A turn began `frames` ago.
    pub fn turn_started(&mut self, frames: u64) {
        lock(&self.shared).turn_started(frames);
    }

    /// Whether the turn that ends now was an echo.
    pub fn turn_was_echo(&self) -> bool {
        lock(&self.shared).turn_was_echo()
    }

    /// For measurements.
    pub fn state(&self) -> (f32, f32, Option<usize>) {
        let g = lock(&self.shared);
        let (lag, e, rho) = g.coherence.best();
        (e, rho, g.path.as_ref().map(|p| p.lag).or(Some(lag + 1000)))
    }
}
fn lock(shared: &Mutex<Guard>) -> MutexGuard<'_, Guard> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What both ends know.
#[derive(Default)]
struct Guard {
    far: Ring,
    near: Ring,
    /// Near frames compared so far.
    compared: u64,
    coherence: Coherence,
    estimator: PathEstimator,
    path: Option<Path>,
    turn_start: u64,
    /// Of the open turn, frames that have left the ring unexplained.
    genuine: u64,
}

impl Guard {
    fn far(&mut self, spectrum: Spectrum) {
        self.far.push(spectrum, false);
        self.compare();
    }

    fn near(&mut self, spectrum: Spectrum, voiced: bool) -> bool {
        if let Some(old) = self.near.push(spectrum, voiced)
            && old.voiced
            && !old.explained
            && self.near.end - FRAMES as u64 >= self.turn_start
        {
            self.genuine += 1;
        }
        self.compare();
        self.near.get(self.near.end - 1).is_some_and(|frame| frame.explained)
    }

    fn compare(&mut self) {
        let known = self.far.end.min(self.near.end);
        while self.compared < known {
            let at = self.compared;
            self.compared += 1;
            if !self.coherence.push(&self.far, &self.near, at) {
                self.judge(at, at + 1);
                continue;
            }
            if self.coherence.frames().is_multiple_of(REFRESH)
                && let Some(lag) = self.coherence.lag()
            {
                self.path = self.estimator.estimate(&self.far, &self.near, at + 1, lag, self.path.take());
                self.judge(self.near.oldest(), at + 1);
            } else {
                self.judge(at, at + 1);
            }
        }
    }

    fn judge(&mut self, from: u64, to: u64) {
        if let Some(path) = &mut self.path {
            path.judge(&self.far, &mut self.near, from, to);
        }
    }

    fn turn_started(&mut self, frames: u64) {
        self.turn_start = self.near.end.saturating_sub(frames);
        self.genuine = 0;
    }

    fn turn_was_echo(&self) -> bool {
        let from = self.turn_start.max(self.near.oldest());
        let frames = (from..self.near.end).filter_map(|at| self.near.get(at));
        let (mut genuine, mut explained) = (self.genuine, 0);
        for frame in frames.filter(|frame| frame.voiced) {
            if frame.explained { explained += 1 } else { genuine += 1 }
        }
        explained > 0 && (genuine < GENUINE_FRAMES || genuine * 4 < explained)
    }
}

/// One 10 ms frame of one end, as the guard remembers it.
#[derive(Clone)]
struct Frame {
    spectrum: Spectrum,
    voiced: bool,
    explained: bool,
}

/// The last frames of one end, by their number since the session began.
#[derive(Default)]
struct Ring {
    frames: Vec<Frame>,
    end: u64,
}

impl Ring {
    fn push(&mut self, spectrum: Spectrum, voiced: bool) -> Option<Frame> {
        let frame = Frame { spectrum, voiced, explained: false };
        let at = (self.end % FRAMES as u64) as usize;
        self.end += 1;
        if self.frames.len() <= at {
            self.frames.push(frame);
            return None;
        }
        Some(std::mem::replace(&mut self.frames[at], frame))
    }

    fn oldest(&self) -> u64 {
        self.end.saturating_sub(FRAMES as u64)
    }

    fn get(&self, at: u64) -> Option<&Frame> {
        (at >= self.oldest() && at < self.end).then(|| &self.frames[(at % FRAMES as u64) as usize])
    }

    fn get_mut(&mut self, at: u64) -> Option<&mut Frame> {
        (at >= self.oldest() && at < self.end).then(|| &mut self.frames[(at % FRAMES as u64) as usize])
    }
}

const VOICED: f32 = 0.5;
const FRAMES: usize = 256;
const REFRESH: u64 = 5;
const GENUINE_FRAMES: u64 = 15;
