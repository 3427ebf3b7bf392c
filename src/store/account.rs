//! Accounts, and what is listed and counted of them.

/// Bytes of an Ed25519 public key.
pub const PUBLIC_KEY_LEN: usize = 32;

/// An account to be registered.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NewUser {
    /// Its id, which no other account has.
    pub id: Box<str>,
    /// The name that others see.
    pub username: Box<str>,
    /// The Ed25519 key that its signatures are checked with.
    pub public_key: [u8; PUBLIC_KEY_LEN],
    /// The X25519 key that messages to it are encrypted with, as given; empty if there is none.
    pub x25519_public_key: Box<str>,
}

/// What has become of a registration.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Registered {
    /// The account is stored.
    New,
    /// An account has this id.
    Exists,
}

/// An account.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct User {
    /// Its id.
    pub id: Box<str>,
    /// The name that others see.
    pub username: Box<str>,
    /// The Ed25519 key that its signatures are checked with.
    pub public_key: [u8; PUBLIC_KEY_LEN],
    /// The X25519 key that messages to it are encrypted with; empty if there is none.
    pub x25519_public_key: Box<str>,
    /// When it was registered, in milliseconds since the epoch.
    pub created_ms: u64,
    /// Broadcasts with ids up to this one are not for it.
    pub registered_after: i64,
    /// All broadcasts with ids up to this one were delivered to it.
    pub broadcasts_to: i64,
}

/// Users by whether they are attached, each list sorted.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct UserList {
    /// Attached now, at most as many as asked for.
    pub online: Vec<Box<str>>,
    /// The rest, at most as many as asked for together with those.
    pub offline: Vec<Box<str>>,
    /// All accounts.
    pub total: u64,
}

/// Counts of the whole database.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Statistics {
    /// Accounts.
    pub users: u64,
    /// Messages by type and status.
    pub messages: Vec<MessageCount>,
    /// Connections, those that have ended too.
    pub sessions: u64,
    /// Broadcasts.
    pub broadcasts: u64,
    /// Deliveries of broadcasts.
    pub deliveries: u64,
    /// Bytes of the database.
    pub database_bytes: u64,
}

/// How many messages have a type and status.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MessageCount {
    /// `direct`, `broadcast` or `server`.
    pub kind: Box<str>,
    /// As stored.
    pub status: Box<str>,
    /// How many.
    pub count: u64,
}

/// A row of the table of metrics.
#[derive(Clone, PartialEq, Debug)]
pub struct MetricRow {
    /// What kind of number it is.
    pub metric_type: &'static str,
    /// Its name.
    pub metric_name: Box<str>,
    /// The number.
    pub value: f64,
    /// When, in RFC 3339.
    pub timestamp: Box<str>,
    /// JSON about it; empty if there is none.
    pub metadata: Box<str>,
}
