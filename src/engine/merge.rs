//! Event streams: several topics merged into one log.
//!
//! All peers of a shard that request the same topics share one log of the hub. A message of a topic, as its home
//! encoded it, gets an `id` that encodes the positions of all topics of a stream after it, and is appended to the
//! log of each stream that includes the topic. So the `id` of every event is complete, and each frame is made once,
//! whatever the number of readers.

use std::fmt::Write;
use std::sync::Arc;

use super::hub::{Frame, Hub};
use super::message::{Offsets, Reach};
use super::ticket::Ticket;
use crate::collections::{HashMap, free_large};
use crate::id::{FormatId, PeerId, Position, TopicId, UserKey};
use crate::sse::{CursorKey, GapReason, Scope, StreamGap, put_gap, put_id};

/// The event streams of a shard.
#[derive(Debug)]
pub(super) struct Merges {
    key: Arc<CursorKey>,
    /// Topics that streams include, by their number in the hub. An entry lives as long as the topic's home may send
    /// messages of it.
    parts: HashMap<TopicId, Part>,
    /// Streams, by the number of their log in the hub.
    streams: HashMap<TopicId, Merge>,
    /// The positions of readers that are catching up.
    catching_up: HashMap<PeerId, ReaderPositions>,
    /// The stream of a reader that waits for homes to answer, and how many answers are outstanding.
    asked: HashMap<Ticket, (TopicId, usize)>,
    /// Streams whose topics are all located but that have readers ahead of this shard.
    ahead: Vec<TopicId>,
    /// Scratch buffer for one frame.
    frame: Vec<u8>,
    /// The format of event streams; `None` if no protocol registered one.
    format: Option<FormatId>,
}

/// The position of a reader that is catching up.
#[derive(Debug)]
struct ReaderPositions {
    scope: Scope,
    positions: Box<[Position]>,
}

/// The messages of one topic that a stream's reader missed.
#[derive(Debug)]
pub(super) struct MissedPart {
    pub(super) topic: TopicId,
    /// The topic's index in the stream.
    pub(super) place: usize,
    /// The topic's epoch.
    pub(super) epoch: u64,
    /// Missed messages have offsets above this one,
    pub(super) after: u64,
    /// up to and including this one.
    pub(super) until: u64,
}

#[derive(Debug, Default)]
struct Part {
    /// The newest message that has arrived; `None` until the home has answered.
    position: Option<Position>,
    /// The streams that include it, and its index in each.
    streams: Vec<(TopicId, u32)>,
}

/// One stream.
#[derive(Debug)]
struct Merge {
    scope: Scope,
    /// Sorted by name.
    topics: Box<[TopicId]>,
    /// The position of each topic. Valid once all topics are located, which is before a reader begins.
    positions: Box<[Position]>,
    /// The number of the log's newest message.
    number: u64,
    /// Readers that wait until all positions are known.
    waiting: Vec<WaitingReader>,
}

/// A reader that waits for its stream to begin.
#[derive(Debug)]
pub(super) struct WaitingReader {
    pub(super) peer: PeerId,
    /// When it began to wait, in milliseconds of the shard's clock.
    pub(super) since_ms: u64,
    /// The head of its response.
    pub(super) opening: Vec<u8>,
    /// The position it resumes from.
    pub(super) from: Origin,
}

/// The position a stream's reader resumes from.
#[derive(Debug)]
pub(super) enum Origin {
    /// None: it begins with new messages.
    Live,
    /// These positions, by index of the topic.
    At(Vec<Position>),
    /// The newest messages that are retained: the position before them by index of the topic, `None` until its home
    /// has answered.
    Last {
        /// The requests' ticket.
        ticket: Ticket,
        /// The positions.
        at: Vec<Option<Position>>,
    },
    /// Its cursor is invalid.
    Invalid,
}

impl Origin {
    /// Whether homes have said where the reader begins.
    fn is_known(&self) -> bool {
        !matches!(self, Self::Last { at, .. } if at.contains(&None))
    }
}

/// How long a reader that resumes from a position beyond this shard's waits. It read from a shard that was ahead of
/// this one, so the messages are on their way and the limit is a safeguard.
const AHEAD_MS_MAX: u64 = 5_000;

/// The name of the log of the stream over these topics, by their numbers in the hub: a stream keeps its topics. Clients
/// cannot use it as a topic name.
pub(super) fn log_name(topics: &[TopicId]) -> String {
    let mut name = LOG_PREFIX.to_owned();
    for topic in topics {
        let _ = write!(name, " {}", topic.0);
    }
    name
}

impl Merges {
    pub(super) fn new(key: Arc<CursorKey>, format: Option<FormatId>) -> Self {
        Self {
            key,
            format,
            parts: HashMap::default(),
            streams: HashMap::default(),
            asked: HashMap::default(),
            catching_up: HashMap::default(),
            ahead: Vec::new(),
            frame: Vec::new(),
        }
    }

    /// The format of event streams.
    pub(super) fn format(&self) -> FormatId {
        self.format.expect("who reads a stream has a format for it")
    }

    /// Adds the stream over the topics `names`, whose numbers in the hub are `topics`.
    pub(super) fn insert(&mut self, log: TopicId, names: &[Box<str>], topics: Vec<TopicId>) {
        let mut positions = Vec::with_capacity(topics.len());
        for (place, topic) in topics.iter().enumerate() {
            let part = self.parts.entry(*topic).or_default();
            let place = u32::try_from(place).expect("topics of a stream are limited");
            part.streams.push((log, place));
            positions.push(part.position.unwrap_or(UNKNOWN));
        }
        let merge = Merge {
            scope: self.key.scope(names.iter().map(|name| &**name)),
            positions: positions.into(),
            topics: topics.into(),
            number: 0,
            waiting: Vec::new(),
        };
        self.streams.insert(log, merge);
    }

    /// Whether a topic of the hub is a stream's log.
    pub(super) fn is_log(&self, topic: TopicId) -> bool {
        self.streams.contains_key(&topic)
    }

    /// The topics of the stream with this log, sorted by name; none for any other topic of the hub.
    pub(super) fn topics_of(&self, log: TopicId) -> &[TopicId] {
        self.streams.get(&log).map_or(&[], |merge| &merge.topics)
    }

    /// Whether a stream includes a topic.
    pub(super) fn wants(&self, topic: TopicId) -> bool {
        self.parts
            .get(&topic)
            .is_some_and(|part| !part.streams.is_empty())
    }

    /// Whether a topic's position is known.
    pub(super) fn is_located(&self, topic: TopicId) -> bool {
        self.parts
            .get(&topic)
            .is_some_and(|part| part.position.is_some())
    }

    /// Sets the position of a topic: its home sends every message after it. Returns the streams that include it.
    pub(super) fn locate(&mut self, topic: TopicId, position: Position) -> Vec<TopicId> {
        let part = self.parts.entry(topic).or_default();
        part.position = Some(position);
        for (log, place) in &part.streams {
            let merge = self.streams.get_mut(log).expect("parts know their streams");
            merge.positions[*place as usize] = position;
        }
        part.streams.iter().map(|(log, _)| *log).collect()
    }

    /// Forgets the position of a topic: its home sends no more messages of it. If a stream includes it still, it has to
    /// be located again.
    pub(super) fn unlocate(&mut self, topic: TopicId) {
        if !self.wants(topic) {
            self.parts.remove(&topic);
        }
    }

    /// The position in the cursor of a stream's reader.
    pub(super) fn read(&self, log: TopicId, cursor: Option<&str>) -> Origin {
        let Some(cursor) = cursor else {
            return Origin::Live;
        };
        let positions = self.key.read(&self.streams[&log].scope, cursor.as_bytes());
        positions.map_or(Origin::Invalid, Origin::At)
    }

    /// Records that homes have been asked for `count` topics of a reader that waits.
    pub(super) fn ask(&mut self, ticket: Ticket, log: TopicId, count: usize) {
        if count > 0 {
            self.asked.insert(ticket, (log, count));
        }
    }

    /// A home has said where the newest messages of a topic begin. Returns the log of the stream that asked, `None` if
    /// it was none.
    pub(super) fn take_reach(
        &mut self,
        ticket: Ticket,
        index: u32,
        reach: Reach,
    ) -> Option<TopicId> {
        let (log, left) = self.asked.get_mut(&ticket)?;
        let log = *log;
        *left -= 1;
        if *left == 0 {
            self.asked.remove(&ticket);
        }
        let waiting = self.streams.get_mut(&log).map(|merge| &mut merge.waiting);
        for reader in waiting.into_iter().flatten() {
            if let Origin::Last { ticket: of, at } = &mut reader.from
                && *of == ticket
            {
                at[index as usize] = Some(Position {
                    epoch: reach.epoch,
                    offset: reach.after,
                });
            }
        }
        Some(log)
    }

    /// Adds a peer that waits to read a stream.
    pub(super) fn wait(&mut self, log: TopicId, waiting: WaitingReader) {
        let merge = self
            .streams
            .get_mut(&log)
            .expect("it was just made sure of");
        merge.waiting.push(waiting);
    }

    /// Takes the readers that may begin: none until the positions of all topics are known, and where they begin. A reader that is ahead
    /// of this shard waits until the shard has caught up; otherwise it would receive messages twice.
    pub(super) fn take_waiting(&mut self, log: TopicId, now_ms: u64) -> Vec<WaitingReader> {
        let parts = &self.parts;
        let is_located = |topic: &TopicId| parts[topic].position.is_some();
        let Some(merge) = self
            .streams
            .get_mut(&log)
            .filter(|merge| merge.topics.iter().all(is_located))
        else {
            return Vec::new();
        };
        let positions = &merge.positions;
        let may_begin = |waiting: &mut WaitingReader| {
            let is_late = now_ms.saturating_sub(waiting.since_ms) >= AHEAD_MS_MAX;
            waiting.from.is_known() && (is_late || !is_ahead(&waiting.from, positions))
        };
        let ready = merge.waiting.extract_if(.., may_begin).collect();
        if merge.waiting.is_empty() {
            // A stream without waiting readers owns no memory for them.
            merge.waiting = Vec::new();
        } else if !self.ahead.contains(&log) {
            self.ahead.push(log);
        }
        ready
    }

    /// Takes the streams that have readers ahead of this shard, to be checked again.
    pub(super) fn take_ahead(&mut self) -> Vec<TopicId> {
        std::mem::take(&mut self.ahead)
    }

    /// Begins a stream for `peer`: appends a gap for each topic that its cursor is invalid for, then the `id` to
    /// resume from, as a line of the last gap's block or of the next event's. Returns the messages it missed, to be
    /// sent before any newer one.
    pub(super) fn begin(
        &mut self,
        hub: &Hub,
        out: &mut Vec<u8>,
        (peer, log): (PeerId, TopicId),
        from: &Origin,
    ) -> Vec<MissedPart> {
        let merge = &self.streams[&log];
        let (mut missed, mut gaps) = (Vec::new(), Vec::new());
        let mut positions = merge.positions.clone();
        if !matches!(from, Origin::Live) {
            for (place, &topic) in merge.topics.iter().enumerate() {
                let now = merge.positions[place];
                let then = match from {
                    Origin::At(then) => Some(then[place]),
                    // A topic that has begun another epoch since has nothing to send.
                    Origin::Last { at, .. } => {
                        let known = at[place].filter(|at| at.epoch == now.epoch);
                        Some(known.unwrap_or(now))
                    }
                    Origin::Live | Origin::Invalid => None,
                };
                match resume_after(then, now) {
                    Ok(after) if after < now.offset => {
                        positions[place].offset = after;
                        missed.push(MissedPart {
                            topic,
                            place,
                            epoch: now.epoch,
                            after,
                            until: now.offset,
                        });
                    }
                    Ok(_) => {}
                    Err(reason) => gaps.push(StreamGap {
                        topic: hub.name(topic),
                        lost: None,
                        reason,
                    }),
                }
            }
        }
        let scope = merge.scope;
        let last = gaps.pop();
        gaps.iter().for_each(|gap| put_gap(out, gap));
        put_cursor(&self.key, out, &scope, &positions);
        if let Some(last) = last {
            put_gap(out, &last);
        }
        if !missed.is_empty() {
            self.catching_up
                .insert(peer, ReaderPositions { scope, positions });
        }
        missed
    }

    /// Records that a reader that is catching up has received a topic's messages up to `offset`.
    pub(super) fn pass(&mut self, peer: PeerId, place: usize, offset: u64) {
        if let Some(reader) = self.catching_up.get_mut(&peer) {
            reader.positions[place].offset = offset;
        }
    }

    /// Appends the `id` of an event for a reader that is catching up; nothing for others.
    pub(super) fn put_missed_id(&self, out: &mut Vec<u8>, peer: PeerId) {
        if let Some(reader) = self.catching_up.get(&peer) {
            put_cursor(&self.key, out, &reader.scope, &reader.positions);
        }
    }

    /// Forgets the position of a reader that has caught up or left.
    pub(super) fn forget(&mut self, peer: PeerId) {
        self.catching_up.remove(&peer);
    }

    /// Appends a message of `topic` to the logs of the streams that include it. Returns the number of readers.
    ///
    /// Cost: for each stream with readers one signature and one copy.
    pub(super) fn append(
        &mut self,
        hub: &mut Hub,
        (topic, format): (TopicId, FormatId),
        (message, except): (&[u8], UserKey),
        offsets: Offsets,
    ) -> usize {
        let Some(part) = self.parts.get_mut(&topic) else {
            return 0;
        };
        let Some(position) = &mut part.position else {
            return 0;
        };
        if let Offsets::At(offset) = offsets {
            debug_assert!(offset > position.offset, "offsets rise");
            position.offset = offset;
        }
        let mut readers = 0;
        for &(log, place) in &part.streams {
            let merge = self
                .streams
                .get_mut(&log)
                .expect("parts know their streams");
            merge.positions[place as usize] = *position;
            if hub.member_count(log, format) == 0 {
                continue;
            }
            let number = merge.number;
            if let Offsets::Behind(_) = offsets {
                // A presence message has no offset to resume from.
                let frame = Frame {
                    bytes: message,
                    numbers: Offsets::Behind(number).numbers(),
                    publications: 1,
                    except,
                };
                readers += hub.append(log, format, frame);
                continue;
            }
            self.frame.clear();
            put_cursor(&self.key, &mut self.frame, &merge.scope, &merge.positions);
            self.frame.extend_from_slice(message);
            merge.number = number + 1;
            let frame = Frame::new(&self.frame, merge.number);
            readers += hub.append(log, format, Frame { except, ..frame });
        }
        readers
    }

    /// Whether publications to `topic` should wait for the next flush.
    pub(super) fn is_congested(&self, hub: &Hub, topic: TopicId) -> bool {
        let part = self.parts.get(&topic);
        part.is_some_and(|part| part.streams.iter().any(|(log, _)| hub.is_congested(*log)))
    }

    /// Removes a stream that has no readers, waiting ones included. Returns the topics that no stream includes any
    /// more; `None` if it is in use.
    pub(super) fn remove(&mut self, hub: &Hub, log: TopicId) -> Option<Vec<TopicId>> {
        let format = self.format();
        let merge = self.streams.get_mut(&log)?;
        merge.waiting.retain(|waiting| hub.is_present(waiting.peer));
        if !merge.waiting.is_empty() || hub.member_count(log, format) > 0 {
            return None;
        }
        let mut topics = self.streams.remove(&log)?.topics.into_vec();
        topics.retain(|topic| {
            let part = self.parts.get_mut(topic).expect("streams know their parts");
            part.streams.retain(|(other, _)| *other != log);
            part.streams.is_empty()
        });
        Some(topics)
    }

    /// Shrinks buffers that a large message has grown.
    pub(super) fn tidy(&mut self) {
        free_large([&mut self.frame]);
    }
}

/// Appends the `id` line with the positions of all topics of a stream.
fn put_cursor(key: &CursorKey, out: &mut Vec<u8>, scope: &Scope, positions: &[Position]) {
    let positions = positions.iter().copied();
    put_id(out, |out| key.put(out, scope, positions)).expect("a cursor is base64url");
}

/// Whether a reader has received messages that have not arrived at this shard.
fn is_ahead(from: &Origin, positions: &[Position]) -> bool {
    match from {
        Origin::Live | Origin::Invalid | Origin::Last { .. } => false,
        Origin::At(then) => then
            .iter()
            .zip(positions)
            .any(|(then, now)| then.epoch == now.epoch && then.offset > now.offset),
    }
}

/// The offset to resume a topic after, for a reader that was at `then`; the reason for a gap if there is none.
fn resume_after(then: Option<Position>, now: Position) -> Result<u64, GapReason> {
    let then = then.ok_or(GapReason::Cursor)?;
    if then.epoch != now.epoch {
        return Err(GapReason::Epoch);
    }
    // An offset that the topic has not reached.
    if then.offset > now.offset {
        return Err(GapReason::Cursor);
    }
    Ok(then.offset)
}

/// The prefix of the names of stream logs, which makes them internal topics.
const LOG_PREFIX: &str = "#sse:";

/// An unknown position; never sent to a client.
const UNKNOWN: Position = Position {
    epoch: 0,
    offset: 0,
};
