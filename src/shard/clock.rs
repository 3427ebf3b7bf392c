//! The clock of a shard: read once per task and turn, not once per message.

use std::cell::Cell;
use std::time::{Duration, Instant, SystemTime};

use crate::engine::Now;
use crate::timestamp::{TIMESTAMP_LEN, timestamp_of};

/// How long two clocks may take to read to be of the same moment, and how often it is tried.
const READ_TOGETHER: Duration = Duration::from_micros(100);
const READS_MAX: usize = 3;

/// The time at the last [`Clock::refresh`].
#[derive(Debug)]
pub struct Clock {
    start: Instant,
    read_at: Cell<Instant>,
    /// What the wall clock said at `start`, by the last [`Clock::set`].
    wall_start: Cell<Duration>,
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
            read_at: Cell::new(start),
            wall_start: Cell::default(),
            now: Cell::default(),
            timestamp: Cell::new([b'0'; TIMESTAMP_LEN]),
        };
        clock.set();
        clock
    }

    /// Sets the wall clock by the system's, which may have been stepped, and refreshes. Called at each tick.
    pub fn set(&self) {
        let (mut took, mut wall_start) = (Duration::MAX, Duration::ZERO);
        for _ in 0..READS_MAX {
            let before = self.start.elapsed();
            let wall = SystemTime::now()
                .duration_since(SystemTime::UNIX_EPOCH)
                .unwrap_or(Duration::ZERO);
            let reading = self.start.elapsed().saturating_sub(before);
            if reading < took {
                (took, wall_start) = (reading, wall.saturating_sub(before));
            }
            // A thread that has to wait between the two would take the time that it has waited for a step.
            if took < READ_TOGETHER {
                break;
            }
        }
        self.step_to(wall_start, took);
        self.refresh();
    }

    /// Sets what the wall clock said at `start`, unless it differs by no more than its reading may be wrong, which is no
    /// step: the wall clock would go back by that.
    fn step_to(&self, wall_start: Duration, error_max: Duration) {
        if wall_start.abs_diff(self.wall_start.get()) > error_max.max(READ_TOGETHER) {
            self.wall_start.set(wall_start);
        }
    }

    /// Reads the monotonic clock. Called when a task is polled. The wall clock goes on with it from the last
    /// [`Self::set`].
    ///
    /// Cost: one clock read through the vDSO; once per millisecond, the formatting of a date.
    pub fn refresh(&self) {
        let read_at = Instant::now();
        self.read_at.set(read_at);
        let since = read_at.saturating_duration_since(self.start);
        let ms = u64::try_from(since.as_millis()).expect("no process lives that long");
        let wall = self.wall_start.get().saturating_add(since);
        let wall_ms = u64::try_from(wall.as_millis()).unwrap_or(u64::MAX);
        let before = self.now.replace(Now { ms, wall_ms });
        if wall_ms != before.wall_ms {
            self.timestamp.set(timestamp_of(wall_ms));
        }
    }

    /// When it was refreshed.
    #[must_use]
    pub fn read_at(&self) -> Instant {
        self.read_at.get()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wall_clock_goes_on_with_the_monotonic_one_and_is_set_by_the_systems() {
        let clock = Clock::since(Instant::now());
        let was_ms = clock.wall_ms();
        clock.wall_start.set(Duration::ZERO);
        clock.refresh();
        assert_eq!(clock.wall_ms(), clock.now_ms());
        assert_eq!(
            clock.timestamp(),
            timestamp_of(clock.wall_ms()),
            "the text is of the same time"
        );
        clock.set();
        assert!(clock.wall_ms() >= was_ms && clock.now_ms() < clock.wall_ms());
    }

    #[test]
    fn the_wall_clock_is_stepped_by_more_than_its_reading_may_be_wrong() {
        let clock = Clock::since(Instant::now());
        let was = clock.wall_start.get();
        let (little, much) = (READ_TOGETHER, Duration::from_millis(5));
        for same in [was - little, was + little] {
            clock.step_to(same, Duration::ZERO);
            assert_eq!(clock.wall_start.get(), was);
        }
        clock.step_to(was - much, much);
        assert_eq!(clock.wall_start.get(), was, "it took as long to read");
        clock.step_to(was - much, little);
        assert_eq!(clock.wall_start.get(), was - much);
    }
}
