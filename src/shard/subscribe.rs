//! A subscription's way: into the hub, to the topic's home, and back as the
//! confirmation that from here on everything arrives.

use slab::Slab;

use super::Shard;
use crate::collections::HashMap;
use crate::hub::Unsubscribed;
use crate::id::{PeerId, Priority, ShardId, TopicId, WireFormat};
use crate::mesh::{Interest, Request, Standing, home_of};
use crate::topic::Pattern;
use crate::ws::OpCode;

/// There are too many topics to make a new one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TooManyTopics;

/// A confirmation that is being put together: it goes out when all homes have
/// answered.
#[derive(Debug)]
pub struct Pending(u32);

/// Confirmations that wait for homes.
#[derive(Debug, Default)]
pub(super) struct Tickets {
    open: Slab<Ticket>,
    /// Who waits for the answer about a topic.
    topics: HashMap<(TopicId, WireFormat), Vec<u32>>,
    /// Topics that may have lost their last member.
    vacant: Vec<(TopicId, WireFormat)>,
}

#[derive(Debug)]
struct Ticket {
    peer: PeerId,
    /// Homes that have not answered, and one more until the text is there.
    left: usize,
    text: Vec<u8>,
}

impl Tickets {
    /// Notes that a topic may have no members.
    pub(super) fn note_vacant(&mut self, topic: TopicId, format: WireFormat) {
        self.vacant.push((topic, format));
    }
}

impl Shard {
    /// Begins a confirmation for `peer`.
    #[must_use]
    pub fn pending(&self, peer: PeerId) -> Pending {
        let ticket = Ticket {
            peer,
            left: 1,
            text: Vec::new(),
        };
        let ticket = self.tickets.borrow_mut().open.insert(ticket);
        Pending(u32::try_from(ticket).expect("one for each request"))
    }

    /// Sends the confirmation as soon as everything it speaks of is true.
    pub fn confirm(&self, pending: Pending, write: impl FnOnce(&mut Vec<u8>, &[u8])) {
        let mut text = Vec::new();
        write(&mut text, &self.clock.timestamp());
        self.tickets.borrow_mut().open[pending.0 as usize].text = text;
        self.settle(pending.0);
    }

    /// Makes a peer a member of a topic.
    ///
    /// # Errors
    /// The topic is new and there are too many.
    pub fn subscribe(
        &self,
        peer: PeerId,
        name: &str,
        pending: &Pending,
    ) -> Result<(), TooManyTopics> {
        let (topic, format) = {
            let mut hub = self.hub.borrow_mut();
            let topic = hub.open(name).ok_or(TooManyTopics)?;
            let _ = hub.subscribe(peer.slot, topic);
            (topic, hub.format_of(peer.slot))
        };
        let home = home_of(name, self.port.borrow().shards());
        if home == self.id {
            self.take_interest_here(
                name,
                Interest {
                    shard: self.id,
                    format,
                },
            );
            return Ok(());
        }
        let standing = self.interests.borrow().standing(topic, format);
        if standing == Standing::None {
            self.ask_interest(home, topic, name, format);
        }
        if standing != Standing::Live {
            let mut tickets = self.tickets.borrow_mut();
            tickets.open[pending.0 as usize].left += 1;
            tickets
                .topics
                .entry((topic, format))
                .or_default()
                .push(pending.0);
        }
        Ok(())
    }

    /// Makes a peer a member of all topics that a pattern matches.
    pub fn subscribe_pattern(&self, peer: PeerId, pattern: &Pattern, pending: &Pending) {
        let format = self.hub.borrow().format_of(peer.slot);
        let interest = Interest {
            shard: self.id,
            format,
        };
        let found = self
            .home
            .borrow_mut()
            .add_pattern(interest, pattern.clone());
        {
            let (home, mut hub) = (self.home.borrow(), self.hub.borrow_mut());
            for topic in found {
                hub.open(home.topic(topic).name());
            }
            hub.add_pattern(peer.slot, pattern.clone());
        }
        let mut port = self.port.borrow_mut();
        for home in (0..port.shards())
            .map(ShardId)
            .filter(|&home| home != self.id)
        {
            self.tickets.borrow_mut().open[pending.0 as usize].left += 1;
            let (pattern, ticket) = (pattern.clone(), pending.0);
            port.request(home, |_| Request::Pattern {
                pattern,
                format,
                ticket,
            });
        }
        self.flusher.raise();
    }

    /// Ends a peer's membership of a topic.
    pub fn unsubscribe(&self, peer: PeerId, name: &str) {
        let mut hub = self.hub.borrow_mut();
        if !hub.is_present(peer) {
            return;
        }
        let Some(topic) = hub.find(name) else { return };
        let format = hub.format_of(peer.slot);
        if hub.unsubscribe(peer.slot, topic) == Unsubscribed::Left {
            self.tickets.borrow_mut().note_vacant(topic, format);
        }
    }

    /// Ends a peer's interest in all topics that a pattern matches.
    pub fn unsubscribe_pattern(&self, peer: PeerId, pattern: &Pattern) {
        let mut hub = self.hub.borrow_mut();
        if !hub.is_present(peer) {
            return;
        }
        let format = hub.format_of(peer.slot);
        let left = hub.remove_pattern(peer.slot, pattern);
        let vacant = &mut self.tickets.borrow_mut().vacant;
        vacant.extend(left.into_iter().map(|topic| (topic, format)));
        if !hub.has_pattern(pattern, format) {
            self.home.borrow_mut().remove_pattern(
                Interest {
                    shard: self.id,
                    format,
                },
                pattern,
            );
            let mut port = self.port.borrow_mut();
            for home in (0..port.shards())
                .map(ShardId)
                .filter(|&home| home != self.id)
            {
                let pattern = pattern.clone();
                port.request(home, |_| Request::Unpattern { pattern, format });
            }
            self.flusher.raise();
        }
    }

    /// Notes that a peer's topics may have lost their last member.
    pub(super) fn vacate_topics_of(&self, peer: PeerId) {
        let hub = self.hub.borrow();
        if hub.is_present(peer) {
            let format = hub.format_of(peer.slot);
            let vacant = &mut self.tickets.borrow_mut().vacant;
            vacant.extend(hub.topics_of(peer.slot).map(|topic| (topic, format)));
        }
    }

    /// Gives up topics that have no member any more. Called by the ticker, so
    /// that a topic whose subscribers come and go is not asked for each time.
    pub fn sweep_vacant(&self) {
        let vacant = std::mem::take(&mut self.tickets.borrow_mut().vacant);
        for (topic, format) in vacant {
            let is_gone = !self.hub.borrow().is_topic(topic);
            if is_gone || self.sweep_stream(topic) || self.is_wanted(topic, format) {
                continue;
            }
            let mut hub = self.hub.borrow_mut();
            let name: Box<str> = hub.name(topic).into();
            let home = home_of(&name, self.port.borrow().shards());
            let mut interests = self.interests.borrow_mut();
            if home == self.id {
                let interest = Interest {
                    shard: self.id,
                    format,
                };
                self.home.borrow_mut().remove_interest(&name, interest);
                self.lose_part(topic, format);
            } else if interests.standing(topic, format) == Standing::Live {
                interests.set(topic, format, Standing::Closing);
                self.lose_part(topic, format);
                self.port
                    .borrow_mut()
                    .request(home, |_| Request::Disinterest {
                        topic: name.clone(),
                        format,
                    });
                self.flusher.raise();
            }
            // Other formats may be wanted, or have a sweep to come.
            let is_held =
                interests.has_any(topic) || self.home.borrow().is_wanted_by(&name, self.id);
            if !is_held {
                hub.close_topic(topic);
            }
        }
    }

    /// Whether anybody here reads a topic in a format.
    pub(super) fn is_wanted(&self, topic: TopicId, format: WireFormat) -> bool {
        match format {
            WireFormat::Sse => self.merges.borrow().wants(topic),
            _ => self.hub.borrow().member_count(topic, format) > 0,
        }
    }

    /// Notes that no messages of a topic come for streams any more.
    pub(super) fn lose_part(&self, topic: TopicId, format: WireFormat) {
        if format == WireFormat::Sse {
            self.merges.borrow_mut().lose(topic);
        }
    }

    /// Forgets topics at this home that nobody wants or publishes to. Called by
    /// the ticker, rarely: a topic that comes back begins a new epoch.
    pub fn sweep_home(&self) {
        self.home.borrow_mut().sweep();
    }

    /// Notes at this home that a shard wants a topic.
    pub(super) fn take_interest_here(&self, name: &str, interest: Interest) -> TopicId {
        let (id, wanted) = self.home.borrow_mut().open_for_subscriber(name);
        self.announce(id, name, &wanted);
        self.home.borrow_mut().add_interest(id, interest);
        id
    }

    pub(super) fn ask_interest(
        &self,
        home: ShardId,
        topic: TopicId,
        name: &str,
        format: WireFormat,
    ) {
        self.interests
            .borrow_mut()
            .set(topic, format, Standing::Requested);
        self.port.borrow_mut().request(home, |_| Request::Interest {
            topic: name.into(),
            format,
        });
        self.flusher.raise();
    }

    /// A home has answered about a topic: whoever waited for it waits no more.
    pub(super) fn settle_topic(&self, topic: TopicId, format: WireFormat) {
        let waiting = self.tickets.borrow_mut().topics.remove(&(topic, format));
        for ticket in waiting.into_iter().flatten() {
            self.settle(ticket);
        }
    }

    /// One thing less that a confirmation waits for.
    pub(super) fn settle(&self, ticket: u32) {
        let done = {
            let mut tickets = self.tickets.borrow_mut();
            let Some(open) = tickets.open.get_mut(ticket as usize) else {
                return;
            };
            open.left -= 1;
            (open.left == 0).then(|| tickets.open.remove(ticket as usize))
        };
        if let Some(Ticket { peer, text, .. }) = done {
            self.send(peer, Priority::High, OpCode::Text, &text);
        }
    }
}
