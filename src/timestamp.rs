//! Timestamps as clients get them: RFC 3339 in UTC with milliseconds.

use std::io::Write;
use std::time::{Duration, SystemTime};

/// The length of `2026-11-21T07:34:31.524Z`.
pub const TIMESTAMP_LEN: usize = 24;

/// A time in milliseconds since the epoch as RFC 3339 in UTC with milliseconds.
#[must_use]
pub fn timestamp_of(wall_ms: u64) -> [u8; TIMESTAMP_LEN] {
    // The last millisecond that four digits of a year can tell.
    let wall = SystemTime::UNIX_EPOCH + Duration::from_millis(wall_ms.min(253_402_300_799_999));
    let mut text = [b'0'; TIMESTAMP_LEN];
    write!(&mut text[..], "{}", humantime::format_rfc3339_millis(wall))
        .expect("it fits until year 9999");
    text
}

/// The last time that was written, and how: messages of one turn have the same.
#[derive(Debug)]
pub struct LastTimestamp {
    wall_ms: u64,
    text: [u8; TIMESTAMP_LEN],
}

impl Default for LastTimestamp {
    fn default() -> Self {
        Self {
            wall_ms: 0,
            text: timestamp_of(0),
        }
    }
}

impl LastTimestamp {
    /// The timestamp of a time in milliseconds since the epoch.
    ///
    /// Cost: a comparison, if it is that of the last call.
    pub fn of(&mut self, wall_ms: u64) -> &[u8; TIMESTAMP_LEN] {
        if wall_ms != self.wall_ms {
            (self.wall_ms, self.text) = (wall_ms, timestamp_of(wall_ms));
        }
        &self.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_timestamp_is_that_of_the_time_asked_for() {
        let mut last = LastTimestamp::default();
        for wall_ms in [0, 1_795_000_000_123, 1_795_000_000_123, 5, u64::MAX] {
            assert_eq!(*last.of(wall_ms), timestamp_of(wall_ms));
        }
        assert_eq!(&timestamp_of(0), b"1970-01-01T00:00:00.000Z");
    }
}
