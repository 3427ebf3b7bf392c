//! When the messages of an open loop are due.
//!
//! Times are computed from the start, so they never drift. A message that is sent
//! late still carries its scheduled time: waiting in the generator counts as latency,
//! which avoids coordinated omission.

/// Bursts of messages at a steady mean rate.
#[derive(Debug)]
pub(crate) struct Schedule {
    start_ns: u64,
    burst_ns: f64,
    taken: u64,
}

impl Schedule {
    /// `rate` messages a second in bursts of `burst`, the first at `start_ns`.
    pub(crate) fn new(start_ns: u64, rate: f64, burst: u32) -> Self {
        Self {
            start_ns,
            burst_ns: f64::from(burst) * 1e9 / rate,
            taken: 0,
        }
    }

    /// When the next burst is due.
    pub(crate) fn next_ns(&self) -> u64 {
        self.start_ns + (self.taken as f64 * self.burst_ns) as u64
    }

    /// Takes the next burst if it is due at `now_ns`; returns its scheduled time.
    pub(crate) fn take(&mut self, now_ns: u64) -> Option<u64> {
        let due = self.next_ns();
        (due <= now_ns).then(|| {
            self.taken += 1;
            due
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(rate: f64, burst: u32, now_ns: u64, expected: &[u64]) {
        let mut schedule = Schedule::new(1_000, rate, burst);
        let taken: Vec<u64> = std::iter::from_fn(|| schedule.take(now_ns)).collect();
        assert_eq!(taken, expected);
    }

    #[test]
    fn bursts_are_due_from_the_start_on() {
        check(1e6, 1, 999, &[]);
        check(1e6, 1, 1_000, &[1_000]);
        check(1e6, 1, 3_500, &[1_000, 2_000, 3_000]);
        check(1e6, 2, 5_000, &[1_000, 3_000, 5_000]);
    }

    #[test]
    fn a_late_look_takes_everything_with_its_own_time() {
        let mut schedule = Schedule::new(0, 3.0, 1);
        let taken: Vec<u64> = std::iter::from_fn(|| schedule.take(1_000_000_000)).collect();
        assert_eq!(taken, [0, 333_333_333, 666_666_666, 1_000_000_000]);
    }

    #[test]
    fn the_rate_does_not_drift() {
        let mut schedule = Schedule::new(0, 7.0, 1);
        let taken = std::iter::from_fn(|| schedule.take(100_000_000_000)).count();
        assert_eq!(taken, 701);
    }
}
