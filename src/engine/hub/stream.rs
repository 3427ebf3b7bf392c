//! A topic in one wire format: its log and the cursors into it.

use super::Incident;
use super::log::{Log, LogFrame, Tag};
use crate::collections::HashMap;
use crate::id::{PeerId, Slot, TopicId, UserKey};

/// The index of a stream in the hub.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct StreamId(pub(crate) u32);

impl StreamId {
    pub(crate) fn index(self) -> usize {
        self.0 as usize
    }
}

#[derive(Debug)]
pub(crate) struct Stream {
    pub(crate) topic: TopicId,
    pub(crate) log: Log,
    pub(crate) members: Vec<Member>,
    /// The log's head when the members were last walked.
    pub(crate) offered: u64,
    /// The number of the newest message, whether or not it had a member.
    pub(crate) number: u64,
    /// Publications that have arrived, whether or not they had a member. Formats of a topic that are sent here have the
    /// same number but for a publication that is arriving.
    pub(crate) publications: u64,
    /// In one of the hub's lists of streams to walk.
    pub(crate) dirty: bool,
    /// In the hub's list of streams whose memory may be shrunk.
    pub(crate) warm: bool,
    /// For a shared log: the losses of each member that have not been reported yet.
    pub(crate) losses: Option<Box<HashMap<Slot, Losses>>>,
    /// The topic has been removed. The stream remains until no list refers to it.
    pub(crate) closed: bool,
}

/// A subscriber: a cursor.
#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) slot: Slot,
    /// The index in the peer's memberships.
    pub(crate) sub: u32,
    /// The position up to which the peer has been written: a frame boundary.
    pub(crate) cursor: u64,
    /// Messages skipped and not yet reported.
    pub(crate) lost: u32,
    /// How many of the peer's subscriptions cover the topic.
    pub(crate) covers: u16,
    /// The id of the hold, during which nothing is written from the log; 0 if there is none.
    pub(crate) hold: u16,
}

/// What a member of a shared log has lost.
#[derive(Debug, Default)]
pub(crate) struct Losses {
    /// The newest frame of each topic, under [`SlowConsumer::Conflate`](crate::config::SlowConsumer::Conflate).
    pub(crate) newest: Vec<KeptFrame>,
    /// Lost messages by topic.
    pub(crate) topics: Vec<(TopicId, u32)>,
    /// Lost messages of topics beyond [`LOST_TOPICS_MAX`].
    pub(crate) others: u32,
}

/// A copy of a frame that its log has dropped.
#[derive(Debug)]
pub(crate) struct KeptFrame {
    pub(crate) tag: Tag,
    pub(crate) messages: u64,
    /// Messages of the topic behind it that the member skips.
    pub(crate) skipped: u64,
    pub(crate) bytes: Box<[u8]>,
}

impl KeptFrame {
    pub(crate) fn frame(&self) -> LogFrame<'_> {
        LogFrame {
            bytes: &self.bytes,
            messages: self.messages,
            tag: self.tag,
            except: UserKey::NONE,
        }
    }
}

/// Topics whose losses one member counts separately.
const LOST_TOPICS_MAX: usize = 64;

impl Losses {
    pub(crate) fn add(&mut self, topic: TopicId, messages: u64) {
        if messages == 0 {
            return;
        }
        let messages = u32::try_from(messages).unwrap_or(u32::MAX);
        let known = self.topics.iter().position(|(other, _)| *other == topic);
        let lost = match known {
            Some(at) => &mut self.topics[at].1,
            None if self.topics.len() < LOST_TOPICS_MAX => {
                self.topics.push((topic, 0));
                &mut self.topics.last_mut().expect("it was just pushed").1
            }
            None => &mut self.others,
        };
        *lost = lost.saturating_add(messages);
    }

    /// Keeps the newest of these frames of each topic that is for `user`, replacing the ones kept before.
    ///
    /// Cost: one step for each frame given, and for each frame kept.
    pub(crate) fn renew(&mut self, frames: &[LogFrame<'_>], user: UserKey) {
        // A frame that is no message is not a loss.
        let newest = frames.iter().enumerate();
        let newest = newest.filter(|(_, frame)| frame.messages > 0 && frame.is_for(user));
        let newest = newest.map(|(index, frame)| (frame.tag.topic, index));
        let newest: HashMap<TopicId, usize> = newest.collect();
        let mut kept = std::mem::take(&mut self.newest);
        for older in kept.extract_if(.., |kept| newest.contains_key(&kept.tag.topic)) {
            self.add(older.tag.topic, older.messages + older.skipped);
        }
        for (index, frame) in frames.iter().enumerate() {
            let topic = frame.tag.topic;
            match newest.get(&topic) {
                Some(newest) if index == *newest => kept.push(KeptFrame {
                    tag: frame.tag,
                    messages: frame.messages,
                    skipped: 0,
                    bytes: frame.bytes.into(),
                }),
                Some(newest) if index < *newest => self.add(topic, frame.messages),
                // Behind the newest one there are only those that the user skips.
                _ => match kept.iter_mut().find(|kept| kept.tag.topic == topic) {
                    Some(kept) => kept.skipped += frame.messages,
                    None if self.has(topic) => self.add(topic, frame.messages),
                    None => {}
                },
            }
        }
        self.newest = kept;
    }

    /// Whether messages of a topic are lost.
    fn has(&self, topic: TopicId) -> bool {
        self.topics.iter().any(|(other, _)| *other == topic)
    }

    /// Counts lost messages whose topics are unknown.
    pub(crate) fn add_others(&mut self, messages: u64) {
        let messages = u32::try_from(messages).unwrap_or(u32::MAX);
        self.others = self.others.saturating_add(messages);
    }

    /// Drops the oldest frames kept, down to `bytes_max`.
    pub(crate) fn trim(&mut self, bytes_max: u64) {
        let mut bytes = self.bytes() as u64;
        let mut kept = std::mem::take(&mut self.newest).into_iter();
        while bytes > bytes_max
            && let Some(gone) = kept.next()
        {
            bytes -= gone.bytes.len() as u64;
            self.add(gone.tag.topic, gone.messages + gone.skipped);
        }
        self.newest = kept.collect();
    }

    /// Bytes of the frames kept.
    pub(crate) fn bytes(&self) -> usize {
        self.newest.iter().map(|kept| kept.bytes.len()).sum()
    }

    /// Messages lost.
    pub(crate) fn count(&self) -> u32 {
        let lost = self.topics.iter().map(|(_, lost)| *lost);
        lost.fold(self.others, u32::saturating_add)
    }

    /// Forgets the losses and the kept frames of topics for which `keep` is false.
    pub(crate) fn retain(&mut self, mut keep: impl FnMut(TopicId) -> bool) {
        self.topics.retain(|(topic, _)| keep(*topic));
        self.newest.retain(|kept| keep(kept.tag.topic));
    }
}

impl Member {
    pub(crate) fn is_held(&self) -> bool {
        self.hold != 0
    }
}

impl Stream {
    pub(crate) fn new(topic: TopicId, is_shared: bool) -> Self {
        Self {
            topic,
            losses: is_shared.then(Box::default),
            log: Log::default(),
            members: Vec::new(),
            offered: 0,
            number: 0,
            publications: 0,
            dirty: false,
            warm: false,
            closed: false,
        }
    }

    /// Clears a stream without members; its index stays in use until no list refers to it.
    pub(crate) fn close(&mut self) {
        self.closed = true;
        self.log = Log::default();
        self.offered = self.log.head();
    }

    /// Reports the losses of a member since the last report; for a shared log by topic. Returns the frames to send it
    /// next.
    #[must_use]
    pub(crate) fn tell_lost(
        &mut self,
        member: u32,
        peer: PeerId,
        incidents: &mut Vec<Incident>,
    ) -> Vec<KeptFrame> {
        let lost = std::mem::take(&mut self.members[member as usize].lost);
        let mut tell = |topic, lost| {
            let topic = Some(topic);
            if lost > 0 {
                incidents.push(Incident::Gap { peer, topic, lost });
            }
        };
        let Some(losses) = &mut self.losses else {
            tell(self.topic, lost);
            return Vec::new();
        };
        let Some(losses) = losses.remove(&peer.slot) else {
            return Vec::new();
        };
        for (topic, lost) in losses.topics {
            tell(topic, lost);
        }
        tell(self.topic, losses.others);
        losses.newest
    }

    /// Drops what every member has been written.
    pub(crate) fn trim(&mut self) {
        let oldest = self.members.iter().map(|member| member.cursor).min();
        self.log.trim(oldest.unwrap_or_else(|| self.log.head()));
    }
}
