//! The rate limit of a user's messages.

/// A bucket of tokens, of which each message takes one. It is full when the connection begins.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bucket {
    tokens: f64,
    /// When it was last filled, in milliseconds of the shard's clock.
    filled_ms: u64,
}

impl Bucket {
    pub(super) fn full(burst: u32, now_ms: u64) -> Self {
        Self {
            tokens: f64::from(burst),
            filled_ms: now_ms,
        }
    }

    /// Takes a token, if there is one. The bucket gets `rate` a second and holds `burst`; a rate of 0 means no limit.
    pub(super) fn take(&mut self, (rate, burst): (f64, u32), now_ms: u64) -> bool {
        if rate <= 0.0 {
            return true;
        }
        #[expect(clippy::cast_precision_loss, reason = "milliseconds have 43 bits")]
        let seconds = now_ms.saturating_sub(self.filled_ms) as f64 / 1000.0;
        self.filled_ms = now_ms;
        self.tokens = (self.tokens + seconds * rate).min(f64::from(burst));
        let has_one = self.tokens >= 1.0;
        if has_one {
            self.tokens -= 1.0;
        }
        has_one
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_passes_and_then_the_rate() {
        let limit = (5.0, 10);
        let mut bucket = Bucket::full(10, 0);
        let passed = |bucket: &mut Bucket, now_ms, tries: usize| {
            (0..tries).filter(|_| bucket.take(limit, now_ms)).count()
        };
        assert_eq!(passed(&mut bucket, 0, 14), 10);
        assert_eq!(passed(&mut bucket, 199, 3), 0);
        assert_eq!(passed(&mut bucket, 201, 3), 1);
        assert_eq!(passed(&mut bucket, 1200, 20), 5);
        assert_eq!(passed(&mut bucket, 60_000, 20), 10);
        assert!(Bucket::full(1, 0).take((0.0, 1), 0));
    }
}
