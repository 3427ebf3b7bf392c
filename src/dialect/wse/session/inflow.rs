//! What is counted of a client's messages: their rate, their numbers, and which have come before.

use std::collections::VecDeque;

use crate::collections::{HashSet, hash_of};

/// A bucket of tokens, one for each message that the client may send.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bucket {
    tokens: u32,
    /// When it was last filled, in milliseconds of the shard's clock.
    filled_ms: u32,
    /// When the client was last warned, in seconds.
    warned_s: u32,
    /// When it was last told that something was dropped, in seconds.
    refused_s: u32,
}

/// The answer to a message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Admitted {
    /// It is admitted.
    Freely,
    /// It is admitted, and few are left: so many, if the client is to be told.
    Nearly(Option<u32>),
    /// It is not admitted.
    Refused {
        /// Whether the client is to be told.
        is_told: bool,
    },
}

impl Bucket {
    /// A full bucket.
    pub(super) fn full(capacity: u32) -> Self {
        Self {
            tokens: capacity,
            filled_ms: 0,
            warned_s: 0,
            refused_s: 0,
        }
    }

    /// Takes a token from a bucket of `capacity` that gets `refill` a second. Capacity 0 means no limit.
    ///
    /// Cost: two comparisons; a multiplication for the first of a millisecond.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "times wrap after 49 days, which their difference does not mind"
    )]
    pub(super) fn take(&mut self, capacity: u32, refill: u32, now_ms: u64) -> Admitted {
        if capacity == 0 {
            return Admitted::Freely;
        }
        let since_ms = (now_ms as u32).wrapping_sub(self.filled_ms);
        let gained = u64::from(since_ms) * u64::from(refill) / 1000;
        if gained > 0 {
            let tokens = u64::from(self.tokens).saturating_add(gained);
            self.tokens = u32::try_from(tokens).unwrap_or(u32::MAX).min(capacity);
            // The rest of a token is not lost.
            let used_ms = gained * 1000 / u64::from(refill);
            self.filled_ms = match self.tokens == capacity {
                true => now_ms as u32,
                false => self.filled_ms.wrapping_add(used_ms as u32),
            };
        }
        let second = (now_ms / 1000) as u32 + 1;
        if self.tokens == 0 {
            let is_told = std::mem::replace(&mut self.refused_s, second) != second;
            return Admitted::Refused { is_told };
        }
        self.tokens -= 1;
        if u64::from(self.tokens) * 5 >= u64::from(capacity) {
            return Admitted::Freely;
        }
        let is_told = std::mem::replace(&mut self.warned_s, second) != second;
        Admitted::Nearly(is_told.then_some(self.tokens))
    }

    /// The tokens that are left.
    pub(super) fn left(&self) -> u32 {
        self.tokens
    }
}

/// What the numbers of a client's messages say.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct SequenceStats {
    /// The highest number.
    pub(super) highest: u64,
    /// Messages with a number.
    pub(super) received: u64,
    /// Numbers that were passed over.
    pub(super) missing: u32,
    /// Messages whose number was lower than an earlier one's.
    pub(super) late: u32,
    /// Messages whose number was that of the one before.
    pub(super) repeated: u32,
}

impl SequenceStats {
    pub(super) fn note(&mut self, number: u64) {
        self.received += 1;
        if number > self.highest {
            if self.received > 1 {
                let passed = u32::try_from(number - self.highest - 1).unwrap_or(u32::MAX);
                self.missing = self.missing.saturating_add(passed);
            }
            self.highest = number;
        } else if number == self.highest {
            self.repeated += 1;
        } else {
            self.late += 1;
            self.missing = self.missing.saturating_sub(1);
        }
    }
}

/// Ids that are remembered of a connection.
const SEEN_MAX: usize = 10_000;

/// How long they are, in seconds.
const SEEN_S: u64 = 300;

/// The ids of messages that were passed on.
#[derive(Default, Debug)]
pub(super) struct SeenIds {
    hashes: HashSet<u64>,
    /// The same with the second in which each came, oldest first.
    order: VecDeque<(u64, u32)>,
}

impl SeenIds {
    /// Whether an id, a JSON text, was noted before.
    pub(super) fn has(&mut self, id: &str, now_ms: u64) -> bool {
        self.forget_old(now_ms);
        !self.order.is_empty() && self.hashes.contains(&hash_of(id))
    }

    /// Notes an id.
    pub(super) fn note(&mut self, id: &str, now_ms: u64) {
        let hash = hash_of(id);
        if self.hashes.insert(hash) {
            self.order.push_back((hash, second_of(now_ms)));
        }
        if self.order.len() > SEEN_MAX {
            self.forget_first();
        }
    }

    /// How many ids there are.
    pub(super) fn len(&self) -> usize {
        self.order.len()
    }

    fn forget_old(&mut self, now_ms: u64) {
        let now = u64::from(second_of(now_ms));
        while let Some((_, at)) = self.order.front() {
            if u64::from(*at) + SEEN_S >= now {
                return;
            }
            self.forget_first();
        }
        if self.order.capacity() > 0 {
            *self = Self::default();
        }
    }

    fn forget_first(&mut self) {
        if let Some((hash, _)) = self.order.pop_front() {
            self.hashes.remove(&hash);
        }
    }
}

fn second_of(now_ms: u64) -> u32 {
    u32::try_from(now_ms / 1000).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_admits_its_capacity_and_then_what_is_refilled() {
        let mut bucket = Bucket::full(10);
        let admitted = (0..12).map(|_| bucket.take(10, 5, 1000));
        let admitted: Vec<_> = admitted.collect();
        assert!(admitted[..8].iter().all(|it| *it == Admitted::Freely));
        assert_eq!(admitted[8], Admitted::Nearly(Some(1)));
        assert_eq!(admitted[9], Admitted::Nearly(None));
        assert_eq!(admitted[10], Admitted::Refused { is_told: true });
        assert_eq!(admitted[11], Admitted::Refused { is_told: false });
        // 200 ms a token, and none is lost by asking often.
        let mut count = 0;
        for now_ms in 1000..4000 {
            count += usize::from(!matches!(
                bucket.take(10, 5, now_ms),
                Admitted::Refused { .. }
            ));
        }
        assert_eq!(count, 14);
        assert_eq!(bucket.take(0, 5, 0), Admitted::Freely);
        assert_eq!(bucket.take(10, 5, 5000), Admitted::Freely);
    }

    #[test]
    fn numbers_tell_what_is_missing() {
        let mut stats = SequenceStats::default();
        for number in [1, 2, 5, 4, 5, 6] {
            stats.note(number);
        }
        assert_eq!((stats.highest, stats.received), (6, 6));
        assert_eq!((stats.missing, stats.late, stats.repeated), (1, 1, 1));
    }

    #[test]
    fn an_id_is_known_for_a_while() {
        let mut seen = SeenIds::default();
        assert!(!seen.has("a", 0));
        seen.note("a", 0);
        assert!(seen.has("a", 300_000) && !seen.has("b", 300_000));
        assert!(!seen.has("a", 301_000));
        assert_eq!(seen.len(), 0);
        for number in 0..=SEEN_MAX {
            seen.note(&number.to_string(), 0);
        }
        assert_eq!(seen.len(), SEEN_MAX);
        assert!(!seen.has("0", 0) && seen.has("1", 0));
    }
}
