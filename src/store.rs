//! Accounts and messages that outlive connections.
//!
//! One thread has the database and decides the order of everything: it writes what waits in one transaction, and what is
//! committed is answered and put into the mailboxes of those who are attached. So what a connection gets has rising ids,
//! what waited in the database and what is sent meanwhile meet without gap or repeat, and what is acknowledged is stored.
//! A mailbox that is full is filled from the database later: a slow reader costs itself alone.

mod account;
mod attach;
mod counters;
mod database;
mod lane;
mod mailbox;
mod message;
mod postgres;
mod pushed;
mod refused;
mod roster;
mod sequencer;
mod shared;
mod sqlite;
#[cfg(test)]
mod tests;

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{PathBuf, absolute};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::{self, JoinHandle};

use tempfile::{Builder, TempDir};
use tokio::sync::oneshot;

pub use account::{
    MessageCount, MetricRow, NewUser, PUBLIC_KEY_LEN, Registered, Statistics, User, UserList,
};
pub use attach::{Attach, Attached, Duplicate};
pub use lane::{Reply, Stored};
pub use mailbox::{MAILBOX_LEN_MAX, Mailbox};
pub use message::{Delivery, Message, MessageKind, NewMessage};
pub use refused::{Refused, StoreError, StoreHealth};
pub use sequencer::ROWS_MAX;
pub use sqlite::{Checked, backup, check, vacuum};

use crate::collections::{HashSet, Locked};
use crate::config::StoreSettings;
use database::{Database, Fault};
use lane::{Answer, Note, Request};
use postgres::Postgres;
use sequencer::Sequencer;
use shared::{Shared, key_of};
use sqlite::Sqlite;

/// The file of a temporary store in its folder.
const TEMPORARY_FILE: &str = "store.db";

/// Who may look into that folder: its owner.
const FOLDER_MODE: u32 = 0o700;

/// The store of a process. Its methods do not block, but for [`Self::stop`].
#[derive(Debug)]
pub struct Store {
    shared: Arc<Shared>,
    /// Joined when the store is stopped.
    thread: Locked<Option<JoinHandle<()>>>,
    /// Removed when the store is stopped.
    folder: Locked<Option<TempDir>>,
}

impl Store {
    /// Opens the database of `settings` and starts the store's thread. Without `store.url` it is one in a temporary
    /// folder, if `temporary` allows that. Blocks while the database is checked, brought to the tables of this version,
    /// and its users are read.
    ///
    /// # Errors
    /// The database cannot be used.
    pub fn open(settings: &StoreSettings, temporary: bool) -> Result<Arc<Self>, StoreError> {
        let url = match settings.url.as_deref() {
            Some(url) => url,
            None if temporary => return Self::open_temporary(settings),
            None => return Err(StoreError::NoUrl),
        };
        if url.starts_with("postgres") {
            let store = Self::start(settings, Box::new(Postgres::open(url)?), None)?;
            let url = settings.shown_url().unwrap_or_default();
            tracing::info!(%url, users = store.users(), "messages are stored on a server");
            return Ok(store);
        }
        let path = PathBuf::from(url.strip_prefix("sqlite:").unwrap_or(url));
        let database = Sqlite::open(&path, settings.max_database_size)?;
        let store = Self::start(settings, Box::new(database), None)?;
        // Wherever the gateway was started, the log says which file it is.
        let path = absolute(&path).unwrap_or(path);
        tracing::info!(path = %path.display(), users = store.users(), "messages are stored in a file");
        Ok(store)
    }

    /// Opens a database in a temporary folder, which goes with the store.
    fn open_temporary(settings: &StoreSettings) -> Result<Arc<Self>, StoreError> {
        let mut folder = Builder::new();
        let folder = folder
            .prefix("fanfare-")
            .permissions(Permissions::from_mode(FOLDER_MODE));
        let folder = folder.tempdir().map_err(StoreError::Start)?;
        let path = folder.path().join(TEMPORARY_FILE);
        let database = Sqlite::open(&path, settings.max_database_size)?;
        let store = Self::start(settings, Box::new(database), Some(folder))?;
        tracing::info!(
            path = %path.display(),
            users = store.users(),
            "messages are stored until the gateway stops: store.url is not set"
        );
        Ok(store)
    }

    /// The number of accounts.
    fn users(&self) -> usize {
        self.shared.registered("").0
    }

    fn start(
        settings: &StoreSettings,
        mut database: Box<dyn Database>,
        folder: Option<TempDir>,
    ) -> Result<Arc<Self>, StoreError> {
        let failed = |fault: Fault| StoreError::Database(format!("{fault:?}").into());
        let mut registered = HashSet::default();
        let mut take = |id: &str| {
            registered.insert(key_of(id));
            true
        };
        database.user_ids(&mut take).map_err(failed)?;
        let newest = database.newest().map_err(failed)?;
        let shared = Arc::new(Shared::new(settings, registered));
        let sequencer = Sequencer::new(shared.clone(), database, newest);
        let of_thread = shared.clone();
        let thread = thread::Builder::new().name("store".to_owned());
        let thread = thread.spawn(move || {
            of_thread.lane.set_thread(thread::current());
            // A panic is a fault of the store, which the gateway goes on without.
            if catch_unwind(AssertUnwindSafe(|| sequencer.run())).is_err() {
                of_thread.set_health(StoreHealth::Poisoned("its thread has panicked".into()));
                of_thread.lane.close();
            }
        });
        Ok(Arc::new(Self {
            shared,
            thread: Locked::new(Some(thread.map_err(StoreError::Start)?)),
            folder: Locked::new(folder),
        }))
    }

    /// Whether it stores.
    #[must_use]
    pub fn health(&self) -> StoreHealth {
        self.shared.health()
    }

    /// Commits what waits, closes the database and waits for that. What is asked afterwards is refused.
    pub fn stop(&self) {
        self.shared.lane.stop();
        let thread = self.thread.lock().take();
        if let Some(thread) = thread
            && thread.join().is_err()
        {
            tracing::error!("the store's thread has panicked");
        }
        drop(self.folder.lock().take());
    }

    /// Whether `user` has an account.
    ///
    /// Cost: a lookup in memory.
    #[must_use]
    pub fn is_registered(&self, user: &str) -> bool {
        self.shared.is_registered(user)
    }

    /// The number of users that are attached.
    #[must_use]
    pub fn connected(&self) -> u64 {
        self.shared.connected.load(Ordering::Relaxed)
    }

    /// Stores an account.
    pub fn register(&self, user: NewUser) -> Reply<Registered> {
        self.ask(|answer| Request::Register(user, answer))
    }

    /// The account with this id.
    pub fn user(&self, id: &str) -> Reply<Option<User>> {
        self.ask(|answer| Request::User(id.into(), answer))
    }

    /// At most `limit` users, those that are attached first.
    pub fn list(&self, limit: usize) -> Reply<UserList> {
        self.ask(|answer| Request::List(limit, answer))
    }

    /// Counts of everything, which may be ten seconds old.
    pub fn statistics(&self) -> Reply<Statistics> {
        self.ask(Request::Statistics)
    }

    /// Attaches a connection. Its mailbox gets first what waits for the user, then what is stored from now on.
    pub fn attach(&self, attach: Attach) -> Reply<Attached> {
        self.ask(|answer| Request::Attach(attach, answer))
    }

    /// The mailbox is empty and [behind](Mailbox::is_behind): more is put into it.
    pub fn refill(&self, mailbox: &Arc<Mailbox>) {
        if !mailbox.swap_refill_asked(true) {
            self.shared.lane.note(Note::Refill(mailbox.clone()));
        }
    }

    /// These messages of the mailbox have been written to the client, and are not delivered again.
    pub fn delivered(&self, mailbox: &Arc<Mailbox>, ids: Vec<i64>) {
        if !ids.is_empty() {
            self.shared.lane.note(Note::Delivered(mailbox.clone(), ids));
        }
    }

    /// The connection has sent and received so many messages until now.
    pub fn count_session(&self, mailbox: &Arc<Mailbox>, sent: u64, received: u64) {
        let note = Note::Session(mailbox.clone(), sent, received);
        self.shared.lane.note(note);
    }

    /// The connection has ended: the last messages that were written to its client, and how many it has sent and
    /// received. To be called for each mailbox that was to be attached, whatever the answer was.
    pub fn detach(&self, mailbox: &Arc<Mailbox>, delivered: Vec<i64>, sent: u64, received: u64) {
        mailbox.set_detached();
        let note = Note::Detach(mailbox.clone(), delivered, sent, received);
        self.shared.lane.note(note);
    }

    /// Stores a message and delivers it: now to those that are attached, to others when they are.
    pub fn put(&self, message: NewMessage) -> Reply<Stored> {
        self.ask(|answer| Request::Put(message, answer))
    }

    /// Stores messages that are not delivered. Nobody waits for it: failures are counted.
    pub fn record(&self, messages: Vec<NewMessage>) {
        self.tell(Request::Record(messages));
    }

    /// Stores metrics, likewise.
    pub fn put_metrics(&self, rows: Vec<MetricRow>) {
        self.tell(Request::Metrics(rows));
    }

    /// Appends the numbers of the store in Prometheus' text format.
    pub fn render_prometheus(&self, out: &mut String) {
        let shared = &self.shared;
        let waiting = shared.lane.waiting();
        let (connected, health) = (self.connected(), self.health());
        shared.counters.render(out, waiting, connected, &health);
    }

    fn ask<T>(&self, make: impl FnOnce(Answer<T>) -> Request) -> Reply<T> {
        let (answer, reply) = oneshot::channel();
        if let Err(why) = self.shared.lane.ask(make(answer)) {
            self.shared.counters.note_refused(why);
        }
        reply
    }

    fn tell(&self, request: Request) {
        let rows = request.rows();
        if rows > 0
            && let Err(why) = self.shared.lane.ask(request)
        {
            self.shared.counters.note_refused(why);
        }
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        self.stop();
    }
}
