//! The map and set every module uses.
//!
//! `ahash` keyed at random per process: names of topics, users and headers come
//! from peers, and a fixed seed would let them choose collisions.

use ahash::RandomState;

/// A hash map keyed at random. `HashMap::default()` makes an empty one.
#[expect(clippy::disallowed_types, reason = "the alias that the lint points to")]
pub type HashMap<K, V> = std::collections::HashMap<K, V, RandomState>;

/// A hash set keyed at random. `HashSet::default()` makes an empty one.
#[expect(clippy::disallowed_types, reason = "the alias that the lint points to")]
pub type HashSet<T> = std::collections::HashSet<T, RandomState>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_maps_hash_the_same_key_differently() {
        let first: HashMap<&str, ()> = HashMap::default();
        let second: HashMap<&str, ()> = HashMap::default();
        assert_ne!(
            first.hasher().hash_one("topic"),
            second.hasher().hash_one("topic")
        );
    }
}
