//! The limits of one connection: its seat, and its messages per minute.

use crate::metrics::Limited;
use crate::process::{LimitReached, RateLimited, Seat, Window};
use crate::shard::Shard;

/// What happens to a message, by the rate limits of its connection and of its address.
#[must_use]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Rate {
    /// It is processed.
    Allowed,
    /// It is dropped, and answered with an error that refers to it.
    Dropped(RateLimited),
    /// It is dropped unparsed, and answered with an error: its address exceeds `max_rate_excess`.
    DroppedUnread(RateLimited),
    /// It ends the connection, which exceeds `max_rate_excess`.
    Exceeded,
}

/// One connection's rate limits and seat.
#[derive(Debug, Default)]
pub struct Quota {
    frames: Window,
    frames_max: u32,
    /// Messages dropped for a rate limit.
    dropped: Window,
    seat: Option<Seat>,
    limit_reached: Option<LimitReached>,
}

impl Quota {
    /// The quota of a connection that has `seat` and may send `frames_max` messages per minute; 0: no limit of its own,
    /// only that of its address.
    pub fn seated(seat: Seat, frames_max: u32) -> Self {
        Self {
            frames_max,
            seat: Some(seat),
            ..Self::default()
        }
    }

    /// The quota of a connection beyond a limit: it is accepted, told so, and closed.
    pub fn over_limit(limit_reached: LimitReached) -> Self {
        Self {
            limit_reached: Some(limit_reached),
            ..Self::default()
        }
    }

    /// The limit that this connection exceeds, if any.
    #[must_use]
    pub fn limit_reached(&self) -> Option<LimitReached> {
        self.limit_reached
    }

    /// Counts `messages` that were batched in one message, up to the limit: they were processed, but later messages
    /// have less of the window.
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

    /// As [`Self::charge`], for a batch that was dropped.
    pub(super) fn charge_dropped(&mut self, messages: u32, shard: &Shard) {
        for _ in 0..messages {
            if self.drop_one(shard) != Dropped::Within {
                break;
            }
        }
    }

    /// Counts a message, before it is inflated or parsed.
    ///
    /// Cost: a few comparisons, and one locked instruction where the address has a limit.
    pub(super) fn admit(&mut self, shard: &Shard) -> Rate {
        let (over, limited) = match self.take(shard) {
            Ok(()) => return Rate::Allowed,
            Err(beyond) => beyond,
        };
        shard.counters.limited(limited);
        match self.drop_one(shard) {
            Dropped::Within => Rate::Dropped(over),
            Dropped::AddressFull => Rate::DroppedUnread(over),
            Dropped::Full => Rate::Exceeded,
        }
    }

    fn take(&mut self, shard: &Shard) -> Result<(), (RateLimited, Limited)> {
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
        let events = &shard.config.clients;
        // A connection without a limit of its own has that of its address.
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

/// Whether the number of dropped messages is within `max_rate_excess` times the rate limit.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Dropped {
    Within,
    /// The address has exceeded it.
    AddressFull,
    /// The connection has exceeded it.
    Full,
}
