//! `[store]`: where accounts and messages are stored, and how much.

use super::kind::{Count, Maybe, Parsed, Size};
use super::section::{SectionRules, section};
use super::size::{GIB, KIB, MIB};

section! {
    /// Accounts and messages that outlive connections, for the protocols that store any.
    pub struct StoreSettings("store", mode) {
        /// The database: "sqlite:PATH". In demo mode without it, one in a temporary folder, which goes when the
        /// gateway stops; in other modes a protocol that stores messages does not start without it.
        url: Option<String> = None, Maybe(URL);
        /// Accounts. Beyond it: registrations are refused with USER_LIMIT.
        max_users: usize = 1_000_000, Count(1..=100_000_000);
        /// Requests that wait for the store's thread. Beyond it: refused with STORE_BUSY.
        max_waiting: usize = 16_384, Count(16..=1_048_576);
        /// Bytes of the messages among them. Beyond it: likewise.
        max_waiting_size: usize = 64 * MIB, Size(2 * MIB..=16 * GIB);
        /// Bytes of stored messages that wait in memory for connections to take them. Beyond it a connection has
        /// one at a time, and the rest stays in the database.
        max_mailbox_memory: usize = 256 * MIB, Size(MIB..=64 * GIB);
        /// Bytes of the database's main file; left out: as large as the disk. Beyond it: messages are refused
        /// with STORE_FULL, and taken again when there is room.
        max_database_size: Option<usize> = None, Maybe(Size(256 * KIB..=1024 * GIB));
    }
}

impl SectionRules for StoreSettings {}

/// The address of a database.
const URL: Parsed<String> = Parsed {
    read: |text| {
        let path = text.strip_prefix("sqlite:")?;
        let is_path = !path.is_empty() && path.len() <= URL_LEN_MAX && !path.contains('\0');
        is_path.then(|| text.to_owned())
    },
    show: String::clone,
    accepts: "\"sqlite:\" and the path of a file",
};

/// Bytes of the path in an address.
const URL_LEN_MAX: usize = 4096;
