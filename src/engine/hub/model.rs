//! The hub against a naive model: however peers join, lag, block and leave, each gets every message of its topics once
//! and in order, or is told how many it missed.

use crate::engine::model::encoder::PLAIN;
use std::collections::BTreeMap;
use std::io::IoSlice;

use proptest::prelude::*;

use super::*;
use crate::config::SlowConsumer;
use crate::id::{Priority, UserKey};

#[derive(Clone, Debug)]
enum Op {
    Join,
    Leave(usize),
    Subscribe(usize, usize),
    Unsubscribe(usize, usize),
    Publish(usize, usize),
    Send(usize, usize),
    Flush(usize),
    /// The socket takes this many more bytes.
    Drain(usize, usize),
    GiveBack,
}

/// Sockets that accept a set number of bytes.
#[derive(Default)]
struct Sockets {
    taken: HashMap<Slot, Vec<u8>>,
    room: HashMap<Slot, usize>,
}

impl Sink for Sockets {
    fn write(&mut self, slot: Slot, bytes: &[IoSlice<'_>]) -> Written {
        let joined: Vec<u8> = bytes.iter().flat_map(|slice| slice.to_vec()).collect();
        let room = self.room.get_mut(&slot).unwrap();
        let written = joined.len().min(*room);
        *room -= written;
        self.taken
            .get_mut(&slot)
            .unwrap()
            .extend(&joined[..written]);
        match self.room[&slot] {
            0 => Written::Full(written),
            _ => Written::Bytes(written),
        }
    }
}

/// What one peer may still receive, by topic.
#[derive(Default)]
struct Expected {
    /// Numbers published while subscribed, by topic, not yet received.
    open: BTreeMap<usize, Vec<u64>>,
    /// The newest number when the subscription began, by topic.
    since: BTreeMap<usize, u64>,
    skipped: u64,
    told: u64,
    private: Vec<u64>,
}

struct World {
    hub: Hub,
    sockets: Sockets,
    peers: Vec<PeerId>,
    expected: HashMap<Slot, Expected>,
    numbers: [u64; TOPICS],
    sent: u64,
    lossy: bool,
}

const TOPICS: usize = 4;

impl World {
    fn new(policy: Policy, limits: HubLimits) -> Self {
        Self {
            hub: Hub::new(limits, Policies::new(policy, [])),
            sockets: Sockets::default(),
            peers: Vec::new(),
            expected: HashMap::default(),
            numbers: [0; TOPICS],
            sent: 0,
            lossy: policy.slow != SlowConsumer::Disconnect,
        }
    }

    fn apply(&mut self, op: &Op) {
        let peers = self.peers.len();
        let pick = |index: usize| (peers > 0).then(|| index % peers.max(1));
        match *op {
            Op::Join => {
                let peer = self.hub.join(PLAIN, UserKey::NONE);
                self.sockets.taken.insert(peer.slot, Vec::new());
                self.sockets.room.insert(peer.slot, 500);
                self.expected.insert(peer.slot, Expected::default());
                self.peers.push(peer);
            }
            Op::Leave(index) => {
                if let Some(index) = pick(index) {
                    let peer = self.peers.swap_remove(index);
                    self.settle(peer);
                    self.hub.leave(peer);
                    self.expected.remove(&peer.slot);
                }
            }
            Op::Subscribe(index, topic) => {
                if let Some(index) = pick(index) {
                    let slot = self.peers[index].slot;
                    let id = self.hub.open(&format!("t{topic}")).unwrap();
                    if !self.expected[&slot].open.contains_key(&topic) {
                        assert_ne!(self.hub.subscribe(slot, id), Subscribed::Covered);
                        let expected = self.expected.get_mut(&slot).unwrap();
                        expected.open.insert(topic, Vec::new());
                        expected.since.insert(topic, self.numbers[topic]);
                    }
                }
            }
            Op::Unsubscribe(index, topic) => {
                if let Some(index) = pick(index) {
                    let peer = self.peers[index];
                    let id = self.hub.open(&format!("t{topic}")).unwrap();
                    self.settle(peer);
                    let known = self
                        .expected
                        .get_mut(&peer.slot)
                        .unwrap()
                        .open
                        .remove(&topic);
                    let outcome = self.hub.unsubscribe(peer.slot, id);
                    let expected = if known.is_some() {
                        Unsubscribed::Left
                    } else {
                        Unsubscribed::Never
                    };
                    assert_eq!(outcome, expected);
                }
            }
            Op::Publish(topic, size) => {
                let id = self.hub.open(&format!("t{topic}")).unwrap();
                self.numbers[topic] += 1;
                let number = self.numbers[topic];
                let frame = format!("t{topic}#{number}{};", ".".repeat(size));
                self.hub
                    .append(id, PLAIN, Frame::new(frame.as_bytes(), number));
                for expected in self.expected.values_mut() {
                    if let Some(open) = expected.open.get_mut(&topic) {
                        open.push(number);
                    }
                }
            }
            Op::Send(index, size) => {
                if let Some(index) = pick(index) {
                    self.sent += 1;
                    let slot = self.peers[index].slot;
                    let frame = format!("p0#{}{};", self.sent, ".".repeat(size));
                    if self.hub.send(slot, Priority::High, frame.as_bytes()) == Enqueue::Queued {
                        self.expected
                            .get_mut(&slot)
                            .unwrap()
                            .private
                            .push(self.sent);
                    }
                }
            }
            Op::Flush(writes_max) => {
                let _ = self.hub.flush(&mut self.sockets, 0, writes_max, usize::MAX);
            }
            Op::Drain(index, room) => {
                if let Some(index) = pick(index) {
                    let peer = self.peers[index];
                    *self.sockets.room.get_mut(&peer.slot).unwrap() += room;
                    self.hub.unblock(peer.slot);
                    self.note_gaps();
                }
            }
            Op::GiveBack => self.hub.free_unused(),
        }
    }

    fn note_gaps(&mut self) {
        for incident in self.hub.take_incidents() {
            if let Incident::Gap { peer, lost, .. } = incident {
                self.expected.get_mut(&peer.slot).unwrap().told += u64::from(lost);
            }
        }
    }

    /// Compares what a peer was written with what was expected.
    fn settle(&mut self, peer: PeerId) {
        let taken = std::mem::take(self.sockets.taken.get_mut(&peer.slot).unwrap());
        let text = String::from_utf8(taken).unwrap();
        let whole = text.rfind(';').map_or(0, |at| at + 1);
        let is_cut = whole < text.len();
        assert_eq!(self.hub.partly_written(peer.slot) > 0, is_cut);
        let expected = self.expected.get_mut(&peer.slot).unwrap();
        for frame in text[..whole].split_terminator(';') {
            let (name, rest) = frame.split_once('#').expect("frames are whole and unmixed");
            let number: u64 = rest.trim_end_matches('.').parse().expect("a number");
            if name == "p0" {
                assert_eq!(
                    expected.private.remove(0),
                    number,
                    "private frames keep their order"
                );
                continue;
            }
            let topic: usize = name[1..].parse().unwrap();
            // A frame that was cut before an unsubscription still ends after it.
            let Some(open) = expected.open.get_mut(&topic) else {
                continue;
            };
            if number <= expected.since[&topic] {
                continue;
            }
            let at = open
                .iter()
                .position(|&open| open == number)
                .expect("once and in order");
            assert!(
                at == 0 || self.lossy,
                "message {} of t{topic} is missing",
                open[0]
            );
            expected.skipped += at as u64;
            open.drain(..=at);
        }
        self.sockets
            .taken
            .get_mut(&peer.slot)
            .unwrap()
            .extend(&text.as_bytes()[whole..]);
    }

    /// Lets every socket accept everything, and checks that nothing is left.
    fn finish(mut self) {
        for peer in self.peers.clone() {
            *self.sockets.room.get_mut(&peer.slot).unwrap() = usize::MAX;
            self.hub.unblock(peer.slot);
        }
        self.note_gaps();
        while self.hub.flush(&mut self.sockets, 0, 7, usize::MAX) == Flush::More {}
        for peer in self.peers.clone() {
            self.settle(peer);
            let expected = &self.expected[&peer.slot];
            let missing: usize = expected.open.values().map(Vec::len).sum();
            assert!(expected.private.is_empty(), "private frames are not lost");
            assert!(self.hub.is_drained(peer.slot));
            if self.lossy {
                assert!(
                    expected.skipped + missing as u64 <= expected.told,
                    "no silent gap"
                );
            } else {
                assert_eq!(missing, 0, "everything arrives");
            }
            self.hub.leave(peer);
        }
        self.hub.free_unused();
        self.hub.free_unused();
        assert_eq!(self.hub.subscription_count(), 0);
        assert!(
            self.hub.held() <= TOPICS * 2048,
            "memory comes back: {}",
            self.hub.held()
        );
    }
}

/// Low enough for two queues to be used.
const FEW: usize = 2;

fn limits(memory_max: usize) -> HubLimits {
    HubLimits {
        topics_max: 100,
        memory_max,
        log_bytes_max: 1 << 20,
        backlog_bytes_max: 1 << 20,
        few_members_max: FEW,
        outbox: OutboxLimits {
            bytes_max: 1 << 20,
            messages_max: 1 << 20,
        },
    }
}

fn policy(slow: SlowConsumer, lag_bytes_max: u64, lag_messages_max: u64) -> Policy {
    Policy {
        slow,
        lag_bytes_max,
        lag_messages_max,
        priority: Priority::Normal,
    }
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let peer = 0..6usize;
    let op = prop_oneof![
        2 => Just(Op::Join),
        1 => peer.clone().prop_map(Op::Leave),
        4 => (peer.clone(), 0..TOPICS).prop_map(|(peer, topic)| Op::Subscribe(peer, topic)),
        1 => (peer.clone(), 0..TOPICS).prop_map(|(peer, topic)| Op::Unsubscribe(peer, topic)),
        10 => (0..TOPICS, prop_oneof![9 => 0..40usize, 1 => 0..70_000usize])
            .prop_map(|(topic, size)| Op::Publish(topic, size)),
        3 => (peer.clone(), 0..40usize).prop_map(|(peer, size)| Op::Send(peer, size)),
        6 => (1..8usize).prop_map(Op::Flush),
        4 => (peer, 0..3000usize).prop_map(|(peer, room)| Op::Drain(peer, room)),
        1 => Just(Op::GiveBack),
    ];
    prop::collection::vec(op, 1..250)
}

fn check(policy: Policy, limits: HubLimits, ops: &[Op]) {
    let mut world = World::new(policy, limits);
    for op in ops {
        world.apply(op);
    }
    world.finish();
}

proptest! {
    #[test]
    fn every_peer_gets_every_message_once_and_in_order(ops in ops()) {
        check(policy(SlowConsumer::Disconnect, u64::MAX, 0), limits(usize::MAX), &ops);
    }

    #[test]
    fn drop_oldest_tells_what_was_dropped(ops in ops()) {
        check(policy(SlowConsumer::DropOldest, 100, 0), limits(usize::MAX), &ops);
        check(policy(SlowConsumer::DropOldest, u64::MAX, 4), limits(usize::MAX), &ops);
    }

    #[test]
    fn drop_lowest_tells_what_was_dropped(ops in ops()) {
        check(policy(SlowConsumer::DropLowest, 100, 0), limits(usize::MAX), &ops);
    }

    #[test]
    fn conflate_tells_what_was_dropped(ops in ops()) {
        check(policy(SlowConsumer::Conflate, 100, 0), limits(2000), &ops);
    }
}

#[test]
fn a_slow_peer_is_reported_once_and_its_lag_does_not_hold_the_log() {
    let mut hub = Hub::new(
        limits(usize::MAX),
        Policies::new(policy(SlowConsumer::Disconnect, 500, 0), []),
    );
    let mut sockets = Sockets::default();
    let (slow, fast) = (
        hub.join(PLAIN, UserKey::NONE),
        hub.join(PLAIN, UserKey::NONE),
    );
    let topic = hub.open("t").unwrap();
    for (peer, room) in [(slow, 10), (fast, usize::MAX)] {
        sockets.taken.insert(peer.slot, Vec::new());
        sockets.room.insert(peer.slot, room);
        assert_ne!(hub.subscribe(peer.slot, topic), Subscribed::Covered);
    }
    let mut incidents = Vec::new();
    for number in 1..=1000 {
        hub.append(topic, PLAIN, Frame::new(&[b'x'; 100], number));
        assert_eq!(
            hub.flush(&mut sockets, number, 100, usize::MAX),
            Flush::Done
        );
        incidents.extend(hub.take_incidents());
        assert!(hub.held() < 200_000, "{} held after {number}", hub.held());
    }
    assert!(
        matches!(incidents[..], [Incident::Slow { peer, unsent_bytes: 1.. }] if peer == slow),
        "{incidents:?}"
    );
    assert_eq!(sockets.taken[&fast.slot].len(), 100_000);
}

#[test]
fn when_memory_is_short_those_who_hold_most_of_it_give_way() {
    let mut hub = Hub::new(
        limits(100_000),
        Policies::new(policy(SlowConsumer::DropOldest, 1 << 20, 0), []),
    );
    let mut sockets = Sockets::default();
    let (slow, fast) = (
        hub.join(PLAIN, UserKey::NONE),
        hub.join(PLAIN, UserKey::NONE),
    );
    let (a, b) = (hub.open("a").unwrap(), hub.open("b").unwrap());
    for (peer, topic) in [(slow, a), (fast, b)] {
        sockets.taken.insert(peer.slot, Vec::new());
        sockets.room.insert(peer.slot, 10);
        assert_eq!(hub.subscribe(peer.slot, topic), Subscribed::First);
    }
    let append = |hub: &mut Hub, topic, number| {
        let _ = hub.append(topic, PLAIN, Frame::new(&[b'x'; 100], number));
    };
    for number in 1..=800 {
        append(&mut hub, a, number);
    }
    assert_eq!(hub.flush(&mut sockets, 0, 100, usize::MAX), Flush::Done);
    // Its socket is full for a moment; nothing is published to `a` any more.
    for number in 1..=400 {
        append(&mut hub, b, number);
        assert_eq!(hub.flush(&mut sockets, 0, 100, usize::MAX), Flush::Done);
        assert!(hub.held() <= 110_000, "{} held", hub.held());
    }
    sockets.room.insert(fast.slot, usize::MAX);
    hub.unblock(fast.slot);
    assert_eq!(hub.flush(&mut sockets, 0, 100, usize::MAX), Flush::Done);
    assert_eq!(sockets.taken[&fast.slot].len(), 40_000);
    assert_eq!(hub.take_incidents(), []);
    hub.unblock(slow.slot);
    assert!(matches!(hub.take_incidents()[..], [Incident::Gap { peer, .. }] if peer == slow));
}

#[test]
fn publications_wait_while_a_flush_is_behind() {
    let limits = HubLimits {
        backlog_bytes_max: 1000,
        ..limits(usize::MAX)
    };
    let mut hub = Hub::new(
        limits,
        Policies::new(policy(SlowConsumer::Disconnect, 1 << 20, 0), []),
    );
    let mut sockets = Sockets::default();
    let peer = hub.join(PLAIN, UserKey::NONE);
    sockets.taken.insert(peer.slot, Vec::new());
    sockets.room.insert(peer.slot, usize::MAX);
    let topic = hub.open("t").unwrap();
    assert_eq!(hub.subscribe(peer.slot, topic), Subscribed::First);
    for number in 1..=10 {
        assert!(!hub.is_congested(topic));
        hub.append(topic, PLAIN, Frame::new(&[b'x'; 100], number));
    }
    assert!(hub.is_congested(topic));
    assert_eq!(hub.flush(&mut sockets, 0, 10, usize::MAX), Flush::Done);
    assert!(!hub.is_congested(topic));
}

#[test]
fn f09_behind_a_full_socket_only_the_newest_pong_waits() {
    let mut hub = Hub::new(
        limits(usize::MAX),
        Policies::new(policy(SlowConsumer::Disconnect, 500, 0), []),
    );
    let mut sockets = Sockets::default();
    let peer = hub.join(PLAIN, UserKey::NONE);
    sockets.taken.insert(peer.slot, Vec::new());
    sockets.room.insert(peer.slot, 3);
    assert_eq!(
        hub.send(peer.slot, Priority::High, b"frame"),
        Enqueue::Queued
    );
    assert_eq!(hub.flush(&mut sockets, 0, 10, usize::MAX), Flush::Done);
    assert_eq!(hub.partly_written(peer.slot), 2);
    for pong in 0..1000 {
        assert_eq!(
            hub.send_pong(peer.slot, format!("pong {pong:03}").as_bytes()),
            Enqueue::Queued
        );
    }
    assert_eq!(hub.outbox_bytes(peer.slot), 2 + 8);
    sockets.room.insert(peer.slot, 100);
    hub.unblock(peer.slot);
    assert_eq!(hub.flush(&mut sockets, 0, 10, usize::MAX), Flush::Done);
    assert_eq!(sockets.taken[&peer.slot], b"framepong 999");
}

#[test]
fn a_pong_does_not_overtake_one_that_waited_for_a_full_socket() {
    let mut hub = Hub::new(
        limits(usize::MAX),
        Policies::new(policy(SlowConsumer::Disconnect, 500, 0), []),
    );
    let mut sockets = Sockets::default();
    let peer = hub.join(PLAIN, UserKey::NONE);
    sockets.taken.insert(peer.slot, Vec::new());
    sockets.room.insert(peer.slot, 3);
    let queued = [
        hub.send_pong(peer.slot, b"pong 1"),
        hub.send_pong(peer.slot, b"pong 2"),
    ];
    assert_eq!(queued, [Enqueue::Queued; 2]);
    assert_eq!(hub.flush(&mut sockets, 0, 10, usize::MAX), Flush::Done);
    assert_eq!(hub.send_pong(peer.slot, b"pong 3"), Enqueue::Queued);
    // The socket has room again, and one more ping comes before the next flush.
    sockets.room.insert(peer.slot, 100);
    hub.unblock(peer.slot);
    assert_eq!(hub.send_pong(peer.slot, b"pong 4"), Enqueue::Queued);
    assert_eq!(hub.flush(&mut sockets, 0, 10, usize::MAX), Flush::Done);
    assert_eq!(sockets.taken[&peer.slot], b"pong 1pong 2pong 4");
}
