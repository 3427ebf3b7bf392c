//! Requests, deliveries and notes from other shards.

use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::sync::oneshot;

use super::Disconnect;
use super::desk::DeskNote;
use super::{
    Audience, CloseOrder, ConnectionOrder, ConnectionPage, Core, FoundPage, OrderReply, Shard,
    SubscriptionPage, Wanted,
};
use crate::bus::{Asked, Port, Requests};
use crate::engine::{Place, Taken, Turn, home_of};
use crate::id::{AnyPeer, PeerId, ShardId};

/// Batches taken from one other shard per turn.
const BATCHES_PER_TURN: usize = 4;

/// Steps of the engine for patterns per turn. The request that reaches the limit is processed whole.
const STEPS_PER_TURN: usize = 20_000;

/// A message to another shard about connections, in order with its requests about topics.
#[derive(Debug)]
pub enum Note {
    /// End this connection.
    Disconnect {
        /// Which one.
        peer: PeerId,
        /// Why.
        why: Disconnect,
    },
    /// Probe whether this connection is alive.
    Probe {
        /// Which one.
        peer: PeerId,
        /// The newer connection, which waits for the result.
        asker: AnyPeer,
        /// Why it ends if the first one answers.
        refusal: Disconnect,
    },
    /// List the shard's connections.
    Connections {
        /// The slot where the page begins.
        from: usize,
        /// How many to list; further ones are only counted.
        limit: usize,
        /// Where the page goes.
        reply: oneshot::Sender<ConnectionPage>,
    },
    /// List the connections that are wanted.
    Find {
        /// Which ones.
        wanted: Wanted,
        /// The slot where the page begins.
        from: usize,
        /// How many to list; further ones are only counted.
        limit: usize,
        /// Where the page goes.
        reply: oneshot::Sender<FoundPage>,
    },
    /// Close the connections that are wanted.
    Close {
        /// Which ones.
        wanted: Wanted,
        /// How.
        order: CloseOrder,
        /// Where their number goes.
        reply: oneshot::Sender<usize>,
    },
    /// For the desk, or from it.
    Desk(DeskNote),
    /// Give a connection an order.
    Order {
        /// Which one.
        peer: PeerId,
        /// What it is to do.
        order: ConnectionOrder,
        /// Where the result goes.
        reply: OrderReply,
    },
    /// Give connections an order.
    Broadcast {
        /// Which ones.
        audience: Audience,
        /// What they are to do.
        order: Arc<ConnectionOrder>,
        /// Where the number of those goes that have done it.
        reply: oneshot::Sender<usize>,
    },
    /// List the subscriptions of the shard's connections.
    Subscriptions {
        /// The slot where the page begins.
        from: usize,
        /// Where the page goes.
        reply: oneshot::Sender<SubscriptionPage>,
    },
}

/// Batches of requests that have been taken from lanes and are not finished.
#[derive(Debug)]
pub(super) struct Inbox {
    /// By sending shard.
    lanes: Vec<Option<BegunRequest>>,
    /// Deliveries stay in their lanes until a flush has offered the backlog of logs.
    is_deferred: bool,
}

#[derive(Debug)]
struct BegunRequest {
    requests: Requests<Note>,
    /// The next request of the batch waits for room in a lane or log.
    is_stalled: bool,
}

impl Inbox {
    pub(super) fn new(shards: u16) -> Self {
        Self {
            lanes: (0..shards).map(|_| None).collect(),
            is_deferred: false,
        }
    }

    /// Whether requests or deliveries wait for room that a flush may make.
    fn is_stalled(&self) -> bool {
        let stalls = |begun: &BegunRequest| begun.is_stalled;
        self.is_deferred || self.lanes.iter().flatten().any(stalls)
    }

    /// Takes the oldest batch of requests that is not stalled.
    fn next(&mut self, port: &Port<Note>, here: ShardId) -> Option<(ShardId, Requests<Note>)> {
        // Lanes are polled until a pass finds no new batch. A batch that depends on a visible one was handed over
        // later, so every batch not seen after that pass is younger than those seen.
        loop {
            let mut found = false;
            for (from, lane) in (0..).map(ShardId).zip(self.lanes.iter_mut()) {
                if lane.is_none() && from != here {
                    *lane = port.next_requests(from).map(|requests| BegunRequest {
                        requests,
                        is_stalled: false,
                    });
                    found |= lane.is_some();
                }
            }
            if !found {
                break;
            }
        }
        let begun = (0..).map(ShardId).zip(&self.lanes);
        let begun = begun.filter_map(|(from, lane)| Some((from, lane.as_ref()?)));
        let (from, _) = begun
            .filter(|(_, begun)| !begun.is_stalled)
            .min_by_key(|(_, begun)| begun.requests.stamp())?;
        let oldest = self.lanes[from.index()].take()?;
        Some((from, oldest.requests))
    }
}

impl Shard {
    /// Waits until another shard has sent something or has made room in a lane. Then the next flush hands over what did
    /// not fit, and wakes the tasks that wait for room.
    pub fn poll_mesh(&self, cx: &Context<'_>) -> Poll<()> {
        let core = self.core.borrow();
        let rung = core.port.poll_woken(cx);
        if rung.is_ready() && core.port.has_unsent() {
            self.flusher.raise();
        }
        rung
    }

    /// Processes what other shards have sent, up to this turn's limits. Returns whether more can be processed now.
    pub fn exchange(&self) -> bool {
        self.clock.refresh();
        let shards = {
            let mut core = self.core.borrow_mut();
            core.inbox.is_deferred = false;
            core.port.shards()
        };
        let (mut more, mut taken) = (false, false);
        for from in (0..shards).map(ShardId).filter(|&from| from != self.id) {
            for turn in 0..=BATCHES_PER_TURN {
                if turn == BATCHES_PER_TURN {
                    more = true;
                    break;
                }
                if !self.take_deliveries(from) {
                    break;
                }
                taken = true;
            }
        }
        let (all, some) = self.take_requests();
        more |= !all;
        taken |= some;
        // Without progress no flush is needed: the shard that makes room wakes this one.
        if taken {
            self.flusher.raise();
        }
        more
    }

    /// Processes a batch of deliveries. Returns whether there was one, and it was not deferred.
    fn take_deliveries(&self, from: ShardId) -> bool {
        let mut core = self.core.borrow_mut();
        let Core {
            engine,
            port,
            inbox,
            ..
        } = &mut *core;
        // Backpressure: while logs have too many bytes that no flush has offered, the lane fills, and the home holds
        // publishers back. The next flush clears the condition.
        if engine.is_backlogged() {
            inbox.is_deferred = true;
            return false;
        }
        let Some(deliveries) = port.next_deliveries(from) else {
            return false;
        };
        let mut turn = engine.turn(self.clock.now(), port, &self.counters);
        deliveries.take_each(|delivery| turn.delivery(from, delivery));
        true
    }

    /// Processes requests of other shards, up to this turn's limits, oldest batch first: causal order also holds across
    /// shards. Returns whether all that can be processed now has been, and whether anything was.
    fn take_requests(&self) -> (bool, bool) {
        let shards = {
            let mut core = self.core.borrow_mut();
            for begun in core.inbox.lanes.iter_mut().flatten() {
                begun.is_stalled = false;
            }
            usize::from(core.port.shards())
        };
        let (mut some, mut notes, mut steps) = (false, Vec::new(), 0);
        for _ in 0..BATCHES_PER_TURN * shards {
            let mut core = self.core.borrow_mut();
            let Core {
                engine,
                port,
                inbox,
                ..
            } = &mut *core;
            let Some((from, mut requests)) = inbox.next(port, self.id) else {
                return (true, some);
            };
            let mut is_stalled = false;
            let (all, any) = requests.take_each(|asked| match asked {
                Asked::Request(_) if steps >= STEPS_PER_TURN => false,
                Asked::Request(request) => {
                    let mut turn = engine.turn(self.clock.now(), port, &self.counters);
                    is_stalled = turn.request(from, request) == Taken::Stalled;
                    steps += engine.take_steps();
                    !is_stalled
                }
                Asked::Note(note) => {
                    notes.push(note);
                    true
                }
            });
            some |= any;
            if !all {
                inbox.lanes[from.index()] = Some(BegunRequest {
                    requests,
                    is_stalled,
                });
            }
            drop(core);
            for note in notes.drain(..) {
                self.take_note(note);
            }
            if steps >= STEPS_PER_TURN {
                break;
            }
        }
        (false, some)
    }

    fn take_note(&self, note: Note) {
        // The receiver of a reply may have been dropped.
        match note {
            Note::Disconnect { peer, why } => self.disconnect(peer, why),
            Note::Probe {
                peer,
                asker,
                refusal,
            } => self.begin_probe(peer, asker, refusal),
            Note::Connections { from, limit, reply } => {
                let _ = reply.send(self.list_connections(from, limit));
            }
            Note::Find {
                wanted,
                from,
                limit,
                reply,
            } => {
                let _ = reply.send(self.find(&wanted, from, limit));
            }
            Note::Close {
                wanted,
                order,
                reply,
            } => {
                let _ = reply.send(self.close_all(&wanted, &order));
            }
            Note::Desk(note) => self.take_desk_note(note),
            Note::Order { peer, order, reply } => self.queue_order(peer, order, reply),
            Note::Broadcast {
                audience,
                order,
                reply,
            } => self.queue_broadcast(&audience, order, reply),
            Note::Subscriptions { from, reply } => {
                let _ = reply.send(self.list_subscriptions(from));
            }
        }
    }

    /// Sends a note to another shard, after the requests sent to it before.
    pub(super) fn note(&self, to: ShardId, note: Note) {
        self.core.borrow_mut().port.note(to, note);
        self.flusher.raise();
    }

    /// Whether requests or deliveries wait for room that a flush may make.
    #[must_use]
    pub fn is_stalled(&self) -> bool {
        self.core.borrow().inbox.is_stalled()
    }

    /// Passes `said`, the answer of `user` to the call `key`, to its caller. Returns whether there was room: if not,
    /// retry after the next flush, and do not read from the user until then.
    #[must_use]
    pub fn answer_call(&self, key: &str, user: &str, said: &[u8], is_last: bool) -> bool {
        let has_requests = {
            let port = &self.core.borrow().port;
            home_of(key, self.id, port.shards()) == Place::Here && port.has_requests()
        };
        if has_requests {
            // Earlier answers of the user, from a connection of another shard, come first.
            let _ = self.take_requests();
        }
        let answer = |engine: &mut Turn<'_, _>| engine.answer(key, user, said, is_last);
        self.engine(answer) == Taken::Done
    }
}
