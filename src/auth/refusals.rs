//! How often tokens are refused for which reason, so that the log can say it without being flooded.

use std::sync::PoisonError;
use std::time::{Duration, Instant};

use super::TokenError;

/// Counts refused tokens by reason. There are few reasons, so it stays small.
#[derive(Debug, Default)]
pub struct Refusals {
    #[expect(
        clippy::disallowed_types,
        reason = "touched when a token is refused, and by the control thread"
    )]
    windows: std::sync::Mutex<Vec<RefusalWindow>>,
}

/// A minute of one reason.
#[derive(Debug)]
struct RefusalWindow {
    reason: TokenError,
    began: Instant,
    /// Refusals since then that the log has not been told of.
    left_out: u64,
}

impl Refusals {
    /// Notes that a token was refused for `reason`. If a line of the log is due, how many refusals for this
    /// reason were left out since the last one.
    ///
    /// Cost: a lock and a look through some twenty entries.
    pub fn note(&self, reason: TokenError, now: Instant) -> Option<u64> {
        let mut windows = self.windows.lock().unwrap_or_else(PoisonError::into_inner);
        let known = windows.iter_mut().find(|window| window.reason == reason);
        match known {
            Some(window) if window.is_over(now) => Some(window.begin_anew(now)),
            Some(window) => {
                window.left_out += 1;
                None
            }
            None => {
                windows.push(RefusalWindow {
                    reason,
                    began: now,
                    left_out: 0,
                });
                Some(0)
            }
        }
    }

    /// The reasons whose minute is over, with how many refusals were left out in it, if any were. For the control
    /// thread, now and then.
    pub fn take_left_out(&self, now: Instant) -> Vec<(TokenError, u64)> {
        let mut windows = self.windows.lock().unwrap_or_else(PoisonError::into_inner);
        windows.retain(|window| window.left_out > 0 || !window.is_over(now));
        let over = windows.iter_mut().filter(|window| window.is_over(now));
        over.map(|window| (window.reason, window.begin_anew(now)))
            .collect()
    }
}

impl RefusalWindow {
    fn is_over(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.began) >= WINDOW
    }

    fn begin_anew(&mut self, now: Instant) -> u64 {
        self.began = now;
        std::mem::take(&mut self.left_out)
    }
}

/// The log has a line for each reason in this time.
const WINDOW: Duration = Duration::from_mins(1);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::Claim;

    #[test]
    fn t5_a_reason_is_told_once_a_minute_with_the_count_of_those_left_out() {
        let (refusals, start) = (Refusals::default(), Instant::now());
        let after = |secs| start + Duration::from_secs(secs);
        let (exp, role) = (TokenError::Expired, TokenError::Claim(Claim::Role));
        assert_eq!(refusals.note(exp, after(0)), Some(0));
        assert_eq!(refusals.note(role, after(1)), Some(0));
        for second in 2..59 {
            assert_eq!(refusals.note(exp, after(second)), None);
            assert_eq!(refusals.take_left_out(after(second)), []);
        }
        assert_eq!(refusals.take_left_out(after(60)), [(exp, 57)]);
        // That was a line of this minute.
        assert_eq!(refusals.note(exp, after(61)), None);
        assert_eq!(refusals.note(role, after(62)), Some(0));
        assert_eq!(refusals.note(exp, after(120)), Some(1));
        assert_eq!(refusals.take_left_out(after(200)), []);
        assert!(refusals.windows.lock().unwrap().is_empty());
    }
}
