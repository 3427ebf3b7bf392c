//! Histograms with fixed bounds.

use std::sync::atomic::{AtomicU64, Ordering};

use super::counter::Counter;

/// A histogram with `N` bounds and one bucket above them.
#[derive(Debug)]
pub struct Histogram<const N: usize> {
    bounds: [f64; N],
    buckets: [Counter; N],
    above: Counter,
    /// The sum of all values, as the bits of a float.
    sum: AtomicU64,
}

impl<const N: usize> Histogram<N> {
    /// A histogram with these bounds, which rise.
    #[must_use]
    pub fn new(bounds: [f64; N]) -> Self {
        let buckets = std::array::from_fn(|_| Counter::default());
        Self {
            bounds,
            buckets,
            above: Counter::default(),
            sum: AtomicU64::new(0),
        }
    }

    /// Counts one value. Only the shard's own thread may call this.
    pub fn record(&self, value: f64) {
        let bucket = self.bounds.iter().position(|&bound| value <= bound);
        bucket
            .map_or(&self.above, |bucket| &self.buckets[bucket])
            .add(1);
        let sum = f64::from_bits(self.sum.load(Ordering::Relaxed)) + value;
        self.sum.store(sum.to_bits(), Ordering::Relaxed);
    }

    /// The bounds with how many values were at or below each, then the count
    /// and the sum of all.
    #[must_use]
    pub fn read(&self) -> ([(f64, u64); N], u64, f64) {
        let mut total = 0;
        let below = std::array::from_fn(|bucket| {
            total += self.buckets[bucket].read();
            (self.bounds[bucket], total)
        });
        (
            below,
            total + self.above.read(),
            f64::from_bits(self.sum.load(Ordering::Relaxed)),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_counted_below_their_bounds() {
        let histogram = Histogram::new([1.0, 10.0]);
        for value in [0.5, 1.0, 2.0, 11.0] {
            histogram.record(value);
        }
        assert_eq!(histogram.read(), ([(1.0, 2), (10.0, 3)], 4, 14.5));
    }
}
