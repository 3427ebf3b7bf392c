//! `[store]`: where accounts and messages are stored, and how much.

use super::kind::{Count, Maybe, Parsed, Size};
use super::section::{SectionRules, section};
use super::size::{GIB, KIB, MIB};

section! {
    /// Accounts and messages that outlive connections, for the protocols that store any.
    pub struct StoreSettings("store", mode) {
        /// The database: "sqlite:PATH", or "postgres://user@host/database", which no other gateway may use and
        /// which is reached without TLS. In demo mode without it, one in a temporary folder, which goes when the
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

impl StoreSettings {
    /// The address of the database without the password in it; `None` where none is set.
    #[must_use]
    pub fn shown_url(&self) -> Option<String> {
        self.url.as_ref().map(without_password)
    }
}

/// The address of a database.
const URL: Parsed<String> = Parsed {
    read: |text| {
        let schemes = ["sqlite:", "postgres://", "postgresql://"];
        let rest = schemes.iter().find_map(|it| text.strip_prefix(it))?;
        // What SQLite takes for no file at all.
        let is_none = text == "sqlite::memory:";
        let is_good = !rest.is_empty() && rest.len() <= URL_LEN_MAX && !rest.contains('\0');
        (is_good && !is_none).then(|| text.to_owned())
    },
    show: without_password,
    accepts: "\"sqlite:\" and the path of a file, or \"postgres://user:password@host/database\"",
};

/// Bytes of the path in an address.
const URL_LEN_MAX: usize = 4096;

/// The address as it is shown: without the password in it.
#[expect(clippy::ptr_arg, reason = "what a kind of values takes")]
fn without_password(url: &String) -> String {
    let parts = url.split_once("://").and_then(|(scheme, rest)| {
        let (login, host) = rest.rsplit_once('@')?;
        let (user, _) = login.split_once(':')?;
        Some(format!("{scheme}://{user}:***@{host}"))
    });
    let shown = parts.unwrap_or_else(|| url.clone());
    // It may also be a parameter.
    match shown.split_once('?') {
        Some((address, query)) if query.contains("password") => format!("{address}?***"),
        _ => shown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_would_be_none_is_refused() {
        for (url, is_accepted) in [
            ("sqlite:store.db", true),
            ("sqlite:./:memory:", true),
            ("sqlite::memory:", false),
            ("sqlite:", false),
        ] {
            assert_eq!((URL.read)(url).is_some(), is_accepted, "{url}");
        }
    }

    #[test]
    fn an_address_is_shown_without_its_password() {
        for (url, shown) in [
            ("sqlite:/a:b@c.db", "sqlite:/a:b@c.db"),
            ("postgres://db/x?user=ann&password=p", "postgres://db/x?***"),
            (
                "postgres://ann:p@ss:w@db:5432/x",
                "postgres://ann:***@db:5432/x",
            ),
            ("postgres://ann@db/x", "postgres://ann@db/x"),
        ] {
            assert_eq!(without_password(&url.to_owned()), shown);
        }
    }
}
