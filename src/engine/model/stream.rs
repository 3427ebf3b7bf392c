//! A client of event streams: what it reads, and what its cursors say.

use std::sync::Arc;

use super::client::Heads;
use super::encoder::Event;
use super::oracle::{Check, Oracle, expect, fail};
use super::seen::Thing;
use super::track::is_told;
use crate::id::Position;
use crate::sse::{CursorKey, Scope};

/// A client's state of one stream.
#[derive(Debug)]
pub(super) struct StreamView {
    key: Arc<CursorKey>,
    scope: Scope,
    topics: Vec<Part>,
    buffer: Vec<u8>,
    /// The newest `id`, with which the client resumes.
    pub(super) last_id: String,
    /// When it was requested.
    since_ms: u64,
    /// Frames were dropped in the outbox, and the loss has not been reported.
    has_lost_frames: bool,
    /// Bytes have arrived.
    pub(super) is_open: bool,
    /// The start of the stream is known.
    is_located: bool,
    /// By topic, where it was when the newest messages were asked for, and how many were.
    wanted: Vec<(Position, u64)>,
}

/// A topic of a stream.
#[derive(Debug)]
struct Part {
    name: String,
    /// The newest message that the client has, if known.
    last: Option<Position>,
    /// Missing messages reported by gaps.
    lost: u64,
    /// A gap has reported an unknown number of missing messages.
    is_lost: bool,
    /// Gaps may have been dropped.
    may_miss_reports: bool,
}

impl Part {
    /// The client has been told the topic's position, without a message of it.
    fn check_position(&mut self, at: Position, what: &str, oracle: &Oracle) {
        if let Some(last) = self.last
            && !self.is_lost
            && !is_told(oracle, (&self.name, last), self.lost, at)
        {
            let lost = self.lost;
            let name = &self.name;
            let why = format!("{what}: {name} at {at:?}, has {last:?}, {lost} told missing");
            fail(Check::Cursor, why);
        }
        (self.last, self.lost, self.is_lost) = (Some(at), 0, self.may_miss_reports);
    }
}

impl StreamView {
    /// A stream over `names`, after `cursor`.
    pub(super) fn new(
        key: Arc<CursorKey>,
        names: &[Box<str>],
        cursor: Option<&str>,
        oracle: &mut Oracle,
    ) -> Self {
        let scope = key.scope(names.iter().map(|name| &**name));
        let cursor = cursor.filter(|cursor| !cursor.is_empty());
        let then = cursor.map(|cursor| key.read(&scope, cursor.as_bytes()).expect("it is ours"));
        if then.is_some() {
            oracle.seen.note(Thing::StreamResumed);
        }
        let part = |(place, name): (usize, &str)| Part {
            name: name.to_string(),
            last: then.as_ref().map(|then| then[place]),
            lost: 0,
            is_lost: false,
            may_miss_reports: false,
        };
        Self {
            topics: names
                .iter()
                .map(|name| &**name)
                .enumerate()
                .map(part)
                .collect(),
            key,
            scope,
            buffer: Vec::new(),
            last_id: cursor.unwrap_or_default().into(),
            since_ms: oracle.now_ms,
            has_lost_frames: false,
            is_open: false,
            is_located: false,
            wanted: Vec::new(),
        }
    }

    /// The stream begins with the newest messages of each topic, at most `count`, while topics are at `heads`.
    pub(super) fn wants_last(&mut self, count: u64, heads: &Heads) {
        let head = |part: &Part| heads.get(&part.name).copied().unwrap_or_default();
        self.wanted = self.topics.iter().map(|part| (head(part), count)).collect();
    }

    /// Parses received bytes.
    pub(super) fn read(&mut self, bytes: &[u8], oracle: &mut Oracle) {
        self.buffer.extend_from_slice(bytes);
        let buffer = std::mem::take(&mut self.buffer);
        let mut rest = &buffer[..];
        self.is_open |= !rest.is_empty();
        while let Some(end) = memchr::memmem::find(rest, b"\n\n") {
            let block = str::from_utf8(&rest[..end]).expect("streams are text");
            self.block(block, oracle);
            rest = &rest[end + 2..];
        }
        self.buffer = rest.to_vec();
        if let Some(id) = self.opening() {
            self.last_id = id;
        }
    }

    /// The first `id` of the stream, before the first event: it is in that event's block, and a client that reads lines
    /// resumes from it.
    fn opening(&self) -> Option<String> {
        let lines = &self.buffer[..memchr::memrchr(b'\n', &self.buffer)?];
        let lines = str::from_utf8(lines).expect("streams are text");
        let mut ids = lines.lines().filter_map(|line| line.strip_prefix("id: "));
        ids.next().filter(|_| !self.is_located).map(Into::into)
    }

    fn block(&mut self, block: &str, oracle: &mut Oracle) {
        let (mut ids, mut name, mut data) = (Vec::new(), None, None);
        for line in block.lines() {
            match line.split_once(": ") {
                Some(("id", text)) => ids.push(text),
                Some(("event", text)) => name = Some(text),
                Some(("data", text)) => data = Some(text),
                Some(("retry" | "", _)) => {}
                _ if line == ":" => {}
                _ => fail(Check::Frame, format!("{line:?} in a stream")),
            }
        }
        match (name, data) {
            (None, None) => self.check_positions(&ids, oracle),
            // The last `id` is the position after the gap, but for that of a slow reader, which has none: the stream may
            // have begun in its block.
            (Some("gap"), Some(data)) => {
                let is_slow = data.contains("slow_consumer");
                let (before, behind) =
                    ids.split_at(ids.len().saturating_sub(usize::from(!is_slow)));
                self.check_positions(before, oracle);
                self.gap(data, oracle);
                self.check_positions(behind, oracle);
            }
            (Some("p"), Some(data)) => {
                self.check_positions(&ids, oracle);
                match Event::parse(data) {
                    Some(event) if self.is_located => oracle.check_data(&event),
                    _ => fail(Check::BeforeConfirmation, data),
                }
            }
            (Some("e"), Some(data)) => {
                let Some((id, opening)) = ids.split_last() else {
                    fail(Check::Frame, format!("{block:?} has no id"));
                };
                self.check_positions(opening, oracle);
                self.event(id, data, oracle);
            }
            _ => fail(Check::Frame, format!("{block:?} in a stream")),
        }
    }

    /// The client has been told the stream's position, without a message.
    fn check_positions(&mut self, ids: &[&str], oracle: &mut Oracle) {
        for id in ids {
            let positions = self.positions(id);
            for ((head, count), at) in std::mem::take(&mut self.wanted).into_iter().zip(&positions)
            {
                if head.epoch == at.epoch && at.offset + count < head.offset {
                    fail(
                        Check::Cursor,
                        format!("{at:?}: more than {count} before {head:?}"),
                    );
                }
                if head.epoch == at.epoch && at.offset < head.offset {
                    oracle.seen.note(Thing::StreamLast);
                }
            }
            for (part, at) in self.topics.iter_mut().zip(positions) {
                part.check_position(at, "id alone", oracle);
            }
            self.is_located = true;
        }
    }

    fn positions(&mut self, id: &str) -> Vec<Position> {
        self.last_id = id.into();
        match self.key.read(&self.scope, id.as_bytes()) {
            Some(positions) => positions,
            None => fail(Check::Cursor, format!("{id} is none for these topics")),
        }
    }

    fn event(&mut self, id: &str, data: &str, oracle: &mut Oracle) {
        let Some(event) = Event::parse(data) else {
            fail(Check::Frame, format!("{data:?} is no event"));
        };
        oracle.check_data(&event);
        if !self.is_located {
            fail(Check::BeforeConfirmation, data);
        }
        let positions = self.positions(id);
        let mut is_part = false;
        for (part, at) in self.topics.iter_mut().zip(positions) {
            if part.name != event.topic {
                part.check_position(at, data, oracle);
                continue;
            }
            is_part = true;
            expect(Check::Cursor, &at, &event.position, data);
            if let Some(last) = part.last
                && !part.is_lost
            {
                if last.epoch != at.epoch || at.offset <= last.offset {
                    fail(Check::Order, format!("stream: {data} after {last:?}"));
                }
                let before = Position {
                    offset: at.offset - 1,
                    ..at
                };
                if !is_told(oracle, (&part.name, last), part.lost, before) {
                    let lost = part.lost;
                    let why = format!("stream: {data} after {last:?}, {lost} told missing");
                    fail(Check::Missing, why);
                }
            }
            (part.last, part.lost, part.is_lost) = (Some(at), 0, part.may_miss_reports);
        }
        if !is_part {
            fail(Check::NotSubscribed, data);
        }
    }

    fn gap(&mut self, data: &str, oracle: &mut Oracle) {
        oracle.seen.note(Thing::StreamGap);
        let gap: serde_json::Value = serde_json::from_str(data).expect("a gap is JSON");
        let name = gap["event"].as_str().unwrap_or_default();
        let Some(part) = self.topics.iter_mut().find(|part| part.name == name) else {
            fail(Check::Gap, format!("stream: {data}"));
        };
        // No client forges cursors: a reader can only be ahead of this engine, which waits for that.
        if gap["reason"] == "invalid_cursor" && oracle.now_ms - self.since_ms < AHEAD_MS {
            fail(Check::Gap, format!("stream: {data} at once"));
        }
        match gap["lost"].as_u64() {
            Some(lost) => part.lost += lost,
            None => (part.is_lost, self.has_lost_frames) = (true, false),
        }
    }

    /// Records that frames for it were dropped.
    pub(super) fn lose_frames(&mut self) {
        self.has_lost_frames = true;
        for part in &mut self.topics {
            (part.may_miss_reports, part.is_lost) = (true, true);
        }
    }

    /// The newest message of a topic that the client has, if known.
    pub(super) fn last(&self, name: &str) -> Option<Position> {
        let part = self.topics.iter().find(|part| part.name == name)?;
        let is_known = self.is_located && !part.is_lost && part.lost == 0;
        part.last.filter(|_| is_known)
    }

    /// Checks that every message has arrived: the topics are at `heads`.
    pub(super) fn finish(&mut self, heads: &Heads, oracle: &mut Oracle) {
        if let Some(id) = self.opening() {
            self.check_positions(&[&id], oracle);
        }
        if self.has_lost_frames {
            fail(Check::Gap, "lost frames were never told of");
        }
        if !self.is_located {
            fail(Check::Unanswered, format!("a stream never began: {self:?}"));
        }
        for part in &self.topics {
            let head = heads.get(&part.name).copied().unwrap_or_default();
            let last = part.last.unwrap_or_default();
            let is_all = is_told(oracle, (&part.name, last), part.lost, head);
            if !is_all && !part.is_lost {
                let why = format!("stream: {part:?}, stands at {head:?}");
                fail(Check::Missing, why);
            }
        }
    }
}

/// How long a stream waits for messages that its reader has received from another engine.
const AHEAD_MS: u64 = 5000;
