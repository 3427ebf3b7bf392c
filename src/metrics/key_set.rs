//! What is counted of the key set that is fetched.

use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// Numbers of the key set. Of the process: the control thread writes them.
#[derive(Debug)]
pub struct KeySetCounters {
    began: Instant,
    fetched: AtomicU64,
    failed: AtomicU64,
    keys: AtomicU64,
    unused: AtomicU64,
    /// Milliseconds since `began` at the last fetch that succeeded; 0 before.
    fetched_ms: AtomicU64,
}

impl KeySetCounters {
    /// Nothing fetched; ages count from `now` until something is.
    #[must_use]
    pub fn new(now: Instant) -> Self {
        Self {
            began: now,
            fetched: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            keys: AtomicU64::new(0),
            unused: AtomicU64::new(0),
            fetched_ms: AtomicU64::new(0),
        }
    }

    /// A fetch has brought a set with so many keys.
    pub fn note_fetched(&self, keys: usize, unused: usize, now: Instant) {
        let since = now.saturating_duration_since(self.began).as_millis();
        let since = u64::try_from(since).unwrap_or(u64::MAX);
        self.fetched_ms.store(since, Ordering::Relaxed);
        self.keys.store(keys as u64, Ordering::Relaxed);
        self.unused.store(unused as u64, Ordering::Relaxed);
        self.fetched.fetch_add(1, Ordering::Relaxed);
    }

    /// A fetch has failed.
    pub fn note_failed(&self) {
        self.failed.fetch_add(1, Ordering::Relaxed);
    }

    /// Appends the numbers in Prometheus' text format.
    pub fn render_prometheus(&self, out: &mut String, now: Instant) {
        let read = |number: &AtomicU64| number.load(Ordering::Relaxed);
        let began = self.began;
        let age = now.saturating_duration_since(began).as_secs_f64();
        let age = (age - read(&self.fetched_ms) as f64 / 1000.0).max(0.0);
        let _ = write!(
            out,
            "# HELP fanfare_jwks_fetches_total Fetches of auth.jwks_url.\n\
             # TYPE fanfare_jwks_fetches_total counter\n\
             fanfare_jwks_fetches_total{{result=\"ok\"}} {}\n\
             fanfare_jwks_fetches_total{{result=\"failed\"}} {}\n\
             # HELP fanfare_jwks_keys Keys of auth.jwks_url that tokens are checked with.\n\
             # TYPE fanfare_jwks_keys gauge\n\
             fanfare_jwks_keys {}\n\
             # HELP fanfare_jwks_unused_keys Keys of auth.jwks_url that do not fit auth.algorithm.\n\
             # TYPE fanfare_jwks_unused_keys gauge\n\
             fanfare_jwks_unused_keys {}\n\
             # HELP fanfare_jwks_age_seconds Since auth.jwks_url was last fetched, or since the start.\n\
             # TYPE fanfare_jwks_age_seconds gauge\n\
             fanfare_jwks_age_seconds {age:.3}\n",
            read(&self.fetched),
            read(&self.failed),
            read(&self.keys),
            read(&self.unused),
        );
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_age_counts_from_the_last_fetch_that_succeeded() {
        let start = Instant::now();
        let after = |secs| start + Duration::from_secs(secs);
        let counters = KeySetCounters::new(start);
        let age = |now| {
            let mut text = String::new();
            counters.render_prometheus(&mut text, now);
            let age = text.lines().last().unwrap().rsplit_once(' ').unwrap().1;
            age.to_owned()
        };
        assert_eq!(age(after(5)), "5.000");
        counters.note_failed();
        assert_eq!(age(after(6)), "6.000");
        counters.note_fetched(2, 1, after(7));
        assert_eq!(age(after(9)), "2.000");
    }
}
