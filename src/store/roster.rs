//! The connections that are attached, and what their mailboxes are filled with next.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::account::User;
use super::attach::Duplicate;
use super::database::{Database, Fault, Wanted};
use super::mailbox::Mailbox;
use super::message::{Delivery, Message, MessageKind};
use super::pushed::PushedBroadcasts;
use crate::collections::{HashMap, HashSet};

/// How long a connection waits for the one that it replaces to say what it has delivered.
const REPLACE_WAIT: Duration = Duration::from_secs(5);

/// Mailboxes that are filled in one turn.
const FILLINGS_MAX: usize = 16;

/// The attached connections.
#[derive(Debug)]
pub(super) struct Roster {
    attachments: HashMap<u64, Attachment>,
    by_user: HashMap<Arc<str>, Vec<u64>>,
    /// Mailboxes that are filled next.
    filling: VecDeque<u64>,
    /// Mailboxes that wait for those that they replace, in the order of their ends.
    waiting: VecDeque<(Instant, u64)>,
    /// The number of users, for other threads.
    users: Arc<AtomicU64>,
    memory_max: usize,
    /// What was delivered and could not be noted in the database yet, by user.
    unsaved: HashMap<Arc<str>, HashSet<i64>>,
}

/// An attached connection.
#[derive(Debug)]
struct Attachment {
    mailbox: Arc<Mailbox>,
    user: Arc<str>,
    state: MailboxState,
    /// The last message that was put into the mailbox, or was not for it.
    cursor: i64,
    /// Messages up to this one are replayed.
    replayed_to: i64,
    /// Broadcasts up to this one are not for the user.
    registered_after: i64,
    /// All broadcasts up to this one were delivered before.
    broadcasts_to: i64,
    /// Those that this connection was given.
    pushed: PushedBroadcasts,
    /// Given everything from `broadcasts_to` on, so that it can tell up to which one all were delivered.
    is_complete: bool,
    /// Filled with what was delivered too, because the cursor alone says what this connection lacks.
    with_delivered: bool,
}

/// How a mailbox is filled.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum MailboxState {
    /// Not yet: another connection of the user has to be detached first.
    Waiting,
    /// From the database, in one of the next turns.
    Filling,
    /// With each message that is stored.
    Live,
    /// From the database once it is empty.
    Behind,
    /// Not any more.
    Replaced,
}

/// How a connection is attached.
#[derive(Debug)]
pub(super) struct NewAttachment<'a> {
    pub mailbox: &'a Arc<Mailbox>,
    pub user: &'a User,
    pub duplicate: Duplicate,
    /// What the client says it has got.
    pub after: Option<i64>,
    /// The last message that those who were attached before have got.
    pub sequenced: i64,
    /// Nothing can be read.
    pub only_live: bool,
}

impl Roster {
    pub(super) fn new(users: Arc<AtomicU64>, memory_max: usize) -> Self {
        Self {
            attachments: HashMap::default(),
            by_user: HashMap::default(),
            filling: VecDeque::new(),
            waiting: VecDeque::new(),
            users,
            memory_max,
            unsaved: HashMap::default(),
        }
    }

    /// Attaches a connection, whose mailbox has its owner.
    pub(super) fn attach(&mut self, new: &NewAttachment<'_>, now: Instant) {
        let Some(owner) = new.mailbox.owner() else {
            return;
        };
        let (number, user) = (new.mailbox.number(), owner.user.clone());
        let others = self.by_user.entry(user.clone()).or_default();
        let is_first = others.is_empty();
        if new.duplicate == Duplicate::Replace {
            for other in &*others {
                if let Some(other) = self.attachments.get_mut(other) {
                    other.state = MailboxState::Replaced;
                    other.mailbox.set_replaced();
                }
            }
        }
        others.push(number);
        let state = match new.duplicate {
            _ if new.only_live => MailboxState::Live,
            _ if is_first => MailboxState::Filling,
            Duplicate::Replace => MailboxState::Waiting,
            // What the others were given and have not delivered may never arrive there.
            Duplicate::Allow => MailboxState::Filling,
        };
        let is_live = state == MailboxState::Live;
        match state {
            MailboxState::Filling => self.filling.push_back(number),
            MailboxState::Waiting => self.waiting.push_back((now + REPLACE_WAIT, number)),
            _ => {}
        }
        let attachment = Attachment {
            mailbox: new.mailbox.clone(),
            user,
            state,
            cursor: match new.after {
                _ if is_live => new.sequenced,
                after => after.unwrap_or(0),
            },
            replayed_to: new.sequenced,
            registered_after: new.user.registered_after,
            broadcasts_to: new.user.broadcasts_to,
            pushed: PushedBroadcasts::default(),
            // With connections beside it, what it says that it has got is not noted for the user.
            is_complete: !is_live && (new.duplicate == Duplicate::Replace || new.after.is_none()),
            with_delivered: is_live || new.after.is_some(),
        };
        self.attachments.insert(number, attachment);
        self.count();
    }

    /// Detaches a connection. The one that has replaced it is filled now.
    pub(super) fn detach(&mut self, mailbox: &Mailbox) {
        let number = mailbox.number();
        let Some(gone) = self.attachments.remove(&number) else {
            return;
        };
        let Some(others) = self.by_user.get_mut(&gone.user) else {
            return;
        };
        others.retain(|other| *other != number);
        if others.is_empty() {
            self.by_user.remove(&gone.user);
        } else if let Some(first) = self.attachments.get_mut(&others[0])
            && first.state == MailboxState::Waiting
        {
            first.state = MailboxState::Filling;
            self.filling.push_back(others[0]);
        }
        self.count();
    }

    /// Notes what a connection has delivered.
    pub(super) fn note_delivered(&mut self, mailbox: &Mailbox, ids: &[i64]) {
        if let Some(attachment) = self.attachments.get_mut(&mailbox.number()) {
            attachment.pushed.remove(ids);
        }
    }

    /// These messages were delivered, which the database does not know: mailboxes are not filled with them again.
    pub(super) fn keep_unsaved(&mut self, mailbox: &Mailbox, ids: &[i64]) {
        if let Some(owner) = mailbox.owner()
            && !ids.is_empty()
        {
            let unsaved = self.unsaved.entry(owner.user.clone()).or_default();
            unsaved.extend(ids);
        }
    }

    /// The database knows all that was delivered.
    pub(super) fn forget_unsaved(&mut self) {
        self.unsaved = HashMap::default();
    }

    /// Up to which one all broadcasts were delivered to the user of a connection that ends now and has delivered these
    /// at last; `None` if no more than before.
    pub(super) fn broadcasts_to(
        &mut self,
        mailbox: &Mailbox,
        last: &[i64],
        sequenced: i64,
    ) -> Option<i64> {
        let attachment = self.attachments.get_mut(&mailbox.number())?;
        attachment.pushed.remove(last);
        let given = match attachment.state {
            MailboxState::Live => sequenced,
            MailboxState::Waiting => return None,
            _ => attachment.cursor,
        };
        let to = attachment.pushed.delivered_to(given);
        (attachment.is_complete && to > attachment.broadcasts_to).then_some(to)
    }

    /// Fills the mailbox in one of the next turns.
    pub(super) fn refill(&mut self, mailbox: &Mailbox) {
        mailbox.swap_refill_asked(false);
        let number = mailbox.number();
        if let Some(attachment) = self.attachments.get_mut(&number)
            && attachment.state == MailboxState::Behind
        {
            attachment.state = MailboxState::Filling;
            self.filling.push_back(number);
        }
    }

    /// Whether a message reaches somebody now: its recipient, or for a broadcast another than its sender.
    pub(super) fn is_reached(&self, kind: MessageKind, from: &str, to: &str) -> bool {
        match kind {
            MessageKind::Direct => self.by_user.contains_key(to),
            MessageKind::Broadcast => {
                self.by_user.len() > usize::from(self.by_user.contains_key(from))
            }
            MessageKind::Server => false,
        }
    }

    /// Whether the user is attached.
    pub(super) fn has(&self, user: &str) -> bool {
        self.by_user.contains_key(user)
    }

    /// The users that are attached.
    pub(super) fn users(&self) -> impl Iterator<Item = &Arc<str>> {
        self.by_user.keys()
    }

    /// Mailboxes that a broadcast goes to.
    pub(super) fn len(&self) -> usize {
        self.attachments.len()
    }

    /// The mailboxes that are attached.
    pub(super) fn mailboxes(&self) -> impl Iterator<Item = &Arc<Mailbox>> {
        self.attachments.values().map(|it| &it.mailbox)
    }

    /// Puts a message that was stored into the mailboxes that are live.
    pub(super) fn deliver(&mut self, message: &Arc<Message>) {
        match message.kind {
            MessageKind::Direct => {
                let mailboxes = self.by_user.get(&*message.to);
                for number in mailboxes.into_iter().flatten() {
                    if let Some(attachment) = self.attachments.get_mut(number) {
                        attachment.deliver(message, self.memory_max);
                    }
                }
            }
            MessageKind::Broadcast => {
                for attachment in self.attachments.values_mut() {
                    if *attachment.user != *message.from {
                        attachment.deliver(message, self.memory_max);
                    }
                }
            }
            MessageKind::Server => {}
        }
    }

    /// Fills mailboxes from the database, whose last message is `newest`. Returns whether more is to be filled.
    ///
    /// # Errors
    /// The database cannot be read.
    pub(super) fn fill(
        &mut self,
        database: &mut dyn Database,
        newest: i64,
        now: Instant,
    ) -> Result<bool, Fault> {
        while let Some((until, number)) = self.waiting.front().copied() {
            let attachment = self.attachments.get_mut(&number);
            let attachment = attachment.filter(|it| it.state == MailboxState::Waiting);
            if attachment.is_some() && until > now {
                break;
            }
            self.waiting.pop_front();
            if let Some(attachment) = attachment {
                attachment.state = MailboxState::Filling;
                self.filling.push_back(number);
            }
        }
        let mut filled = 0;
        while filled < FILLINGS_MAX
            && let Some(number) = self.filling.pop_front()
        {
            // Others have ended or were replaced meanwhile.
            if let Some(attachment) = self.attachments.get_mut(&number)
                && attachment.state == MailboxState::Filling
            {
                filled += 1;
                let delivered = self.unsaved.get(&attachment.user);
                let result = attachment.fill(database, newest, self.memory_max, delivered);
                if result.is_err() {
                    self.filling.push_front(number);
                    return result.map(|()| true);
                }
            }
        }
        Ok(!self.filling.is_empty())
    }

    /// Lets all mailboxes go on without what is in the database.
    pub(super) fn give_up_filling(&mut self) {
        self.filling.clear();
        self.waiting.clear();
        for attachment in self.attachments.values_mut() {
            if attachment.state != MailboxState::Replaced {
                attachment.state = MailboxState::Live;
                attachment.mailbox.set_behind(false);
            }
        }
    }

    /// When [`Self::fill`] has something to do though nothing has happened.
    pub(super) fn next_wake(&self) -> Option<Instant> {
        self.waiting.front().map(|(until, _)| *until)
    }

    fn count(&self) {
        let users = self.by_user.len() as u64;
        self.users.store(users, Ordering::Relaxed);
    }
}

impl Attachment {
    /// Puts a message that was stored into the mailbox if that is live.
    fn deliver(&mut self, message: &Arc<Message>, memory_max: usize) {
        if self.state != MailboxState::Live {
            return;
        }
        if self.mailbox.has_room(memory_max) {
            self.cursor = message.id;
            if message.kind == MessageKind::Broadcast {
                self.pushed.push(message.id);
            }
            let is_shared = message.kind == MessageKind::Broadcast;
            let delivery = Delivery {
                message: message.clone(),
                is_replayed: false,
            };
            self.mailbox.push(delivery, is_shared);
        } else {
            self.state = MailboxState::Behind;
            self.mailbox.set_behind(true);
        }
        self.mailbox.wake();
    }

    fn fill(
        &mut self,
        database: &mut dyn Database,
        newest: i64,
        memory_max: usize,
        delivered: Option<&HashSet<i64>>,
    ) -> Result<(), Fault> {
        self.mailbox.set_behind(false);
        let mut is_whole = self.take_wanted(database, memory_max, delivered)?;
        if is_whole && !self.with_delivered {
            // Another connection of the user may have got first what has come since.
            self.with_delivered = true;
            self.cursor = self.cursor.max(self.replayed_to);
            is_whole = self.take_wanted(database, memory_max, None)?;
        }
        if is_whole {
            self.state = MailboxState::Live;
            self.cursor = newest;
        } else {
            self.state = MailboxState::Behind;
            self.mailbox.set_behind(true);
        }
        self.mailbox.wake();
        Ok(())
    }

    /// Takes from the database what the mailbox has room for: what was not delivered of the messages to replay, or
    /// everything behind the cursor. Messages that the database does not know to be `delivered` are not replayed. Returns
    /// whether that is all.
    fn take_wanted(
        &mut self,
        database: &mut dyn Database,
        memory_max: usize,
        delivered: Option<&HashSet<i64>>,
    ) -> Result<bool, Fault> {
        let never = match self.with_delivered {
            true => self.registered_after,
            false => self.registered_after.max(self.broadcasts_to),
        };
        let wanted = Wanted {
            user: &self.user,
            after: self.cursor,
            broadcasts_after: never.max(self.cursor),
            with_delivered: self.with_delivered,
        };
        let mut is_whole = true;
        database.wanted(&wanted, &mut |message| {
            if !wanted.with_delivered && message.id > self.replayed_to {
                return false;
            }
            if !wanted.with_delivered && delivered.is_some_and(|it| it.contains(&message.id)) {
                self.cursor = message.id;
                return true;
            }
            if !self.mailbox.has_room(memory_max) {
                is_whole = false;
                return false;
            }
            self.cursor = message.id;
            if message.kind == MessageKind::Broadcast {
                self.pushed.push(message.id);
            }
            // A copy of its own, a broadcast too.
            let delivery = Delivery {
                is_replayed: message.id <= self.replayed_to,
                message: Arc::new(message),
            };
            self.mailbox.push(delivery, false);
            true
        })?;
        Ok(is_whole)
    }
}
