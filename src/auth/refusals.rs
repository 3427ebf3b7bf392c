//! Counts of refused tokens by reason, which limit the log to one line a minute for each.

use std::sync::PoisonError;
use std::time::{Duration, Instant};

use super::TokenError;

/// Counts refused tokens by reason. The number of reasons bounds its size.
#[derive(Debug, Default)]
pub struct Refusals {
    #[expect(
        clippy::disallowed_types,
        reason = "touched when a token is refused, and by the control thread"
    )]
    windows: std::sync::Mutex<Vec<RefusalWindow>>,
}

/// The window of one reason.
#[derive(Debug)]
struct RefusalWindow {
    reason: TokenError,
    began: Instant,
    /// Refusals in the window that have not been logged.
    unlogged: u64,
}

impl Refusals {
    /// Counts a token refused for `reason`. If a log line is due, returns the number of refusals for this reason
    /// that were not logged since the last one.
    ///
    /// Cost: a lock and a scan of some twenty entries.
    pub fn note(&self, reason: TokenError, now: Instant) -> Option<u64> {
        let mut windows = self.windows.lock().unwrap_or_else(PoisonError::into_inner);
        let known = windows.iter_mut().find(|window| window.reason == reason);
        match known {
            Some(window) if window.is_over(now) => Some(window.restart(now)),
            Some(window) => {
                window.unlogged += 1;
                None
            }
            None => {
                windows.push(RefusalWindow {
                    reason,
                    began: now,
                    unlogged: 0,
                });
                Some(0)
            }
        }
    }

    /// The reasons whose window is over, each with its number of refusals not logged, if any. Called by the control
    /// thread.
    pub fn take_unlogged(&self, now: Instant) -> Vec<(TokenError, u64)> {
        let mut windows = self.windows.lock().unwrap_or_else(PoisonError::into_inner);
        windows.retain(|window| window.unlogged > 0 || !window.is_over(now));
        let over = windows.iter_mut().filter(|window| window.is_over(now));
        over.map(|window| (window.reason, window.restart(now)))
            .collect()
    }
}

impl RefusalWindow {
    fn is_over(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.began) >= WINDOW
    }

    fn restart(&mut self, now: Instant) -> u64 {
        self.began = now;
        std::mem::take(&mut self.unlogged)
    }
}

/// The length of a window: each reason is logged once in it.
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
            assert_eq!(refusals.take_unlogged(after(second)), []);
        }
        assert_eq!(refusals.take_unlogged(after(60)), [(exp, 57)]);
        // Reporting the count used up the line of this minute.
        assert_eq!(refusals.note(exp, after(61)), None);
        assert_eq!(refusals.note(role, after(62)), Some(0));
        assert_eq!(refusals.note(exp, after(120)), Some(1));
        assert_eq!(refusals.take_unlogged(after(200)), []);
        assert!(refusals.windows.lock().unwrap().is_empty());
    }
}
