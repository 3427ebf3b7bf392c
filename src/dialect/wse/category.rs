//! What kind of message one is, which every message of the protocol says: spec 1.3.

/// The kind of a message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Category {
    /// Of the protocol itself.
    System,
    /// A state as a whole.
    Snapshot,
    /// A change.
    Update,
}

impl Category {
    /// That of a message of this type.
    #[must_use]
    pub(super) fn of(kind: &str) -> Self {
        if kind.contains("_snapshot") || kind.starts_with("snapshot_") {
            return Self::Snapshot;
        }
        match SYSTEM.contains(&kind) {
            true => Self::System,
            false => Self::Update,
        }
    }

    /// Its name on the wire.
    #[must_use]
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::System => "WSE",
            Self::Snapshot => "S",
            Self::Update => "U",
        }
    }
}

/// The types of the protocol's own messages that existing servers mark so.
const SYSTEM: [&str; 8] = [
    "server_ready",
    "server_hello",
    "client_hello_ack",
    "connection_state_change",
    "subscription_update",
    "error",
    "pong",
    "PONG",
];
