//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::foreign::{Foreign, Greeter, Library, Side};
use crate::net::{TlsSettings, Trust};
use crate::payload::{Format, PAYLOAD_BYTES_MIN, PUBLISHERS_MAX, TOPICS_MAX};
use crate::verify::Wire;
use crate::wse;

/// Messages that may answer a call of the bridge before the final one.
pub(crate) const ANSWERS_MAX: u32 = 60;

const WSE_EXAMPLES: &str = "\
Examples:
  loadgen wse                                   1,000 subscribers, bursts of 64 from one publisher
  loadgen wse --compression --payload 1024      the same, compressed; or --msgpack
  loadgen wse --rate 1000 --subscribers 200     200,000 deliveries/s on a schedule: honest latency
  loadgen wse --inbound --pid $(pidof fanfare)  an application takes all that 100 clients say
  loadgen wse --inbound --help                  what can be asked of them
  loadgen wse --target wse --url ws://127.0.0.1:5007
                                                WSE itself, behind perf/peers/wse.py";

const EXAMPLES: &str = "\
Examples:
  loadgen fanout                                1,000 subscribers, bursts of 64 from one publisher
  loadgen fanout --burst 1 --pid $(pidof fanfare)
                                                one publish at a time, with the server's CPU per delivery
  loadgen fanout --rate 1000 --subscribers 200  200,000 deliveries/s on a schedule: honest latency
  loadgen fanout --publishers 2 --payload 1024  everybody must see the two in the same order
  loadgen fanout --format msgpack               the same in binary frames
  loadgen fanout --transport sse                subscribers are EventSources instead of WebSockets
  loadgen fanout --target nats --url ws://127.0.0.1:9222
                                                another product, through its own protocol
  loadgen fanout --target durable-streams --url http://127.0.0.1:4438
                                                the same for readers of its event streams; it ends them after a minute
  loadgen echo --connections 100 --in-flight 32
  loadgen echo --target uwebsockets --url ws://127.0.0.1:9001
                                                another library, through an echo server of its own
  loadgen topics --topics 10000 --subscribers 10
  loadgen slow --slow 1                         one reader stalls; nobody else may notice
  loadgen slow --slow 1000 --subscribers 50 --rate 500 --canary-p99 50
                                                a thousand stall; a pair on another topic waits 50 ms at most
  loadgen resume --duration 30                  every connection is cut about once a second
  loadgen resume --topics 20                    the same, each subscribed to 20 topics at once
  loadgen resume --encoding batch               the same, up to ten events in a frame; or msgpack
  loadgen idle --connections 9000 --pid $(pidof fanfare)
  loadgen idle --target centrifugo --url ws://127.0.0.1:8000 --pid $(pidof centrifugo)
  loadgen connect --url wss://127.0.0.1:8443 --insecure --pid $(pidof fanfare)
                                                full TLS handshakes; with --resume-sessions resumed ones
  loadgen backend --pid $(pidof fanfare)        an application takes all that 100 clients say
  loadgen backend --members 2 --kill-member-after 2
                                                what a member had comes again, marked, at another
  loadgen backend --churn                       10,000 clients come and go; each is told of once
  loadgen wse                                   fan-out to clients of the wse protocol
  loadgen wse --inbound                         what they say, to an application
  loadgen bridge push                           services push over HTTP; every user's frames are checked
  loadgen bridge batch --batch 100 --rate 150000
  loadgen bridge send --calls 200 --beside      questions whose answers stream back, pushes beside them
  loadgen messenger direct --database store.db  messages stored and delivered, beside a bare loop of inserts
  loadgen messenger broadcast --rate 50         each user gets each broadcast of the others exactly once
  loadgen messenger login --pid $(pidof fanfare)

A publisher that is not given --rate works in a closed loop: it sends a burst in
one write, waits until every subscriber has all of it, and sends the next.
Exit code 1 means that something was lost, duplicated, reordered or corrupted,
or that the run could not be finished; 2 means bad arguments.

On a machine with few cores keep server and generator apart, for example
`taskset -c 0 fanfare serve --shards 1` and `loadgen fanout --pin 1`.";

/// Load generator that verifies every delivery.
///
/// Publishes numbered messages through a gateway and checks that every
/// subscriber gets every one of them once, in order and unchanged.
#[derive(Debug, Parser)]
#[command(version, after_help = EXAMPLES)]
pub(crate) struct Options {
    #[command(subcommand)]
    pub(crate) scenario: Scenario,

    #[command(flatten)]
    pub(crate) common: Common,

    #[command(flatten)]
    tls: Tls,
}

impl Options {
    /// How connections are secured where the URL says that they are.
    pub(crate) fn tls_settings(&self) -> TlsSettings {
        let Tls { insecure, ca_file } = &self.tls;
        let trust = match ca_file {
            _ if *insecure => Trust::Any,
            Some(path) => Trust::File(path.clone()),
            None => Trust::System,
        };
        let connect = match &self.scenario {
            Scenario::Connect(connect) => Some(connect),
            _ => None,
        };
        TlsSettings {
            trust,
            resume_sessions: connect.is_some_and(|connect| connect.resume_sessions),
        }
    }
}

/// What is trusted behind wss:// and https://.
#[derive(Debug, Args, Clone)]
#[command(next_help_heading = "Options of wss:// and https://")]
struct Tls {
    /// Accept any certificate, for self-signed ones of tests.
    #[arg(long, global = true, conflicts_with = "ca_file")]
    insecure: bool,

    /// Trust the certificates in this file and what they issued, and nothing else
    /// [default: what this system trusts]. A server's own must not call itself a CA.
    #[arg(long, global = true, value_name = "PEM")]
    ca_file: Option<PathBuf>,
}

/// What every scenario understands.
#[derive(Debug, Args, Clone)]
#[command(next_help_heading = "Common options")]
pub(crate) struct Common {
    /// Server: ws:// or http://, over TLS wss:// or https://. Without a path, the scenario's own is
    /// used; a query is kept (?token=..).
    #[arg(long, global = true, default_value = "ws://127.0.0.1:8080")]
    pub(crate) url: String,

    /// Line to add to the upgrade request, such as "Authorization: Bearer x". Repeatable.
    #[arg(long = "header", global = true, value_name = "LINE", value_parser = header_line)]
    pub(crate) headers: Vec<String>,

    /// Seconds to measure.
    #[arg(long, global = true, default_value = "5", value_name = "SECONDS", value_parser = seconds)]
    pub(crate) duration: Duration,

    /// Seconds of load before measuring. Verification covers them too.
    #[arg(long, global = true, default_value = "1", value_name = "SECONDS", value_parser = seconds)]
    pub(crate) warmup: Duration,

    /// Seconds to wait for connections, and for deliveries still due at the end.
    #[arg(long, global = true, default_value = "10", value_name = "SECONDS", value_parser = seconds)]
    pub(crate) patience: Duration,

    /// Process id of the server: adds its CPU time and memory to the report.
    #[arg(long, global = true)]
    pub(crate) pid: Option<u32>,

    /// Connect from this many addresses, 127.0.0.1 upwards. Each has about 28,000 ports.
    #[arg(long, global = true, default_value_t = 1, value_name = "N",
          value_parser = clap::value_parser!(u8).range(1..=250))]
    pub(crate) source_addresses: u8,

    /// Client to use. `tungstenite` is the slow cross-check (fanout and echo only).
    #[arg(long, global = true, value_enum, default_value_t = Client::Fast)]
    pub(crate) client: Client,

    /// Write the result as JSON to this file, `-` for standard output.
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,

    /// Run on this core only.
    #[arg(long, global = true, value_name = "CORE")]
    pub(crate) pin: Option<usize>,

    /// Seed of padding, masks, and the order of topics.
    #[arg(long, global = true, default_value_t = 1)]
    pub(crate) seed: u64,

    /// No progress line.
    #[arg(long, short, global = true)]
    pub(crate) quiet: bool,
}

/// The client implementation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Client {
    /// One thread, own frame code, compares in place.
    Fast,
    /// tokio-tungstenite, parses every event as JSON.
    Tungstenite,
}

/// How subscribers connect.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Transport {
    /// The events protocol.
    #[default]
    Websocket,
    /// Server-Sent Events: a GET for each subscriber.
    Sse,
}

/// How the gateway writes events.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Encoding {
    /// JSON, an event a frame.
    #[default]
    Json,
    /// JSON, up to ten events of a topic in a frame: batch=true.
    Batch,
    /// Binary frames: format=msgpack.
    Msgpack,
}

impl Encoding {
    /// The query parameter that asks for it.
    pub(crate) const fn parameter(self) -> Option<&'static str> {
        match self {
            Self::Json => None,
            Self::Batch => Some("batch=true"),
            Self::Msgpack => Some("format=msgpack"),
        }
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum Scenario {
    /// One topic, many subscribers: every one gets everything.
    Fanout(Fanout),
    /// Many small topics, each connection subscribed to several.
    Topics(Topics),
    /// Fan-out while some subscribers do not read.
    Slow(Slow),
    /// Fan-out while other subscribers come and go.
    Churn(Churn),
    /// Fan-out while every connection is cut again and again: each comes back and resumes.
    ///
    /// The topics need a history as long as the connections are away, such as
    /// FANFARE_HUB__HISTORY_SIZE=100000 in the server's environment.
    ///
    /// Over WebSocket, besides: nothing of a topic comes before the confirmation that says where it
    /// stands, and its positions never go back. Only a server of two or more shards makes this hard.
    Resume(Resume),
    /// The wse protocol: fan-out to its clients, or with --inbound from them to an application.
    ///
    /// Clients connect to /wse, answer server_ready with client_hello, and subscribe by
    /// subscription_update, which has to be confirmed. One topic, many subscribers: every one has to get
    /// everything, as in fanout, and each message exactly as it was published, with the epoch of its topic
    /// and the offset that follows that of the message before it.
    ///
    /// The topic needs a history, as hub.history_size gives it: messages have offsets where they may be
    /// kept. The server limits what a connection sends: a publisher that few subscribers hold back needs
    /// FANFARE_WSE__RATE_CAPACITY=0 in the server's environment.
    #[command(after_help = WSE_EXAMPLES, disable_help_subcommand = true)]
    Wse(Wse),
    /// Echo: every connection gets its own bytes back.
    Echo(Echo),
    /// Inbound: publish to topics nobody subscribed to, acknowledged once a burst.
    Publish(Publish),
    /// The backend link: an application gets everything that clients say, and acknowledges it.
    ///
    /// Members attach to /api/v1/backend, then clients connect and send. Every message has to come to a
    /// member once, in its client's order and unchanged, or be refused (BACKEND_BUSY); what comes again
    /// has to say so and keep its number. Every client has one connect and one disconnect. In the end the
    /// gateway has to say that nothing of the group is pending.
    ///
    /// The server needs backend.enabled = true. Members need a service's credential in every mode but demo.
    Backend(Backend),
    /// Connect, upgrade, get greeted, close: as fast as possible.
    Connect(Connect),
    /// Many silent connections: memory before, with, and after them.
    Idle(Idle),
    /// The bridge protocol: services push and ask over HTTP, users answer over WebSocket.
    ///
    /// Every user is connected by /ws?user_id= first. Each push must come to its user,
    /// once, unchanged, in the order of its HTTP connection, with user_id, original_sender
    /// and a correlation_id; every answer must say success. Another server of the protocol
    /// may stand behind --url.
    Bridge(Bridge),
    /// The messenger: accounts with keys, and messages that are stored before they are acknowledged.
    ///
    /// Registers accounts of its own, each with a new key, logs them in, and connects them by their tokens.
    /// Every message has to come to its recipients once, unchanged, in the order of ids, and its sender has
    /// to be told the same id that they got.
    ///
    /// The server limits what a user sends: FANFARE_MESSENGER__RATE_LIMIT=0 in its environment lifts that.
    Messenger(Messenger),
}

impl Scenario {
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Fanout(_) => "fanout",
            Self::Topics(_) => "topics",
            Self::Slow(_) => "slow",
            Self::Churn(_) => "churn",
            Self::Resume(_) => "resume",
            Self::Wse(wse) => wse.name(),
            Self::Echo(_) => "echo",
            Self::Publish(_) => "publish",
            Self::Backend(backend) => backend.name(),
            Self::Connect(_) => "connect",
            Self::Idle(_) => "idle",
            Self::Bridge(bridge) => bridge.name(),
            Self::Messenger(messenger) => messenger.name(),
        }
    }

    /// The encoding of events.
    pub(crate) fn format(&self) -> Format {
        match self {
            Self::Fanout(Fanout { events, .. })
            | Self::Topics(Topics { events, .. })
            | Self::Slow(Slow { events, .. })
            | Self::Churn(Churn { events, .. }) => events.format,
            Self::Wse(wse) => wse.encoding().format(),
            _ => Format::Json,
        }
    }

    /// What the subscribers of a fan-out speak.
    pub(crate) fn wire(&self) -> Wire {
        match self {
            Self::Fanout(Fanout {
                target: Some(foreign),
                ..
            }) => Wire::Foreign(*foreign),
            Self::Wse(wse) => Wire::Foreign(wse.protocol()),
            Self::Fanout(Fanout { events, .. })
            | Self::Topics(Topics { events, .. })
            | Self::Slow(Slow { events, .. })
            | Self::Churn(Churn { events, .. })
                if events.transport == Transport::Sse =>
            {
                Wire::Sse
            }
            _ => Wire::WebSocket,
        }
    }

    /// The path when the URL has none.
    pub(crate) fn path(&self) -> String {
        match self {
            Self::Echo(Echo {
                ping: false,
                target,
                ..
            }) => target.map_or("/debug/echo", Library::echo_path).into(),
            Self::Connect(Connect {
                target: Some(target),
                ..
            })
            | Self::Idle(Idle {
                target: Some(target),
                ..
            }) => target.path().into(),
            Self::Idle(Idle {
                transport: IdleTransport::Wse,
                ..
            }) => wse::PATH.into(),
            Self::Bridge(_) | Self::Messenger(_) => "/ws".into(),
            Self::Fanout(Fanout {
                target: Some(target),
                ..
            }) => target.path(Side::Subscriber, ""),
            Self::Wse(_) => wse::PATH.into(),
            _ => "/api/v1/ws/demo".into(),
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct Wse {
    #[command(subcommand)]
    pub(crate) inbound: Option<WseInbound>,

    /// Subscribers of the topic.
    #[arg(long, value_parser = at_least_one, visible_alias = "connections", default_value_t = 1000)]
    pub(crate) subscribers: usize,

    /// Say in the hello that compressed messages are understood. The server compresses those of 1,024
    /// bytes and more: with a --payload of as many. Each is inflated, once for all subscribers that get the
    /// same bytes, and verified.
    #[arg(long, conflicts_with = "msgpack")]
    compression: bool,

    /// Ask for MessagePack by ?format=msgpack, and publish in it.
    #[arg(long)]
    msgpack: bool,

    /// WSE's own server, behind the application in perf/peers/wse.py [default: the gateway]
    #[arg(long, value_enum, value_name = "NAME", conflicts_with_all = ["compression", "msgpack"])]
    target: Option<WseServer>,

    #[command(flatten)]
    pub(crate) load: Load,
}

impl Wse {
    fn name(&self) -> &'static str {
        match &self.inbound {
            None => "wse",
            Some(WseInbound::Inbound(Backend { churn: false, .. })) => "wse-inbound",
            Some(WseInbound::Inbound(Backend { churn: true, .. })) => "wse-inbound-churn",
        }
    }

    fn encoding(&self) -> wse::Encoding {
        match (self.compression, self.msgpack) {
            (true, _) => wse::Encoding::Zlib,
            (_, true) => wse::Encoding::Msgpack,
            _ => wse::Encoding::Json,
        }
    }

    fn protocol(&self) -> Foreign {
        match self.target {
            Some(WseServer::Wse) => Foreign::Wse,
            None => Foreign::Gateway(self.encoding()),
        }
    }

    /// Why the run would not show what it was asked for, if so.
    pub(crate) fn check(&self) -> Result<(), String> {
        let has_encoding = self.compression || self.msgpack || self.target.is_some();
        if self.inbound.is_some() && has_encoding {
            return Err("--inbound has options of its own: loadgen wse --inbound --help".into());
        }
        if self.compression && self.load.payload < wse::COMPRESSED_BYTES_MIN {
            return Err(format!(
                "--compression: messages are compressed from {0} bytes: give --payload {0}",
                wse::COMPRESSED_BYTES_MIN
            ));
        }
        Ok(())
    }
}

/// Another server of the wse protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum WseServer {
    /// WSE, from PyPI.
    Wse,
}

/// The other direction.
#[derive(Debug, Subcommand)]
pub(crate) enum WseInbound {
    /// Clients flood an application on the backend link with messages that only it knows.
    ///
    /// As `loadgen backend`, by clients of the wse protocol: members attach to /api/v1/backend, and every
    /// message has to come to a member once, in its client's order and unchanged, or be refused.
    ///
    /// The server needs backend.enabled = true, and for few clients FANFARE_WSE__RATE_CAPACITY=0, which
    /// lifts its limit to what each sends.
    #[command(long_flag = "inbound")]
    Inbound(Backend),
}

/// How messages are published.
#[derive(Debug, Args, Clone)]
pub(crate) struct Load {
    /// Publishing connections, each with its own sequence.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=i64::from(PUBLISHERS_MAX)))]
    pub(crate) publishers: u16,

    /// Bytes of every message's JSON data value.
    #[arg(long, default_value_t = 128, value_name = "BYTES", value_parser = payload_bytes)]
    pub(crate) payload: usize,

    /// Messages a publisher sends in one write [default: 64, or 1 with --rate].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    burst: Option<u32>,

    /// Bursts a publisher may have on the way before it waits (closed loop).
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) window: u32,

    /// Nanoseconds that subscribers are busy with each delivery, besides its verification: readers that are slower
    /// than the server, whose sockets are full.
    #[arg(long, default_value_t = 0, value_name = "NS")]
    pub(crate) work: u32,

    /// Open loop: this many messages a second over all publishers, on a schedule.
    /// Latency counts from the scheduled time.
    #[arg(long, value_name = "R", value_parser = rate)]
    pub(crate) rate: Option<f64>,

    /// Start of the topic names.
    #[arg(long, default_value = "t", value_name = "PREFIX")]
    pub(crate) topic: String,
}

/// What a fan-out of the events protocol looks like on the wire.
#[derive(Debug, Args, Clone, Copy)]
pub(crate) struct EventsWire {
    /// Encoding of all frames, asked for with `?format=`.
    #[arg(long, value_enum, default_value_t = Format::Json)]
    format: Format,

    /// What subscribers speak. Publishers are WebSockets always.
    #[arg(long, value_enum, default_value_t, conflicts_with = "format")]
    transport: Transport,
}

impl Load {
    /// Messages per write.
    pub(crate) fn burst(&self) -> u32 {
        let usual = if self.rate.is_some() { 1 } else { 64 };
        self.burst.unwrap_or(usual)
    }
}

#[derive(Debug, Args)]
pub(crate) struct Fanout {
    /// Subscribers of the topic.
    #[arg(long, value_parser = at_least_one, visible_alias = "connections", default_value_t = 1000)]
    pub(crate) subscribers: usize,

    /// Another product's server, driven through its own protocol
    /// [default: the events protocol]
    #[arg(long, value_enum, value_name = "NAME", conflicts_with_all = ["format", "transport"])]
    pub(crate) target: Option<Foreign>,

    #[command(flatten)]
    pub(crate) load: Load,

    #[command(flatten)]
    events: EventsWire,
}

#[derive(Debug, Args)]
pub(crate) struct Topics {
    /// Number of topics.
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=i64::from(TOPICS_MAX)))]
    pub(crate) topics: u32,

    /// Subscribers of each topic.
    #[arg(long, value_parser = at_least_one, default_value_t = 10)]
    pub(crate) subscribers: usize,

    /// Topics each connection subscribes to.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) subs_per_conn: u16,

    #[command(flatten)]
    pub(crate) load: Load,

    #[command(flatten)]
    events: EventsWire,
}

#[derive(Debug, Args)]
pub(crate) struct Slow {
    /// Subscribers that read; they must stay complete.
    #[arg(long, value_parser = at_least_one, visible_alias = "connections", default_value_t = 999)]
    pub(crate) subscribers: usize,

    /// Subscribers that stop reading when the load starts.
    #[arg(long, default_value_t = 1)]
    pub(crate) slow: usize,

    /// A pair of clients beside all of them sends 10 messages a second on a topic of its own. The run
    /// fails when it loses one, or when its p99 is above this many milliseconds.
    #[arg(long, value_name = "MS", value_parser = milliseconds)]
    pub(crate) canary_p99: Option<Duration>,

    #[command(flatten)]
    pub(crate) load: Load,

    #[command(flatten)]
    events: EventsWire,
}

#[derive(Debug, Args)]
pub(crate) struct Churn {
    /// Subscribers that stay; they must stay complete.
    #[arg(long, value_parser = at_least_one, visible_alias = "connections", default_value_t = 500)]
    pub(crate) subscribers: usize,

    /// Subscribers that come and go; between coming and going they must miss nothing.
    #[arg(long, default_value_t = 500)]
    pub(crate) passing: usize,

    /// Connections replaced per second, half by a close handshake, half by a reset.
    #[arg(long, default_value = "500", value_name = "R", value_parser = rate)]
    pub(crate) churn_rate: f64,

    #[command(flatten)]
    pub(crate) load: Load,

    #[command(flatten)]
    events: EventsWire,
}

#[derive(Debug, Args)]
pub(crate) struct Resume {
    /// Subscribers of the topics.
    #[arg(long, value_parser = at_least_one, visible_alias = "connections", default_value_t = 200)]
    pub(crate) subscribers: usize,

    /// How subscribers connect. The publisher uses WebSocket.
    #[arg(long, value_enum, default_value_t)]
    pub(crate) transport: Transport,

    /// How the gateway writes what subscribers get over WebSocket.
    #[arg(long, value_enum, default_value_t)]
    pub(crate) encoding: Encoding,

    /// Messages a second, on a schedule.
    #[arg(long, default_value = "5000", value_name = "R", value_parser = rate)]
    pub(crate) rate: f64,

    /// Seconds a connection lasts on average before it is cut, half of them by a
    /// reset; each lasts a random time up to twice as long.
    #[arg(long, default_value = "1", value_name = "SECONDS", value_parser = seconds)]
    pub(crate) cut_every: Duration,

    /// Seconds that a cut subscriber stays away at most, a random time.
    #[arg(long, default_value = "0.1", value_name = "SECONDS", value_parser = seconds)]
    pub(crate) away: Duration,

    /// Fail when a subscriber is told of a gap, too.
    #[arg(long)]
    pub(crate) no_gaps: bool,

    /// Bytes of every message's JSON data value.
    #[arg(long, default_value_t = 128, value_name = "BYTES", value_parser = payload_bytes)]
    pub(crate) payload: usize,

    /// Topics, which every subscriber names in one request; messages go round them. Servers have
    /// limits: events.max_subscriptions and sse.max_topics are 50 unless set.
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = at_least_one)]
    pub(crate) topics: usize,

    /// Name of the topic, or what the names begin with: NAME.0, NAME.1, ..
    #[arg(long, default_value = "resume", value_name = "NAME")]
    pub(crate) topic: String,
}

#[derive(Debug, Args)]
pub(crate) struct Echo {
    /// Connections.
    #[arg(long, value_parser = at_least_one, default_value_t = 100)]
    pub(crate) connections: usize,

    /// Messages each connection has on the way.
    #[arg(long, visible_alias = "burst", default_value_t = 1, value_name = "N",
          value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) in_flight: u32,

    /// Bytes of every message.
    #[arg(long, default_value_t = 128, value_name = "BYTES", value_parser = payload_bytes)]
    pub(crate) payload: usize,

    /// Open loop: this many messages a second over all connections, on a schedule.
    #[arg(long, value_name = "R", value_parser = rate)]
    pub(crate) rate: Option<f64>,

    /// Send binary messages instead of text.
    #[arg(long)]
    pub(crate) binary: bool,

    /// Send `{"type":"ping"}` to the events endpoint and expect `pong` with the
    /// same timestamp, instead of raw echo.
    #[arg(long, conflicts_with = "binary")]
    pub(crate) ping: bool,

    /// A server on a library, on the path where it echoes [default: the gateway]
    #[arg(long, value_enum, value_name = "NAME", conflicts_with = "ping")]
    target: Option<Library>,
}

#[derive(Debug, Args)]
pub(crate) struct Publish {
    /// Publishing connections, each with a topic of its own.
    #[arg(long, visible_alias = "connections", default_value_t = 16,
          value_parser = clap::value_parser!(u16).range(1..=i64::from(PUBLISHERS_MAX)))]
    pub(crate) publishers: u16,

    /// Bytes of every message's JSON data value.
    #[arg(long, default_value_t = 128, value_name = "BYTES", value_parser = payload_bytes)]
    pub(crate) payload: usize,

    /// Messages of one write; the last one asks for an answer.
    #[arg(long, default_value_t = 64, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) burst: u32,

    /// Bursts a publisher may have on the way before it waits.
    #[arg(long, default_value_t = 2, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) window: u32,

    /// Start of the topic names.
    #[arg(long, default_value = "nobody-", value_name = "PREFIX")]
    pub(crate) topic: String,
}

#[derive(Debug, Args)]
pub(crate) struct Backend {
    /// Clients that send.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u16).range(1..=i64::from(PUBLISHERS_MAX)))]
    pub(crate) connections: u16,

    /// Members that receive, all of one group.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub(crate) members: u16,

    /// Name of the group. Runs at the same time need different ones.
    #[arg(long, default_value = "loadgen", value_name = "NAME", value_parser = group_name)]
    pub(crate) group: String,

    /// Objects that a member may have unacknowledged.
    #[arg(long, default_value_t = 16_384, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) credit: u32,

    /// Header line of members' requests, in place of --header and of the URL's query. Repeatable.
    #[arg(long = "member-header", value_name = "LINE", value_parser = header_line)]
    pub(crate) member_headers: Vec<String>,

    /// Bytes of every message, as JSON.
    #[arg(long, default_value_t = 175, value_name = "BYTES", value_parser = message_bytes)]
    pub(crate) size: usize,

    /// Messages of one write [default: 64, or 1 with --rate].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    burst: Option<u32>,

    /// Messages of a client that are neither received nor refused before it waits (closed loop).
    #[arg(long, default_value_t = 128, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) in_flight: u32,

    /// Open loop: this many messages a second over all clients, on a schedule. Latency counts from the
    /// scheduled time to the member's read.
    #[arg(long, value_name = "R", value_parser = rate, conflicts_with = "in_flight")]
    pub(crate) rate: Option<f64>,

    /// Give every message an id, so that each refusal is matched to its message and not only counted; in
    /// wse they are counted all the same.
    #[arg(long)]
    ids: bool,

    /// So many seconds into the measurement, reset a member's connection between its receipt of
    /// messages and their acknowledgement. It comes back.
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub(crate) kill_member_after: Option<Duration>,

    /// Have the last member acknowledge this many milliseconds late; below backend.ack_timeout.
    #[arg(long, value_name = "MS", value_parser = milliseconds)]
    pub(crate) slow_member: Option<Duration>,

    /// Instead of load, let clients come, send one message, and go, half of them by a reset.
    #[arg(long, conflicts_with_all = ["connections", "rate", "burst", "in_flight", "kill_member_after"])]
    pub(crate) churn: bool,

    /// With --churn, how many clients [default: 10000].
    #[arg(long, value_name = "N", requires = "churn", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    clients: Option<u32>,

    /// With --churn, over how many seconds they come [default: 20].
    #[arg(long, value_name = "SECONDS", requires = "churn", value_parser = seconds)]
    over: Option<Duration>,
}

impl Backend {
    fn name(&self) -> &'static str {
        if self.churn {
            "backend-churn"
        } else {
            "backend"
        }
    }

    /// Messages per write.
    pub(crate) fn burst(&self) -> u32 {
        let usual = if self.rate.is_some() { 1 } else { 64 };
        self.burst.unwrap_or(usual)
    }

    /// Whether messages have ids: if they are asked for, or where some may be refused and refusals repeat
    /// them.
    pub(crate) fn has_ids(&self, names_refused: bool) -> bool {
        self.ids || names_refused && (self.rate.is_some() || self.slow_member.is_some())
    }

    pub(crate) fn clients(&self) -> u32 {
        self.clients.unwrap_or(10_000)
    }

    pub(crate) fn over(&self) -> Duration {
        self.over.unwrap_or(Duration::from_secs(20))
    }
}

#[derive(Debug, Args)]
pub(crate) struct Connect {
    /// Connections being set up or torn down at any time.
    #[arg(long, value_parser = at_least_one, visible_alias = "connections", default_value_t = 64)]
    pub(crate) concurrency: usize,

    /// Reset connections instead of closing them with a handshake.
    #[arg(long)]
    pub(crate) abort: bool,

    /// With TLS, resume sessions where the server gave tickets, instead of a full handshake each.
    #[arg(long)]
    pub(crate) resume_sessions: bool,

    /// Another server, on the path where it greets [default: the gateway]
    #[arg(long, value_enum, value_name = "NAME")]
    pub(crate) target: Option<Greeter>,
}

/// What an idle connection speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum IdleTransport {
    /// The events protocol.
    #[default]
    Websocket,
    /// Server-Sent Events: a GET for each subscriber.
    Sse,
    /// The wse protocol, whose hello has been answered.
    Wse,
}

#[derive(Debug, Args)]
pub(crate) struct Idle {
    /// Connections to hold.
    #[arg(long, value_parser = at_least_one, default_value_t = 9000)]
    pub(crate) connections: usize,

    /// Seconds to let the server settle before each look at its memory.
    #[arg(long, default_value = "2", value_name = "SECONDS", value_parser = seconds)]
    pub(crate) settle: Duration,

    /// Also subscribe every connection to one topic of its own.
    #[arg(long)]
    pub(crate) subscribe: bool,

    /// What the connections speak. SSE has no connection without a topic: they
    /// all have the same one, or each its own with --subscribe.
    #[arg(long, value_enum, default_value_t)]
    pub(crate) transport: IdleTransport,

    /// Another server, on the path where it greets [default: the gateway]
    #[arg(long, value_enum, value_name = "NAME", conflicts_with_all = ["subscribe", "transport"])]
    pub(crate) target: Option<Greeter>,
}

#[derive(Debug, Args)]
pub(crate) struct Bridge {
    #[command(subcommand)]
    pub(crate) mode: BridgeMode,
}

impl Bridge {
    fn name(&self) -> &'static str {
        match self.mode {
            BridgeMode::Push(_) => "bridge-push",
            BridgeMode::Batch(_) => "bridge-batch",
            BridgeMode::Send(_) => "bridge-send",
        }
    }

    /// The options that all modes share.
    pub(crate) fn load(&self) -> &BridgeLoad {
        match &self.mode {
            BridgeMode::Push(push) => &push.load,
            BridgeMode::Batch(batch) => &batch.load,
            BridgeMode::Send(send) => &send.load,
        }
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum BridgeMode {
    /// POST /sse/push to one user after the other.
    Push(BridgePush),
    /// POST /sse/push/batch, the messages spread over the users.
    Batch(BridgeBatch),
    /// POST /sse/send: questions, whose answers must reach exactly their caller.
    Send(BridgeSend),
}

#[derive(Debug, Args)]
pub(crate) struct BridgeLoad {
    /// Users connected by WebSocket.
    #[arg(long, default_value_t = 1000, value_name = "N", value_parser = users)]
    pub(crate) users: usize,

    /// Start of the users' names, letters and digits. Runs at the same time need different ones.
    #[arg(long, default_value = "u", value_name = "PREFIX", value_parser = user_name)]
    pub(crate) user: String,

    /// Bytes of every message's text, in JSON.
    #[arg(long, default_value_t = 128, value_name = "BYTES", value_parser = payload_bytes)]
    pub(crate) payload: usize,

    /// With --pid: seconds to let the server settle when everybody has left, before the
    /// last look at its memory.
    #[arg(long, default_value = "2", value_name = "SECONDS", value_parser = seconds)]
    pub(crate) settle: Duration,
}

#[derive(Debug, Args)]
pub(crate) struct BridgePush {
    #[command(flatten)]
    pub(crate) load: BridgeLoad,

    /// HTTP connections, each posting again as soon as it is answered.
    #[arg(long, default_value_t = 64, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) connections: u16,

    /// Open loop: this many pushes a second over all connections, on a schedule.
    /// Latency counts from the scheduled time to the user's receipt.
    #[arg(long, value_name = "R", value_parser = rate)]
    pub(crate) rate: Option<f64>,
}

#[derive(Debug, Args)]
pub(crate) struct BridgeBatch {
    #[command(flatten)]
    pub(crate) load: BridgeLoad,

    /// HTTP connections, each posting again as soon as it is answered.
    #[arg(long, default_value_t = 64, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) connections: u16,

    /// Messages of a batch, each for another user.
    #[arg(long, default_value_t = 100, value_name = "N", value_parser = at_least_one)]
    pub(crate) batch: usize,

    /// Open loop: this many messages a second over all connections, on a schedule.
    /// Latency counts from the scheduled time to the user's receipt.
    #[arg(long, value_name = "R", value_parser = rate)]
    pub(crate) rate: Option<f64>,
}

#[derive(Debug, Args)]
pub(crate) struct BridgeSend {
    #[command(flatten)]
    pub(crate) load: BridgeLoad,

    /// Calls under way at any time, each on a connection of its own to a random user.
    #[arg(long, default_value_t = 200, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) calls: u16,

    /// Messages that answer a call before the final one.
    #[arg(long, default_value_t = 3, value_name = "N", value_parser = clap::value_parser!(u32).range(0..=i64::from(ANSWERS_MAX)))]
    pub(crate) answers: u32,

    /// Push beside the calls, over this many more connections: half of them one message
    /// at a time, half in batches.
    #[arg(long, value_name = "N", num_args = 0..=1, default_missing_value = "8")]
    pub(crate) beside: Option<u16>,

    /// Messages of a batch beside the calls.
    #[arg(long, default_value_t = 500, value_name = "N", value_parser = at_least_one)]
    pub(crate) batch: usize,

    /// Let a user that was not asked answer every call, too: no caller may get that.
    #[arg(long)]
    pub(crate) intruders: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Messenger {
    #[command(subcommand)]
    pub(crate) mode: MessengerMode,
}

impl Messenger {
    fn name(&self) -> &'static str {
        match self.mode {
            MessengerMode::Direct(_) => "messenger-direct",
            MessengerMode::Broadcast(_) => "messenger-broadcast",
            MessengerMode::Login(_) => "messenger-login",
        }
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum MessengerMode {
    /// Each user writes to all others in turn.
    ///
    /// Without --rate the run has two parts: as many messages as the server takes, and then half of
    /// that rate on a schedule, of which the latency is.
    Direct(MessengerDirect),
    /// The users broadcast in turn.
    Broadcast(MessengerBroadcast),
    /// Logins, and what they cost beside a plain request and the verification of a signature.
    Login(MessengerLogin),
}

#[derive(Debug, Args)]
pub(crate) struct MessengerUsers {
    /// Users, each connected once.
    #[arg(long, default_value_t = 200, value_name = "N", value_parser = pairs_of_users)]
    pub(crate) users: usize,

    /// Start of the users' ids, letters and digits [default: m and a random number]
    #[arg(long, value_name = "PREFIX", value_parser = user_name)]
    pub(crate) user: Option<String>,

    /// Bytes of every message's content, in JSON.
    #[arg(long, default_value_t = 128, value_name = "BYTES", value_parser = payload_bytes)]
    pub(crate) payload: usize,
}

#[derive(Debug, Args)]
pub(crate) struct MessengerDirect {
    #[command(flatten)]
    pub(crate) users: MessengerUsers,

    /// Messages of each user that are not both acknowledged and delivered, beyond which it waits.
    #[arg(long, default_value_t = 32, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub(crate) in_flight: u32,

    /// Only on a schedule: this many messages a second over all users. Latency counts from the scheduled
    /// time to the recipient's receipt.
    #[arg(long, value_name = "R", value_parser = rate)]
    pub(crate) rate: Option<f64>,

    /// The server's SQLite file. Rows like those of the run are inserted into a new file beside it with the
    /// same tables, in transactions of 256, before the run and after it: what the disk and SQLite allow.
    #[arg(long, value_name = "FILE")]
    pub(crate) database: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct MessengerBroadcast {
    #[command(flatten)]
    pub(crate) users: MessengerUsers,

    /// Broadcasts a second over all users, on a schedule.
    #[arg(long, default_value_t = 50.0, value_name = "R", value_parser = rate)]
    pub(crate) rate: f64,
}

#[derive(Debug, Args)]
pub(crate) struct MessengerLogin {
    /// Accounts that log in, over and over.
    #[arg(long, default_value_t = 200, value_name = "N", value_parser = pairs_of_users)]
    pub(crate) users: usize,

    /// HTTP connections, each logging in an account at a time.
    #[arg(long, default_value_t = 64, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=4096))]
    pub(crate) connections: u16,
}

/// Users of whom each pair is counted on its own.
fn pairs_of_users(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(count @ 2..=5000) => Ok(count),
        _ => Err("must be 2 to 5000".into()),
    }
}

fn group_name(text: &str) -> Result<String, String> {
    let plain = |letter: char| letter.is_ascii_alphanumeric() || "_.:-".contains(letter);
    if (1..=64).contains(&text.len()) && text.chars().all(plain) {
        Ok(text.to_owned())
    } else {
        Err("1 to 64 letters, digits, - _ . and :".into())
    }
}

fn users(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(count) if (1..=usize::from(PUBLISHERS_MAX)).contains(&count) => Ok(count),
        _ => Err(format!("must be 1 to {PUBLISHERS_MAX}")),
    }
}

fn user_name(text: &str) -> Result<String, String> {
    let plain = |letter: char| letter.is_ascii_alphanumeric() || letter == '_' || letter == '-';
    if text.chars().all(plain) {
        Ok(text.to_owned())
    } else {
        Err("letters, digits, - and _ only".into())
    }
}

fn seconds(text: &str) -> Result<Duration, String> {
    let number = text.strip_suffix('s').unwrap_or(text);
    let seconds: f64 = number.parse().map_err(|_| "not a number of seconds")?;
    Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string())
}

fn milliseconds(text: &str) -> Result<Duration, String> {
    let number = text.strip_suffix("ms").unwrap_or(text);
    let milliseconds: f64 = number.parse().map_err(|_| "not a number of milliseconds")?;
    Duration::try_from_secs_f64(milliseconds / 1e3).map_err(|error| error.to_string())
}

fn rate(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(rate) if rate > 0.0 && rate < 1e9 => Ok(rate),
        _ => Err("not a rate between 0 and 1e9 per second".into()),
    }
}

fn at_least_one(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(count @ 1..=1_000_000) => Ok(count),
        _ => Err("must be 1 to 1000000".into()),
    }
}

fn payload_bytes(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(bytes) if (PAYLOAD_BYTES_MIN..=16 << 20).contains(&bytes) => Ok(bytes),
        _ => Err(format!(
            "must be {PAYLOAD_BYTES_MIN} to 16777216: sender, number and time need room"
        )),
    }
}

fn message_bytes(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(bytes @ 1..=1_048_576) => Ok(bytes),
        _ => Err("must be 1 to 1048576".into()),
    }
}

fn header_line(text: &str) -> Result<String, String> {
    if text.contains(':') && !text.contains(['\r', '\n']) {
        Ok(text.to_owned())
    } else {
        Err("write it as `Name: value`".into())
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_definitions_are_consistent() {
        Options::command().debug_assert();
    }

    #[test]
    fn the_direction_of_wse_stands_among_common_options() {
        for arguments in [
            &["wse", "--inbound", "--connections", "5", "--url", "ws://x"][..],
            &["wse", "--url", "ws://x", "--inbound", "--connections", "5"],
            &["--url", "ws://x", "wse", "--inbound", "--connections", "5"],
        ] {
            let options = Options::try_parse_from(["loadgen"].iter().chain(arguments)).unwrap();
            assert_eq!(options.common.url, "ws://x");
            let Scenario::Wse(wse) = &options.scenario else {
                panic!("another scenario");
            };
            let Some(WseInbound::Inbound(backend)) = &wse.inbound else {
                panic!("not inbound: {arguments:?}");
            };
            assert_eq!(backend.connections, 5);
        }
    }

    #[test]
    fn impossible_values_are_refused() {
        for arguments in [
            &["fanout", "--payload", "40"][..],
            &["fanout", "--rate", "0"],
            &["fanout", "--burst", "0"],
            &["idle", "--header", "no colon"],
            &["connect", "--duration", "-1"],
            &["echo", "--connections", "0"],
            &["fanout", "--target", "nats", "--transport", "sse"],
            &["topics", "--target", "nats"],
            &["topics", "--target", "durable-streams"],
            &["echo", "--target", "nats"],
            &["echo", "--target", "centrifugo"],
            &["connect", "--target", "nats"],
            &["idle", "--target", "centrifugo", "--subscribe"],
            &["echo", "--target", "uwebsockets", "--ping"],
            &["echo", "--insecure", "--ca-file", "x.pem"],
            &["idle", "--resume-sessions"],
            &["backend", "--group", "a b"],
            &["backend", "--clients", "5"],
            &["backend", "--churn", "--rate", "5"],
            &["backend", "--rate", "5", "--in-flight", "5"],
            &["wse", "--compression", "--msgpack"],
            &["wse", "--target", "nats"],
            &["wse", "--target", "wse", "--msgpack"],
            &["wse", "--inbound", "--compression"],
        ] {
            let whole = ["loadgen"].iter().chain(arguments);
            assert!(Options::try_parse_from(whole).is_err(), "{arguments:?}");
        }
    }
}
