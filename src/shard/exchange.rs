//! What other shards ask and send.

use std::task::{Context, Poll};

use super::Shard;
use crate::engine::{
    Batch, Delivery, Interest, Missed, Outcome, Position, Post, Receipt, ReplyTo, Request, Standing,
};
use crate::id::{ShardId, WireFormat};

/// A batch of requests that is being done.
#[derive(Debug)]
pub(super) struct Asked {
    batch: Batch<Request>,
    /// How many of them have been done.
    done: usize,
    /// The next one waits for room.
    is_stalled: bool,
}

impl Asked {
    fn new(batch: Batch<Request>) -> Self {
        Self {
            batch,
            done: 0,
            is_stalled: false,
        }
    }
}

/// Batches taken from one shard per turn.
const BATCHES_PER_TURN: usize = 4;

impl Shard {
    /// Waits until another shard has said something or has room again. Then the
    /// next flush hands over what did not fit, and lets those who wait for that go on.
    pub fn poll_mesh(&self, cx: &Context<'_>) -> Poll<()> {
        let port = self.port.borrow();
        let rung = port.poll_rung(cx);
        if rung.is_ready() && port.has_unsent() {
            self.flusher.raise();
        }
        rung
    }

    /// Takes what other shards have said. Returns whether there is more that
    /// could be taken now.
    pub fn exchange(&self) -> bool {
        self.clock.refresh();
        self.deferred.set(false);
        let shards = self.port.borrow().shards();
        let (mut more, mut taken) = (false, false);
        for from in (0..shards).map(ShardId).filter(|&from| from != self.id) {
            for turn in 0..=BATCHES_PER_TURN {
                if turn == BATCHES_PER_TURN {
                    more = true;
                    break;
                }
                // The lane fills behind logs that no flush has offered, and its
                // home holds publishers back. A flush always clears this.
                if self.hub.borrow().is_backlogged() {
                    self.deferred.set(true);
                    break;
                }
                let Some(batch) = self.next_delivery(from) else {
                    break;
                };
                self.take_deliveries(from, &batch);
                taken = true;
            }
        }
        let (all, some) = self.hear_requests();
        more |= !all;
        taken |= some;
        // Where nothing could be taken there is nothing to flush either:
        // whatever makes room wakes this shard.
        if taken {
            self.flusher.raise();
        }
        more
    }

    /// Does what other shards have asked, a part of it if there is much, in the order in
    /// which it was asked: also of two shards, if one knew of the other. Returns
    /// whether that was all that can be done now, and whether it was anything.
    pub(super) fn hear_requests(&self) -> (bool, bool) {
        let shards = usize::from(self.port.borrow().shards());
        for asked in self.asked.borrow_mut().iter_mut().flatten() {
            asked.is_stalled = false;
        }
        let mut some = false;
        for _ in 0..BATCHES_PER_TURN * shards {
            let Some((from, mut asked)) = self.next_asked() else {
                return (true, some);
            };
            let stopped = self.take_requests(from, &asked.batch, asked.done);
            some |= stopped != Some(asked.done);
            if let Some(done) = stopped {
                (asked.done, asked.is_stalled) = (done, true);
                self.asked.borrow_mut()[from.index()] = Some(asked);
            }
        }
        (false, some)
    }

    /// Takes the oldest batch of requests that can be gone on with.
    fn next_asked(&self) -> Option<(ShardId, Asked)> {
        let mut asked = self.asked.borrow_mut();
        // One that was handed over because of another, which is seen, is not older: so
        // whatever is missing when a look at all lanes finds nothing new is younger.
        loop {
            let mut found = false;
            for (from, asked) in (0..).map(ShardId).zip(asked.iter_mut()) {
                if asked.is_none() && from != self.id {
                    *asked = self.next_request(from).map(Asked::new);
                    found |= asked.is_some();
                }
            }
            if !found {
                break;
            }
        }
        let ready = asked.iter().enumerate();
        let ready = ready.filter_map(|(from, asked)| Some((from, asked.as_ref()?)));
        let (from, _) = ready
            .filter(|(_, asked)| !asked.is_stalled)
            .min_by_key(|(_, asked)| asked.batch.stamp)?;
        let oldest = asked[from].take()?;
        Some((
            ShardId(u16::try_from(from).expect("shards have 16 bits")),
            oldest,
        ))
    }

    /// Whether something waits here for room that a flush may make.
    #[must_use]
    pub fn is_stalled(&self) -> bool {
        let stalls = |asked: &Asked| asked.is_stalled;
        self.deferred.get() || self.asked.borrow().iter().flatten().any(stalls)
    }

    fn next_delivery(&self, from: ShardId) -> Option<Batch<Delivery>> {
        self.port.borrow().next_delivery(from)
    }

    fn next_request(&self, from: ShardId) -> Option<Batch<Request>> {
        self.port.borrow().next_request(from)
    }

    fn take_deliveries(&self, from: ShardId, batch: &Batch<Delivery>) {
        for delivery in &batch.items {
            match delivery {
                Delivery::Append {
                    home,
                    format,
                    offset,
                    frame,
                    receipt,
                } => {
                    let topic = self.interests.borrow().local(from, *home, *format);
                    let members = topic.map_or(0, |topic| {
                        let mut hub = self.hub.borrow_mut();
                        self.append(&mut hub, topic, *format, batch.get(*frame), *offset)
                    });
                    self.counters.deliveries.add(members as u64);
                    if let Some(receipt) = receipt {
                        self.sign(*receipt, members);
                    }
                }
                Delivery::Appeared {
                    home,
                    topic: name,
                    format,
                    position,
                }
                | Delivery::Interested {
                    home,
                    topic: name,
                    format,
                    position,
                } => {
                    let opened = self.hub.borrow_mut().open(name);
                    let Some(topic) = opened else {
                        // Too many topics here: the home need not send this one.
                        let (topic, format) = (name.clone(), *format);
                        let mut port = self.port.borrow_mut();
                        port.request(from, |_| Request::Disinterest { topic, format });
                        continue;
                    };
                    let mut interests = self.interests.borrow_mut();
                    if interests.standing(topic, *format) == Standing::Closing {
                        // Said before the home heard that the interest is taken
                        // back; that it has been forgotten is still to come.
                        continue;
                    }
                    interests.name(from, *home, topic, position.epoch);
                    interests.set(topic, *format, Standing::Live);
                    drop(interests);
                    let mut hub = self.hub.borrow_mut();
                    hub.begin(topic, *format, position.offset);
                    drop(hub);
                    if *format == WireFormat::Sse {
                        self.locate_part(topic, *position);
                    }
                    self.settle_topic(topic, *format, *position);
                    // Whoever asked may have left while the answer was on its way.
                    self.tickets.borrow_mut().note_vacant(topic, *format);
                }
                Delivery::Patterned { ticket } => self.settle(*ticket),
                Delivery::Forgotten {
                    home,
                    topic: name,
                    format,
                } => {
                    let Some(topic) = self.hub.borrow().find(name) else {
                        continue;
                    };
                    let mut interests = self.interests.borrow_mut();
                    interests.set(topic, *format, Standing::None);
                    if let Some(home) = home.filter(|_| !interests.has_any(topic)) {
                        interests.unname(from, home);
                    }
                    let is_unwanted = !interests.has_any(topic);
                    drop(interests);
                    if self.is_wanted(topic, *format) {
                        self.ask_interest(from, topic, name, *format);
                        continue;
                    }
                    self.lose_part(topic, *format);
                    // Whoever came meanwhile has left again, and is told what it asked for.
                    self.settle_topic(topic, *format, Position::default());
                    if is_unwanted {
                        self.hub.borrow_mut().close_topic(topic);
                    }
                }
                Delivery::Published { to, id, outcome } => {
                    let id = String::from_utf8_lossy(batch.get(*id));
                    self.answer(*to, &id, *outcome);
                }
                Delivery::Answered {
                    call,
                    said,
                    is_last,
                } => self.hear(*call, batch.get(*said), *is_last),
                Delivery::Reached { waiter, members } => {
                    self.waiters.borrow_mut().count(*waiter, *members);
                }
                Delivery::Reaches {
                    ticket,
                    index,
                    reach,
                } => self.settle_reach(*ticket, *index, *reach),
                Delivery::Page {
                    missed,
                    first,
                    frames,
                } => {
                    let mut page = Vec::new();
                    for (offset, &frame) in (*first..).zip(frames) {
                        self.put_missed(&mut page, missed, offset, batch.get(frame));
                    }
                    if !self.take_page(*missed, *first, frames.len() as u64, &page) {
                        self.ask_page(missed.peer);
                    }
                }
            }
        }
    }

    /// Does what another shard asks, from item `done` on. Returns where it
    /// stopped, if it has to wait.
    fn take_requests(&self, from: ShardId, batch: &Batch<Request>, done: usize) -> Option<usize> {
        for (index, request) in batch.items.iter().enumerate().skip(done) {
            match request {
                Request::Publish {
                    topic,
                    name,
                    kind,
                    data,
                    key,
                    only_live,
                    reply,
                } => {
                    let text = |span| str::from_utf8(batch.get(span)).expect("it was put as text");
                    let post = Post {
                        topic: text(*topic),
                        name: text(*name),
                        kind: *kind,
                        data: batch.get(*data),
                        key: text(*key),
                        only_live: *only_live,
                    };
                    let waiter = match reply {
                        Some((ReplyTo::Waiter(waiter), _)) => Some(*waiter),
                        _ => None,
                    };
                    let receipt = waiter.map(|waiter| Receipt {
                        shard: from,
                        waiter,
                    });
                    let outcome = self.publish_here(&post, receipt);
                    // Whoever has a place to wait does so there, and others' requests go on.
                    if outcome == Outcome::Busy && receipt.is_none() {
                        return Some(index);
                    }
                    if let Some((to, id)) = reply {
                        self.answer_from_home(from, *to, text(*id), outcome);
                    }
                }
                Request::Interest { topic, format } => {
                    let home = self.take_interest_here(
                        topic,
                        Interest {
                            shard: from,
                            format: *format,
                        },
                    );
                    let position = self.home.borrow().topic(home).position();
                    self.port
                        .borrow_mut()
                        .deliver(from, |_| Delivery::Interested {
                            home,
                            topic: topic.clone(),
                            format: *format,
                            position,
                        });
                }
                Request::Disinterest { topic, format } => {
                    let interest = Interest {
                        shard: from,
                        format: *format,
                    };
                    let home = self.home.borrow_mut().remove_interest(topic, interest);
                    self.port
                        .borrow_mut()
                        .deliver(from, |_| Delivery::Forgotten {
                            home,
                            topic: topic.clone(),
                            format: *format,
                        });
                }
                Request::Pattern {
                    pattern,
                    format,
                    ticket,
                } => {
                    let interest = Interest {
                        shard: from,
                        format: *format,
                    };
                    let found = self
                        .home
                        .borrow_mut()
                        .add_pattern(interest, pattern.clone());
                    for id in found {
                        let name: Box<str> = self.home.borrow().topic(id).name().into();
                        self.announce(id, &name, &[interest]);
                    }
                    self.port
                        .borrow_mut()
                        .deliver(from, |_| Delivery::Patterned { ticket: *ticket });
                }
                Request::Unpattern { pattern, format } => {
                    let interest = Interest {
                        shard: from,
                        format: *format,
                    };
                    self.home.borrow_mut().remove_pattern(interest, pattern);
                }
                Request::Reach {
                    topic,
                    after,
                    ticket,
                    index,
                } => {
                    let reach = self.reach_here(topic, *after);
                    self.port.borrow_mut().deliver(from, |_| Delivery::Reaches {
                        ticket: *ticket,
                        index: *index,
                        reach,
                    });
                }
                Request::Replay { topic, missed } => {
                    if self.port.borrow().deliveries_full(from) {
                        return Some(index);
                    }
                    self.send_page(from, topic, missed);
                }
                Request::Presence {
                    topic,
                    user,
                    enters,
                } => self.note_presence(topic, user, *enters),
                Request::Answer {
                    key,
                    user,
                    said,
                    is_last,
                } => {
                    let text = |span| str::from_utf8(batch.get(span)).expect("it was put as text");
                    let (key, user) = (text(*key), text(*user));
                    if !self.answer_here(key, user, batch.get(*said), *is_last) {
                        return Some(index);
                    }
                }
                Request::Run(errand) => errand.run(),
            }
        }
        None
    }

    /// Sends a page of a topic's history to the shard of whoever missed it.
    fn send_page(&self, to: ShardId, topic: &str, missed: &Missed) {
        self.port.borrow_mut().deliver(to, |batch| {
            let mut frames = Vec::new();
            let (first, _) =
                self.read_page(topic, missed, |_, frame| frames.push(batch.put(frame)));
            Delivery::Page {
                missed: *missed,
                first,
                frames,
            }
        });
    }

    /// Says how many subscribers a post has reached here.
    fn sign(&self, receipt: Receipt, members: usize) {
        let members = u32::try_from(members).expect("members are connections");
        if receipt.shard == self.id {
            return self.waiters.borrow_mut().count(receipt.waiter, members);
        }
        let waiter = receipt.waiter;
        self.port
            .borrow_mut()
            .deliver(receipt.shard, |_| Delivery::Reached { waiter, members });
    }
}
