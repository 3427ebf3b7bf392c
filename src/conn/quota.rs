//! What one connection may use of what all share: its seat, and its messages in
//! a minute.

use crate::metrics::Limited;
use crate::shard::{Crowd, Over, Seat, Shard, Window};

/// One connection's part of the process's limits.
#[derive(Debug, Default)]
pub(super) struct Quota {
    frames: Window,
    frames_max: u32,
    seat: Option<Seat>,
    crowd: Option<Crowd>,
}

impl Quota {
    /// The quota of a connection that has `seat` and may send `frames_max`
    /// messages in a minute; 0: as many as its address may.
    pub(super) fn seated(seat: Seat, frames_max: u32) -> Self {
        Self {
            frames_max,
            seat: Some(seat),
            ..Self::default()
        }
    }

    /// The quota of a connection that there is no room for: it is told so.
    pub(super) fn crowded(crowd: Crowd) -> Self {
        Self {
            crowd: Some(crowd),
            ..Self::default()
        }
    }

    /// Why there is no room for this connection, if there is none.
    pub(super) fn crowd(&self) -> Option<Crowd> {
        self.crowd
    }

    /// Counts what one message has turned out to be more than one message, as far
    /// as there is room for it in the window: the next ones feel it.
    pub(super) fn charge(&mut self, messages: u32, shard: &Shard) {
        let now = shard.clock.now_ms();
        for _ in 0..messages {
            let own = self.frames.take(1, self.frames_max, now);
            let shared = self.seat.as_ref().map(|seat| seat.take_frame(now));
            if own.is_err() || matches!(shared, Some(Err(_))) {
                break;
            }
        }
    }

    /// Counts a message.
    ///
    /// Cost: a few comparisons, and one locked instruction where the address
    /// has a limit.
    ///
    /// # Errors
    /// It is one too many, to be dropped.
    pub(super) fn admit(&mut self, shard: &Shard) -> Result<(), Over> {
        let now = shard.clock.now_ms();
        let own = self.frames.take(1, self.frames_max, now);
        own.inspect_err(|_| shard.counters.limited(Limited::FramesPerMinute))?;
        let shared = self
            .seat
            .as_ref()
            .map_or(Ok(()), |seat| seat.take_frame(now));
        shared.inspect_err(|_| shard.counters.limited(Limited::FramesPerMinutePerIp))
    }
}
