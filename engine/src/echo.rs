//! The echo guard: does the candidate's microphone hear the candidate, or the interviewer's loudspeaker?
//!
//! The interviewer's channel is the far end, the candidate's the near end. `coherence` finds whether the far end is in
//! the near end, and how much later; `path` learns how loud it is there and judges each 10 ms: *explained* when there
//! is nothing else. Pure and synchronous, time in samples. Why so: `docs/adr/0006-echo-guard.md`.
//! Not here: taking an echo out of speech on top of it (that stays a mixture), what the words say, turns.

mod coherence;
mod path;
mod recent;
mod spectrum;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use codecs::{FRAME_SAMPLES, SampleIndex};

use self::{
    coherence::Coherence,
    path::Path,
    recent::{KEPT_FRAMES, Recent},
    spectrum::Analyser,
};

/// Both ends of a new guard. They may hear at different times: what was heard of both is compared, as long as one is
/// not more than two seconds ahead of the other. A pair holds at most 260 KiB, and 20 KiB before anything is heard.
pub fn pair() -> (FarEnd, NearEnd) {
    let guard = Arc::new(Mutex::new(Guard::default()));
    (
        FarEnd { analyser: Analyser::new(), guard: Arc::clone(&guard) },
        NearEnd { analyser: Analyser::new(), guard },
    )
}

/// Either end, for an ear to hold.
pub enum End {
    /// The ear hears the interviewer.
    Far(FarEnd),
    /// The ear hears the candidate, and perhaps the interviewer again.
    Near(NearEnd),
}

/// The interviewer's end.
pub struct FarEnd {
    analyser: Analyser,
    guard: Arc<Mutex<Guard>>,
}

impl FarEnd {
    /// Takes the next frame: 160 samples of 16 kHz mono. Allocates for the first two and a half seconds only.
    pub fn hear(&mut self, frame: &[f32]) {
        let spectrum = self.analyser.spectrum(frame);
        let mut guard = lock(&self.guard);
        guard.far.push(spectrum, false);
        guard.compare();
    }
}

/// The candidate's end.
pub struct NearEnd {
    analyser: Analyser,
    guard: Arc<Mutex<Guard>>,
}

impl NearEnd {
    /// Takes the next frame, as [`FarEnd::hear`], and its voice-activity score. True when the frame is explained: it
    /// holds an echo and nothing else.
    pub fn hear(&mut self, frame: &[f32], score: f32) -> bool {
        let spectrum = self.analyser.spectrum(frame);
        lock(&self.guard).hear_near(spectrum, score >= VOICED)
    }

    /// A turn has begun, with first speech at `start`, which is not more than half a second ago.
    pub fn start_turn(&mut self, start: SampleIndex) {
        let mut guard = lock(&self.guard);
        guard.turn = Turn { start: start.0 / FRAME_SAMPLES as u64, ..Turn::default() };
    }

    /// Whether the turn since [`start_turn`](Self::start_turn) is an echo so far. Frames that were not explained when
    /// they came count as what they turned out to be later.
    pub fn turn_is_echo(&self) -> bool {
        lock(&self.guard).turn_is_echo()
    }

    /// Whether enough was suppressed to tell the user; true once.
    pub fn take_notice(&mut self) -> bool {
        let mut guard = lock(&self.guard);
        let due = guard.suppressed >= NOTICE_FRAMES && !guard.noticed;
        guard.noticed |= due;
        due
    }

    /// How much later than the interviewer's channel the echo comes, to within 10 ms; `None` while none is known.
    pub fn delay_ms(&self) -> Option<u64> {
        lock(&self.guard)
            .path
            .as_ref()
            .map(|path| path.lag() * FRAME_SAMPLES as u64)
            .map(|n| SampleIndex(n).as_ms())
    }
}

fn lock(guard: &Mutex<Guard>) -> MutexGuard<'_, Guard> {
    // A panic of the other end leaves numbers behind, no broken promise.
    guard.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What both ends know together. Frames are numbered from the start of the session.
#[derive(Default)]
struct Guard {
    far: Recent,
    near: Recent,
    coherence: Coherence,
    path: Option<Path>,
    /// Near frames compared with the far end.
    compared: u64,
    /// Near frames judged.
    judged: u64,
    turn: Turn,
    /// Speech frames of the near end that were explained when they came.
    suppressed: u32,
    noticed: bool,
}

/// The near end's turn.
#[derive(Default)]
struct Turn {
    start: u64,
    /// Its speech frames that were not explained and are too old to be judged again.
    genuine: u64,
}

impl Guard {
    fn hear_near(&mut self, spectrum: spectrum::Spectrum, voiced: bool) -> bool {
        let at = self.near.end();
        let forgotten = self.near.push(spectrum, voiced).filter(|frame| frame.voiced && !frame.explained);
        if forgotten.is_some() && at >= self.turn.start + KEPT_FRAMES {
            self.turn.genuine += 1;
        }
        self.compare();
        let explained = self.near.get(at).is_some_and(|frame| frame.explained);
        self.suppressed += u32::from(explained && voiced);
        explained
    }

    /// Takes in what both ends have heard since the last time.
    fn compare(&mut self) {
        let both = self.far.end().min(self.near.end());
        let mut learnt = false;
        for at in self.compared.max(self.near.oldest())..both {
            // Spectra overlap by two thirds: every second one tells as much.
            if at % 2 == 0 && self.coherence.push(&self.far, &self.near, at) {
                learnt |= self.coherence.frames().is_multiple_of(LEARNING_FRAMES);
            }
        }
        self.compared = both;
        if learnt
            && let Some(found) = self.coherence.found()
            && Path::learn(&mut self.path, &self.far, &self.near, both, found)
        {
            // What may be judged again: the far end of that time must still be known.
            self.judged = self.near.oldest().max(self.far.oldest() + found.lag);
        }
        if let Some(path) = &mut self.path {
            let known = self.near.end().min(self.far.end() + path.lag());
            path.judge(&self.far, &mut self.near, self.judged, known);
            self.judged = known.max(self.judged);
        }
    }

    fn turn_is_echo(&self) -> bool {
        let from = self.turn.start.max(self.near.oldest());
        let frames = (from..self.near.end()).filter_map(|at| self.near.get(at));
        let (mut genuine, mut explained) = (self.turn.genuine, 0);
        for frame in frames.filter(|frame| frame.voiced) {
            *(if frame.explained { &mut explained } else { &mut genuine }) += 1;
        }
        explained > 0 && (genuine < GENUINE_FRAMES || GENUINE_SHARE * genuine < explained)
    }
}

/// The score from which a frame is speech: the endpointer's default.
const VOICED: f32 = 0.5;
/// Frames compared between two looks at the path: 100 ms.
const LEARNING_FRAMES: u64 = 5;
/// With fewer speech frames that are not explained, a turn with explained ones is an echo: the shortest words are longer, with
/// the detector's hang-over.
const GENUINE_FRAMES: u64 = 15;
/// So is a turn with four times as many explained as other speech frames: the detector's or the judgement's slips.
const GENUINE_SHARE: u64 = 4;
/// Half a second of suppressed speech is worth a word to the user.
const NOTICE_FRAMES: u32 = 50;
