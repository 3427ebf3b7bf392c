//! One member of a group: what waits for it, and what it has been sent.

use std::collections::VecDeque;
use std::fmt;

use super::kind::Kinds;
use super::queue::{Pending, Queue};

/// What a member asks for.
#[derive(Clone, Copy, Debug)]
pub struct MemberLimits {
    /// The kinds that it gets.
    pub kinds: Kinds,
    /// Objects that it may have unacknowledged.
    pub credit: u32,
}

/// A member.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) limits: MemberLimits,
    /// For it, and not sent.
    pub(super) waiting: Queue,
    /// Sent and not acknowledged; the last one has the number before `next_seq`.
    pub(super) sent: VecDeque<Pending>,
    /// The number of the next object that it is sent.
    pub(super) next_seq: u64,
    /// Messages for it that have given way, and that it has not been told of.
    pub(super) lost: u64,
    /// Clients whose objects it gets.
    pub(super) clients: usize,
    /// When it acknowledged last, or was sent something while it had acknowledged all.
    pub(super) progress_ms: u64,
    /// It has not acknowledged in time, and gets nothing until it does.
    pub(super) is_suspended: bool,
}

/// An acknowledgement of what was not sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AckError {
    /// The last number that was sent.
    pub last: u64,
}

impl fmt::Display for AckError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`ack`: the last `seq` that was sent is {}", self.last)
    }
}

impl Member {
    pub(super) fn new(limits: MemberLimits, now_ms: u64) -> Self {
        Self {
            limits,
            waiting: Queue::default(),
            sent: VecDeque::new(),
            next_seq: 1,
            lost: 0,
            clients: 0,
            progress_ms: now_ms,
            is_suspended: false,
        }
    }

    /// Whether it may get another client's objects.
    pub(super) fn has_room(&self) -> bool {
        let open = self.sent.len() + self.waiting.len();
        !self.is_suspended && open < self.limits.credit as usize
    }

    /// Whether the next waiting object may be sent now.
    ///
    /// One that was sent [`ALONE_AFTER`] times is sent alone: if it is what ends members, others are not counted with
    /// it.
    ///
    /// `has_lost`: there is something to tell it that its group has lost.
    pub(super) fn may_send(&mut self, has_lost: bool) -> bool {
        if self.is_suspended || self.sent.len() >= self.limits.credit as usize {
            return false;
        }
        let is_alone = |object: &Pending| object.deliveries > ALONE_AFTER;
        if self.sent.front().is_some_and(is_alone) {
            return false;
        }
        let is_free = self.sent.is_empty();
        match self.waiting.front() {
            Some(next) => next.deliveries < ALONE_AFTER || is_free,
            None => self.lost > 0 || has_lost,
        }
    }

    /// Notes an object as sent. Returns its `seq`.
    pub(super) fn note_sent(&mut self, object: Pending, now_ms: u64) -> u64 {
        if self.sent.is_empty() {
            self.progress_ms = now_ms;
        }
        self.sent.push_back(object);
        self.next_seq += 1;
        self.next_seq - 1
    }

    /// Takes what is acknowledged up to `seq`.
    pub(super) fn acknowledge(
        &mut self,
        seq: u64,
        now_ms: u64,
    ) -> Result<impl Iterator<Item = Pending>, AckError> {
        let last = self.next_seq - 1;
        if seq > last {
            return Err(AckError { last });
        }
        self.is_suspended = false;
        let left = usize::try_from(last - seq).unwrap_or(usize::MAX);
        let count = self.sent.len().saturating_sub(left);
        if count > 0 {
            self.progress_ms = now_ms;
        }
        Ok(self.sent.drain(..count))
    }

    /// The objects that are the member's, the newest first.
    pub(super) fn take_all(&mut self) -> impl Iterator<Item = Pending> {
        let sent = std::mem::take(&mut self.sent);
        self.waiting.drain_from_back().chain(sent.into_iter().rev())
    }
}

/// An object that was sent so often is sent alone.
pub(super) const ALONE_AFTER: u32 = 2;
