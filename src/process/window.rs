//! Fixed-window rate limits: a window begins with the first event counted in it and lasts 60 seconds (docs/limits.md).

use std::sync::atomic::{AtomicU64, Ordering};

/// How long a window lasts, in milliseconds.
pub(super) const WINDOW_MS: u64 = 60_000;

/// A window has reached its limit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RateLimited {
    /// The limit.
    pub limit: u32,
    /// When the window ends, in milliseconds of the shards' clock.
    pub ends_ms: u64,
}

impl RateLimited {
    /// Whole seconds until the window ends, 1 to 60.
    #[must_use]
    pub fn retry_after(&self, now_ms: u64) -> u64 {
        self.ends_ms
            .saturating_sub(now_ms)
            .div_ceil(1000)
            .clamp(1, WINDOW_MS / 1000)
    }
}

/// A window for one thread.
#[derive(Clone, Copy, Default, Debug)]
pub struct Window {
    began_ms: u64,
    used: u32,
}

impl Window {
    /// Counts `events` at `now_ms`, all of them or none. 0 means no limit.
    ///
    /// Cost: two comparisons.
    ///
    /// # Errors
    /// They exceed `limit`.
    pub fn take(&mut self, events: u32, limit: u32, now_ms: u64) -> Result<(), RateLimited> {
        if limit == 0 {
            return Ok(());
        }
        if self.is_over(now_ms) {
            *self = Self {
                began_ms: now_ms,
                used: 0,
            };
        }
        match self.used.checked_add(events).filter(|&used| used <= limit) {
            Some(used) => {
                self.used = used;
                Ok(())
            }
            None => Err(RateLimited {
                limit,
                ends_ms: self.began_ms + WINDOW_MS,
            }),
        }
    }

    /// Whether the window is over, or empty.
    #[must_use]
    pub fn is_over(&self, now_ms: u64) -> bool {
        self.used == 0 || now_ms.saturating_sub(self.began_ms) >= WINDOW_MS
    }
}

/// A [`Window`] shared by threads.
///
/// Start time and count are in one atomic word, so that starting a new window and counting in it is one step.
#[derive(Default, Debug)]
pub(super) struct SharedWindow(AtomicU64);

/// The low bits of the word are the count. The other 40 are milliseconds, which last for 34 years.
const COUNT_BITS: u32 = 24;
const COUNT_MAX: u32 = (1 << COUNT_BITS) - 1;

impl SharedWindow {
    /// Counts one event at `now_ms`. 0 means no limit; a limit above 16,777,215 counts as that.
    ///
    /// Cost: one locked instruction; none if the window is full.
    ///
    /// # Errors
    /// It exceeds `limit`.
    pub(super) fn take(&self, limit: u32, now_ms: u64) -> Result<(), RateLimited> {
        if limit == 0 {
            return Ok(());
        }
        let limit = limit.min(COUNT_MAX);
        let taken = self
            .0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |word| {
                let mut window = unpack(word);
                window.take(1, limit, now_ms).is_ok().then(|| pack(window))
            });
        taken.map(drop).map_err(|word| RateLimited {
            limit,
            ends_ms: unpack(word).began_ms + WINDOW_MS,
        })
    }

    /// Whether the window is over, or empty.
    #[must_use]
    pub(super) fn is_over(&self, now_ms: u64) -> bool {
        unpack(self.0.load(Ordering::Relaxed)).is_over(now_ms)
    }
}

fn unpack(word: u64) -> Window {
    Window {
        began_ms: word >> COUNT_BITS,
        used: u32::try_from(word & u64::from(COUNT_MAX)).expect("24 bits fit 32"),
    }
}

fn pack(window: Window) -> u64 {
    window.began_ms << COUNT_BITS | u64::from(window.used)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Both kinds of windows, given the same events, say `expected`: `None` for
    /// an act that is taken, or the seconds to wait.
    #[track_caller]
    fn check(limit: u32, acts_ms: &[u64], expected: &[Option<u64>]) {
        let (mut window, shared) = (Window::default(), SharedWindow::default());
        let wait =
            |taken: Result<(), RateLimited>, now| taken.err().map(|over| over.retry_after(now));
        let own: Vec<_> = acts_ms
            .iter()
            .map(|&now| wait(window.take(1, limit, now), now))
            .collect();
        assert_eq!(own, expected);
        let all: Vec<_> = acts_ms
            .iter()
            .map(|&now| wait(shared.take(limit, now), now))
            .collect();
        assert_eq!(all, expected);
    }

    #[test]
    fn the_limit_is_taken_and_one_more_is_not() {
        check(3, &[5, 5, 6, 7, 8], &[None, None, None, Some(60), Some(60)]);
        check(1, &[0, 0], &[None, Some(60)]);
        check(0, &[0, 0], &[None, None]);
    }

    #[test]
    fn a_window_begins_with_its_first_act_and_ends_a_minute_later() {
        check(
            1,
            &[
                70_000, 70_000, 70_001, 129_000, 129_001, 129_999, 130_000, 130_000,
            ],
            &[
                None,
                Some(60),
                Some(60),
                Some(1),
                Some(1),
                Some(1),
                None,
                Some(60),
            ],
        );
        // After a rest nothing is left of the last window, and the next one is whole.
        check(
            1,
            &[1, 500_000, 559_999, 560_000],
            &[None, None, Some(1), None],
        );
    }

    #[test]
    fn a_clock_that_lags_behind_another_shards_counts_in_the_same_window() {
        check(2, &[1000, 990, 995], &[None, None, Some(60)]);
    }

    #[test]
    fn acts_are_taken_together_or_not_at_all() {
        let mut window = Window::default();
        assert_eq!(window.take(3, 4, 0), Ok(()));
        assert!(window.take(2, 4, 1).is_err());
        assert_eq!(window.take(1, 4, 2), Ok(()));
        assert_eq!(
            window.take(u32::MAX, 4, 3),
            Err(RateLimited {
                limit: 4,
                ends_ms: WINDOW_MS
            })
        );
        assert_eq!(window.take(4, 4, WINDOW_MS), Ok(()));
    }

    #[test]
    fn threads_share_one_limit() {
        let shared = SharedWindow::default();
        let taken = AtomicU64::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    let count = (0..5000)
                        .filter(|&now| shared.take(1000, now).is_ok())
                        .count();
                    taken.fetch_add(count as u64, Ordering::Relaxed);
                });
            }
        });
        assert_eq!(taken.into_inner(), 1000);
    }

    #[test]
    fn a_limit_beyond_the_counter_does_not_spill() {
        let shared = SharedWindow(AtomicU64::new(pack(Window {
            began_ms: 7,
            used: COUNT_MAX,
        })));
        assert_eq!(
            shared.take(u32::MAX, 8),
            Err(RateLimited {
                limit: COUNT_MAX,
                ends_ms: 7 + WINDOW_MS
            })
        );
        assert_eq!(unpack(shared.0.load(Ordering::Relaxed)).began_ms, 7);
    }
}
