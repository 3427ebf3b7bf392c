//! The keys of users: fetched when they are needed, and never exchanged without a word.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::accounts::{Accounts, ApiError, PublicKeys};

/// Users whose keys are kept; beyond it those that were not needed for longest are forgotten.
pub(crate) const KNOWN_MAX: usize = 4096;
/// Ids that are remembered as no user's.
const ABSENT_MAX: usize = 256;
/// How long the server's word on an id holds.
const CHECKED_FOR: Duration = Duration::from_secs(300);
/// As [`CHECKED_FOR`], of an id that is no user's, and of keys that a signature does not fit.
const DOUBTED_AFTER: Duration = Duration::from_secs(10);

/// What is known of a user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Lookup {
    /// There is no such user.
    Unknown,
    Known(PublicKeys),
    /// The server has other keys than before; `is_first` when that has not been said yet.
    Changed {
        offered: PublicKeys,
        is_first: bool,
    },
}

#[derive(Debug)]
struct Known {
    /// Of the first look, or those that the user trusts since.
    keys: PublicKeys,
    /// What the server has instead.
    offered: Option<PublicKeys>,
    checked: Option<Instant>,
    used: u64,
}

/// The users that were met.
#[derive(Debug, Default)]
pub(crate) struct Directory {
    known: BTreeMap<String, Known>,
    absent: BTreeMap<String, Instant>,
    uses: u64,
    has_changed: bool,
}

impl Directory {
    /// With keys that were met in earlier runs.
    pub(crate) fn new(keys: impl IntoIterator<Item = (String, PublicKeys)>) -> Self {
        let mut directory = Self::default();
        for (user, keys) in keys {
            directory.insert(user, keys, None);
        }
        directory.has_changed = false;
        directory
    }

    /// The keys of a user, which the server is asked for unless it was a short time ago. What it said
    /// before holds where it does not answer.
    pub(crate) async fn lookup(
        &mut self,
        accounts: &Accounts,
        user: &str,
    ) -> Result<Lookup, ApiError> {
        self.lookup_within(accounts, user, CHECKED_FOR).await
    }

    /// As [`Self::lookup`], when there is reason to doubt what is known.
    pub(crate) async fn lookup_again(
        &mut self,
        accounts: &Accounts,
        user: &str,
    ) -> Result<Lookup, ApiError> {
        self.lookup_within(accounts, user, DOUBTED_AFTER).await
    }

    async fn lookup_within(
        &mut self,
        accounts: &Accounts,
        user: &str,
        limit: Duration,
    ) -> Result<Lookup, ApiError> {
        let now = Instant::now();
        if let Some(lookup) = self.remembered(user, now, limit) {
            return Ok(lookup);
        }
        match accounts.keys(user).await {
            Ok(keys) => Ok(self.learn(user, keys, now)),
            Err(error) => self.remembered(user, now, Duration::MAX).ok_or(error),
        }
    }

    fn remembered(&mut self, user: &str, now: Instant, limit: Duration) -> Option<Lookup> {
        let is_recent = |then: Instant, limit| now.saturating_duration_since(then) < limit;
        if let Some(then) = self.absent.get(user) {
            if is_recent(*then, DOUBTED_AFTER) {
                return Some(Lookup::Unknown);
            }
            self.absent.remove(user);
        }
        self.uses += 1;
        let known = self.known.get_mut(user)?;
        known.used = self.uses;
        let is_enough = match known.checked {
            Some(then) => is_recent(then, limit),
            None => limit == Duration::MAX,
        };
        is_enough.then(|| match &known.offered {
            Some(offered) => Lookup::Changed {
                offered: offered.clone(),
                is_first: false,
            },
            None => Lookup::Known(known.keys.clone()),
        })
    }

    /// Takes what the server says of a user.
    fn learn(&mut self, user: &str, keys: Option<PublicKeys>, now: Instant) -> Lookup {
        let Some(keys) = keys else {
            if self.absent.len() >= ABSENT_MAX {
                self.absent.clear();
            }
            self.absent.insert(user.to_owned(), now);
            return Lookup::Unknown;
        };
        let Some(known) = self.known.get_mut(user) else {
            self.insert(user.to_owned(), keys.clone(), Some(now));
            return Lookup::Known(keys);
        };
        known.checked = Some(now);
        if known.keys == keys {
            known.offered = None;
            return Lookup::Known(keys);
        }
        let is_first = known.offered.as_ref() != Some(&keys);
        known.offered = Some(keys.clone());
        Lookup::Changed {
            offered: keys,
            is_first,
        }
    }

    fn insert(&mut self, user: String, keys: PublicKeys, checked: Option<Instant>) {
        if self.known.len() >= KNOWN_MAX {
            let oldest = self.known.iter().min_by_key(|(_, known)| known.used);
            let oldest = oldest.map(|(user, _)| user.clone());
            oldest.and_then(|user| self.known.remove(&user));
        }
        self.uses += 1;
        let known = Known {
            keys,
            offered: None,
            checked,
            used: self.uses,
        };
        self.known.insert(user, known);
        self.has_changed = true;
    }

    /// From here on the keys that the server has of a user are the user's. False if they are already.
    pub(crate) fn trust(&mut self, user: &str) -> bool {
        let Some(known) = self.known.get_mut(user) else {
            return false;
        };
        let Some(offered) = known.offered.take() else {
            return false;
        };
        known.keys = offered;
        self.has_changed = true;
        true
    }

    /// The keys that are used for a user, without asking the server.
    pub(crate) fn trusted(&self, user: &str) -> Option<&PublicKeys> {
        self.known.get(user).map(|known| &known.keys)
    }

    /// All keys, to be kept for later runs.
    pub(crate) fn keys(&self) -> impl Iterator<Item = (&str, &PublicKeys)> {
        self.known
            .iter()
            .map(|(user, known)| (&**user, &known.keys))
    }

    /// Whether keys have come or changed since the last call.
    pub(crate) fn take_change(&mut self) -> bool {
        std::mem::take(&mut self.has_changed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(byte: u8) -> PublicKeys {
        PublicKeys {
            signing: [byte; 32],
            agreement: Some([byte; 32]),
        }
    }

    #[test]
    fn a_changed_key_is_said_once_and_used_when_it_is_trusted() {
        let now = Instant::now();
        let mut directory = Directory::default();
        assert_eq!(
            directory.learn("bob", Some(keys(1)), now),
            Lookup::Known(keys(1))
        );
        assert!(directory.take_change() && !directory.take_change());
        let changed = |is_first| Lookup::Changed {
            offered: keys(2),
            is_first,
        };
        assert_eq!(directory.learn("bob", Some(keys(2)), now), changed(true));
        assert_eq!(directory.learn("bob", Some(keys(2)), now), changed(false));
        assert_eq!(
            directory.remembered("bob", now, CHECKED_FOR),
            Some(changed(false))
        );
        assert!(directory.trust("bob") && !directory.trust("bob"));
        assert!(directory.take_change());
        assert_eq!(
            directory.learn("bob", Some(keys(2)), now),
            Lookup::Known(keys(2))
        );
        assert!(!directory.trust("eve"));
    }

    #[test]
    fn keys_of_earlier_runs_are_checked_before_they_are_used() {
        let now = Instant::now();
        let mut directory = Directory::new([("bob".to_owned(), keys(1))]);
        assert!(!directory.take_change());
        assert_eq!(directory.remembered("bob", now, CHECKED_FOR), None);
        let offline = directory.remembered("bob", now, Duration::MAX);
        assert_eq!(offline, Some(Lookup::Known(keys(1))));
        assert!(matches!(
            directory.learn("bob", Some(keys(2)), now),
            Lookup::Changed { .. }
        ));
    }

    #[test]
    fn an_absent_user_is_asked_for_again_after_a_while() {
        let now = Instant::now();
        let mut directory = Directory::default();
        assert_eq!(directory.learn("bob", None, now), Lookup::Unknown);
        assert_eq!(
            directory.remembered("bob", now, CHECKED_FOR),
            Some(Lookup::Unknown)
        );
        assert_eq!(
            directory.remembered("bob", now + DOUBTED_AFTER, CHECKED_FOR),
            None
        );
    }

    #[test]
    fn users_beyond_the_limit_push_out_those_not_needed() {
        let now = Instant::now();
        let mut directory = Directory::default();
        for user in 0..KNOWN_MAX {
            directory.learn(&user.to_string(), Some(keys(1)), now);
        }
        directory.remembered("0", now, CHECKED_FOR);
        directory.learn("bob", Some(keys(1)), now);
        assert_eq!(directory.keys().count(), KNOWN_MAX);
        assert!(directory.remembered("0", now, CHECKED_FOR).is_some());
        assert!(directory.remembered("1", now, CHECKED_FOR).is_none());
        for user in 0..2 * ABSENT_MAX {
            directory.learn(&format!("absent{user}"), None, now);
        }
        assert!(directory.absent.len() <= ABSENT_MAX);
    }
}
