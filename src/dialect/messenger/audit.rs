//! The security log: a line for each registration and login, in a file of its own (docs/messenger.md, "Security log").
//!
//! Lines are written by a thread of their own. A file that takes no more costs lines, which are counted, and never the
//! time of a thread that serves.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::net::IpAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::thread;
use std::time::Duration;

use crate::conn::Chore;
use crate::process::Process;
use crate::timestamp::timestamp_of;

/// The security log. Where there is no file, what happens is not written.
#[derive(Debug, Default)]
pub(super) struct AuditLog {
    entries: Option<SyncSender<AuditEntry>>,
    /// Lines that could not be written.
    lost: Arc<AtomicU64>,
}

/// What happened to whom.
#[derive(Debug, Clone, Copy)]
pub(super) struct AuditEvent<'a> {
    /// Its name in the log.
    pub(super) name: &'static str,
    /// The user id as it was sent.
    pub(super) user: &'a str,
    /// The client.
    pub(super) address: IpAddr,
    /// Why it failed; `None` if it succeeded.
    pub(super) failed: Option<&'a str>,
}

#[derive(Debug)]
enum AuditEntry {
    Line(String),
    /// Open the file again: it may have been moved.
    Reopen,
    /// Say that everything before this has been written.
    Flush(SyncSender<()>),
}

impl AuditLog {
    /// A log in the file at `path`, which is made if there is none; others than its user and group cannot read it.
    ///
    /// # Errors
    /// The file cannot be opened, or there can be no more threads.
    pub(super) fn open(path: Option<PathBuf>) -> io::Result<Self> {
        let lost = Arc::<AtomicU64>::default();
        let Some(path) = path else {
            let entries = None;
            return Ok(Self { entries, lost });
        };
        let file = open(&path)?;
        let (entries, receiver) = mpsc::sync_channel(WAITING_MAX);
        let counted = lost.clone();
        thread::Builder::new()
            .name("security-log".to_owned())
            .spawn(move || write_lines(file, &path, &receiver, &counted))?;
        let entries = Some(entries);
        Ok(Self { entries, lost })
    }

    /// Queues a line. It is lost where [`WAITING_MAX`] are waiting.
    pub(super) fn note(&self, event: AuditEvent<'_>, wall_ms: u64) {
        let Some(entries) = &self.entries else { return };
        let line = AuditEntry::Line(line_of(event, wall_ms));
        if entries.try_send(line).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Lines that could not be written, since the start.
    pub(super) fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    /// Has the file opened again at SIGHUP; `None` where there is none.
    pub(super) fn chore(&self) -> Option<Box<dyn Chore>> {
        let entries = self.entries.clone()?;
        Some(Box::new(ReopenLog { entries }))
    }
}

impl Drop for AuditLog {
    /// Waits until all lines have been written, [`FLUSH_TIME_MAX`] at most.
    fn drop(&mut self) {
        if let Some(entries) = &self.entries {
            let (done, is_done) = mpsc::sync_channel(1);
            if entries.try_send(AuditEntry::Flush(done)).is_ok() {
                let _ = is_done.recv_timeout(FLUSH_TIME_MAX);
            }
        }
    }
}

#[derive(Debug)]
struct ReopenLog {
    entries: SyncSender<AuditEntry>,
}

impl Chore for ReopenLog {
    fn look(&mut self, _: &Process, is_reload: bool) {
        if is_reload {
            // Where the thread is stuck with a full queue, it could not open anything either.
            let _ = self.entries.try_send(AuditEntry::Reopen);
        }
    }
}

fn open(path: &PathBuf) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.append(true).create(true).mode(FILE_MODE).open(path)
}

fn write_lines(mut file: File, path: &PathBuf, entries: &Receiver<AuditEntry>, lost: &AtomicU64) {
    let mut is_failing = false;
    for entry in entries {
        let result = match entry {
            AuditEntry::Line(line) => {
                let written = file.write_all(line.as_bytes());
                lost.fetch_add(u64::from(written.is_err()), Ordering::Relaxed);
                written
            }
            AuditEntry::Reopen => open(path).map(|opened| file = opened),
            AuditEntry::Flush(done) => {
                let _ = done.send(());
                continue;
            }
        };
        if let (Err(error), false) = (&result, is_failing) {
            tracing::error!(path = %path.display(), %error, "the security log cannot be written");
        }
        is_failing = result.is_err();
    }
}

/// The line of an event, with its line break.
fn line_of(event: AuditEvent<'_>, wall_ms: u64) -> String {
    let time = timestamp_of(wall_ms);
    let time = str::from_utf8(&time).expect("it is ASCII");
    let (status, details) = match event.failed {
        None => ("SUCCESS", "-".into()),
        Some(why) => ("FAILED", escaped(why)),
    };
    format!(
        "[{time}] SECURITY EVENT: {} | User: {} | IP: {} | Status: {status} | {details}\n",
        event.name,
        escaped(event.user),
        event.address,
    )
}

/// `text` without what could end or forge a line or its fields, and of limited length.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for (at, c) in text.char_indices() {
        if at >= FIELD_BYTES_MAX {
            escaped.push_str("...");
            break;
        }
        match c {
            '|' | '\\' => escaped.extend(c.escape_unicode()),
            // Directions and line ends that terminals and viewers obey.
            '\u{200e}'
            | '\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2066}'..='\u{2069}'
            | '\u{feff}' => escaped.extend(c.escape_unicode()),
            c if c.is_control() => escaped.extend(c.escape_unicode()),
            c => escaped.push(c),
        }
    }
    escaped
}

/// The user of the gateway writes the file, and its group may read it.
const FILE_MODE: u32 = 0o640;

/// Lines that wait to be written.
const WAITING_MAX: usize = 4096;

/// Bytes of a user id, or of a reason, in a line.
const FIELD_BYTES_MAX: usize = 128;

/// At the end of the process, the time for what has not been written.
const FLUSH_TIME_MAX: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, Mode};
    use crate::metrics::CounterRegistry;

    fn login<'a>(user: &'a str, failed: Option<&'a str>) -> AuditEvent<'a> {
        AuditEvent {
            name: "LOGIN",
            user,
            address: "10.0.0.1".parse().unwrap(),
            failed,
        }
    }

    #[test]
    fn a_line_says_what_happened() {
        assert_eq!(
            line_of(login("alice", None), 1_735_732_800_000),
            "[2025-01-01T12:00:00.000Z] SECURITY EVENT: LOGIN | User: alice | IP: 10.0.0.1 | Status: SUCCESS | -\n"
        );
        assert!(
            line_of(login("a", Some("User not found")), 0)
                .ends_with("| Status: FAILED | User not found\n")
        );
    }

    #[test]
    fn m22_no_id_forges_a_line_or_a_field() {
        for user in [
            "a\n[2025",
            "a | Status: SUCCESS",
            "a\r\0\u{7f}\u{85}\u{2028}\u{202e}b\\",
        ] {
            let line = line_of(login(user, Some("no")), 0);
            assert_eq!(line.matches(" | ").count(), 4, "{line}");
            assert_eq!(line.matches(char::is_control).count(), 1, "{line}");
            assert!(!line.contains(['\u{2028}', '\u{202e}']), "{line}");
        }
        assert!(line_of(login(&"x".repeat(9000), None), 0).len() < 300);
        assert_eq!(escaped("ünï"), "ünï");
    }

    #[test]
    fn the_file_can_be_moved_away() {
        let folder = std::env::temp_dir().join(format!("fanfare-audit-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let (path, moved) = (folder.join("security.log"), folder.join("moved"));
        let log = AuditLog::open(Some(path.clone())).unwrap();
        log.note(login("alice", None), 0);
        let mut chore = log.chore().unwrap();
        let config = Config::for_mode(Mode::Demo);
        let process = Process::new(&config, 1, 1, CounterRegistry::default(), None);
        let flush = || {
            let (done, is_done) = mpsc::sync_channel(1);
            let entries = log.entries.as_ref().unwrap();
            entries.send(AuditEntry::Flush(done)).unwrap();
            is_done.recv().unwrap();
        };
        flush();
        std::fs::rename(&path, &moved).unwrap();
        chore.look(&process, true);
        log.note(login("bob", None), 0);
        drop(chore);
        drop(log);
        let read = |path| std::fs::read_to_string(path).unwrap();
        assert!(read(&moved).contains("alice") && read(&path).contains("bob"));
        std::fs::remove_dir_all(&folder).unwrap();
        assert!(AuditLog::open(Some(folder.join("none/x"))).is_err());
        let silent = AuditLog::open(None).unwrap();
        silent.note(login("alice", None), 0);
        assert_eq!(silent.lost(), 0);
    }
}
