//! Idempotency keys of recent publications.

use std::collections::VecDeque;
use std::hash::{BuildHasher, RandomState};

use crate::collections::HashMap;

/// How long a key is remembered (docs/protocol.md, "Publishing in general terms").
const KEPT_MS: u64 = 5 * 60 * 1000;

/// Keys of services that one home remembers, and as many of clients. Beyond it the oldest are forgotten before their time.
const KEYS_MAX: usize = 200_000;

/// How many are forgotten with each that comes, so that it costs one publication no more than another: more than one, so
/// that they do not become more.
const FORGOTTEN_WITH_EACH: usize = 2;

/// How many of a kind one sweep forgets: a few hundred microseconds.
const SWEPT_MAX: usize = 1000;

/// So many may have places that are not used.
const SHRINK_FROM: usize = 1024;

/// The longest key, in bytes.
pub const KEY_BYTES_MAX: usize = 128;

/// What the key of a client begins with. Those of services are JSON numbers and strings, and never do.
const CLIENT: char = 'c';

/// The key of a publication of `user`, apart from the equal ones of other users and of services. Clients without a user
/// share theirs.
#[must_use]
pub fn client_key(user: &str, key: &str) -> String {
    // With the length of the first part, so that no two pairs make the same (hostile-inputs.md A16).
    format!("{CLIENT}{}:{user}{key}", user.len())
}

/// Stands for a topic and a key, however long they are: what clients send takes the same few bytes each. SipHash, twice,
/// with keys drawn at random, so that no two can be found that have the same.
type Digest = [u64; 2];

/// The key of a publication, as it is looked up.
#[derive(Clone, Copy, Debug)]
pub(super) struct KeyDigest {
    digest: Digest,
    is_client: bool,
}

/// The keys of recent publications, and their offsets. Clients cannot make it forget those of services.
///
/// Memory: 130 bytes a key at most, [`KEYS_MAX`] of services and as many of clients.
#[derive(Debug, Default)]
pub(super) struct Recent {
    hashers: [RandomState; 2],
    services: Keys,
    clients: Keys,
}

#[derive(Debug, Default)]
struct Keys {
    /// Offsets, and when they were recorded.
    offsets: HashMap<Digest, (u64, u64)>,
    /// When each was recorded, oldest first.
    order: VecDeque<(u64, Digest)>,
}

impl Recent {
    /// The key of a publication to `topic`.
    ///
    /// Cost: two hashes of both.
    pub(super) fn digest(&self, topic: &str, key: &str) -> KeyDigest {
        KeyDigest {
            // A pair, since a concatenation would be ambiguous (hostile-inputs.md A16).
            digest: self
                .hashers
                .each_ref()
                .map(|hasher| hasher.hash_one((topic, key))),
            is_client: key.starts_with(CLIENT),
        }
    }

    /// The offset of the publication with this key.
    pub(super) fn find(&self, key: KeyDigest, now_ms: u64) -> Option<u64> {
        let keys = match key.is_client {
            true => &self.clients,
            false => &self.services,
        };
        keys.find(key.digest, now_ms)
    }

    /// Records the offset of a publication.
    pub(super) fn note(&mut self, key: KeyDigest, offset: u64, now_ms: u64) {
        let keys = match key.is_client {
            true => &mut self.clients,
            false => &mut self.services,
        };
        keys.note(key.digest, offset, now_ms);
    }

    /// Forgets keys whose time is over, at most [`SWEPT_MAX`] of each kind.
    pub(super) fn sweep(&mut self, now_ms: u64) {
        for keys in [&mut self.services, &mut self.clients] {
            keys.forget(now_ms, SWEPT_MAX);
            keys.shrink();
        }
    }
}

impl Keys {
    fn find(&self, digest: Digest, now_ms: u64) -> Option<u64> {
        let &(offset, came) = self.offsets.get(&digest)?;
        is_kept(came, now_ms).then_some(offset)
    }

    fn note(&mut self, digest: Digest, offset: u64, now_ms: u64) {
        self.offsets.insert(digest, (offset, now_ms));
        self.order.push_back((now_ms, digest));
        self.forget(now_ms, FORGOTTEN_WITH_EACH);
    }

    /// Forgets at most `max` of those that are too old or too many.
    fn forget(&mut self, now_ms: u64, max: usize) {
        for _ in 0..max {
            let is_over = self.order.len() > KEYS_MAX;
            let due = self
                .order
                .pop_front_if(|(came, _)| is_over || !is_kept(*came, now_ms));
            let Some((came, digest)) = due else {
                return;
            };
            // It may have been recorded anew since.
            if self
                .offsets
                .get(&digest)
                .is_some_and(|&(_, newest)| newest == came)
            {
                self.offsets.remove(&digest);
            }
        }
    }

    fn shrink(&mut self) {
        let wanted = self.order.len().max(SHRINK_FROM) * 2;
        if self.order.capacity() > wanted * 2 {
            self.order.shrink_to(wanted);
            self.offsets.shrink_to(wanted);
        }
    }
}

fn is_kept(came_ms: u64, now_ms: u64) -> bool {
    now_ms.saturating_sub(came_ms) < KEPT_MS
}

#[cfg(test)]
mod tests {
    use super::*;

    fn note(recent: &mut Recent, (topic, key): (&str, &str), offset: u64, now_ms: u64) {
        let key = recent.digest(topic, key);
        recent.note(key, offset, now_ms);
    }

    fn find(recent: &Recent, topic: &str, key: &str, now_ms: u64) -> Option<u64> {
        recent.find(recent.digest(topic, key), now_ms)
    }

    #[test]
    fn a_key_is_remembered_for_its_topic_and_five_minutes() {
        let mut recent = Recent::default();
        note(&mut recent, ("a", "k"), 7, 1000);
        assert_eq!(find(&recent, "a", "k", 1000 + KEPT_MS - 1), Some(7));
        assert_eq!(find(&recent, "ak", "", 1000), None);
        assert_eq!(find(&recent, "b", "k", 1000), None);
        assert_eq!(find(&recent, "a", "k", 1000 + KEPT_MS), None);
        recent.sweep(1000 + KEPT_MS - 1);
        assert_eq!(recent.services.offsets.len(), 1);
        recent.sweep(1000 + KEPT_MS);
        assert!(recent.services.offsets.is_empty() && recent.services.order.is_empty());
    }

    #[test]
    fn a_key_that_is_recorded_anew_is_remembered_from_then() {
        let mut recent = Recent::default();
        note(&mut recent, ("a", "k"), 1, 0);
        note(&mut recent, ("a", "k"), 2, KEPT_MS);
        recent.sweep(KEPT_MS);
        assert_eq!(find(&recent, "a", "k", 2 * KEPT_MS - 1), Some(2));
        assert_eq!(recent.services.order.len(), 1);
    }

    #[test]
    fn many_keys_go_a_few_at_a_time_and_their_memory_with_them() {
        let mut recent = Recent::default();
        for offset in 0..20 * SWEPT_MAX as u64 {
            note(
                &mut recent,
                ("a", &client_key("ann", &offset.to_string())),
                offset,
                0,
            );
        }
        note(&mut recent, ("a", &client_key("ann", "x")), 1, KEPT_MS);
        assert_eq!(
            recent.clients.order.len(),
            20 * SWEPT_MAX + 1 - FORGOTTEN_WITH_EACH
        );
        recent.sweep(KEPT_MS);
        assert_eq!(
            recent.clients.order.len(),
            19 * SWEPT_MAX + 1 - FORGOTTEN_WITH_EACH
        );
        for _ in 0..20 {
            recent.sweep(KEPT_MS);
        }
        assert_eq!(
            (recent.clients.order.len(), recent.clients.offsets.len()),
            (1, 1)
        );
        assert!(recent.clients.order.capacity() <= 4 * SHRINK_FROM);
        assert!(recent.clients.offsets.capacity() <= 8 * SHRINK_FROM);
    }

    #[test]
    fn the_oldest_keys_go_first() {
        let mut recent = Recent::default();
        for offset in 0..=KEYS_MAX as u64 {
            note(&mut recent, ("a", &offset.to_string()), offset, 0);
        }
        assert_eq!(find(&recent, "a", "0", 0), None);
        assert_eq!(find(&recent, "a", "1", 0), Some(1));
        assert_eq!(recent.services.offsets.len(), KEYS_MAX);
    }

    #[test]
    fn keys_of_users_and_services_are_apart() {
        let mut recent = Recent::default();
        let keys = [
            r#""k""#.to_owned(),
            client_key("", r#""k""#),
            client_key("ann", r#""k""#),
            client_key("an", r#"n"k""#),
        ];
        for (offset, key) in (1..).zip(&keys) {
            assert_eq!(find(&recent, "a", key, 0), None, "{key}");
            note(&mut recent, ("a", key), offset, 0);
        }
        for (offset, key) in (1..).zip(&keys) {
            assert_eq!(find(&recent, "a", key, 0), Some(offset), "{key}");
        }
    }

    #[test]
    fn clients_do_not_make_it_forget_the_keys_of_services() {
        let mut recent = Recent::default();
        note(&mut recent, ("a", "7"), 1, 0);
        for offset in 0..=KEYS_MAX as u64 {
            note(
                &mut recent,
                ("a", &client_key("ann", &offset.to_string())),
                offset,
                0,
            );
        }
        assert_eq!(find(&recent, "a", "7", 0), Some(1));
    }
}
