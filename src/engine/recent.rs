//! Idempotency keys of recent publications.

use std::collections::VecDeque;

use crate::collections::HashMap;

/// How long a key is remembered (docs/protocol.md, "Publishing in general terms").
const KEPT_MS: u64 = 5 * 60 * 1000;

/// Keys that one home remembers. Beyond it the oldest are forgotten before their time.
const KEYS_MAX: usize = 200_000;

/// The longest key, in bytes.
pub const KEY_BYTES_MAX: usize = 128;

/// A topic and a key; a pair, since a concatenation would be ambiguous (hostile-inputs.md A16).
type PublicationKey = (Box<str>, Box<str>);

/// The keys of recent publications, and their offsets.
#[derive(Debug, Default)]
pub(super) struct Recent {
    offsets: HashMap<PublicationKey, u64>,
    /// Oldest first, each with the time it was recorded.
    order: VecDeque<(u64, PublicationKey)>,
}

impl Recent {
    /// The offset of the publication with this key.
    pub(super) fn find(&mut self, topic: &str, key: &str, now_ms: u64) -> Option<u64> {
        self.forget(now_ms);
        self.offsets.get(&(topic.into(), key.into())).copied()
    }

    /// Records the offset of a publication.
    pub(super) fn note(&mut self, topic: &str, key: &str, offset: u64, now_ms: u64) {
        let name: PublicationKey = (topic.into(), key.into());
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
        assert!(recent.offsets.is_empty());
    }

    #[test]
    fn the_oldest_keys_go_first() {
        let mut recent = Recent::default();
        for offset in 0..=KEYS_MAX as u64 {
            recent.note("a", &offset.to_string(), offset, 0);
        }
        assert_eq!(recent.find("a", "0", 0), None);
        assert_eq!(recent.find("a", "1", 0), Some(1));
        assert_eq!(recent.offsets.len(), KEYS_MAX);
    }
}
