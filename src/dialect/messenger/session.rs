//! The session of a user's connection (docs/messenger.md, "A connection").

mod delivery;
mod sending;

use std::collections::VecDeque;
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::time::{Interval, MissedTickBehavior, interval_at};

use super::Messenger;
use super::bucket::Bucket;
use super::command::Running;
use super::frame::{Ignored, Inbound, SERVICES, Speaker, Status, put_spoken};
use crate::call::CallAnswer;
use crate::conn::{CommandCall, Flow, Session};
use crate::engine::{Begin, Outcome};
use crate::id::{PeerId, Priority};
use crate::json;
use crate::shard::{ConnectionOrder, Disconnect, OrderReply, OrderResult, Shard};
use crate::store::{Attach, Attached, Mailbox, MessageKind, NewMessage, Reply, Store};
use crate::timestamp::timestamp_of;
use crate::topic;
use crate::ws::Payload;
use delivery::InFlight;
use sending::Sending;

/// Messages of a client that are being stored, beyond which it is not read from.
const SENDING_MAX: usize = 256;

/// Commands of a client that run, beyond which it is not read from.
const COMMANDS_MAX: usize = 16;

/// How often the numbers of a connection are stored.
const COUNT_EVERY: std::time::Duration = std::time::Duration::from_secs(60);

/// Who connects, as the store records it.
#[derive(Debug)]
pub(super) struct Caller {
    pub(super) user: Box<str>,
    pub(super) address: Box<str>,
    pub(super) user_agent: Box<str>,
    /// The last message that the client has, if it says so.
    pub(super) after: Option<i64>,
    /// Whether every message of the client is acknowledged.
    pub(super) asks: bool,
}

/// The session of a user's connection.
#[derive(Debug)]
pub(super) struct MessengerSession {
    shard: Weak<Shard>,
    messenger: Arc<Messenger>,
    store: Arc<Store>,
    user: Box<str>,
    asks: bool,
    /// The upgrade response and what is attached, until the connection begins.
    beginning: Option<Box<(Vec<u8>, Attach)>>,
    /// The answer to attaching, while it is waited for.
    attaching: Option<Reply<Attached>>,
    is_inbox_subscribed: bool,
    public_key: [u8; 32],
    mailbox: Arc<Mailbox>,
    in_flight: InFlight,
    bucket: Bucket,
    /// The next message has been taken from the bucket.
    is_charged: bool,
    sending: VecDeque<Sending>,
    running: Vec<Running>,
    /// Messages that the client has sent and received.
    counts: (u64, u64),
    /// Those that the store has been told.
    told: (u64, u64),
    count_timer: Option<Pin<Box<Interval>>>,
    phase: Phase,
}

/// What the store knows of a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    /// Nothing yet.
    New,
    /// It is attached, or about to be.
    Attached,
    /// It closes: what is queued is still being written.
    Closing,
    /// It is not attached any more.
    Detached,
}

impl MessengerSession {
    pub(super) fn new(
        shard: &Rc<Shard>,
        (messenger, store): (Arc<Messenger>, Arc<Store>),
        caller: Caller,
        head: Vec<u8>,
    ) -> Self {
        let mailbox = Mailbox::new();
        let attach = Attach {
            user: caller.user.clone(),
            address: caller.address,
            user_agent: caller.user_agent,
            after: caller.after,
            duplicate: messenger.settings.duplicate.into(),
            mailbox: mailbox.clone(),
        };
        Self {
            shard: Rc::downgrade(shard),
            bucket: Bucket::default(),
            messenger,
            store,
            user: caller.user,
            asks: caller.asks,
            beginning: Some(Box::new((head, attach))),
            attaching: None,
            is_inbox_subscribed: false,
            public_key: [0; 32],
            mailbox,
            in_flight: InFlight::default(),
            is_charged: false,
            sending: VecDeque::new(),
            running: Vec::new(),
            counts: (0, 0),
            told: (0, 0),
            count_timer: None,
            phase: Phase::New,
        }
    }

    /// Says something to the client that is not stored.
    fn speak(&self, shard: &Shard, peer: PeerId, said: (Speaker, Option<Status>), content: &str) {
        shard.send_text(peer, Priority::High, |out, timestamp| {
            put_spoken(out, said, &self.user, timestamp, content);
        });
    }

    fn complain(&self, shard: &Shard, peer: PeerId, why: &str) {
        shard.counters.errors_sent.add(1);
        self.speak(shard, peer, (Speaker::System, Some(Status::Error)), why);
    }

    /// Opens the connection once the store knows it and it has its user's inbox.
    fn open_when_ready(&self, shard: &Shard, peer: PeerId) {
        if self.attaching.is_none() && self.is_inbox_subscribed {
            shard.open(peer);
        }
    }

    fn poll_attaching(&mut self, shard: &Shard, peer: PeerId, cx: &mut Context<'_>) {
        let Some(attaching) = &mut self.attaching else {
            return;
        };
        let Poll::Ready(answer) = Pin::new(attaching).poll(cx) else {
            return;
        };
        self.attaching = None;
        match answer {
            Ok(Ok(Attached::Account(account))) => {
                self.public_key = account.public_key;
                self.open_when_ready(shard, peer);
            }
            Ok(Ok(Attached::Unknown)) => shard.disconnect(peer, self.messenger.causes.unknown),
            Ok(Err(_)) | Err(_) => shard.disconnect(peer, self.messenger.causes.unavailable),
        }
    }

    fn inbound(&mut self, shard: &Shard, peer: PeerId, message: Inbound<'_>) -> Flow {
        if !message.from.is_empty() && *message.from != *self.user {
            self.complain(shard, peer, "Sender mismatch");
            return Flow::Continue;
        }
        match message.kind {
            MessageKind::Server => self.command(shard, peer, &message),
            MessageKind::Direct if message.to == SERVICES => {
                let flow = self.answer(shard, &message);
                self.is_charged = flow == Flow::Wait;
                return flow;
            }
            MessageKind::Direct | MessageKind::Broadcast => self.put(&message),
        }
        Flow::Continue
    }

    /// Passes an answer on to the service that has asked the user: a message to `sse` whose content has the question's
    /// `correlation_id` as `request_id` or `correlation_id`.
    fn answer(&self, shard: &Shard, message: &Inbound<'_>) -> Flow {
        let mut correlation = None;
        let _ = json::fields(&message.content, |key, value| {
            if matches!(key, "request_id" | "correlation_id") {
                correlation = Some(value);
            }
        });
        let answer = correlation.and_then(|it| CallAnswer::from_payload(&message.content, it));
        let Some(answer) = answer else {
            return Flow::Continue;
        };
        let key = answer.correlation().key();
        let had_room = shard.with_answer(|said| {
            answer.put_events(said);
            shard.answer_call(&key, &self.user, said, answer.is_last())
        });
        if had_room { Flow::Continue } else { Flow::Wait }
    }

    fn command(&mut self, shard: &Shard, peer: PeerId, message: &Inbound<'_>) {
        let call = |params| CommandCall {
            sender: self.user.clone(),
            params,
            connected: self.store.connected(),
            wall_ms: shard.clock.wall_ms(),
        };
        let signed = (&*message.content, &*message.signature);
        let begun = Running::begin(&self.messenger.commands, &self.public_key, signed, call);
        self.store.record(vec![NewMessage {
            status: if begun.is_ok() { "delivered" } else { "error" },
            content: recorded(&message.content),
            ..self.stored(message)
        }]);
        match begun {
            Ok(running) => self.running.push(running),
            Err(told) => self.tell(shard, peer, (told.status, &told.content)),
        }
    }

    /// Tells the client what has become of a command, and records that.
    fn tell(&self, shard: &Shard, peer: PeerId, (status, content): (Status, &str)) {
        self.speak(shard, peer, (Speaker::Server, Some(status)), content);
        let timestamp = timestamp_of(shard.clock.wall_ms());
        self.store.record(vec![NewMessage {
            from: "server".into(),
            to: self.user.clone(),
            kind: MessageKind::Server,
            timestamp: str::from_utf8(&timestamp).expect("it is ASCII").into(),
            content: recorded(content),
            signature: "".into(),
            encrypted_key: "".into(),
            encryption_nonce: "".into(),
            status: status.as_str(),
        }]);
    }

    fn poll_commands(&mut self, shard: &Shard, peer: PeerId, cx: &mut Context<'_>) {
        let mut done = Vec::new();
        self.running.retain_mut(|running| match running.poll(cx) {
            Poll::Pending => true,
            Poll::Ready(told) => {
                done.push(told);
                false
            }
        });
        for told in done {
            self.tell(shard, peer, (told.status, &told.content));
        }
    }

    /// A message as it is stored, from the user whose connection this is.
    fn stored(&self, message: &Inbound<'_>) -> NewMessage {
        NewMessage {
            from: self.user.clone(),
            to: (&*message.to).into(),
            kind: message.kind,
            timestamp: (&*message.timestamp).into(),
            content: (&*message.content).into(),
            signature: (&*message.signature).into(),
            encrypted_key: (&*message.encrypted_key).into(),
            encryption_nonce: (&*message.encryption_nonce).into(),
            status: "pending",
        }
    }

    /// These messages have been written.
    fn note_written(&mut self, written: Vec<i64>) {
        self.counts.1 += written.len() as u64;
        self.store.delivered(&self.mailbox, written);
    }

    /// The connection has ended, and these messages have been written.
    fn detach(&mut self, delivered: Vec<i64>) {
        self.phase = Phase::Detached;
        self.counts.1 += delivered.len() as u64;
        let (sent, received) = self.counts;
        self.store.detach(&self.mailbox, delivered, sent, received);
    }

    fn poll_counts(&mut self, cx: &mut Context<'_>) {
        let Some(timer) = &mut self.count_timer else {
            return;
        };
        while timer.as_mut().poll_tick(cx).is_ready() {
            if self.told != self.counts {
                self.told = self.counts;
                let (sent, received) = self.counts;
                self.store.count_session(&self.mailbox, sent, received);
            }
        }
    }
}

impl Session for MessengerSession {
    /// The upgrade response is held back until the user counts as online and has its inbox, so that a client that sees
    /// itself connected gets every later message.
    fn begin(&mut self, shard: &Shard, peer: PeerId) -> Flow {
        let Some(beginning) = self.beginning.take() else {
            return Flow::Continue;
        };
        let (head, attach) = *beginning;
        shard.hold_open(peer, head);
        self.bucket = self.messenger.buckets.of(&self.user);
        self.attaching = Some(self.store.attach(attach));
        self.phase = Phase::Attached;
        let start = tokio::time::Instant::now() + COUNT_EVERY;
        let mut timer = interval_at(start, COUNT_EVERY);
        timer.set_missed_tick_behavior(MissedTickBehavior::Delay);
        self.count_timer = Some(Box::pin(timer));
        let inbox = topic::inbox_of(&self.user);
        let (subscribed, confirmation) = shard.engine(|engine| {
            let ticket = engine.begin_subscription(peer);
            let subscribed = engine.subscribe(peer, &inbox, Begin::Here, ticket);
            (subscribed, engine.confirm(ticket))
        });
        if subscribed.is_err() {
            return Flow::End(Disconnect::Overloaded);
        }
        if let Some(confirmation) = confirmation {
            self.outcome(shard, peer, Outcome::Confirmed(confirmation));
        }
        Flow::Continue
    }

    fn message(&mut self, shard: &Shard, peer: PeerId, payload: Payload<'_>) -> Flow {
        if self.sending.len() >= SENDING_MAX || self.running.len() >= COMMANDS_MAX {
            return Flow::Wait;
        }
        // One that comes again after it had to wait has been charged.
        if !std::mem::take(&mut self.is_charged) {
            let settings = &self.messenger.settings;
            let limit = (settings.rate_limit, settings.rate_burst);
            if !self.bucket.take(limit, shard.clock.now_ms()) {
                self.complain(shard, peer, "Rate limit exceeded. Please slow down.");
                return Flow::Continue;
            }
            self.counts.0 += 1;
        }
        let text = match payload {
            Payload::Text(text) => Some(text),
            Payload::Binary(bytes) => simdutf8::basic::from_utf8(bytes).ok(),
        };
        match text.ok_or(Ignored::Invalid).and_then(Inbound::parse) {
            Ok(message) => self.inbound(shard, peer, message),
            Err(why) => {
                shard
                    .counters
                    .registered(self.messenger.ignored.of(why))
                    .add(1);
                Flow::Continue
            }
        }
    }

    fn is_polled(&self) -> bool {
        true
    }

    fn poll(&mut self, shard: &Shard, peer: PeerId, cx: &mut Context<'_>) {
        if self.phase != Phase::Attached {
            return;
        }
        self.poll_attaching(shard, peer, cx);
        self.poll_sending(shard, peer, cx);
        self.poll_commands(shard, peer, cx);
        self.poll_counts(cx);
        if !shard.is_opening(peer) {
            self.poll_mailbox(shard, peer, cx);
        }
    }

    fn order(
        &mut self,
        shard: &Shard,
        peer: PeerId,
        order: &ConnectionOrder,
        _: &mut OrderReply,
    ) -> OrderResult {
        let (data, priority) = match order {
            ConnectionOrder::Send { data, priority, .. } => (data, *priority),
            ConnectionOrder::Reply { data, .. } => (data, Priority::High),
            ConnectionOrder::Subscribe { .. } | ConnectionOrder::Unsubscribe { .. } => {
                return OrderResult::Unsupported;
            }
        };
        if shard.is_opening(peer) {
            return OrderResult::Later;
        }
        shard.send_text(peer, priority, |out, timestamp| {
            put_spoken(out, (Speaker::Service, None), &self.user, timestamp, data);
        });
        OrderResult::Done
    }

    fn outcome(&mut self, shard: &Shard, peer: PeerId, outcome: Outcome) {
        match outcome {
            Outcome::Confirmed(confirmation) => {
                self.is_inbox_subscribed = true;
                self.open_when_ready(shard, peer);
                shard.engine(|engine| engine.go_on(&confirmation));
            }
            // The protocol has no gap frames.
            Outcome::Gap(gap) => {
                let lost = gap.lost.map(|lost| format!("{lost} messages"));
                let lost = lost.as_deref().unwrap_or("Messages");
                let why = format!("{lost} of services lost: this connection reads too slowly");
                self.complain(shard, peer, &why);
            }
            _ => {}
        }
    }

    /// The user is offline before the close frame is sent, so that a client that sees it can reconnect.
    fn end(&mut self, shard: &Shard, peer: PeerId) {
        if self.phase != Phase::Attached {
            return;
        }
        self.leave_sending();
        // Others of the user share it; if there are none, the next one has a full one.
        self.bucket = Bucket::default();
        let delivered = self.in_flight.take_written(shard.unsent_kept(peer));
        match self.in_flight.is_empty() {
            true => self.detach(delivered),
            // The rest goes out before the close frame, if the socket takes it.
            false => {
                self.phase = Phase::Closing;
                self.note_written(delivered);
            }
        }
    }

    fn drained(&mut self, _: &Shard, _: PeerId) {
        if self.phase == Phase::Closing {
            let delivered = self.in_flight.take();
            self.detach(delivered);
        }
    }
}

impl Drop for MessengerSession {
    /// What has not been written stays pending.
    fn drop(&mut self) {
        if matches!(self.phase, Phase::Attached | Phase::Closing) {
            self.detach(Vec::new());
        }
    }
}

/// Bytes of a command, and of its answer, that are recorded.
const RECORDED_BYTES_MAX: usize = 16 * 1024;

/// The beginning of a text, as it is recorded.
fn recorded(text: &str) -> Box<str> {
    text[..text.floor_char_boundary(RECORDED_BYTES_MAX)].into()
}
