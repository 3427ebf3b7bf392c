//! Generates setups and operations from a seed.

use super::encoder::{DEFLATED, GROUPED, LIVE, LIVE_DEFLATED, PACKED, PLAIN};
use super::ops::{CLIENTS, Names, Op, Recover, Setup};
use super::random::Random;
use crate::config::SlowConsumer;
use crate::id::FormatId;

/// The setup and the operations of a seed.
pub(super) fn generate(seed: u64) -> (Setup, Vec<Op>) {
    let mut random = Random::new(seed);
    let is_large = random.chance(15);
    let setup = setup(&mut random, is_large);
    let mut topics = TOPICS.to_vec();
    let count = random.pick(&[2, 2, 3, 4, 8, 12]);
    while topics.len() > count {
        let at = random.below(u32::try_from(topics.len()).expect("a few"));
        topics.remove(at as usize);
    }
    let mut maker = Maker {
        is_large,
        topics,
        flushes: random.pick(&[10, 30, 80]),
        exchanges: random.pick(&[10, 30, 80]),
        runs: random.pick(&[0, 3, 10]),
        keyed: random.pick(&[0, 10, 40]),
        streams: random.pick(&[1, 5, 20]),
        joins: random.pick(&[1, 4]),
        reformats: random.pick(&[0, 2, 8]),
        queues: random.pick(&[0, 4, 12]),
        random,
    };
    let count = 200 + maker.random.below(800);
    let mut ops: Vec<Op> = (0..CLIENTS - 1).map(|client| maker.join(client)).collect();
    ops.extend((0..count).map(|_| maker.op()));
    (setup, ops)
}

/// Topics published to. Those in `p.` have presence; those in `b.` have their own policy and no history. The last
/// ones cannot be named in the events protocol: one looks like two others, one like a pattern.
const TOPICS: [&str; 12] = [
    "a.1",
    "a.2",
    "a.3",
    "a.4",
    "b.1",
    "b.2",
    "p.1",
    "p.2",
    "a.1,a.2",
    "a.*",
    "a b\"\u{1f3ba}",
    "p.\u{fc}?",
];

/// The labels of patterns subscribed to.
const PATTERNS: [&str; 8] = [
    "a.*",
    "*",
    "b.*",
    "p*",
    "~a.*",
    "~*,a*",
    "~????*",
    "~*\u{fc}?",
];

/// Keys of publications.
const KEYS: [&str; 3] = ["k1", "k2", "k3"];

/// Keys of calls.
const CALLS: [&str; 4] = ["c1", "c2", "c3", "c4"];

const POLICIES: [SlowConsumer; 4] = [
    SlowConsumer::Disconnect,
    SlowConsumer::DropOldest,
    SlowConsumer::Conflate,
    SlowConsumer::DropLowest,
];

const FORMATS: [FormatId; 9] = [
    PLAIN,
    PLAIN,
    PLAIN,
    PACKED,
    GROUPED,
    GROUPED,
    DEFLATED,
    LIVE,
    LIVE_DEFLATED,
];

fn setup(random: &mut Random, is_large: bool) -> Setup {
    let is_tight = random.chance(10);
    let outbox_messages = random.pick(&[1000, 1000, 1000, 3]);
    Setup {
        engines: u16::from(1 + random.byte(4)),
        slow: random.pick(&POLICIES),
        slow_b: random.pick(&POLICIES),
        lag_bytes: random.pick(&[100, 400, 3_000, 1 << 20]),
        lag_messages: random.pick(&[0, 0, 3, 10]),
        history: match is_large {
            true => random.pick(&[10, 40]),
            false => random.pick(&[0, 3, 10, 40, 1000]),
        },
        lane_items: random.pick(&[1, 2, 4, 100]),
        lane_batches: random.pick(&[1, 2, 8]),
        outbox_messages,
        log_bytes: random.pick(&[1 << 20, 1 << 20, 3000]),
        backlog_bytes: random.pick(&[1 << 20, 1 << 20, 200]),
        memory: random.pick(&[usize::MAX, usize::MAX, usize::MAX, 60_000]),
        topics: if is_tight { 5 } else { 1000 },
        grace_ms: random.pick(&[0, 50, 5000]),
        room: match is_large {
            true => 1_000_000,
            false if outbox_messages < 10 => 100,
            false => random.pick(&[100, 1000, 10_000]),
        },
    }
}

/// Generates operations.
struct Maker {
    random: Random,
    /// Whether there are large messages.
    is_large: bool,
    topics: Vec<&'static str>,
    // Relative frequencies.
    flushes: u32,
    exchanges: u32,
    runs: u32,
    streams: u32,
    joins: u32,
    reformats: u32,
    queues: u32,
    /// The percentage of publications with a key.
    keyed: u32,
}

impl Maker {
    fn client(&mut self) -> u8 {
        self.random.byte(CLIENTS)
    }

    fn node(&mut self) -> u8 {
        self.random.byte(4)
    }

    fn topic(&mut self) -> &'static str {
        self.random.pick(&self.topics)
    }

    fn key(&mut self) -> &'static str {
        match self.random.chance(self.keyed) {
            true => self.random.pick(&KEYS),
            false => "",
        }
    }

    fn bytes(&mut self) -> u32 {
        match self.random.below(10) {
            0..3 if self.is_large => 10_000 + self.random.below(20_000),
            0..4 => self.random.below(300),
            _ => self.random.below(30),
        }
    }

    fn join(&mut self, client: u8) -> Op {
        Op::Join {
            client,
            node: self.node(),
            format: self.random.pick(&FORMATS),
            greet: self.random.chance(30),
        }
    }

    fn names(&mut self, patterns: u32) -> Names {
        let mut names = [""; 3];
        let count = self.random.pick(&[1, 1, 2, 3]);
        for name in &mut names[..count] {
            *name = match self.random.chance(patterns) {
                true => self.random.pick(&PATTERNS),
                // Only one topic's label is not its name.
                false => match self.topic() {
                    "a.*" => "=a.*",
                    topic => topic,
                },
            };
        }
        names
    }

    /// Operations of clients and tasks, each with its relative frequency.
    fn client_ops(&self) -> [(u32, Make); 24] {
        [
            (self.joins, |m| {
                let client = m.client();
                m.join(client)
            }),
            (self.joins, |m| Op::Leave { client: m.client() }),
            (1, |m| Op::Close { client: m.client() }),
            (14, |m| Op::Subscribe {
                client: m.client(),
                names: m.names(30),
                recover: m.random.pick(&RECOVERS),
            }),
            (10, |m| Op::Unsubscribe {
                client: m.client(),
                names: m.names(20),
            }),
            (self.queues, |m| Op::JoinQueue {
                client: m.client(),
                topic: m.topic(),
            }),
            (self.queues / 2, |m| Op::LeaveQueue {
                client: m.client(),
                topic: m.topic(),
            }),
            (self.reformats, |m| Op::Reformat {
                client: m.client(),
                format: m.random.pick(&[PLAIN, PACKED, GROUPED, DEFLATED]),
            }),
            (25, |m| Op::Publish {
                client: m.client(),
                topic: m.topic(),
                key: m.key(),
                answer: m.random.chance(50),
                bytes: m.bytes(),
            }),
            (8, |m| Op::PublishExcept {
                client: m.client(),
                topic: m.topic(),
                except: m.client(),
                bytes: m.bytes(),
            }),
            (15, |m| Op::Count {
                node: m.node(),
                topic: m.topic(),
                key: m.key(),
                only_live: m.random.chance(20),
                bytes: m.bytes(),
            }),
            (6, |m| Op::Push {
                node: m.node(),
                client: m.client(),
                bytes: m.bytes(),
            }),
            (1, |m| Op::Broadcast { node: m.node() }),
            (12, |m| Op::Room {
                client: m.client(),
                bytes: m.random.pick(&[10, 60, 200, 200, 1000, 20_000]),
            }),
            (1, |m| Op::Cut { client: m.client() }),
            (2, |m| Op::UpdatePresence {
                client: m.client(),
                topic: m.random.pick(&["p.1", "p.2", "p.\u{fc}?"]),
            }),
            (2, |m| Op::Roster {
                client: m.client(),
                topic: m.random.pick(&["p.1", "p.2", "p.\u{fc}?"]),
            }),
            (2, |m| Op::Call {
                node: m.node(),
                key: m.random.pick(&CALLS),
                client: m.random.byte(3),
            }),
            (5, |m| Op::Answer {
                client: m.random.byte(3),
                key: m.random.pick(&CALLS),
                is_last: m.random.chance(20),
            }),
            (2, |m| Op::HangUp {
                call: m.random.byte(3),
            }),
            (2, |m| Op::History {
                node: m.node(),
                topic: m.topic(),
                since: m.random.byte(20),
                limit: 1 + m.random.byte(30),
            }),
            (2, |m| Op::HistoryBefore {
                node: m.node(),
                topic: m.topic(),
                before: m.random.byte(40),
                limit: 1 + m.random.byte(30),
            }),
            (self.streams, |m| Op::StreamLast {
                client: m.client(),
                node: m.node(),
                topics: m.names(0),
                count: m.random.pick(&[0, 2, 20]),
            }),
            (self.streams, |m| Op::Stream {
                client: m.client(),
                node: m.node(),
                topics: m.names(0),
                resume: m.random.chance(80),
            }),
        ]
    }

    /// Operations of engines and lanes, each with its relative frequency.
    fn engine_ops(&self) -> [(u32, Make); 12] {
        [
            (self.exchanges, |m| Op::Exchange {
                node: m.node(),
                deliveries: m.random.byte(5),
                requests: m.random.byte(5),
            }),
            (self.flushes, |m| Op::Flush {
                node: m.node(),
                writes: m.random.pick(&[1, 3, 200]),
                bytes: m.random.pick(&[50, 1 << 20]),
            }),
            (self.runs, |m| Op::Run {
                rounds: 1 + m.random.byte(4),
            }),
            (2, |m| Op::Stop {
                from: m.node(),
                to: m.node(),
            }),
            (4, |m| Op::Go {
                from: m.node(),
                to: m.node(),
            }),
            (2, |m| Op::CloseGroups { node: m.node() }),
            (5, |m| Op::Tick { node: m.node() }),
            (1, |m| Op::SweepPresence { node: m.node() }),
            (2, |m| Op::SweepHome {
                node: m.node(),
                rarely: m.random.chance(80),
            }),
            (2, |m| Op::Tidy { node: m.node() }),
            (1, |m| Op::FindStalled { node: m.node() }),
            (3, |m| Op::Advance {
                ms: m
                    .random
                    .pick(&[1, 20, 120, 120, 1_100, 1_100, 6_000, 301_000]),
            }),
        ]
    }

    fn op(&mut self) -> Op {
        let (client_ops, engine_ops) = (self.client_ops(), self.engine_ops());
        let all = client_ops.iter().chain(&engine_ops);
        let mut left = self
            .random
            .below(all.clone().map(|(weight, _)| weight).sum());
        for &(weight, make) in all {
            if left < weight {
                return make(self);
            }
            left -= weight;
        }
        unreachable!("the weights add up to the total")
    }
}

/// Generates one operation.
type Make = fn(&mut Maker) -> Op;

const RECOVERS: [Recover; 17] = [
    Recover::Nothing,
    Recover::Nothing,
    Recover::Nothing,
    Recover::Stored,
    Recover::Stored,
    Recover::Stored,
    Recover::Stored,
    Recover::Ahead,
    Recover::Restarted,
    Recover::Restarted,
    Recover::Restarted,
    Recover::Restarted,
    Recover::Ago,
    Recover::Ago,
    Recover::Last(0),
    Recover::Last(2),
    Recover::Last(20),
];
