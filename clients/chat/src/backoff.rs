//! When to try again, and how fast to send.

use std::time::{Duration, Instant};

use aws_lc_rs::rand;

const FIRST: Duration = Duration::from_millis(500);
const LAST: Duration = Duration::from_secs(30);
/// A connection that lasted so long was a good one.
const GOOD_AFTER: Duration = Duration::from_secs(5);

/// The time between attempts to connect: from half a second up to half a minute, a random half of it
/// left out, so that clients do not come back together.
#[derive(Debug, Default)]
pub(crate) struct Backoff {
    attempts: u32,
}

impl Backoff {
    /// The time to wait, or longer where the server asks for it.
    pub(crate) fn next(&mut self, retry_after: Option<Duration>) -> Duration {
        let mut random = [0; 2];
        rand::fill(&mut random).expect("the system has random bytes");
        let share = f64::from(u16::from_ne_bytes(random)) / f64::from(u16::MAX);
        let whole = LAST.min(FIRST * 2_u32.pow(self.attempts.min(10)));
        self.attempts += 1;
        let delay = whole.mul_f64(0.5 + share / 2.0);
        retry_after.map_or(delay, |asked| asked + delay.min(FIRST))
    }

    /// A connection was there for `lasted`.
    pub(crate) fn connected(&mut self, lasted: Duration) {
        if lasted >= GOOD_AFTER {
            self.attempts = 0;
        }
    }
}

/// The share of a server's rate that is used: its clock starts later, and messages are on their way for
/// different times.
const USED: f64 = 0.95;

/// Keeps below the rate that servers allow: a bucket of tokens, one for each message.
#[derive(Debug)]
pub(crate) struct Pacer {
    per_second: f64,
    burst: f64,
    tokens: f64,
    counted: Instant,
}

impl Pacer {
    /// For a server that allows so many messages a second, and `burst` at once.
    pub(crate) fn new(per_second: f64, burst: u32, now: Instant) -> Self {
        let burst = f64::from(burst.saturating_sub(1).max(1));
        Self {
            per_second: per_second * USED,
            burst,
            tokens: burst,
            counted: now,
        }
    }

    /// How long to wait until a message may be sent.
    pub(crate) fn wait(&mut self, now: Instant) -> Duration {
        let passed = now.saturating_duration_since(self.counted).as_secs_f64();
        self.counted = now;
        self.tokens = self.burst.min(self.tokens + passed * self.per_second);
        // What rounding takes from a whole token must not cost another turn.
        if self.tokens > 0.999 {
            return Duration::ZERO;
        }
        Duration::from_secs_f64((1.0 - self.tokens) / self.per_second)
    }

    /// A message was sent.
    pub(crate) fn sent(&mut self) {
        self.tokens -= 1.0;
    }

    /// The server takes no message for `delay`.
    pub(crate) fn hold(&mut self, delay: Duration, now: Instant) {
        self.counted = now;
        self.tokens = self.tokens.min(1.0 - delay.as_secs_f64() * self.per_second);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attempts_come_less_and_less_often() {
        let mut backoff = Backoff::default();
        for whole in [500, 1000, 2000, 4000, 8000, 16000, 30000, 30000, 30000] {
            let delay = backoff.next(None).as_millis();
            assert!((whole / 2..=whole).contains(&delay), "{delay} of {whole}");
        }
        let asked = Duration::from_secs(60);
        assert!(backoff.next(Some(asked)) >= asked);
        backoff.connected(Duration::from_secs(1));
        assert!(backoff.next(None).as_millis() >= 15000);
        backoff.connected(Duration::from_secs(9));
        assert!(backoff.next(None).as_millis() <= 500);
    }

    #[test]
    fn messages_beyond_the_burst_wait() {
        let start = Instant::now();
        let mut pacer = Pacer::new(5.0, 4, start);
        for _ in 0..3 {
            assert_eq!(pacer.wait(start), Duration::ZERO);
            pacer.sent();
        }
        let wait = pacer.wait(start);
        assert!(wait > Duration::from_millis(200) && wait < Duration::from_millis(220));
        assert_eq!(pacer.wait(start + wait), Duration::ZERO);
        pacer.wait(start + Duration::from_secs(60));
        assert!(pacer.tokens <= 3.0, "less than the burst");
    }

    #[test]
    fn a_refusal_is_waited_for() {
        let start = Instant::now();
        let mut pacer = Pacer::new(100.0, 50, start);
        pacer.hold(Duration::from_secs(2), start);
        let wait = pacer.wait(start).as_secs_f64();
        assert!((1.9..2.1).contains(&wait), "{wait}");
        assert_eq!(pacer.wait(start + Duration::from_secs(2)), Duration::ZERO);
    }
}
