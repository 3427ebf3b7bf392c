//! One shard's topic state, as a pure value.
//!
//! The engine has no sockets, tasks, locks, channels, stored closures or clock. Events come in as method calls;
//! results go out as values: messages to other shards into [`Lanes`], notifications for peers and tasks into a queue
//! of [`Outcome`]s, bytes for sockets into a [`Sink`](hub::Sink). So all of it runs in memory; `engine/model.rs` runs
//! several engines, joined by lanes, against a naive model.
//!
//! An engine has two roles. As a **home** (`Homes`) it assigns order and offsets to the topics hashed to this shard
//! and keeps their histories. As a **reader** (`Readers`) it holds the logs, cursors and memberships of this shard's
//! peers, whichever shard is home to their topics.
//!
//! Every change of state is a method of [`Turn`], which lends the engine the time and the lanes.

mod attendance;
mod begin;
mod calls;
mod catch_up;
mod confirmation;
mod format;
mod groups;
mod history;
mod home;
pub mod hub;
mod incidents;
mod interest;
mod merge;
mod message;
#[cfg(test)]
mod model;
mod outcome;
mod pattern_index;
mod patterns;
mod place;
mod presence;
mod publication;
mod publish;
mod publish_result;
mod queue_groups;
mod queues;
mod readers;
mod recent;
mod recover;
mod reformat;
mod streams;
mod subscribe;
mod take;
mod ticket;
mod tickets;
mod unsubscribe;

use std::num::NonZeroU16;
use std::sync::Arc;

pub use begin::Begin;
pub use confirmation::{Confirmation, Resumed, Start};
pub use format::{Format, FormatRegistry, Formats, MakeFormat, Packing};
pub use history::{HistoryExcerpt, HistoryPage, HistoryPart, RetainedMessage};
pub use message::{
    Announced, Delivery, Lanes, Missed, Offsets, PatternRecovery, Post, QueuedMessage, Reach,
    Receipt, ReplayFrom, Request,
};
pub use outcome::{Gap, GapCause, Outcome};
pub use patterns::PATTERNS_MAX;
pub use place::{Place, home_of};
pub use presence::{
    Attendee, Attending, Change, PRESENCE_DATA_MAX, PresenceAction, ROSTER_USERS_MAX, Roster,
};
pub use publication::{Publication, PublicationKind};
pub use publish::PublishCount;
pub use publish_result::{PublishResult, Stored};
pub use queue_groups::{QUEUE_GROUP_BYTES_MAX, QUEUE_GROUPS_MAX, QueueError, is_queue_group};
pub use recent::{KEY_BYTES_MAX, client_key};
pub use recover::{Recover, RecoverFrom};
pub use subscribe::SubscribeError;
pub use take::Taken;
pub use ticket::{Asker, Ticket};
pub use unsubscribe::SWEPT_MAX;

use crate::config::Config;
use crate::id::{FormatId, Gather, PeerId, Priority, ShardId, TopicId, UserKey};
use crate::metrics::Counters;
use crate::sse::CursorKey;
use crate::topic::is_internal;
use attendance::Attendance;
use calls::{Callers, Calls};
use catch_up::CatchUps;
use home::Home;
use hub::{Enqueue, Hub, HubLimits, Policies};
use merge::Merges;
use outcome::Outcomes;
use publish::Receipts;
use queues::Queues;
use readers::Readers;
use recent::Recent;
use reformat::Reformats;
use tickets::Tickets;

/// The arguments of [`Engine::new`].
#[derive(Debug)]
pub struct EngineSettings {
    /// This shard's number.
    pub shard: ShardId,
    /// Shards in the process.
    pub shards: u16,
    /// The configuration.
    pub config: Arc<Config>,
    /// Limits of the hub.
    pub hub: HubLimits,
    /// The slow-consumer policies, by topic.
    pub policies: Policies,
    /// Signs the cursors of event streams, the same for all shards.
    pub cursors: Arc<CursorKey>,
    /// Encodes publications, one encoder for each wire format.
    pub formats: Formats,
    /// Larger than the epoch of any topic of an earlier process: the wall clock in microseconds, say.
    pub epoch: u64,
    /// Distinguishes this process from earlier ones; the same for all shards.
    pub process: u64,
}

/// The time of a turn.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Now {
    /// Milliseconds since the process began, the same on every shard. Never goes back.
    pub ms: u64,
    /// Milliseconds since the Unix epoch by the wall clock, which may be set.
    pub wall_ms: u64,
}

/// One shard's topic state; see the module comment.
#[derive(Debug)]
pub struct Engine {
    shard: ShardId,
    shards: u16,
    /// The epoch in the positions of patterns.
    process: u64,
    config: Arc<Config>,
    formats: Formats,
    homes: Homes,
    readers: Readers,
    tickets: Tickets,
    catch_ups: CatchUps,
    reformats: Reformats,
    receipts: Receipts,
    queues: Queues,
    callers: Callers,
    outcomes: Outcomes,
    /// Whether bytes wait to be written, messages to be handed over, or outcomes to be taken.
    flush_wanted: bool,
    /// Steps spent on subscriptions by name since the last [`Engine::take_steps`].
    subscription_steps: usize,
}

/// The topics, rosters and calls whose home is this shard.
#[derive(Debug)]
struct Homes {
    home: Home,
    recent: Recent,
    attendance: Attendance,
    calls: Calls,
}

/// An engine with the time, lanes and counters of one turn of work.
#[derive(Debug)]
pub struct Turn<'a, L> {
    engine: &'a mut Engine,
    now: Now,
    lanes: &'a mut L,
    counters: &'a Counters,
}

/// Limits of one flush, after which other work runs.
#[derive(Clone, Copy, Debug)]
pub struct FlushBudget {
    /// Writes.
    pub writes_max: usize,
    /// Bytes; the last write may exceed it.
    pub bytes_max: usize,
}

/// Where the generations of a process begin: scattered, so that ids of connections of an earlier one are not found.
fn first_generation(process: u64) -> u32 {
    let scattered = process.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32;
    u32::try_from(scattered).expect("32 bits are left")
}

impl Engine {
    /// An engine without topics or peers.
    #[must_use]
    pub fn new(settings: EngineSettings) -> Self {
        let EngineSettings { shards, config, .. } = settings;
        let merged = settings.formats.find(Gather::Merge);
        Self {
            shard: settings.shard,
            shards,
            process: settings.process,
            formats: settings.formats,
            homes: Homes {
                home: Home::new(config.clone(), usize::from(shards), settings.epoch),
                recent: Recent::default(),
                attendance: Attendance::default(),
                calls: Calls::default(),
            },
            readers: Readers::new(
                Hub::new(settings.hub, settings.policies)
                    .with_generations_from(first_generation(settings.process)),
                Merges::new(settings.cursors, merged),
            ),
            tickets: Tickets::default(),
            catch_ups: CatchUps::default(),
            reformats: Reformats::default(),
            receipts: Receipts::default(),
            queues: Queues::default(),
            callers: Callers::default(),
            outcomes: Outcomes::default(),
            flush_wanted: false,
            subscription_steps: 0,
            config,
        }
    }

    /// Begins a turn of work at `now`; messages to other shards go into `lanes`.
    pub fn turn<'a, L: Lanes>(
        &'a mut self,
        now: Now,
        lanes: &'a mut L,
        counters: &'a Counters,
    ) -> Turn<'a, L> {
        Turn {
            engine: self,
            now,
            lanes,
            counters,
        }
    }

    /// The encoders of this shard.
    pub fn formats_mut(&mut self) -> &mut Formats {
        &mut self.formats
    }

    /// The hub, read-only.
    #[must_use]
    pub fn hub(&self) -> &Hub {
        &self.readers.hub
    }

    /// Whether a flush is due; cleared by the call.
    #[must_use]
    pub fn take_flush_wanted(&mut self) -> bool {
        std::mem::take(&mut self.flush_wanted)
    }

    /// Steps of about 50 ns spent on subscriptions and patterns since the last call. One message may subscribe to
    /// many topics, and publishing to a new topic pays for the patterns of others, so a turn that takes many steps
    /// ends early.
    #[must_use]
    pub fn take_steps(&mut self) -> usize {
        let subscriptions = std::mem::take(&mut self.subscription_steps);
        self.homes.home.take_steps() + self.readers.patterns.take_steps() + subscriptions
    }

    /// Whether the queue of outcomes is empty.
    #[must_use]
    pub fn has_no_outcomes(&self) -> bool {
        self.outcomes.is_empty()
    }

    /// Adds a peer that reads `format`, a connection of `user`.
    pub fn join(&mut self, format: FormatId, user: UserKey) -> PeerId {
        self.readers.hub.join(format, user)
    }

    /// Removes a peer, its memberships and its queued frames. Its presence has been withdrawn before, and its patterns
    /// by [`Turn::end_subscriptions`].
    pub fn leave(&mut self, peer: PeerId) {
        self.note_vacant_topics_of(peer);
        self.abandon_queues(peer);
        self.readers.hub.leave(peer);
        self.readers.merges.forget(peer);
        self.catch_ups.forget(peer);
    }

    /// Queues a frame for one peer.
    pub fn send(&mut self, peer: PeerId, priority: Priority, frame: &[u8]) -> Enqueue {
        self.send_written(
            peer,
            priority,
            (frame.len(), |out| out.extend_from_slice(frame)),
        )
    }

    /// Queues a frame of `len` bytes, which `write` appends, for one peer: one copy fewer than [`Self::send`] of what is not
    /// encoded yet.
    #[inline]
    pub fn send_written(
        &mut self,
        peer: PeerId,
        priority: Priority,
        (len, write): (usize, impl FnOnce(&mut Vec<u8>)),
    ) -> Enqueue {
        if !self.readers.hub.is_present(peer) {
            return Enqueue::Gone;
        }
        self.flush_wanted = true;
        let hub = &mut self.readers.hub;
        hub.send_written(peer.slot, priority, (len, write))
    }

    /// Queues the frame that tells a peer of its new format ([`Outcome::Reformatted`]): behind its unread frames in the
    /// old one, before any in the new one. It is never dropped.
    pub fn send_reformatted(&mut self, peer: PeerId, frame: &[u8]) {
        self.send_kept(peer, frame);
    }

    /// Queues a frame for one peer that is never dropped, and that the limits of its outbox do not count: the caller
    /// bounds what waits. It goes after frames of the high class and before those of the normal one.
    pub fn send_kept(&mut self, peer: PeerId, frame: &[u8]) {
        if self.readers.hub.is_present(peer) {
            self.flush_wanted = true;
            self.readers.hub.send_behind(peer.slot, frame);
        }
    }

    /// Sets how many messages a peer's outbox may have; `None`: as many as any other's.
    pub fn limit_outbox(&mut self, peer: PeerId, messages_max: Option<NonZeroU16>) {
        if self.readers.hub.is_present(peer) {
            self.readers.hub.limit_outbox(peer.slot, messages_max);
        }
    }

    /// Queues a pong for one peer. While its socket is full, a new pong replaces the queued one.
    pub fn send_pong(&mut self, peer: PeerId, frame: &[u8]) -> Enqueue {
        if !self.readers.hub.is_present(peer) {
            return Enqueue::Gone;
        }
        self.flush_wanted = true;
        self.readers.hub.send_pong(peer.slot, frame)
    }

    /// Queues the last frame of a peer: its memberships end, and no frame follows.
    pub fn send_last(&mut self, peer: PeerId, frame: &[u8]) {
        self.note_vacant_topics_of(peer);
        self.abandon_queues(peer);
        self.flush_wanted = true;
        if self.readers.hub.is_present(peer) {
            self.readers.hub.send_last(peer.slot, frame);
        }
    }

    /// Notes that the topics of a peer may lose their last member.
    fn note_vacant_topics_of(&mut self, peer: PeerId) {
        let hub = &self.readers.hub;
        if hub.is_present(peer) {
            let format = hub.format_of(peer.slot);
            for topic in hub.topics_of(peer.slot) {
                self.tickets.note_vacant(topic, format);
            }
        }
    }

    /// The topics and patterns that a peer has subscribed to, and the topics in whose queue groups it is.
    pub fn selectors_of(&self, peer: PeerId) -> impl Iterator<Item = &str> {
        let Readers { hub, patterns, .. } = &self.readers;
        let topics = hub.topics_of(peer.slot).map(|topic| hub.name(topic));
        let topics = topics.filter(|name| !is_internal(name));
        let queues = self.queues.topics_of(peer);
        topics.chain(patterns.selectors_of(peer)).chain(queues)
    }

    /// Subscriptions of all peers: to topics, to patterns, and in queue groups.
    #[must_use]
    pub fn subscription_count(&self) -> usize {
        let named = self.readers.hub.subscription_count();
        named + self.readers.patterns.selector_count() + self.queues.count()
    }

    /// Whether deliveries have to wait for the next flush, because a log exceeds what one flush writes, or members of
    /// queue groups have so much in their outboxes: their lane fills, and homes hold publishers back.
    ///
    /// Cost: a look at every dirty log.
    #[must_use]
    pub fn is_backlogged(&self) -> bool {
        self.readers.hub.is_backlogged() || self.queues.has_held()
    }

    /// Whether any shard has a subscriber of a topic whose home is this shard.
    #[must_use]
    pub fn is_wanted(&self, topic: &str) -> bool {
        self.homes.home.is_wanted(topic)
    }

    /// Bytes of memory in the histories of all topics whose home is this shard.
    #[must_use]
    pub fn history_held(&self) -> usize {
        self.homes.home.history_held()
    }

    /// Shrinks buffers and drops messages past their retention. Called about once a second.
    ///
    /// Cost: a look at every topic whose home is this shard and at every log in use.
    pub fn tidy(&mut self, now: Now) {
        self.formats.tidy();
        self.readers.merges.tidy();
        self.homes.home.forget_old(now.ms);
        self.readers.hub.free_unused();
    }

    fn place_of(&self, name: &str) -> Place {
        home_of(name, self.shard, self.shards)
    }

    /// All other shards.
    fn others(&self) -> impl Iterator<Item = ShardId> + use<> {
        let here = self.shard;
        let all = (0..self.shards).map(ShardId);
        all.filter(move |&shard| shard != here)
    }

    fn find_peer_format(&self, peer: PeerId) -> Option<FormatId> {
        let hub = &self.readers.hub;
        hub.is_present(peer).then(|| hub.format_of(peer.slot))
    }

    fn topic_name(&self, topic: TopicId) -> Option<Box<str>> {
        let hub = &self.readers.hub;
        hub.is_topic(topic).then(|| hub.name(topic).into())
    }
}

impl<L: Lanes> Turn<'_, L> {
    /// Forgets topics whose home is this shard, that have no subscribers and were not used lately; one that is used
    /// again begins a new epoch. Looks at [`SWEPT_MAX`] topics from index `from` and returns the next index.
    pub fn sweep_home(&mut self, from: usize) -> Option<usize> {
        self.engine.homes.home.sweep(from, SWEPT_MAX)
    }

    /// Whether more than half of the topic limit is in use, so that [`Self::sweep_home`] should run at once.
    #[must_use]
    pub fn is_home_over_half(&self) -> bool {
        self.engine.homes.home.is_over_half()
    }
}
