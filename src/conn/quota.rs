//! What one connection may use of what all share: its seat, and its messages in
//! a minute.

use crate::metrics::Limited;
use crate::process::{Crowd, Over, Seat, Window};
use crate::shard::Shard;

/// What becomes of a message, by the rates of its connection and of its address.
#[must_use]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Rate {
    /// It is dealt with.
    Within,
    /// It is dropped, and answered by what can be read of it.
    Beyond(Over),
    /// It is dropped and answered unread: its address is far beyond its rate.
    FarBeyond(Over),
    /// It is the one too many that ends its connection.
    Exceeded,
}

/// One connection's part of the process's limits.
#[derive(Debug, Default)]
pub struct Quota {
    frames: Window,
    frames_max: u32,
    /// Messages beyond a rate.
    dropped: Window,
    seat: Option<Seat>,
    crowd: Option<Crowd>,
}

impl Quota {
    /// The quota of a connection that has `seat` and may send `frames_max`
    /// messages in a minute; 0: as many as its address may.
    pub fn seated(seat: Seat, frames_max: u32) -> Self {
        Self {
            frames_max,
            seat: Some(seat),
            ..Self::default()
        }
    }

    /// The quota of a connection that there is no room for: it is told so.
    pub fn crowded(crowd: Crowd) -> Self {
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

    /// As [`Self::charge`], of a message that was dropped.
    pub(super) fn charge_dropped(&mut self, messages: u32, shard: &Shard) {
        for _ in 0..messages {
            if self.drop_one(shard) != Dropped::Within {
                break;
            }
        }
    }

    /// Counts a message, before anything is done with it.
    ///
    /// Cost: a few comparisons, and one locked instruction where the address
    /// has a limit.
    pub(super) fn admit(&mut self, shard: &Shard) -> Rate {
        let (over, limited) = match self.take(shard) {
            Ok(()) => return Rate::Within,
            Err(beyond) => beyond,
        };
        shard.counters.limited(limited);
        match self.drop_one(shard) {
            Dropped::Within => Rate::Beyond(over),
            Dropped::AddressFull => Rate::FarBeyond(over),
            Dropped::Full => Rate::Exceeded,
        }
    }

    fn take(&mut self, shard: &Shard) -> Result<(), (Over, Limited)> {
        let now = shard.clock.now_ms();
        let own = self.frames.take(1, self.frames_max, now);
        own.map_err(|over| (over, Limited::FramesPerMinute))?;
        let shared = self
            .seat
            .as_ref()
            .map_or(Ok(()), |seat| seat.take_frame(now));
        shared.map_err(|over| (over, Limited::FramesPerMinutePerIp))
    }

    fn drop_one(&mut self, shard: &Shard) -> Dropped {
        let now = shard.clock.now_ms();
        let events = &shard.config.events;
        // A connection without a rate of its own has its address's.
        let rate = match self.frames_max {
            0 => events.frames_per_minute_per_ip,
            own => own,
        };
        let own_max = rate.saturating_mul(events.max_rate_excess);
        if self.dropped.take(1, own_max, now).is_err() {
            return Dropped::Full;
        }
        match &self.seat {
            Some(seat) if seat.drop_frame(now).is_err() => Dropped::AddressFull,
            _ => Dropped::Within,
        }
    }
}

/// Whether a message that is dropped is still worth reading.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Dropped {
    Within,
    /// Not by what its address has had dropped.
    AddressFull,
    /// Not by what its connection has had dropped.
    Full,
}
