//! When the write-ahead log is copied into the database: while nothing else is to be done, or when it is long.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use rusqlite::Connection;

use super::Fault;

/// Pages that are copied when there is nothing else to do.
const IDLE_PAGES_MIN: u32 = 256;

/// Pages beyond which they are copied though messages wait: 64 MiB.
const PAGES_MAX: u32 = 16_384;

/// Bytes that the log's file keeps after it was copied.
const KEPT_BYTES_MAX: i64 = 64 * 1024 * 1024;

/// The length of the log.
#[derive(Debug)]
pub(super) struct WalLength {
    /// At the last commit, or since the last copy.
    pages: Arc<AtomicU32>,
    /// When it was copied as far as its readers let it.
    copied: u32,
}

impl WalLength {
    /// Counts the pages of `connection`, which copies none by itself from now on.
    pub(super) fn watch(connection: &mut Connection) -> rusqlite::Result<Self> {
        connection.pragma_update(None, "journal_size_limit", KEPT_BYTES_MAX)?;
        let pages = Arc::new(AtomicU32::new(0));
        let count = pages.clone();
        connection.wal_hook(Some(move |_: &mut rusqlite::hooks::Wal, pages| {
            count.store(u32::try_from(pages).unwrap_or(0), Ordering::Relaxed);
            Ok(())
        }))?;
        Ok(Self { pages, copied: 0 })
    }

    /// Copies what is due.
    pub(super) fn copy(&mut self, connection: &Connection, is_idle: bool) -> Result<(), Fault> {
        let pages = self.pages.load(Ordering::Relaxed);
        if pages < self.copied {
            // It begins from the start again once all of it was copied.
            self.copied = 0;
        }
        let due = match is_idle {
            true => IDLE_PAGES_MIN,
            false => PAGES_MAX,
        };
        if pages - self.copied < due {
            return Ok(());
        }
        let sql = "PRAGMA wal_checkpoint(PASSIVE)";
        let mut statement = connection.prepare_cached(sql)?;
        statement.query_row([], |_| Ok(()))?;
        self.copied = pages;
        Ok(())
    }
}
