//! The connected users of the bridge protocol, where a user has one connection unless `bridge.duplicate` allows more
//! (docs/bridge.md, "A user's connection").
//!
//! Locked when a connection begins and ends, never for a message.

use std::sync::Arc;

use super::Duplicate;
use crate::collections::HashMap;
use crate::id::AnyPeer;
use crate::process::Locked;

/// The connected users and their connections.
#[derive(Debug)]
pub(super) struct Logins {
    users: Locked<HashMap<Box<str>, Vec<AnyPeer>>>,
}

/// A user's connection in the table. Dropping it removes it.
#[derive(Debug)]
pub(super) struct Login {
    logins: Arc<Logins>,
    user: Box<str>,
    connection: AnyPeer,
}

/// The user is already connected by this connection, which stays.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct AlreadyConnected(pub(super) AnyPeer);

/// The map is not shrunk below a capacity of four times as many users.
const SPARSE_FROM: usize = 1024;

impl Logins {
    /// An empty table.
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self {
            users: Default::default(),
        })
    }

    /// Adds a connection of a user. With [`Duplicate::Allow`] a user may have `per_user_max`. Returns the connections
    /// that it replaces, which the caller disconnects.
    ///
    /// # Errors
    /// Another connection of the user stays; the table is unchanged.
    pub(super) fn enter(
        self: &Arc<Self>,
        user: &str,
        connection: AnyPeer,
        duplicate: Duplicate,
        per_user_max: usize,
    ) -> Result<(Login, Vec<AnyPeer>), AlreadyConnected> {
        let mut users = self.users.lock();
        let connections = users.entry(user.into()).or_default();
        let replaced = match (duplicate, connections.first()) {
            (_, None) => Vec::new(),
            (Duplicate::Refuse, Some(&first)) => return Err(AlreadyConnected(first)),
            (Duplicate::Replace, _) => std::mem::take(connections),
            (Duplicate::Allow, Some(&first)) if connections.len() >= per_user_max => {
                return Err(AlreadyConnected(first));
            }
            (Duplicate::Allow, _) => Vec::new(),
        };
        connections.push(connection);
        drop(users);
        let login = Login {
            logins: self.clone(),
            user: user.into(),
            connection,
        };
        Ok((login, replaced))
    }
}

impl Drop for Login {
    fn drop(&mut self) {
        let mut users = self.logins.users.lock();
        if let Some(connections) = users.get_mut(&self.user) {
            connections.retain(|other| *other != self.connection);
            if connections.is_empty() {
                users.remove(&self.user);
            }
            if users.capacity() / 4 > users.len().max(SPARSE_FROM) {
                let room = users.len() * 2;
                users.shrink_to(room);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::{PeerId, ShardId, Slot};

    fn connection(number: u32) -> AnyPeer {
        let peer = PeerId {
            slot: Slot(number),
            generation: number,
        };
        (ShardId(0), peer)
    }

    #[test]
    fn a_refused_connection_does_not_disturb_the_first() {
        let logins = Logins::new();
        let (first, _) = logins
            .enter("a", connection(1), Duplicate::Refuse, 9)
            .expect("nobody is there");
        for number in 2..5 {
            let refused = logins.enter("a", connection(number), Duplicate::Refuse, 9);
            assert_eq!(refused.unwrap_err(), AlreadyConnected(connection(1)));
        }
        assert_eq!((&*first.user, logins.users.lock().len()), ("a", 1));
        drop(first);
        assert_eq!(logins.users.lock().len(), 0);
        assert!(
            logins
                .enter("a", connection(5), Duplicate::Refuse, 9)
                .is_ok()
        );
    }

    #[test]
    fn a_replaced_connection_that_leaves_late_takes_nobody_along() {
        let logins = Logins::new();
        let (first, _) = logins
            .enter("a", connection(1), Duplicate::Replace, 9)
            .unwrap();
        let (second, replaced) = logins
            .enter("a", connection(2), Duplicate::Replace, 9)
            .unwrap();
        assert_eq!(replaced, [connection(1)]);
        drop(first);
        assert_eq!(logins.users.lock().len(), 1);
        let (_third, replaced) = logins
            .enter("a", connection(3), Duplicate::Replace, 9)
            .unwrap();
        assert_eq!(replaced, [connection(2)]);
        drop(second);
        assert_eq!(logins.users.lock().len(), 1);
    }

    #[test]
    fn where_duplicates_are_allowed_the_user_goes_with_the_last() {
        let logins = Logins::new();
        let enter = |number| {
            logins
                .enter("a", connection(number), Duplicate::Allow, 2)
                .unwrap()
        };
        let ((first, none), (second, _)) = (enter(1), enter(2));
        assert!(none.is_empty());
        let third = logins.enter("a", connection(3), Duplicate::Allow, 2);
        assert_eq!(third.unwrap_err(), AlreadyConnected(connection(1)));
        drop(first);
        assert_eq!(logins.users.lock().len(), 1);
        drop(second);
        assert_eq!(logins.users.lock().len(), 0);
    }
}
