//! What an operator does to a database: check it, copy it, make it smaller.

use std::fs::File;
use std::io;
use std::path::Path;
use std::time::Duration;

use rusqlite::backup::{Backup, StepResult};
use rusqlite::{Connection, ErrorCode, OpenFlags};
use tempfile::NamedTempFile;

use super::schema::{TablesKind, VERSION, kind};
use super::{BUSY_MS, StoreError, check_magic, damaged, lock, refused};

/// Pages copied in one step of a backup.
const BACKUP_PAGES: i32 = 1024;

/// What a check has found in a database that is whole.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Checked {
    /// Accounts.
    pub users: u64,
    /// Messages.
    pub messages: u64,
    /// Direct messages that were not delivered.
    pub pending: u64,
    /// Bytes of the database.
    pub bytes: u64,
}

/// Checks the structure of the database at `path`, its indexes and its version. A gateway may be using it.
///
/// # Errors
/// It is damaged or no gateway's, or cannot be opened.
pub fn check(path: &Path) -> Result<Checked, StoreError> {
    let connection = open(path)?;
    let failed = |error: rusqlite::Error| refused(path, &error);
    let mut statement = connection
        .prepare("PRAGMA integrity_check(10)")
        .map_err(failed)?;
    let lines = statement.query_map([], |row| row.get::<_, String>(0));
    let lines = lines.and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let lines = lines.map_err(failed)?;
    if lines != ["ok"] {
        return Err(damaged(path, &lines.join("; ")));
    }
    check_kind(&connection, path)?;
    let count = |sql: &str| {
        let count: i64 = connection
            .query_row(sql, [], |row| row.get(0))
            .map_err(failed)?;
        Ok(u64::try_from(count).unwrap_or(0))
    };
    let lost = count(
        "SELECT count(*) FROM messages \
         WHERE id > coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'messages'), 0)",
    )?;
    if lost > 0 {
        let report = format!("{lost} messages have ids that would be given again");
        return Err(damaged(path, &report));
    }
    Ok(Checked {
        users: count("SELECT count(*) FROM users")?,
        messages: count("SELECT count(*) FROM messages")?,
        pending: count(
            "SELECT count(*) FROM messages WHERE status = 'pending' AND message_type = 'direct'",
        )?,
        bytes: count("SELECT page_count * page_size FROM pragma_page_count(), pragma_page_size()")?,
    })
}

/// Refuses a database that is not this version of a gateway's.
fn check_kind(connection: &Connection, path: &Path) -> Result<(), StoreError> {
    let failed = |error: rusqlite::Error| refused(path, &error);
    match kind(connection).map_err(failed)? {
        TablesKind::Gateway => {}
        TablesKind::Older => return Err(StoreError::Older(path.to_owned())),
        TablesKind::Empty | TablesKind::Foreign => {
            return Err(StoreError::Foreign(path.to_owned()));
        }
    }
    let found = connection.pragma_query_value(None, "user_version", |row| row.get(0));
    match found.map_err(failed)? {
        VERSION => Ok(()),
        found => {
            let known = VERSION;
            Err(StoreError::TooNew { found, known })
        }
    }
}

/// Copies the database at `path` to `target`, which is not there yet and appears when it is whole and on the disk. A
/// gateway may be using the database: the copy has what was committed when it began.
///
/// # Errors
/// `target` is there, one of them cannot be used, or the database is damaged or no gateway's.
pub fn backup(path: &Path, target: &Path) -> Result<Checked, StoreError> {
    let of_target = |error: io::Error| not_written(target, &reason(&error));
    if target.symlink_metadata().is_ok() {
        return Err(StoreError::CopyExists(target.to_owned()));
    }
    let source = open(path)?;
    check_kind(&source, path)?;
    let folder = match target.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let copy = NamedTempFile::new_in(folder).map_err(of_target)?;
    copy_pages(&source, copy.path()).map_err(|error| match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseCorrupt) => refused(path, &error),
        _ => not_written(target, &error.to_string()),
    })?;
    let checked = check(copy.path()).map_err(|error| match error {
        // So is what it was made of, which has a name that is known.
        StoreError::Damaged { report, .. } => damaged(path, &report),
        error => not_written(target, &error.to_string()),
    })?;
    copy.as_file().sync_all().map_err(of_target)?;
    let named = copy.persist_noclobber(target);
    named.map_err(|error| match error.error.kind() {
        io::ErrorKind::AlreadyExists => StoreError::CopyExists(target.to_owned()),
        _ => of_target(error.error),
    })?;
    let folder = File::open(folder).and_then(|folder| folder.sync_all());
    folder.map_err(of_target)?;
    Ok(checked)
}

fn copy_pages(source: &Connection, target: &Path) -> rusqlite::Result<()> {
    // What is read stays what it is now, so that no write makes the copy begin anew.
    source.execute_batch("BEGIN; SELECT count(*) FROM sqlite_schema")?;
    let mut copy = Connection::open_with_flags(target, flags())?;
    {
        let backup = Backup::new(source, &mut copy)?;
        while backup.step(BACKUP_PAGES)? != StepResult::Done {}
    }
    // The copy is one file, which needs no log beside it until it is used.
    copy.pragma_update(None, "journal_mode", "DELETE")?;
    copy.close().map_err(|(_, error)| error)
}

/// Gives back the room of what was deleted. No gateway may be using the database at `path`. Returns its bytes before
/// and after.
///
/// # Errors
/// It is in use, cannot be opened, or the disk has no room for a second copy meanwhile.
pub fn vacuum(path: &Path) -> Result<(u64, u64), StoreError> {
    let connection = open(path)?;
    let _lock = lock(path)?;
    let before = check(path)?.bytes;
    let smaller = connection.execute_batch("VACUUM; PRAGMA wal_checkpoint(TRUNCATE)");
    smaller.map_err(|error| refused(path, &error))?;
    Ok((before, check(path)?.bytes))
}

/// Opens a database that is there.
fn open(path: &Path) -> Result<Connection, StoreError> {
    if let Err(error) = path.metadata() {
        let path = path.to_owned();
        return Err(StoreError::File { path, error });
    }
    check_magic(path)?;
    let failed = |error: rusqlite::Error| refused(path, &error);
    let connection = Connection::open_with_flags(path, flags()).map_err(failed)?;
    let wait = Duration::from_millis(BUSY_MS);
    connection.busy_timeout(wait).map_err(failed)?;
    Ok(connection)
}

/// Neither makes a file nor reads its name as an address.
pub(super) fn flags() -> OpenFlags {
    OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX
}

fn not_written(target: &Path, error: &str) -> StoreError {
    StoreError::Copy {
        path: target.to_owned(),
        error: error.into(),
    }
}

/// Why a file cannot be written, without the name that it has until it is whole.
fn reason(error: &io::Error) -> String {
    let mut text = error.to_string();
    if let Some(end) = text.find(" at path ") {
        text.truncate(end);
    }
    text
}
