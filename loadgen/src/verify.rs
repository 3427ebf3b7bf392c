//! Checks every delivery: complete, once, in order, unchanged, and in the same
//! order for all subscribers of a topic.
//!
//! With R subscribers per topic there are R replicas of it, and each (replica,
//! topic) pair belongs to one connection. A *stream* is what one publisher sends
//! to one topic, as one replica receives it. The verifier knows the next sequence
//! number of every stream, and keeps a rolling hash over (publisher, sequence) for
//! every (replica, topic): equal hashes mean one global order. Where messages carry
//! their offset in the topic, it has to be that of their place in this order.
//!
//! The hot path never parses. The first event of a connection is parsed whole, to
//! learn where `data` starts and which bytes precede it. Later events are compared
//! in place: the bytes before `data` (but for the offset, which is read), all of
//! `data`, and the bytes after it. An event that differs is parsed whole, as is
//! every [`PARSE_EVERY`]th.

mod counts;
mod envelope;
mod missing;
mod stamps;

use std::ops::Range;

use hdrhistogram::Histogram;

pub(crate) use counts::Counts;
use envelope::Envelope;
pub(crate) use missing::{LateMessage, MissingRanges};
use stamps::Stamps;

use crate::foreign::Foreign;
use crate::parsed::Parsed;
use crate::payload::{self, Format, Layout, PayloadHead, Source};

/// Every so many events, one is parsed although its bytes are as expected.
const PARSE_EVERY: u32 = 65_536;

/// Numbers of topics, publishers and subscribers per topic.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shape {
    pub(crate) topics: usize,
    pub(crate) publishers: usize,
    /// Replicas that must get every message.
    pub(crate) complete: usize,
    /// Replicas after those that connect and disconnect: they may start anywhere.
    pub(crate) passing: usize,
    /// Replicas after those that stop reading: they may miss messages.
    pub(crate) slow: usize,
}

impl Shape {
    pub(crate) fn replicas(self) -> usize {
        self.complete + self.passing + self.slow
    }

    fn is_passing(self, replica: usize) -> bool {
        (self.complete..self.complete + self.passing).contains(&replica)
    }

    fn is_slow(self, replica: usize) -> bool {
        replica >= self.complete + self.passing
    }
}

/// The wire format of deliveries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wire {
    /// Frames of the events protocol, in the layout's format.
    WebSocket,
    /// Server-Sent Events.
    Sse,
    /// Messages of a foreign protocol, all of one topic.
    Foreign(Foreign),
}

impl Wire {
    /// Whether every message carries the epoch of its topic and its offset there.
    fn is_stamped(self) -> bool {
        matches!(self, Self::Foreign(foreign) if foreign.is_stamped())
    }
}

/// The next message of one stream.
#[derive(Debug, Clone, Copy)]
struct StreamState {
    /// `digits(next)`; 0, which no message carries, before the first message of a
    /// replica that may start anywhere.
    expected: u64,
    next: u32,
}

impl StreamState {
    const ANYWHERE: Self = Self {
        expected: 0,
        next: 0,
    };

    fn at(next: u32) -> Self {
        Self {
            expected: payload::digits(next),
            next,
        }
    }
}

/// Knows what must arrive and counts what does.
#[derive(Debug)]
pub(crate) struct Verifier {
    layout: Layout,
    shape: Shape,
    wire: Wire,
    names: Vec<String>,
    /// By replica, topic, publisher.
    streams: Vec<StreamState>,
    /// Rolling hash by replica, topic.
    orders: Vec<u64>,
    /// The connection each (replica, topic) belongs to.
    owners: Vec<u32>,
    envelope: Envelope,
    /// Where messages carry epoch and offset.
    stamps: Option<Stamps>,
    missing: MissingRanges,
    counts: Counts,
    slow_counts: Counts,
    /// Deliveries to complete replicas since [`Self::take_delivered`], by publisher.
    delivered: Vec<u64>,
    latency: Histogram<u64>,
    until_parse: u32,
    /// Events parsed whole, about a microsecond each.
    parses: u64,
    /// The last frame that was not an event.
    last_other: String,
    /// The first message that was corrupt.
    first_corrupt: Option<String>,
    current: CurrentStream,
}

/// The stream of the last event: looked up once for consecutive events.
#[derive(Debug)]
struct CurrentStream {
    owner: u32,
    replica: usize,
    now_ns: u64,
    /// Digits of the source, 0 when nothing is selected.
    source: u64,
    source_number: u32,
    publisher: usize,
    stream: usize,
    order: usize,
    prefix: Range<usize>,
    time: u128,
    sent_ns: u64,
    /// Deliveries not recorded yet, all with this publisher and send time.
    run_length: u64,
}

impl Verifier {
    /// A verifier for `names.len()` topics. `owners` gives the connection of
    /// each (replica, topic), replica by replica.
    pub(crate) fn new(
        layout: Layout,
        shape: Shape,
        wire: Wire,
        names: Vec<String>,
        owners: Vec<u32>,
    ) -> Self {
        let pairs = shape.replicas() * shape.topics;
        assert_eq!(owners.len(), pairs, "one owner per replica and topic");
        assert_eq!(names.len(), shape.topics, "one name per topic");
        let mut streams = vec![StreamState::at(0); pairs * shape.publishers];
        let passing = shape.complete..shape.complete + shape.passing;
        let per_replica = shape.topics * shape.publishers;
        streams[passing.start * per_replica..passing.end * per_replica].fill(StreamState::ANYWHERE);
        Self {
            envelope: Envelope::new(shape.topics),
            stamps: wire
                .is_stamped()
                .then(|| Stamps::new(shape.topics, shape.replicas())),
            layout,
            shape,
            wire,
            names,
            streams,
            orders: vec![0; pairs],
            owners,
            missing: MissingRanges::default(),
            counts: Counts::default(),
            slow_counts: Counts::default(),
            delivered: vec![0; shape.publishers],
            latency: new_histogram(),
            until_parse: PARSE_EVERY,
            parses: 0,
            last_other: String::new(),
            first_corrupt: None,
            current: CurrentStream {
                owner: u32::MAX,
                replica: 0,
                now_ns: 0,
                source: 0,
                source_number: 0,
                publisher: 0,
                stream: 0,
                order: 0,
                prefix: 0..0,
                time: 0,
                sent_ns: 0,
                run_length: 0,
            },
        }
    }

    /// The events that follow came on connection `owner` and were read at `now_ns`.
    pub(crate) fn begin(&mut self, owner: u32, replica: usize, now_ns: u64) {
        if self.current.owner != owner || self.current.replica != replica {
            self.current.owner = owner;
            self.current.replica = replica;
            self.current.source = 0;
        }
        self.current.now_ns = now_ns;
    }

    /// Ends the events of [`Self::begin`].
    pub(crate) fn end(&mut self) {
        self.record_run();
    }

    /// Checks one event frame's payload.
    ///
    /// Cost: about 15 ns for 250 bytes when it is what was expected.
    #[inline]
    pub(crate) fn event(&mut self, text: &[u8]) {
        if !self.expected_event(text) {
            self.parsed_event(text);
        }
    }

    /// Checks a connection's first event frame, by parsing all of it.
    pub(crate) fn first_event(&mut self, text: &[u8]) {
        self.parsed_event(text);
    }

    /// Accepts an event whose every byte is as expected; otherwise changes nothing.
    #[inline]
    fn expected_event(&mut self, text: &[u8]) -> bool {
        let Some((offset, offset_range)) = self.envelope.offset(self.layout.format(), text) else {
            return false;
        };
        let from = self.envelope.data_at(&offset_range);
        let Some((data, tail)) = text
            .get(from..)
            .and_then(|rest| rest.split_at_checked(self.layout.bytes()))
        else {
            return false;
        };
        let is_valid_tail = match (self.wire, self.layout.format()) {
            (Wire::Sse, _) => tail == b"\n",
            (Wire::Foreign(foreign), _) => foreign.is_valid_tail(tail),
            (_, Format::Json) => matches!(tail, [b',' | b'}', .., b'}'] | [b'}']),
            // The next key, a short string; the timestamp is the last value.
            (_, Format::Msgpack) => matches!(tail, [0xA0..0xC0, .., b'Z']),
        };
        let Some(head) = PayloadHead::of(data) else {
            return false;
        };
        if head.source != self.current.source && !self.select(head.source) {
            return false;
        }
        let stream = self.streams[self.current.stream];
        if head.sequence != stream.expected
            || !self
                .envelope
                .matches(&self.current.prefix, text, &offset_range)
            || !is_valid_tail
            || !self
                .layout
                .tail_matches(data, self.current.source_number, stream.next)
        {
            return false;
        }
        if head.time != self.current.time && !self.select_time(head.time) {
            return false;
        }
        if let Some(stamps) = &self.stamps
            && !stamps.is_next(self.current.order, offset)
        {
            return false;
        }
        self.until_parse -= 1;
        if self.until_parse == 0 {
            return false;
        }
        if let Some(stamps) = &mut self.stamps {
            stamps.advance(self.current.order);
        }
        self.take(stream.next);
        true
    }

    /// Parses an event, and counts what is wrong with it.
    #[cold]
    fn parsed_event(&mut self, text: &[u8]) {
        self.parses += 1;
        self.until_parse = PARSE_EVERY;
        let parsed = match self.wire {
            Wire::WebSocket => envelope::parse(self.layout.format(), text),
            Wire::Sse => envelope::parse_sse(text),
            Wire::Foreign(foreign) => foreign.parse(text, &self.names[0]),
        };
        let (name, data_range, stamp) = match parsed {
            Parsed::Event { name, data, stamp } => (name, data, stamp),
            Parsed::Other => {
                self.last_other = String::from_utf8_lossy(text).into_owned();
                self.counts_mut().other += 1;
                return;
            }
            Parsed::Corrupt => return self.count_corrupt(text),
        };
        let data = &text[data_range.clone()];
        let source_and_sequence = PayloadHead::of(data).and_then(|head| {
            let source = Source::from_number(payload::number(head.source)?);
            let sequence = payload::number(head.sequence)?;
            let whole = data.len() == self.layout.bytes()
                && self.layout.tail_matches(data, source.number(), sequence)
                && payload::time_ns(head.time)? <= self.current.now_ns;
            whole.then_some((head, source, sequence))
        });
        let Some((head, source, sequence)) = source_and_sequence else {
            return self.count_corrupt(text);
        };
        let topic = source.topic as usize;
        if self.names.get(topic).map(String::as_str) != Some(&*name)
            || usize::from(source.publisher) >= self.shape.publishers
        {
            // Unchanged, but sent to a topic of another name.
            self.counts_mut().misrouted += 1;
            return;
        }
        let offset = stamp.as_ref().map_or(0..0, |stamp| stamp.digits.clone());
        let stamp = stamp.map(|stamp| (&text[stamp.epoch], stamp.offset));
        let after_offset = &text[offset.end..=data_range.start];
        self.envelope
            .learn(topic, &text[..offset.start], after_offset);
        if !self.select(head.source) || !self.select_time(head.time) {
            self.counts_mut().misrouted += 1;
            return;
        }
        let stream = self.streams[self.current.stream];
        let first = stream.expected == 0;
        if let Some(stamps) = &mut self.stamps {
            let ahead = i64::from(sequence) - i64::from(stream.next);
            let has_one_publisher = self.shape.publishers == 1;
            if !stamps.take(self.current.order, stamp, (ahead, has_one_publisher)) {
                self.counts_mut().misnumbered += 1;
            }
        }
        if first || sequence == stream.next {
            self.take(sequence);
        } else if sequence > stream.next {
            self.missing.add(self.current.stream, stream.next..sequence);
            self.counts_mut().lost += u64::from(sequence - stream.next);
            self.take(sequence);
        } else {
            match self.missing.take(self.current.stream, sequence) {
                LateMessage::WasMissing => {
                    self.counts_mut().lost -= 1;
                    self.counts_mut().reordered += 1;
                    self.fold(sequence);
                    self.current.run_length += 1;
                }
                LateMessage::Duplicate => self.counts_mut().duplicated += 1,
            }
        }
    }

    fn count_corrupt(&mut self, text: &[u8]) {
        self.first_corrupt
            .get_or_insert_with(|| String::from_utf8_lossy(text).into_owned());
        self.counts_mut().corrupt += 1;
    }

    fn counts_mut(&mut self) -> &mut Counts {
        if self.shape.is_slow(self.current.replica) {
            &mut self.slow_counts
        } else {
            &mut self.counts
        }
    }

    #[inline]
    fn take(&mut self, sequence: u32) {
        self.streams[self.current.stream] = StreamState::at(sequence.wrapping_add(1));
        self.fold(sequence);
        self.current.run_length += 1;
    }

    #[inline]
    fn fold(&mut self, sequence: u32) {
        let step = u64::from(sequence) << 32 | self.current.publisher as u64;
        let order = &mut self.orders[self.current.order];
        *order = (order.rotate_left(5) ^ step).wrapping_mul(0x517C_C1B7_2722_0A95);
    }

    /// Selects the stream of `source`, if it belongs to this connection.
    fn select(&mut self, source: u64) -> bool {
        let Some(number) = payload::number(source) else {
            return false;
        };
        let Source { topic, publisher } = Source::from_number(number);
        let (topic, publisher) = (topic as usize, usize::from(publisher));
        if topic >= self.shape.topics || publisher >= self.shape.publishers {
            return false;
        }
        let order = self.current.replica * self.shape.topics + topic;
        if self.owners[order] != self.current.owner {
            return false;
        }
        let Some(prefix) = self.envelope.range(topic) else {
            return false;
        };
        if publisher != self.current.publisher {
            self.record_run();
        }
        self.current.source = source;
        self.current.source_number = number;
        self.current.publisher = publisher;
        self.current.order = order;
        self.current.stream = order * self.shape.publishers + publisher;
        self.current.prefix = prefix;
        true
    }

    /// Selects the send time `time`.
    fn select_time(&mut self, time: u128) -> bool {
        let Some(sent_ns) = payload::time_ns(time) else {
            return false;
        };
        if sent_ns > self.current.now_ns {
            return false;
        }
        self.record_run();
        self.current.time = time;
        self.current.sent_ns = sent_ns;
        true
    }

    /// Records the deliveries with one send time and one publisher.
    fn record_run(&mut self) {
        let count = std::mem::take(&mut self.current.run_length);
        if count == 0 {
            return;
        }
        self.counts_mut().received += count;
        if self.current.replica < self.shape.complete {
            self.delivered[self.current.publisher] += count;
            let latency = self
                .current
                .now_ns
                .saturating_sub(self.current.sent_ns)
                .max(1);
            self.latency.saturating_record_n(latency, count);
        }
    }

    /// Deliveries of `publisher` to complete replicas since the last call.
    pub(crate) fn take_delivered(&mut self, publisher: usize) -> u64 {
        std::mem::take(&mut self.delivered[publisher])
    }

    /// The last frame that was not an event, as the server wrote it.
    pub(crate) fn last_other(&self) -> &str {
        &self.last_other
    }

    /// The first message that was corrupt, as the server wrote it.
    pub(crate) fn first_corrupt(&self) -> Option<&str> {
        self.first_corrupt.as_deref()
    }

    /// Latencies of deliveries to complete replicas, for the caller to reset.
    pub(crate) fn latency_mut(&mut self) -> &mut Histogram<u64> {
        &mut self.latency
    }

    /// Counts over all replicas that are not slow. Messages that did not arrive
    /// yet are not in `lost`; see [`Self::finish`].
    pub(crate) fn counts(&self) -> Counts {
        self.counts
    }

    /// Counts of the slow replicas.
    pub(crate) fn slow_counts(&self) -> Counts {
        self.slow_counts
    }

    /// Events that were parsed whole.
    pub(crate) fn parses(&self) -> u64 {
        self.parses
    }

    /// A passing replica disconnects; its next connection may start anywhere.
    pub(crate) fn restart(&mut self, replica: usize) {
        assert!(self.shape.is_passing(replica), "only those may start again");
        let per_replica = self.shape.topics * self.shape.publishers;
        let streams = replica * per_replica..(replica + 1) * per_replica;
        for stream in streams.clone() {
            self.missing.forget(stream);
        }
        self.streams[streams].fill(StreamState::ANYWHERE);
        self.current.source = 0;
    }

    /// Counts what is missing of the messages that each (topic, publisher) sent,
    /// and compares the order of the complete replicas topic by topic.
    pub(crate) fn finish(&self, sent: &[u32]) -> VerifierReport {
        let per_replica = self.shape.topics * self.shape.publishers;
        assert_eq!(sent.len(), per_replica, "one count per topic and publisher");
        let mut counts = self.counts;
        for replica in self.streams[..self.shape.complete * per_replica].chunks(per_replica) {
            for (stream, &sent) in replica.iter().zip(sent) {
                counts.lost += u64::from(sent.saturating_sub(stream.next));
            }
        }
        if counts.lost > 0 {
            return VerifierReport {
                counts,
                topics_disagreeing: None,
            };
        }
        let mut topics_disagreeing = 0;
        for topic in 0..self.shape.topics {
            let mut orders = (0..self.shape.complete)
                .map(|replica| self.orders[replica * self.shape.topics + topic]);
            let first = orders.next();
            topics_disagreeing += u64::from(orders.any(|order| Some(order) != first));
        }
        VerifierReport {
            counts,
            topics_disagreeing: Some(topics_disagreeing),
        }
    }
}

/// The result of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct VerifierReport {
    pub(crate) counts: Counts,
    /// Topics of which two complete replicas saw different sequences; not known
    /// when messages are missing.
    pub(crate) topics_disagreeing: Option<u64>,
}

/// A latency histogram in nanoseconds with three significant digits.
pub(crate) fn new_histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 600_000_000_000, 3).expect("the bounds are valid")
}

#[cfg(test)]
mod tests;
