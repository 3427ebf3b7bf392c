//! One `/sse/send` call: which events its stream must bring, and which it did.
//!
//! The user that is asked answers with some messages and a final one. Every second
//! call ends with `"is_final":true`, the others with `"type":"final_response"`, which
//! the server hands on twice, the second time with `"is_final":true`. Ids are strings in two
//! of three connections and numbers in the third.

use std::io::Write;

use memchr::memmem;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::cli::ANSWERS_MAX;
use crate::payload::{self, Layout, PayloadHead, Source};
use crate::verify::Counts;

/// Payload sequence numbers of one call. Its events, the final one twice, fit the bits of `seen`.
const STRIDE: u32 = 64;
const _: () = assert!(ANSWERS_MAX + 2 < STRIDE);

/// A call under way.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) slot: u16,
    pub(crate) user: usize,
    pub(crate) sequence: u32,
    pub(crate) began_ns: u64,
    /// The correlation id in JSON.
    pub(crate) correlation: String,
    /// Whether the user has got the question.
    pub(crate) asked: bool,
    /// Messages before the final one.
    answers: u32,
    /// A bit for each event that came.
    seen: u64,
    /// The start of an event that a chunk ended in.
    rest: Vec<u8>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Event<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    #[serde(borrow)]
    correlation_id: &'a RawValue,
    index: u32,
    #[serde(borrow)]
    message: &'a RawValue,
    #[serde(default)]
    is_final: Option<bool>,
}

/// The event that ends a stream which did not get its answers.
#[derive(Deserialize)]
struct Failure {
    error: String,
}

/// What an event turned out to be.
enum Seen {
    /// The event of this bit.
    Own(u32),
    /// One for another call, or from somebody who was not asked.
    Foreign,
    Corrupt,
}

impl Call {
    pub(crate) fn new(slot: u16, user: usize, sequence: u32, answers: u32, began_ns: u64) -> Self {
        let correlation = if slot % 3 == 2 {
            (u64::from(slot) << 32 | u64::from(sequence)).to_string()
        } else {
            format!("\"call-{slot}-{sequence}\"")
        };
        Self {
            slot,
            user,
            sequence,
            began_ns,
            correlation,
            asked: false,
            answers,
            seen: 0,
            rest: Vec::new(),
        }
    }

    /// Whether the final answer comes twice.
    fn ends_twice(sequence: u32) -> bool {
        sequence % 2 == 1
    }

    /// A bit for each event that must come.
    fn expected(&self) -> u64 {
        let events = self.answers + 1 + u32::from(Self::ends_twice(self.sequence));
        (1 << events) - 1
    }

    /// Whether everything came.
    pub(crate) fn is_complete(&self) -> bool {
        self.seen == self.expected()
    }

    /// Takes bytes of the stream; an error says why the run has failed.
    pub(crate) fn chunk(
        &mut self,
        layout: &Layout,
        bytes: &[u8],
        counts: &mut Counts,
    ) -> Result<(), String> {
        let kept = std::mem::take(&mut self.rest);
        let joined;
        let mut bytes = if kept.is_empty() {
            bytes
        } else {
            joined = [&kept, bytes].concat();
            &joined
        };
        while let Some(end) = memmem::find(bytes, b"\n\n") {
            let event = &bytes[..end];
            bytes = &bytes[end + 2..];
            if event.starts_with(b":") {
                continue;
            }
            match event.strip_prefix(b"data: ") {
                Some(data) if !data.contains(&b'\n') => self.event(layout, data, counts)?,
                _ => counts.corrupt += 1,
            }
        }
        self.rest = bytes.to_vec();
        Ok(())
    }

    fn event(&mut self, layout: &Layout, data: &[u8], counts: &mut Counts) -> Result<(), String> {
        match self.look(layout, data) {
            Seen::Own(bit) if self.seen & 1 << bit != 0 => counts.duplicated += 1,
            Seen::Own(bit) => {
                if self.seen >> bit != 0 {
                    counts.reordered += 1;
                }
                self.seen |= 1 << bit;
                counts.received += 1;
            }
            Seen::Foreign => counts.misrouted += 1,
            Seen::Corrupt => {
                if let Ok(Failure { error }) = serde_json::from_slice(data) {
                    return Err(format!("a call's stream said: {error}"));
                }
                counts.corrupt += 1;
            }
        }
        Ok(())
    }

    fn look(&self, layout: &Layout, data: &[u8]) -> Seen {
        let Ok(event) = serde_json::from_slice::<Event<'_>>(data) else {
            return Seen::Corrupt;
        };
        let message = event.message.get().as_bytes();
        let head = PayloadHead::of(message).filter(|_| message.len() == layout.bytes());
        let whole = head.and_then(|head| {
            let source = payload::number(head.source)?;
            let sequence = payload::number(head.sequence)?;
            layout
                .tail_matches(message, source, sequence)
                .then_some((Source::from_number(source), sequence))
        });
        let Some((source, sequence)) = whole else {
            return Seen::Corrupt;
        };
        if (source.topic, usize::from(source.publisher)) != (self.slot.into(), self.user)
            || sequence.wrapping_sub(self.sequence.wrapping_mul(STRIDE)) >= STRIDE
        {
            return Seen::Foreign;
        }
        if event.correlation_id.get() != self.correlation || event.index != sequence % STRIDE {
            return Seen::Corrupt;
        }
        let twice = Self::ends_twice(self.sequence);
        match (event.index, event.kind, event.is_final) {
            (index, "response", None) if index < self.answers => Seen::Own(index),
            (index, "response", Some(true)) if index == self.answers && !twice => Seen::Own(index),
            (index, "final_response", None) if index == self.answers && twice => Seen::Own(index),
            (index, "final_response", Some(true)) if index == self.answers && twice => {
                Seen::Own(index + 1)
            }
            _ => Seen::Corrupt,
        }
    }

    /// Counts what never came when the stream has ended.
    pub(crate) fn end(&self, counts: &mut Counts) {
        counts.lost += u64::from((self.expected() & !self.seen).count_ones());
        if !self.rest.is_empty() {
            counts.corrupt += 1;
        }
    }
}

/// The answers that a user still has to give to one question.
#[derive(Debug)]
pub(crate) struct Pending {
    pub(crate) user: usize,
    pub(crate) slot: u16,
    pub(crate) sequence: u32,
    pub(crate) correlation: String,
    /// The next one.
    pub(crate) index: u32,
}

impl Pending {
    /// Appends the next answer as `user` says it; true if it was the final one.
    pub(crate) fn write(
        &self,
        out: &mut Vec<u8>,
        layout: &Layout,
        answers: u32,
        user: usize,
        now_ns: u64,
    ) -> bool {
        let is_final = self.index == answers;
        let twice = Call::ends_twice(self.sequence);
        let kind = if is_final && twice {
            "final_response"
        } else {
            "response"
        };
        let (correlation, index) = (&self.correlation, self.index);
        write!(
            out,
            r#"{{"type":"{kind}","correlation_id":{correlation},"index":{index},"message":"#
        )
        .expect("a Vec grows");
        let source = Source {
            topic: self.slot.into(),
            publisher: user as u16,
        };
        let sequence = self.sequence.wrapping_mul(STRIDE).wrapping_add(index);
        layout.write(out, source, sequence, now_ns);
        out.extend_from_slice(if is_final && !twice {
            br#","is_final":true}"#
        } else {
            b"}"
        });
        is_final
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANSWERS: u32 = 2;

    fn layout() -> Layout {
        Layout::new(64, 1)
    }

    /// The events of call `sequence` of `slot`, as a right server sends them.
    fn events(slot: u16, sequence: u32, user: usize) -> Vec<String> {
        let call = Call::new(slot, user, sequence, ANSWERS, 0);
        let mut events = Vec::new();
        for index in 0..=ANSWERS {
            let correlation = call.correlation.clone();
            let pending = Pending {
                user,
                slot,
                sequence,
                correlation,
                index,
            };
            let mut text = Vec::new();
            pending.write(&mut text, &layout(), ANSWERS, user, 0);
            events.push(String::from_utf8(text).unwrap());
        }
        if Call::ends_twice(sequence) {
            let last = events.last().unwrap().clone();
            events.push(last.replace('}', ",\"is_final\":true}"));
        }
        events
            .iter()
            .map(|event| format!("data: {event}\n\n"))
            .collect()
    }

    /// Feeds `stream` to call 4 or 5 of connection 2 for user 3, whole and cut at
    /// every byte, and compares lost, duplicated, reordered, corrupt, misrouted.
    fn check(sequence: u32, stream: &str, expected: [u64; 5]) {
        for cut in 0..stream.len() {
            let mut counts = Counts::default();
            let mut call = Call::new(2, 3, sequence, ANSWERS, 0);
            let (left, right) = stream.as_bytes().split_at(cut);
            call.chunk(&layout(), left, &mut counts).unwrap();
            call.chunk(&layout(), right, &mut counts).unwrap();
            call.end(&mut counts);
            let Counts {
                lost,
                duplicated,
                reordered,
                corrupt,
                misrouted,
                ..
            } = counts;
            let found = [lost, duplicated, reordered, corrupt, misrouted];
            assert_eq!(found, expected, "{stream} cut at {cut}");
            assert_eq!(call.is_complete(), expected[0] == 0);
        }
    }

    #[test]
    fn a_right_stream_has_no_faults() {
        check(4, &events(2, 4, 3).concat(), [0; 5]);
        check(5, &events(2, 5, 3).concat(), [0; 5]);
        let commented = events(2, 4, 3).join(": ping\n\n");
        check(4, &commented, [0; 5]);
    }

    #[test]
    fn every_fault_of_a_stream_is_found() {
        let own = events(2, 5, 3);
        let [a, b, c, d] = &own[..] else {
            unreachable!("two answers and the final one twice");
        };
        check(5, &[a, c, d].map(String::as_str).concat(), [1, 0, 0, 0, 0]);
        check(5, &[a, b, c].map(String::as_str).concat(), [1, 0, 0, 0, 0]);
        check(
            5,
            &[a, a, b, c, d].map(String::as_str).concat(),
            [0, 1, 0, 0, 0],
        );
        check(
            5,
            &[b, a, c, d].map(String::as_str).concat(),
            [0, 0, 1, 0, 0],
        );
        let foreign = &events(7, 5, 3)[0];
        check(5, &(foreign.clone() + &own.concat()), [0, 0, 0, 0, 1]);
        let earlier = &events(2, 3, 3)[0];
        check(5, &(earlier.clone() + &own.concat()), [0, 0, 0, 0, 1]);
        let intruder = &events(2, 5, 4)[0];
        check(5, &(intruder.clone() + &own.concat()), [0, 0, 0, 0, 1]);
        let changed = own.concat().replacen("fanfare", "fanFare", 1);
        check(5, &changed, [1, 0, 0, 1, 0]);
    }

    #[test]
    fn an_error_event_says_what_it_was() {
        let mut call = Call::new(0, 0, 0, ANSWERS, 0);
        let event = b"data: {\"error\":\"User not connected\"}\n\n";
        let problem = call.chunk(&layout(), event, &mut Counts::default());
        assert!(problem.unwrap_err().contains("User not connected"));
    }
}
