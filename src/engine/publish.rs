//! The steps of a publication: to its home, where it gets an offset, and into the logs.

use super::home::{Interest, Opened};
use super::message::Offsets;
use super::publication::{Publication, PublicationKind, name_of};
use super::publish_result::{PublishResult, Stored};
use super::{Asker, Delivery, Lanes, Outcome, Place, Post, Receipt, Request, Ticket, Turn};
use crate::collections::HashMap;
use crate::id::{PeerId, ShardId, TopicId};
use crate::metrics::{Counters, Limited};

/// A publication that reports its number of subscribers.
#[must_use]
#[derive(Clone, Copy, Debug)]
pub enum PublishCount {
    /// All of them are on this shard.
    Done(PublishResult),
    /// Other shards have to report theirs: an [`Outcome::Published`] comes for this ticket, unless a shard stops first.
    Pending(Ticket),
}

/// Publications whose subscribers are being counted.
#[derive(Debug, Default)]
pub(super) struct Receipts(HashMap<Ticket, CountedReceipts>);

#[derive(Debug, Default)]
struct CountedReceipts {
    /// The home's answer.
    offset: Option<u64>,
    members: u64,
    /// Shards that have not reported; negative while reports come before the home's answer.
    left: i64,
}

impl Receipts {
    fn open(&mut self, ticket: Ticket) {
        self.0.insert(ticket, CountedReceipts::default());
    }

    /// The home has answered. Returns the result if all shards have reported.
    fn answer(&mut self, ticket: Ticket, result: PublishResult) -> Option<PublishResult> {
        let counted = self.0.get_mut(&ticket)?;
        if let PublishResult::Stored(stored) = result {
            counted.offset = Some(stored.offset);
            counted.members += stored.members;
            counted.left += i64::from(stored.receipts);
            return self.settle(ticket);
        }
        self.0.remove(&ticket);
        Some(result)
    }

    /// A shard has reported its subscribers. Returns the result if it was the last.
    fn count(&mut self, ticket: Ticket, members: u32) -> Option<PublishResult> {
        let counted = self.0.get_mut(&ticket)?;
        counted.members += u64::from(members);
        counted.left -= 1;
        self.settle(ticket)
    }

    fn settle(&mut self, ticket: Ticket) -> Option<PublishResult> {
        let counted = self.0.get(&ticket)?;
        let offset = counted.offset.filter(|_| counted.left == 0)?;
        let stored = Stored {
            offset,
            members: counted.members,
            receipts: 0,
        };
        self.0.remove(&ticket);
        Some(PublishResult::Stored(stored))
    }
}

impl<L: Lanes> Turn<'_, L> {
    /// Publishes `post` for `publisher`. If its home is another shard, an [`Outcome::Published`] with this `id`
    /// follows; a success without an `id` is not reported.
    ///
    /// Cost: one lookup, one encoding per wire format in use and one copy into each log, whatever
    /// the number of subscribers.
    pub fn publish(&mut self, publisher: PeerId, post: &Post<'_>, id: &str) -> PublishResult {
        match self.engine.place_of(post.topic) {
            Place::Here => self.publish_here(post, None),
            Place::Shard(home) => self.forward(home, post, (Asker::Peer(publisher), id)),
        }
    }

    /// Publishes `post` and counts the subscribers it reaches.
    ///
    /// Cost: that of [`Self::publish`], if home and subscribers are all on this shard.
    pub fn publish_counted(&mut self, post: &Post<'_>) -> PublishCount {
        let ticket = self.engine.outcomes.ticket();
        let result = match self.engine.place_of(post.topic) {
            Place::Here => {
                let shard = self.engine.shard;
                self.publish_here(post, Some(Receipt { shard, ticket }))
            }
            Place::Shard(home) => self.forward(home, post, (Asker::Task(ticket), "")),
        };
        match result {
            PublishResult::Forwarded => self.engine.receipts.open(ticket),
            PublishResult::Stored(stored) if stored.receipts > 0 => {
                self.engine.receipts.open(ticket);
                let settled = self.engine.receipts.answer(ticket, result);
                debug_assert!(settled.is_none(), "the others have not been asked yet");
            }
            done => return PublishCount::Done(done),
        }
        PublishCount::Pending(ticket)
    }

    /// Publishes `post` to a topic whose home is this shard, for the gateway itself.
    pub fn publish_own(&mut self, post: &Post<'_>) -> PublishResult {
        debug_assert_eq!(self.engine.place_of(post.topic), Place::Here);
        self.publish_here(post, None)
    }

    fn forward(&mut self, home: ShardId, post: &Post<'_>, reply: (Asker, &str)) -> PublishResult {
        if self.lanes.requests_full(home) {
            self.counters.publications_waited.add(1);
            return PublishResult::Busy;
        }
        let (asker, id) = reply;
        self.ask(
            home,
            Request::Publish {
                topic: post.topic.as_bytes(),
                name: post.name.as_bytes(),
                kind: post.kind,
                form: post.form,
                data: post.data,
                publisher: post.publisher.as_bytes(),
                key: post.key.as_bytes(),
                only_live: post.only_live,
                except: post.except,
                reply: Some((asker, id.as_bytes())),
            },
        );
        PublishResult::Forwarded
    }

    /// Forgets keys of publications whose time is over, some per call.
    pub fn sweep_keys(&mut self) {
        self.engine.homes.recent.sweep(self.now.ms);
    }

    /// Publishes to a topic whose home is this shard.
    pub(super) fn publish_here(
        &mut self,
        post: &Post<'_>,
        receipt: Option<Receipt>,
    ) -> PublishResult {
        let (topic, now) = (post.topic, self.now);
        let recent = &self.engine.homes.recent;
        let key = (!post.key.is_empty()).then(|| recent.digest(topic, post.key));
        if let Some(offset) = key.and_then(|key| recent.find(key, now.ms)) {
            return PublishResult::Stored(Stored {
                offset,
                ..Stored::default()
            });
        }
        if post.only_live && !self.engine.homes.home.is_wanted(topic) {
            count_push(self.counters, post);
            return PublishResult::Stored(Stored::default());
        }
        let id = match self.engine.homes.home.open(topic) {
            Opened::Existing(id) => id,
            Opened::Created(id, wanted) => {
                self.announce(id, topic, &wanted);
                id
            }
            Opened::Full => {
                self.counters.limited(Limited::Topics);
                return PublishResult::TooManyTopics;
            }
        };
        let wanted = self.engine.homes.home.take_new_interests(id);
        self.announce(id, topic, &wanted);
        let here = self.engine.shard;
        let local = self.engine.readers.hub.find(topic);
        if self.is_congested(id, local, post) {
            // The append that filled the log has requested a flush; a full lane notifies this shard when it has room.
            self.counters.publications_waited.add(1);
            return PublishResult::Busy;
        }
        let homes = &mut self.engine.homes;
        let (offset, offsets) = if post.kind == PublicationKind::Presence {
            let newest = homes.home.topic(id).position().offset;
            (homes.home.take_presence(id), Offsets::Behind(newest))
        } else {
            let offset = homes.home.take(id, post, now);
            (offset, Offsets::At(offset))
        };
        if let Some(key) = key {
            homes.recent.note(key, offset, now.ms);
        }
        self.counters.publications.add(1);
        count_push(self.counters, post);
        let mut stored = Stored {
            offset,
            ..Stored::default()
        };
        let mut home_topic = homes.home.topic(id);
        if home_topic.queues().is_some() && is_queued(post) {
            stored.members += self.queue(id, post, offset);
            home_topic = self.engine.homes.home.topic(id);
        }
        if home_topic.interest().is_empty() {
            return PublishResult::Stored(stored);
        }
        let publication = Publication {
            kind: post.kind,
            form: post.form,
            topic,
            name: name_of(topic, post.name, post.kind),
            data: post.data,
            publisher: post.publisher,
            epoch: home_topic.position().epoch,
            offset,
        };
        let (readers, formats) = (&mut self.engine.readers, &mut self.engine.formats);
        if let Some(local) = local.filter(|_| !post.except.is_none()) {
            // A group is for the same readers.
            readers.close_group(local, formats, now.wall_ms);
        }
        for number in formats.numbers() {
            let format = formats.id(number);
            let mut wanting = home_topic.interest().iter();
            let mut wanting = wanting
                .by_ref()
                .filter(|wanted| wanted.format == format)
                .peekable();
            if wanting.peek().is_none() {
                continue;
            }
            let frame = formats.encode(format, &publication, now.wall_ms);
            // Readers of a format that has nothing to say of it are no recipients.
            let is_read = !frame.is_empty();
            let mut is_group_full = false;
            for wanted in wanting {
                if wanted.shard != here {
                    stored.receipts += u16::from(is_read);
                    self.lanes.deliver(
                        wanted.shard,
                        Delivery::Append {
                            home: id,
                            format,
                            offsets,
                            frame,
                            except: post.except,
                            receipt: receipt.filter(|_| is_read),
                        },
                    );
                } else if let Some(local) = local {
                    let appended = readers.append(local, format, (frame, post.except), offsets);
                    let members = if is_read { appended.members as u64 } else { 0 };
                    self.counters.deliveries.add(members);
                    stored.members += members;
                    is_group_full = appended.is_group_full;
                }
            }
            if let Some(local) = local.filter(|_| is_group_full) {
                readers.close_group(local, formats, now.wall_ms);
            }
        }
        self.engine.flush_wanted = true;
        PublishResult::Stored(stored)
    }

    /// Whether a log or a lane that a publication has to go into is full, or members of queue groups wait for a flush.
    fn is_congested(&mut self, id: TopicId, local: Option<TopicId>, post: &Post<'_>) -> bool {
        let (engine, lanes) = (&mut *self.engine, &*self.lanes);
        let (here, readers) = (engine.shard, &mut engine.readers);
        let mut is_full = |wanted: &Interest| match (wanted.shard == here, local) {
            (false, _) => lanes.deliveries_full(wanted.shard),
            (true, None) => false,
            (true, Some(local)) => readers.is_congested(local, wanted.format),
        };
        let topic = engine.homes.home.topic(id);
        topic.interest().iter().any(&mut is_full)
            || topic.queues().is_some()
                && is_queued(post)
                && self.is_queue_congested(id, post.except)
    }

    /// Announces a topic to the shards whose patterns match it and that were not sent it before, this one included.
    pub(super) fn announce(&mut self, id: TopicId, topic: &str, wanted: &[Interest]) {
        let position = self.engine.homes.home.topic(id).position();
        for &Interest { shard, format } in wanted {
            if shard == self.engine.shard {
                if self.engine.readers.hub.open(topic).is_none() {
                    // This shard is at its topic limit: as when another home announces the topic.
                    self.counters.limited(Limited::Topics);
                    let interest = Interest { shard, format };
                    self.engine.homes.home.remove_interest(topic, interest);
                }
            } else {
                let announced = super::Announced {
                    home: id,
                    topic: topic.as_bytes(),
                    format,
                    position,
                };
                self.lanes.deliver(shard, Delivery::Appeared(announced));
            }
        }
    }

    /// A home has answered.
    pub(super) fn take_published(&mut self, asker: Asker, id: &str, result: PublishResult) {
        match asker {
            Asker::Task(ticket) => {
                let settled = self.engine.receipts.answer(ticket, result);
                self.tell_counted(ticket, settled);
            }
            // Without an id the publisher does not wait for a success; a refusal is still reported.
            Asker::Peer(_) if id.is_empty() && matches!(result, PublishResult::Stored(_)) => {}
            Asker::Peer(_) => {
                let id = id.into();
                self.tell(asker, Outcome::Published { id, result });
            }
        }
    }

    /// A shard has reported how many subscribers a publication reached.
    pub(super) fn take_count(&mut self, ticket: Ticket, members: u32) {
        let settled = self.engine.receipts.count(ticket, members);
        self.tell_counted(ticket, settled);
    }

    fn tell_counted(&mut self, ticket: Ticket, settled: Option<PublishResult>) {
        if let Some(result) = settled {
            let id = Box::default();
            self.tell(Asker::Task(ticket), Outcome::Published { id, result });
        }
    }

    /// Reports how many subscribers a publication reached on this shard.
    pub(super) fn report_receipt(&mut self, receipt: Receipt, members: usize) {
        let members = u32::try_from(members).expect("members are connections");
        let Receipt { shard, ticket } = receipt;
        if shard == self.engine.shard {
            return self.take_count(ticket, members);
        }
        let reached = Delivery::Reached { ticket, members };
        self.lanes.deliver(shard, reached);
    }
}

/// Whether a publication goes to queue groups: presence is for subscribers.
fn is_queued(post: &Post<'_>) -> bool {
    post.kind != PublicationKind::Presence
}

/// Counts a push that is accepted, whether or not it is delivered yet.
fn count_push(counters: &Counters, post: &Post<'_>) {
    counters.pushes.add(u64::from(post.only_live));
}
