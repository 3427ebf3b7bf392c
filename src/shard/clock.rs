//! The time of a shard: read once per turn, not once per message.

use std::cell::Cell;
use std::time::{Duration, Instant, SystemTime};

use crate::engine::Now;
use crate::timestamp::{TIMESTAMP_LEN, timestamp_of};

/// The shard's time as it was when the turn began.
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

    /// Reads the time. Called when a turn of work begins.
    ///
    /// Cost: two reads of the kernel's clock page; once a millisecond, a date.
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

    /// The time of the turn.
    #[must_use]
    pub fn now(&self) -> Now {
        self.now.get()
    }

    /// Milliseconds since the process began, the same on every shard, which no change of the wall clock
    /// moves (hostile-inputs.md R12).
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
