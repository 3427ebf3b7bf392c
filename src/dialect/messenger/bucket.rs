//! The rate limit of a user's messages.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::collections::{HashMap, Locked};
use crate::id::UserKey;

/// A bucket of tokens, of which each message takes one: one for all connections of a user, full when the first of them
/// begins. It is the time at which it will be full again, in microseconds of the shards' clock.
///
/// Cost: an exchange in memory that the connections of one user share.
#[derive(Clone, Default, Debug)]
pub(super) struct Bucket(Arc<AtomicU64>);

impl Bucket {
    /// Takes a token, if there is one. The bucket gets `rate` a second and holds `burst`; a rate of 0 means no limit.
    pub(super) fn take(&self, (rate, burst): (f64, u32), now_ms: u64) -> bool {
        if rate <= 0.0 {
            return true;
        }
        let now_us = now_ms.saturating_mul(1000);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "it is positive, and more than an age is as good as an age"
        )]
        let token_us = (1e6 / rate) as u64;
        let full_us = token_us.saturating_mul(u64::from(burst));
        let take = |full_at: u64| {
            let full_at = full_at.max(now_us).saturating_add(token_us);
            (full_at - now_us <= full_us).then_some(full_at)
        };
        let taken = self
            .0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, take);
        taken.is_ok()
    }
}

/// The buckets of the connected users.
#[derive(Default, Debug)]
pub(super) struct Buckets(Locked<HashMap<[u8; 8], Bucket>>);

/// Buckets beyond which those of users who have left are removed, whenever as many have been added.
const SWEPT_FROM: usize = 1024;

impl Buckets {
    /// The bucket of a user: that of other connections, or a full one.
    pub(super) fn of(&self, user: &str) -> Bucket {
        let mut buckets = self.0.lock();
        if buckets.len() >= SWEPT_FROM && buckets.len() == buckets.capacity() {
            buckets.retain(|_, bucket| Arc::strong_count(&bucket.0) > 1);
        }
        let bucket = buckets.entry(UserKey::of(user).to_bytes()).or_default();
        if Arc::strong_count(&bucket.0) == 1 {
            // The last of its connections has left.
            *bucket = Bucket::default();
        }
        bucket.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_passes_and_then_the_rate() {
        let limit = (5.0, 10);
        let bucket = Bucket::default();
        let passed =
            |now_ms, tries: usize| (0..tries).filter(|_| bucket.take(limit, now_ms)).count();
        assert_eq!(passed(1000, 14), 10);
        assert_eq!(passed(1199, 3), 0);
        assert_eq!(passed(1201, 3), 1);
        assert_eq!(passed(2200, 20), 5);
        assert_eq!(passed(60_000, 20), 10);
        assert!(Bucket::default().take((0.0, 1), 0));
        assert!(Bucket::default().take((1e-9, 1), 0));
    }

    #[test]
    fn connections_of_a_user_share_a_bucket_until_the_last_has_left() {
        let (buckets, limit) = (Buckets::default(), (0.001, 2));
        let (first, second, other) = (buckets.of("ann"), buckets.of("ann"), buckets.of("bob"));
        assert!(first.take(limit, 0) && second.take(limit, 0));
        assert!(!first.take(limit, 0) && !second.take(limit, 0));
        assert!(other.take(limit, 0));
        drop(first);
        assert!(!buckets.of("ann").take(limit, 0));
        drop(second);
        assert!(buckets.of("ann").take(limit, 0));
        for number in 0..100_000 {
            let _ = buckets.of(&number.to_string());
        }
        assert!(buckets.0.lock().len() < 4 * SWEPT_FROM);
    }
}
