//! How long a run has made no progress.

use std::time::Duration;

/// Knows since when a count has not changed.
#[derive(Debug)]
pub(crate) struct StallTimer {
    count: u64,
    since_ns: u64,
}

impl StallTimer {
    pub(crate) fn new(now_ns: u64) -> Self {
        Self {
            count: 0,
            since_ns: now_ns,
        }
    }

    /// Restarts if `count` has changed.
    pub(crate) fn update(&mut self, count: u64, now_ns: u64) {
        if count != self.count {
            self.count = count;
            self.restart(now_ns);
        }
    }

    pub(crate) fn restart(&mut self, now_ns: u64) {
        self.since_ns = now_ns;
    }

    /// Whether the count has not changed for longer than `limit`.
    pub(crate) fn exceeds(&self, limit: Duration, now_ns: u64) -> bool {
        now_ns - self.since_ns > limit.as_nanos() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_restarts_the_timer() {
        let mut stall = StallTimer::new(10);
        let limit = Duration::from_nanos(5);
        assert!(!stall.exceeds(limit, 15) && stall.exceeds(limit, 16));
        stall.update(0, 16);
        assert!(stall.exceeds(limit, 16));
        stall.update(1, 16);
        assert!(!stall.exceeds(limit, 21) && stall.exceeds(limit, 22));
        stall.restart(22);
        assert!(!stall.exceeds(limit, 27));
    }
}
