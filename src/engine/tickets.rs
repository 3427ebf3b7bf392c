//! Subscriptions that wait for answers of homes, and topics that may have lost their last member.

use super::Ticket;
use super::confirmation::{Confirmation, Subscribing, SubscribingPattern};
use super::message::Reach;
use super::queue_groups::QueueError;
use crate::collections::{HashMap, HashSet};
use crate::id::{FormatId, PeerId, Position, TopicId};

/// Confirmations that wait for homes, and the sweep of vacant topics.
#[derive(Debug, Default)]
pub(super) struct Tickets {
    open: HashMap<Ticket, Waiting>,
    /// Peers that wait to learn which topics their patterns resume.
    recovering: HashSet<PeerId>,
    /// The tickets that wait for a topic's position.
    topics: HashMap<(TopicId, FormatId), Vec<Ticket>>,
    /// Topics that may have lost their last member, to be checked.
    vacant: Vec<(TopicId, FormatId)>,
    /// The scan of all topics for lost members: the next index; `None` if no scan runs.
    scan_from: Option<usize>,
    /// Whether the scan has to run again from the start.
    scan_again: bool,
}

#[derive(Debug)]
struct Waiting {
    confirmation: Confirmation,
    /// Outstanding answers, plus one until all requests have been made.
    left: usize,
}

impl Tickets {
    /// Opens a confirmation for `peer`.
    pub(super) fn open(&mut self, ticket: Ticket, peer: PeerId) {
        let waiting = Waiting {
            confirmation: Confirmation::new(ticket, peer),
            left: 1,
        };
        self.open.insert(ticket, waiting);
    }

    /// The peer of a confirmation.
    pub(super) fn peer_of(&self, ticket: Ticket) -> PeerId {
        self.open[&ticket].confirmation.peer
    }

    /// The patterns of a confirmation.
    pub(super) fn patterns(&self, ticket: Ticket) -> &[SubscribingPattern] {
        &self.open[&ticket].confirmation.patterns
    }

    /// A pattern of a confirmation, by index.
    pub(super) fn pattern_mut(&mut self, ticket: Ticket, index: u32) -> &mut SubscribingPattern {
        &mut self.waiting(ticket).confirmation.patterns[index as usize]
    }

    /// Adds a pattern to a confirmation. Returns its index.
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

    /// Whether a home has not said yet which topics a peer's patterns resume.
    pub(super) fn is_recovering(&self, peer: PeerId) -> bool {
        self.recovering.contains(&peer)
    }

    /// The number of topics in a confirmation.
    pub(super) fn topic_count(&self, ticket: Ticket) -> usize {
        self.open[&ticket].confirmation.topics.len()
    }

    /// Whether a confirmation includes a topic.
    pub(super) fn has(&self, ticket: Ticket, topic: TopicId) -> bool {
        let topics = &self.open[&ticket].confirmation.topics;
        topics.iter().any(|begun| begun.topic == topic)
    }

    /// The hold of a log that a confirmation began.
    pub(super) fn hold_of(&self, ticket: Ticket, log: TopicId) -> Option<u16> {
        let topics = &self.open[&ticket].confirmation.topics;
        topics.iter().find(|begun| begun.topic == log)?.hold
    }

    /// Adds a topic to a confirmation, and the number of answers to wait for. Returns its index.
    pub(super) fn add(&mut self, ticket: Ticket, topic: Subscribing, answers: usize) -> u32 {
        let waiting = self.waiting(ticket);
        waiting.left += answers;
        let topics = &mut waiting.confirmation.topics;
        topics.push(topic);
        u32::try_from(topics.len() - 1).expect("subscriptions are limited")
    }

    /// A confirmation waits for one more answer.
    pub(super) fn wait(&mut self, ticket: Ticket) {
        self.waiting(ticket).left += 1;
    }

    /// A home has refused to make the peer of a confirmation a member of a queue group.
    pub(super) fn refuse(&mut self, ticket: Ticket, topic: &str, why: QueueError) {
        let confirmation = &mut self.waiting(ticket).confirmation;
        confirmation.refused.push((topic.into(), why));
    }

    /// A confirmation waits for a topic's position.
    pub(super) fn wait_for_topic(&mut self, ticket: Ticket, topic: TopicId, format: FormatId) {
        let waiting = self.topics.entry((topic, format)).or_default();
        waiting.push(ticket);
    }

    fn waiting(&mut self, ticket: Ticket) -> &mut Waiting {
        let waiting = self.open.get_mut(&ticket);
        waiting.expect("it is open until its last answer")
    }

    /// A home has given a topic's position. Returns the tickets that waited for it.
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

    /// A home has said whether it retains the wanted messages of a topic.
    pub(super) fn reach(&mut self, ticket: Ticket, index: u32, reach: Reach) {
        if let Some(waiting) = self.open.get_mut(&ticket)
            && let Some(resume) = &mut waiting.confirmation.topics[index as usize].resume
        {
            resume.reach = Some(reach);
        }
    }

    /// One of the outstanding answers has come. Returns the confirmation if it was the last.
    pub(super) fn settle(&mut self, ticket: Ticket) -> Option<Confirmation> {
        let waiting = self.open.get_mut(&ticket)?;
        waiting.left -= 1;
        if waiting.left > 0 {
            return None;
        }
        let settled = self.open.remove(&ticket)?;
        self.recovering.remove(&settled.confirmation.peer);
        if self.open.is_empty() && self.open.capacity() > SHRINK_FROM {
            self.open = HashMap::default();
            self.recovering = HashSet::default();
        }
        Some(settled.confirmation)
    }

    /// Notes that a topic may have lost its last member.
    pub(super) fn note_vacant(&mut self, topic: TopicId, format: FormatId) {
        self.vacant.push((topic, format));
    }

    /// Starts a scan of all topics for lost members, or repeats a running one.
    pub(super) fn start_scan(&mut self) {
        self.scan_again = self.scan_from.is_some();
        self.scan_from.get_or_insert(0);
    }

    /// The index at which the scan goes on.
    pub(super) fn scan_index(&self) -> Option<usize> {
        self.scan_from
    }

    /// Records that the scan has reached `until`, which is the end if `is_end`.
    pub(super) fn note_scanned(&mut self, until: usize, is_end: bool) {
        self.scan_from = match is_end {
            false => Some(until),
            true => std::mem::take(&mut self.scan_again).then_some(0),
        };
    }

    /// Topics noted by [`Self::note_vacant`] and not taken.
    pub(super) fn vacant_count(&self) -> usize {
        self.vacant.len()
    }

    /// Takes noted topics, oldest first.
    pub(super) fn take_vacant(&mut self, count_max: usize) -> Vec<(TopicId, FormatId)> {
        let rest = self.vacant.split_off(count_max.min(self.vacant.len()));
        std::mem::replace(&mut self.vacant, rest)
    }
}

/// Capacity of the table of confirmations below which it is not shrunk.
const SHRINK_FROM: usize = 1024;
