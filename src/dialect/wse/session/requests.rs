//! What clients ask of the gateway itself, each with its answer (docs/wse.md, "Requests").

use std::num::NonZeroU16;
use std::time::Duration;

use super::ack::listed;
use super::{Phase, WseSession};
use crate::dialect::wse::envelope::Envelope;
use crate::dialect::wse::format::Coding;
use crate::dialect::wse::frame::{Fields, put_object};
use crate::dialect::wse::session::greeting::{FEATURES, PROTOCOL_VERSION};
use crate::id::PeerId;
use crate::json;
use crate::shard::{Shard, Traffic};
use crate::timestamp::timestamp_of;

/// Messages in one batch; those behind it fail.
const BATCH_MESSAGES_MAX: usize = 1000;

/// A request that the gateway answers by itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Request {
    ConnectionState,
    Health,
    HealthOfClient,
    Metrics,
    MetricsOfClient,
    Config,
    ConfigUpdate,
    Debug,
    SequenceStats,
    SystemStatus,
    /// An answer of the client to what the gateway does not ask.
    Unasked,
}

impl Request {
    /// The request that a type is, if it is one.
    pub(super) fn named(kind: &str) -> Option<Self> {
        let mut known = REQUESTS.iter();
        let found = known.find(|(name, ..)| *name == kind);
        found.map(|(_, request, _)| *request)
    }
}

/// The requests by type, and what each is for.
const REQUESTS: [(&str, Request, &str); 16] = [
    (
        "connection_state_request",
        Request::ConnectionState,
        "the state of this connection",
    ),
    (
        "health_check",
        Request::Health,
        "the health of this connection",
    ),
    ("health_check_request", Request::Health, "the same"),
    (
        "health_check_response",
        Request::HealthOfClient,
        "the client's view; poor quality is answered with advice",
    ),
    (
        "metrics_request",
        Request::Metrics,
        "what has been counted of this connection",
    ),
    (
        "metrics_response",
        Request::MetricsOfClient,
        "the client's own figures",
    ),
    (
        "config_request",
        Request::Config,
        "the settings of this connection",
    ),
    (
        "config_update",
        Request::ConfigUpdate,
        "changes settings of this connection",
    ),
    (
        "debug_request",
        Request::Debug,
        "all that is known of this connection",
    ),
    (
        "debug_handlers",
        Request::Debug,
        "the same, with all types of messages",
    ),
    (
        "sequence_stats_request",
        Request::SequenceStats,
        "what the numbers of the client's messages say",
    ),
    (
        "system_status",
        Request::SystemStatus,
        "the gateway as a whole",
    ),
    ("system_status_request", Request::SystemStatus, "the same"),
    ("sync_response", Request::Unasked, "taken, and not answered"),
    ("heartbeat", Request::Unasked, "taken as a sign of life"),
    (
        "client_hello_ack",
        Request::Unasked,
        "taken, and not answered",
    ),
];

/// The other types that the gateway processes, and what each is for.
const OTHERS: [(&str, &str); 18] = [
    (
        "client_hello",
        "what the client can; answered by server_hello",
    ),
    ("ping", "answered by PONG"),
    ("PING", "the same"),
    ("pong", "a sign of life"),
    ("PONG", "the same"),
    ("subscription_update", "subscribes and unsubscribes"),
    ("subscription", "the same"),
    ("publish", "publishes to a topic"),
    (
        "priority_message",
        "published to priority:<user>:messages, and told to the application",
    ),
    (
        "presence_update",
        "changes what is said of the user in a topic",
    ),
    (
        "sync_request",
        "asks the application for a state; ends with snapshot_complete",
    ),
    ("request_snapshot", "the same"),
    ("snapshot_request", "the same"),
    ("batch", "several messages in one"),
    ("batch_message", "the same, with a result for each"),
    (
        "encryption_request",
        "begins and ends end-to-end encryption",
    ),
    ("key_rotation_request", "changes its key"),
    (
        "response",
        "the answer to a question of a service, by its cid",
    ),
];

/// What a client has set for its connection.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) struct Tuning {
    compresses: bool,
    compress_from: u64,
    pub(super) batch_size: u64,
    batch_timeout: f64,
    queue_max: u64,
}

impl Default for Tuning {
    fn default() -> Self {
        Self {
            compresses: true,
            compress_from: 1024,
            batch_size: 1,
            batch_timeout: 0.1,
            queue_max: 1000,
        }
    }
}

impl Tuning {
    /// The size from which messages to the client alone are compressed, if it has said so.
    pub(super) fn compress_from(&self) -> Option<usize> {
        let default = Self::default();
        match (self.compresses, self.compress_from) {
            (false, _) => Some(usize::MAX),
            (true, from) if from == default.compress_from => None,
            (true, from) => usize::try_from(from).ok(),
        }
    }

    /// How long a message waits for others.
    pub(super) fn batch_wait(&self) -> Duration {
        Duration::from_secs_f64(self.batch_timeout)
    }
}

/// The results of the messages of a batch.
#[derive(Debug)]
pub(super) struct BatchResults<'a> {
    pub(super) messages: Vec<&'a str>,
    total: usize,
    failed: Vec<(u32, &'static str)>,
}

impl BatchResults<'_> {
    /// What has failed so far.
    pub(super) fn into_failed(self) -> Vec<(u32, &'static str)> {
        self.failed
    }

    pub(super) fn fail(&mut self, index: u32, why: &'static str) {
        self.failed.push((index, why));
    }
}

impl WseSession {
    /// The messages of a batch; `None`, and the client is told, if it has none.
    pub(super) fn begin_batch<'a>(
        &mut self,
        shard: &Shard,
        peer: PeerId,
        batch: &Envelope<'a>,
        resumed: Option<u32>,
    ) -> Option<BatchResults<'a>> {
        let mut listed = None;
        let _ = json::fields(batch.payload_text(), |key, value| {
            if key == "messages" {
                listed = Some(value.text());
            }
        });
        let mut messages = Vec::new();
        let mut total = 0_usize;
        let read = json::each_item(listed.unwrap_or(""), usize::MAX, |item| {
            total += 1;
            if total <= BATCH_MESSAGES_MAX {
                messages.push(item.text());
            }
        });
        if read.is_err() {
            let why = "A batch has a list of `messages`";
            self.error(shard, peer, "INVALID_MESSAGE", why);
            return None;
        }
        let mut results = BatchResults {
            messages,
            total,
            failed: Vec::new(),
        };
        if resumed.is_some() {
            results.failed = std::mem::take(&mut self.more().batch_failed);
            return Some(results);
        }
        if total > BATCH_MESSAGES_MAX {
            let why = format!("A batch has at most {BATCH_MESSAGES_MAX} messages");
            self.error(shard, peer, "MESSAGE_TOO_LARGE", &why);
            let first = u32::try_from(BATCH_MESSAGES_MAX).expect("it is small");
            results.fail(first, "the batch has too many messages");
        }
        Some(results)
    }

    /// Answers a `batch_message`.
    pub(super) fn send_results(&self, shard: &Shard, peer: PeerId, results: &BatchResults<'_>) {
        let (total, failed) = (results.total, &results.failed);
        let left_out = total.saturating_sub(BATCH_MESSAGES_MAX);
        let failures = failed.len() + left_out.saturating_sub(1);
        self.send_system(shard, peer, "batch_message_result", |p| {
            p.number("total", total as u64)
                .number("successful", (total - failures) as u64)
                .number("failed", failures as u64)
                .items(
                    "results",
                    0..total.min(BATCH_MESSAGES_MAX + 1),
                    |out, index| {
                        let error = failed.iter().find(|(at, _)| *at as usize == index);
                        put_object(out, |p| {
                            p.number("index", index as u64)
                                .flag("success", error.is_none());
                            if let Some((_, why)) = error {
                                p.text("error", why);
                            }
                        });
                    },
                );
        });
    }

    /// Answers a request.
    pub(super) fn request(
        &mut self,
        shard: &Shard,
        peer: PeerId,
        request: Request,
        message: &Envelope<'_>,
    ) {
        let timestamp = timestamp_of(shard.clock.wall_ms());
        let timestamp = str::from_utf8(&timestamp).expect("it is ASCII");
        let traffic = shard.traffic_of(peer);
        let connection = shard.connection_id(peer);
        match request {
            Request::ConnectionState => {
                self.send_system(shard, peer, "connection_state_response", |p| {
                    p.text("state", self.state())
                        .text("connection_id", &connection)
                        .text("connected_since", &since(&traffic))
                        .object("metrics", |p| self.put_traffic(p, &traffic));
                });
            }
            Request::Health => self.send_system(shard, peer, "health_check_response", |p| {
                p.text("status", "healthy")
                    .text("timestamp", timestamp)
                    .number("server_time", shard.clock.wall_ms())
                    .text("connection_id", &connection)
                    .object("diagnostics", |p| {
                        p.text("connection_quality", self.quality());
                        self.put_latency(p);
                    })
                    .object("circuit_breaker", |p| {
                        let is_attached = shard.process.inbound.has_application();
                        p.text("state", if is_attached { "CLOSED" } else { "OPEN" })
                            .text("of", "application");
                    })
                    .object("queue_stats", |p| put_queue(p, &traffic))
                    .object("sequence_stats", |p| self.put_sequence(p))
                    .object("subscriptions", |p| {
                        p.number("active", self.subscriptions.len() as u64)
                            .number("pending", self.pending_count());
                    })
                    .object("client_info", |p| self.put_client(p));
            }),
            Request::HealthOfClient => self.advise(shard, peer, message),
            Request::Metrics => self.send_system(shard, peer, "metrics_response", |p| {
                p.text("timestamp", timestamp)
                    .object("connection_stats", |p| self.put_traffic(p, &traffic))
                    .object("queue_stats", |p| put_queue(p, &traffic))
                    .object("sequence_stats", |p| self.put_sequence(p))
                    .object("diagnostics", |p| {
                        p.text("connection_quality", self.quality());
                    })
                    .decimal("uptime", traffic.open_ms as f64 / 1000.0);
            }),
            Request::Config => self.send_system(shard, peer, "config_response", |p| {
                self.put_config(p, shard);
            }),
            Request::ConfigUpdate => self.update_config(shard, peer, message),
            Request::Debug => self.send_system(shard, peer, "debug_response", |p| {
                p.text("connection_id", &connection)
                    .text("user_id", &self.user(shard, peer))
                    .object("registered_handlers", |p| {
                        for (name, what) in OTHERS {
                            p.text(name, what);
                        }
                        for (name, _, what) in REQUESTS {
                            p.text(name, what);
                        }
                    })
                    .object("subscriptions", |p| {
                        p.raw("active", &listed(self.subscriptions.iter()))
                            .number("pending", self.pending_count());
                    })
                    .text("connection_state", self.state())
                    .object("metrics", |p| self.put_traffic(p, &traffic))
                    .object("configuration", |p| self.put_config(p, shard))
                    .object("sequence", |p| self.put_sequence(p))
                    .object("client_info", |p| self.put_client(p))
                    .object("queue_stats", |p| put_queue(p, &traffic));
            }),
            Request::SequenceStats => {
                self.send_system(shard, peer, "sequence_stats_response", |p| {
                    self.put_sequence(p);
                });
            }
            Request::SystemStatus => {
                let process = &shard.process;
                self.send_system(shard, peer, "system_status_response", |p| {
                    p.text(
                        "status",
                        if process.is_draining() {
                            "stopping"
                        } else {
                            "healthy"
                        },
                    )
                    .text("timestamp", timestamp)
                    .text("server_version", env!("CARGO_PKG_VERSION"))
                    .number("connections", process.connections())
                    .decimal("uptime_seconds", shard.clock.now_ms() as f64 / 1000.0)
                    .flag("application_attached", process.inbound.has_application());
                });
            }
            Request::MetricsOfClient | Request::Unasked => {}
        }
    }

    /// What the client has set.
    pub(super) fn tuning(&self) -> Tuning {
        let more = self.more.as_ref();
        more.map_or_else(Tuning::default, |more| more.tuning)
    }

    fn state(&self) -> &'static str {
        match self.phase {
            Phase::Greeted | Phase::Changing | Phase::Joining => "connecting",
            Phase::Joined => "connected",
        }
    }

    fn pending_count(&self) -> u64 {
        self.more.as_ref().map_or(0, |more| {
            (more.pending.len() + more.acks.len() + more.replays.len()) as u64
        })
    }

    fn put_traffic(&self, p: &mut Fields<'_>, traffic: &Traffic) {
        p.number("messages_received", u64::from(self.received))
            .number("bytes_received", traffic.received)
            .number("bytes_sent", traffic.sent)
            .text("connected_since", &since(traffic));
        self.put_latency(p);
    }

    /// What is not known is left out: clients do not expect `null`.
    fn put_latency(&self, p: &mut Fields<'_>) {
        if let Some(latency) = self.latency_ms() {
            p.number("latency_ms", u64::from(latency));
        }
    }

    fn put_sequence(&self, p: &mut Fields<'_>) {
        let stats = &self.sequence;
        let seen = self.more.as_ref().map_or(0, |more| more.seen.len());
        p.number("current_sequence", stats.highest)
            .number("expected_sequence", stats.highest.saturating_add(1))
            .number("received", stats.received)
            .number("missing", u64::from(stats.missing))
            .number("out_of_order", u64::from(stats.late))
            .number("repeated", u64::from(stats.repeated))
            .number("duplicate_window_size", seen as u64)
            .number("rate_limit_remaining", u64::from(self.bucket.left()));
    }

    fn put_client(&self, p: &mut Fields<'_>) {
        let Some(client) = &self.client else { return };
        p.text("version", &client.version)
            .number("protocol", PROTOCOL_VERSION)
            .texts("features", FEATURES.into_iter().filter(|it| client.can(it)));
    }

    fn put_config(&self, p: &mut Fields<'_>, shard: &Shard) {
        let (settings, websocket) = (&self.wse.settings, &shard.config.websocket);
        let tuning = self.tuning();
        let ms = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        let may_compress = !matches!(self.coding, Coding::Json | Coding::Msgpack);
        p.flag("compression_enabled", may_compress && tuning.compresses)
            .number("compression_threshold", tuning.compress_from)
            .flag("encryption_enabled", self.is_secret())
            .number("batch_size", tuning.batch_size)
            .decimal("batch_timeout", tuning.batch_timeout)
            .number("max_queue_size", tuning.queue_max)
            .number("protocol_version", PROTOCOL_VERSION)
            .number("heartbeat_interval", ms(settings.ping_interval))
            .number(
                "idle_timeout",
                ms(websocket.ping_interval + websocket.ping_timeout),
            )
            .number("max_message_size", settings.max_message_size as u64)
            .object("rate_limits", |p| {
                p.number("capacity", u64::from(settings.rate_capacity))
                    .number("refill_rate", u64::from(settings.rate_refill));
            });
    }

    /// Changes what a client may set for its connection.
    fn update_config(&mut self, shard: &Shard, peer: PeerId, message: &Envelope<'_>) {
        let mut tuning = self.more().tuning;
        let (mut updated, mut rejected) = (Vec::new(), Vec::new());
        let _ = json::fields(message.payload_text(), |key, value| {
            let number = value
                .text()
                .parse::<f64>()
                .ok()
                .filter(|_| value.is_number());
            let whole = |low: u64, high: u64| {
                let count = value.as_count().filter(|_| value.is_number());
                count.filter(|count| (low..=high).contains(count))
            };
            let set = match key {
                "compression_enabled" if value.is_bool() => {
                    tuning.compresses = value.text() == "true";
                    true
                }
                "compression_threshold" => set_whole(&mut tuning.compress_from, whole(512, 10_240)),
                "batching_enabled" if value.is_bool() => {
                    if value.text() == "false" {
                        tuning.batch_size = 1;
                    }
                    true
                }
                "batch_size" => set_whole(&mut tuning.batch_size, whole(1, 100)),
                "batch_timeout" => match number.filter(|number| (0.01..=5.0).contains(number)) {
                    Some(timeout) => {
                        tuning.batch_timeout = timeout;
                        true
                    }
                    None => false,
                },
                "max_queue_size" => set_whole(&mut tuning.queue_max, whole(100, 5000)),
                _ => false,
            };
            let known = match set {
                true => &mut updated,
                false => &mut rejected,
            };
            known.push((key.to_owned(), value.text().to_owned()));
        });
        self.more().tuning = tuning;
        let queue_max = u16::try_from(tuning.queue_max)
            .ok()
            .and_then(NonZeroU16::new);
        let is_own = tuning.queue_max != Tuning::default().queue_max;
        shard.limit_outbox(peer, queue_max.filter(|_| is_own));
        if tuning.batch_size == 1 {
            self.send_batch(shard, peer);
        }
        self.tidy();
        let timestamp = timestamp_of(shard.clock.wall_ms());
        let timestamp = str::from_utf8(&timestamp).expect("it is ASCII");
        let rejected = listed(rejected.iter().map(|(key, _)| key.as_str()));
        self.send_system(shard, peer, "config_update_response", |p| {
            p.flag("success", rejected == "[]")
                .object("updated_settings", |p| {
                    for (key, value) in &updated {
                        p.raw(key, value);
                    }
                })
                .raw("rejected", &rejected)
                .text("timestamp", timestamp);
        });
    }

    /// Advises a client that says that its connection is not good.
    fn advise(&self, shard: &Shard, peer: PeerId, message: &Envelope<'_>) {
        let mut diagnostics = None;
        let _ = json::fields(message.payload_text(), |key, value| {
            if key == "diagnostics" && value.is_object() {
                diagnostics = Some(value.text());
            }
        });
        let Some(diagnostics) = diagnostics else {
            return;
        };
        let (mut quality, mut jitter, mut loss, mut latency) = (None, 0.0, 0.0, 0.0);
        let _ = json::fields(diagnostics, |key, value| {
            let number = || value.text().parse::<f64>().unwrap_or(0.0);
            match key {
                "quality" | "connectionQuality" | "connection_quality" => {
                    quality = value.as_string();
                }
                "jitter" => jitter = number(),
                "packetLoss" | "packet_loss" => loss = number(),
                "avgLatency" | "avg_latency" | "latency" => latency = number(),
                _ => {}
            }
        });
        let Some(quality) = quality.filter(|quality| matches!(&**quality, "poor" | "fair")) else {
            return;
        };
        let advice = [
            (jitter > 50.0, "High jitter: a wired connection is steadier"),
            (loss > 1.0, "Packets are lost: the network is congested"),
            (
                latency > 200.0,
                "High latency: a nearer server answers sooner",
            ),
        ];
        let advice = advice.into_iter().filter(|(is_so, _)| *is_so);
        self.send_system(shard, peer, "connection_quality", |p| {
            p.text("quality", &quality)
                .text("message", "Connection quality could be improved")
                .texts("suggestions", advice.map(|(_, advice)| advice))
                .object("recommended_settings", |p| {
                    p.flag("compression_enabled", true);
                })
                .raw("diagnostics", diagnostics);
        });
    }

    /// How good the connection is, by the time that the client's last answer took.
    fn quality(&self) -> &'static str {
        match self.latency_ms() {
            None => "unknown",
            Some(..50) => "excellent",
            Some(..150) => "good",
            Some(..300) => "fair",
            Some(_) => "poor",
        }
    }
}

fn set_whole(setting: &mut u64, value: Option<u64>) -> bool {
    if let Some(value) = value {
        *setting = value;
    }
    value.is_some()
}

fn put_queue(p: &mut Fields<'_>, traffic: &Traffic) {
    p.number("unsent_bytes", traffic.unsent)
        .flag("backpressure", traffic.is_blocked);
}

/// Since when a connection is open.
fn since(traffic: &Traffic) -> String {
    let since = timestamp_of(traffic.connected_ms);
    String::from_utf8_lossy(&since).into_owned()
}
