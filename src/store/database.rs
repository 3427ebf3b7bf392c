//! What the store's thread asks of a database.

use std::fmt::Debug;

use super::account::{MetricRow, NewUser, Statistics, User};
use super::message::{Message, NewMessage};

/// Why a statement or a commit has failed. The transaction is rolled back.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Fault {
    /// There is no room: it may be tried again.
    Full,
    /// Another process has the database locked: it may be tried again.
    Locked,
    /// What was written may be lost, and what is read may be wrong.
    Broken(String),
}

/// Which messages a mailbox is filled with.
#[derive(Debug)]
pub(super) struct Wanted<'a> {
    /// The recipient.
    pub user: &'a str,
    /// Messages with larger ids.
    pub after: i64,
    /// Broadcasts with larger ids.
    pub broadcasts_after: i64,
    /// Those that were delivered too.
    pub with_delivered: bool,
}

/// The row of a connection.
#[derive(Debug)]
pub(super) struct NewSession<'a> {
    /// Its id.
    pub id: &'a str,
    /// Whose connection.
    pub user: &'a str,
    /// The client's address.
    pub address: &'a str,
    /// The client's program.
    pub user_agent: &'a str,
    /// When it began, in RFC 3339.
    pub connected_at: &'a str,
}

/// A database. All calls are of the store's thread, and block it.
pub(super) trait Database: Debug + Send {
    /// Begins a transaction that writes.
    fn begin(&mut self) -> Result<(), Fault>;
    /// Makes the transaction durable.
    fn commit(&mut self) -> Result<(), Fault>;
    /// Ends the transaction without effect.
    fn rollback(&mut self);

    /// Stores a message, and returns its id.
    fn put(&mut self, message: &NewMessage) -> Result<i64, Fault>;
    /// Stores an account; `false` if its id is taken.
    fn register(&mut self, user: &NewUser, now: &str) -> Result<bool, Fault>;
    /// Stores the row of a connection, if its user has an account.
    fn begin_session(&mut self, session: &NewSession<'_>) -> Result<(), Fault>;
    /// Sets how many messages a connection has sent and received.
    fn count_session(&mut self, id: &str, sent: u64, received: u64) -> Result<(), Fault>;
    /// Sets when a connection has ended.
    fn end_session(&mut self, id: &str, now: &str) -> Result<(), Fault>;
    /// Notes that `user` has got these messages.
    fn mark_delivered(&mut self, user: &str, ids: &[i64], now: &str) -> Result<(), Fault>;
    /// Notes that `user` has got all messages up to `id`: of broadcasts with a number, not with a row for each.
    fn mark_delivered_to(&mut self, user: &str, id: i64) -> Result<(), Fault>;
    /// Notes that `user` has got all broadcasts up to `id`, so that they are not looked at again.
    fn raise_broadcasts(&mut self, user: &str, id: i64) -> Result<(), Fault>;
    /// Writes something of the size of a message and removes it, in transactions of its own.
    fn probe(&mut self, now: &str) -> Result<(), Fault>;
    /// Stores a metric.
    fn put_metric(&mut self, row: &MetricRow) -> Result<(), Fault>;

    /// The account with this id.
    fn user(&mut self, id: &str) -> Result<Option<User>, Fault>;
    /// Passes the ids of all accounts to `take`, sorted, until it returns `false`.
    fn user_ids(&mut self, take: &mut dyn FnMut(&str) -> bool) -> Result<(), Fault>;
    /// The largest id of a message; 0 before the first.
    fn newest(&mut self) -> Result<i64, Fault>;
    /// Passes messages to `take` by id, until it returns `false`; that one is not taken. Returns whether all were.
    fn wanted(
        &mut self,
        wanted: &Wanted<'_>,
        take: &mut dyn FnMut(Message) -> bool,
    ) -> Result<bool, Fault>;
    /// Counts of everything.
    fn statistics(&mut self) -> Result<Statistics, Fault>;

    /// Does what was put off, while nothing waits if `is_idle`.
    fn rest(&mut self, is_idle: bool) -> Result<(), Fault>;
    /// Closes it.
    fn close(self: Box<Self>);
}
