//! Engines, lanes and clients, driven as a shard drives its engine.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::client::Heads;
use super::lanes::{Item, Mesh, Port, Span};
use super::node::{Begun, Node, config};
use super::ops::{CLIENTS, Setup};
use super::oracle::{Check, Oracle, fail};
use super::peers::Client;
use super::seen::Thing;
use super::tasks::Tasks;
use crate::engine::hub::Flush;
use crate::engine::{Asker, Delivery, FlushBudget, Now, Request, Taken, Turn};
use crate::id::{PeerId, Position, ShardId};
use crate::sse::CursorKey;

/// A run.
#[derive(Debug)]
pub(super) struct World {
    pub(super) setup: Setup,
    pub(super) nodes: Vec<Node>,
    pub(super) mesh: Mesh,
    pub(super) clients: Vec<Client>,
    pub(super) tasks: Tasks,
    pub(super) oracle: Oracle,
    pub(super) cursors: Arc<CursorKey>,
    /// By topic: the connections of each user.
    pub(super) present: BTreeMap<String, BTreeMap<String, u32>>,
    /// Counts changes of memberships.
    pub(super) changes: u64,
    /// The last unique number given.
    unique: u64,
    /// The last page requested: its peer, hold and end offset.
    last_page: Option<(PeerId, u16, u64)>,
    pub(super) now_ms: u64,
}

impl World {
    pub(super) fn new(setup: Setup) -> Self {
        let config = Arc::new(config(&setup));
        let cursors = Arc::new(CursorKey::new(b"a secret of no less than thirty-two bytes"));
        let nodes = (0..setup.engines).map(|shard| Node::new(&setup, shard, &config, &cursors));
        Self {
            nodes: nodes.collect(),
            mesh: Mesh::new(
                usize::from(setup.engines),
                setup.lane_items,
                setup.lane_batches,
            ),
            clients: (0..CLIENTS).map(Client::new).collect(),
            tasks: Tasks::default(),
            oracle: Oracle::default(),
            cursors,
            present: BTreeMap::new(),
            changes: 0,
            unique: 0,
            last_page: None,
            now_ms: 1000,
            setup,
        }
    }

    pub(super) fn unique(&mut self) -> u64 {
        self.unique += 1;
        self.unique
    }

    /// Runs `act` with a turn of an engine.
    pub(super) fn turn<T>(
        &mut self,
        node: usize,
        act: impl FnOnce(&mut Turn<'_, Port<'_>>) -> T,
    ) -> T {
        let now = self.now();
        self.oracle.now_ms = self.now_ms;
        let Node {
            engine,
            counters,
            is_wanted,
            ..
        } = &mut self.nodes[node];
        let mut port = self.mesh.port(node);
        let done = act(&mut engine.turn(now, &mut port, counters));
        *is_wanted |= engine.take_flush_wanted();
        if !engine.has_no_outcomes() && !*is_wanted {
            fail(Check::Stuck, "outcomes, and no flush is wanted");
        }
        self.note_queued();
        done
    }

    pub(super) fn now(&self) -> Now {
        Now {
            ms: self.now_ms,
            wall_ms: 1_700_000_000_000 + self.now_ms,
        }
    }

    /// The positions of the topics whose home is a node.
    pub(super) fn heads_of(&self, node: usize) -> Heads {
        let topics = self.nodes[node].engine.homes.home.topics();
        let heads = topics.map(|topic| (topic.name().to_owned(), topic.position()));
        heads.collect()
    }

    /// The positions of all topics.
    pub(super) fn heads(&self) -> Heads {
        (0..self.nodes.len())
            .flat_map(|node| self.heads_of(node))
            .collect()
    }

    /// Runs `act` with an engine that may publish to its own topics, and records what it published. Also returns
    /// the position of the message of `topic`, whose data is given.
    pub(super) fn at_home<T>(
        &mut self,
        node: usize,
        publication: Option<(&str, &str)>,
        act: impl FnOnce(&mut Turn<'_, Port<'_>>) -> T,
    ) -> (T, Option<Position>) {
        let before = self.heads_of(node);
        let done = self.turn(node, act);
        let mut new = None;
        for (name, now) in self.heads_of(node) {
            let then = before.get(&name).copied().unwrap_or_default();
            let known = if then.epoch == now.epoch {
                then.offset
            } else {
                0
            };
            for offset in known + 1..=now.offset {
                let at = Position { offset, ..now };
                let data = publication.filter(|(topic, _)| *topic == name);
                if data.is_some() && new.replace(at).is_some() {
                    fail(Check::Key, format!("{publication:?} was taken twice"));
                }
                self.oracle.append(&name, at, data.map(|(_, data)| data));
                self.expect_queued(&name, at);
            }
        }
        (done, new)
    }

    /// As [`Self::at_home`] for a publication. Also returns the offset that the answer must have; `None` if the
    /// publication was refused.
    pub(super) fn publish_at_home<T>(
        &mut self,
        node: usize,
        (topic, data, key): (&str, &str, &str),
        act: impl FnOnce(&mut Turn<'_, Port<'_>>) -> T,
    ) -> (T, Option<u64>) {
        let known = match key {
            "" => None,
            key => self.oracle.known_key(topic, key, self.now_ms),
        };
        let (done, new) = self.at_home(node, Some((topic, data)), act);
        let offset = match (known, new) {
            (Some(offset), Some(at)) => {
                fail(
                    Check::Key,
                    format!("{topic} {key}: {at:?}, was at {offset}"),
                );
            }
            (Some(offset), None) => {
                self.oracle.seen.note(Thing::KeyAgain);
                Some(offset)
            }
            (None, Some(Position { offset, .. })) => {
                if key.is_empty() {
                    let (publisher, number) = data.split_once('.').expect("as it was made");
                    let digits = number.trim_end_matches('x').parse().expect("a number");
                    self.oracle.check_order(topic, publisher, digits);
                } else {
                    self.oracle.note_key(topic, key, self.now_ms, offset);
                }
                Some(offset)
            }
            (None, None) => None,
        };
        if let Some(offset) = offset {
            self.oracle.note_offset(data, offset);
        }
        (done, offset)
    }

    /// Takes messages from other engines, as `shard/exchange.rs` does: up to the given numbers of batches from
    /// each. Returns whether there were any.
    pub(super) fn exchange(&mut self, node: usize, deliveries: usize, requests: usize) -> bool {
        let mut taken = false;
        for from in (0..self.nodes.len()).filter(|&from| from != node) {
            for _ in 0..deliveries {
                if self.nodes[node].engine.is_backlogged() {
                    self.oracle.seen.note(Thing::DeliveriesDeferred);
                    break;
                }
                let Some(batch) = self.mesh.next_deliveries(from, node) else {
                    break;
                };
                taken = true;
                for item in batch.items {
                    self.take_delivery(from, node, item);
                }
            }
        }
        taken |= self.take_requests(node, requests);
        self.nodes[node].is_wanted |= taken;
        taken
    }

    fn take_delivery(&mut self, from: usize, node: usize, item: Item<Delivery<Span>>) {
        let Item { message, bytes } = item;
        let delivery = message.map(|(start, end)| &bytes[start..end]);
        let thing = match &delivery {
            Delivery::Appeared(_) => Some(Thing::Appeared),
            Delivery::Forgotten { .. } => Some(Thing::Forgotten),
            Delivery::Page { .. } => Some(Thing::Page),
            _ => None,
        };
        let is_forgotten = thing == Some(Thing::Forgotten);
        if let Some(thing) = thing {
            self.oracle.seen.note(thing);
        }
        let from = ShardId(u16::try_from(from).expect("a few"));
        let asked = self.mesh.asked;
        self.turn(node, |turn| turn.delivery(from, delivery));
        if is_forgotten && self.mesh.asked > asked {
            self.oracle.seen.note(Thing::AskedAgain);
        }
    }

    /// Handles the requests of other engines, in the order in which their batches were handed over. An engine whose
    /// request stalls waits; the others go on.
    pub(super) fn take_requests(&mut self, node: usize, batches: usize) -> bool {
        for begun in self.nodes[node].begun.iter_mut().flatten() {
            begun.is_stalled = false;
        }
        let mut taken = false;
        for _ in 0..batches {
            let Some((from, mut begun)) = self.next_begun(node) else {
                break;
            };
            let mut others = self.nodes[node].begun.iter().flatten();
            self.oracle.passes_stalled =
                others.any(|other| other.is_stalled && other.batch.stamp < begun.batch.stamp);
            self.oracle.has_passed |= self.oracle.passes_stalled;
            while let Some(item) = begun.batch.items.front() {
                if self.take_request(from, node, item) == Taken::Stalled {
                    self.oracle.seen.note(Thing::RequestStalled);
                    begun.is_stalled = true;
                    self.nodes[node].begun[from] = Some(begun);
                    break;
                }
                begun.batch.items.pop_front();
                taken = true;
            }
        }
        self.oracle.passes_stalled = false;
        taken
    }

    fn next_begun(&mut self, node: usize) -> Option<(usize, Begun)> {
        let Self { nodes, mesh, .. } = self;
        let lanes = &mut nodes[node].begun;
        for (from, lane) in lanes
            .iter_mut()
            .enumerate()
            .filter(|(from, _)| *from != node)
        {
            if lane.is_none() {
                *lane = mesh.next_requests(from, node).map(|batch| Begun {
                    batch,
                    is_stalled: false,
                });
            }
        }
        let begun = lanes.iter().enumerate();
        let begun = begun.filter_map(|(from, lane)| Some((from, lane.as_ref()?)));
        let (from, _) = begun
            .filter(|(_, begun)| !begun.is_stalled)
            .min_by_key(|(_, begun)| begun.batch.stamp)?;
        let oldest = lanes[from].take()?;
        Some((from, oldest))
    }

    fn take_request(&mut self, from: usize, node: usize, item: &Item<Request<Span>>) -> Taken {
        let asks = ShardId(u16::try_from(from).expect("a few"));
        let request = item.message.map(|(start, end)| &item.bytes[start..end]);
        let text = |bytes| str::from_utf8(bytes).expect("it was put as text");
        match request {
            Request::Publish {
                topic, data, key, ..
            } => {
                let publication = (text(topic), text(data), text(key));
                let act = |turn: &mut Turn<'_, Port<'_>>| turn.request(asks, request);
                self.publish_at_home(node, publication, act).0
            }
            _ => {
                if let Request::Replay { missed, .. } = request {
                    let page = (missed.peer, missed.hold, missed.until);
                    let is_next = self.last_page.replace(page) == Some(page);
                    self.oracle.seen.add(Thing::NextPage, u64::from(is_next));
                }
                if let Request::Requeue {
                    message, is_gone, ..
                } = request
                {
                    let (topic, at) = (message.labels().topic.to_owned(), message.at);
                    let key = (topic, at.epoch, at.offset);
                    self.oracle.queues.returned.insert(key);
                    self.oracle.seen.note(match is_gone {
                        true => Thing::QueueGone,
                        false => Thing::QueueReturned,
                    });
                }
                self.at_home(node, None, |turn| turn.request(asks, request))
                    .0
            }
        }
    }

    /// Ends a turn: delivers outcomes, hands batches over and writes.
    pub(super) fn flush(&mut self, node: usize, budget: FlushBudget) -> Flush {
        self.turn(node, |turn| turn.go_on_waiting());
        while let Some((asker, outcome)) = self.turn(node, |turn| turn.next_outcome()) {
            match asker {
                Asker::Peer(peer) => self.outcome(node, peer, outcome),
                Asker::Task(ticket) => self.answered(node, ticket, outcome),
            }
        }
        self.mesh.hand_over(node);
        let now = self.now();
        let Node {
            engine,
            counters,
            is_wanted,
            sockets,
            ..
        } = &mut self.nodes[node];
        let _ = engine.take_flush_wanted();
        *is_wanted = false;
        let mut port = self.mesh.port(node);
        let flush = engine.turn(now, &mut port, counters).flush(sockets, budget);
        *is_wanted |= engine.take_flush_wanted() || flush == Flush::More;
        if !engine.has_no_outcomes() && !*is_wanted {
            fail(Check::Stuck, "outcomes of a flush, and no other is wanted");
        }
        self.note_queued();
        self.tasks.note_flush(node);
        self.read(node);
        flush
    }

    /// Clients read what their sockets have accepted.
    fn read(&mut self, node: usize) {
        let Self {
            nodes,
            clients,
            oracle,
            ..
        } = self;
        let Node {
            engine, sockets, ..
        } = &mut nodes[node];
        for client in clients {
            if let Some(connection) = &mut client.connection
                && connection.node == node
            {
                let taken = std::mem::take(&mut sockets.get(connection.peer.slot).taken);
                if oracle.is_verbose && !taken.is_empty() {
                    println!(
                        "{} reads {:?}",
                        client.user,
                        String::from_utf8_lossy(&taken)
                    );
                }
                oracle.reader.clone_from(&client.user);
                connection.read(&taken, oracle);
                let readers = &engine.readers;
                if connection.waits_for_stream(|name| {
                    let topic = readers.hub.find(name);
                    topic.is_some_and(|topic| readers.merges.is_located(topic))
                }) {
                    oracle.seen.note(Thing::StreamAhead);
                }
            }
        }
    }

    /// The home engine of a topic or a call.
    pub(super) fn home_of(&self, name: &str) -> usize {
        let engines = self.setup.engines;
        let here = |&engine: &u16| {
            crate::engine::home_of(name, ShardId(engine), engines) == crate::engine::Place::Here
        };
        let home = (0..engines).find(here).expect("it is one of them");
        usize::from(home)
    }

    /// Whether requests wait for an engine.
    pub(super) fn has_requests(&self, node: usize) -> bool {
        self.nodes[node].has_begun() || self.mesh.has_requests(node)
    }

    /// Whether no message is under way between engines.
    pub(super) fn is_quiet(&self) -> bool {
        self.mesh.is_empty() && !self.nodes.iter().any(Node::has_begun)
    }
}

/// The budget of a flush without limits.
pub(super) const WHOLE: FlushBudget = FlushBudget {
    writes_max: 1000,
    bytes_max: 1 << 30,
};
