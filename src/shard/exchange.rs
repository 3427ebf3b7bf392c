//! What other shards ask and send.

use std::task::{Context, Poll};

use tokio::sync::oneshot;

use super::Disconnect;
use super::{ConnectionPage, Core, Shard, SubscriptionPage};
use crate::bus::{Asked, Port, Requests};
use crate::engine::hub::Hub;
use crate::engine::{Place, Taken, Turn, home_of};
use crate::id::{PeerId, ShardId};
use crate::process::Connection;

/// Batches taken from one shard per turn.
const BATCHES_PER_TURN: usize = 4;

/// Steps that the engine takes for patterns because of requests, but for those of the last one.
const STEPS_PER_TURN: usize = 20_000;

/// What a shard notes for another one.
#[derive(Debug)]
pub enum Note {
    /// End this connection.
    Disconnect {
        /// Which one.
        peer: PeerId,
        /// Why.
        why: Disconnect,
    },
    /// Find out whether this connection is there still.
    Probe {
        /// Which one.
        peer: PeerId,
        /// The connection that waits for what comes of it.
        asker: Connection,
    },
    /// Say who is connected.
    Connections {
        /// A page of them, from this slot on.
        from: usize,
        /// How many in full.
        limit: usize,
        /// Who wants to know.
        reply: oneshot::Sender<ConnectionPage>,
    },
    /// Say what is subscribed to, and by whom.
    Subscriptions {
        /// A page of them, from this slot on.
        from: usize,
        /// Who wants to know.
        reply: oneshot::Sender<SubscriptionPage>,
    },
}

/// Requests that have been taken from lanes and not been done.
#[derive(Debug)]
pub(super) struct Inbox {
    /// By the shard that asks.
    lanes: Vec<Option<BegunRequest>>,
    /// Deliveries wait until logs have been flushed.
    is_deferred: bool,
}

#[derive(Debug)]
struct BegunRequest {
    requests: Requests<Note>,
    /// The next one waits for room.
    is_stalled: bool,
}

impl Inbox {
    pub(super) fn new(shards: u16) -> Self {
        Self {
            lanes: (0..shards).map(|_| None).collect(),
            is_deferred: false,
        }
    }

    /// Whether something waits here for room that a flush may make.
    fn is_stalled(&self) -> bool {
        let stalls = |begun: &BegunRequest| begun.is_stalled;
        self.is_deferred || self.lanes.iter().flatten().any(stalls)
    }

    /// Takes the oldest batch of requests that can be gone on with.
    fn next(&mut self, port: &Port<Note>, here: ShardId) -> Option<(ShardId, Requests<Note>)> {
        // One that was handed over because of another, which is seen, is not older: so whatever is
        // missing when a look at all lanes finds nothing new is younger.
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
    /// Waits until another shard has said something or has room again. Then the next flush hands over
    /// what did not fit, and lets those who wait for that go on.
    pub fn poll_mesh(&self, cx: &Context<'_>) -> Poll<()> {
        let core = self.core.borrow();
        let rung = core.port.poll_rung(cx);
        if rung.is_ready() && core.port.has_unsent() {
            self.flusher.raise();
        }
        rung
    }

    /// Takes what other shards have said. Returns whether there is more that could be taken now.
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
        // Where nothing could be taken there is nothing to flush either: whatever makes room wakes
        // this shard.
        if taken {
            self.flusher.raise();
        }
        more
    }

    /// Takes a batch of deliveries. Returns whether there was one that could be taken.
    fn take_deliveries(&self, from: ShardId) -> bool {
        let mut core = self.core.borrow_mut();
        let Core {
            engine,
            port,
            inbox,
            ..
        } = &mut *core;
        // The lane fills behind logs that no flush has offered, and its home holds publishers back. A
        // flush always clears this.
        if Hub::is_backlogged(engine.hub()) {
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

    /// Does what other shards have asked, a part of it if there is much, in the order in which it was
    /// asked: also of two shards, if one knew of the other. Returns whether that was all that can be
    /// done now, and whether it was anything.
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
        // Whoever asked may have gone away meanwhile.
        match note {
            Note::Disconnect { peer, why } => self.disconnect(peer, why),
            Note::Probe { peer, asker } => self.begin_probe(peer, asker),
            Note::Connections { from, limit, reply } => {
                let _ = reply.send(self.list_connections(from, limit));
            }
            Note::Subscriptions { from, reply } => {
                let _ = reply.send(self.list_subscriptions(from));
            }
        }
    }

    /// Notes something for another shard, after what has been asked of it before.
    pub(super) fn note(&self, to: ShardId, note: Note) {
        self.core.borrow_mut().port.note(to, note);
        self.flusher.raise();
    }

    /// Whether something waits here for room that a flush may make.
    #[must_use]
    pub fn is_stalled(&self) -> bool {
        self.core.borrow().inbox.is_stalled()
    }

    /// Gives `said`, the answer of `user` to the call known by `key`, to its caller. Returns whether
    /// there was room: if not, try again after the next flush, and read no more from the user until
    /// then.
    #[must_use]
    pub fn answer_call(&self, key: &str, user: &str, said: &[u8], is_last: bool) -> bool {
        let has_requests = {
            let port = &self.core.borrow().port;
            home_of(key, self.id, port.shards()) == Place::Here && port.has_requests()
        };
        if has_requests {
            // What the user said before, on a connection elsewhere, comes first.
            let _ = self.take_requests();
        }
        let answer = |engine: &mut Turn<'_, _>| engine.answer(key, user, said, is_last);
        self.engine(answer) == Taken::Done
    }
}
