//! The session of a connection of the wse protocol (docs/wse.md).

mod ack;
mod application;
mod awaited;
mod greeting;
mod history;
mod inflow;
mod order;
mod outcome;
mod presence;
mod publish;
mod requests;
mod secret;
mod subscribe;
mod subscriptions;

use std::borrow::Cow;
use std::collections::VecDeque;
use std::num::NonZeroU32;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Context;

use tokio::time::{Instant, Sleep};

use super::compress::{MARK, decompress, is_zlib};
use super::envelope::{Envelope, LegacyBeat};
use super::format::Coding;
use super::frame::{Dress, Fields, Writer};
use super::{DecompressError, Wse};
use crate::auth::{Identity, Permissions};
use crate::conn::{Authentication, Denied, Flow, Session};
use crate::engine::Outcome;
use crate::id::{FormatId, PeerId, Position, Priority};
use crate::json::{JsonError, Raw};
use crate::metrics::Limited;
use crate::msgpack;
use crate::shard::{ConnectionOrder, Disconnect, OrderReply, OrderResult, Shard};
use crate::timestamp::timestamp_of;
use crate::ws::{OpCode, Payload};
use ack::WaitingAck;
use awaited::Pending;
use history::Replay;
use inflow::{Bucket, SeenIds, SequenceStats};
use requests::BatchResults;
use secret::Secret;
use subscriptions::Subscriptions;

pub use greeting::ClientInfo;
pub use subscribe::Wanted;

/// The session of a connection of the wse protocol.
#[derive(Debug)]
pub(super) struct WseSession {
    wse: Arc<Wse>,
    /// Who it is, if a token proves it.
    identity: Option<Box<Identity>>,
    /// Why it is closed as soon as it is open.
    refused: Option<Box<Refusal>>,
    phase: Phase,
    /// Whether its client has said anything, and so how it reads.
    is_known: bool,
    /// Homes are being asked for what waits.
    is_asking: bool,
    dress: Dress,
    coding: Coding,
    /// Whether permessage-deflate was negotiated, and whether it shares frames.
    deflate: Option<bool>,
    /// The format that its topics have now.
    reads: FormatId,
    /// Set if the last message returned [`Flow::Wait`]: how many messages of its batch are done.
    resume: Option<u32>,
    /// Whether the message of a batch that waits was counted and its signature looked at.
    is_checked: bool,
    subscriptions: Subscriptions,
    /// Messages of the client.
    received: u32,
    /// When it was last sent a PING, in milliseconds of the shard's clock.
    pinged_ms: u32,
    /// How long its last answer took, in milliseconds.
    latency: Option<NonZeroU32>,
    bucket: Bucket,
    sequence: SequenceStats,
    /// What the client said of itself.
    client: Option<Box<ClientInfo>>,
    /// Its keys, if its messages are encrypted.
    secret: Option<Box<Secret>>,
    /// Until when the client's form is waited for, or the application's answer to a `sync_request`.
    timer: Option<Pin<Box<Sleep>>>,
    more: Option<Box<More>>,
}

/// What few connections have.
#[derive(Default, Debug)]
struct More {
    /// Replies to write when homes have answered.
    pending: Vec<Pending>,
    /// Acknowledgements behind missed messages that are being written.
    acks: Vec<WaitingAck>,
    /// Topics whose history is being written.
    replays: VecDeque<Replay>,
    /// Up to where topics were written, for requests that were on their way meanwhile.
    replayed: VecDeque<(Box<str>, Position, Instant)>,
    /// The topics that are read as a member of a queue group, each with its group.
    queues: Vec<(Box<str>, Box<str>)>,
    /// Topics that wait for their roster.
    entering: Vec<presence::Entering>,
    /// What the application has not answered yet.
    syncs: Vec<application::Sync>,
    seen: SeenIds,
    /// What of a batch that waits has failed.
    batch_failed: Vec<(u32, &'static str)>,
    tuning: requests::Tuning,
    batch: order::Batch,
}

impl More {
    /// Whether it may be freed.
    fn is_idle(&self) -> bool {
        self.pending.is_empty()
            && self.acks.is_empty()
            && self.replays.is_empty()
            && self.replayed.is_empty()
            && self.queues.is_empty()
            && self.entering.is_empty()
            && self.syncs.is_empty()
            && self.seen.len() == 0
            && self.batch.is_empty()
            && self.batch_failed.is_empty()
            && self.tuning == requests::Tuning::default()
    }
}

/// How far a connection is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    /// It has been greeted; its client has said nothing yet.
    Greeted,
    /// Its format is being changed; its topics wait.
    Changing,
    /// Its inbox is being subscribed to.
    Joining,
    /// It has its topics.
    Joined,
}

/// Why a connection is refused after it was accepted.
#[derive(Clone, Debug)]
pub(super) enum Refusal {
    /// Its token is.
    Token(Denied),
    /// Its page's origin is not allowed, for this reason.
    Origin(Cow<'static, str>),
}

impl Refusal {
    /// Why, for the log.
    pub(super) fn detail(&self) -> Cow<'static, str> {
        match self {
            Self::Token(denied) => denied.detail(),
            Self::Origin(why) => why.clone(),
        }
    }
}

impl WseSession {
    pub(super) fn new(
        wse: Arc<Wse>,
        authentication: Authentication,
        refused: Option<Refusal>,
        (coding, deflate): (Coding, Option<bool>),
    ) -> Self {
        let reads = wse.formats.of(Dress::default(), coding);
        Self {
            bucket: Bucket::full(wse.settings.rate_capacity),
            wse,
            identity: match authentication {
                Authentication::Known(identity) => Some(identity),
                Authentication::Anonymous | Authentication::Refused(_) => None,
            },
            refused: refused.map(Box::new),
            phase: Phase::Greeted,
            is_known: false,
            is_asking: false,
            dress: Dress::default(),
            coding,
            deflate,
            reads,
            received: 0,
            pinged_ms: 0,
            latency: None,
            resume: None,
            is_checked: false,
            subscriptions: Subscriptions::default(),
            sequence: SequenceStats::default(),
            client: None,
            secret: None,
            timer: None,
            more: None,
        }
    }

    fn more(&mut self) -> &mut More {
        self.more.get_or_insert_default()
    }

    /// The user: of the token, else one of this connection alone.
    fn user<'a>(&'a self, shard: &Shard, peer: PeerId) -> Cow<'a, str> {
        match &self.identity {
            Some(identity) => identity.user.as_str().into(),
            None => format!("anonymous-{}", shard.connection_id(peer)).into(),
        }
    }

    #[expect(
        clippy::cast_possible_truncation,
        reason = "differences of times wrap as they do"
    )]
    fn note_pong(&mut self, shard: &Shard) {
        let took = (shard.clock.now_ms() as u32).wrapping_sub(self.pinged_ms);
        self.latency = NonZeroU32::new(took.saturating_add(1));
    }

    /// How long the client's last answer to a PING took, in milliseconds.
    fn latency_ms(&self) -> Option<u32> {
        self.latency.map(|latency| latency.get() - 1)
    }

    /// The client's permissions.
    fn permissions<'a>(&'a self, shard: &'a Shard) -> Permissions<'a> {
        Permissions::new(&shard.config, self.identity.as_deref())
    }

    /// The format of the client's topics.
    fn format(&self) -> FormatId {
        self.wse.formats.of(self.dress, self.coding)
    }

    fn text(&mut self, shard: &Shard, peer: PeerId, text: &str) -> Flow {
        match LegacyBeat::read(text) {
            Some(LegacyBeat::Ping(number)) => {
                let answer = format!("PONG:{number}");
                shard.send(peer, Priority::Critical, OpCode::Text, answer.as_bytes());
                return Flow::Continue;
            }
            Some(LegacyBeat::Pong) => return Flow::Continue,
            None => {}
        }
        match Envelope::parse(text) {
            Ok(message) => self.envelope(shard, peer, &message),
            Err(why) => {
                self.tell_raw(shard, peer, text, why);
                Flow::Continue
            }
        }
    }

    fn envelope(&mut self, shard: &Shard, peer: PeerId, message: &Envelope<'_>) -> Flow {
        let done = self.resume.take();
        if done.is_none() {
            if message.is_prefixed && self.dress == Dress::Field {
                self.turn_old(shard, peer);
            }
            if let Some(number) = message.sequence {
                self.sequence.note(number);
            }
            if !self.is_signed_well(shard, peer, message) {
                return Flow::Continue;
            }
        }
        if !self.is_known && self.settle_form(shard, peer, message) == Flow::Wait {
            self.resume = Some(0);
            return Flow::Wait;
        }
        let flow = self.execute(shard, peer, message, done);
        if flow == Flow::Wait && self.resume.is_none() {
            self.resume = Some(0);
        }
        flow
    }

    /// Executes a message. Of a batch that was begun, from the message `done` on.
    fn execute(
        &mut self,
        shard: &Shard,
        peer: PeerId,
        message: &Envelope<'_>,
        done: Option<u32>,
    ) -> Flow {
        let kind = message.kind.as_deref().unwrap_or("");
        if let Some(flow) = self.answer_call(shard, message) {
            return flow;
        }
        match kind {
            "ping" | "PING" => self.pong(shard, peer, message),
            "pong" | "PONG" => self.note_pong(shard),
            // So that what is sent to its user from then on reaches it.
            "client_hello" if self.phase != Phase::Joined => return Flow::Wait,
            "client_hello" => self.hello(shard, peer, message),
            "subscription_update" | "subscription" => {
                return self.subscription(shard, peer, message);
            }
            "publish" if self.wse.settings.publish => return self.publish(shard, peer, message),
            "priority_message" => return self.priority_message(shard, peer, message),
            "presence_update" => self.update_presence(shard, peer, message),
            "sync_request" | "request_snapshot" | "snapshot_request" => {
                self.sync(shard, peer, message);
            }
            "encryption_request" => self.encryption(shard, peer, message),
            "key_rotation_request" => self.rotate_key(shard, peer, message),
            "batch" | "batch_message" => return self.batch(shard, peer, message, done),
            kind => match requests::Request::named(kind) {
                Some(request) => self.request(shard, peer, request, message),
                None => self.tell(shard, peer, message),
            },
        }
        Flow::Continue
    }

    /// Whether a message has no signature, or a good one; if not, the client is told. Signatures of another form, which
    /// some clients make with keys that nobody else has, are passed on.
    fn is_signed_well(&self, shard: &Shard, peer: PeerId, message: &Envelope<'_>) -> bool {
        let (Some(signer), Some(sig)) = (&self.wse.signer, &message.signature) else {
            return true;
        };
        if !sig.contains(':') {
            return true;
        }
        let checked = signer.verify(message.text, sig, shard.clock.wall_ms());
        if let Err(why) = checked {
            self.error(shard, peer, "INVALID_MESSAGE", &why.to_string());
        }
        checked.is_ok()
    }

    /// Processes the messages of a batch, from `done` on if it was begun.
    fn batch(
        &mut self,
        shard: &Shard,
        peer: PeerId,
        batch: &Envelope<'_>,
        resumed: Option<u32>,
    ) -> Flow {
        let done = resumed.unwrap_or(0);
        let Some(mut results) = self.begin_batch(shard, peer, batch, resumed) else {
            return Flow::Continue;
        };
        for (index, text) in (0_u32..).zip(std::mem::take(&mut results.messages)) {
            if index < done {
                continue;
            }
            if index > done && shard.is_outbox_full(peer) {
                self.wait_in_batch(index, false, results);
                return Flow::Wait;
            }
            let Ok(message) = Envelope::parse(text) else {
                results.fail(index, "no JSON object");
                continue;
            };
            let kind = message.kind.as_deref().unwrap_or("");
            if matches!(kind, "batch" | "batch_message") {
                results.fail(index, "a batch has no batches in it");
                continue;
            }
            // The one that waited may have been looked at before.
            let is_new = resumed != Some(index) || !self.is_checked;
            if is_new && index > 0 && !self.admit(shard, peer) {
                results.fail(index, "rate limit exceeded");
                continue;
            }
            if is_new && !self.is_signed_well(shard, peer, &message) {
                results.fail(index, "the signature is not good");
                continue;
            }
            let errors = shard.counters.errors_sent.read();
            if self.execute(shard, peer, &message, None) == Flow::Wait {
                self.wait_in_batch(index, true, results);
                return Flow::Wait;
            }
            if shard.counters.errors_sent.read() > errors {
                results.fail(index, "refused: an error says why");
            }
        }
        if batch.kind.as_deref() == Some("batch_message") {
            self.send_results(shard, peer, &results);
        }
        Flow::Continue
    }

    /// A batch goes on with the message `index`.
    fn wait_in_batch(&mut self, index: u32, is_checked: bool, results: BatchResults<'_>) {
        self.resume = Some(index);
        self.is_checked = is_checked;
        self.more().batch_failed = results.into_failed();
    }

    fn binary(&mut self, shard: &Shard, peer: PeerId, bytes: &[u8]) -> Flow {
        if bytes.starts_with(b"E:") {
            return self.encrypted(shard, peer, bytes);
        }
        let packed = bytes.strip_prefix(MARK).filter(|packed| is_zlib(packed));
        if let Some(packed) = packed.or_else(|| Some(bytes).filter(|bytes| is_zlib(bytes))) {
            let bytes_max = self.wse.settings.max_message_size;
            return shard.with_text(|out| match decompress(packed, bytes_max, out) {
                Ok(()) => self.unpacked(shard, peer, out),
                Err(DecompressError::TooLarge) => Flow::End(Disconnect::Protocol(1009)),
                Err(why @ DecompressError::NotZlib) => {
                    let message = format!("Not a compressed message: {why}");
                    self.error(shard, peer, "INVALID_MESSAGE", &message);
                    Flow::Continue
                }
            });
        }
        let marked = bytes.strip_prefix(b"M:");
        if let Some(packed) = marked.or_else(|| Some(bytes).filter(|bytes| is_map(bytes))) {
            let read = shard.with_text(|out| {
                msgpack::to_json(packed, out).map(|()| self.unpacked(shard, peer, out))
            });
            match read {
                Ok(flow) => return flow,
                Err(why) if marked.is_some() => {
                    let message = format!("Not a MessagePack message: {why}");
                    self.error(shard, peer, "INVALID_MESSAGE", &message);
                    return Flow::Continue;
                }
                // Bytes that only look so.
                Err(_) => {}
            }
        }
        match str::from_utf8(bytes) {
            Ok(text) if Envelope::parse(text).is_ok() => self.text(shard, peer, text),
            _ => {
                self.tell_binary(shard, peer, bytes);
                Flow::Continue
            }
        }
    }

    /// Processes a message that came packed.
    fn unpacked(&mut self, shard: &Shard, peer: PeerId, text: &[u8]) -> Flow {
        match str::from_utf8(text) {
            Ok(text) => self.text(shard, peer, text),
            Err(_) => {
                self.error(shard, peer, "INVALID_MESSAGE", "The message is not UTF-8");
                Flow::Continue
            }
        }
    }

    /// Counts a message toward the client's rate; if that is exceeded, the client is told, at most once a second.
    fn admit(&mut self, shard: &Shard, peer: PeerId) -> bool {
        let settings = &self.wse.settings;
        let (capacity, refill) = (settings.rate_capacity, settings.rate_refill);
        let told = self.bucket.take(capacity, refill, shard.clock.now_ms());
        let (left, is_admitted) = match told {
            inflow::Admitted::Freely => return true,
            inflow::Admitted::Nearly(left) => (left, true),
            inflow::Admitted::Refused { is_told } => {
                shard.counters.limited(Limited::MessageRate);
                if is_told {
                    self.error_with(shard, peer, "RATE_LIMITED", "Rate limit exceeded", |p| {
                        p.decimal("retry_after", 1.0);
                    });
                }
                return false;
            }
        };
        if let Some(left) = left {
            self.send_system(shard, peer, "rate_limit_warning", |p| {
                p.number("current_rate", u64::from(capacity - left))
                    .number("limit", u64::from(capacity))
                    .number("remaining", u64::from(left))
                    .decimal("retry_after", 1.0);
            });
        }
        is_admitted
    }

    /// Sends a message of the protocol itself: always text, so that every client reads it whatever else it has agreed to.
    fn send_system(
        &self,
        shard: &Shard,
        peer: PeerId,
        kind: &str,
        payload: impl FnOnce(&mut Fields<'_>),
    ) {
        self.send_answer(shard, peer, kind, |writer| writer.payload(payload).end());
    }

    fn send_answer(&self, shard: &Shard, peer: PeerId, kind: &str, write: impl FnOnce(Writer<'_>)) {
        let priority = match kind {
            "PING" | "PONG" => Priority::Critical,
            _ => Priority::High,
        };
        let dress = self.dress;
        shard.send_plain(peer, priority, |out| {
            write(Writer::system(out, dress, kind));
        });
    }

    fn error(&self, shard: &Shard, peer: PeerId, code: &str, message: &str) {
        self.error_with(shard, peer, code, message, |_| {});
    }

    /// Sends an error, with fields of its own.
    fn error_with(
        &self,
        shard: &Shard,
        peer: PeerId,
        code: &str,
        message: &str,
        more: impl FnOnce(&mut Fields<'_>),
    ) {
        shard.counters.errors_sent.add(1);
        let timestamp = timestamp_of(shard.clock.wall_ms());
        let timestamp = str::from_utf8(&timestamp).expect("it is ASCII");
        self.send_system(shard, peer, "error", |p| {
            p.text("code", code)
                .text("message", message)
                .flag("recoverable", self.refused.is_none());
            more(p);
            p.text("timestamp", timestamp);
        });
    }

    /// Answers a `ping`.
    fn pong(&self, shard: &Shard, peer: PeerId, message: &Envelope<'_>) {
        let mut sent = None;
        let _ = crate::json::fields(message.payload_text(), |key, value| {
            if matches!(key, "timestamp" | "ts") && value.is_number() {
                sent = Some(value.text());
            }
        });
        let now = shard.clock.wall_ms();
        let since = sent.and_then(|sent| sent.parse::<f64>().ok());
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "milliseconds have 43 bits, and the range is checked"
        )]
        let latency = since.map_or(0, |since| (now as f64 - since).clamp(0.0, 1e12) as u64);
        self.send_system(shard, peer, "PONG", |p| {
            p.raw("client_timestamp", sent.unwrap_or("0"))
                .number("server_timestamp", now)
                .number("latency", latency);
        });
    }
}

/// Whether bytes begin as a map of MessagePack does.
fn is_map(bytes: &[u8]) -> bool {
    matches!(bytes, [0x80..=0x8f | 0xde | 0xdf, ..])
}

impl Session for WseSession {
    fn begin(&mut self, shard: &Shard, peer: PeerId) -> Flow {
        self.greet(shard, peer)
    }

    fn message(&mut self, shard: &Shard, peer: PeerId, payload: Payload<'_>) -> Flow {
        if self.resume.is_none() {
            self.received = self.received.saturating_add(1);
            if !self.admit(shard, peer) {
                return Flow::Continue;
            }
        }
        let flow = match payload {
            Payload::Text(text) => self.text(shard, peer, text),
            Payload::Binary(bytes) => self.binary(shard, peer, bytes),
        };
        if flow != Flow::Wait {
            // Whatever has become of it: what it left is not the next one's.
            self.resume = None;
        }
        flow
    }

    fn is_announced(&self) -> bool {
        self.refused.is_none()
    }

    fn is_polled(&self) -> bool {
        true
    }

    fn poll(&mut self, shard: &Shard, peer: PeerId, cx: &mut Context<'_>) {
        self.poll_timer(shard, peer, cx);
    }

    fn beat(&mut self, shard: &Shard, peer: PeerId) {
        self.ping(shard, peer);
    }

    fn order(
        &mut self,
        shard: &Shard,
        peer: PeerId,
        order: &ConnectionOrder,
        reply: &mut OrderReply,
    ) -> OrderResult {
        self.execute_order(shard, peer, order, reply)
    }

    fn outcome(&mut self, shard: &Shard, peer: PeerId, outcome: Outcome) {
        self.handle_outcome(shard, peer, outcome);
    }

    fn end(&mut self, shard: &Shard, peer: PeerId) {
        self.send_batch(shard, peer);
        self.leave_rosters(shard, peer);
        shard.engine(|engine| engine.end_subscriptions(peer));
    }
}

/// The text of an `id`, or nothing.
fn id_text(id: Option<Raw<'_>>) -> &str {
    id.map_or("", Raw::text)
}

/// What is wrong with a text that is no message.
fn fault_text(why: JsonError) -> &'static str {
    match why {
        JsonError::NotObject | JsonError::NotArray => "The message is no JSON object",
        JsonError::Syntax => "The message is not valid JSON",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_every_connection_has_is_small() {
        // A size class of the allocator.
        let size = size_of::<WseSession>();
        assert!(size <= 160, "{size}");
    }
}
