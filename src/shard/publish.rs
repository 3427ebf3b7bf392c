//! A publication's way: to its home, into an offset, into the logs.

use slab::Slab;
use tokio::sync::oneshot;

use super::Shard;
use crate::engine::{
    Delivery, Interest, Opened, Outcome, Post, Receipt, ReplyTo, Request, Stored, home_of,
};
use crate::id::{Priority, ShardId, TopicId, WireFormat};
use crate::metrics::Limited;
use crate::protocol::events::{Kind, Publication, Refusal, Writer};

/// What became of a publication.
#[must_use]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Published {
    /// It is message number so of its topic.
    At(u64),
    /// It is on its way to its home, whose answer goes to whoever was named.
    Forwarded,
    /// There is no room. Come again after the next flush; until then, read no
    /// more from whoever sent it.
    Wait,
    /// There are too many topics to make a new one.
    TooManyTopics,
}

/// What a publication that was waited for has come to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Delivered {
    /// Message number `offset` of its topic, written to `subscribers` of them.
    At {
        /// Its place in the topic.
        offset: u64,
        /// How many have it queued.
        subscribers: u64,
    },
    /// There is no room; try again.
    Busy,
    /// There are too many topics to make a new one.
    TooManyTopics,
}

/// A publication whose subscribers are counted.
#[must_use]
#[derive(Debug)]
pub enum Counting {
    /// They have been: all of them are here.
    Done(Delivered),
    /// Other shards have to say how many they have. There is no answer if one of
    /// them ends before.
    Underway(oneshot::Receiver<Delivered>),
}

/// Publications that somebody waits for.
#[derive(Debug, Default)]
pub(super) struct Waiters(Slab<Waiter>);

#[derive(Debug)]
struct Waiter {
    sender: oneshot::Sender<Delivered>,
    /// The home's answer.
    offset: Option<u64>,
    subscribers: u64,
    /// Shards that have to say how many subscribers they have; below zero while
    /// they are faster than the home.
    left: i64,
}

impl Waiters {
    /// The number that the next one to wait will have.
    fn next(&self) -> u32 {
        u32::try_from(self.0.vacant_key()).expect("one for each request")
    }

    fn insert(&mut self) -> oneshot::Receiver<Delivered> {
        let (sender, receiver) = oneshot::channel();
        self.0.insert(Waiter {
            sender,
            offset: None,
            subscribers: 0,
            left: 0,
        });
        receiver
    }

    /// The home has answered.
    fn answer(&mut self, waiter: u32, outcome: Outcome) {
        let Some(waiting) = self.0.get_mut(waiter as usize) else {
            return;
        };
        let refusal = match outcome {
            Outcome::Stored(stored) => {
                waiting.offset = Some(stored.offset);
                waiting.subscribers += u64::from(stored.members);
                waiting.left += i64::from(stored.receipts);
                return self.settle(waiter);
            }
            Outcome::Busy => Delivered::Busy,
            Outcome::TooManyTopics => Delivered::TooManyTopics,
        };
        // Whoever asked may have gone away meanwhile.
        let _ = self.0.remove(waiter as usize).sender.send(refusal);
    }

    /// A shard has said how many subscribers it has.
    pub(super) fn count(&mut self, waiter: u32, members: u32) {
        if let Some(waiting) = self.0.get_mut(waiter as usize) {
            waiting.subscribers += u64::from(members);
            waiting.left -= 1;
            self.settle(waiter);
        }
    }

    fn settle(&mut self, waiter: u32) {
        let waiting = &self.0[waiter as usize];
        if let (Some(offset), 0) = (waiting.offset, waiting.left) {
            let subscribers = waiting.subscribers;
            let sender = self.0.remove(waiter as usize).sender;
            let _ = sender.send(Delivered::At {
                offset,
                subscribers,
            });
        }
    }
}

impl Shard {
    /// Publishes `post`. If `reply` is given and the topic lives elsewhere, the
    /// answer goes there, with the `id` as it is.
    ///
    /// Cost: one lookup, one encoding per wire format in use and one copy into
    /// each log, whatever the number of subscribers.
    pub fn publish(&self, post: &Post<'_>, reply: Option<(ReplyTo, &str)>) -> Published {
        let home = home_of(post.topic, self.port.borrow().shards());
        if home == self.id {
            return match self.publish_here(post, None) {
                Outcome::Stored(stored) => Published::At(stored.offset),
                Outcome::Busy => Published::Wait,
                Outcome::TooManyTopics => Published::TooManyTopics,
            };
        }
        if self.forward(home, post, reply) {
            Published::Forwarded
        } else {
            Published::Wait
        }
    }

    /// Publishes `post` and counts whom it reaches.
    ///
    /// Cost: that of [`Self::publish`], if topic and subscribers are all here.
    pub fn publish_counted(&self, post: &Post<'_>) -> Counting {
        let home = home_of(post.topic, self.port.borrow().shards());
        // Nothing takes this number before somebody waits under it: no other task
        // runs meanwhile.
        let (shard, waiter) = (self.id, self.waiters.borrow().next());
        if home != self.id {
            if !self.forward(home, post, Some((ReplyTo::Waiter(waiter), ""))) {
                return Counting::Done(Delivered::Busy);
            }
            return Counting::Underway(self.waiters.borrow_mut().insert());
        }
        match self.publish_here(post, Some(Receipt { shard, waiter })) {
            Outcome::Busy => Counting::Done(Delivered::Busy),
            Outcome::TooManyTopics => Counting::Done(Delivered::TooManyTopics),
            Outcome::Stored(stored) if stored.receipts == 0 => Counting::Done(Delivered::At {
                offset: stored.offset,
                subscribers: u64::from(stored.members),
            }),
            outcome @ Outcome::Stored(_) => {
                let mut waiters = self.waiters.borrow_mut();
                let receiver = waiters.insert();
                waiters.answer(waiter, outcome);
                Counting::Underway(receiver)
            }
        }
    }

    /// Sends a post to its home. Returns whether there was room.
    fn forward(&self, home: ShardId, post: &Post<'_>, reply: Option<(ReplyTo, &str)>) -> bool {
        let mut port = self.port.borrow_mut();
        if port.requests_full(home) {
            self.counters.publications_waited.add(1);
            return false;
        }
        port.request(home, |batch| Request::Publish {
            topic: batch.put(post.topic.as_bytes()),
            name: batch.put(post.name.as_bytes()),
            kind: post.kind,
            data: batch.put(post.data),
            key: batch.put(post.key.as_bytes()),
            only_live: post.only_live,
            reply: reply.map(|(to, id)| (to, batch.put(id.as_bytes()))),
        });
        self.flusher.raise();
        true
    }

    /// Publishes to a topic that is at home here.
    pub(super) fn publish_here(&self, post: &Post<'_>, receipt: Option<Receipt>) -> Outcome {
        let (topic, now_ms) = (post.topic, self.clock.wall_ms());
        if !post.key.is_empty() {
            let known = self
                .recent
                .borrow_mut()
                .find(topic, post.key, self.clock.now_ms());
            if let Some(offset) = known {
                return Outcome::Stored(Stored {
                    offset,
                    members: 0,
                    receipts: 0,
                });
            }
        }
        if post.only_live && !self.home.borrow().is_wanted(topic) {
            return Outcome::Stored(Stored::default());
        }
        let opened = self.home.borrow_mut().open(topic);
        let id = match opened {
            Opened::Known(id) => id,
            Opened::Appeared(id, wanted) => {
                self.announce(id, topic, &wanted);
                id
            }
            Opened::Full => {
                self.counters.limited(Limited::Topics);
                return Outcome::TooManyTopics;
            }
        };
        let mut home = self.home.borrow_mut();
        let mut hub = self.hub.borrow_mut();
        let mut port = self.port.borrow_mut();
        let local = hub.find(topic);
        let is_full = |wanted: &Interest| match (wanted.shard == self.id, wanted.format) {
            (false, _) => port.deliveries_full(wanted.shard),
            (true, WireFormat::Sse) => {
                local.is_some_and(|local| self.merges.borrow().is_congested(&hub, local))
            }
            (true, _) => local.is_some_and(|local| hub.is_congested(local)),
        };
        if home.topic(id).interest().iter().any(is_full) {
            // A full log is flushed by this shard, which has been told so when
            // it was appended to; a full lane rings when there is room.
            self.counters.publications_waited.add(1);
            return Outcome::Busy;
        }
        let offset = home.take(id, post, now_ms);
        if !post.key.is_empty() {
            let mut recent = self.recent.borrow_mut();
            recent.note(topic, post.key, offset, self.clock.now_ms());
        }
        self.counters.publications.add(1);
        let mut stored = Stored {
            offset,
            members: 0,
            receipts: 0,
        };
        let home_topic = home.topic(id);
        if home_topic.interest().is_empty() {
            return Outcome::Stored(stored);
        }
        let publication = Publication {
            kind: post.kind,
            topic,
            name: name_of(topic, post.name, post.kind),
            data: post.data,
            epoch: home_topic.position().epoch,
            offset,
        };
        let timestamp = self.clock.timestamp();
        let mut codec = self.codec.borrow_mut();
        for format in WireFormat::ALL {
            let mut wanting = home_topic
                .interest()
                .iter()
                .filter(|wanted| wanted.format == format)
                .peekable();
            if wanting.peek().is_none() {
                continue;
            }
            let frame = codec.event(format, &publication, &timestamp);
            for wanted in wanting {
                if wanted.shard != self.id {
                    stored.receipts += 1;
                    port.deliver(wanted.shard, |batch| Delivery::Append {
                        home: id,
                        format,
                        offset,
                        frame: batch.put(frame),
                        receipt,
                    });
                } else if let Some(local) = local {
                    let members = self.append(&mut hub, local, format, frame, offset);
                    self.counters.deliveries.add(members as u64);
                    stored.members += u32::try_from(members).expect("members are connections");
                }
            }
        }
        self.flusher.raise();
        Outcome::Stored(stored)
    }

    /// Tells the shards whose patterns match a new topic, this one included.
    pub(super) fn announce(&self, id: TopicId, topic: &str, wanted: &[Interest]) {
        for interest in wanted {
            if interest.shard == self.id {
                self.hub.borrow_mut().open(topic);
            } else {
                let format = interest.format;
                let position = self.home.borrow().topic(id).position();
                self.port
                    .borrow_mut()
                    .deliver(interest.shard, |_| Delivery::Appeared {
                        home: id,
                        topic: topic.into(),
                        format,
                        position,
                    });
            }
        }
    }

    /// Gives the answer of a home to whoever asked.
    pub(super) fn answer(&self, to: ReplyTo, id: &str, outcome: Outcome) {
        match to {
            ReplyTo::Waiter(waiter) => self.waiters.borrow_mut().answer(waiter, outcome),
            ReplyTo::Peer(peer) => match outcome {
                // Without an id nobody waits for a success; a refusal is still told.
                Outcome::Stored(_) if id.is_empty() => {}
                Outcome::Stored(stored) => {
                    self.send_text(peer, Priority::High, |out, timestamp| {
                        Writer::new(out, timestamp).published(id, stored.offset);
                    });
                }
                Outcome::Busy | Outcome::TooManyTopics => {
                    self.counters.errors_sent.add(1);
                    self.send_text(peer, Priority::High, |out, timestamp| {
                        Writer::new(out, timestamp).error(&Refusal::too_many_topics(id));
                    });
                }
            },
        }
    }

    /// Sends the answer of this home back to the shard that asked.
    pub(super) fn answer_from_home(&self, shard: ShardId, to: ReplyTo, id: &str, outcome: Outcome) {
        self.port
            .borrow_mut()
            .deliver(shard, |batch| Delivery::Published {
                to,
                id: batch.put(id.as_bytes()),
                outcome,
            });
    }
}

/// What a publication is called: as its topic, unless it has a name of its own.
pub(super) fn name_of<'a>(topic: &'a str, name: &'a str, kind: Kind) -> &'a str {
    match name {
        "" if kind != Kind::Broadcast => topic,
        name => name,
    }
}
