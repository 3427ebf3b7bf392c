//! Checks what users get: the right user, once, in order for each connection that
//! posts, unchanged, with all fields that the server adds.
//!
//! The first push is parsed whole. It teaches where the parts that differ stand, and
//! from then on a push is compared in place; whatever does not fit exactly, and every
//! [`PARSE_EVERY`]th in any case, is parsed.

use std::ops::Range;

use hdrhistogram::Histogram;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::plan::Plan;
use super::request::{NOTIFICATION, PROBE, QUESTION, TIMESTAMP};
use crate::payload::{self, Layout, PayloadHead, Source};
use crate::verify::{Counts, LateMessage, MissingRanges, new_histogram};

/// Every so many pushes one is parsed although it looked right.
const PARSE_EVERY: u32 = 4_096;

/// A frame as the server sends it, any field out of place being a fault.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Frame<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    timestamp: Option<u64>,
    #[serde(borrow)]
    message: Option<&'a RawValue>,
    #[serde(borrow)]
    original_sender: Sender<'a>,
    #[serde(borrow)]
    user_id: &'a RawValue,
    #[serde(borrow)]
    correlation_id: &'a RawValue,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Sender<'a> {
    #[serde(borrow)]
    user_id: &'a RawValue,
    timestamp: Option<u64>,
}

/// A question that came to the user whom it was for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Question {
    pub(crate) slot: u16,
    pub(crate) sequence: u32,
    /// The id in JSON.
    pub(crate) correlation: String,
}

/// What a payload says, once it is known to be whole.
#[derive(Debug, Clone, Copy)]
struct Letter {
    slot: u16,
    user: usize,
    sequence: u32,
    sent_ns: u64,
}

/// A push with the places of what differs from one to the next.
#[derive(Debug)]
struct Template {
    text: Vec<u8>,
    message: Range<usize>,
    users: [Range<usize>; 2],
    correlation: Range<usize>,
    /// Everything else.
    fixed: Vec<Range<usize>>,
}

/// Knows what must come to whom and counts what does.
#[derive(Debug)]
pub(crate) struct Deliveries {
    layout: Layout,
    /// Messages sent and the next one expected, by connection that posts and user.
    sent: Vec<u32>,
    expected: Vec<u32>,
    users: usize,
    slots: usize,
    missing: MissingRanges,
    counts: Counts,
    latency: Histogram<u64>,
    template: Option<Template>,
    until_parse: u32,
    /// Messages that were sent.
    pushed: u64,
    /// The first frame that was corrupt or for another user.
    first_fault: Option<String>,
}

impl Deliveries {
    pub(crate) fn new(plan: &Plan, layout: Layout) -> Self {
        let (users, slots) = (plan.users.len(), plan.slots.len());
        Self {
            layout,
            sent: vec![0; users * slots],
            expected: vec![0; users * slots],
            users,
            slots,
            missing: MissingRanges::default(),
            counts: Counts::default(),
            latency: new_histogram(),
            template: None,
            until_parse: PARSE_EVERY,
            pushed: 0,
            first_fault: None,
        }
    }

    /// The number of the next message from `slot` to `user`, which is sent now.
    pub(crate) fn send(&mut self, slot: u16, user: usize) -> u32 {
        let sent = &mut self.sent[usize::from(slot) * self.users + user];
        self.pushed += 1;
        *sent += 1;
        *sent - 1
    }

    pub(crate) fn counts(&self) -> Counts {
        self.counts
    }

    /// Messages that were sent and did not come yet.
    pub(crate) fn outstanding(&self) -> u64 {
        self.pushed.saturating_sub(self.counts.received)
    }

    pub(crate) fn latency_mut(&mut self) -> &mut Histogram<u64> {
        &mut self.latency
    }

    pub(crate) fn first_fault(&self) -> Option<&str> {
        self.first_fault.as_deref()
    }

    /// Counts what never came.
    pub(crate) fn finish(&mut self) -> Counts {
        let pairs = self.sent.iter().zip(&self.expected);
        self.counts.lost += pairs
            .map(|(&sent, &expected)| u64::from(sent.saturating_sub(expected)))
            .sum::<u64>();
        self.counts
    }

    /// Checks one frame that came to `user`; `name` is the user's in quotes.
    ///
    /// Cost: about 100 ns and a comparison of all bytes for a push that is right.
    pub(crate) fn frame(
        &mut self,
        user: usize,
        name: &str,
        text: &[u8],
        plan: &Plan,
        now_ns: u64,
    ) -> Option<Question> {
        self.until_parse -= 1;
        if self.until_parse > 0
            && let Some(template) = &self.template
            && template.matches(text, name.as_bytes())
            && let Some(letter) = self.letter(&text[template.message.clone()], now_ns)
            && letter.user == user
        {
            self.take(letter, now_ns);
            return None;
        }
        self.until_parse = PARSE_EVERY;
        self.any_frame(user, text, plan, now_ns)
    }

    #[cold]
    fn any_frame(
        &mut self,
        user: usize,
        text: &[u8],
        plan: &Plan,
        now_ns: u64,
    ) -> Option<Question> {
        let faults = self.counts.corrupt + self.counts.misrouted;
        let question = self.parsed_frame(user, text, plan, now_ns);
        if self.counts.corrupt + self.counts.misrouted > faults {
            self.first_fault
                .get_or_insert_with(|| format!("{:.400}", String::from_utf8_lossy(text)));
        }
        question
    }

    fn parsed_frame(
        &mut self,
        user: usize,
        text: &[u8],
        plan: &Plan,
        now_ns: u64,
    ) -> Option<Question> {
        let Ok(frame) = serde_json::from_slice::<Frame<'_>>(text) else {
            self.counts.corrupt += 1;
            return None;
        };
        if frame.kind == PROBE {
            self.counts.other += 1;
            return None;
        }
        let message = frame.message.map_or("", RawValue::get).as_bytes();
        let Some(letter) = self.letter(message, now_ns) else {
            self.counts.corrupt += 1;
            return None;
        };
        if !frame.is_for(&plan.users[letter.user]) {
            self.counts.corrupt += 1;
            return None;
        }
        if letter.user != user {
            self.counts.misrouted += 1;
            return None;
        }
        match frame.kind {
            QUESTION => Some(Question {
                slot: letter.slot,
                sequence: letter.sequence,
                correlation: frame.correlation_id.get().to_owned(),
            }),
            NOTIFICATION if is_quoted_uuid(frame.correlation_id.get().as_bytes()) => {
                self.template = Template::of(text, &frame, message);
                self.take(letter, now_ns);
                None
            }
            _ => {
                self.counts.corrupt += 1;
                None
            }
        }
    }

    /// What a payload says if nothing in it was changed.
    fn letter(&self, data: &[u8], now_ns: u64) -> Option<Letter> {
        // The rest of the payload says nothing of the quote before it.
        let is_text = data.len() == self.layout.bytes() && data.first() == Some(&b'"');
        let head = PayloadHead::of(data).filter(|_| is_text)?;
        let source = payload::number(head.source)?;
        let sequence = payload::number(head.sequence)?;
        let sent_ns = payload::time_ns(head.time).filter(|&sent_ns| sent_ns <= now_ns)?;
        let Source { topic, publisher } = Source::from_number(source);
        let slot = u16::try_from(topic).ok()?;
        let known = usize::from(slot) < self.slots && usize::from(publisher) < self.users;
        (known && self.layout.tail_matches(data, source, sequence)).then_some(Letter {
            slot,
            user: publisher.into(),
            sequence,
            sent_ns,
        })
    }

    /// Counts a push that came to its user.
    fn take(&mut self, letter: Letter, now_ns: u64) {
        let stream = usize::from(letter.slot) * self.users + letter.user;
        let expected = self.expected[stream];
        if letter.sequence >= expected {
            if letter.sequence > expected {
                self.counts.lost += u64::from(letter.sequence - expected);
                self.missing.add(stream, expected..letter.sequence);
            }
            self.expected[stream] = letter.sequence + 1;
        } else {
            match self.missing.take(stream, letter.sequence) {
                LateMessage::WasMissing => {
                    self.counts.lost -= 1;
                    self.counts.reordered += 1;
                }
                LateMessage::Duplicate => {
                    self.counts.duplicated += 1;
                    return;
                }
            }
        }
        self.counts.received += 1;
        self.latency
            .saturating_record(now_ns.saturating_sub(letter.sent_ns).max(1));
    }
}

impl Frame<'_> {
    /// Whether everything the server adds names this user, in quotes.
    fn is_for(&self, name: &str) -> bool {
        self.user_id.get() == name
            && self.original_sender.user_id.get() == name
            && self.timestamp == Some(TIMESTAMP)
            && self.original_sender.timestamp == self.timestamp
    }
}

impl Template {
    /// None if the places are not apart from each other, which they always are.
    fn of(text: &[u8], frame: &Frame<'_>, message: &[u8]) -> Option<Self> {
        let place = |part: &[u8]| {
            let start = part.as_ptr().addr().checked_sub(text.as_ptr().addr())?;
            Some(start..start + part.len())
        };
        let message = place(message)?;
        let correlation = place(frame.correlation_id.get().as_bytes())?;
        let users = [
            place(frame.user_id.get().as_bytes())?,
            place(frame.original_sender.user_id.get().as_bytes())?,
        ];
        let mut holes = [
            message.clone(),
            correlation.clone(),
            users[0].clone(),
            users[1].clone(),
        ];
        holes.sort_by_key(|hole| hole.start);
        let mut fixed = Vec::with_capacity(holes.len() + 1);
        let mut from = 0;
        for hole in holes {
            fixed.push((from <= hole.start).then_some(from..hole.start)?);
            from = hole.end;
        }
        fixed.push(from..text.len());
        Some(Self {
            text: text.to_vec(),
            message,
            users,
            correlation,
            fixed,
        })
    }

    /// Whether `text` differs only where pushes for this user may.
    fn matches(&self, text: &[u8], name: &[u8]) -> bool {
        text.len() == self.text.len()
            && self
                .fixed
                .iter()
                .all(|part| text[part.clone()] == self.text[part.clone()])
            && self.users.iter().all(|place| text[place.clone()] == *name)
            && is_quoted_uuid(&text[self.correlation.clone()])
    }
}

/// Whether `text` is a random UUID in quotes (RFC 9562 section 5.4).
fn is_quoted_uuid(text: &[u8]) -> bool {
    let [b'"', uuid @ .., b'"'] = text else {
        return false;
    };
    uuid.len() == 36
        && uuid[14] == b'4'
        && uuid.iter().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => *byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{Options, Scenario};
    use clap::Parser;

    fn plan() -> Plan {
        let options = Options::parse_from(["loadgen", "bridge", "push", "--users", "3"]);
        match &options.scenario {
            Scenario::Bridge(bridge) => Plan::of(bridge).unwrap(),
            _ => unreachable!("it was asked for"),
        }
    }

    fn layout() -> Layout {
        Layout::new(64, 1)
    }

    /// What a right server sends to a user.
    fn frame(kind: &str, slot: u16, user: u16, sequence: u32) -> String {
        let mut message = Vec::new();
        let source = Source {
            topic: slot.into(),
            publisher: user,
        };
        layout().write(&mut message, source, sequence, 5);
        let message = String::from_utf8(message).unwrap();
        format!(
            r#"{{"type":"{kind}","timestamp":{TIMESTAMP},"message":{message},"original_sender":{{"user_id":"u0000{user}","timestamp":{TIMESTAMP}}},"user_id":"u0000{user}","correlation_id":"0190d5c6-5a5b-4c8e-9d3f-0123456789a{user}"}}"#
        )
    }

    fn push(slot: u16, user: u16, sequence: u32) -> String {
        frame(NOTIFICATION, slot, user, sequence)
    }

    /// Sends three messages of connection 0 to user 1, hands `frames` to that user,
    /// and compares received, lost, duplicated, reordered, corrupt, misrouted.
    fn check(frames: &[String], expected: [u64; 6]) {
        let plan = plan();
        let mut deliveries = Deliveries::new(&plan, layout());
        for _ in 0..3 {
            deliveries.send(0, 1);
        }
        for text in frames {
            deliveries.frame(1, &plan.users[1], text.as_bytes(), &plan, 10);
        }
        let counts = deliveries.finish();
        let found = [
            counts.received,
            counts.lost,
            counts.duplicated,
            counts.reordered,
            counts.corrupt,
            counts.misrouted,
        ];
        assert_eq!(found, expected, "{frames:#?}");
        let told = deliveries.first_fault().is_some();
        assert_eq!(told, expected[4] + expected[5] > 0, "{frames:#?}");
    }

    #[test]
    fn pushes_are_right_when_they_are_complete_and_in_order() {
        check(
            &[push(0, 1, 0), push(0, 1, 1), push(0, 1, 2)],
            [3, 0, 0, 0, 0, 0],
        );
    }

    #[test]
    fn every_fault_of_a_delivery_is_found() {
        let [a, b, c] = [0, 1, 2].map(|sequence| push(0, 1, sequence));
        check(&[a.clone(), c.clone()], [2, 1, 0, 0, 0, 0]);
        check(&[a.clone(), b.clone()], [2, 1, 0, 0, 0, 0]);
        check(
            &[a.clone(), b.clone(), b.clone(), c.clone()],
            [3, 0, 1, 0, 0, 0],
        );
        check(&[a.clone(), c.clone(), b.clone()], [3, 0, 0, 1, 0, 0]);
        check(
            &[a.clone(), push(0, 2, 0), b.clone(), c.clone()],
            [3, 0, 0, 0, 0, 1],
        );
        for (from, to) in [
            ("fanfare", "fanFare"),
            (r#""user_id":"u00001","c"#, r#""user_id":"u00002","c"#),
            (r#"{"user_id":"u00001""#, r#"{"user_id":"u00002""#),
            (r#","user_id":"u00001""#, ""),
            ("-4c8e-", "-1c8e-"),
            (r#""timestamp":1767225600}"#, r#""timestamp":null}"#),
            (NOTIFICATION, "notificatiom"),
            (r#"{"type""#, r#"{"more":1,"type""#),
        ] {
            let changed = b.replacen(from, to, 1);
            assert_ne!(changed, b, "{from}");
            check(&[a.clone(), changed, c.clone()], [2, 1, 0, 0, 1, 0]);
        }
    }

    #[test]
    fn a_changed_byte_anywhere_is_noticed() {
        let [a, b, c] = [0, 1, 2].map(|sequence| push(0, 1, sequence));
        let id = b.find("0190d5c6").unwrap();
        for at in 0..b.len() {
            let mut changed = b.clone().into_bytes();
            changed[at] ^= 1;
            let Ok(changed) = String::from_utf8(changed) else {
                continue;
            };
            let plan = plan();
            let mut deliveries = Deliveries::new(&plan, layout());
            for text in [&a, &changed, &c] {
                deliveries.frame(1, &plan.users[1], text.as_bytes(), &plan, 10);
            }
            // Any digit may stand in an id, and any time that is past in a message.
            let is_free = (id..id + 36).contains(&at) || changed.contains("0000000000000004");
            assert!(is_free || deliveries.counts().faults() > 0, "{changed}");
        }
    }

    #[test]
    fn questions_are_handed_on_and_probes_passed_over() {
        let plan = plan();
        let mut deliveries = Deliveries::new(&plan, layout());
        let mut to_user = |user: usize, text: String| {
            let name = &plan.users[user];
            deliveries.frame(user, name, text.as_bytes(), &plan, 10)
        };
        let question = Question {
            slot: 2,
            sequence: 7,
            correlation: r#""0190d5c6-5a5b-4c8e-9d3f-0123456789a1""#.into(),
        };
        assert_eq!(to_user(1, frame(QUESTION, 2, 1, 7)), Some(question));
        assert_eq!(to_user(0, frame(QUESTION, 2, 1, 7)), None);
        let probe = r#"{"type":"probe","original_sender":{"user_id":"u00001","timestamp":null},"user_id":"u00001","correlation_id":"x"}"#;
        assert_eq!(to_user(1, probe.into()), None);
        let counts = deliveries.counts();
        assert_eq!((counts.misrouted, counts.other, counts.faults()), (1, 1, 1));
    }
}
