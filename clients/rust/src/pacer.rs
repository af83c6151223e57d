//! When audio should leave, so that a file arrives like a live microphone.
//!
//! Not here: cutting the file, sending.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};

/// Sends audio at its own pace, or a multiple of it.
///
/// The schedule is absolute: a wait that ends late does not shift the next, so there is no drift.
#[derive(Clone, Debug)]
pub struct Pacer {
    speed: f64,
    started: Option<Instant>,
}

/// A speed that is no number of 0 or more.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
#[error(
    "speed {0} makes no sense: 1 is real time, 50 is fifty times faster, 0 is as fast as the server reads"
)]
pub struct InvalidSpeed(f64);

impl Pacer {
    /// `speed` times real time; 0 is as fast as the server reads.
    ///
    /// # Errors
    /// `speed` is negative, infinite or not a number.
    pub fn new(speed: f64) -> Result<Self, InvalidSpeed> {
        if speed.is_finite() && speed >= 0.0 {
            Ok(Self { speed, started: None })
        } else {
            Err(InvalidSpeed(speed))
        }
    }

    /// Waits until audio that lies `audio_time` after the start of the file may leave. The first call starts the schedule.
    ///
    /// To send as a microphone does, wait for the *end* of a chunk: nothing leaves before it has been said.
    /// Cancel-safe: call it again.
    pub async fn wait(&mut self, audio_time: Duration) {
        if let Some(due) = self.due(audio_time) {
            sleep_until(due).await;
        }
    }

    /// The instant of `audio_time`; `None` when there is nothing to wait for. The first call starts the schedule.
    pub fn due(&mut self, audio_time: Duration) -> Option<Instant> {
        let started = *self.started.get_or_insert_with(Instant::now);
        if self.speed == 0.0 {
            return None;
        }
        // Too far off to be counted is as good as never.
        let after = Duration::try_from_secs_f64(audio_time.as_secs_f64() / self.speed).unwrap_or(NEVER);
        Some(started + after.min(NEVER))
    }

    /// When the schedule started: the first [`wait`](Self::wait) or [`due`](Self::due).
    pub fn started(&self) -> Option<Instant> {
        self.started
    }
}

/// Thirty years, as tokio itself counts "far in the future".
const NEVER: Duration = Duration::from_secs(30 * 365 * 86_400);

#[cfg(test)]
mod tests {
    use super::*;

    const CHUNK: Duration = Duration::from_millis(20);

    #[tokio::test(start_paused = true)]
    async fn waits_for_the_instant_of_the_audio() {
        async fn check(speed: f64, audio_ms: u64, expected_ms: u64) {
            let mut pacer = Pacer::new(speed).unwrap();
            pacer.wait(Duration::ZERO).await;
            let start = Instant::now();
            pacer.wait(Duration::from_millis(audio_ms)).await;
            assert_eq!(start.elapsed(), Duration::from_millis(expected_ms), "{audio_ms} ms at {speed}");
        }
        check(1.0, 0, 0).await;
        check(1.0, 20, 20).await;
        check(1.0, 3_600_000, 3_600_000).await;
        check(50.0, 5_000, 100).await;
        check(0.5, 1_000, 2_000).await;
        check(0.0, 3_600_000, 0).await;
    }

    #[tokio::test(start_paused = true)]
    async fn does_not_drift_when_sending_takes_time() {
        let mut pacer = Pacer::new(1.0).unwrap();
        pacer.wait(Duration::ZERO).await;
        for chunk in 1..=500 {
            pacer.wait(CHUNK * chunk).await;
            // The server takes its time, now and then longer than a chunk lasts.
            tokio::time::advance(Duration::from_millis(if chunk % 10 == 5 { 35 } else { 5 })).await;
        }
        pacer.wait(CHUNK * 501).await;
        let started = pacer.started().unwrap();
        assert_eq!(started.elapsed(), CHUNK * 501);
    }

    #[tokio::test(start_paused = true)]
    async fn an_absurd_speed_waits_and_does_not_panic() {
        let mut pacer = Pacer::new(f64::MIN_POSITIVE).unwrap();
        assert!(pacer.due(CHUNK).unwrap() > Instant::now() + NEVER / 2);
    }

    #[test]
    fn refuses_what_is_no_speed() {
        for speed in [-1.0, f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            assert!(Pacer::new(speed).is_err(), "{speed}");
        }
    }
}
