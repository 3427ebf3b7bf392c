//! When a key set is fetched.

use std::time::{Duration, Instant};

/// The times of fetches. Whatever tokens say, `pause_min` lies between two of them, unless none has succeeded yet:
/// then there are none that a token could cause.
#[derive(Debug)]
pub(super) struct Schedule {
    refresh: Duration,
    pause_min: Duration,
    /// When the last fetch began.
    began: Option<Instant>,
    /// Fetches that have failed since the last one that succeeded.
    failures: u32,
    has_keys: bool,
    /// A token has named a key that the set lacks.
    pub(super) is_missed: bool,
}

impl Schedule {
    /// Fetches at once, then every `refresh`.
    pub(super) fn new(refresh: Duration, pause_min: Duration) -> Self {
        Self {
            refresh: refresh.max(pause_min),
            pause_min,
            began: None,
            failures: 0,
            has_keys: false,
            is_missed: false,
        }
    }

    /// Whether a fetch has succeeded.
    pub(super) fn has_keys(&self) -> bool {
        self.has_keys
    }

    /// Whether it is time for a fetch.
    pub(super) fn is_due(&self, now: Instant) -> bool {
        let Some(began) = self.began else {
            return true;
        };
        now.saturating_duration_since(began) >= self.pause()
    }

    /// A fetch begins. A key that is missed may be in it.
    pub(super) fn begin(&mut self, now: Instant) {
        self.began = Some(now);
        self.is_missed = false;
    }

    /// The fetch has brought a set.
    pub(super) fn succeed(&mut self) {
        self.failures = 0;
        self.has_keys = true;
    }

    /// The fetch has failed.
    pub(super) fn fail(&mut self) {
        self.failures = self.failures.saturating_add(1);
    }

    /// From the last fetch to the next.
    fn pause(&self) -> Duration {
        let doubled = |first: Duration| {
            let times = 1_u32 << self.failures.saturating_sub(1).min(DOUBLINGS_MAX);
            first.saturating_mul(times)
        };
        match (self.has_keys, self.failures) {
            (false, 0) => self.pause_min,
            (false, _) => doubled(RETRY_FIRST).min(self.pause_min),
            (true, _) if self.is_missed => self.pause_min,
            (true, 0) => self.refresh,
            (true, _) => doubled(self.pause_min).min(self.refresh),
        }
    }
}

/// The first pause while there is no set at all. Each is twice as long as the one before.
const RETRY_FIRST: Duration = Duration::from_secs(1);

/// Enough for any pause that can be configured.
const DOUBLINGS_MAX: u32 = 16;

#[cfg(test)]
mod tests {
    use super::*;

    const REFRESH: Duration = Duration::from_mins(5);
    const PAUSE_MIN: Duration = Duration::from_secs(30);

    /// The seconds at which fetches begin within `secs`, each with its end in the same instant.
    fn fetches(
        schedule: &mut Schedule,
        secs: u64,
        mut succeeds: impl FnMut(u64) -> bool,
        mut is_missed: impl FnMut(u64) -> bool,
    ) -> Vec<u64> {
        let start = Instant::now();
        let mut began = Vec::new();
        for second in 0..secs {
            let now = start + Duration::from_secs(second);
            schedule.is_missed |= is_missed(second);
            if schedule.is_due(now) {
                schedule.begin(now);
                began.push(second);
                if succeeds(second) {
                    schedule.succeed();
                } else {
                    schedule.fail();
                }
            }
        }
        began
    }

    #[test]
    fn without_a_cause_it_is_fetched_every_refresh() {
        let mut schedule = Schedule::new(REFRESH, PAUSE_MIN);
        let began = fetches(&mut schedule, 1000, |_| true, |_| false);
        assert_eq!(began, [0, 300, 600, 900]);
    }

    #[test]
    fn a07_tokens_bring_at_most_one_fetch_in_30_seconds() {
        let mut schedule = Schedule::new(REFRESH, PAUSE_MIN);
        let began = fetches(&mut schedule, 100, |_| true, |_| true);
        assert_eq!(began, [0, 30, 60, 90]);
        // One token brings one fetch, at the end of the pause that it falls into or at once.
        let mut schedule = Schedule::new(REFRESH, PAUSE_MIN);
        let began = fetches(&mut schedule, 600, |_| true, |at| at == 10 || at == 100);
        assert_eq!(began, [0, 30, 100, 400]);
        // Nor do they while the issuer does not answer.
        let mut schedule = Schedule::new(REFRESH, PAUSE_MIN);
        let began = fetches(&mut schedule, 100, |at| at == 0, |_| true);
        assert_eq!(began, [0, 30, 60, 90]);
    }

    #[test]
    fn failures_are_retried_after_longer_and_longer_pauses() {
        let mut schedule = Schedule::new(REFRESH, PAUSE_MIN);
        let began = fetches(&mut schedule, 1500, |at| at == 0, |_| false);
        assert_eq!(began, [0, 300, 330, 390, 510, 750, 1050, 1350]);
        // One that succeeds ends them.
        let mut schedule = Schedule::new(REFRESH, PAUSE_MIN);
        let began = fetches(&mut schedule, 1000, |at| at != 300, |_| false);
        assert_eq!(began, [0, 300, 330, 630, 930]);
    }

    #[test]
    fn at_the_start_it_is_retried_soon_and_tokens_make_no_difference() {
        for is_missed in [false, true] {
            let mut schedule = Schedule::new(REFRESH, PAUSE_MIN);
            let began = fetches(&mut schedule, 130, |_| false, |_| is_missed);
            assert_eq!(began, [0, 1, 3, 7, 15, 31, 61, 91, 121]);
        }
    }
}
