//! The store's thread: what waits is written in one transaction, then answered and delivered in the order of its ids.

use std::mem;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use super::account::{Registered, Statistics, UserList};
use super::attach::{Attach, Attached, Duplicate};
use super::database::{Database, Fault, NewSession};
use super::lane::{Note, Request, Stored};
use super::mailbox::{Mailbox, Owner};
use super::message::{Message, MessageKind};
use super::refused::{Refused, StoreHealth};
use super::roster::{NewAttachment, Roster};
use super::shared::Shared;
use crate::timestamp::timestamp_of;

/// Rows of requests in one transaction, but for those of the last request.
pub const ROWS_MAX: usize = 256;

/// Rows of notes in the same transaction, likewise.
const NOTE_ROWS_MAX: usize = 1024;

/// Waiting rows of notes, beyond which no requests are taken. A broadcast makes as many as there are connections.
const NOTE_ROWS_WAITING_MAX: usize = 65_536;

/// Deliveries that the requests of one turn make, but for those of the last request.
const FAN_OUT_MAX: usize = 65_536;

/// How long after a refusal a full store is tried, and how often.
const FULL_RETRY: Duration = Duration::from_secs(1);

/// How long an answer to [`Request::Statistics`] is used again.
const STATISTICS_AGE: Duration = Duration::from_secs(10);

/// Users and their states for one thread.
#[derive(Debug)]
pub(super) struct Sequencer {
    shared: Arc<Shared>,
    database: Box<dyn Database>,
    roster: Roster,
    /// The last message that is committed.
    newest: i64,
    /// The last message that is in the mailboxes of those who were attached before it.
    sequenced: i64,
    /// Notes whose rows could not be written for want of room.
    unsaved: Vec<Note>,
    /// When those are tried next.
    notes_retry: Option<Instant>,
    /// When a store that has refused is tried next: a while after it has refused last.
    retry: Option<Instant>,
    statistics: Option<(Instant, Statistics)>,
    /// Begins the ids of this process's sessions.
    epoch: u64,
    is_filling: bool,
    /// Bytes of the messages in all mailboxes.
    memory: Arc<AtomicUsize>,
}

/// What the transaction has made of a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Written {
    /// Nothing was to be written, or it is.
    Done,
    /// A message with this id.
    Message(i64),
    /// An account.
    Account(Registered),
    /// It is refused.
    Refused(Refused),
}

impl Sequencer {
    /// Over a database whose newest message is `newest`.
    pub(super) fn new(shared: Arc<Shared>, database: Box<dyn Database>, newest: i64) -> Self {
        let roster = Roster::new(shared.connected.clone(), shared.settings.max_mailbox_memory);
        Self {
            roster,
            shared,
            database,
            newest,
            sequenced: newest,
            unsaved: Vec::new(),
            notes_retry: None,
            retry: None,
            statistics: None,
            epoch: wall_ms(),
            is_filling: false,
            memory: Arc::default(),
        }
    }

    /// Works until it is told to stop.
    pub(super) fn run(mut self) {
        loop {
            self.shared.lane.begin_look();
            let is_stopping = self.shared.lane.is_stopping();
            let has_worked = self.turn(Instant::now());
            self.rest(!has_worked);
            if has_worked {
                continue;
            }
            if is_stopping {
                break;
            }
            self.wait();
        }
        self.end_sessions();
        self.shared.lane.close();
        self.database.close();
    }

    /// Lets the database do what it has put off. That there is no room for it costs nothing but time.
    fn rest(&mut self, is_idle: bool) {
        if !self.shared.is_poisoned()
            && let Err(fault @ Fault::Broken(_)) = self.database.rest(is_idle)
        {
            self.fail(&fault);
        }
    }

    fn wait(&self) {
        let wakes = [self.roster.next_wake(), self.retry, self.notes_retry];
        match wakes.into_iter().flatten().min() {
            Some(wake) => thread::park_timeout(wake.saturating_duration_since(Instant::now())),
            None => thread::park(),
        }
    }

    /// Does what waits, up to the limits of a turn. Returns whether there was anything.
    fn turn(&mut self, now: Instant) -> bool {
        let notes = self.take_notes(now);
        let requests = self.take_requests();
        let is_idle = notes.is_empty() && requests.is_empty() && !self.is_filling;
        if !is_idle {
            let written = self.write(&notes, &requests, now);
            self.take_note_of(notes);
            for (request, written) in requests.into_iter().zip(written) {
                self.answer(request, written, now);
            }
            self.sequenced = self.newest;
        }
        self.probe(now);
        let is_filling = self
            .roster
            .fill(&mut *self.database, self.newest, Instant::now());
        self.is_filling = is_filling.unwrap_or_else(|fault| {
            self.fail(&fault);
            false
        });
        let is_due = !self.unsaved.is_empty() && self.notes_retry.is_none();
        !is_idle || self.is_filling || is_due
    }

    /// Tries whether a full store has room again. That a small row fits does not say so: where messages are refused again
    /// and again, it stays full.
    fn probe(&mut self, now: Instant) {
        if self.retry.is_none_or(|retry| retry > now) {
            return;
        }
        let time = timestamp_of(wall_ms());
        let time = str::from_utf8(&time).expect("it is ASCII");
        match self.database.probe(time) {
            Ok(()) => self.note_room(),
            Err(fault) => {
                self.fail(&fault);
            }
        }
    }

    fn note_room(&mut self) {
        (self.retry, self.notes_retry) = (None, None);
        self.shared.set_health(StoreHealth::Good);
    }

    fn take_notes(&mut self, now: Instant) -> Vec<Note> {
        // Those that are kept for want of room are tried again in a while.
        let mut notes = match self.notes_retry {
            Some(retry) if retry > now => Vec::new(),
            _ => {
                self.notes_retry = None;
                mem::take(&mut self.unsaved)
            }
        };
        let mut rows: usize = notes.iter().map(Note::rows).sum();
        while rows < NOTE_ROWS_MAX
            && let Some(note) = self.shared.lane.next_note()
        {
            rows += note.rows();
            notes.push(note);
        }
        notes
    }

    fn take_requests(&self) -> Vec<Request> {
        let mut requests = Vec::new();
        if self.shared.lane.note_rows() > NOTE_ROWS_WAITING_MAX {
            return requests;
        }
        let (mut rows, mut fan_out) = (0, 0);
        while rows < ROWS_MAX
            && fan_out < FAN_OUT_MAX
            && let Some(request) = self.shared.lane.next_request()
        {
            rows += request.rows();
            if let Request::Put(message, _) = &request
                && message.kind == MessageKind::Broadcast
            {
                fan_out += self.roster.len();
            }
            requests.push(request);
        }
        requests
    }

    /// Writes the rows of notes and requests, and says what has become of each request.
    fn write(&mut self, notes: &[Note], requests: &[Request], now: Instant) -> Vec<Written> {
        if self.shared.is_poisoned() {
            let refuse = |request: &Request| match writes(request) {
                true => Written::Refused(Refused::Poisoned),
                false => Written::Done,
            };
            return requests.iter().map(refuse).collect();
        }
        // Where there is little room, notes may fit though messages do not.
        let is_apart = self.retry.is_some();
        let apart = match is_apart && !notes.is_empty() {
            true => self.transact(notes, &[], now).map(drop),
            false => Ok(()),
        };
        let notes = if is_apart { &[] } else { notes };
        let written = match apart {
            Err(why @ Refused::Poisoned) => Err(why),
            _ => self.transact(notes, requests, now),
        };
        match written {
            Ok(written) => written,
            Err(why) => {
                let refuse = |request: &Request| match writes(request) {
                    true => Written::Refused(why),
                    false => Written::Done,
                };
                requests.iter().map(refuse).collect()
            }
        }
    }

    /// Writes in one transaction. If it fails, the notes are kept where they may be written later.
    fn transact(
        &mut self,
        notes: &[Note],
        requests: &[Request],
        now: Instant,
    ) -> Result<Vec<Written>, Refused> {
        let note_rows: usize = notes.iter().map(Note::rows).sum();
        let rows = requests.iter().filter(|it| writes(it)).map(Request::rows);
        let rows = note_rows + rows.sum::<usize>();
        if rows == 0 {
            return Ok(vec![Written::Done; requests.len()]);
        }
        let began = Instant::now();
        let newest = self.newest;
        let result = self.write_rows(notes, requests);
        match result.and_then(|written| self.database.commit().map(|()| written)) {
            Ok(written) => {
                let is_message = |it: &&Written| matches!(it, Written::Message(_));
                let messages = written.iter().filter(is_message).count();
                let counters = &self.shared.counters;
                counters.note_commit(rows, messages, began.elapsed());
                if !notes.is_empty() && self.unsaved.is_empty() {
                    self.roster.forget_unsaved();
                }
                // A commit says that the database is reached, but not that there is room for what was refused.
                if self.retry.is_some() && self.shared.health() == StoreHealth::Unreachable {
                    self.note_room();
                }
                Ok(written)
            }
            Err(fault) => {
                self.newest = newest;
                self.database.rollback();
                let why = self.fail(&fault);
                match why {
                    Refused::Poisoned => self.shared.counters.note_lost_deliveries(note_rows),
                    _ => self.keep(notes, now),
                }
                Err(why)
            }
        }
    }

    fn write_rows(&mut self, notes: &[Note], requests: &[Request]) -> Result<Vec<Written>, Fault> {
        let time = timestamp_of(wall_ms());
        let time = str::from_utf8(&time).expect("it is ASCII");
        self.database.begin()?;
        for note in notes {
            self.write_note(note, time)?;
        }
        let mut written = Vec::with_capacity(requests.len());
        let mut new_users = 0;
        for request in requests {
            written.push(match request {
                Request::Put(message, _) => {
                    self.newest = self.database.put(message)?;
                    Written::Message(self.newest)
                }
                Request::Record(messages) => {
                    for message in messages {
                        self.newest = self.database.put(message)?;
                    }
                    Written::Done
                }
                Request::Register(user, _) => {
                    let (users, is_known) = self.shared.registered(&user.id);
                    if users + new_users >= self.shared.settings.max_users && !is_known {
                        Written::Refused(Refused::UsersMax)
                    } else if self.database.register(user, time)? {
                        new_users += 1;
                        Written::Account(Registered::New)
                    } else {
                        Written::Account(Registered::Exists)
                    }
                }
                Request::Attach(attach, _) => {
                    self.write_attach(attach, time)?;
                    Written::Done
                }
                Request::Metrics(rows) => {
                    for row in rows {
                        self.database.put_metric(row)?;
                    }
                    Written::Done
                }
                Request::User(..) | Request::List(..) | Request::Statistics(_) => Written::Done,
            });
        }
        Ok(written)
    }

    fn write_note(&mut self, note: &Note, time: &str) -> Result<(), Fault> {
        let (Note::Refill(mailbox)
        | Note::Delivered(mailbox, _)
        | Note::Session(mailbox, ..)
        | Note::Detach(mailbox, ..)) = note;
        let Some(owner) = mailbox.owner() else {
            return Ok(());
        };
        let database = &mut self.database;
        match note {
            Note::Refill(_) => Ok(()),
            Note::Delivered(_, ids) => database.mark_delivered(&owner.user, ids, time),
            Note::Session(_, sent, received) => {
                database.count_session(&owner.session, *sent, *received)
            }
            Note::Detach(_, ids, sent, received) => {
                database.mark_delivered(&owner.user, ids, time)?;
                let to = self.roster.broadcasts_to(mailbox, ids, self.sequenced);
                if let Some(to) = to {
                    database.raise_broadcasts(&owner.user, to)?;
                }
                database.count_session(&owner.session, *sent, *received)?;
                database.end_session(&owner.session, time)
            }
        }
    }

    fn write_attach(&mut self, attach: &Attach, time: &str) -> Result<(), Fault> {
        if attach.mailbox.is_detached() {
            return Ok(());
        }
        let session = self.session_of(&attach.mailbox);
        self.database.begin_session(&NewSession {
            id: &session,
            user: &attach.user,
            address: &attach.address,
            user_agent: &attach.user_agent,
            connected_at: time,
        })?;
        // Of several connections of a user, each knows only what it has got itself.
        let is_alone = attach.duplicate == Duplicate::Replace;
        match attach.after.filter(|after| *after <= self.newest) {
            Some(after) if is_alone => self.database.mark_delivered_to(&attach.user, after),
            _ => Ok(()),
        }
    }

    /// What notes say, besides their rows.
    fn take_note_of(&mut self, notes: Vec<Note>) {
        for note in notes {
            match note {
                Note::Refill(mailbox) => self.roster.refill(&mailbox),
                Note::Detach(mailbox, ..) => self.roster.detach(&mailbox),
                Note::Delivered(mailbox, ids) => self.roster.note_delivered(&mailbox, &ids),
                Note::Session(..) => {}
            }
        }
    }

    /// Keeps notes for the next attempt; those beyond the limit are lost. What they say was delivered is not delivered
    /// again meanwhile.
    fn keep(&mut self, notes: &[Note], now: Instant) {
        let mut rows: usize = self.unsaved.iter().map(Note::rows).sum();
        for note in notes {
            rows += note.rows();
            if rows > NOTE_ROWS_WAITING_MAX {
                self.shared.counters.note_lost_deliveries(note.rows());
                continue;
            }
            if let Note::Delivered(mailbox, ids) | Note::Detach(mailbox, ids, ..) = note {
                self.roster.keep_unsaved(mailbox, ids);
            }
            self.unsaved.extend(match note {
                Note::Refill(_) => None,
                Note::Delivered(mailbox, ids) => {
                    Some(Note::Delivered(mailbox.clone(), ids.clone()))
                }
                Note::Session(mailbox, sent, received) => {
                    Some(Note::Session(mailbox.clone(), *sent, *received))
                }
                Note::Detach(mailbox, ids, sent, received) => {
                    Some(Note::Detach(mailbox.clone(), ids.clone(), *sent, *received))
                }
            });
        }
        if !self.unsaved.is_empty() {
            self.notes_retry = Some(now + FULL_RETRY);
        }
    }

    fn answer(&mut self, request: Request, written: Written, now: Instant) {
        if let Written::Refused(why) = written {
            match &request {
                Request::Record(_) | Request::Metrics(_) => {
                    self.shared.counters.note_lost_records(request.rows());
                }
                // It goes on without the row of its connection.
                Request::Attach(..) => return self.answer_attach(request, now),
                _ => {}
            }
            self.shared.counters.note_refused(why);
            return request.refuse(why);
        }
        match (request, written) {
            (Request::Put(message, answer), Written::Message(id)) => {
                let mut message = message.stored(id);
                if message.kind == MessageKind::Broadcast {
                    message.count_in(&self.memory);
                }
                let message = Arc::new(message);
                // An answer that is not waited for is none that was given.
                let _ = answer.send(Ok(self.stored(&message)));
                self.roster.deliver(&message);
                self.sequenced = id;
            }
            (Request::Register(user, answer), Written::Account(registered)) => {
                if registered == Registered::New {
                    self.shared.note_registered(&user.id);
                }
                let _ = answer.send(Ok(registered));
            }
            (Request::User(id, answer), _) => {
                let user = self.database.user(&id);
                let _ = answer.send(user.map_err(|fault| self.fail(&fault)));
            }
            (Request::List(limit, answer), _) => {
                let list = self.list(limit);
                let _ = answer.send(list.map_err(|fault| self.fail(&fault)));
            }
            (Request::Statistics(answer), _) => {
                let statistics = self.statistics(now);
                let _ = answer.send(statistics.map_err(|fault| self.fail(&fault)));
            }
            (request @ Request::Attach(..), _) => self.answer_attach(request, now),
            _ => {}
        }
    }

    fn stored(&self, message: &Arc<Message>) -> Stored {
        Stored {
            message: message.clone(),
            is_attached: self
                .roster
                .is_reached(message.kind, &message.from, &message.to),
            is_registered: self.shared.is_registered(&message.to),
        }
    }

    fn answer_attach(&mut self, request: Request, now: Instant) {
        let Request::Attach(attach, answer) = request else {
            return;
        };
        // Its connection has ended already.
        if attach.mailbox.is_detached() {
            return;
        }
        let user = match self.database.user(&attach.user) {
            Ok(Some(user)) => user,
            Ok(None) => return drop(answer.send(Ok(Attached::Unknown))),
            Err(fault) => return drop(answer.send(Err(self.fail(&fault)))),
        };
        attach.mailbox.set_owner(Owner {
            user: (&*attach.user).into(),
            session: self.session_of(&attach.mailbox),
            memory: self.memory.clone(),
        });
        let attachment = NewAttachment {
            mailbox: &attach.mailbox,
            user: &user,
            duplicate: attach.duplicate,
            // A number that was never given is of another database.
            after: attach.after.filter(|after| *after <= self.newest),
            sequenced: self.sequenced,
            only_live: self.shared.is_poisoned(),
        };
        self.roster.attach(&attachment, now);
        let _ = answer.send(Ok(Attached::Account(user)));
    }

    fn list(&mut self, limit: usize) -> Result<UserList, Fault> {
        let (total, _) = self.shared.registered("");
        let mut online: Vec<Box<str>> = self.roster.users().map(|it| (&**it).into()).collect();
        online.sort_unstable();
        online.truncate(limit);
        let (mut offline, left) = (Vec::new(), limit - online.len());
        let roster = &self.roster;
        self.database.user_ids(&mut |id| {
            if offline.len() < left && !roster.has(id) {
                offline.push(id.into());
            }
            offline.len() < left
        })?;
        Ok(UserList {
            online,
            offline,
            total: total as u64,
        })
    }

    fn statistics(&mut self, now: Instant) -> Result<Statistics, Fault> {
        if let Some((counted, statistics)) = &self.statistics
            && now.saturating_duration_since(*counted) < STATISTICS_AGE
        {
            return Ok(statistics.clone());
        }
        let statistics = self.database.statistics()?;
        self.statistics = Some((now, statistics.clone()));
        Ok(statistics)
    }

    /// Notes that the database has failed, and says how that is told.
    fn fail(&mut self, fault: &Fault) -> Refused {
        match fault {
            Fault::Locked => {
                self.retry = Some(Instant::now() + FULL_RETRY);
                self.shared.set_health(StoreHealth::Unreachable);
                Refused::Busy
            }
            Fault::Full => {
                self.retry = Some(Instant::now() + FULL_RETRY);
                self.shared.set_health(StoreHealth::DiskFull);
                Refused::DiskFull
            }
            Fault::Broken(error) => {
                self.shared
                    .set_health(StoreHealth::Poisoned(error.as_str().into()));
                self.roster.give_up_filling();
                self.unsaved.clear();
                self.roster.forget_unsaved();
                (self.retry, self.notes_retry) = (None, None);
                Refused::Poisoned
            }
        }
    }

    /// Ends the rows of connections that were not detached.
    fn end_sessions(&mut self) {
        if self.roster.len() == 0 || self.shared.is_poisoned() {
            return;
        }
        let time = timestamp_of(wall_ms());
        let time = str::from_utf8(&time).expect("it is ASCII");
        let mut ended = self.database.begin();
        for owner in self.roster.mailboxes().filter_map(|it| it.owner()) {
            ended = ended.and_then(|()| self.database.end_session(&owner.session, time));
        }
        if let Err(error) = ended.and_then(|()| self.database.commit()) {
            self.database.rollback();
            tracing::warn!(?error, "the ends of sessions are not stored");
        }
    }

    fn session_of(&self, mailbox: &Mailbox) -> Box<str> {
        format!("{:x}-{:x}", self.epoch, mailbox.number()).into()
    }
}

/// Whether a request writes rows.
fn writes(request: &Request) -> bool {
    match request {
        Request::Put(..)
        | Request::Record(_)
        | Request::Register(..)
        | Request::Attach(..)
        | Request::Metrics(_) => true,
        Request::User(..) | Request::List(..) | Request::Statistics(_) => false,
    }
}

/// Milliseconds since the epoch.
fn wall_ms() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |it| u64::try_from(it.as_millis()).unwrap_or(u64::MAX))
}
