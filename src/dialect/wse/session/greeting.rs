//! How a connection begins: the greeting, what the client says of itself, and from when on it gets its topics.

use std::future::Future;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, sleep_until};
use uuid::Uuid;

use super::awaited::Awaited;
use super::{Phase, Refusal, WseSession};
use crate::conn::{Denied, Flow};
use crate::dialect::wse::envelope::Envelope;
use crate::dialect::wse::format::{Coding, OUTBOUND_BYTES_MAX};
use crate::dialect::wse::frame::{Dress, Fields, Writer};
use crate::engine::Begin;
use crate::id::{FormatId, PeerId, Priority};
use crate::json::{self, Raw};
use crate::shard::{Disconnect, Shard};
use crate::timestamp::timestamp_of;
use crate::topic;

/// How long a client's form is waited for.
const FORM_WAIT: Duration = Duration::from_secs(1);

/// How long is waited before something is tried again.
pub(super) const RETRY: Duration = Duration::from_millis(10);

/// What clients may say that they can, by bit.
pub(super) const FEATURES: [&str; 10] = [
    "compression",
    "encryption",
    "batching",
    "priority_queue",
    "circuit_breaker",
    "offline_queue",
    "message_signing",
    "rate_limiting",
    "health_check",
    "metrics",
];

/// What a client says of itself.
#[derive(Default, Debug)]
pub struct ClientInfo {
    /// Its version, or what is kept of it.
    pub version: Box<str>,
    /// A bit for each of [`FEATURES`].
    features: u16,
    /// The public key that it offers, until it is used.
    public_key: Option<Box<str>>,
}

impl ClientInfo {
    /// Bytes of a client's version that are kept.
    pub const VERSION_BYTES_MAX: usize = 32;

    /// Reads the payload of a `client_hello`. What it has of wrong types is left out.
    #[must_use]
    pub fn read(payload: &str) -> Self {
        let mut info = Self::default();
        let _ = json::fields(payload, |key, value| match key {
            "client_version" => {
                let version = value.as_string().unwrap_or_default();
                let end = version.floor_char_boundary(Self::VERSION_BYTES_MAX);
                info.version = version[..end].into();
            }
            "encryption_public_key" => info.public_key = value.as_string().map(Into::into),
            "features" if value.is_object() => info.features = read_features(value),
            _ => {}
        });
        info
    }

    /// Whether it says that it can do something.
    pub(super) fn can(&self, feature: &str) -> bool {
        let bit = FEATURES.iter().position(|known| *known == feature);
        bit.is_some_and(|bit| self.features >> bit & 1 == 1)
    }
}

fn read_features(features: Raw<'_>) -> u16 {
    let mut bits = 0;
    let _ = json::fields(features.text(), |key, value| {
        let bit = FEATURES.iter().position(|known| *known == key);
        if let Some(bit) = bit.filter(|_| value.text() == "true") {
            bits |= 1 << bit;
        }
    });
    bits
}

impl WseSession {
    /// Greets the client, or tells it why it is refused.
    pub(super) fn greet(&mut self, shard: &Shard, peer: PeerId) -> Flow {
        if let Some(refusal) = self.refused.as_deref() {
            return self.refuse_late(shard, peer, refusal);
        }
        let connection = shard.connection_id(peer);
        let user = self.user(shard, peer).into_owned();
        let server_time = timestamp_of(shard.clock.wall_ms());
        let server_time = str::from_utf8(&server_time).expect("it is ASCII");
        let id = format!("\"{}\"", Uuid::now_v7());
        let has_history = self.wse.has_history;
        self.send_answer(shard, peer, "server_ready", |writer| {
            writer
                .payload(|p| {
                    p.text("connection_id", &connection)
                        .object("details", |p| {
                            p.text("connection_id", &connection)
                                .object("features", |p| put_features(p, has_history, true))
                                .text("server_time", server_time)
                                .text("user_id", &user)
                                .number("version", 1);
                        })
                        .text("message", "Connection established");
                })
                .raw("id", &id)
                .end();
        });
        shard.set_beat(peer, self.wse.settings.ping_interval);
        self.wait_until(Instant::now() + FORM_WAIT);
        Flow::Continue
    }

    /// Tells a client that its credentials, or its page, are not accepted.
    fn refuse_late(&self, shard: &Shard, peer: PeerId, refusal: &Refusal) -> Flow {
        let (code, message, why) = match refusal {
            Refusal::Token(denied @ Denied::NoToken) => (
                "AUTH_REQUIRED",
                "No JWT cookie or Authorization header",
                denied.disconnect(),
            ),
            Refusal::Token(denied) => {
                let message = match denied.disconnect() {
                    Disconnect::Blocked => denied.text(),
                    _ => "Authentication failed",
                };
                ("AUTH_FAILED", message, denied.disconnect())
            }
            Refusal::Origin(why) => ("ORIGIN_NOT_ALLOWED", &**why, self.wse.origin_refused),
        };
        self.error(shard, peer, code, message);
        Flow::End(why)
    }

    /// The client is of 1.x: it is written as it reads, and sees at once that the gateway lives, since it does not
    /// forget what it knew of that before it reconnected.
    pub(super) fn turn_old(&mut self, shard: &Shard, peer: PeerId) {
        self.dress = Dress::Prefix;
        self.ping(shard, peer);
    }

    /// Learns from a client's first message how it reads, and has its topics written so.
    pub(super) fn settle_form(
        &mut self,
        shard: &Shard,
        peer: PeerId,
        message: &Envelope<'_>,
    ) -> Flow {
        if self.dress == Dress::Prefix && self.coding == Coding::Msgpack {
            // Clients of 1.x have no MessagePack.
            self.coding = Coding::Json;
        }
        if message.kind.as_deref() == Some("client_hello") {
            let client = ClientInfo::read(message.payload_text());
            let may_zip = self.coding == Coding::Json && self.deflate.is_none();
            if client.can("encryption") && client.public_key.is_some() {
                // What is encrypted is the log that is shared with others.
                self.coding = Coding::Json;
            } else if may_zip && client.can("compression") {
                self.coding = Coding::Zlib;
            }
        }
        let flow = self.change_format(shard, peer);
        self.is_known = flow == Flow::Continue;
        flow
    }

    /// Has the client's topics written in its format. Those of a new client follow when that is done.
    pub(super) fn change_format(&mut self, shard: &Shard, peer: PeerId) -> Flow {
        let format = self.format();
        if format != self.reads {
            if !shard.engine(|engine| engine.reformat(peer, format)) {
                return Flow::Wait;
            }
            if self.phase == Phase::Greeted {
                self.phase = Phase::Changing;
            }
        } else if self.phase == Phase::Greeted {
            self.join(shard, peer);
        }
        Flow::Continue
    }

    /// The client's topics are written in this format.
    pub(super) fn note_format(&mut self, shard: &Shard, peer: PeerId, format: FormatId) {
        self.reads = format;
        if self.has_waiting() && format == self.format() {
            self.announce_waiting(shard, peer, true);
        }
        match self.phase {
            Phase::Changing => self.join(shard, peer),
            Phase::Joined if format != self.format() => self.retry_soon(shard, peer),
            Phase::Joined | Phase::Joining | Phase::Greeted => {}
        }
    }

    /// Tries again soon what could not be done now.
    pub(super) fn retry_soon(&mut self, shard: &Shard, peer: PeerId) {
        self.wait_until(Instant::now() + RETRY);
        // Its task polls the timer.
        shard.wake(peer);
    }

    /// Gives the client what every client gets: what is said to its user.
    pub(super) fn join(&mut self, shard: &Shard, peer: PeerId) {
        self.phase = Phase::Joining;
        let inbox = topic::inbox_of(&self.user(shard, peer));
        let permissions = self.permissions(shard);
        let is_own =
            self.identity.is_none() || permissions.may_subscribe(&topic::Selector::Topic(&inbox));
        if !is_own {
            self.phase = Phase::Joined;
            return;
        }
        let (ticket, subscribed, confirmation) = shard.engine(|engine| {
            let ticket = engine.begin_subscription(peer);
            let subscribed = engine.subscribe(peer, &inbox, Begin::Live, ticket);
            (ticket, subscribed, engine.confirm(ticket))
        });
        if subscribed.is_err() {
            // No connection is better than one that misses its user's messages.
            return shard.disconnect(peer, Disconnect::Overloaded);
        }
        self.await_outcome(shard, peer, (ticket, Awaited::Join), confirmation);
    }

    /// Answers a `client_hello`.
    pub(super) fn hello(&mut self, shard: &Shard, peer: PeerId, message: &Envelope<'_>) {
        let mut client = ClientInfo::read(message.payload_text());
        let offered = client.public_key.take();
        let offered = offered.filter(|_| client.can("encryption") && !self.is_secret());
        self.client = Some(Box::new(client));
        let public = offered.and_then(|offered| self.agree(shard, peer, &offered).ok());
        let connection = shard.connection_id(peer);
        let server_time = timestamp_of(shard.clock.wall_ms());
        let wse = self.wse.clone();
        let is_secret = self.is_secret();
        let write = |p: &mut Fields<'_>| {
            let settings = &wse.settings;
            let ping_interval = settings.ping_interval.as_millis();
            p.text("connection_id", &connection)
                .object("features", |p| put_features(p, wse.has_history, is_secret))
                .object("limits", |p| {
                    p.number("max_message_size", settings.max_message_size as u64)
                        .number("max_outbound_message_size", OUTBOUND_BYTES_MAX as u64)
                        .number("max_subscriptions", settings.max_subscriptions as u64)
                        .number("rate_limit_capacity", u64::from(settings.rate_capacity))
                        .number("rate_limit_refill", u64::from(settings.rate_refill));
                })
                .number(
                    "ping_interval",
                    u64::try_from(ping_interval).unwrap_or(u64::MAX),
                )
                .number("protocol_version", PROTOCOL_VERSION)
                .text(
                    "server_time",
                    str::from_utf8(&server_time).expect("it is ASCII"),
                )
                .text("server_version", env!("CARGO_PKG_VERSION"));
            if let Some(public) = &public {
                p.text("encryption_public_key", public);
            }
        };
        match &public {
            Some(_) => self.announce(shard, peer, HELLO, write),
            None => self.send_system(shard, peer, HELLO.0, write),
        }
    }

    /// Says to the client that the gateway lives, in a form that all clients answer.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "differences of times wrap as they do"
    )]
    pub(super) fn ping(&mut self, shard: &Shard, peer: PeerId) {
        if self.refused.is_some() {
            return;
        }
        self.pinged_ms = shard.clock.now_ms() as u32;
        let (now, dress) = (shard.clock.wall_ms(), self.dress);
        let server_time = timestamp_of(now);
        let server_time = str::from_utf8(&server_time).expect("it is ASCII");
        shard.send_plain(peer, Priority::Critical, |out| {
            Writer::system(out, dress, "PING")
                .payload(|p| {
                    p.number("timestamp", now).text("server_time", server_time);
                })
                .end();
        });
    }

    /// Sets the timer, unless it is due before.
    pub(super) fn wait_until(&mut self, due: Instant) {
        match &mut self.timer {
            Some(timer) if timer.deadline() <= due => {}
            Some(timer) => timer.as_mut().reset(due),
            None => self.timer = Some(Box::pin(sleep_until(due))),
        }
    }

    /// Acts on what was waited for too long.
    pub(super) fn poll_timer(&mut self, shard: &Shard, peer: PeerId, cx: &mut Context<'_>) {
        while let Some(timer) = &mut self.timer {
            if timer.as_mut().poll(cx) == Poll::Pending {
                return;
            }
            self.timer = None;
            let is_due = self.phase == Phase::Greeted || self.format() != self.reads;
            if is_due && self.change_format(shard, peer) == Flow::Wait {
                self.retry_soon(shard, peer);
            }
            self.end_late_syncs(shard, peer);
            self.send_late_batch(shard, peer);
            self.go_on(shard, peer);
        }
    }
}

/// The answer to a `client_hello`, and how it begins in both dresses.
const HELLO: (&str, [&str; 2]) = (
    "server_hello",
    [
        r#"{"c":"WSE","t":"server_hello""#,
        r#"WSE{"t":"server_hello""#,
    ],
);

/// The version of the protocol, of which there is one.
pub(super) const PROTOCOL_VERSION: u64 = 1;

/// What the gateway can do, as clients ask for it.
fn put_features(features: &mut Fields<'_>, has_history: bool, encrypts: bool) {
    for (feature, is_so) in [
        ("batching", true),
        ("circuit_breaker", false),
        ("cluster", false),
        ("compression", true),
        ("encryption", encrypts),
        ("health_check", true),
        ("metrics", true),
        ("msgpack", true),
        ("offline_queue", false),
        ("priority_queue", true),
        ("recovery", has_history),
        ("rust_jwt", true),
        ("rust_transport", true),
    ] {
        features.flag(feature, is_so);
    }
}
