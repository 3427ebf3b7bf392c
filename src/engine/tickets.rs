//! Subscriptions that wait for homes to answer, and topics that nobody may read any more.

use super::Ticket;
use super::confirmation::{Confirmation, Subscribing, SubscribingPattern};
use super::message::Reach;
use crate::collections::{HashMap, HashSet};
use crate::id::{FormatId, PeerId, Position, TopicId};

/// Confirmations that wait for homes.
#[derive(Debug, Default)]
pub(super) struct Tickets {
    open: HashMap<Ticket, Waiting>,
    /// Peers that wait to be told which topics they go on in because of patterns.
    recovering: HashSet<PeerId>,
    /// Which tickets wait for the answer about a topic.
    topics: HashMap<(TopicId, FormatId), Vec<Ticket>>,
    /// Topics that may have lost their last member.
    vacant: Vec<(TopicId, FormatId)>,
    /// All topics from this number on may have.
    from: Option<usize>,
    /// And then all before it.
    again: bool,
}

#[derive(Debug)]
struct Waiting {
    confirmation: Confirmation,
    /// Answers that have not come, and one more until all has been asked for.
    left: usize,
}

impl Tickets {
    /// Begins a confirmation for `peer`.
    pub(super) fn open(&mut self, ticket: Ticket, peer: PeerId) {
        let waiting = Waiting {
            confirmation: Confirmation::new(ticket, peer),
            left: 1,
        };
        self.open.insert(ticket, waiting);
    }

    /// Whose a confirmation is.
    pub(super) fn peer_of(&self, ticket: Ticket) -> PeerId {
        self.open[&ticket].confirmation.peer
    }

    /// The patterns of a confirmation.
    pub(super) fn patterns(&self, ticket: Ticket) -> &[SubscribingPattern] {
        &self.open[&ticket].confirmation.patterns
    }

    /// One of these.
    pub(super) fn pattern_mut(&mut self, ticket: Ticket, index: u32) -> &mut SubscribingPattern {
        &mut self.waiting(ticket).confirmation.patterns[index as usize]
    }

    /// Adds a pattern to a confirmation. Returns its place among the patterns.
    pub(super) fn add_pattern(&mut self, ticket: Ticket, pattern: SubscribingPattern) -> u32 {
        let confirmation = &mut self.waiting(ticket).confirmation;
        let is_back = pattern.since_ms().is_some();
        confirmation.patterns.push(pattern);
        let (index, peer) = (confirmation.patterns.len() - 1, confirmation.peer);
        if is_back {
            self.recovering.insert(peer);
        }
        u32::try_from(index).expect("subscriptions are limited")
    }

    /// Whether homes have not said yet which topics a peer goes on in because of patterns.
    pub(super) fn is_recovering(&self, peer: PeerId) -> bool {
        self.recovering.contains(&peer)
    }

    /// How many topics a confirmation speaks of.
    pub(super) fn topic_count(&self, ticket: Ticket) -> usize {
        self.open[&ticket].confirmation.topics.len()
    }

    /// Whether a confirmation speaks of a topic already.
    pub(super) fn has(&self, ticket: Ticket, topic: TopicId) -> bool {
        let topics = &self.open[&ticket].confirmation.topics;
        topics.iter().any(|begun| begun.topic == topic)
    }

    /// The hold of a log that began with a confirmation.
    pub(super) fn hold_of(&self, ticket: Ticket, log: TopicId) -> Option<u16> {
        let topics = &self.open[&ticket].confirmation.topics;
        topics.iter().find(|begun| begun.topic == log)?.hold
    }

    /// Adds a topic to a confirmation, and how many answers it waits for besides. Returns its place
    /// among the topics.
    pub(super) fn add(&mut self, ticket: Ticket, topic: Subscribing, answers: usize) -> u32 {
        let waiting = self.waiting(ticket);
        waiting.left += answers;
        let topics = &mut waiting.confirmation.topics;
        topics.push(topic);
        u32::try_from(topics.len() - 1).expect("subscriptions are limited")
    }

    /// One answer more that a confirmation waits for.
    pub(super) fn wait(&mut self, ticket: Ticket) {
        self.waiting(ticket).left += 1;
    }

    /// Notes that a confirmation waits for the answer about a topic.
    pub(super) fn wait_for_topic(&mut self, ticket: Ticket, topic: TopicId, format: FormatId) {
        let waiting = self.topics.entry((topic, format)).or_default();
        waiting.push(ticket);
    }

    fn waiting(&mut self, ticket: Ticket) -> &mut Waiting {
        let waiting = self.open.get_mut(&ticket);
        waiting.expect("it is open until its last answer")
    }

    /// A home has said where a topic stands. Returns the tickets that waited for it.
    pub(super) fn locate(
        &mut self,
        topic: TopicId,
        format: FormatId,
        position: Position,
    ) -> Vec<Ticket> {
        let tickets = self.topics.remove(&(topic, format)).unwrap_or_default();
        for ticket in &tickets {
            if let Some(waiting) = self.open.get_mut(ticket) {
                let topics = waiting.confirmation.topics.iter_mut();
                for begun in topics.filter(|begun| begun.topic == topic) {
                    begun.position.get_or_insert(position);
                }
            }
        }
        tickets
    }

    /// A home has said how far back a topic reaches.
    pub(super) fn reach(&mut self, ticket: Ticket, index: u32, reach: Reach) {
        if let Some(waiting) = self.open.get_mut(&ticket)
            && let Some(resume) = &mut waiting.confirmation.topics[index as usize].resume
        {
            resume.reach = Some(reach);
        }
    }

    /// One answer less that a confirmation waits for. Returns it with the last one.
    pub(super) fn settle(&mut self, ticket: Ticket) -> Option<Confirmation> {
        let waiting = self.open.get_mut(&ticket)?;
        waiting.left -= 1;
        if waiting.left > 0 {
            return None;
        }
        let settled = self.open.remove(&ticket)?;
        self.recovering.remove(&settled.confirmation.peer);
        if self.open.is_empty() && self.open.capacity() > SPARSE_FROM {
            self.open = HashMap::default();
            self.recovering = HashSet::default();
        }
        Some(settled.confirmation)
    }

    /// Notes that a topic may have no members.
    pub(super) fn note_vacant(&mut self, topic: TopicId, format: FormatId) {
        self.vacant.push((topic, format));
    }

    /// Notes that any topic may have no members.
    pub(super) fn look_through(&mut self) {
        self.again = self.from.is_some();
        self.from.get_or_insert(0);
    }

    /// From which number on topics may have no members.
    pub(super) fn next_to_look_at(&self) -> Option<usize> {
        self.from
    }

    /// Notes that topics have been looked at up to `until`, which are all if `is_end`.
    pub(super) fn note_looked_at(&mut self, until: usize, is_end: bool) {
        self.from = match is_end {
            false => Some(until),
            true => std::mem::take(&mut self.again).then_some(0),
        };
    }

    /// How many topics may have lost their last member.
    pub(super) fn vacant_count(&self) -> usize {
        self.vacant.len()
    }

    /// Takes topics that may have lost their last member, those that were noted first.
    pub(super) fn take_vacant(&mut self, count_max: usize) -> Vec<(TopicId, FormatId)> {
        let rest = self.vacant.split_off(count_max.min(self.vacant.len()));
        std::mem::replace(&mut self.vacant, rest)
    }
}

/// Confirmations that there has to be room for before it is given back.
const SPARSE_FROM: usize = 1024;
