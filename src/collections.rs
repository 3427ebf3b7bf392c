//! The map types everybody uses: `ahash` with keys drawn at random per process,
//! so that names chosen by a peer cannot be made to collide (hostile-inputs.md M16); and bytes that arrive bit by bit.

mod segments;

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

#[cfg(test)]
mod tests {
    use super::*;

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
