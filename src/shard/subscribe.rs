//! A subscription's way: into the hub, to the topic's home, and back as the
//! confirmation that from here on everything arrives.

use slab::Slab;

use super::Shard;
use super::links::Link;
use crate::collections::HashMap;
use crate::engine::hub::{Subscribed, Unsubscribed};
use crate::engine::{Interest, Position, Reach, Request, Standing, home_of};
use crate::id::{PeerId, ShardId, TopicId, WireFormat};
use crate::topic::{self, Pattern};

/// Confirmations that one connection may wait for. Beyond it the connection is
/// not read from until homes have answered.
pub(super) const CONFIRMATIONS_MAX: u32 = 16;

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

struct Ticket {
    peer: PeerId,
    /// Homes that have not answered, and one more until the confirmation is there.
    left: usize,
    topics: Vec<TicketTopic>,
    confirm: Option<Confirm>,
}

/// Sends a confirmation, given how each topic stands.
type Confirm = Box<dyn FnOnce(&Shard, &[Start])>;

#[derive(Debug)]
struct TicketTopic {
    name: Box<str>,
    topic: TopicId,
    /// Where the live stream begins for the peer; unknown while the home is asked.
    position: Option<Position>,
    /// From where on the peer wants it, and what the home knows of that.
    resume: Option<Resume>,
}

#[derive(Clone, Copy, Debug)]
struct Resume {
    /// `None`: from where the home is.
    from: Option<Position>,
    /// Which hold of the membership ends with it.
    hold: u16,
    reach: Option<Reach>,
    /// The membership has begun before, and cannot begin again.
    is_underway: bool,
}

/// Where a membership begins.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Begin {
    /// With the next message that arrives here, which the subscriber may have seen
    /// elsewhere.
    Live,
    /// With the first message that the topic's home takes from now on, or a later one if
    /// the home hears of it late: never with one that the subscriber can have seen.
    Here,
    /// Behind this place, as far as the topic reaches back.
    After(Position),
}

/// How a topic begins for a subscriber.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Start {
    /// The topic's name.
    pub name: Box<str>,
    /// The live stream goes on from here.
    pub position: Position,
    /// What came of the wish to go on from where the subscriber was.
    pub resumed: Option<Resumed>,
}

/// Whether a subscriber gets all it has missed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Resumed {
    /// This many messages, before anything newer.
    Complete(u64),
    /// No: the topic's messages are not those it knew.
    OtherEpoch,
    /// No: this many messages, the oldest of which are not kept any more.
    TooOld(u64),
    /// No: it was ahead of the topic.
    NeverSeen,
    /// No: it is being sent the topic already, because of another subscription.
    Underway,
}

impl std::fmt::Debug for Ticket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ticket")
            .field("peer", &self.peer)
            .field("left", &self.left)
            .field("topics", &self.topics)
            .finish_non_exhaustive()
    }
}

impl Tickets {
    /// Notes that a topic may have no members.
    pub(super) fn note_vacant(&mut self, topic: TopicId, format: WireFormat) {
        self.vacant.push((topic, format));
    }
}

impl Shard {
    /// Whether a change of `peer`'s subscriptions to `names` may be asked for now.
    /// If not, come again after the next flush; until then, read no more from it.
    ///
    /// What homes are asked never finds a lane full (see `Port::request`), so
    /// whoever asks looks here first; what one message asks for is bounded by its size.
    #[must_use]
    pub fn may_subscribe<'a>(
        &self,
        peer: PeerId,
        names: impl IntoIterator<Item = &'a str>,
    ) -> bool {
        let waits = |link: &Link| link.confirmations >= CONFIRMATIONS_MAX;
        if self.links.borrow().get(peer).is_some_and(waits) {
            return false;
        }
        let port = self.port.borrow();
        let is_full = |home: ShardId| home != self.id && port.requests_full(home);
        if !(0..port.shards()).map(ShardId).any(is_full) {
            return true;
        }
        // A pattern asks every home.
        let asks_full = |name: &str| name.contains('*') || is_full(home_of(name, port.shards()));
        !names.into_iter().any(asks_full)
    }

    /// Whether homes have not answered all that was asked for `peer`.
    #[must_use]
    pub fn is_confirming(&self, peer: PeerId) -> bool {
        let links = self.links.borrow();
        links.get(peer).is_some_and(|link| link.confirmations > 0)
    }

    /// Begins a confirmation for `peer`.
    #[must_use]
    pub fn pending(&self, peer: PeerId) -> Pending {
        if let Some(link) = self.links.borrow_mut().get_mut(peer) {
            link.confirmations += 1;
        }
        let ticket = Ticket {
            peer,
            left: 1,
            topics: Vec::new(),
            confirm: None,
        };
        let ticket = self.tickets.borrow_mut().open.insert(ticket);
        Pending(u32::try_from(ticket).expect("one for each request"))
    }

    /// Sends the confirmation as soon as everything it speaks of is true. What
    /// the peer has missed follows, and then what is new.
    pub fn confirm(&self, pending: Pending, write: impl FnOnce(&Self, &[Start]) + 'static) {
        self.tickets.borrow_mut().open[pending.0 as usize].confirm = Some(Box::new(write));
        self.settle(pending.0);
    }

    /// Makes a peer a member of what it gets without asking: broadcasts, and
    /// an inbox, going on from `resume` if it was there before. Greets it when
    /// everything arrives from then on.
    ///
    /// # Errors
    /// There are too many topics for one of them.
    pub fn attend(
        &self,
        peer: PeerId,
        inbox: Option<&str>,
        resume: Option<Position>,
        greet: impl FnOnce(&Self) + 'static,
    ) -> Result<(), TooManyTopics> {
        let pending = self.pending(peer);
        let broadcasts = self.subscribe(peer, topic::BROADCAST, Begin::Live, &pending);
        let begin = resume.map_or(Begin::Live, Begin::After);
        let inbox = inbox.map_or(Ok(()), |inbox| self.subscribe(peer, inbox, begin, &pending));
        match broadcasts.and(inbox) {
            Ok(()) => self.confirm(pending, move |shard, _| greet(shard)),
            Err(_) => self.settle(pending.0),
        }
        broadcasts.and(inbox)
    }

    /// Makes a peer a member of the inbox of `user`, and of nothing else. Its upgrade
    /// request is answered as soon as everything for the user arrives from then on.
    ///
    /// # Errors
    /// There are too many topics.
    pub fn attend_inbox(&self, peer: PeerId, user: &str) -> Result<(), TooManyTopics> {
        let inbox = topic::inbox_of(user);
        let pending = self.pending(peer);
        let subscribed = self.subscribe(peer, &inbox, Begin::Here, &pending);
        match subscribed {
            Ok(()) => self.confirm(pending, move |shard, _| shard.open(peer)),
            Err(_) => self.settle(pending.0),
        }
        subscribed
    }

    /// Makes a peer a member of a topic. A peer that is a member already only stays one for longer.
    ///
    /// # Errors
    /// The topic is new and there are too many.
    pub fn subscribe(
        &self,
        peer: PeerId,
        name: &str,
        begin: Begin,
        pending: &Pending,
    ) -> Result<(), TooManyTopics> {
        let resume = match begin {
            Begin::Live => None,
            Begin::Here => Some(None),
            Begin::After(position) => Some(Some(position)),
        };
        let (topic, format, resume) = {
            let mut hub = self.hub.borrow_mut();
            let topic = hub.open(name).ok_or(TooManyTopics)?;
            self.close_group(&mut hub, topic);
            let subscribed = hub.subscribe(peer.slot, topic);
            let is_underway = subscribed == Subscribed::Covered;
            let resume = resume.map(|from| Resume {
                from,
                hold: match is_underway {
                    true => 0,
                    false => hub.hold(peer.slot, topic),
                },
                reach: None,
                is_underway,
            });
            (topic, hub.format_of(peer.slot), resume)
        };
        let ticket = pending.0 as usize;
        let is_begun = self.tickets.borrow().open[ticket]
            .topics
            .iter()
            .any(|begun| begun.topic == topic);
        if is_begun {
            return Ok(());
        }
        let home = home_of(name, self.port.borrow().shards());
        let mut begun = TicketTopic {
            name: name.into(),
            topic,
            position: None,
            resume,
        };
        if home == self.id {
            let interest = Interest {
                shard: self.id,
                format,
            };
            let id = self.take_interest_here(name, interest);
            begun.position = Some(self.home.borrow().topic(id).position());
            if let Some(resume) = &mut begun.resume {
                resume.reach = Some(self.reach_here(name, resume.after()));
            }
            self.tickets.borrow_mut().open[ticket].topics.push(begun);
            return Ok(());
        }
        let standing = self.interests.borrow().standing(topic, format);
        if standing == Standing::None {
            self.ask_interest(home, topic, name, format);
        }
        let mut tickets = self.tickets.borrow_mut();
        let open = &mut tickets.open[ticket];
        if standing == Standing::Live {
            begun.position = Some(Position {
                epoch: self.interests.borrow().epoch(topic),
                offset: self.hub.borrow().number(topic, format),
            });
        } else {
            open.left += 1;
        }
        if let Some(resume) = resume {
            open.left += 1;
            let index = u32::try_from(open.topics.len()).expect("subscriptions are limited");
            self.port.borrow_mut().request(home, |_| Request::Reach {
                topic: name.into(),
                after: resume.after(),
                ticket: pending.0,
                index,
            });
            self.flusher.raise();
        }
        open.topics.push(begun);
        if standing != Standing::Live {
            let waiting = tickets.topics.entry((topic, format)).or_default();
            waiting.push(pending.0);
        }
        Ok(())
    }

    /// Makes a peer a member of all topics that a pattern matches.
    pub fn subscribe_pattern(&self, peer: PeerId, pattern: &Pattern, pending: &Pending) {
        let format = self.hub.borrow().format_of(peer.slot);
        if format == WireFormat::EventsBatch {
            self.close_groups();
        }
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
            drop(hub);
            self.cancel_catch_up(peer, topic);
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
        let is_last = !hub.has_pattern(pattern, format);
        drop(hub);
        for topic in left {
            self.tickets.borrow_mut().note_vacant(topic, format);
            self.cancel_catch_up(peer, topic);
        }
        if is_last {
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
            if home != self.id && self.port.borrow().requests_full(home) {
                self.tickets.borrow_mut().note_vacant(topic, format);
                continue;
            }
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

    /// As [`Self::sweep_home`], if there are so many topics that it should not wait.
    pub fn sweep_tight_home(&self) {
        let mut home = self.home.borrow_mut();
        if home.is_tight() {
            home.sweep();
        }
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
    pub(super) fn settle_topic(&self, topic: TopicId, format: WireFormat, position: Position) {
        let waiting = self.tickets.borrow_mut().topics.remove(&(topic, format));
        for ticket in waiting.into_iter().flatten() {
            if let Some(open) = self.tickets.borrow_mut().open.get_mut(ticket as usize) {
                let begun = open.topics.iter_mut().filter(|begun| begun.topic == topic);
                for begun in begun {
                    begun.position.get_or_insert(position);
                }
            }
            self.settle(ticket);
        }
    }

    /// A home has said how far back a topic reaches. All that it had published by
    /// then has arrived here, so whoever asked has seen nothing newer: a live stream
    /// begins for it here and now, and not where it was when it came, since it may
    /// have been ahead of this shard.
    pub(super) fn settle_reach(&self, ticket: u32, index: u32, reach: Reach) {
        if let Some(open) = self.tickets.borrow_mut().open.get_mut(ticket as usize) {
            let (peer, begun) = (open.peer, &mut open.topics[index as usize]);
            let topic = begun.topic;
            let (mut hub, interests) = (self.hub.borrow_mut(), self.interests.borrow());
            if let Some(resume) = &mut begun.resume
                && hub.is_present(peer)
                && hub.is_topic(topic)
            {
                resume.reach = Some(reach);
                let format = hub.format_of(peer.slot);
                let is_live = interests.standing(topic, format) == Standing::Live;
                if is_live && hub.is_held(peer.slot, topic, resume.hold) {
                    self.close_group(&mut hub, topic);
                    hub.skip_to_head(peer.slot, topic);
                    begun.position = Some(Position {
                        epoch: interests.epoch(topic),
                        offset: hub.number(topic, format),
                    });
                }
            }
        }
        self.settle(ticket);
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
        if let Some(ticket) = done {
            self.finish(ticket);
        }
    }

    /// Everything that a confirmation speaks of is known.
    fn finish(&self, ticket: Ticket) {
        let Ticket {
            peer,
            topics,
            confirm,
            ..
        } = ticket;
        if let Some(link) = self.links.borrow_mut().get_mut(peer) {
            link.confirmations -= 1;
        }
        let starts: Vec<Start> = topics.iter().map(TicketTopic::start).collect();
        if let Some(confirm) = confirm {
            confirm(self, &starts);
        }
        for (begun, start) in topics.iter().zip(&starts) {
            if let (Some(resume), Some(resumed)) = (begun.resume, start.resumed) {
                let (topic, position) = (begun.topic, start.position);
                self.catch_up(peer, topic, resume.hold, resume.after(), position, resumed);
            }
        }
    }
}

impl Resume {
    /// The offset behind which messages are wanted; none is if that is not said.
    fn after(&self) -> u64 {
        self.from.map_or(u64::MAX, |from| from.offset)
    }
}

impl TicketTopic {
    fn start(&self) -> Start {
        let position = self.position.unwrap_or_default();
        let resumed = self.resume.map(|resume| {
            let Resume { from, reach, .. } = resume;
            if resume.is_underway {
                return Resumed::Underway;
            }
            let Some(from) = from else {
                return Resumed::Complete(0);
            };
            let missed = position.offset.checked_sub(from.offset);
            let epoch_holds = from.epoch == position.epoch;
            match (missed, reach) {
                _ if !epoch_holds => Resumed::OtherEpoch,
                (None, _) => Resumed::NeverSeen,
                (Some(0), _) => Resumed::Complete(0),
                (Some(missed), Some(reach)) if reach.complete && reach.epoch == position.epoch => {
                    Resumed::Complete(missed)
                }
                (Some(missed), _) => Resumed::TooOld(missed),
            }
        });
        Start {
            name: self.name.clone(),
            position,
            resumed,
        }
    }
}
