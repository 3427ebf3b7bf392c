//! Several topics in one log: what the readers of a stream of events share.
//!
//! All peers of a shard that ask for the same topics read one log of the hub. A
//! message of a topic, as its home encoded it, is given the `id` that says where
//! all topics of a stream stand after it, and appended to the log of each stream
//! that has the topic. So `id` is complete in every event, and still each frame is
//! made once, however many read it.

use std::sync::Arc;

use super::hub::Hub;
use super::message::Offsets;
use crate::collections::HashMap;
use crate::id::{FormatId, PeerId, Position, TopicId};
use crate::sse::{CursorKey, GapReason, Scope, StreamGap, put_gap, put_id};

/// The streams of a shard.
#[derive(Debug)]
pub(super) struct Merges {
    key: Arc<CursorKey>,
    /// Topics that are a part of streams, by their number in the hub. One is
    /// here for as long as its home may send messages of it.
    parts: HashMap<TopicId, Part>,
    /// Streams, by the number of their log in the hub.
    streams: HashMap<TopicId, Merge>,
    /// Where those stand who are being sent what they missed.
    behind: HashMap<PeerId, Behind>,
    /// Streams that somebody waits for although all their topics are located.
    ahead: Vec<TopicId>,
    /// The frame being put together.
    frame: Vec<u8>,
    /// The format that they are read in; `None` if no protocol has one.
    format: Option<FormatId>,
}

/// A reader that is not where its stream is.
#[derive(Debug)]
struct Behind {
    scope: Scope,
    positions: Box<[Position]>,
}

/// What a reader of a stream has missed of one of its topics.
#[derive(Debug)]
pub(super) struct MissedPart {
    pub(super) topic: TopicId,
    /// The topic's place among those of the stream.
    pub(super) place: usize,
    /// Which life of the topic.
    pub(super) epoch: u64,
    /// The messages after this one
    pub(super) after: u64,
    /// up to this one.
    pub(super) until: u64,
}

#[derive(Debug, Default)]
struct Part {
    /// The newest message that has come; `None` until the home has said.
    position: Option<Position>,
    /// The streams it is in, and its place among their topics.
    streams: Vec<(TopicId, u32)>,
}

/// One stream.
#[derive(Debug)]
struct Merge {
    scope: Scope,
    /// In the order of the topics' names.
    topics: Box<[TopicId]>,
    /// Where each topic stands. True as soon as all have been located, and so
    /// whenever anybody reads.
    positions: Box<[Position]>,
    /// The number of the log's newest message.
    number: u64,
    /// Who reads as soon as all positions are known.
    waiting: Vec<WaitingReader>,
}

/// A peer that is to read a stream.
#[derive(Debug)]
pub(super) struct WaitingReader {
    pub(super) peer: PeerId,
    /// Since when, in milliseconds of the shard's clock.
    pub(super) since_ms: u64,
    /// What it is sent first.
    pub(super) opening: Vec<u8>,
    /// Where it goes on.
    pub(super) from: Origin,
}

/// Where a reader of a stream goes on.
#[derive(Debug)]
pub(super) enum Origin {
    /// It begins with what is new.
    Now,
    /// It was here, topic by topic.
    There(Vec<Position>),
    /// Its cursor says nothing.
    Nowhere,
}

/// How long a stream waits for messages that its reader has had already, because
/// it read them on a shard that was ahead of this one. They are on their way, so
/// the limit is for what should not happen.
const AHEAD_MS_MAX: u64 = 5_000;

/// The name of the log of a stream over these topics, which no client can spell.
pub(super) fn log_name(topics: &[Box<str>]) -> String {
    format!("{LOG_PREFIX}{}", topics.join(","))
}

/// The topics of a stream, by the name of its log.
pub(super) fn topics_of(log_name: &str) -> impl Iterator<Item = &str> + Clone {
    let names = log_name.strip_prefix(LOG_PREFIX);
    names.unwrap_or_default().split(',')
}

impl Merges {
    pub(super) fn new(key: Arc<CursorKey>, format: Option<FormatId>) -> Self {
        Self {
            key,
            format,
            parts: HashMap::default(),
            streams: HashMap::default(),
            behind: HashMap::default(),
            ahead: Vec::new(),
            frame: Vec::new(),
        }
    }

    /// The format that streams are read in.
    pub(super) fn format(&self) -> FormatId {
        self.format.expect("who reads a stream has a format for it")
    }

    /// A number to spread clients by.
    pub(super) fn draw(&self, seed: u64) -> u32 {
        self.key.draw(seed)
    }

    /// Adds the stream over `topics`, given with their numbers in the hub.
    pub(super) fn insert(&mut self, log: TopicId, names: &[Box<str>], topics: Vec<TopicId>) {
        let mut positions = Vec::with_capacity(topics.len());
        for (place, topic) in topics.iter().enumerate() {
            let part = self.parts.entry(*topic).or_default();
            let place = u32::try_from(place).expect("topics of a stream are limited");
            part.streams.push((log, place));
            positions.push(part.position.unwrap_or(NOWHERE));
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

    /// Whether a topic of the hub is the log of a stream.
    pub(super) fn is_log(&self, topic: TopicId) -> bool {
        self.streams.contains_key(&topic)
    }

    /// Whether messages of a topic are wanted.
    pub(super) fn wants(&self, topic: TopicId) -> bool {
        self.parts
            .get(&topic)
            .is_some_and(|part| !part.streams.is_empty())
    }

    /// Whether it is known where a topic stands.
    pub(super) fn is_located(&self, topic: TopicId) -> bool {
        self.parts
            .get(&topic)
            .is_some_and(|part| part.position.is_some())
    }

    /// Notes where a topic stands: what its home sends from here on is everything.
    /// Returns the streams it is in.
    pub(super) fn locate(&mut self, topic: TopicId, position: Position) -> Vec<TopicId> {
        let part = self.parts.entry(topic).or_default();
        part.position = Some(position);
        for (log, place) in &part.streams {
            let merge = self.streams.get_mut(log).expect("parts know their streams");
            merge.positions[*place as usize] = position;
        }
        part.streams.iter().map(|(log, _)| *log).collect()
    }

    /// Forgets a topic: its home sends nothing of it any more. If it is wanted
    /// still, it has to be located anew.
    pub(super) fn lose(&mut self, topic: TopicId) {
        if !self.wants(topic) {
            self.parts.remove(&topic);
        }
    }

    /// Where a cursor for a stream says that its reader was.
    pub(super) fn read(&self, log: TopicId, cursor: Option<&str>) -> Origin {
        let Some(cursor) = cursor else {
            return Origin::Now;
        };
        let positions = self.key.read(&self.streams[&log].scope, cursor.as_bytes());
        positions.map_or(Origin::Nowhere, Origin::There)
    }

    /// Notes that a peer is to read a stream.
    pub(super) fn wait(&mut self, log: TopicId, waiting: WaitingReader) {
        let merge = self
            .streams
            .get_mut(&log)
            .expect("it was just made sure of");
        merge.waiting.push(waiting);
    }

    /// Those who may begin to read a stream; none until it is known where all
    /// its topics stand. Whoever is ahead of this shard waits until it has come
    /// as far: otherwise it would get messages twice.
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
            is_late || !is_ahead(&waiting.from, positions)
        };
        let ready = merge.waiting.extract_if(.., may_begin).collect();
        if merge.waiting.is_empty() {
            // A stream at rest owns no room for those who may come.
            merge.waiting = Vec::new();
        } else if !self.ahead.contains(&log) {
            self.ahead.push(log);
        }
        ready
    }

    /// Streams that somebody waits for, to be looked at again.
    pub(super) fn take_ahead(&mut self) -> Vec<TopicId> {
        std::mem::take(&mut self.ahead)
    }

    /// Begins a stream for `peer`: appends gaps for what its cursor proves nothing
    /// about, and the id from which it goes on, a line of the last gap's block or of
    /// the next event's. Returns what it has missed besides, to be sent before
    /// anything newer.
    pub(super) fn begin(
        &mut self,
        out: &mut Vec<u8>,
        peer: PeerId,
        (log, name): (TopicId, &str),
        from: &Origin,
    ) -> Vec<MissedPart> {
        let merge = &self.streams[&log];
        let (mut missed, mut gaps) = (Vec::new(), Vec::new());
        let mut positions = merge.positions.clone();
        if !matches!(from, Origin::Now) {
            for (place, topic) in topics_of(name).enumerate() {
                let now = merge.positions[place];
                let then = match from {
                    Origin::There(then) => Some(then[place]),
                    Origin::Now | Origin::Nowhere => None,
                };
                match since(then, now) {
                    Ok(after) if after < now.offset => {
                        positions[place].offset = after;
                        missed.push(MissedPart {
                            topic: merge.topics[place],
                            place,
                            epoch: now.epoch,
                            after,
                            until: now.offset,
                        });
                    }
                    Ok(_) => {}
                    Err(reason) => gaps.push(StreamGap {
                        topic,
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
            self.behind.insert(peer, Behind { scope, positions });
        }
        missed
    }

    /// Notes that a reader that is behind has got a topic's messages up to `offset`.
    pub(super) fn pass(&mut self, peer: PeerId, place: usize, offset: u64) {
        if let Some(behind) = self.behind.get_mut(&peer) {
            behind.positions[place].offset = offset;
        }
    }

    /// Appends the id of an event for a reader that is behind; nothing for others.
    pub(super) fn put_missed_id(&self, out: &mut Vec<u8>, peer: PeerId) {
        if let Some(behind) = self.behind.get(&peer) {
            put_cursor(&self.key, out, &behind.scope, &behind.positions);
        }
    }

    /// Forgets that a reader was behind.
    pub(super) fn forget(&mut self, peer: PeerId) {
        self.behind.remove(&peer);
    }

    /// Appends a message of `topic`, which is a part of streams, to their logs.
    /// Returns how many read it.
    ///
    /// Cost: for each stream with readers one signature and one copy.
    pub(super) fn append(
        &mut self,
        hub: &mut Hub,
        (topic, format): (TopicId, FormatId),
        message: &[u8],
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
                // It has no place to go on from.
                let behind = Offsets::Behind(number).numbers();
                readers += hub.append_group(log, format, message, behind);
                continue;
            }
            self.frame.clear();
            put_cursor(&self.key, &mut self.frame, &merge.scope, &merge.positions);
            self.frame.extend_from_slice(message);
            merge.number = number + 1;
            readers += hub.append(log, format, &self.frame, merge.number);
        }
        readers
    }

    /// Whether publications to `topic` should wait for the next flush.
    pub(super) fn is_congested(&self, hub: &Hub, topic: TopicId) -> bool {
        let part = self.parts.get(&topic);
        part.is_some_and(|part| part.streams.iter().any(|(log, _)| hub.is_congested(*log)))
    }

    /// Forgets a stream that nobody reads or waits for. Returns the topics that
    /// are in no stream any more; `None` if it is in use.
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

    /// Gives back what one large message has left behind.
    pub(super) fn tidy(&mut self) {
        if self.frame.capacity() > FRAME_BYTES_MAX {
            self.frame = Vec::new();
        }
    }
}

/// Appends the line that says where all topics of a stream stand.
fn put_cursor(key: &CursorKey, out: &mut Vec<u8>, scope: &Scope, positions: &[Position]) {
    let positions = positions.iter().copied();
    put_id(out, |out| key.put(out, scope, positions)).expect("a cursor is base64url");
}

/// Whether somebody has had messages of a topic that have not come here.
fn is_ahead(from: &Origin, positions: &[Position]) -> bool {
    match from {
        Origin::Now | Origin::Nowhere => false,
        Origin::There(then) => then
            .iter()
            .zip(positions)
            .any(|(then, now)| then.epoch == now.epoch && then.offset > now.offset),
    }
}

/// The offset from which whoever was at `then` goes on in a topic that stands at
/// `now`, or why there is none.
fn since(then: Option<Position>, now: Position) -> Result<u64, GapReason> {
    let then = then.ok_or(GapReason::Cursor)?;
    if then.epoch != now.epoch {
        return Err(GapReason::Epoch);
    }
    // It has been where nobody has been yet.
    if then.offset > now.offset {
        return Err(GapReason::Cursor);
    }
    Ok(then.offset)
}

/// The names of streams' logs begin like this: they are internal topics.
const LOG_PREFIX: &str = "#sse:";

/// Stands for a position that is not known yet; never shown to anybody.
const NOWHERE: Position = Position {
    epoch: 0,
    offset: 0,
};

/// A buffer that has grown beyond this is given back after use.
const FRAME_BYTES_MAX: usize = 256 * 1024;
