//! Tokens that are revoked before they expire, and users that are blocked. They are kept until the tokens would have
//! ended, in memory only.

use std::sync::PoisonError;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::{Identity, TokenError};
use crate::collections::HashMap;

/// Revoked tokens and blocked users.
#[derive(Debug)]
pub struct Revocations {
    /// Entries in the tables, so that the lock is skipped while there are none.
    entries: AtomicUsize,
    /// How often something was revoked.
    version: AtomicUsize,
    max: usize,
    #[expect(
        clippy::disallowed_types,
        reason = "touched when a token is checked, and where one is revoked"
    )]
    tables: std::sync::Mutex<Tables>,
}

#[derive(Default, Debug)]
struct Tables {
    /// Until when a token is revoked, by its `jti`.
    tokens: HashMap<Box<str>, u64>,
    /// Tokens of a user that were issued before a time.
    users: HashMap<Box<str>, IssuedBefore>,
    /// Until when a user is blocked.
    blocked: HashMap<Box<str>, u64>,
}

#[derive(Clone, Copy, Debug)]
struct IssuedBefore {
    time: u64,
    until: u64,
}

/// What is revoked. Times are seconds of Unix time.
#[derive(Clone, Copy, Debug)]
pub enum Revocation<'a> {
    /// The token with this `jti`.
    Token(&'a str),
    /// All tokens of a user whose `iat` is before `issued_before`, or missing.
    User {
        /// The user.
        user: &'a str,
        /// The time.
        issued_before: u64,
    },
    /// All tokens of a user, new ones included.
    Block(&'a str),
}

/// There is no room for another entry: `auth.max_revocations`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RevocationsFull;

impl Revocations {
    /// Keeps at most `max` entries.
    #[must_use]
    pub fn new(max: usize) -> Self {
        Self {
            entries: AtomicUsize::new(0),
            version: AtomicUsize::new(0),
            max,
            tables: Default::default(),
        }
    }

    /// Revokes until `until`. What is revoked already stays so for the longer of both times.
    ///
    /// # Errors
    /// There are as many entries as there may be.
    pub fn revoke(
        &self,
        revocation: Revocation<'_>,
        until: u64,
        now: u64,
    ) -> Result<(), RevocationsFull> {
        let mut tables = self.tables.lock().unwrap_or_else(PoisonError::into_inner);
        let known = match revocation {
            Revocation::Token(id) => tables.tokens.contains_key(id),
            Revocation::User { user, .. } => tables.users.contains_key(user),
            Revocation::Block(user) => tables.blocked.contains_key(user),
        };
        if !known && tables.len() >= self.max {
            tables.tidy(now);
            if tables.len() >= self.max {
                return Err(RevocationsFull);
            }
        }
        let longest = |known: &mut u64| *known = until.max(*known);
        match revocation {
            Revocation::Token(id) => longest(tables.tokens.entry(id.into()).or_default()),
            Revocation::Block(user) => longest(tables.blocked.entry(user.into()).or_default()),
            Revocation::User {
                user,
                issued_before,
            } => {
                let fresh = IssuedBefore {
                    time: issued_before,
                    until,
                };
                let known = tables.users.entry(user.into()).or_insert(fresh);
                known.time = known.time.max(issued_before);
                known.until = known.until.max(until);
            }
        }
        self.entries.store(tables.len(), Ordering::Relaxed);
        self.version.fetch_add(1, Ordering::Release);
        Ok(())
    }

    /// A number that changes when something is revoked: then open connections are to be checked.
    #[must_use]
    pub fn version(&self) -> usize {
        self.version.load(Ordering::Acquire)
    }

    /// Lets a blocked user connect again. Returns whether the user was blocked.
    pub fn unblock(&self, user: &str) -> bool {
        let mut tables = self.tables.lock().unwrap_or_else(PoisonError::into_inner);
        let was_blocked = tables.blocked.remove(user).is_some();
        self.entries.store(tables.len(), Ordering::Relaxed);
        was_blocked
    }

    /// Checks that neither the token of `identity` is revoked nor its user blocked.
    ///
    /// Cost: one load while there are no entries, otherwise a lock and three lookups.
    ///
    /// # Errors
    /// [`TokenError::Revoked`] or [`TokenError::Blocked`].
    pub fn check(&self, identity: &Identity, now: u64) -> Result<(), TokenError> {
        if self.entries.load(Ordering::Relaxed) == 0 {
            return Ok(());
        }
        let issued = identity.issued_at.unwrap_or(0);
        self.check_token(&identity.user, identity.token_id.as_deref(), issued, now)
    }

    /// As [`Self::check`], for a token of `user` with this `jti` that was `issued` then.
    ///
    /// # Errors
    /// As there.
    pub fn check_token(
        &self,
        user: &str,
        id: Option<&str>,
        issued: u64,
        now: u64,
    ) -> Result<(), TokenError> {
        let tables = self.tables.lock().unwrap_or_else(PoisonError::into_inner);
        if tables.blocked.get(user).is_some_and(|until| *until > now) {
            return Err(TokenError::Blocked);
        }
        let by_id = id.and_then(|id| tables.tokens.get(id));
        let by_user = tables.users.get(user);
        let is_revoked = by_id.is_some_and(|until| *until > now)
            || by_user.is_some_and(|before| before.until > now && issued < before.time);
        match is_revoked {
            true => Err(TokenError::Revoked),
            false => Ok(()),
        }
    }

    /// The number of entries.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.load(Ordering::Relaxed)
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Forgets entries whose time is over. Called by the control thread.
    pub fn tidy(&self, now: u64) {
        if !self.is_empty() {
            let mut tables = self.tables.lock().unwrap_or_else(PoisonError::into_inner);
            tables.tidy(now);
            self.entries.store(tables.len(), Ordering::Relaxed);
        }
    }
}

impl Tables {
    fn len(&self) -> usize {
        self.tokens.len() + self.users.len() + self.blocked.len()
    }

    fn tidy(&mut self, now: u64) {
        self.tokens.retain(|_, until| *until > now);
        self.blocked.retain(|_, until| *until > now);
        self.users.retain(|_, before| before.until > now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(
        revocations: &Revocations,
        user: &str,
        id: Option<&str>,
        issued: u64,
        now: u64,
    ) -> Result<(), TokenError> {
        revocations.check_token(user, id, issued, now)
    }

    #[test]
    fn a12_a_token_is_revoked_by_its_id_or_by_user_and_time() {
        let revocations = Revocations::new(10);
        let revoked = Err(TokenError::Revoked);
        revocations
            .revoke(Revocation::Token("t1"), 200, 100)
            .unwrap();
        assert_eq!(
            check(&revocations, "ann", Some("t1"), 50, 100),
            revoked.clone()
        );
        assert_eq!(check(&revocations, "ann", Some("t2"), 50, 100), Ok(()));
        assert_eq!(check(&revocations, "ann", None, 50, 100), Ok(()));
        assert_eq!(check(&revocations, "ann", Some("t1"), 50, 200), Ok(()));
        let of_bob = Revocation::User {
            user: "bob",
            issued_before: 100,
        };
        revocations.revoke(of_bob, 300, 100).unwrap();
        assert_eq!(check(&revocations, "bob", None, 99, 150), revoked.clone());
        assert_eq!(check(&revocations, "bob", None, 0, 150), revoked);
        assert_eq!(check(&revocations, "bob", None, 100, 150), Ok(()));
        assert_eq!(check(&revocations, "bob", None, 99, 300), Ok(()));
    }

    #[test]
    fn a_blocked_user_has_no_valid_token_until_the_time_is_over() {
        let revocations = Revocations::new(10);
        revocations
            .revoke(Revocation::Block("ann"), 200, 100)
            .unwrap();
        let blocked = Err(TokenError::Blocked);
        assert_eq!(check(&revocations, "ann", None, 150, 199), blocked);
        assert_eq!(check(&revocations, "ann", None, 150, 200), Ok(()));
        assert!(revocations.unblock("ann"));
        assert!(!revocations.unblock("ann"));
        assert_eq!(check(&revocations, "ann", None, 150, 199), Ok(()));
    }

    #[test]
    fn the_tables_are_bounded_and_empty_themselves() {
        let revocations = Revocations::new(3);
        for (id, until) in [("a", 200), ("b", 300), ("c", 400)] {
            revocations
                .revoke(Revocation::Token(id), until, 100)
                .unwrap();
        }
        let more = Revocation::Block("ann");
        assert_eq!(revocations.revoke(more, 500, 100), Err(RevocationsFull));
        // What is known may be prolonged, and what is over makes room.
        assert_eq!(revocations.revoke(Revocation::Token("c"), 600, 100), Ok(()));
        assert_eq!(revocations.revoke(more, 500, 200), Ok(()));
        assert_eq!(revocations.len(), 3);
        revocations.tidy(600);
        assert!(revocations.is_empty());
    }
}
