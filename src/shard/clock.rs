//! The clock of a shard: read once per turn, not once per message.

use std::cell::Cell;
use std::time::{Duration, Instant, SystemTime};

use crate::engine::Now;
use crate::timestamp::{TIMESTAMP_LEN, timestamp_of};

/// The time at the last [`Clock::refresh`].
#[derive(Debug)]
pub struct Clock {
    start: Instant,
    now: Cell<Now>,
    /// The wall clock as text.
    timestamp: Cell<[u8; TIMESTAMP_LEN]>,
}

impl Clock {
    /// A clock that counts from `start`.
    #[must_use]
    pub fn since(start: Instant) -> Self {
        let clock = Self {
            start,
            now: Cell::default(),
            timestamp: Cell::new([b'0'; TIMESTAMP_LEN]),
        };
        clock.refresh();
        clock
    }

    /// Reads the system's clocks. Called when a task is polled.
    ///
    /// Cost: two clock reads through the vDSO; once per millisecond, the formatting of a date.
    pub fn refresh(&self) {
        let since = self.start.elapsed();
        let ms = u64::try_from(since.as_millis()).expect("no process lives that long");
        let wall = SystemTime::now();
        let since = wall
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or(Duration::ZERO);
        let wall_ms = u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
        let before = self.now.replace(Now { ms, wall_ms });
        if wall_ms != before.wall_ms {
            self.timestamp.set(timestamp_of(wall_ms));
        }
    }

    /// The time of this turn.
    #[must_use]
    pub fn now(&self) -> Now {
        self.now.get()
    }

    /// Monotonic milliseconds since the process began, the same on every shard (docs/hostile-inputs.md, R12).
    #[must_use]
    pub fn now_ms(&self) -> u64 {
        self.now.get().ms
    }

    /// Seconds since the epoch, for tokens.
    #[must_use]
    pub fn wall_seconds(&self) -> u64 {
        self.wall_ms() / 1000
    }

    /// Milliseconds since the epoch.
    #[must_use]
    pub fn wall_ms(&self) -> u64 {
        self.now.get().wall_ms
    }

    /// The wall clock as RFC 3339 in UTC with milliseconds.
    #[must_use]
    pub fn timestamp(&self) -> [u8; TIMESTAMP_LEN] {
        self.timestamp.get()
    }
}
