//! Checks what users get: every push at its user, once, unchanged, in the order of its
//! service, with all fields that the server adds.
//!
//! The first push is parsed whole, to learn which ranges differ between pushes. Later
//! ones are compared in place. A push that differs elsewhere is parsed, as is every
//! [`PARSE_EVERY`]th.

use std::ops::Range;

use hdrhistogram::Histogram;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::plan::BridgePlan;
use super::request::{NOTIFICATION, PROBE, QUESTION, TIMESTAMP};
use crate::payload::{self, Layout, PayloadHead, Source};
use crate::verify::{Counts, MissingRanges, new_histogram};

/// Every so many pushes, one is parsed although its bytes are as expected.
const PARSE_EVERY: u32 = 4_096;

/// A frame to a user. Unknown and missing fields are faults.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct PushFrame<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    timestamp: Option<u64>,
    #[serde(borrow)]
    message: Option<&'a RawValue>,
    #[serde(borrow)]
    original_sender: OriginalSender<'a>,
    #[serde(borrow)]
    user_id: &'a RawValue,
    #[serde(borrow)]
    correlation_id: &'a RawValue,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct OriginalSender<'a> {
    #[serde(borrow)]
    user_id: &'a RawValue,
    timestamp: Option<u64>,
}

/// The question of a call, received by the user it is for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Question {
    pub(crate) service: u16,
    pub(crate) sequence: u32,
    /// The correlation id in JSON.
    pub(crate) correlation: String,
}

/// The content of an unchanged payload.
#[derive(Debug, Clone, Copy)]
struct PushPayload {
    service: u16,
    user: usize,
    sequence: u32,
    sent_ns: u64,
}

/// A push, with the ranges that differ between pushes.
#[derive(Debug)]
struct Template {
    text: Vec<u8>,
    message: Range<usize>,
    users: [Range<usize>; 2],
    correlation: Range<usize>,
    /// The ranges that are equal in all pushes.
    fixed: Vec<Range<usize>>,
}

/// Knows what every user must get and counts what it does.
#[derive(Debug)]
pub(crate) struct Deliveries {
    layout: Layout,
    /// Messages sent and next sequence number expected, by service and user.
    sent: Vec<u32>,
    expected: Vec<u32>,
    users: usize,
    services: usize,
    missing: MissingRanges,
    counts: Counts,
    latency: Histogram<u64>,
    template: Option<Template>,
    until_parse: u32,
    /// Messages sent in all.
    pushed: u64,
    /// The first corrupt or misrouted frame.
    first_fault: Option<String>,
}

impl Deliveries {
    pub(crate) fn new(plan: &BridgePlan, layout: Layout) -> Self {
        let (users, services) = (plan.users.len(), plan.services.len());
        Self {
            layout,
            sent: vec![0; users * services],
            expected: vec![0; users * services],
            users,
            services,
            missing: MissingRanges::default(),
            counts: Counts::default(),
            latency: new_histogram(),
            template: None,
            until_parse: PARSE_EVERY,
            pushed: 0,
            first_fault: None,
        }
    }

    /// Counts a message from `service` to `user` as sent; returns its sequence number.
    pub(crate) fn send(&mut self, service: u16, user: usize) -> u32 {
        let sent = &mut self.sent[usize::from(service) * self.users + user];
        self.pushed += 1;
        *sent += 1;
        *sent - 1
    }

    pub(crate) fn counts(&self) -> Counts {
        self.counts
    }

    /// Messages sent and not received yet.
    pub(crate) fn outstanding(&self) -> u64 {
        self.pushed.saturating_sub(self.counts.received)
    }

    pub(crate) fn latency_mut(&mut self) -> &mut Histogram<u64> {
        &mut self.latency
    }

    pub(crate) fn first_fault(&self) -> Option<&str> {
        self.first_fault.as_deref()
    }

    /// Counts the messages that are still missing.
    pub(crate) fn finish(&mut self) -> Counts {
        let pairs = self.sent.iter().zip(&self.expected);
        self.counts.lost += pairs
            .map(|(&sent, &expected)| u64::from(sent.saturating_sub(expected)))
            .sum::<u64>();
        self.counts
    }

    /// Checks one frame to `user`; `name` is the user id in quotes.
    ///
    /// Cost: about 100 ns and a comparison of all bytes for a correct push.
    pub(crate) fn frame(
        &mut self,
        user: usize,
        name: &str,
        text: &[u8],
        plan: &BridgePlan,
        now_ns: u64,
    ) -> Option<Question> {
        self.until_parse -= 1;
        if self.until_parse > 0
            && let Some(template) = &self.template
            && template.matches(text, name.as_bytes())
            && let Some(push) = self.payload(&text[template.message.clone()], now_ns)
            && push.user == user
        {
            self.take(push, now_ns);
            return None;
        }
        self.until_parse = PARSE_EVERY;
        self.uncommon_frame(user, text, plan, now_ns)
    }

    #[cold]
    fn uncommon_frame(
        &mut self,
        user: usize,
        text: &[u8],
        plan: &BridgePlan,
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
        plan: &BridgePlan,
        now_ns: u64,
    ) -> Option<Question> {
        let Ok(frame) = serde_json::from_slice::<PushFrame<'_>>(text) else {
            self.counts.corrupt += 1;
            return None;
        };
        if frame.kind == PROBE {
            self.counts.other += 1;
            return None;
        }
        let message = frame.message.map_or("", RawValue::get).as_bytes();
        let Some(push) = self.payload(message, now_ns) else {
            self.counts.corrupt += 1;
            return None;
        };
        if !frame.is_for(&plan.users[push.user]) {
            self.counts.corrupt += 1;
            return None;
        }
        if push.user != user {
            self.counts.misrouted += 1;
            return None;
        }
        match frame.kind {
            QUESTION => Some(Question {
                service: push.service,
                sequence: push.sequence,
                correlation: frame.correlation_id.get().to_owned(),
            }),
            NOTIFICATION if is_quoted_uuid(frame.correlation_id.get().as_bytes()) => {
                self.template = Template::of(text, &frame, message);
                self.take(push, now_ns);
                None
            }
            _ => {
                self.counts.corrupt += 1;
                None
            }
        }
    }

    /// The content of a payload, if it is unchanged.
    fn payload(&self, data: &[u8], now_ns: u64) -> Option<PushPayload> {
        // `tail_matches` does not check the opening quote.
        let is_text = data.len() == self.layout.bytes() && data.first() == Some(&b'"');
        let head = PayloadHead::of(data).filter(|_| is_text)?;
        let source = payload::number(head.source)?;
        let sequence = payload::number(head.sequence)?;
        let sent_ns = payload::time_ns(head.time).filter(|&sent_ns| sent_ns <= now_ns)?;
        let Source { topic, publisher } = Source::from_number(source);
        let service = u16::try_from(topic).ok()?;
        let known = usize::from(service) < self.services && usize::from(publisher) < self.users;
        (known && self.layout.tail_matches(data, source, sequence)).then_some(PushPayload {
            service,
            user: publisher.into(),
            sequence,
            sent_ns,
        })
    }

    /// Counts a push received by its user.
    fn take(&mut self, push: PushPayload, now_ns: u64) {
        let stream = usize::from(push.service) * self.users + push.user;
        let expected = &mut self.expected[stream];
        if self
            .missing
            .count(stream, push.sequence, expected, &mut self.counts)
        {
            self.counts.received += 1;
            self.latency
                .saturating_record(now_ns.saturating_sub(push.sent_ns).max(1));
        }
    }
}

impl PushFrame<'_> {
    /// Whether the fields that the server adds are those of the user with this id, in quotes.
    fn is_for(&self, name: &str) -> bool {
        self.user_id.get() == name
            && self.original_sender.user_id.get() == name
            && self.timestamp == Some(TIMESTAMP)
            && self.original_sender.timestamp == self.timestamp
    }
}

impl Template {
    /// `None` if the ranges overlap, which no parsed frame has.
    fn of(text: &[u8], frame: &PushFrame<'_>, message: &[u8]) -> Option<Self> {
        let range = |part: &[u8]| {
            let start = part.as_ptr().addr().checked_sub(text.as_ptr().addr())?;
            Some(start..start + part.len())
        };
        let message = range(message)?;
        let correlation = range(frame.correlation_id.get().as_bytes())?;
        let users = [
            range(frame.user_id.get().as_bytes())?,
            range(frame.original_sender.user_id.get().as_bytes())?,
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

    /// Whether `text` is a push to this user; the payload is not checked.
    fn matches(&self, text: &[u8], name: &[u8]) -> bool {
        text.len() == self.text.len()
            && self
                .fixed
                .iter()
                .all(|part| text[part.clone()] == self.text[part.clone()])
            && self.users.iter().all(|range| text[range.clone()] == *name)
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

    fn plan() -> BridgePlan {
        let options = Options::parse_from(["loadgen", "bridge", "push", "--users", "3"]);
        match &options.scenario {
            Scenario::Bridge(bridge) => BridgePlan::of(bridge).unwrap(),
            _ => unreachable!("it was asked for"),
        }
    }

    fn layout() -> Layout {
        Layout::new(64, 1)
    }

    /// A frame as a correct server sends it.
    fn frame(kind: &str, service: u16, user: u16, sequence: u32) -> String {
        let mut message = Vec::new();
        let source = Source {
            topic: service.into(),
            publisher: user,
        };
        layout().write(&mut message, source, sequence, 5);
        let message = String::from_utf8(message).unwrap();
        format!(
            r#"{{"type":"{kind}","timestamp":{TIMESTAMP},"message":{message},"original_sender":{{"user_id":"u0000{user}","timestamp":{TIMESTAMP}}},"user_id":"u0000{user}","correlation_id":"0190d5c6-5a5b-4c8e-9d3f-0123456789a{user}"}}"#
        )
    }

    fn push(service: u16, user: u16, sequence: u32) -> String {
        frame(NOTIFICATION, service, user, sequence)
    }

    /// Sends three messages of service 0 to user 1, hands `frames` to that user,
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
    fn complete_pushes_in_order_have_no_faults() {
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
            // An id may have any digits, and a payload any past time.
            let is_free = (id..id + 36).contains(&at) || changed.contains("0000000000000004");
            assert!(is_free || deliveries.counts().faults() > 0, "{changed}");
        }
    }

    #[test]
    fn questions_are_returned_and_probes_ignored() {
        let plan = plan();
        let mut deliveries = Deliveries::new(&plan, layout());
        let mut to_user = |user: usize, text: String| {
            let name = &plan.users[user];
            deliveries.frame(user, name, text.as_bytes(), &plan, 10)
        };
        let question = Question {
            service: 2,
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
