//! Everything a shard knows about topics, as one pure value.
//!
//! The engine has no sockets, tasks, locks, channels, stored closures or clock. It is told what
//! happened and answers with values: messages for other places go into [`Lanes`], what somebody has
//! to be told into a queue of [`Outcome`]s, bytes into a [`Sink`](hub::Sink). So all of it runs in
//! memory, which is what `engine/model.rs` does: several engines, joined by lanes, against a naive
//! model.
//!
//! An engine is two things at once. As a **home** (`Homes`) it decides about order, offsets and
//! history of the topics that live here. As a **reader** (`Readers`) it has the logs, cursors and
//! memberships of the peers that are here, whatever place their topics live at.
//!
//! What changes anything is a method of [`Turn`], which lends the engine the time and the lanes.

mod attendance;
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
mod readers;
mod recent;
mod streams;
mod subscribe;
mod take;
mod ticket;
mod tickets;
mod unsubscribe;

use std::sync::Arc;

pub use catch_up::HISTORY_BYTES_MAX;
pub use confirmation::{Confirmation, Resumed, Start};
pub use format::{Format, FormatRegistry, Formats, MakeFormat, Packing};
pub use history::{Kept, KeptMessage};
pub use message::{
    Announced, Covered, Delivery, Lanes, Missed, Offsets, Post, Reach, Receipt, Request,
};
pub use outcome::{Gap, GapCause, Outcome};
pub use patterns::PATTERNS_MAX;
pub use place::{Place, home_of};
pub use presence::{Attendee, Change, ROSTER_USERS_MAX, Roster};
pub use publication::{Publication, PublicationKind};
pub use publish::Counting;
pub use publish_result::{PublishResult, Stored};
pub use recent::KEY_BYTES_MAX;
pub use subscribe::{Begin, SubscribeError};
pub use take::Taken;
pub use ticket::{Asker, Ticket};
pub use unsubscribe::SWEPT_MAX;

use crate::config::Config;
use crate::id::{FormatId, Gather, PeerId, Priority, ShardId, TopicId};
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
use readers::Readers;
use recent::Recent;
use tickets::Tickets;

/// What an engine is made from.
#[derive(Debug)]
pub struct EngineSettings {
    /// Which shard's it is.
    pub shard: ShardId,
    /// How many there are.
    pub shards: u16,
    /// What was configured.
    pub config: Arc<Config>,
    /// How much its hub holds.
    pub hub: HubLimits,
    /// What happens to slow consumers, by topic.
    pub policies: Policies,
    /// Signs the cursors of event streams, the same for all shards.
    pub cursors: Arc<CursorKey>,
    /// Writes publications.
    pub formats: Formats,
    /// Larger than the epoch of any topic of an earlier process: the wall clock in microseconds, say.
    pub epoch: u64,
    /// Tells this process from earlier ones, the same for all shards.
    pub process: u64,
}

/// The time of a turn.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Now {
    /// Milliseconds since the process began, the same on every shard. Never goes back.
    pub ms: u64,
    /// Milliseconds since the Unix epoch, as far as the wall clock is right.
    pub wall_ms: u64,
}

/// Everything a shard knows about topics.
#[derive(Debug)]
pub struct Engine {
    shard: ShardId,
    shards: u16,
    /// The epoch of patterns' positions.
    process: u64,
    config: Arc<Config>,
    formats: Formats,
    homes: Homes,
    readers: Readers,
    tickets: Tickets,
    catch_ups: CatchUps,
    receipts: Receipts,
    callers: Callers,
    outcomes: Outcomes,
    /// Something waits to be written, handed over or told.
    flush_wanted: bool,
    /// Steps taken to begin and to end subscriptions by name.
    subscription_steps: usize,
}

/// The topics, rosters and calls that live here.
#[derive(Debug)]
struct Homes {
    home: Home,
    recent: Recent,
    attendance: Attendance,
    calls: Calls,
}

/// An engine with what one turn of work needs besides.
#[derive(Debug)]
pub struct Turn<'a, L> {
    engine: &'a mut Engine,
    now: Now,
    lanes: &'a mut L,
    counters: &'a Counters,
}

/// How much one flush writes before other work gets its turn.
#[derive(Clone, Copy, Debug)]
pub struct FlushBudget {
    /// Writes.
    pub writes_max: usize,
    /// Bytes, give or take one write.
    pub bytes_max: usize,
}

impl Engine {
    /// An engine without topics and peers.
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
                Hub::new(settings.hub, settings.policies),
                Merges::new(settings.cursors, merged),
            ),
            tickets: Tickets::default(),
            catch_ups: CatchUps::default(),
            receipts: Receipts::default(),
            callers: Callers::default(),
            outcomes: Outcomes::default(),
            flush_wanted: false,
            subscription_steps: 0,
            config,
        }
    }

    /// Begins a turn of work: `now` is its time, messages for other places go into `lanes`.
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

    /// How messages are written.
    pub fn formats_mut(&mut self) -> &mut Formats {
        &mut self.formats
    }

    /// The hub, to look at.
    #[must_use]
    pub fn hub(&self) -> &Hub {
        &self.readers.hub
    }

    /// Whether a flush has to come, since the last call.
    #[must_use]
    pub fn take_flush_wanted(&mut self) -> bool {
        std::mem::take(&mut self.flush_wanted)
    }

    /// What has been done for subscriptions and patterns since the last call, in steps of some 50 ns: one
    /// message may ask for many, and what others have subscribed to is paid for by who publishes to a new
    /// topic, so their turn has to end in time.
    #[must_use]
    pub fn take_steps(&mut self) -> usize {
        let subscriptions = std::mem::take(&mut self.subscription_steps);
        self.homes.home.take_steps() + self.readers.patterns.take_steps() + subscriptions
    }

    /// Whether nothing has to be told.
    #[must_use]
    pub fn is_all_told(&self) -> bool {
        self.outcomes.is_empty()
    }

    /// A new peer, which reads `format`.
    pub fn join(&mut self, format: FormatId) -> PeerId {
        self.readers.hub.join(format)
    }

    /// Forgets a peer, its subscriptions and whatever waited for it. Its presence has been given up
    /// before, and its patterns by [`Turn::end_subscriptions`].
    pub fn leave(&mut self, peer: PeerId) {
        self.note_vacant_topics_of(peer);
        self.readers.hub.leave(peer);
        self.readers.merges.forget(peer);
        self.catch_ups.forget(peer);
    }

    /// Queues a frame for one peer.
    pub fn send(&mut self, peer: PeerId, priority: Priority, frame: &[u8]) -> Enqueue {
        if !self.readers.hub.is_present(peer) {
            return Enqueue::Gone;
        }
        self.flush_wanted = true;
        self.readers.hub.send(peer.slot, priority, frame)
    }

    /// Queues a pong for one peer. Behind a full socket only the newest one waits.
    pub fn send_pong(&mut self, peer: PeerId, frame: &[u8]) -> Enqueue {
        if !self.readers.hub.is_present(peer) {
            return Enqueue::Gone;
        }
        self.flush_wanted = true;
        self.readers.hub.send_pong(peer.slot, frame)
    }

    /// Queues the last frame of a peer: its topics end here, and it is sent nothing after it.
    pub fn send_last(&mut self, peer: PeerId, frame: &[u8]) {
        self.note_vacant_topics_of(peer);
        self.flush_wanted = true;
        if self.readers.hub.is_present(peer) {
            self.readers.hub.send_last(peer.slot, frame);
        }
    }

    /// Notes that a peer's topics may have lost their last member.
    fn note_vacant_topics_of(&mut self, peer: PeerId) {
        let hub = &self.readers.hub;
        if hub.is_present(peer) {
            let format = hub.format_of(peer.slot);
            for topic in hub.topics_of(peer.slot) {
                self.tickets.note_vacant(topic, format);
            }
        }
    }

    /// The topics and patterns that a peer has asked for.
    pub fn selectors_of(&self, peer: PeerId) -> impl Iterator<Item = &str> {
        let Readers { hub, patterns, .. } = &self.readers;
        let topics = hub.topics_of(peer.slot).map(|topic| hub.name(topic));
        let topics = topics.filter(|name| !is_internal(name));
        topics.chain(patterns.selectors_of(peer))
    }

    /// How many subscriptions there are.
    #[must_use]
    pub fn subscription_count(&self) -> usize {
        self.readers.hub.subscription_count() + self.readers.patterns.selector_count()
    }

    /// Whether anybody wants what is published to a topic that lives here.
    #[must_use]
    pub fn is_wanted(&self, topic: &str) -> bool {
        self.homes.home.is_wanted(topic)
    }

    /// Bytes of memory in all histories that live here.
    #[must_use]
    pub fn history_held(&self) -> usize {
        self.homes.home.history_held()
    }

    /// Gives memory back. Called about once a second.
    ///
    /// Cost: a look at every topic that lives here and at every log in use.
    pub fn tidy(&mut self, now: Now) {
        self.formats.tidy();
        self.readers.merges.tidy();
        self.homes.home.forget_old(now.ms);
        self.readers.hub.give_back();
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
    /// Forgets topics that live here and that nobody wants or publishes to: one that comes back
    /// begins a new epoch. Looks at [`SWEPT_MAX`] of them, from this one on, and returns where to go on.
    pub fn sweep_home(&mut self, from: usize) -> Option<usize> {
        self.engine.homes.home.sweep(from, SWEPT_MAX)
    }

    /// Whether so many topics live here that [`Self::sweep_home`] should not wait.
    #[must_use]
    pub fn is_home_tight(&self) -> bool {
        self.engine.homes.home.is_tight()
    }
}
