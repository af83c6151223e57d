//! The rate limit's arithmetic: the generic cell rate algorithm (GCRA), as pure functions.
//!
//! Not here: where its one number is kept.

use std::time::Duration;

use super::CacheError;

/// At most `calls` calls at once, and `calls` in every `window` in the long run.
///
/// GCRA (ITU-T I.371): a call moves the instant at which all is free again by `window / calls`, and is refused if that
/// would be more than a window ahead. One number a key, no jump where a window ends, and a refused call costs nothing. What
/// a fresh key lets through in one window is at most `2 × calls − 1`: its burst, and what comes back meanwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// Microseconds for one call to come back.
    pub(super) every: u64,
    pub(super) calls: u32,
}

/// What a rate limit says of one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LimitState {
    /// Whether the call may be served. It is counted if so.
    pub allowed: bool,
    /// Calls that would be allowed at once after this one.
    pub remaining: u32,
    /// How long until all calls are free again: the `t` of the `RateLimit` header.
    pub reset: Duration,
    /// How long until one call is free: `Retry-After`; zero when one is.
    pub retry_after: Duration,
}

impl Limit {
    /// `calls` in `window`.
    ///
    /// # Errors
    /// [`CacheError::Invalid`] for no calls, more than a million of them, or a window that is not 1 ms to 32 days.
    pub fn new(calls: u32, window: Duration) -> Result<Self, CacheError> {
        if calls == 0 || calls > MAX_CALLS || window < MIN_WINDOW || window > MAX_WINDOW {
            return Err(CacheError::Invalid("a limit is 1 to 1,000,000 calls in 1 ms to 32 days"));
        }
        let micros = u64::try_from(window.as_micros()).expect("32 days are fewer than 2^64 µs");
        Ok(Self { every: (micros / u64::from(calls)).max(1), calls })
    }

    /// How many calls.
    pub fn calls(self) -> u32 {
        self.calls
    }

    /// In how long: the window, as long as whole microseconds for each call make it.
    pub fn window(self) -> Duration {
        Duration::from_micros(self.window_micros())
    }

    pub(super) fn window_micros(self) -> u64 {
        self.every * u64::from(self.calls)
    }

    /// One call at `now`, where all is free at `free_at` (0: nothing known): whether, and the new `free_at` if it is counted.
    pub(super) fn call(self, now: u64, free_at: u64) -> (bool, u64) {
        let before = free_at.max(now);
        let after = before.saturating_add(self.every);
        if after - now > self.window_micros() { (false, before) } else { (true, after) }
    }

    /// What to tell the caller, where all is free `ahead` microseconds from now.
    pub(super) fn state(self, allowed: bool, ahead: u64) -> LimitState {
        let room = self.window_micros().saturating_sub(ahead);
        LimitState {
            allowed,
            remaining: u32::try_from(room / self.every).unwrap_or(self.calls).min(self.calls),
            reset: Duration::from_micros(ahead),
            retry_after: Duration::from_micros(self.every.saturating_sub(room)),
        }
    }
}

const MAX_CALLS: u32 = 1_000_000;
const MIN_WINDOW: Duration = Duration::from_millis(1);
const MAX_WINDOW: Duration = Duration::from_secs(32 * 24 * 60 * 60);

#[cfg(test)]
mod tests {
    use super::*;

    /// Calls at these seconds, 3 in 60 s: which are allowed, and what remains after each.
    #[test]
    fn calls_come_back_one_by_one() {
        let limit = Limit::new(3, Duration::from_secs(60)).unwrap();
        let mut free_at = 0;
        let seconds = [100, 100, 100, 100, 119, 120, 121, 140, 1000];
        let told = seconds.map(|second| {
            let now = second * 1_000_000;
            let (allowed, after) = limit.call(now, free_at);
            free_at = after;
            let state = limit.state(allowed, after - now);
            (state.allowed, state.remaining, state.reset.as_secs(), state.retry_after.as_secs())
        });
        let expected = [
            (true, 2, 20, 0),
            (true, 1, 40, 0),
            (true, 0, 60, 20),
            (false, 0, 60, 20),
            (false, 0, 41, 1),
            (true, 0, 60, 20),
            (false, 0, 59, 19),
            (true, 0, 60, 20),
            (true, 2, 20, 0),
        ];
        assert_eq!(told, expected);
    }

    #[test]
    fn absurd_limits_are_refused() {
        let hour = Duration::from_secs(3600);
        for (calls, window) in [(0, hour), (MAX_CALLS + 1, hour), (1, Duration::ZERO), (1, MAX_WINDOW + hour)]
        {
            assert!(Limit::new(calls, window).is_err(), "{calls} in {window:?}");
        }
        let limit = Limit::new(MAX_CALLS, MIN_WINDOW).unwrap();
        assert_eq!((limit.every, limit.calls()), (1, MAX_CALLS));
    }
}
