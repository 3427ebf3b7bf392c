//! A publication's way: to its home, into an offset, into the logs.

use tokio::sync::oneshot;

use super::Shard;
use crate::id::{Priority, ShardId, TopicId, WireFormat};
use crate::mesh::{Delivery, Interest, Opened, ReplyTo, Request, home_of};
use crate::protocol::events::{Publication, Refusal, Writer};

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

impl Shard {
    /// Publishes `data`, a JSON value, to `topic`. If `reply` is given and the
    /// topic lives elsewhere, the answer goes there, with the `id` as it is.
    ///
    /// Cost: one lookup, one encoding per wire format in use and one copy into
    /// each log, whatever the number of subscribers.
    pub fn publish(&self, topic: &str, data: &[u8], reply: Option<(ReplyTo, &str)>) -> Published {
        let mut port = self.port.borrow_mut();
        let home = home_of(topic, port.shards());
        if home == self.id {
            drop(port);
            return self.publish_here(topic, data);
        }
        if port.requests_full(home) {
            self.counters.publications_waited.add(1);
            return Published::Wait;
        }
        port.request(home, |batch| Request::Publish {
            topic: batch.put(topic.as_bytes()),
            data: batch.put(data),
            reply: reply.map(|(to, id)| (to, batch.put(id.as_bytes()))),
        });
        self.flusher.raise();
        Published::Forwarded
    }

    /// As [`Self::publish`], with a place to wait for the answer of another shard.
    pub fn publish_and_wait(
        &self,
        topic: &str,
        data: &[u8],
    ) -> (Published, oneshot::Receiver<Published>) {
        let (sender, receiver) = oneshot::channel();
        let waiter = self.waiters.borrow_mut().insert(sender);
        let reply = ReplyTo::Waiter(u32::try_from(waiter).expect("one for each request"));
        let published = self.publish(topic, data, Some((reply, "")));
        if published != Published::Forwarded {
            self.waiters.borrow_mut().remove(waiter);
        }
        (published, receiver)
    }

    /// Publishes to a topic that is at home here.
    pub(super) fn publish_here(&self, topic: &str, data: &[u8]) -> Published {
        let opened = self.home.borrow_mut().open(topic);
        let id = match opened {
            Opened::Known(id) => id,
            Opened::Appeared(id, wanted) => {
                self.announce(id, topic, &wanted);
                id
            }
            Opened::Full => return Published::TooManyTopics,
        };
        let mut home = self.home.borrow_mut();
        let interest = home.topic(id).interest();
        if interest.is_empty() {
            self.counters.publications.add(1);
            return Published::At(home.next_offset(id));
        }
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
        if interest.iter().any(is_full) {
            // A full log is flushed by this shard, which has been told so when
            // it was appended to; a full lane rings when there is room.
            self.counters.publications_waited.add(1);
            return Published::Wait;
        }
        let offset = home.next_offset(id);
        let (interest, epoch) = (home.topic(id).interest(), home.topic(id).epoch());
        let publication = Publication {
            topic,
            data,
            epoch,
            offset,
        };
        let timestamp = self.clock.timestamp();
        let mut codec = self.codec.borrow_mut();
        for format in WireFormat::ALL {
            let mut wanting = interest
                .iter()
                .filter(|wanted| wanted.format == format)
                .peekable();
            if wanting.peek().is_none() {
                continue;
            }
            let frame = codec.event(format, &publication, &timestamp);
            for wanted in wanting {
                if wanted.shard != self.id {
                    port.deliver(wanted.shard, |batch| Delivery::Append {
                        home: id,
                        format,
                        offset,
                        frame: batch.put(frame),
                    });
                } else if let Some(local) = local {
                    let members = self.append(&mut hub, local, format, frame, offset);
                    self.counters.deliveries.add(members as u64);
                }
            }
        }
        self.counters.publications.add(1);
        self.flusher.raise();
        Published::At(offset)
    }

    /// Tells the shards whose patterns match a new topic, this one included.
    pub(super) fn announce(&self, id: TopicId, topic: &str, wanted: &[Interest]) {
        for interest in wanted {
            if interest.shard == self.id {
                self.hub.borrow_mut().open(topic);
            } else {
                let format = interest.format;
                self.port
                    .borrow_mut()
                    .deliver(interest.shard, |_| Delivery::Appeared {
                        home: id,
                        topic: topic.into(),
                        format,
                    });
            }
        }
    }

    /// Gives the answer of a home to whoever asked.
    pub(super) fn answer(&self, to: ReplyTo, id: &str, offset: Option<u64>) {
        match to {
            ReplyTo::Waiter(waiter) => {
                if let Some(waiter) = self.waiters.borrow_mut().try_remove(waiter as usize) {
                    // Whoever asked may have gone away meanwhile.
                    let _ = waiter.send(offset.map_or(Published::TooManyTopics, Published::At));
                }
            }
            // Without an id nobody waits for a success; a refusal is still told.
            ReplyTo::Peer(_) if id.is_empty() && offset.is_some() => {}
            ReplyTo::Peer(peer) => self.send_text(peer, Priority::High, |out, timestamp| {
                let writer = Writer::new(out, timestamp);
                match offset {
                    Some(offset) => writer.published(id, offset),
                    None => writer.error(&Refusal::too_many_topics(id)),
                }
            }),
        }
    }

    /// Sends the answer of this home back to the shard that asked.
    pub(super) fn answer_from_home(
        &self,
        shard: ShardId,
        to: ReplyTo,
        id: &str,
        offset: Option<u64>,
    ) {
        self.port
            .borrow_mut()
            .deliver(shard, |batch| Delivery::Published {
                to,
                id: batch.put(id.as_bytes()),
                offset,
            });
    }
}
