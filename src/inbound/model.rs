//! A group under random arrivals, members that come, acknowledge, fall silent and leave, against what each application
//! may see: nothing lost, nothing out of a client's order, and nothing sent twice unless it says so.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::group::{Group, GroupLimits, MemberId};
use super::kind::{Kinds, ObjectKind};
use super::member::{ALONE_AFTER, MemberLimits};
use super::object::{MessageBody, MessageFields, Object, ObjectWriter};
use crate::id::{AnyPeer, PeerId, ShardId, Slot};

const LIMITS: GroupLimits = GroupLimits {
    deliveries_max: 5,
    linger_ms: 1_000_000,
    ack_timeout_ms: 1000,
    asked_max: 100,
    dead_letters_max: (100_000, 1 << 30),
};

const CLIENTS: u32 = 7;

struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) % bound
    }
}

/// What an application's member has seen.
#[derive(Default)]
struct Seen {
    next_seq: u64,
    /// Sent and not acknowledged: seq, client, number within the client.
    open: Vec<(u64, u32, u64)>,
}

struct Model {
    group: Group,
    random: Random,
    now_ms: u64,
    /// By client: how many objects it has said.
    said: BTreeMap<u32, u64>,
    /// Acknowledged, or dead.
    done: BTreeSet<(u32, u64)>,
    /// How often each object was sent.
    sent: BTreeMap<(u32, u64), u32>,
    members: BTreeMap<MemberId, Seen>,
    next_member: u64,
    lost: u64,
}

fn connection(client: u32) -> AnyPeer {
    let peer = PeerId {
        slot: Slot(client),
        generation: 0,
    };
    (ShardId(0), peer)
}

fn object(client: u32, number: u64, kind: ObjectKind) -> Object {
    let mut body = Vec::new();
    let data = format!("[{client},{number}]");
    let fields = MessageFields {
        kind: None,
        id: None,
        body: MessageBody::Json(&data),
    };
    ObjectWriter::begin(&mut body, kind, connection(client), ("events", None)).message(&fields);
    Object {
        connection: connection(client),
        kind,
        groups: 1,
        id: Box::default(),
        time_ms: 0,
        body: body.into(),
    }
}

impl Model {
    fn new(seed: u64) -> Self {
        Self {
            group: Group::new(LIMITS, 0),
            random: Random(seed),
            now_ms: 0,
            said: BTreeMap::new(),
            done: BTreeSet::new(),
            sent: BTreeMap::new(),
            members: BTreeMap::new(),
            next_member: 0,
            lost: 0,
        }
    }

    fn pick(&mut self) -> Option<MemberId> {
        let count = self.members.len() as u64;
        let at = (count > 0).then(|| self.random.below(count))?;
        self.members
            .keys()
            .nth(usize::try_from(at).unwrap())
            .copied()
    }

    fn attach(&mut self) {
        let id = MemberId(self.next_member);
        self.next_member += 1;
        let limits = MemberLimits {
            kinds: Kinds::ALL,
            credit: 1 + u32::try_from(self.random.below(40)).unwrap(),
        };
        self.group.attach(id, limits, self.now_ms);
        let seen = Seen {
            next_seq: 1,
            open: Vec::new(),
        };
        self.members.insert(id, seen);
    }

    /// Sends what may be sent to `id`, and checks what it sees.
    fn pump(&mut self, id: MemberId) {
        self.group.distribute();
        let mut out = Vec::new();
        let limits = (1 + usize::try_from(self.random.below(20)).unwrap(), 4096);
        let count = self.group.put_batch(id, limits, self.now_ms, &mut out);
        if count == 0 {
            assert!(out.is_empty());
            return;
        }
        // Now and then it does not reach the member.
        if self.random.below(10) == 0 {
            self.group.take_back_last(id, count);
            return;
        }
        let batch: Vec<Value> = serde_json::from_slice(&out).unwrap();
        assert_eq!(batch.len(), count);
        for value in batch {
            let seq = value["seq"].as_u64().unwrap();
            let seen = self.members.get_mut(&id).unwrap();
            assert_eq!(seq, seen.next_seq, "contiguous");
            seen.next_seq += 1;
            if value["event"] == "gap" {
                self.lost += value["lost"].as_u64().unwrap();
                seen.open.push((seq, u32::MAX, 0));
                continue;
            }
            let client = u32::try_from(value["data"][0].as_u64().unwrap()).unwrap();
            let number = value["data"][1].as_u64().unwrap();
            let deliveries = self.sent.entry((client, number)).or_default();
            *deliveries += 1;
            assert_eq!(value["again"] == true, *deliveries > 1, "{value}");
            assert!(*deliveries <= LIMITS.deliveries_max, "{value}");
            if *deliveries > ALONE_AFTER {
                assert!(seen.open.is_empty() && count == 1, "alone: {value}");
            }
            // All earlier ones of the client are done, or before it at this member.
            for earlier in 0..number {
                let is_done = self.done.contains(&(client, earlier));
                let is_here = seen
                    .open
                    .iter()
                    .any(|open| (open.1, open.2) == (client, earlier));
                assert!(is_done || is_here, "{client}/{number} before {earlier}");
            }
            assert!(!self.done.contains(&(client, number)), "after it was done");
            seen.open.push((seq, client, number));
        }
    }

    /// `id` acknowledges some of what it has seen.
    fn acknowledge(&mut self, id: MemberId) {
        let seen = &self.members[&id];
        let Some(count) = (!seen.open.is_empty()).then_some(seen.open.len() as u64) else {
            let last = seen.next_seq - 1;
            assert!(self.group.acknowledge(id, last + 1, self.now_ms).is_err());
            assert_eq!(self.group.acknowledge(id, last, self.now_ms), Ok(0));
            return;
        };
        let at = usize::try_from(self.random.below(count)).unwrap();
        let seen = self.members.get_mut(&id).unwrap();
        let seq = seen.open[at].0;
        let acked: Vec<_> = seen.open.drain(..=at).collect();
        assert_eq!(
            self.group.acknowledge(id, seq, self.now_ms),
            Ok(acked.len())
        );
        self.done.extend(acked.iter().map(|open| (open.1, open.2)));
    }

    fn detach(&mut self, id: MemberId) {
        assert!(self.group.detach(id, self.now_ms));
        let seen = self.members.remove(&id).unwrap();
        self.note_dead(&seen.open);
    }

    /// What was sent as often as it may be and is given back is dead; a gap is told again.
    fn note_dead(&mut self, open: &[(u64, u32, u64)]) {
        for &(_, client, number) in open {
            if client != u32::MAX && self.sent[&(client, number)] >= LIMITS.deliveries_max {
                self.done.insert((client, number));
            }
        }
    }

    fn step(&mut self) {
        match self.random.below(20) {
            0..6 => {
                let client = u32::try_from(self.random.below(u64::from(CLIENTS))).unwrap();
                let said = self.said.entry(client).or_default();
                let number = *said;
                *said += 1;
                self.group.take(object(client, number, ObjectKind::Message));
            }
            6 if self.members.len() < 4 => self.attach(),
            7 if self.random.below(4) == 0 => {
                if let Some(id) = self.pick() {
                    self.detach(id);
                }
            }
            8 if self.random.below(8) == 0 => {
                // Everyone who has something open is silent for too long.
                self.now_ms += 1000;
                self.group.check_members(self.now_ms);
                let silent = self.members.values_mut();
                let silent = silent.flat_map(|seen| std::mem::take(&mut seen.open));
                let silent: Vec<_> = silent.collect();
                self.note_dead(&silent);
            }
            9 if self.random.below(8) == 0 => {
                if let Some(id) = self.pick() {
                    // It begins anew, under the same name.
                    self.group.send_again(id);
                    let seen = self.members.get_mut(&id).unwrap();
                    let open = std::mem::take(&mut seen.open);
                    self.note_dead(&open);
                }
            }
            10..15 => {
                if let Some(id) = self.pick() {
                    self.pump(id);
                }
            }
            _ => {
                if let Some(id) = self.pick() {
                    self.acknowledge(id);
                }
            }
        }
    }

    /// Everything arrives, if a member acknowledges.
    fn finish(mut self) {
        self.attach();
        for _ in 0..100_000 {
            let state = self.group.state(self.now_ms);
            if state.held.objects == 0 {
                break;
            }
            for id in self.group.members() {
                self.pump(id);
                self.acknowledge(id);
            }
        }
        let state = self.group.state(self.now_ms);
        assert_eq!((state.held.objects, state.held.bytes), (0, 0));
        for (client, said) in &self.said {
            for number in 0..*said {
                assert!(self.done.contains(&(*client, number)), "{client}/{number}");
            }
        }
        let total: u64 = self.said.values().sum();
        assert_eq!(self.group.take_released().objects as u64, total);
        let again: u64 = self.sent.values().map(|count| u64::from(*count) - 1).sum();
        assert_eq!(self.group.take_counts().redelivered, again);
    }
}

#[test]
fn every_object_arrives_in_its_clients_order_or_is_a_dead_letter() {
    let seeds = std::env::var("FANFARE_MODEL_SEEDS").ok();
    let seeds: u64 = seeds.map_or(300, |seeds| seeds.parse().unwrap());
    for seed in 1..=seeds {
        let mut model = Model::new(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        for _ in 0..600 {
            model.step();
        }
        model.finish();
    }
}

#[test]
fn a_poison_object_ends_alone_and_takes_nothing_with_it() {
    let mut group = Group::new(LIMITS, 0);
    for client in 0..10 {
        for number in 0..10 {
            group.take(object(client, number, ObjectKind::Message));
        }
    }
    let poison = [3, 4];
    let limits = MemberLimits {
        kinds: Kinds::ALL,
        credit: 1000,
    };
    let (mut handled, mut crashes) = (BTreeSet::new(), 0);
    for member in 0..100 {
        let id = MemberId(member);
        group.attach(id, limits, 0);
        let mut is_alive = true;
        while is_alive {
            group.distribute();
            let mut out = Vec::new();
            if group.put_batch(id, (256, 1 << 20), 0, &mut out) == 0 {
                break;
            }
            // The member acknowledges what it has handled before it ends, one by one; and not the one that ends it.
            let batch: Vec<Value> = serde_json::from_slice(&out).unwrap();
            for value in batch {
                if value["data"] == serde_json::json!(poison) {
                    is_alive = false;
                    crashes += 1;
                    break;
                }
                handled.insert(value["data"].to_string());
                // This member acknowledges only what is alone or was handled at the end of a batch.
                if value["again"] == true {
                    group
                        .acknowledge(id, value["seq"].as_u64().unwrap(), 0)
                        .unwrap();
                }
            }
        }
        if is_alive {
            break;
        }
        group.detach(id, 0);
    }
    assert_eq!(crashes, LIMITS.deliveries_max);
    assert_eq!(handled.len(), 99);
    let dead: Vec<_> = group
        .dead_letters(100)
        .map(|dead| dead.body.to_vec())
        .collect();
    assert_eq!(dead.len(), 1);
    assert!(
        String::from_utf8(dead[0].clone())
            .unwrap()
            .ends_with(r#""data":[3,4]"#)
    );
}

#[test]
fn the_oldest_messages_give_way_and_a_gap_says_how_many() {
    let mut group = Group::new(LIMITS, 0);
    let max = super::group::Held {
        objects: 10,
        bytes: usize::MAX,
    };
    group.take(object(0, 0, ObjectKind::Connect));
    let mut evicted = 0;
    for number in 1..=30 {
        group.take(object(0, number, ObjectKind::Message));
        evicted += group.evict(max);
    }
    assert_eq!(evicted, 21);
    let limits = MemberLimits {
        kinds: Kinds::ALL,
        credit: 1000,
    };
    group.attach(MemberId(1), limits, 0);
    group.distribute();
    let mut out = Vec::new();
    assert_eq!(
        group.put_batch(MemberId(1), (100, 1 << 20), 0, &mut out),
        11
    );
    let batch: Vec<Value> = serde_json::from_slice(&out).unwrap();
    assert_eq!(batch[0]["event"], "gap");
    assert_eq!(batch[0]["lost"], 21);
    assert_eq!(batch[1]["event"], "connect");
    let numbers: Vec<u64> = batch[2..]
        .iter()
        .map(|it| it["data"][1].as_u64().unwrap())
        .collect();
    assert_eq!(numbers, (22..=30).collect::<Vec<_>>());
    // Of a member that leaves, the next one is told the same.
    group.detach(MemberId(1), 0);
    group.attach(MemberId(2), limits, 0);
    group.distribute();
    out.clear();
    group.put_batch(MemberId(2), (100, 1 << 20), 0, &mut out);
    let batch: Vec<Value> = serde_json::from_slice(&out).unwrap();
    assert_eq!(batch[0]["lost"], 21);
    assert_eq!(group.acknowledge(MemberId(2), 11, 0), Ok(11));
    assert_eq!(group.state(0).held, super::group::Held::default());
}
