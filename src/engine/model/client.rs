//! A client of the WebSocket protocols: what it reads, and what it may expect.

use super::encoder::{GROUPED, PLAIN};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::encoder::Event;
use super::ended::Ended;
use super::label::{FIELD, PART, is_pattern, label, label_of, topic_of};
use super::node::PROCESS;
use super::oracle::{Check, Oracle, expect, fail};
use super::seen::Thing;
use super::track::{Membership, Track};
use crate::engine::{Resumed, Start};
use crate::id::{FormatId, Position};
use crate::topic::{Pattern, check_topic, is_internal};

/// The positions of topics, by name.
pub(super) type Heads = BTreeMap<String, Position>;

/// A client's state of one connection.
#[derive(Debug)]
pub(super) struct View {
    format: FormatId,
    /// The formats it has asked for, oldest first.
    pub(super) next_formats: VecDeque<FormatId>,
    /// Bytes of an incomplete frame.
    buffer: Vec<u8>,
    /// Topics that it is a member of; those of patterns from their first message on.
    pub(super) tracks: BTreeMap<String, Track>,
    /// Subscriptions, by ticket.
    pub(super) asked: BTreeMap<u32, Asked>,
    pub(super) patterns: Vec<Covering>,
    /// Ended subscriptions whose reply has not been read.
    ended: Ended,
    /// Confirmations handed over while a frame was incomplete.
    told_late: BTreeSet<u32>,
    /// How often it has been a member of each topic.
    ever: BTreeMap<String, u32>,
    /// Topics named before its last subscription.
    pub(super) named: Vec<String>,
    /// Private frames have been dropped: confirmations and gaps may be missing.
    may_miss_reports: bool,
    /// Its last frame is queued.
    pub(super) is_closing: bool,
    /// The topic limit suffices for all topics: patterns cover them all.
    has_room: bool,
    /// That loss has to be reported.
    has_lost_frames: bool,
    /// The client's position in each topic and pattern, by label, to resume from.
    pub(super) stored: Heads,
    /// The newest offset of each epoch read as a member of a queue group, by the topics of all that it was in.
    pub(super) queues: BTreeMap<String, BTreeMap<u64, u64>>,
    /// For a client of the bridge protocol: its earlier position in its inbox.
    seen_before: Option<Position>,
}

/// A subscription.
#[derive(Debug, Default)]
pub(super) struct Asked {
    /// The confirmation has been handed over.
    pub(super) is_told: bool,
    /// The confirmation has been read.
    pub(super) is_read: bool,
    pub(super) topics: Vec<AskedTopic>,
}

#[derive(Clone, Debug)]
pub(super) struct AskedTopic {
    pub(super) name: String,
    /// The membership of the topic that it confirms.
    pub(super) life: u32,
    /// The client was a member before.
    pub(super) was_member: bool,
    pub(super) from: Option<Position>,
    /// The newest messages are wanted, at most this many.
    pub(super) last: Option<u64>,
}

/// A subscribed pattern.
#[derive(Debug)]
pub(super) struct Covering {
    pub(super) pattern: Pattern,
    pub(super) ticket: u32,
    /// The time of the subscription, and the position to resume from.
    pub(super) begun_ms: u64,
    pub(super) from: Option<Position>,
    /// The client has been told that every message since is delivered.
    pub(super) is_complete: bool,
    /// The client has to be told that messages are missing.
    pub(super) owes_gap: bool,
    /// Topics and patterns delivered before.
    flowing: (Vec<String>, Vec<Pattern>),
    /// The unsubscription whose reply has to come first; 0 if there is none.
    behind: u32,
    /// The positions of the same engine's topics at the subscription: no message up to them may come.
    floor: Heads,
    /// The positions of topics when the client was told.
    pub(super) base: Option<Heads>,
}

impl Covering {
    /// The time since which the client resumes.
    pub(super) fn since_ms(&self) -> Option<u64> {
        let is_of_now = |at: &Position| at.epoch == PROCESS && at.offset <= self.begun_ms;
        self.from.filter(is_of_now).map(|from| from.offset)
    }

    /// Whether a topic was delivered before.
    pub(super) fn flows(&self, name: &str) -> bool {
        let (names, patterns) = &self.flowing;
        names.iter().any(|known| known == name) || patterns.iter().any(|one| one.matches(name))
    }
}

impl View {
    pub(super) fn new(format: FormatId, stored: Heads, has_room: bool) -> Self {
        Self {
            format,
            next_formats: VecDeque::new(),
            buffer: Vec::new(),
            tracks: BTreeMap::new(),
            asked: BTreeMap::new(),
            patterns: Vec::new(),
            ended: Ended::default(),
            told_late: BTreeSet::new(),
            ever: BTreeMap::new(),
            named: Vec::new(),
            may_miss_reports: false,
            has_lost_frames: false,
            is_closing: false,
            has_room,
            stored,
            queues: BTreeMap::new(),
            seen_before: None,
        }
    }

    /// Records what the client has received of its inbox, and must not receive again.
    pub(super) fn seen_before(&mut self, position: Option<Position>) {
        self.seen_before = position;
    }

    /// Records that the client becomes a member of a topic. Returns the number of the membership.
    pub(super) fn begin(&mut self, name: &str, ticket: u32, was_member: bool) -> u32 {
        if was_member && let Some(track) = self.tracks.get(name) {
            return track.life;
        }
        self.begin_covered(name);
        let track = self.tracks.get_mut(name).expect("it was just begun");
        if !was_member {
            (track.awaits, track.base, track.floor) = (Some(ticket), None, None);
        }
        track.life
    }

    /// Records that the client is no longer a member, unless a pattern or `is_named` keeps it one.
    pub(super) fn end(&mut self, name: &str, is_named: bool) {
        if is_named || self.is_covered(name) {
            return;
        }
        if let Some(track) = self.tracks.remove(name) {
            self.ended.put(name, track);
        }
    }

    /// Records that a confirmation is handed over, while topics are at `heads`.
    pub(super) fn tell(&mut self, ticket: u32, heads: &Heads) {
        if let Some(asked) = self.asked.get_mut(&ticket) {
            asked.is_told = true;
        }
        for one in self.patterns.iter_mut().filter(|one| one.ticket == ticket) {
            one.base.get_or_insert_with(|| heads.clone());
        }
        if !self.buffer.is_empty() {
            self.told_late.insert(ticket);
        }
    }

    /// The times since which the patterns of a subscription resume.
    pub(super) fn recovered(&self, ticket: u32) -> Vec<u64> {
        let patterns = self.patterns.iter();
        let recovered = patterns.filter(|one| one.ticket == ticket && one.is_complete);
        let since = recovered.filter_map(Covering::since_ms);
        since.collect()
    }

    /// Records that a confirmation resumes a pattern completely since a time, before which topics were at `before`;
    /// now they are at `heads`.
    pub(super) fn tell_recovered(
        &mut self,
        ticket: u32,
        since_ms: u64,
        before: &Heads,
        heads: &Heads,
    ) {
        for one in self.patterns.iter_mut().filter(|one| one.ticket == ticket) {
            if one.is_complete && one.from.is_some_and(|from| from.offset == since_ms) {
                let mut base = before.clone();
                base.retain(|name, _| !one.flows(name));
                let flowing = heads.iter().filter(|(name, _)| one.flows(name));
                base.extend(flowing.map(|(name, at)| (name.clone(), *at)));
                one.base = Some(base);
            }
        }
    }

    /// The time since which a topic is resumed because of a subscription's patterns.
    pub(super) fn since_ms(&self, ticket: u32, name: &str) -> Option<u64> {
        let patterns = self.patterns.iter();
        let of_ticket = |one: &&Covering| one.ticket == ticket && one.pattern.matches(name);
        let since = patterns.filter(of_ticket).filter_map(Covering::since_ms);
        since.min()
    }

    /// The pattern of a subscription with this label.
    pub(super) fn covering(&mut self, ticket: u32, label: &str) -> Option<&mut Covering> {
        let mut patterns = self.patterns.iter_mut();
        patterns.find(|one| one.ticket == ticket && label_of(&one.pattern) == label)
    }

    /// Records that private frames were dropped.
    pub(super) fn lose_frames(&mut self, is_told_first: bool) {
        self.has_lost_frames = true;
        if !is_told_first {
            // Outcomes may be among the dropped frames.
            self.lose_reports();
        }
    }

    /// The number of the next unsubscription.
    pub(super) fn next_end(&mut self) -> u32 {
        self.ended.next()
    }

    /// The client reads the reply to an unsubscription.
    fn told_end(&mut self, number: u32) {
        if self.is_closing {
            // Frames queued before the last one come before it.
            return;
        }
        if self.may_miss_reports {
            return self.ended.forget_tracks();
        }
        self.ended.forget(number);
        let news = self.patterns.iter_mut().map(|one| &mut one.behind);
        let news = news.chain(self.tracks.values_mut().map(|track| &mut track.behind));
        for behind in news.filter(|behind| **behind <= number) {
            *behind = 0;
        }
    }

    /// From now on confirmations and gaps may have been dropped.
    fn lose_reports(&mut self) {
        self.may_miss_reports = true;
        self.ended.forget_tracks();
        self.tracks.values_mut().for_each(Track::lose_reports);
    }

    /// Records that a pattern is subscribed to, while topics of the same engine are at `floor`.
    pub(super) fn begin_pattern(
        &mut self,
        pattern: Pattern,
        (ticket, begun_ms, from): (u32, u64, Option<Position>),
        mut floor: Heads,
    ) {
        floor.retain(|name, _| !self.is_covered(name) && !self.tracks.contains_key(name));
        if from.is_some() {
            floor.clear();
        }
        let before = self.patterns.iter().filter(|one| one.ticket != ticket);
        let before = before.map(|one| one.pattern.clone()).collect();
        let flowing = (self.named.clone(), before);
        self.patterns.push(Covering {
            pattern,
            ticket,
            begun_ms,
            from,
            is_complete: false,
            owes_gap: false,
            flowing,
            behind: self.ended.newest(),
            floor,
            base: None,
        });
    }

    /// Records that a pattern is unsubscribed from. Its topics end one by one.
    pub(super) fn end_pattern(&mut self, pattern: &Pattern) {
        self.patterns.retain(|one| one.pattern != *pattern);
        self.ended.put_pattern(pattern.clone());
    }

    /// Whether a subscription before `ticket` delivers a topic that a pattern matches.
    pub(super) fn flows(&self, name: &str, ticket: u32) -> bool {
        let mut patterns = self.patterns.iter();
        self.named.iter().any(|named| named == name)
            || patterns.any(|one| one.ticket != ticket && one.pattern.matches(name))
    }

    /// Whether a pattern of the client matches a topic.
    pub(super) fn is_covered(&self, name: &str) -> bool {
        self.patterns.iter().any(|one| one.pattern.matches(name))
    }

    /// Whether a pattern that matches a topic is older than all subscriptions whose end the client has not read.
    fn is_covered_since(&self, name: &str) -> bool {
        let mut patterns = self.patterns.iter();
        patterns.any(|one| one.behind == 0 && one.pattern.matches(name))
    }

    /// The topics that it is a member of, as far as the client can know.
    pub(super) fn names(&self) -> Vec<String> {
        self.tracks.keys().cloned().collect()
    }

    /// Parses received bytes.
    pub(super) fn read(&mut self, bytes: &[u8], oracle: &mut Oracle) {
        self.buffer.extend_from_slice(bytes);
        let buffer = std::mem::take(&mut self.buffer);
        let mut rest = &buffer[..];
        while let Some(end) = memchr::memchr(b'\n', rest) {
            let line = str::from_utf8(&rest[..end]).expect("frames are text");
            self.line(line, oracle);
            self.told_late.clear();
            rest = &rest[end + 1..];
        }
        self.buffer = rest.to_vec();
    }

    /// The newest message of a topic that the client has, if known.
    pub(super) fn last(&self, name: &str) -> Option<Position> {
        self.tracks.get(name)?.last()
    }

    /// Whether a frame is incomplete.
    pub(super) fn is_cut(&self) -> bool {
        !self.buffer.is_empty()
    }

    fn line(&mut self, line: &str, oracle: &mut Oracle) {
        let (head, rest) = line.split_once(FIELD).unwrap_or((line, ""));
        match head.split_at(1) {
            ("E" | "Q", format) => {
                let is = |known: FormatId| {
                    format == known.index().to_string()
                    // Missed messages are not grouped.
                    || known == GROUPED
                        && format == PLAIN.index().to_string()
                };
                // What tells of a new format may be among dropped frames.
                let is_new = self.may_miss_reports && self.next_formats.iter().copied().any(is);
                if !is(self.format) && !is_new {
                    fail(Check::Frame, format!("format {format}: {line}"));
                }
                match head.starts_with('Q') {
                    true => self.queued(rest, oracle),
                    false => self.event(rest, oracle),
                }
            }
            ("B", count) => {
                let is_new = self.may_miss_reports && self.next_formats.contains(&GROUPED);
                if !is_new {
                    expect(Check::Frame, &self.format, &GROUPED, line);
                }
                let events = rest.split_terminator(PART);
                let events: Vec<&str> = events.map(|event| event.trim_start_matches(',')).collect();
                expect(
                    Check::Frame,
                    &events.len().to_string().as_str(),
                    &count,
                    line,
                );
                oracle.seen.note(match events.len() {
                    10.. => Thing::GroupFull,
                    _ => Thing::GroupOfSome,
                });
                let topic = |event: &str| Event::parse(event).map(|event| event.topic.to_owned());
                if events.iter().any(|event| topic(event) != topic(events[0])) {
                    fail(Check::Frame, format!("a group of several topics: {line}"));
                }
                for event in events {
                    self.event(event, oracle);
                }
            }
            ("C", ticket) => {
                let ticket = ticket.parse().expect("the session wrote it");
                self.confirmation(ticket, rest, oracle);
            }
            ("F", _) => match self.next_formats.pop_front() {
                Some(format) => self.format = format,
                None => fail(Check::Unanswered, "a format that was not asked for"),
            },
            ("G", _) => self.gap(rest, oracle),
            ("U", number) => self.told_end(number.parse().expect("the session wrote it")),
            // Answers are checked when the engine gives them.
            ("A" | "R" | "X", _) => {}
            _ => fail(Check::Frame, format!("{line:?} is no frame")),
        }
    }

    /// A message that it gets as a member of a queue group.
    fn queued(&mut self, text: &str, oracle: &mut Oracle) {
        let Some(event) = Event::parse(text).filter(|event| !event.is_presence) else {
            fail(Check::Frame, format!("{text:?} is no message"));
        };
        oracle.check_data(&event);
        let Some(newest) = self.queues.get_mut(event.topic) else {
            fail(Check::NotSubscribed, text);
        };
        oracle.seen.note(Thing::Queued);
        let user = oracle.reader.clone();
        oracle.queues.read(&event, &user);
        let Position { epoch, offset } = event.position;
        let newest = newest.entry(epoch).or_default();
        if *newest > offset {
            if !oracle.queues.is_late(&event) {
                fail(Check::Order, format!("{text} after {newest}"));
            }
            oracle.seen.note(Thing::QueuedLate);
        }
        *newest = offset.max(*newest);
    }

    fn event(&mut self, text: &str, oracle: &mut Oracle) {
        let Some(event) = Event::parse(text) else {
            fail(Check::Frame, format!("{text:?} is no event"));
        };
        oracle.check_data(&event);
        if !event.is_presence {
            self.stored.insert(label(event.topic, None), event.position);
        }
        if let Some(seen) = self.seen_before
            && seen.epoch == event.position.epoch
            && event.position.offset <= seen.offset
        {
            fail(Check::Order, format!("{text} after {seen:?}"));
        }
        if self.may_miss_reports {
            // Begin, end and losses may all be unreported.
            return;
        }
        if let Some(track) = self.ended.find(event.topic) {
            oracle.seen.note(Thing::CutFrame);
            return track.event(&event, Membership::Ended, oracle);
        }
        let track = self.tracks.get(event.topic);
        if track.is_some_and(|track| track.behind != 0) {
            return oracle.seen.note(Thing::CutFrame);
        }
        let is_of_pattern = self.is_covered(event.topic);
        if is_of_pattern {
            let is_wide = check_topic(event.topic).is_err();
            oracle.seen.note(match is_wide {
                true => Thing::WidePatternEvent,
                false => Thing::PatternEvent,
            });
        }
        if !self.tracks.contains_key(event.topic) {
            if self.ended.covers(event.topic) != 0 && !self.is_covered_since(event.topic) {
                // Its first message was cut off.
                return oracle.seen.note(Thing::CutFrame);
            }
            if self.may_miss_reports && self.ever.contains_key(event.topic) {
                // The end of the membership may be unreported.
                return;
            }
            if !is_of_pattern {
                fail(Check::NotSubscribed, text);
            }
            self.begin_covered(event.topic);
        }
        let track = &self.tracks[event.topic];
        let told = track
            .awaits
            .filter(|ticket| self.asked[ticket].is_told && !self.told_late.contains(ticket));
        if told.is_some() && !self.may_miss_reports {
            fail(Check::BeforeConfirmation, text);
        }
        let track = self.tracks.get_mut(event.topic).expect("as above");
        track.event(&event, Membership::Live, oracle);
        if is_internal(event.topic) {
            oracle.seen.note(Thing::Broadcast);
        } else if event.topic.starts_with("user:") {
            oracle.seen.note(Thing::Inbox);
        }
    }

    /// Begins a membership by patterns.
    fn begin_covered(&mut self, name: &str) {
        let lives = self.ever.entry(name.into()).or_default();
        *lives += 1;
        let mut track = Track::new(*lives);
        track.base = self.base_of(name);
        if !self.may_miss_reports && !self.is_covered_since(name) {
            track.behind = self.ended.covers(name);
        }
        track.floor = self.floor_of(name);
        if self.may_miss_reports {
            track.lose_reports();
        }
        self.tracks.insert(name.into(), track);
    }

    /// The position up to which no message may come, if only one pattern can have begun the membership.
    fn floor_of(&self, name: &str) -> Option<Position> {
        let is_first = self.ever.get(name) == Some(&1);
        let mut patterns = self.patterns.iter().filter(|one| one.pattern.matches(name));
        let only = patterns
            .next()
            .filter(|_| is_first && self.ended.covers(name) == 0)?;
        match patterns.next() {
            None => only.floor.get(name).copied(),
            Some(_) => None,
        }
    }

    /// The position of a topic when the client was told that every message is delivered: none after it may be missing.
    /// `None` if the client has not been told.
    pub(super) fn base_of(&self, name: &str) -> Option<Position> {
        if !self.has_room {
            return None;
        }
        let covering = self.patterns.iter().filter(|one| one.pattern.matches(name));
        let bases = covering.filter_map(|one| one.base.as_ref());
        let positions = bases.map(|base| base.get(name).copied().unwrap_or_default());
        positions.min_by_key(|at| (at.epoch, at.offset))
    }

    fn gap(&mut self, text: &str, oracle: &mut Oracle) {
        let (label, lost) = text.split_once(FIELD).expect("the session wrote it");
        let lost: Option<u64> = lost.parse().ok();
        if label == "-" {
            oracle.seen.note(Thing::PrivateGap);
            // Broadcasts have no name either.
            self.has_lost_frames = false;
            return self.lose_reports();
        }
        if is_pattern(label) {
            let mut patterns = self.patterns.iter_mut();
            let owing = patterns.find(|one| label_of(&one.pattern) == label && one.owes_gap);
            match owing {
                Some(owing) => owing.owes_gap = false,
                None if self.may_miss_reports || self.ended.has_pattern(label) => {}
                None => fail(Check::Gap, format!("{label} was recovered")),
            }
            return;
        }
        let name = topic_of(label);
        if let Some(track) = self.ended.find(name) {
            track.gap(lost);
        }
        if !self.tracks.contains_key(name) {
            let is_old = self.ended.covers(name) != 0;
            if !self.is_covered(name) {
                if !is_old && !self.ever.contains_key(name) {
                    fail(Check::Gap, format!("{name} was never asked for"));
                }
                return;
            }
            self.begin_covered(name);
        }
        let track = self.tracks.get_mut(name).expect("as above");
        // A gap of an earlier membership may have been under way.
        track.may_be_old |= track.life > 1;
        track.gap(lost);
    }

    fn confirmation(&mut self, ticket: u32, text: &str, oracle: &mut Oracle) {
        let Some(asked) = self.asked.get_mut(&ticket) else {
            fail(Check::Confirmation, format!("{ticket} was not asked for"));
        };
        if std::mem::replace(&mut asked.is_read, true) {
            fail(Check::Confirmation, format!("{ticket} is told twice"));
        }
        oracle.seen.note(Thing::Confirmed);
        let topics = asked.topics.clone();
        let mut names = BTreeSet::new();
        for text in text.split_terminator(PART) {
            let (label, position, resumed) = read_start(text);
            if is_pattern(label) {
                self.stored.insert(label.into(), position);
                continue;
            }
            let name = topic_of(label);
            names.insert(name);
            if self.may_miss_reports {
                // The end of the previous membership may be unreported.
                self.ended.forget_track(name);
            }
            let Some(topic) = topics.iter().find(|topic| topic.name == name) else {
                self.recovered_by_pattern(ticket, (name, position, resumed), oracle);
                continue;
            };
            let track = self.tracks.get_mut(name);
            let Some(track) = track.filter(|track| track.life == topic.life) else {
                continue;
            };
            if topic.was_member {
                track.named_while_flowing((name, position), resumed, oracle);
            } else {
                track.named(position, resumed, topic.from, oracle);
            }
            let count = match (topic.last, resumed) {
                (Some(last), Some(Resumed::Complete(count))) => {
                    if count > last && !topic.was_member {
                        fail(Check::Confirmation, format!("{count} of the last {last}"));
                    }
                    oracle.seen.add(Thing::RecoveredLast, count.min(1));
                    count
                }
                (Some(_), resumed) if resumed != Some(Resumed::Underway) => {
                    fail(Check::Confirmation, format!("{resumed:?} of the last"));
                }
                _ => 0,
            };
            let behind = Position {
                offset: position.offset - count,
                ..position
            };
            self.stored.entry(label.into()).or_insert(behind);
        }
        for topic in &topics {
            if !names.contains(topic.name.as_str()) {
                fail(Check::Confirmation, format!("{} is not named", topic.name));
            }
        }
    }

    /// A confirmation names a topic that a pattern resumes.
    fn recovered_by_pattern(
        &mut self,
        ticket: u32,
        (name, position, resumed): (&str, Position, Option<Resumed>),
        oracle: &mut Oracle,
    ) {
        let Some(since_ms) = self.since_ms(ticket, name) else {
            if !self.may_miss_reports && self.ended.covers(name) == 0 {
                fail(Check::Confirmation, format!("{name} was not asked for"));
            }
            return;
        };
        let behind = match resumed {
            Some(Resumed::Complete(count)) => Position {
                epoch: position.epoch,
                offset: position.offset - count,
            },
            _ => position,
        };
        self.stored.entry(label(name, None)).or_insert(behind);
        if self.may_miss_reports {
            return;
        }
        let mut patterns = self.patterns.iter();
        if patterns.any(|one| one.ticket == ticket && one.flows(name)) {
            fail(Check::Confirmation, format!("{name} flows"));
        }
        if !self.tracks.contains_key(name) {
            self.begin_covered(name);
        }
        oracle.seen.note(match resumed {
            Some(Resumed::OtherEpoch) => Thing::PatternTopicLost,
            _ => Thing::PatternTopicRecovered,
        });
        let from = Position {
            epoch: position.epoch,
            offset: oracle.count_before(name, position.epoch, since_ms),
        };
        let track = self.tracks.get_mut(name).expect("it was just begun");
        (track.base, track.floor) = (None, None);
        track.named(position, resumed, Some(from), oracle);
    }

    /// Checks that every message has arrived: the topics are at `heads`.
    pub(super) fn finish(&self, heads: &Heads, oracle: &Oracle) {
        if self.has_lost_frames {
            fail(Check::Gap, "lost frames were never told of");
        }
        if !self.next_formats.is_empty() && !self.may_miss_reports {
            fail(Check::Unanswered, "a change of format");
        }
        for (ticket, asked) in &self.asked {
            if !(asked.is_told && (asked.is_read || self.may_miss_reports)) {
                fail(
                    Check::Unanswered,
                    format!("subscription {ticket}: {asked:?}"),
                );
            }
        }
        let mut patterns = self.patterns.iter();
        if let Some(owing) = patterns.find(|one| one.owes_gap && !self.may_miss_reports) {
            fail(Check::Gap, format!("{owing:?}: a gap was never told"));
        }
        for (name, track) in &self.tracks {
            let head = heads.get(name).copied().unwrap_or_default();
            track.finish(name, head, oracle);
        }
        for (name, head) in heads {
            let base = self.base_of(name).filter(|_| !self.may_miss_reports);
            if let Some(base) = base
                && !self.tracks.contains_key(name)
            {
                let begun = match base.epoch == head.epoch {
                    true => base,
                    false => Position { offset: 0, ..*head },
                };
                let all = begun.offset + oracle.skipped(name, begun, head.offset);
                if head.offset <= all {
                    continue;
                }
                fail(Check::Missing, format!("{name}: {head:?} after {base:?}"));
            }
        }
    }
}

/// The encoding of a topic's start in a confirmation.
pub(super) fn put_start(out: &mut String, start: &Start<'_>) {
    let Start {
        name,
        matcher,
        position: Position { epoch, offset },
        resumed,
    } = start;
    let resumed = match resumed {
        None => "-".to_owned(),
        Some(Resumed::Complete(count)) => format!("c{count}"),
        Some(Resumed::OtherEpoch) => "e".to_owned(),
        Some(Resumed::TooOld(count)) => format!("t{count}"),
        Some(Resumed::NeverSeen) => "n".to_owned(),
        Some(Resumed::Underway) => "u".to_owned(),
    };
    let label = label(name, *matcher);
    let fields = [label, epoch.to_string(), offset.to_string(), resumed];
    out.push_str(&fields.join(&FIELD.to_string()));
    out.push(PART);
}

fn read_start(text: &str) -> (&str, Position, Option<Resumed>) {
    let fields: Vec<&str> = text.split(FIELD).collect();
    let number = |text: &str| -> u64 { text.parse().expect("the session wrote it") };
    let position = Position {
        epoch: number(fields[1]),
        offset: number(fields[2]),
    };
    let resumed = match fields[3].split_at(1) {
        ("c", count) => Some(Resumed::Complete(number(count))),
        ("e", _) => Some(Resumed::OtherEpoch),
        ("t", count) => Some(Resumed::TooOld(number(count))),
        ("n", _) => Some(Resumed::NeverSeen),
        ("u", _) => Some(Resumed::Underway),
        _ => None,
    };
    (fields[0], position, resumed)
}
