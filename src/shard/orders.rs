//! Orders of an application to connections of any shard. The connection's session executes them, in its own protocol.

use std::collections::VecDeque;
use std::sync::Arc;

use tokio::sync::oneshot;

use super::{Note, Shard};
use crate::collections::HashSet;
use crate::engine::Recover;
use crate::id::{AnyPeer, PeerId, Priority, ShardId};

/// What an application wants of a connection.
#[derive(Clone, Debug)]
pub enum ConnectionOrder {
    /// Send its client a message.
    Send {
        /// The message's name, which is that of a topic.
        name: Box<str>,
        /// Its data, a JSON value.
        data: Box<str>,
        /// Where it stands among what waits for this client alone.
        priority: Priority,
    },
    /// Answer a message of its client.
    Reply {
        /// The `id` of that message, a JSON string or number; empty if it had none.
        id: Box<str>,
        /// The answer, a JSON value.
        data: Box<str>,
    },
    /// Subscribe it, whatever its client may do itself.
    Subscribe {
        /// Topics and patterns.
        topics: Vec<Box<str>>,
        /// Where they begin; those that are not named begin with the next message.
        recover: Vec<Recover<'static>>,
        /// What is said of its user in topics with presence, a JSON object; empty if nothing.
        presence: Box<str>,
        /// The queue group in which it reads the topics; empty if it reads them all.
        group: Box<str>,
    },
    /// Unsubscribe it.
    Unsubscribe {
        /// Topics and patterns.
        topics: Vec<Box<str>>,
    },
}

/// What has become of an order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum OrderResult {
    /// It is executed.
    Done,
    /// The connection is subscribed.
    Subscribed {
        /// To these.
        accepted: Vec<Box<str>>,
        /// Not to these: they are no names, or a limit is reached.
        rejected: Vec<Box<str>>,
    },
    /// There is no such connection, or it is being closed.
    NotFound,
    /// Its protocol has no words for it.
    Unsupported,
    /// Its client reads too slowly, or it was not ready within 250 ms.
    Busy,
    /// The session has taken the [`OrderReply`], and answers itself.
    Pending,
    /// Not yet: the order is passed again with the next flush, before later ones for the connection.
    Later,
}

/// Where the result of an order goes. If it is dropped, the connection has ended.
#[derive(Debug)]
pub struct OrderReply(Option<oneshot::Sender<OrderResult>>);

impl OrderReply {
    /// A reply, and where it arrives.
    pub(super) fn new() -> (Self, oneshot::Receiver<OrderResult>) {
        let (reply, answer) = oneshot::channel();
        (Self(Some(reply)), answer)
    }

    /// Takes it, for a session that answers later.
    #[must_use]
    pub fn take(&mut self) -> Self {
        Self(self.0.take())
    }

    /// Answers, unless the session does or the one that asked has left.
    pub fn answer(self, result: OrderResult) {
        if let Some(reply) = self.0 {
            let _ = reply.send(result);
        }
    }

    fn is_closed(&self) -> bool {
        self.0.as_ref().is_none_or(oneshot::Sender::is_closed)
    }
}

/// Whose connections a broadcast is for.
#[derive(Clone, Debug)]
pub enum Audience {
    /// Those of this protocol.
    Only(Box<str>),
    /// Those of all others than these.
    AllBut(&'static [&'static str]),
}

impl Audience {
    fn has(&self, protocol: &str) -> bool {
        match self {
            Self::Only(own) => **own == *protocol,
            Self::AllBut(others) => !others.contains(&protocol),
        }
    }
}

/// Orders that no session has executed yet, oldest first. Whoever gives one waits for its result, and may give so many
/// at once: that bounds the queue.
#[derive(Debug, Default)]
pub(super) struct Orders {
    queue: VecDeque<QueuedOrder>,
    /// The last turn ended before the queue was executed.
    is_cut: bool,
}

#[derive(Debug)]
enum QueuedOrder {
    One {
        peer: PeerId,
        order: ConnectionOrder,
        reply: OrderReply,
        /// When it was given, in milliseconds of the shard's clock.
        since_ms: u64,
    },
    Many {
        /// Those that have not been sent it.
        peers: std::vec::IntoIter<PeerId>,
        order: Arc<ConnectionOrder>,
        /// Connections that have executed it.
        reached: usize,
        reply: oneshot::Sender<usize>,
    },
}

/// How long an order waits until its connection is ready. A client must not hold up an application for longer.
const WAIT_MS_MAX: u64 = 250;

/// Orders that are executed in one turn.
const EXECUTED_PER_TURN: usize = 1024;

impl Shard {
    /// Gives a connection of any shard an order. The sender is dropped if its shard ends before.
    ///
    /// Cost: executed with the next flush of the connection's shard.
    pub fn ask_order(
        &self,
        (at, peer): AnyPeer,
        order: ConnectionOrder,
    ) -> oneshot::Receiver<OrderResult> {
        let (reply, answer) = OrderReply::new();
        self.order((at, peer), order, reply);
        answer
    }

    /// As [`Self::ask_order`], with where the result goes.
    pub(super) fn order(&self, (at, peer): AnyPeer, order: ConnectionOrder, reply: OrderReply) {
        if at == self.id {
            self.queue_order(peer, order, reply);
        } else if self.shards().any(|shard| shard == at) {
            self.note(at, Note::Order { peer, order, reply });
        } else {
            reply.answer(OrderResult::NotFound);
        }
    }

    /// Gives connections of a shard an order. Answers with how many have executed it: a connection that cannot do it now
    /// is left out. The sender is dropped if the shard ends before.
    ///
    /// Cost: a look at each connection of the shard.
    pub fn ask_broadcast(
        &self,
        at: ShardId,
        audience: &Audience,
        order: &Arc<ConnectionOrder>,
    ) -> oneshot::Receiver<usize> {
        let (reply, answer) = oneshot::channel();
        let (audience, order) = (audience.clone(), order.clone());
        if at == self.id {
            self.queue_broadcast(&audience, order, reply);
        } else {
            let note = Note::Broadcast {
                audience,
                order,
                reply,
            };
            self.note(at, note);
        }
        answer
    }

    pub(super) fn queue_order(&self, peer: PeerId, order: ConnectionOrder, reply: OrderReply) {
        let queued = QueuedOrder::One {
            peer,
            order,
            reply,
            since_ms: self.clock.now_ms(),
        };
        self.orders.borrow_mut().queue.push_back(queued);
        self.flusher.raise();
    }

    pub(super) fn queue_broadcast(
        &self,
        audience: &Audience,
        order: Arc<ConnectionOrder>,
        reply: oneshot::Sender<usize>,
    ) {
        let peers: Vec<PeerId> = {
            let core = self.core.borrow();
            let links = core.links.iter_from(0).map(|(_, link)| link);
            let found = links.filter(|link| {
                let info = link.info.as_deref();
                info.is_some_and(|info| audience.has(info.endpoint.0))
            });
            found.map(|link| link.peer).collect()
        };
        let queued = QueuedOrder::Many {
            peers: peers.into_iter(),
            order,
            reached: 0,
            reply,
        };
        self.orders.borrow_mut().queue.push_back(queued);
        self.flusher.raise();
    }

    /// Whether orders wait to be executed.
    #[must_use]
    pub fn has_orders(&self) -> bool {
        !self.orders.borrow().queue.is_empty()
    }

    /// Whether more orders can be executed now: the last turn had too many.
    #[must_use]
    pub fn has_cut_orders(&self) -> bool {
        self.orders.borrow().is_cut
    }

    /// Has the flush look at orders that wait for their connections. Called by the ticker.
    pub(super) fn check_orders(&self) {
        if self.has_orders() {
            self.flusher.raise();
        }
    }

    /// Has `execute` execute the orders that wait, each for its connection, up to this turn's limit.
    pub fn execute_orders(
        &self,
        mut execute: impl FnMut(PeerId, &ConnectionOrder, &mut OrderReply) -> OrderResult,
    ) {
        let mut queue = std::mem::take(&mut self.orders.borrow_mut().queue);
        let mut left = VecDeque::new();
        let mut waiting: HashSet<PeerId> = HashSet::default();
        let mut budget = EXECUTED_PER_TURN;
        while budget > 0
            && let Some(queued) = queue.pop_front()
        {
            match queued {
                QueuedOrder::One {
                    peer,
                    order,
                    mut reply,
                    since_ms,
                } => {
                    let result = match waiting.contains(&peer) {
                        true => OrderResult::Later,
                        false => self.execute_order((peer, &order, &mut reply), &mut execute),
                    };
                    if result != OrderResult::Later {
                        budget -= 1;
                        reply.answer(result);
                    } else if self.clock.now_ms().saturating_sub(since_ms) >= WAIT_MS_MAX {
                        reply.answer(OrderResult::Busy);
                    } else if !reply.is_closed() {
                        waiting.insert(peer);
                        left.push_back(QueuedOrder::One {
                            peer,
                            order,
                            reply,
                            since_ms,
                        });
                    }
                }
                QueuedOrder::Many {
                    mut peers,
                    order,
                    mut reached,
                    reply,
                } => {
                    let mut none = OrderReply(None);
                    for peer in peers.by_ref().take(budget) {
                        budget = budget.saturating_sub(1);
                        let told = (peer, &*order, &mut none);
                        let result = self.execute_order(told, &mut execute);
                        reached += usize::from(result == OrderResult::Done);
                    }
                    budget = budget.saturating_sub(1);
                    if peers.len() == 0 {
                        let _ = reply.send(reached);
                    } else {
                        queue.push_front(QueuedOrder::Many {
                            peers,
                            order,
                            reached,
                            reply,
                        });
                    }
                }
            }
        }
        let mut orders = self.orders.borrow_mut();
        orders.is_cut = !queue.is_empty();
        left.append(&mut queue);
        // Orders that were given meanwhile are younger.
        left.append(&mut orders.queue);
        orders.queue = left;
        if orders.is_cut {
            self.flusher.raise();
        }
    }

    /// As [`Self::execute_orders`], those for `peer` alone, before its close frame is queued: they were given before.
    pub fn execute_orders_of(
        &self,
        peer: PeerId,
        mut execute: impl FnMut(PeerId, &ConnectionOrder, &mut OrderReply) -> OrderResult,
    ) {
        if !self.has_orders() {
            return;
        }
        let queue = std::mem::take(&mut self.orders.borrow_mut().queue);
        let mut left = VecDeque::new();
        for queued in queue {
            match queued {
                QueuedOrder::One {
                    peer: to,
                    order,
                    mut reply,
                    ..
                } if to == peer => {
                    let told = (peer, &order, &mut reply);
                    let result = self.execute_order(told, &mut execute);
                    reply.answer(match result {
                        OrderResult::Later => OrderResult::NotFound,
                        result => result,
                    });
                }
                queued => left.push_back(queued),
            }
        }
        let mut orders = self.orders.borrow_mut();
        left.append(&mut orders.queue);
        orders.queue = left;
    }

    fn execute_order(
        &self,
        (peer, order, reply): (PeerId, &ConnectionOrder, &mut OrderReply),
        execute: &mut impl FnMut(PeerId, &ConnectionOrder, &mut OrderReply) -> OrderResult,
    ) -> OrderResult {
        if !self.is_open(peer) {
            OrderResult::NotFound
        } else if gives_way(order) && self.is_outbox_full(peer) {
            OrderResult::Busy
        } else {
            execute(peer, order, reply)
        }
    }

    /// Whether a connection is registered, and its close has not begun.
    fn is_open(&self, peer: PeerId) -> bool {
        let core = self.core.borrow();
        core.engine.hub().is_present(peer)
            && (core.links.get(peer)).is_some_and(|link| link.life.closing.is_none())
    }

    /// Whether a stream of events has begun: its head is written.
    #[must_use]
    pub fn is_streaming(&self, peer: PeerId) -> bool {
        self.core.borrow().engine.hub().is_member(peer.slot)
    }
}
/// Whether an order waits for a client that reads slowly. Messages of the high classes do not: what is queued of lower ones
/// gives way to them.
fn gives_way(order: &ConnectionOrder) -> bool {
    !matches!(order, ConnectionOrder::Send { priority, .. } if *priority >= Priority::High)
}
