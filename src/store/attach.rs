//! How a connection is attached.

use std::sync::Arc;

use super::account::User;
use super::mailbox::Mailbox;

/// A connection that is to be attached.
#[derive(Debug)]
pub struct Attach {
    /// Whose connection.
    pub user: Box<str>,
    /// The client's address.
    pub address: Box<str>,
    /// The client's program.
    pub user_agent: Box<str>,
    /// The last message that the client says it has got: everything after it is delivered, again where it was before.
    pub after: Option<i64>,
    /// What happens to another connection of the user.
    pub duplicate: Duplicate,
    /// Where its messages go: a new one.
    pub mailbox: Arc<Mailbox>,
}

/// What happens to the connections that a user has when there is another one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Duplicate {
    /// They are replaced, and told so.
    Replace,
    /// All get what is sent from now on, and each gets first what none of them has delivered.
    Allow,
}

/// What has become of an attempt to attach.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Attached {
    /// The user has no account.
    Unknown,
    /// The connection is attached: the user's account.
    Account(User),
}
