//! The map types everybody uses: `ahash` with keys drawn at random per process,
//! so that names chosen by a peer cannot be made to collide (hostile-inputs.md M16); and bytes that arrive bit by bit.

mod locked;
mod segments;

use std::sync::LazyLock;

pub use locked::Locked;
pub use segments::{SEGMENT_BYTES, Segments};

/// A hash map keyed by foreign or own values, safe against hash flooding.
#[expect(
    clippy::disallowed_types,
    reason = "the one place that names the std type"
)]
pub type HashMap<K, V> = std::collections::HashMap<K, V, ahash::RandomState>;

/// A hash set, as [`HashMap`].
#[expect(
    clippy::disallowed_types,
    reason = "the one place that names the std type"
)]
pub type HashSet<K> = std::collections::HashSet<K, ahash::RandomState>;

/// A set that keeps the order in which its members came, hashed as [`HashSet`].
pub type IndexSet<T> = indexmap::IndexSet<T, ahash::RandomState>;

/// A hash of `text` with keys drawn once for the process: the same on every shard, and not to be foreseen.
pub fn hash_of(text: &str) -> u64 {
    static KEYS: LazyLock<ahash::RandomState> = LazyLock::new(ahash::RandomState::new);
    KEYS.hash_one(text)
}

/// The capacity above which a reused buffer is freed rather than kept.
const BUFFER_BYTES_MAX: usize = 256 * 1024;

/// Frees reused buffers that one large message has grown.
pub fn free_large<const N: usize>(buffers: [&mut Vec<u8>; N]) {
    for buffer in buffers {
        if buffer.capacity() > BUFFER_BYTES_MAX {
            *buffer = Vec::new();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_large_buffers_are_freed() {
        let mut small = Vec::with_capacity(BUFFER_BYTES_MAX);
        let mut large = Vec::with_capacity(BUFFER_BYTES_MAX + 1);
        free_large([&mut small, &mut large]);
        assert_eq!((small.capacity(), large.capacity()), (BUFFER_BYTES_MAX, 0));
    }

    /// Names that collide in one table cannot be known to collide in another.
    #[test]
    fn m16_every_table_hashes_with_keys_of_its_own() {
        let one: HashMap<&str, ()> = HashMap::default();
        let two: HashMap<&str, ()> = HashMap::default();
        let hash = |map: &HashMap<&str, ()>, name: &str| map.hasher().hash_one(name);
        let names: Vec<String> = (0..100).map(|n| format!("topic.{n}")).collect();
        assert!(
            names
                .iter()
                .any(|name| hash(&one, name) != hash(&two, name))
        );
    }
}
