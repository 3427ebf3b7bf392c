//! What waits for the store's thread: requests up to a limit, and notes of connections.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::Thread;

use crossbeam::queue::SegQueue;
use tokio::sync::oneshot;

use super::account::{MetricRow, NewUser, Registered, Statistics, User, UserList};
use super::attach::{Attach, Attached};
use super::mailbox::Mailbox;
use super::message::{Message, NewMessage};
use super::refused::Refused;
use crate::config::StoreSettings;

/// The answer to a request, once what it asks for is stored. If its sender is dropped, the store has stopped.
pub type Reply<T> = oneshot::Receiver<Result<T, Refused>>;

/// Where an answer goes.
pub(super) type Answer<T> = oneshot::Sender<Result<T, Refused>>;

/// A stored message, as its sender is told.
#[derive(Clone, Debug)]
pub struct Stored {
    /// The message.
    pub message: Arc<Message>,
    /// Whether its recipient is attached, or for a broadcast anybody else.
    pub is_attached: bool,
    /// Whether its recipient has an account.
    pub is_registered: bool,
}

/// What is asked of the store's thread. It counts toward the limits of the lane.
#[derive(Debug)]
pub(super) enum Request {
    /// Store a message and deliver it.
    Put(NewMessage, Answer<Stored>),
    /// Store messages that are not delivered.
    Record(Vec<NewMessage>),
    /// Store an account.
    Register(NewUser, Answer<Registered>),
    /// Read an account.
    User(Box<str>, Answer<Option<User>>),
    /// List users, at most so many.
    List(usize, Answer<UserList>),
    /// Count everything.
    Statistics(Answer<Statistics>),
    /// Attach a connection.
    Attach(Attach, Answer<Attached>),
    /// Store metrics.
    Metrics(Vec<MetricRow>),
}

/// What a connection says of its mailbox. It is never refused: a connection says it of what it was given.
#[derive(Debug)]
pub(super) enum Note {
    /// The mailbox is empty and behind.
    Refill(Arc<Mailbox>),
    /// These messages have been written to the client.
    Delivered(Arc<Mailbox>, Vec<i64>),
    /// So many messages of the client were sent and received until now.
    Session(Arc<Mailbox>, u64, u64),
    /// As both, and the connection has ended.
    Detach(Arc<Mailbox>, Vec<i64>, u64, u64),
}

impl Request {
    /// Rows that it writes.
    pub(super) fn rows(&self) -> usize {
        match self {
            Self::Record(messages) => messages.len(),
            Self::Metrics(rows) => rows.len(),
            _ => 1,
        }
    }

    /// Bytes that it holds, roughly.
    fn size(&self) -> usize {
        let held = match self {
            Self::Put(message, _) => message.size(),
            Self::Record(messages) => messages.iter().map(NewMessage::size).sum(),
            Self::Metrics(rows) => {
                let sizes = rows
                    .iter()
                    .map(|row| row.metric_name.len() + row.metadata.len());
                sizes.sum::<usize>() + size_of_val(&**rows)
            }
            Self::Register(user, _) => {
                user.id.len() + user.username.len() + user.x25519_public_key.len()
            }
            Self::Attach(attach, _) => attach.user.len() + attach.user_agent.len(),
            Self::User(id, _) => id.len(),
            Self::List(..) | Self::Statistics(_) => 0,
        };
        size_of::<Self>() + held
    }

    /// Answers it with a refusal.
    pub(super) fn refuse(self, why: Refused) {
        match self {
            Self::Put(_, answer) => drop(answer.send(Err(why))),
            Self::Register(_, answer) => drop(answer.send(Err(why))),
            Self::User(_, answer) => drop(answer.send(Err(why))),
            Self::List(_, answer) => drop(answer.send(Err(why))),
            Self::Statistics(answer) => drop(answer.send(Err(why))),
            Self::Attach(_, answer) => drop(answer.send(Err(why))),
            Self::Record(_) | Self::Metrics(_) => {}
        }
    }
}

impl Note {
    /// Rows that it writes.
    pub(super) fn rows(&self) -> usize {
        match self {
            Self::Refill(_) => 0,
            Self::Session(..) => 1,
            Self::Delivered(_, ids) => ids.len(),
            Self::Detach(_, ids, ..) => ids.len() + 1,
        }
    }
}

/// The lane to the store's thread.
#[derive(Debug)]
pub(super) struct Lane {
    requests: SegQueue<Request>,
    waiting: AtomicUsize,
    waiting_max: usize,
    bytes: AtomicUsize,
    bytes_max: usize,
    notes: SegQueue<Note>,
    /// Rows that the notes write.
    note_rows: AtomicUsize,
    is_woken: AtomicBool,
    is_stopping: AtomicBool,
    is_closed: AtomicBool,
    thread: OnceLock<Thread>,
}

impl Lane {
    pub(super) fn new(settings: &StoreSettings) -> Self {
        Self {
            requests: SegQueue::new(),
            waiting: AtomicUsize::new(0),
            waiting_max: settings.max_waiting,
            bytes: AtomicUsize::new(0),
            bytes_max: settings.max_waiting_size,
            notes: SegQueue::new(),
            note_rows: AtomicUsize::new(0),
            is_woken: AtomicBool::new(false),
            is_stopping: AtomicBool::new(false),
            is_closed: AtomicBool::new(false),
            thread: OnceLock::new(),
        }
    }

    /// The thread that is woken.
    pub(super) fn set_thread(&self, thread: Thread) {
        let _ = self.thread.set(thread);
    }

    /// Appends a request.
    ///
    /// # Errors
    /// It is refused, and answered.
    pub(super) fn ask(&self, request: Request) -> Result<(), Refused> {
        let size = request.size();
        let waiting = self.waiting.fetch_add(1, Ordering::Relaxed);
        let bytes = self.bytes.fetch_add(size, Ordering::Relaxed);
        let refused = if self.is_closed() {
            Some(Refused::Stopped)
        } else if waiting >= self.waiting_max || (bytes > 0 && bytes + size > self.bytes_max) {
            Some(Refused::Busy)
        } else {
            None
        };
        if let Some(why) = refused {
            self.waiting.fetch_sub(1, Ordering::Relaxed);
            self.bytes.fetch_sub(size, Ordering::Relaxed);
            request.refuse(why);
            return Err(why);
        }
        self.requests.push(request);
        self.wake();
        if self.is_closed() {
            // The thread may have ended without having seen it.
            while let Some(request) = self.next_request() {
                request.refuse(Refused::Stopped);
            }
        }
        Ok(())
    }

    /// Appends a note.
    pub(super) fn note(&self, note: Note) {
        if self.is_closed() {
            return;
        }
        self.note_rows.fetch_add(note.rows(), Ordering::Relaxed);
        self.notes.push(note);
        self.wake();
    }

    pub(super) fn next_request(&self) -> Option<Request> {
        let request = self.requests.pop()?;
        self.waiting.fetch_sub(1, Ordering::Relaxed);
        self.bytes.fetch_sub(request.size(), Ordering::Relaxed);
        Some(request)
    }

    pub(super) fn next_note(&self) -> Option<Note> {
        let note = self.notes.pop()?;
        self.note_rows.fetch_sub(note.rows(), Ordering::Relaxed);
        Some(note)
    }

    /// Rows that the waiting notes write.
    pub(super) fn note_rows(&self) -> usize {
        self.note_rows.load(Ordering::Relaxed)
    }

    /// Requests that wait.
    pub(super) fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    /// Tells the thread to do what waits and to end.
    pub(super) fn stop(&self) {
        self.is_stopping.store(true, Ordering::Release);
        self.wake();
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.is_stopping.load(Ordering::Acquire)
    }

    /// From now on all is refused.
    pub(super) fn close(&self) {
        self.is_closed.store(true, Ordering::SeqCst);
        while let Some(request) = self.next_request() {
            request.refuse(Refused::Stopped);
        }
        while self.next_note().is_some() {}
    }

    fn is_closed(&self) -> bool {
        self.is_closed.load(Ordering::SeqCst)
    }

    fn wake(&self) {
        if !self.is_woken.swap(true, Ordering::SeqCst)
            && let Some(thread) = self.thread.get()
        {
            thread.unpark();
        }
    }

    /// The thread looks at the lane now: who appends something afterwards wakes it.
    pub(super) fn begin_look(&self) {
        self.is_woken.swap(false, Ordering::SeqCst);
    }
}
