//! The database in a file: SQLite with a write-ahead log, synchronized at each commit.

mod maintenance;
mod schema;
mod wal;

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rusqlite::{Connection, ErrorCode, OptionalExtension, Row, params};

use super::account::{MessageCount, MetricRow, NewUser, PUBLIC_KEY_LEN, Statistics, User};
use super::database::{Database, Fault, NewSession, Wanted};
use super::message::{Message, MessageKind, NewMessage};
use super::refused::StoreError;
pub use maintenance::{Checked, backup, check, vacuum};
use schema::{Migration, TablesKind};
use wal::WalLength;

/// Prepared statements that are kept.
const STATEMENTS_MAX: usize = 64;

/// How long a statement waits for another process, such as one that makes a backup, in milliseconds.
const BUSY_MS: u64 = 5000;

/// How a file of SQLite begins.
const MAGIC: &[u8; 16] = b"SQLite format 3\0";

/// Who may read a new database: its owner. SQLite gives the files beside it the same.
const MODE: u32 = 0o600;

/// How long the lock of another process is waited for, and how often it is looked at.
const LOCK_WAIT: Duration = Duration::from_secs(1);
const LOCK_STEP: Duration = Duration::from_millis(20);

/// Files up to this size are checked when they are opened; larger ones only by `fanfare store check`.
const CHECKED_BYTES_MAX: u64 = 256 * 1024 * 1024;

/// Bytes that have to fit before a full store is one that has room again.
const PROBE_BYTES: i64 = 64 * 1024;

/// An open database.
#[derive(Debug)]
pub(super) struct Sqlite {
    connection: Connection,
    wal: WalLength,
    /// Locked as long as the database is open.
    _lock: File,
}

impl Sqlite {
    /// Opens the database at `path`, or makes it.
    ///
    /// # Errors
    /// It is in use, damaged, of a newer version or of another program, or the file cannot be used.
    pub(super) fn open(path: &Path, bytes_max: Option<usize>) -> Result<Self, StoreError> {
        check_magic(path)?;
        let lock = lock(path)?;
        create(path).map_err(|error| of_file(path, error))?;
        let database = |error: rusqlite::Error| refused(path, &error);
        let connection = Connection::open_with_flags(path, maintenance::flags());
        let mut connection = connection.map_err(database)?;
        if schema::kind(&connection).map_err(database)? == TablesKind::Foreign {
            return Err(StoreError::Foreign(path.to_owned()));
        }
        configure(&connection, bytes_max).map_err(database)?;
        let wal = WalLength::watch(&mut connection).map_err(database)?;
        if path
            .metadata()
            .is_ok_and(|it| it.len() <= CHECKED_BYTES_MAX)
        {
            quick_check(&connection, path)?;
        }
        match schema::migrate(&mut connection).map_err(database)? {
            Migration::Done => {}
            Migration::TooNew { found } => {
                let known = schema::VERSION;
                return Err(StoreError::TooNew { found, known });
            }
        }
        connection.execute(END_KILLED, []).map_err(database)?;
        Ok(Self {
            connection,
            wal,
            _lock: lock,
        })
    }

    fn execute(&self, sql: &str, values: impl rusqlite::Params) -> Result<usize, Fault> {
        Ok(self.connection.prepare_cached(sql)?.execute(values)?)
    }

    fn count(&self, sql: &str) -> Result<u64, Fault> {
        let mut statement = self.connection.prepare_cached(sql)?;
        let count: i64 = statement.query_row([], |row| row.get(0))?;
        Ok(u64::try_from(count).unwrap_or(0))
    }
}

/// Locks a file beside the database, so that one process writes it in the order of one thread.
fn lock(path: &Path) -> Result<File, StoreError> {
    let mut name = path.as_os_str().to_owned();
    name.push("-lock");
    let of = |error| of_file(path, error);
    let file = create(Path::new(&name)).map_err(of)?;
    // The process before this one may be about to end.
    let until = Instant::now() + LOCK_WAIT;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) if Instant::now() < until => {
                thread::park_timeout(LOCK_STEP);
            }
            Err(TryLockError::WouldBlock) => return Err(StoreError::InUse(path.to_owned())),
            Err(TryLockError::Error(error)) => return Err(of(error)),
        }
    }
}

/// Opens a file, or makes it for its owner alone.
fn create(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.create(true).truncate(false).write(true).mode(MODE);
    options.open(path)
}

/// Refuses a file that is there and is something else than a database.
fn check_magic(path: &Path) -> Result<(), StoreError> {
    if !path.metadata().is_ok_and(|it| it.is_file() && it.len() > 0) {
        return Ok(());
    }
    let of = |error| of_file(path, error);
    let mut begin = Vec::new();
    let file = File::open(path).map_err(of)?;
    let read = file.take(MAGIC.len() as u64).read_to_end(&mut begin);
    read.map_err(of)?;
    match begin == MAGIC {
        true => Ok(()),
        false => Err(StoreError::NotDatabase(path.to_owned())),
    }
}

fn of_file(path: &Path, error: io::Error) -> StoreError {
    let path = path.to_owned();
    StoreError::File { path, error }
}

/// What SQLite says of the database at `path`.
fn refused(path: &Path, error: &rusqlite::Error) -> StoreError {
    match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseCorrupt) => damaged(path, &error.to_string()),
        Some(ErrorCode::NotADatabase) => StoreError::NotDatabase(path.to_owned()),
        _ => StoreError::Sqlite {
            path: path.to_owned(),
            error: error.to_string().into(),
        },
    }
}

/// The database at `path` is damaged; the lines of a report become one.
fn damaged(path: &Path, report: &str) -> StoreError {
    let lines: Vec<_> = report.lines().collect();
    StoreError::Damaged {
        path: path.to_owned(),
        report: lines.join("; "),
    }
}

fn configure(connection: &Connection, bytes_max: Option<usize>) -> rusqlite::Result<()> {
    connection.busy_timeout(Duration::from_millis(BUSY_MS))?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS_MAX);
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    // Tables of an older system that are left alone may refer to those that are replaced.
    connection.pragma_update(None, "foreign_keys", false)?;
    connection.pragma_update(None, "cache_size", -16_384)?;
    if let Some(bytes) = bytes_max {
        let page: i64 = connection.pragma_query_value(None, "page_size", |row| row.get(0))?;
        let pages = i64::try_from(bytes).unwrap_or(i64::MAX) / page;
        connection.pragma_update(None, "max_page_count", pages)?;
    }
    Ok(())
}

/// Checks the structure of the whole database.
fn quick_check(connection: &Connection, path: &Path) -> Result<(), StoreError> {
    let checked = connection.pragma_query_value(None, "quick_check", |row| row.get(0));
    let report = checked.unwrap_or_else(|error| error.to_string());
    if report == "ok" {
        return Ok(());
    }
    Err(damaged(path, &report))
}

impl Database for Sqlite {
    fn begin(&mut self) -> Result<(), Fault> {
        self.execute("BEGIN IMMEDIATE", []).map(drop)
    }

    fn commit(&mut self) -> Result<(), Fault> {
        self.execute("COMMIT", []).map(drop)
    }

    fn rollback(&mut self) {
        // SQLite has already done it after some errors.
        if !self.connection.is_autocommit() {
            let _ = self.execute("ROLLBACK", []);
        }
    }

    fn put(&mut self, message: &NewMessage) -> Result<i64, Fault> {
        let is_broadcast = message.kind == MessageKind::Broadcast;
        self.execute(
            "INSERT INTO messages (from_user, to_user, timestamp, content, status, is_broadcast, message_type, \
             signature, encrypted_key, encryption_nonce) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            params![
                message.from,
                message.to,
                message.timestamp,
                message.content,
                message.status,
                is_broadcast,
                message.kind.as_str(),
                message.signature,
                message.encrypted_key,
                message.encryption_nonce,
            ],
        )?;
        Ok(self.connection.last_insert_rowid())
    }

    fn register(&mut self, user: &NewUser, now: &str) -> Result<bool, Fault> {
        let inserted = self.execute(
            "INSERT INTO users (user_id, username, public_key, x25519_public_key, created_at, registered_after) \
             VALUES (?, ?, ?, ?, ?, (SELECT coalesce(max(id), 0) FROM messages)) ON CONFLICT DO NOTHING",
            params![
                user.id,
                user.username,
                STANDARD.encode(user.public_key),
                user.x25519_public_key,
                now,
            ],
        )?;
        Ok(inserted > 0)
    }

    fn begin_session(&mut self, session: &NewSession<'_>) -> Result<(), Fault> {
        self.execute(
            "INSERT OR IGNORE INTO sessions (id, user_id, connected_at, ip_address, user_agent) \
             SELECT ?1, ?2, ?3, ?4, ?5 WHERE EXISTS (SELECT 1 FROM users WHERE user_id = ?2)",
            params![
                session.id,
                session.user,
                session.connected_at,
                session.address,
                session.user_agent,
            ],
        )
        .map(drop)
    }

    fn count_session(&mut self, id: &str, sent: u64, received: u64) -> Result<(), Fault> {
        let sql = "UPDATE sessions SET messages_sent = ?, messages_received = ? WHERE id = ?";
        let values = params![whole(sent), whole(received), id];
        self.execute(sql, values).map(drop)
    }

    fn end_session(&mut self, id: &str, now: &str) -> Result<(), Fault> {
        let sql = "UPDATE sessions SET disconnected_at = ? WHERE id = ?";
        self.execute(sql, [now, id]).map(drop)
    }

    fn mark_delivered(&mut self, user: &str, ids: &[i64], now: &str) -> Result<(), Fault> {
        let mut direct = self.connection.prepare_cached(
            "UPDATE messages SET status = 'delivered' \
             WHERE id = ? AND status = 'pending' AND message_type = 'direct'",
        )?;
        let mut broadcast = self.connection.prepare_cached(
            "INSERT OR IGNORE INTO broadcast_deliveries (message_id, user_id, delivered_at) \
             SELECT id, ?2, ?3 FROM messages WHERE id = ?1 AND message_type = 'broadcast'",
        )?;
        for id in ids {
            if direct.execute([id])? == 0 {
                broadcast.execute(params![id, user, now])?;
            }
        }
        Ok(())
    }

    fn mark_delivered_to(&mut self, user: &str, id: i64) -> Result<(), Fault> {
        self.execute(
            "UPDATE messages SET status = 'delivered' \
             WHERE to_user = ? AND id <= ? AND status = 'pending' AND message_type = 'direct'",
            params![user, id],
        )?;
        self.raise_broadcasts(user, id)
    }

    fn raise_broadcasts(&mut self, user: &str, id: i64) -> Result<(), Fault> {
        let sql = "UPDATE users SET broadcasts_to = ?2 WHERE user_id = ?1 AND broadcasts_to < ?2";
        self.execute(sql, params![user, id]).map(drop)
    }

    fn put_metric(&mut self, row: &MetricRow) -> Result<(), Fault> {
        self.execute(
            "INSERT INTO metrics (metric_type, metric_name, value, timestamp, metadata) VALUES (?, ?, ?, ?, ?)",
            params![
                row.metric_type,
                row.metric_name,
                row.value,
                row.timestamp,
                row.metadata,
            ],
        )
        .map(drop)
    }

    fn probe(&mut self, now: &str) -> Result<(), Fault> {
        self.execute(
            "INSERT INTO metrics (metric_type, metric_name, value, timestamp, metadata) \
             VALUES ('probe', 'store_probe', 0, ?, zeroblob(?))",
            params![now, PROBE_BYTES],
        )?;
        let sql = "DELETE FROM metrics WHERE metric_name = 'store_probe'";
        self.execute(sql, []).map(drop)
    }

    fn user(&mut self, id: &str) -> Result<Option<User>, Fault> {
        let mut statement = self.connection.prepare_cached(
            "SELECT user_id, username, public_key, x25519_public_key, created_at, registered_after, broadcasts_to \
             FROM users WHERE user_id = ?",
        )?;
        Ok(statement.query_row([id], user_of).optional()?.flatten())
    }

    fn user_ids(&mut self, take: &mut dyn FnMut(&str) -> bool) -> Result<(), Fault> {
        let sql = "SELECT user_id FROM users ORDER BY user_id";
        let mut statement = self.connection.prepare_cached(sql)?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            if !take(text(row, 0)?) {
                break;
            }
        }
        Ok(())
    }

    fn newest(&mut self) -> Result<i64, Fault> {
        let sql = "SELECT seq FROM sqlite_sequence WHERE name = 'messages'";
        let mut statement = self.connection.prepare_cached(sql)?;
        let newest = statement.query_row([], |row| row.get(0)).optional()?;
        Ok(newest.unwrap_or(0))
    }

    fn wanted(
        &mut self,
        wanted: &Wanted<'_>,
        take: &mut dyn FnMut(Message) -> bool,
    ) -> Result<bool, Fault> {
        let sql = match wanted.with_delivered {
            true => ALL_WANTED,
            false => PENDING_WANTED,
        };
        let mut statement = self.connection.prepare_cached(sql)?;
        let values = params![wanted.user, wanted.after, wanted.broadcasts_after];
        let mut rows = statement.query(values)?;
        while let Some(row) = rows.next()? {
            if !take(message_of(row)?) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn statistics(&mut self) -> Result<Statistics, Fault> {
        // Each is counted in an index, which is much smaller than the table.
        let mut statement = self.connection.prepare_cached(
            "SELECT 'broadcast', 'pending', count(*) FROM messages INDEXED BY messages_broadcast \
             WHERE message_type = 'broadcast' \
             UNION ALL SELECT 'direct', 'delivered', \
             (SELECT count(*) FROM messages INDEXED BY messages_to WHERE message_type = 'direct') - \
             (SELECT count(*) FROM messages INDEXED BY messages_pending \
             WHERE status = 'pending' AND message_type = 'direct') \
             UNION ALL SELECT 'direct', 'pending', count(*) FROM messages INDEXED BY messages_pending \
             WHERE status = 'pending' AND message_type = 'direct' \
             UNION ALL SELECT 'server', status, count(*) FROM messages INDEXED BY messages_server \
             WHERE message_type = 'server' GROUP BY status",
        )?;
        let counted = statement.query_map([], |row| {
            let count: i64 = row.get(2)?;
            Ok(MessageCount {
                kind: boxed(row, 0)?,
                status: boxed(row, 1)?,
                count: u64::try_from(count).unwrap_or(0),
            })
        })?;
        let mut messages: Vec<_> = counted.collect::<Result<_, _>>()?;
        messages.retain(|it| it.count > 0);
        let broadcasts = messages.iter().filter(|it| &*it.kind == "broadcast");
        Ok(Statistics {
            broadcasts: broadcasts.map(|it| it.count).sum(),
            users: self.count("SELECT count(*) FROM users")?,
            sessions: self.count("SELECT count(*) FROM sessions")?,
            deliveries: self.count("SELECT count(*) FROM broadcast_deliveries")?,
            database_bytes: self.count(
                "SELECT page_count * page_size FROM pragma_page_count(), pragma_page_size()",
            )?,
            messages,
        })
    }

    fn rest(&mut self, is_idle: bool) -> Result<(), Fault> {
        self.wal.copy(&self.connection, is_idle)
    }

    fn close(self: Box<Self>) {
        self.connection.flush_prepared_statement_cache();
        if let Err((_, error)) = self.connection.close() {
            tracing::error!(%error, "the store was not closed cleanly");
        }
    }
}

/// Ends the connections of a process that was killed: when it has written its last metrics, which is as long as anything
/// is known of them.
const END_KILLED: &str = "UPDATE sessions SET disconnected_at = max(connected_at, \
     coalesce((SELECT timestamp FROM metrics ORDER BY id DESC LIMIT 1), '')) WHERE disconnected_at IS NULL";

/// Columns of a message, in the order of [`message_of`].
macro_rules! wanted {
    ($direct:literal, $broadcast:literal) => {
        concat!(
            "SELECT id, from_user, to_user, message_type, timestamp, content, signature, encrypted_key, \
             encryption_nonce FROM messages WHERE to_user = ?1 AND id > ?2 AND message_type = 'direct'",
            $direct,
            " UNION ALL SELECT id, from_user, to_user, message_type, timestamp, content, signature, encrypted_key, \
             encryption_nonce FROM messages m WHERE message_type = 'broadcast' AND id > ?3 AND from_user <> ?1",
            $broadcast,
            " ORDER BY id"
        )
    };
}

/// What was not delivered.
const PENDING_WANTED: &str = wanted!(
    " AND status = 'pending'",
    " AND NOT EXISTS (SELECT 1 FROM broadcast_deliveries WHERE message_id = m.id AND user_id = ?1)"
);

/// What was delivered too.
const ALL_WANTED: &str = wanted!("", "");

fn message_of(row: &Row<'_>) -> rusqlite::Result<Message> {
    let kind = match text(row, 3)? {
        "broadcast" => MessageKind::Broadcast,
        _ => MessageKind::Direct,
    };
    let message = NewMessage {
        from: boxed(row, 1)?,
        to: boxed(row, 2)?,
        kind,
        timestamp: boxed(row, 4)?,
        content: boxed(row, 5)?,
        signature: boxed(row, 6)?,
        encrypted_key: boxed(row, 7)?,
        encryption_nonce: boxed(row, 8)?,
        status: "pending",
    };
    Ok(message.stored(row.get(0)?))
}

/// The account of a row; none if its key is none, which could sign nothing.
fn user_of(row: &Row<'_>) -> rusqlite::Result<Option<User>> {
    let key = STANDARD.decode(text(row, 2)?).unwrap_or_default();
    let Ok(public_key) = <[u8; PUBLIC_KEY_LEN]>::try_from(key) else {
        return Ok(None);
    };
    Ok(Some(User {
        id: boxed(row, 0)?,
        username: boxed(row, 1)?,
        public_key,
        x25519_public_key: boxed(row, 3)?,
        created_ms: milliseconds_of(text(row, 4)?),
        registered_after: row.get(5)?,
        broadcasts_to: row.get(6)?,
    }))
}

/// Milliseconds since the epoch of a time in RFC 3339 or as SQLite writes it; 0 if it is neither.
pub(super) fn milliseconds_of(time: &str) -> u64 {
    let time = humantime::parse_rfc3339_weak(time).ok();
    let since = time.and_then(|it| it.duration_since(std::time::UNIX_EPOCH).ok());
    since.map_or(0, |it| u64::try_from(it.as_millis()).unwrap_or(u64::MAX))
}

fn text<'row>(row: &'row Row<'_>, column: usize) -> rusqlite::Result<&'row str> {
    Ok(row.get_ref(column)?.as_str().unwrap_or_default())
}

fn boxed(row: &Row<'_>, column: usize) -> rusqlite::Result<Box<str>> {
    text(row, column).map(Into::into)
}

/// A count as a column takes it.
fn whole(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

impl From<rusqlite::Error> for Fault {
    fn from(error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => Self::Full,
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Self::Locked,
            _ => Self::Broken(error.to_string()),
        }
    }
}
