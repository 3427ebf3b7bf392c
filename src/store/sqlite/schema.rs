//! The tables, and how older ones become them.

mod older;

use rusqlite::Connection;

/// The version of the tables below, which the file has as its `user_version`.
pub(super) const VERSION: i64 = 1;

/// The tables of version 1.
///
/// Messages waiting for a user are found by `messages_pending`, those after an id by `messages_to`.
const TABLES: &str = "
CREATE TABLE users (
    user_id TEXT PRIMARY KEY NOT NULL,
    username TEXT NOT NULL,
    public_key TEXT NOT NULL,
    x25519_public_key TEXT NOT NULL DEFAULT '',
    created_at TEXT NOT NULL,
    registered_after INTEGER NOT NULL DEFAULT 0,
    broadcasts_to INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID;
CREATE TABLE messages (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    from_user TEXT NOT NULL,
    to_user TEXT NOT NULL,
    timestamp TEXT NOT NULL,
    content TEXT NOT NULL,
    status TEXT NOT NULL,
    is_broadcast INTEGER NOT NULL DEFAULT 0,
    message_type TEXT NOT NULL DEFAULT 'direct',
    signature TEXT NOT NULL DEFAULT '',
    encrypted_key TEXT NOT NULL DEFAULT '',
    encryption_nonce TEXT NOT NULL DEFAULT ''
);
CREATE TABLE broadcast_deliveries (
    message_id INTEGER NOT NULL,
    user_id TEXT NOT NULL,
    delivered_at TEXT NOT NULL,
    PRIMARY KEY (message_id, user_id)
) WITHOUT ROWID;
CREATE TABLE sessions (
    id TEXT PRIMARY KEY NOT NULL,
    user_id TEXT NOT NULL,
    connected_at TEXT NOT NULL,
    disconnected_at TEXT,
    messages_sent INTEGER NOT NULL DEFAULT 0,
    messages_received INTEGER NOT NULL DEFAULT 0,
    ip_address TEXT NOT NULL DEFAULT '',
    user_agent TEXT NOT NULL DEFAULT ''
) WITHOUT ROWID;
CREATE TABLE metrics (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    metric_type TEXT NOT NULL,
    metric_name TEXT NOT NULL,
    value REAL NOT NULL,
    timestamp TEXT NOT NULL,
    metadata TEXT NOT NULL DEFAULT ''
);
CREATE INDEX messages_pending ON messages (to_user, id)
    WHERE status = 'pending' AND message_type = 'direct';
CREATE INDEX messages_to ON messages (to_user, id) WHERE message_type = 'direct';
CREATE INDEX messages_server ON messages (status) WHERE message_type = 'server';
CREATE INDEX messages_broadcast ON messages (id) WHERE message_type = 'broadcast';
CREATE INDEX sessions_open ON sessions (id) WHERE disconnected_at IS NULL;
";

/// Whose tables a database has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum TablesKind {
    /// There are none.
    Empty,
    /// A gateway's.
    Gateway,
    /// Those of the system that this gateway replaces.
    Older,
    /// Another program's.
    Foreign,
}

/// Looks whose tables there are.
pub(super) fn kind(connection: &Connection) -> rusqlite::Result<TablesKind> {
    let sql = "SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'";
    let tables: i64 = connection.query_row(sql, [], |row| row.get(0))?;
    let version: i64 = connection.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    let is_known = older::has_column(connection, "users", "public_key")?
        || older::has_column(connection, "messages", "from_user")?;
    Ok(match tables {
        0 => TablesKind::Empty,
        _ if !is_known => TablesKind::Foreign,
        _ if version < VERSION => TablesKind::Older,
        _ => TablesKind::Gateway,
    })
}

/// Makes the tables of [`VERSION`], in one transaction.
pub(super) fn migrate(connection: &mut Connection) -> rusqlite::Result<Migration> {
    let found: i64 = connection.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    if found > VERSION {
        return Ok(Migration::TooNew { found });
    }
    if found < VERSION {
        let transaction = connection.transaction()?;
        let older = older::Tables::set_aside(&transaction)?;
        transaction.execute_batch(TABLES)?;
        if let Some(older) = older {
            older.take_over(&transaction)?;
        }
        transaction.pragma_update(None, "user_version", VERSION)?;
        transaction.commit()?;
    }
    Ok(Migration::Done)
}

/// What has become of the tables.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Migration {
    /// They are those of [`VERSION`].
    Done,
    /// A newer version of the gateway has made them.
    TooNew {
        /// Their version.
        found: i64,
    },
}
