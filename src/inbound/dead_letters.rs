//! Objects that no member has acknowledged, however often they were sent.

use std::collections::VecDeque;

use super::OBJECT_OVERHEAD;
use super::queue::Pending;

/// The dead letters of a group, oldest first.
#[derive(Default, Debug)]
pub(super) struct DeadLetters {
    kept: VecDeque<Pending>,
    bytes: usize,
    /// How many there have been.
    pub(super) total: u64,
}

/// A dead letter.
#[derive(Clone, Copy, Debug)]
pub struct DeadLetter<'a> {
    /// Its number in the group.
    pub n: u64,
    /// How often it was sent.
    pub deliveries: u32,
    /// Its other fields as JSON, without braces.
    pub body: &'a [u8],
}

impl DeadLetters {
    /// Adds an object; the oldest ones make room.
    pub(super) fn push(&mut self, object: Pending, (count_max, bytes_max): (usize, usize)) {
        self.total += 1;
        self.bytes += object.body.len() + OBJECT_OVERHEAD;
        self.kept.push_back(object);
        while self.kept.len() > count_max || self.bytes > bytes_max {
            let Some(oldest) = self.kept.pop_front() else {
                break;
            };
            self.bytes -= oldest.body.len() + OBJECT_OVERHEAD;
        }
    }

    /// The newest `limit` of them, oldest first.
    pub(super) fn last(&self, limit: usize) -> impl Iterator<Item = DeadLetter<'_>> {
        let skipped = self.kept.len().saturating_sub(limit);
        self.kept.iter().skip(skipped).map(|object| DeadLetter {
            n: object.n,
            deliveries: object.deliveries,
            body: &object.body,
        })
    }

    /// How many are kept.
    pub(super) fn len(&self) -> usize {
        self.kept.len()
    }
}
