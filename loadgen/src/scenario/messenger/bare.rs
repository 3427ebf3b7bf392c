//! Rows like those of a run, inserted in batches and nothing else: what SQLite and the disk allow.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rusqlite::{Connection, OpenFlags, params};

/// Rows of a transaction, as many as the gateway's store puts into one.
const ROWS: u32 = 256;

/// Pages of the log beyond which it is copied into the database, as in the gateway while it is busy.
const LOG_PAGES_MAX: u32 = 16_384;

/// How long rows are inserted.
pub(super) const BARE_TIME: Duration = Duration::from_secs(2);

/// A row of a message.
#[derive(Debug)]
pub(super) struct BareRow<'a> {
    pub(super) from: &'a str,
    pub(super) to: &'a str,
    pub(super) timestamp: String,
    pub(super) content: String,
}

/// Inserts rows, of which `row` makes each, into a file beside `database` that has the same tables, with a
/// write-ahead log that is synchronized at each commit; rows a second.
pub(super) fn rows_per_second<'a>(
    database: &Path,
    mut row: impl FnMut(u32) -> BareRow<'a>,
) -> Result<f64, String> {
    let mut name = database.as_os_str().to_owned();
    name.push("-bare");
    let path = PathBuf::from(name);
    remove(&path);
    let inserted = insert(database, &path, &mut row);
    remove(&path);
    inserted.map_err(|error| format!("{}: {error}", path.display()))
}

fn insert<'a>(
    database: &Path,
    path: &Path,
    row: &mut dyn FnMut(u32) -> BareRow<'a>,
) -> rusqlite::Result<f64> {
    let tables = tables(database)?;
    let connection = Connection::open(path)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "cache_size", -16_384)?;
    connection.pragma_update(None, "wal_autocheckpoint", LOG_PAGES_MAX)?;
    for sql in tables {
        connection.execute_batch(&sql)?;
    }
    let mut statement = connection.prepare(
        "INSERT INTO messages (from_user, to_user, timestamp, content, status, is_broadcast, message_type, \
         signature, encrypted_key, encryption_nonce) VALUES (?, ?, ?, ?, 'pending', 0, 'direct', '', '', '')",
    )?;
    let (began, mut rows) = (Instant::now(), 0);
    while began.elapsed() < BARE_TIME {
        connection.execute_batch("BEGIN IMMEDIATE")?;
        for number in rows..rows + ROWS {
            let row = row(number);
            statement.execute(params![row.from, row.to, row.timestamp, row.content])?;
        }
        connection.execute_batch("COMMIT")?;
        rows += ROWS;
    }
    Ok(f64::from(rows) / began.elapsed().as_secs_f64())
}

/// How the tables and indexes of a database are made.
fn tables(database: &Path) -> rusqlite::Result<Vec<String>> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY;
    let connection = Connection::open_with_flags(database, flags)?;
    let mut statement = connection.prepare(
        "SELECT sql FROM sqlite_master WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite_%' ORDER BY type = 'index'",
    )?;
    let tables = statement.query_map([], |row| row.get(0))?;
    tables.collect()
}

fn remove(path: &Path) {
    for suffix in ["", "-wal", "-shm"] {
        let mut name = path.as_os_str().to_owned();
        name.push(suffix);
        // It is there only after a run that was killed.
        let _ = fs::remove_file(name);
    }
}
