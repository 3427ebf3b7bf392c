//! Idempotency keys of recent publications.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::collections::HashMap;

/// How long a key is remembered (docs/protocol.md, "Publishing in general terms").
const KEPT_MS: u64 = 5 * 60 * 1000;

/// Keys that one home remembers. Beyond it the oldest are forgotten before their time.
const KEYS_MAX: usize = 200_000;

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

/// A topic and a key; a pair, since a concatenation would be ambiguous (hostile-inputs.md A16).
type PublicationKey = (Box<str>, Box<str>);

/// The keys of recent publications, and their offsets. Clients cannot make it forget those of services.
#[derive(Debug, Default)]
pub(super) struct Recent {
    services: Keys,
    clients: Keys,
}

#[derive(Debug, Default)]
struct Keys {
    offsets: HashMap<Arc<PublicationKey>, u64>,
    /// Oldest first, each with the time it was recorded.
    order: VecDeque<(u64, Arc<PublicationKey>)>,
}

impl Recent {
    /// The offset of the publication with this key.
    pub(super) fn find(&mut self, topic: &str, key: &str, now_ms: u64) -> Option<u64> {
        self.keys_like(key).find(topic, key, now_ms)
    }

    /// Records the offset of a publication.
    pub(super) fn note(&mut self, topic: &str, key: &str, offset: u64, now_ms: u64) {
        self.keys_like(key).note(topic, key, offset, now_ms);
    }

    fn keys_like(&mut self, key: &str) -> &mut Keys {
        match key.starts_with(CLIENT) {
            true => &mut self.clients,
            false => &mut self.services,
        }
    }
}

impl Keys {
    fn find(&mut self, topic: &str, key: &str, now_ms: u64) -> Option<u64> {
        self.forget(now_ms);
        let name: PublicationKey = (topic.into(), key.into());
        self.offsets.get(&name).copied()
    }

    fn note(&mut self, topic: &str, key: &str, offset: u64, now_ms: u64) {
        let name = Arc::new((topic.into(), key.into()));
        if self.offsets.insert(name.clone(), offset).is_none() {
            self.order.push_back((now_ms, name));
        }
        self.forget(now_ms);
    }

    fn forget(&mut self, now_ms: u64) {
        while self.order.front().is_some_and(|(came, _)| {
            now_ms.saturating_sub(*came) >= KEPT_MS || self.order.len() > KEYS_MAX
        }) {
            if let Some((_, name)) = self.order.pop_front() {
                self.offsets.remove(&name);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_remembered_for_its_topic_and_five_minutes() {
        let mut recent = Recent::default();
        recent.note("a", "k", 7, 1000);
        assert_eq!(recent.find("a", "k", 1000 + KEPT_MS - 1), Some(7));
        assert_eq!(recent.find("ak", "", 1000), None);
        assert_eq!(recent.find("b", "k", 1000), None);
        assert_eq!(recent.find("a", "k", 1000 + KEPT_MS), None);
        assert!(recent.services.offsets.is_empty());
    }

    #[test]
    fn the_oldest_keys_go_first() {
        let mut recent = Recent::default();
        for offset in 0..=KEYS_MAX as u64 {
            recent.note("a", &offset.to_string(), offset, 0);
        }
        assert_eq!(recent.find("a", "0", 0), None);
        assert_eq!(recent.find("a", "1", 0), Some(1));
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
            assert_eq!(recent.find("a", key, 0), None, "{key}");
            recent.note("a", key, offset, 0);
        }
        for (offset, key) in (1..).zip(&keys) {
            assert_eq!(recent.find("a", key, 0), Some(offset), "{key}");
        }
    }

    #[test]
    fn clients_do_not_make_it_forget_the_keys_of_services() {
        let mut recent = Recent::default();
        recent.note("a", "7", 1, 0);
        for offset in 0..=KEYS_MAX as u64 {
            recent.note("a", &client_key("ann", &offset.to_string()), offset, 0);
        }
        assert_eq!(recent.find("a", "7", 0), Some(1));
    }
}
