//! How many flushes a message may wait while other work never ends.
//!
//! One engine has unlimited work of every kind: private frames, a medium topic, a large one, and readers of all topics.
//! Beside them are pairs: topics with one reader.

use super::encoder::PLAIN;
use std::sync::Arc;

use super::label::pattern_of;
use super::lanes::Mesh;
use super::node::{Node, config};
use super::ops::Setup;
use super::random::Random;
use super::traces::WIDE;
use crate::engine::{Begin, FlushBudget, Now, Post, Ticket};
use crate::id::{PeerId, Priority, UserKey};
use crate::sse::CursorKey;

/// The lines that share the writes of a flush.
const LINES: usize = 4;

/// Flushes per run.
const FLUSHES: usize = 60;

/// The work beside the pairs, and the budget of one flush.
#[derive(Debug)]
struct Load {
    /// Clients sent a private frame before each flush.
    asking: usize,
    /// Members of the medium topic, and of the large one.
    few: usize,
    crowd: usize,
    /// Readers of all topics.
    wildcards: usize,
    pairs: usize,
    writes_max: usize,
}

/// An engine whose readers are those of a load.
struct LoadedEngine {
    node: Node,
    mesh: Mesh,
    load: Load,
    asking: Vec<PeerId>,
    /// The readers of pairs, each with the flush before which its unwritten message was published.
    pairs: Vec<(PeerId, Option<usize>)>,
}

impl LoadedEngine {
    fn new(load: Load) -> Self {
        let setup = Setup {
            engines: 1,
            history: 0,
            ..WIDE
        };
        let cursors = Arc::new(CursorKey::new(b"a secret of no less than thirty-two bytes"));
        let mut loaded = Self {
            node: Node::new(&setup, 0, &Arc::new(config(&setup)), &cursors),
            mesh: Mesh::new(1, setup.lane_items, setup.lane_batches),
            asking: Vec::new(),
            pairs: Vec::new(),
            load,
        };
        for _ in 0..loaded.load.asking {
            let peer = loaded.join(&[]);
            loaded.asking.push(peer);
        }
        for _ in 0..loaded.load.few {
            loaded.join(&["few.1"]);
        }
        for _ in 0..loaded.load.crowd {
            loaded.join(&["crowd.1"]);
        }
        for _ in 0..loaded.load.wildcards {
            loaded.join(&["*"]);
        }
        for pair in 0..loaded.load.pairs {
            let peer = loaded.join(&[&format!("pair.{pair}")]);
            loaded.pairs.push((peer, None));
        }
        loaded
    }

    fn turn<T>(
        &mut self,
        act: impl FnOnce(&mut crate::engine::Turn<'_, super::lanes::Port<'_>>) -> T,
    ) -> T {
        let Node {
            engine, counters, ..
        } = &mut self.node;
        act(&mut engine.turn(Now::default(), &mut self.mesh.port(0), counters))
    }

    /// A peer joins and subscribes.
    fn join(&mut self, names: &[&str]) -> PeerId {
        let peer = self.node.engine.join(PLAIN, UserKey::NONE);
        self.node.sockets.insert(peer.slot, usize::MAX);
        self.turn(|turn| {
            let ticket: Ticket = turn.begin_subscription(peer);
            for name in names {
                match pattern_of(name) {
                    Some(pattern) => turn.subscribe_patterns(peer, &[(pattern, None)], ticket),
                    None => turn
                        .subscribe(peer, name, Begin::Live, ticket)
                        .expect("there is room"),
                }
            }
            let confirmation = turn.confirm(ticket).expect("nobody else is asked");
            turn.go_on(&confirmation);
        });
        peer
    }

    fn publish(&mut self, topic: &str) {
        let post = Post::event(topic, b"x");
        let _ = self.turn(|turn| turn.publish_own(&post));
    }

    /// The work before each flush, and the flush.
    fn step(&mut self, flush: usize, random: &mut Random) {
        for index in 0..self.asking.len() {
            let _ = self
                .node
                .engine
                .send(self.asking[index], Priority::High, b"pong\n");
        }
        self.publish("few.1");
        self.publish("crowd.1");
        for pair in 0..self.pairs.len() {
            if self.pairs[pair].1.is_none() && random.chance(70) {
                self.pairs[pair].1 = Some(flush);
                self.publish(&format!("pair.{pair}"));
            }
        }
        let budget = FlushBudget {
            writes_max: self.load.writes_max,
            bytes_max: usize::MAX,
        };
        let Node {
            engine,
            counters,
            sockets,
            ..
        } = &mut self.node;
        let _ = engine
            .turn(Now::default(), &mut self.mesh.port(0), counters)
            .flush(sockets, budget);
        for (peer, since) in &mut self.pairs {
            let taken = std::mem::take(&mut sockets.get(peer.slot).taken);
            if !taken.is_empty() {
                assert_eq!(taken.split(|byte| *byte == b'\n').count(), 2, "one line");
                let _ = since
                    .take()
                    .expect("what was published once is written once");
            }
        }
    }
}

/// Runs a load and checks that the message of a pair waits only for the pairs before it: they get every fourth
/// write, so it is written by the flush whose share reaches it.
fn check(load: Load, random: &mut Random) {
    let flushes_max = (LINES * load.pairs).div_ceil(load.writes_max);
    let shown = format!("{load:?}");
    let mut loaded = LoadedEngine::new(load);
    for flush in 0..FLUSHES {
        loaded.step(flush, random);
        for (pair, (_, since)) in loaded.pairs.iter().enumerate() {
            let waits = since.map_or(0, |since| flush + 1 - since);
            assert!(
                waits < flushes_max.max(1),
                "pair {pair} waits {waits} of {flushes_max} flushes: {shown}"
            );
        }
    }
}

#[test]
fn a_pair_waits_for_other_pairs_alone() {
    let load = Load {
        asking: 0,
        few: 0,
        crowd: 0,
        wildcards: 0,
        pairs: 1,
        writes_max: 60,
    };
    let random = &mut Random::new(1);
    check(
        Load {
            asking: 200,
            ..load
        },
        random,
    );
    check(Load { few: 100, ..load }, random);
    check(
        Load {
            crowd: 1000,
            ..load
        },
        random,
    );
    check(
        Load {
            wildcards: 300,
            ..load
        },
        random,
    );
    for seed in 0..60 {
        let random = &mut Random::new(seed);
        let mut up_to = |most: u32| random.below(most + 1) as usize;
        let load = Load {
            asking: up_to(300),
            few: up_to(60),
            crowd: up_to(400),
            wildcards: up_to(200),
            pairs: 1 + up_to(40),
            writes_max: 4 + up_to(200),
        };
        check(load, random);
    }
}
