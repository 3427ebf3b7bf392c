//! Why the store refuses, and how it is.

use std::fmt::{self, Display, Formatter};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

/// Why a request to the store was refused. Displayed as a sentence for the client.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refused {
    /// `store.max_waiting` or `store.max_waiting_size` is reached.
    Busy,
    /// The disk or the database is full.
    DiskFull,
    /// The database has failed and is not written to until a restart.
    Poisoned,
    /// `store.max_users` is reached.
    UsersMax,
    /// The gateway is stopping.
    Stopped,
}

impl Refused {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Busy,
        Self::DiskFull,
        Self::Poisoned,
        Self::UsersMax,
        Self::Stopped,
    ];

    /// The code that clients and metrics tell it by.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::Busy => "STORE_BUSY",
            Self::DiskFull => "STORE_FULL",
            Self::Poisoned => "STORE_FAILED",
            Self::UsersMax => "USER_LIMIT",
            Self::Stopped => "STORE_STOPPED",
        }
    }
}

impl Display for Refused {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Busy => "Too many messages wait to be stored",
            Self::DiskFull => "There is no room to store messages",
            Self::Poisoned => "The message store has failed",
            Self::UsersMax => "The limit of registered users is reached",
            Self::Stopped => "The gateway is stopping",
        })
    }
}

/// Whether the store stores.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum StoreHealth {
    /// It does.
    Good,
    /// Writes are refused until there is room.
    DiskFull,
    /// Writes are refused until the database is not locked by another process any more, or its server is reached.
    Unreachable,
    /// Writes are refused until a restart: the database's words.
    Poisoned(Arc<str>),
}

/// Why a store cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// No database is configured.
    #[error(
        "`store.url` is not set: write where messages are stored, as \"sqlite:/var/lib/fanfare/fanfare.db\""
    )]
    NoUrl,
    /// A file cannot be made or opened.
    #[error("cannot open the store at {path}: {error}")]
    File {
        /// Which file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// A file that is no database of SQLite.
    #[error("{0} is no database: it is not a file of SQLite")]
    NotDatabase(PathBuf),
    /// A database without the tables of a gateway.
    #[error("{0} has no tables of a gateway: it is empty, or the database of another program")]
    Foreign(PathBuf),
    /// A database of the system that this gateway replaces.
    #[error(
        "{0} is of the older system: its tables are taken over when the gateway starts with it"
    )]
    Older(PathBuf),
    /// SQLite refuses.
    #[error("cannot use the store at {path}: {error}")]
    Sqlite {
        /// Which file.
        path: PathBuf,
        /// SQLite's words.
        error: Box<str>,
    },
    /// A copy cannot be written.
    #[error("cannot write the copy {path}: {error}")]
    Copy {
        /// Which file.
        path: PathBuf,
        /// Why.
        error: Box<str>,
    },
    /// The name of a copy is taken.
    #[error("{0} exists already, and nothing is written over: choose another name")]
    CopyExists(PathBuf),
    /// Another process has the store open.
    #[error("the store at {0} is in use by another process")]
    InUse(PathBuf),
    /// Another gateway uses the database on its server.
    #[error("the database of `store.url` is in use by another gateway: each needs its own")]
    ServerInUse,
    /// The database on a server has tables of another program.
    #[error(
        "the database of `store.url` has tables of another program, named as those of a gateway"
    )]
    ServerForeign,
    /// The database is damaged.
    #[error("the store at {path} is damaged: {report}")]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// What the check has found first.
        report: String,
    },
    /// It was made by a newer version.
    #[error(
        "the store has version {found} of its tables, and this gateway knows those up to {known}"
    )]
    TooNew {
        /// The version of its tables.
        found: i64,
        /// The newest version that is known.
        known: i64,
    },
    /// The database refuses.
    #[error("cannot open the store: {0}")]
    Database(Box<str>),
    /// The store's thread or folder could not be made.
    #[error("cannot start the store: {0}")]
    Start(io::Error),
}
