//! Messages between engines: requests to a topic's home, and deliveries from it.
//!
//! Every ordered pair of shards has two bounded lanes, one for each kind, and both keep their order. So a home's
//! answer to a subscription marks the exact point at which the live stream begins. A shard accepts deliveries
//! whatever it waits for itself, since they need only its own hub; requests may have to wait until deliveries find
//! room. So shards never wait for each other in a cycle.
//!
//! `B` is how bytes are referred to: slices while a message is handed over, spans of a batch while it is on its way
//! (`map` converts between them).

use std::ops::RangeInclusive;

use super::history::{HistoryExcerpt, HistoryPage};
use super::presence::{Attending, Roster};
use super::publication::{Publication, PublicationKind, name_of};
use super::publish_result::PublishResult;
use super::queue_groups::QueueError;
use super::ticket::{Asker, Ticket};
use crate::id::{Form, FormatId, PeerId, Position, ShardId, TopicId, UserKey};
use crate::topic::Matcher;

/// The lanes from one shard to all others.
///
/// An engine puts messages in; the owner of the lanes carries them over and passes them to the other engine
/// ([`Turn::request`](super::Turn::request), [`Turn::delivery`](super::Turn::delivery)).
pub trait Lanes {
    /// Whether the lane of requests to `to` is full. Work that can wait checks this first.
    fn requests_full(&self, to: ShardId) -> bool;
    /// Whether the lane of deliveries to `to` is full.
    fn deliveries_full(&self, to: ShardId) -> bool;
    /// Puts a request into the lane to `to`. Never refused, even when full.
    fn request(&mut self, to: ShardId, request: Request<&[u8]>);
    /// Puts a delivery into the lane to `to`. Never refused, even when full.
    fn deliver(&mut self, to: ShardId, delivery: Delivery<&[u8]>);
}

/// A publication as its publisher submits it.
#[derive(Clone, Copy, Debug)]
pub struct Post<'a> {
    /// The topic.
    pub topic: &'a str,
    /// Its name; empty if it is the topic's.
    pub name: &'a str,
    /// Its kind.
    pub kind: PublicationKind,
    /// The protocol whose words `data` uses.
    pub form: Form,
    /// A JSON value, passed on byte for byte.
    pub data: &'a [u8],
    /// The user who published it; empty: the application, or a client without a token.
    pub publisher: &'a str,
    /// If not empty: of several posts to a topic with the same key only the first is stored, and the others get its
    /// offset.
    pub key: &'a str,
    /// Discarded unless the topic has a subscriber, and retained only if it has had one that can resume.
    pub only_live: bool,
    /// Whose connections do not get it.
    pub except: UserKey,
}

impl<'a> Post<'a> {
    /// An event with the name of its topic.
    #[must_use]
    pub fn event(topic: &'a str, data: &'a [u8]) -> Self {
        Self {
            topic,
            name: "",
            kind: PublicationKind::Event,
            form: Form::NEUTRAL,
            data,
            publisher: "",
            key: "",
            only_live: false,
            except: UserKey::NONE,
        }
    }
}

/// Where to report the number of subscribers that a post reached.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Receipt {
    /// The shard that counts.
    pub shard: ShardId,
    /// Its ticket there.
    pub ticket: Ticket,
}

/// Which messages of a topic a subscriber wants before the live ones.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ReplayFrom {
    /// Those after this offset.
    After(u64),
    /// The newest that are retained, at most this many.
    Last(u64),
}

/// A home's answer about the history of a topic that a subscriber resumes.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Reach {
    /// The topic's epoch.
    pub epoch: u64,
    /// The offset after which the wanted messages begin.
    pub after: u64,
    /// Whether every message after that offset is retained.
    pub complete: bool,
}

/// A home's answer about a pattern that a subscriber resumes.
#[derive(Clone, Debug)]
pub struct PatternRecovery<B> {
    /// Matching messages are sent from this time of the home on, in milliseconds since the process began.
    pub from_ms: u64,
    /// Matching topics published to since the subscriber's position, and the position of each to resume from: one of
    /// another epoch if not every message is retained.
    pub topics: Vec<(B, Position)>,
    /// Whether no matching topic was left out.
    pub is_complete: bool,
}

/// The messages of a topic that a peer missed, and how to send them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Missed {
    /// The peer.
    pub peer: PeerId,
    /// Distinguishes this catch-up from an earlier one of the same peer.
    pub hold: u16,
    /// The peer's format.
    pub format: FormatId,
    /// Whose connection the peer is.
    pub user: UserKey,
    /// The topic's epoch.
    pub epoch: u64,
    /// Missed messages have offsets above this one,
    pub after: u64,
    /// up to and including this one.
    pub until: u64,
}

/// A message on its way to a member of a queue group.
#[derive(Clone, Copy, Debug)]
pub struct QueuedMessage<B> {
    /// Its topic, the group, its name as in [`Post::name`], and its publisher, with a NUL between two, so that
    /// requests and deliveries stay small.
    pub labels: B,
    /// See [`Post::data`].
    pub data: B,
    /// See [`Post::kind`].
    pub kind: PublicationKind,
    /// See [`Post::form`].
    pub form: Form,
    /// Its position in the topic.
    pub at: Position,
    /// When it was published, in milliseconds since the Unix epoch,
    pub time_ms: u64,
    /// and by the clock of the process, the lower bits of it: see `low_bits`.
    pub since_bits: u32,
    /// See [`Post::except`].
    pub except: UserKey,
}

/// The lower 32 bits of a time in milliseconds.
pub(super) fn low_bits(ms: u64) -> u32 {
    u32::try_from(ms & u64::from(u32::MAX)).expect("32 bits are left")
}

/// The texts of a [`QueuedMessage`].
#[derive(Clone, Copy, Debug)]
pub(super) struct QueuedLabels<'a> {
    pub(super) topic: &'a str,
    pub(super) group: &'a str,
    pub(super) name: &'a str,
    pub(super) publisher: &'a str,
}

impl<B> QueuedMessage<B> {
    /// As [`Request::map`].
    pub(super) fn map<C>(self, mut refer: impl FnMut(B) -> C) -> QueuedMessage<C> {
        let Self {
            labels,
            data,
            kind,
            form,
            at,
            time_ms,
            since_bits,
            except,
        } = self;
        QueuedMessage {
            labels: refer(labels),
            data: refer(data),
            kind,
            form,
            at,
            time_ms,
            since_bits,
            except,
        }
    }
}

impl QueuedMessage<Box<[u8]>> {
    /// The same message with borrowed bytes.
    pub(super) fn borrow(&self) -> QueuedMessage<&[u8]> {
        let Self { labels, data, .. } = self;
        QueuedMessage {
            labels,
            data,
            kind: self.kind,
            form: self.form,
            at: self.at,
            time_ms: self.time_ms,
            since_bits: self.since_bits,
            except: self.except,
        }
    }
}

impl<'a> QueuedMessage<&'a [u8]> {
    /// Its texts.
    pub(super) fn labels(&self) -> QueuedLabels<'a> {
        let labels = str::from_utf8(self.labels).expect("it was put as text");
        let mut labels = labels.splitn(4, '\0');
        let mut next = || labels.next().expect("there are four");
        QueuedLabels {
            topic: next(),
            group: next(),
            name: next(),
            publisher: next(),
        }
    }

    /// When it was published, by the clock of the process, which says `now_ms` now: less than 49 days ago.
    pub(super) fn since_ms(&self, now_ms: u64) -> u64 {
        let age = low_bits(now_ms).wrapping_sub(self.since_bits);
        now_ms.saturating_sub(age.into())
    }

    /// As an encoder gets it.
    pub(super) fn publication(&self) -> Publication<'a> {
        let labels = self.labels();
        Publication {
            kind: self.kind,
            form: self.form,
            topic: labels.topic,
            name: name_of(labels.topic, labels.name, self.kind),
            data: self.data,
            publisher: labels.publisher,
            epoch: self.at.epoch,
            offset: self.at.offset,
        }
    }
}

/// What a shard requests of a topic's home.
#[derive(Clone, Copy, Debug)]
pub enum Request<B> {
    /// Send what is published to this topic from now on.
    Interest {
        /// The topic's name.
        topic: B,
        /// The format to send.
        format: FormatId,
    },
    /// Stop sending what is published to this topic.
    Disinterest {
        /// The topic's name.
        topic: B,
        /// The format to stop.
        format: FormatId,
    },
    /// Send what is published to every topic that matches.
    Pattern {
        /// The pattern.
        pattern: B,
        /// How it matches.
        matcher: Matcher,
        /// The format to send.
        format: FormatId,
        /// Name the matching topics that were published to at or after this time, in milliseconds since the process
        /// began.
        since_ms: Option<u64>,
        /// The subscription that waits for the answer,
        ticket: Ticket,
        /// and the index of the pattern in it.
        index: u32,
    },
    /// Stop announcing new topics that match. Interests in existing topics are withdrawn one by one.
    Unpattern {
        /// The pattern.
        pattern: B,
        /// How it matches.
        matcher: Matcher,
        /// The format to stop.
        format: FormatId,
    },
    /// Publish to a topic.
    Publish {
        /// The topic's name.
        topic: B,
        /// The publication's name; empty: that of its topic.
        name: B,
        /// Its kind.
        kind: PublicationKind,
        /// See [`Post::form`].
        form: Form,
        /// The publication's data as it came.
        data: B,
        /// See [`Post::publisher`].
        publisher: B,
        /// See [`Post::key`].
        key: B,
        /// See [`Post::only_live`].
        only_live: bool,
        /// See [`Post::except`].
        except: UserKey,
        /// Where to send the result, and the `id` of the request.
        reply: Option<(Asker, B)>,
    },
    /// Make a peer a member of a queue group.
    JoinQueue {
        /// The topic's name.
        topic: B,
        /// The group's name.
        group: B,
        /// The peer.
        peer: PeerId,
        /// Whose connection it is.
        user: UserKey,
        /// The subscription that waits for the answer.
        ticket: Ticket,
    },
    /// A peer is no member of a queue group any more.
    LeaveQueue {
        /// The topic's name.
        topic: B,
        /// The group's name.
        group: B,
        /// The peer.
        peer: PeerId,
    },
    /// Give a message to another member of its queue group.
    Requeue {
        /// The member it was for.
        peer: PeerId,
        /// It has left, and no other member is on its shard; otherwise none of them keeps up.
        is_gone: bool,
        /// The message.
        message: QueuedMessage<B>,
    },
    /// Say whether the wanted messages are retained.
    Reach {
        /// The topic's name.
        topic: B,
        /// Which are wanted.
        from: ReplayFrom,
        /// The subscription or stream that waits for the answer,
        ticket: Ticket,
        /// and the index of the topic in it.
        index: u32,
    },
    /// Send a page of what a peer has missed.
    Replay {
        /// The topic's name.
        topic: B,
        /// What was missed.
        missed: Missed,
    },
    /// A connection of a user came to a topic or left it, or its data has changed.
    Presence {
        /// The topic's name.
        topic: B,
        /// The user.
        user: B,
        /// What it did.
        attending: Attending<B>,
    },
    /// Say who is in a topic.
    Roster {
        /// The topic's name.
        topic: B,
        /// Only users that sort after this name.
        after: B,
        /// How many of them at most.
        limit: u32,
        /// Where to send the answer.
        asker: Asker,
        /// The ticket of the request.
        ticket: Ticket,
    },
    /// Send an excerpt of a topic's history.
    History {
        /// The topic's name.
        topic: B,
        /// Which messages.
        page: HistoryPage,
        /// Where to send the answer.
        asker: Asker,
        /// The ticket of the request.
        ticket: Ticket,
    },
    /// Record a call, unless its key is in use.
    Call {
        /// The call's key.
        key: B,
        /// The user called: answers of other users are ignored.
        user: B,
        /// The caller's ticket.
        ticket: Ticket,
    },
    /// Forget a call.
    HangUp {
        /// The call's key.
        key: B,
        /// The caller's ticket.
        ticket: Ticket,
    },
    /// Pass a user's answer to the caller that waits for it.
    Answer {
        /// The call's key.
        key: B,
        /// The user that answers.
        user: B,
        /// The answer's data.
        said: B,
        /// Whether this is the call's last answer.
        is_last: bool,
    },
}

/// What a topic's home answers and sends.
#[derive(Clone, Debug)]
pub enum Delivery<B> {
    /// The home has recorded the interest: every later message follows.
    Interested(Announced<B>),
    /// A topic that matches one of the shard's patterns.
    Appeared(Announced<B>),
    /// The home has recorded the pattern; matching topics have been announced.
    Patterned {
        /// The subscription that waits,
        ticket: Ticket,
        /// and the index of the pattern in it.
        index: u32,
        /// The topics to resume.
        recovery: PatternRecovery<B>,
    },
    /// The home has forgotten the interest: no message follows.
    Forgotten {
        /// The topic's name.
        topic: B,
        /// The format.
        format: FormatId,
    },
    /// One message, encoded.
    Append {
        /// The topic's number at its home.
        home: TopicId,
        /// The format of the frame.
        format: FormatId,
        /// The message's offset in its topic.
        offsets: Offsets,
        /// The frame.
        frame: B,
        /// Whose connections skip it.
        except: UserKey,
        /// Where to report the number of subscribers.
        receipt: Option<Receipt>,
    },
    /// A message for a member of a queue group.
    Queued {
        /// The member whose turn it is.
        peer: PeerId,
        /// A member gets it even if none keeps up.
        is_last: bool,
        /// The message.
        message: QueuedMessage<B>,
    },
    /// The answer to [`Request::JoinQueue`].
    QueueJoined {
        /// The subscription that waits.
        ticket: Ticket,
        /// The topic's name.
        topic: B,
        /// The group's name.
        group: B,
        /// Why the peer is no member.
        refused: Option<QueueError>,
    },
    /// The answer to a publication.
    Published {
        /// The publisher.
        asker: Asker,
        /// The `id` of the request.
        id: B,
        /// The result.
        result: PublishResult,
    },
    /// How many subscribers a post has reached at this shard.
    Reached {
        /// The ticket of the count.
        ticket: Ticket,
        /// Subscribers.
        members: u32,
    },
    /// The answer to [`Request::Reach`].
    Reaches {
        /// The subscription or stream that waits,
        ticket: Ticket,
        /// and the index of the topic in it.
        index: u32,
        /// The answer.
        reach: Reach,
    },
    /// The answer to [`Request::Replay`]: consecutive messages, the first at offset `first`.
    Page {
        /// The `missed` of the request.
        missed: Missed,
        /// The first message's offset; beyond `missed.until` if none is retained.
        first: u64,
        /// The messages, encoded in the requested format.
        frames: Vec<B>,
    },
    /// The answer to [`Request::Roster`].
    Roster {
        /// Who asked.
        asker: Asker,
        /// The ticket of the request.
        ticket: Ticket,
        /// The roster.
        roster: Box<Roster>,
    },
    /// The answer to [`Request::History`].
    History {
        /// Who asked.
        asker: Asker,
        /// The ticket of the request.
        ticket: Ticket,
        /// The excerpt.
        kept: Box<HistoryExcerpt>,
    },
    /// The answer to [`Request::Call`].
    Called {
        /// The caller's ticket.
        ticket: Ticket,
        /// Whether the key was free; otherwise the call is not recorded.
        is_free: bool,
    },
    /// The home has forgotten the call.
    HungUp {
        /// The caller's ticket.
        ticket: Ticket,
    },
    /// An answer to a call.
    Answered {
        /// The caller's ticket.
        ticket: Ticket,
        /// The answer's data.
        said: B,
        /// Whether this is the call's last answer.
        is_last: bool,
    },
}

/// How a frame counts in its topic's offsets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Offsets {
    /// The message with this offset.
    At(u64),
    /// Not a message of the topic, such as a presence message: it follows the one with this offset, and is neither
    /// retained nor counted.
    Behind(u64),
}

impl Offsets {
    /// The offsets it occupies; for [`Self::Behind`] an empty range after the newest one.
    #[must_use]
    pub fn numbers(self) -> RangeInclusive<u64> {
        match self {
            Self::At(offset) => offset..=offset,
            Self::Behind(offset) => offset + 1..=offset,
        }
    }
}

/// A topic whose messages will follow.
#[derive(Clone, Copy, Debug)]
pub struct Announced<B> {
    /// The topic's number at its home.
    pub home: TopicId,
    /// The topic's name.
    pub topic: B,
    /// The format of the messages.
    pub format: FormatId,
    /// The position after which the live stream begins.
    pub position: Position,
}

impl<B> Request<B> {
    /// The same request, with its bytes converted by `refer`, in the order of the fields.
    pub fn map<C>(self, mut refer: impl FnMut(B) -> C) -> Request<C> {
        match self {
            Self::Interest { topic, format } => Request::Interest {
                topic: refer(topic),
                format,
            },
            Self::Disinterest { topic, format } => Request::Disinterest {
                topic: refer(topic),
                format,
            },
            Self::Pattern {
                pattern,
                matcher,
                format,
                since_ms,
                ticket,
                index,
            } => Request::Pattern {
                pattern: refer(pattern),
                matcher,
                format,
                since_ms,
                ticket,
                index,
            },
            Self::Unpattern {
                pattern,
                matcher,
                format,
            } => Request::Unpattern {
                pattern: refer(pattern),
                matcher,
                format,
            },
            Self::Publish {
                topic,
                name,
                kind,
                form,
                data,
                publisher,
                key,
                only_live,
                except,
                reply,
            } => Request::Publish {
                topic: refer(topic),
                name: refer(name),
                kind,
                form,
                data: refer(data),
                publisher: refer(publisher),
                key: refer(key),
                only_live,
                except,
                reply: reply.map(|(asker, id)| (asker, refer(id))),
            },
            Self::JoinQueue {
                topic,
                group,
                peer,
                user,
                ticket,
            } => Request::JoinQueue {
                topic: refer(topic),
                group: refer(group),
                peer,
                user,
                ticket,
            },
            Self::LeaveQueue { topic, group, peer } => Request::LeaveQueue {
                topic: refer(topic),
                group: refer(group),
                peer,
            },
            Self::Requeue {
                peer,
                is_gone,
                message,
            } => Request::Requeue {
                peer,
                is_gone,
                message: message.map(refer),
            },
            Self::Reach {
                topic,
                from,
                ticket,
                index,
            } => Request::Reach {
                topic: refer(topic),
                from,
                ticket,
                index,
            },
            Self::Replay { topic, missed } => Request::Replay {
                topic: refer(topic),
                missed,
            },
            Self::Presence {
                topic,
                user,
                attending,
            } => Request::Presence {
                topic: refer(topic),
                user: refer(user),
                attending: attending.map(refer),
            },
            Self::Roster {
                topic,
                after,
                limit,
                asker,
                ticket,
            } => Request::Roster {
                topic: refer(topic),
                after: refer(after),
                limit,
                asker,
                ticket,
            },
            Self::History {
                topic,
                page,
                asker,
                ticket,
            } => Request::History {
                topic: refer(topic),
                page,
                asker,
                ticket,
            },
            Self::Call { key, user, ticket } => Request::Call {
                key: refer(key),
                user: refer(user),
                ticket,
            },
            Self::HangUp { key, ticket } => Request::HangUp {
                key: refer(key),
                ticket,
            },
            Self::Answer {
                key,
                user,
                said,
                is_last,
            } => Request::Answer {
                key: refer(key),
                user: refer(user),
                said: refer(said),
                is_last,
            },
        }
    }
}

impl<B> Delivery<B> {
    /// As [`Request::map`].
    pub fn map<C>(self, mut refer: impl FnMut(B) -> C) -> Delivery<C> {
        match self {
            Self::Interested(announced) => Delivery::Interested(announced.map(refer)),
            Self::Appeared(announced) => Delivery::Appeared(announced.map(refer)),
            Self::Patterned {
                ticket,
                index,
                recovery,
            } => Delivery::Patterned {
                ticket,
                index,
                recovery: recovery.map(refer),
            },
            Self::Forgotten { topic, format } => Delivery::Forgotten {
                topic: refer(topic),
                format,
            },
            Self::Append {
                home,
                format,
                offsets,
                frame,
                except,
                receipt,
            } => Delivery::Append {
                home,
                format,
                offsets,
                frame: refer(frame),
                except,
                receipt,
            },
            Self::Queued {
                peer,
                is_last,
                message,
            } => Delivery::Queued {
                peer,
                is_last,
                message: message.map(refer),
            },
            Self::QueueJoined {
                ticket,
                topic,
                group,
                refused,
            } => Delivery::QueueJoined {
                ticket,
                topic: refer(topic),
                group: refer(group),
                refused,
            },
            Self::Published { asker, id, result } => Delivery::Published {
                asker,
                id: refer(id),
                result,
            },
            Self::Reached { ticket, members } => Delivery::Reached { ticket, members },
            Self::Reaches {
                ticket,
                index,
                reach,
            } => Delivery::Reaches {
                ticket,
                index,
                reach,
            },
            Self::Page {
                missed,
                first,
                frames,
            } => Delivery::Page {
                missed,
                first,
                frames: frames.into_iter().map(refer).collect(),
            },
            Self::Roster {
                asker,
                ticket,
                roster,
            } => Delivery::Roster {
                asker,
                ticket,
                roster,
            },
            Self::History {
                asker,
                ticket,
                kept,
            } => Delivery::History {
                asker,
                ticket,
                kept,
            },
            Self::Called { ticket, is_free } => Delivery::Called { ticket, is_free },
            Self::HungUp { ticket } => Delivery::HungUp { ticket },
            Self::Answered {
                ticket,
                said,
                is_last,
            } => Delivery::Answered {
                ticket,
                said: refer(said),
                is_last,
            },
        }
    }
}

impl<B> PatternRecovery<B> {
    /// As [`Request::map`].
    pub(super) fn map<C>(self, mut refer: impl FnMut(B) -> C) -> PatternRecovery<C> {
        let topics = self.topics.into_iter();
        PatternRecovery {
            from_ms: self.from_ms,
            topics: topics.map(|(name, at)| (refer(name), at)).collect(),
            is_complete: self.is_complete,
        }
    }
}

impl<B> Announced<B> {
    fn map<C>(self, mut refer: impl FnMut(B) -> C) -> Announced<C> {
        Announced {
            home: self.home,
            topic: refer(self.topic),
            format: self.format,
            position: self.position,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_of_queue_groups_make_no_other_larger() {
        // As a lane holds them.
        type Span = [u32; 2];
        assert!(size_of::<Request<Span>>() <= 72 && size_of::<Delivery<Span>>() <= 80);
    }

    #[test]
    fn the_time_of_a_queued_message_is_known_from_its_lower_bits() {
        let wraps_ms = 1 << 32;
        for since_ms in [0, 5, wraps_ms - 1, wraps_ms, 3 * wraps_ms + 7] {
            let message = QueuedMessage::<&[u8]> {
                labels: b"t\0g\0\0ann",
                data: b"1",
                kind: PublicationKind::Event,
                form: Form::NEUTRAL,
                at: Position::default(),
                time_ms: 0,
                since_bits: low_bits(since_ms),
                except: UserKey::NONE,
            };
            assert_eq!(message.since_ms(since_ms), since_ms);
            assert_eq!(message.since_ms(since_ms + 60_000), since_ms);
            let Publication {
                topic,
                name,
                publisher,
                ..
            } = message.publication();
            assert_eq!((topic, name, publisher), ("t", "t", "ann"));
        }
    }
}
