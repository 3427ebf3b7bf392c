//! Sums over all shards.

use std::sync::Arc;

use super::Counters;

/// The sums that clients can query.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Totals {
    /// Messages that clients sent.
    pub messages_in: u64,
    /// Deliveries: publications times subscribers.
    pub messages_out: u64,
    /// Memberships.
    pub subscriptions: u64,
}

impl Totals {
    /// Adds up what `shards` have counted.
    ///
    /// Cost: three reads for each shard.
    #[must_use]
    pub fn of(shards: &[Arc<Counters>]) -> Self {
        shards.iter().fold(Self::default(), |sum, shard| Self {
            messages_in: sum.messages_in + shard.messages_in.read(),
            messages_out: sum.messages_out + shard.deliveries.read(),
            subscriptions: sum.subscriptions + shard.subscriptions.read(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn totals_are_sums_over_shards() {
        let shards: Vec<Arc<Counters>> = (0..3).map(|_| Arc::default()).collect();
        for (n, shard) in (1..).zip(&shards) {
            shard.messages_in.add(n);
            shard.deliveries.add(10 * n);
            shard.subscriptions.set(100 * n);
        }
        let expected = Totals {
            messages_in: 6,
            messages_out: 60,
            subscriptions: 600,
        };
        assert_eq!(Totals::of(&shards), expected);
    }
}
