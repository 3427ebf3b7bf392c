//! The map types everybody uses: `ahash` with keys drawn at random per process,
//! so that names chosen by a peer cannot be made to collide (HOSTILE M16).

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
