//! The tables of the system that this gateway replaces, in a file that has no version.
//!
//! Accounts, messages with what has become of them, deliveries of broadcasts and sessions are taken over. Times become
//! RFC 3339, which SQLite reads them as whatever it was that wrote them.

use rusqlite::{Connection, OptionalExtension};

/// What replaces a time that cannot be read.
const NO_TIME: &str = "0001-01-01T00:00:00Z";

/// The tables that are replaced, in the order in which they are taken over.
const REPLACED: [&str; 5] = [
    "users",
    "messages",
    "broadcast_deliveries",
    "sessions",
    "metrics",
];

/// Older tables, under names that the new ones do not have.
#[derive(Debug)]
pub(super) struct Tables {
    /// The largest id that a message has had.
    newest: i64,
}

impl Tables {
    /// Renames the tables that are there; `None` if there are none.
    pub(super) fn set_aside(connection: &Connection) -> rusqlite::Result<Option<Self>> {
        if !exists(connection, "messages")? && !exists(connection, "users")? {
            return Ok(None);
        }
        // Tables that are left alone go on naming those that replace these.
        connection.pragma_update(None, "legacy_alter_table", true)?;
        let mut newest = 0;
        if exists(connection, "sqlite_sequence")? {
            let sql = "SELECT seq FROM sqlite_sequence WHERE name = 'messages'";
            let found = connection.query_row(sql, [], |row| row.get(0)).optional()?;
            newest = found.unwrap_or(0);
        }
        for table in REPLACED {
            if exists(connection, table)? {
                let sql = format!("ALTER TABLE {table} RENAME TO older_{table}");
                connection.execute_batch(&sql)?;
            }
        }
        // Their indexes have kept the names that the new ones may want.
        let sql = "SELECT name FROM sqlite_schema WHERE type = 'index' AND tbl_name LIKE 'older\\_%' ESCAPE '\\' \
                   AND sql IS NOT NULL";
        let mut statement = connection.prepare(sql)?;
        let names = statement.query_map([], |row| row.get::<_, String>(0))?;
        for name in names.collect::<Result<Vec<_>, _>>()? {
            let name = name.replace('"', "\"\"");
            connection.execute_batch(&format!("DROP INDEX \"{name}\""))?;
        }
        connection.pragma_update(None, "legacy_alter_table", false)?;
        Ok(Some(Self { newest }))
    }

    /// Copies what is kept into the new tables, and drops the older ones.
    pub(super) fn take_over(&self, connection: &Connection) -> rusqlite::Result<()> {
        for table in REPLACED {
            if !exists(connection, &format!("older_{table}"))? {
                continue;
            }
            match table {
                "users" => users(connection)?,
                "messages" => self.messages(connection)?,
                "broadcast_deliveries" => broadcast_deliveries(connection)?,
                "sessions" => sessions(connection)?,
                _ => {}
            }
        }
        for table in REPLACED {
            connection.execute_batch(&format!("DROP TABLE IF EXISTS older_{table}"))?;
        }
        Ok(())
    }

    fn messages(&self, connection: &Connection) -> rusqlite::Result<()> {
        let table = "older_messages";
        let is_broadcast = text_of(connection, table, "is_broadcast", "0")?;
        let (status, signature) = (
            text_of(connection, table, "status", "'pending'")?,
            text_of(connection, table, "signature", "''")?,
        );
        let (key, nonce) = (
            text_of(connection, table, "encrypted_key", "''")?,
            text_of(connection, table, "encryption_nonce", "''")?,
        );
        let time = time("timestamp");
        connection.execute_batch(&format!(
            "INSERT INTO messages (id, from_user, to_user, timestamp, content, status, is_broadcast, message_type, \
             signature, encrypted_key, encryption_nonce) \
             SELECT id, coalesce(from_user, ''), coalesce(to_user, ''), {time}, coalesce(content, ''), {status}, \
             {is_broadcast} <> 0, iif({is_broadcast} <> 0, 'broadcast', 'direct'), {signature}, {key}, {nonce} \
             FROM {table} ORDER BY id"
        ))?;
        let sql = "UPDATE sqlite_sequence SET seq = max(seq, ?) WHERE name = 'messages'";
        if connection.execute(sql, [self.newest])? == 0 {
            let sql = "INSERT INTO sqlite_sequence (name, seq) VALUES ('messages', ?)";
            connection.execute(sql, [self.newest])?;
        }
        // A broadcast before a user was registered is not for that user.
        connection.execute_batch(
            "UPDATE users SET registered_after = coalesce((SELECT max(id) FROM messages \
             WHERE message_type = 'broadcast' AND julianday(timestamp) < julianday(users.created_at)), 0)",
        )
    }
}

fn users(connection: &Connection) -> rusqlite::Result<()> {
    let key = text_of(connection, "older_users", "x25519_public_key", "''")?;
    let created = match has_column(connection, "older_users", "created_at")? {
        true => time("created_at"),
        false => format!("'{NO_TIME}'"),
    };
    connection.execute_batch(&format!(
        "INSERT INTO users (user_id, username, public_key, x25519_public_key, created_at) \
         SELECT user_id, coalesce(username, ''), coalesce(public_key, ''), {key}, {created} FROM older_users \
         WHERE user_id IS NOT NULL"
    ))
}

fn broadcast_deliveries(connection: &Connection) -> rusqlite::Result<()> {
    let delivered = time("delivered_at");
    connection.execute_batch(&format!(
        "INSERT OR IGNORE INTO broadcast_deliveries (message_id, user_id, delivered_at) \
         SELECT message_id, user_id, {delivered} FROM older_broadcast_deliveries \
         WHERE message_id IS NOT NULL AND user_id IS NOT NULL"
    ))
}

fn sessions(connection: &Connection) -> rusqlite::Result<()> {
    if !has_column(connection, "older_sessions", "session_id")? {
        return Ok(());
    }
    let (start, end) = (time("start_time"), time("coalesce(end_time, start_time)"));
    connection.execute_batch(&format!(
        "INSERT OR IGNORE INTO sessions (id, user_id, connected_at, disconnected_at) \
         SELECT session_id, coalesce(user_id, ''), {start}, {end} FROM older_sessions WHERE session_id IS NOT NULL"
    ))
}

/// The expression of a column, or of what stands for it where it is missing or null.
fn text_of(
    connection: &Connection,
    table: &str,
    column: &str,
    otherwise: &str,
) -> rusqlite::Result<String> {
    Ok(match has_column(connection, table, column)? {
        true => format!("coalesce({column}, {otherwise})"),
        false => otherwise.to_owned(),
    })
}

/// The expression of a time as RFC 3339. Some programs write a zone after a space, and a monotonic clock after that.
fn time(column: &str) -> String {
    let text = |column: &str| format!("strftime('%Y-%m-%dT%H:%M:%fZ', {column})");
    let (whole, first) = (text(column), text(&format!("substr({column}, 1, 19)")));
    format!("coalesce({whole}, {first}, '{NO_TIME}')")
}

fn exists(connection: &Connection, table: &str) -> rusqlite::Result<bool> {
    let sql = "SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = ?";
    let found = connection.query_row(sql, [table], |_| Ok(())).optional()?;
    Ok(found.is_some())
}

/// Whether there is such a table with such a column.
pub(super) fn has_column(
    connection: &Connection,
    table: &str,
    column: &str,
) -> rusqlite::Result<bool> {
    let sql = "SELECT 1 FROM pragma_table_info(?) WHERE name = ?";
    let found = connection.query_row(sql, [table, column], |_| Ok(()));
    Ok(found.optional()?.is_some())
}
