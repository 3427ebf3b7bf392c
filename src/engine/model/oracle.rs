//! The reference: the publications of each topic in the order in which its home accepted them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{Debug, Formatter};

use super::encoder::Event;
use super::queue::QueueOracle;
use super::seen::{Seen, Thing};
use crate::id::Position;

/// The kind of a violation.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Check {
    /// The engine panicked.
    Panic,
    /// Bytes that are not a frame, or a frame of another format.
    Frame,
    /// A message of a topic that the client is no member of, or one that leaves it out.
    NotSubscribed,
    /// A message repeated or out of order.
    Order,
    /// Messages are missing without a gap.
    Missing,
    /// A gap reports more messages than are missing, or other topics.
    Gap,
    /// A message before the confirmation that names its topic.
    BeforeConfirmation,
    /// A message at or before the position in its confirmation.
    AfterConfirmation,
    /// A confirmation with wrong content.
    Confirmation,
    /// Two messages at one offset.
    Data,
    /// A key accepted twice, or forgotten.
    Key,
    /// An answer to a publication is wrong.
    Published,
    /// A publication reached another number of members.
    Members,
    /// Presence is wrong.
    Presence,
    /// A call is wrong.
    Call,
    /// A request was never answered.
    Unanswered,
    /// The cursor of a stream does not match what its client has received.
    Cursor,
    /// A history is wrong.
    History,
    /// A message of a queue group came twice or to no member.
    Queue,
    /// A client's publications changed their order.
    Overtaken,
    /// State is left over at the end.
    Left,
    /// Work is pending that nothing will complete.
    Stuck,
}

/// A violation, the payload of the panic that ends a run.
#[derive(Clone)]
pub(super) struct Violation {
    pub(super) check: Check,
    pub(super) detail: String,
}

impl Debug for Violation {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}: {}", self.check, self.detail)
    }
}

/// Ends the run.
pub(super) fn fail(check: Check, detail: impl Into<String>) -> ! {
    let mut detail: String = detail.into();
    // Padding of the data is left out.
    while detail.contains("xxxx") {
        detail = detail.replace("xxxx", "xx");
    }
    std::panic::panic_any(Violation { check, detail })
}

/// Ends the run unless both are equal.
pub(super) fn expect<T: PartialEq + Debug>(check: Check, found: &T, expected: &T, what: &str) {
    if found != expected {
        fail(check, format!("{what}: {found:?} instead of {expected:?}"));
    }
}

/// The reference state of a run.
#[derive(Debug, Default)]
pub(super) struct Oracle {
    /// By topic and epoch: the data at each offset, where known.
    logs: BTreeMap<(String, u64), Vec<Option<String>>>,
    /// By topic and epoch: the time of each publication.
    times: BTreeMap<(String, u64), Vec<u64>>,
    /// The user that a publication leaves out, by its data,
    excepts: BTreeMap<String, String>,
    /// and by topic, epoch and offset.
    skipped: BTreeMap<(String, u64, u64), String>,
    /// The user whose client reads.
    pub(super) reader: String,
    /// The data that each user has given of itself.
    given: BTreeSet<(String, String)>,
    /// The data of presence messages, by topic, epoch and number.
    presence: BTreeMap<(String, u64, u64), String>,
    /// The messages of queue groups.
    pub(super) queues: QueueOracle,
    /// When each key was first accepted, and its offset.
    keys: BTreeMap<(String, String), (u64, u64)>,
    /// The offsets of publications, by their data.
    offsets: BTreeMap<String, u64>,
    /// The newest of each client's publications to a topic.
    newest: BTreeMap<(String, String), u64>,
    /// The request being handled was handed over later than one that waits for room.
    pub(super) passes_stalled: bool,
    /// Such a request has been handled.
    pub(super) has_passed: bool,
    /// Topics and publishers of which this is so.
    overtaken: BTreeSet<(String, String)>,
    /// The time of the run.
    pub(super) now_ms: u64,
    /// What clients read is printed.
    pub(super) is_verbose: bool,
    pub(super) seen: Seen,
}

/// How long a key is remembered.
const KEY_MS: u64 = 5 * 60 * 1000;

impl Oracle {
    /// A home has accepted a message. `None`: its data is unknown.
    pub(super) fn append(&mut self, topic: &str, at: Position, data: Option<&str>) {
        let is_new = at.offset == 1 && self.logs.keys().any(|(known, _)| known == topic);
        let log = self.logs.entry((topic.into(), at.epoch)).or_default();
        expect(Check::Data, &(log.len() as u64 + 1), &at.offset, topic);
        log.push(data.map(Into::into));
        if let Some(user) = data.and_then(|data| self.excepts.get(data)) {
            let key = (topic.into(), at.epoch, at.offset);
            self.skipped.insert(key, user.clone());
        }
        let times = self.times.entry((topic.into(), at.epoch)).or_default();
        times.push(self.now_ms);
        if is_new {
            self.seen.note(Thing::EpochChanged);
        }
    }

    /// The publication with this data leaves out a user.
    pub(super) fn leave_out(&mut self, data: &str, user: &str) {
        self.excepts.insert(data.into(), user.into());
    }

    /// The user that a message leaves out, or none.
    pub(super) fn skipped_user(&self, key: &(String, u64, u64)) -> &str {
        self.skipped.get(key).map_or("", String::as_str)
    }

    /// Messages of a topic after one position and up to another that leave out the reader.
    pub(super) fn skipped(&self, topic: &str, after: Position, until: u64) -> u64 {
        let key = |offset| (topic.to_owned(), after.epoch, offset);
        if after.offset >= until {
            return 0;
        }
        let between = self.skipped.range(key(after.offset + 1)..=key(until));
        between.filter(|(_, user)| **user == self.reader).count() as u64
    }

    /// Messages of a topic's epoch before `ms`.
    pub(super) fn count_before(&self, topic: &str, epoch: u64, ms: u64) -> u64 {
        let times = self.times.get(&(topic.to_owned(), epoch));
        times.map_or(0, |times| times.partition_point(|&time| time < ms) as u64)
    }

    /// The topics and epochs whose newest message was published at a time for which `is_meant` is true.
    pub(super) fn newest_of(&self, is_meant: impl Fn(u64) -> bool) -> Vec<(String, u64)> {
        let times = self.times.iter();
        let meant = times.filter(|(_, times)| times.last().is_some_and(|&ms| is_meant(ms)));
        meant.map(|(life, _)| life.clone()).collect()
    }

    /// The positions of topics before `ms`.
    pub(super) fn heads_before(&self, ms: u64) -> BTreeMap<String, Position> {
        let mut heads = BTreeMap::new();
        for (topic, epoch) in self.times.keys() {
            let (epoch, offset) = (*epoch, self.count_before(topic, *epoch, ms));
            if offset > 0 {
                heads.insert(topic.clone(), Position { epoch, offset });
            }
        }
        heads
    }

    /// A client or a history reader has received a message.
    pub(super) fn check_data(&mut self, event: &Event<'_>) {
        let (topic, at) = (event.topic, event.position);
        if event.is_presence {
            let key = (topic.into(), at.epoch, at.offset);
            let known = self
                .presence
                .entry(key)
                .or_insert_with(|| event.data.into());
            if **known != *event.data {
                fail(Check::Data, format!("{event:?} was {known}"));
            }
            return;
        }
        self.check_message(topic, at, event.data);
        let before = Position {
            offset: at.offset - 1,
            ..at
        };
        if self.skipped(topic, before, at.offset) > 0 {
            fail(Check::NotSubscribed, format!("{event:?} leaves it out"));
        }
    }

    /// A user has given data of itself.
    pub(super) fn note_presence_data(&mut self, user: &str, data: &str) {
        self.given.insert((user.into(), data.into()));
    }

    /// A presence message or a roster says that a user has this data.
    pub(super) fn check_presence_data(&self, user: &str, data: &str) {
        let is_given = self.given.contains(&(user.into(), data.into()));
        if !is_given && !matches!(data, "" | "null") {
            fail(Check::Presence, format!("{user} never gave {data}"));
        }
    }

    /// As [`Self::check_data`], for a message that is not presence.
    pub(super) fn check_message(&mut self, topic: &str, at: Position, data: &str) {
        let log = self.logs.get_mut(&(topic.into(), at.epoch));
        let index = usize::try_from(at.offset).unwrap_or(0).wrapping_sub(1);
        let Some(known) = log.and_then(|log| log.get_mut(index)) else {
            fail(Check::Data, format!("{topic} has no {at:?}"));
        };
        let known = known.get_or_insert_with(|| data.into());
        if known != data {
            fail(
                Check::Data,
                format!("{topic} {at:?} is {data} and was {known}"),
            );
        }
    }

    /// The offset that a publication with this key must get, if the key is known.
    pub(super) fn known_key(&self, topic: &str, key: &str, now_ms: u64) -> Option<u64> {
        let (since, offset) = self.keys.get(&(topic.into(), key.into()))?;
        (now_ms - since < KEY_MS).then_some(*offset)
    }

    /// A home has accepted a publication with a key.
    pub(super) fn note_key(&mut self, topic: &str, key: &str, now_ms: u64, offset: u64) {
        let name = (topic.to_owned(), key.to_owned());
        self.keys.insert(name, (now_ms, offset));
    }

    /// Records the offset of the publication with this data.
    pub(super) fn note_offset(&mut self, data: &str, offset: u64) {
        if let Some(known) = self.offsets.insert(data.into(), offset) {
            fail(Check::Published, format!("{data} was {known} before"));
        }
    }

    /// Checks the offset in an answer.
    pub(super) fn check_offset(&self, data: &str, offset: u64) {
        let known = self.offsets.get(data).copied();
        expect(Check::Published, &Some(offset), &known, data);
    }

    /// A home has accepted a publisher's publication with this number.
    pub(super) fn check_order(&mut self, topic: &str, publisher: &str, number: u64) {
        let name = (topic.to_owned(), publisher.to_owned());
        if self.passes_stalled {
            self.overtaken.insert(name.clone());
        }
        // A request that waits for room does not hold up the same client's requests on another connection.
        let is_overtaken = self.overtaken.contains(&name);
        let newest = self.newest.entry(name).or_default();
        if *newest < number {
            *newest = number;
        } else if !is_overtaken {
            let what = format!("{publisher} published {number} to {topic} before {newest}");
            fail(Check::Overtaken, what);
        }
    }
}
