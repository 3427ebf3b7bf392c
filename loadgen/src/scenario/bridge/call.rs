//! One `/sse/send` call: the events that its stream must have, and those received.
//!
//! The asked user answers with some messages and a final one. Every second
//! call ends with `"is_final":true`, the others with `"type":"final_response"`, which
//! the server forwards twice, the second time with `"is_final":true`. Ids are strings in two
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
    pub(crate) service: u16,
    pub(crate) user: usize,
    pub(crate) sequence: u32,
    pub(crate) began_ns: u64,
    /// The correlation id in JSON.
    pub(crate) correlation: String,
    /// Whether the user got the question.
    pub(crate) asked: bool,
    /// Messages before the final one.
    answers: u32,
    /// A bit for each event received.
    seen: u64,
    /// An incomplete event at the end of the last chunk.
    rest: Vec<u8>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CallEvent<'a> {
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

/// The event that ends the stream of a failed call.
#[derive(Deserialize)]
struct CallFailure {
    error: String,
}

/// The check of one event.
enum EventCheck {
    /// The event with this bit.
    Expected(u32),
    /// Of another call, or from a user that was not asked.
    Misrouted,
    Corrupt,
}

impl Call {
    pub(crate) fn new(
        service: u16,
        user: usize,
        sequence: u32,
        answers: u32,
        began_ns: u64,
    ) -> Self {
        let correlation = if service % 3 == 2 {
            (u64::from(service) << 32 | u64::from(sequence)).to_string()
        } else {
            format!("\"call-{service}-{sequence}\"")
        };
        Self {
            service,
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

    /// Whether the final event is sent twice.
    fn repeats_final(sequence: u32) -> bool {
        sequence % 2 == 1
    }

    /// A bit for each event that must be received.
    fn expected(&self) -> u64 {
        let events = self.answers + 1 + u32::from(Self::repeats_final(self.sequence));
        (1 << events) - 1
    }

    /// Whether all events were received.
    pub(crate) fn is_complete(&self) -> bool {
        self.seen == self.expected()
    }

    /// Checks a chunk of the stream; an error fails the run.
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
        match self.check_event(layout, data) {
            EventCheck::Expected(bit) if self.seen & 1 << bit != 0 => counts.duplicated += 1,
            EventCheck::Expected(bit) => {
                if self.seen >> bit != 0 {
                    counts.reordered += 1;
                }
                self.seen |= 1 << bit;
                counts.received += 1;
            }
            EventCheck::Misrouted => counts.misrouted += 1,
            EventCheck::Corrupt => {
                if let Ok(CallFailure { error }) = serde_json::from_slice(data) {
                    return Err(format!("a call's stream said: {error}"));
                }
                counts.corrupt += 1;
            }
        }
        Ok(())
    }

    fn check_event(&self, layout: &Layout, data: &[u8]) -> EventCheck {
        let Ok(event) = serde_json::from_slice::<CallEvent<'_>>(data) else {
            return EventCheck::Corrupt;
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
            return EventCheck::Corrupt;
        };
        if (source.topic, usize::from(source.publisher)) != (self.service.into(), self.user)
            || sequence.wrapping_sub(self.sequence.wrapping_mul(STRIDE)) >= STRIDE
        {
            return EventCheck::Misrouted;
        }
        if event.correlation_id.get() != self.correlation || event.index != sequence % STRIDE {
            return EventCheck::Corrupt;
        }
        let repeats_final = Self::repeats_final(self.sequence);
        match (event.index, event.kind, event.is_final) {
            (index, "response", None) if index < self.answers => EventCheck::Expected(index),
            (index, "response", Some(true)) if index == self.answers && !repeats_final => {
                EventCheck::Expected(index)
            }
            (index, "final_response", None) if index == self.answers && repeats_final => {
                EventCheck::Expected(index)
            }
            (index, "final_response", Some(true)) if index == self.answers && repeats_final => {
                EventCheck::Expected(index + 1)
            }
            _ => EventCheck::Corrupt,
        }
    }

    /// Counts the missing events at the end of the stream.
    pub(crate) fn end(&self, counts: &mut Counts) {
        counts.lost += u64::from((self.expected() & !self.seen).count_ones());
        if !self.rest.is_empty() {
            counts.corrupt += 1;
        }
    }
}

/// A question that a user has not answered completely.
#[derive(Debug)]
pub(crate) struct PendingAnswer {
    pub(crate) user: usize,
    pub(crate) service: u16,
    pub(crate) sequence: u32,
    pub(crate) correlation: String,
    /// Number of the next answer.
    pub(crate) index: u32,
}

impl PendingAnswer {
    /// Appends the next answer as sent by `user`; true if it is the final one.
    pub(crate) fn write(
        &self,
        out: &mut Vec<u8>,
        layout: &Layout,
        answers: u32,
        user: usize,
        now_ns: u64,
    ) -> bool {
        let is_final = self.index == answers;
        let repeats_final = Call::repeats_final(self.sequence);
        let kind = if is_final && repeats_final {
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
            topic: self.service.into(),
            publisher: user as u16,
        };
        let sequence = self.sequence.wrapping_mul(STRIDE).wrapping_add(index);
        layout.write(out, source, sequence, now_ns);
        out.extend_from_slice(if is_final && !repeats_final {
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

    /// The events of call `sequence` of `service`, as a correct server sends them.
    fn events(service: u16, sequence: u32, user: usize) -> Vec<String> {
        let call = Call::new(service, user, sequence, ANSWERS, 0);
        let mut events = Vec::new();
        for index in 0..=ANSWERS {
            let correlation = call.correlation.clone();
            let pending = PendingAnswer {
                user,
                service,
                sequence,
                correlation,
                index,
            };
            let mut text = Vec::new();
            pending.write(&mut text, &layout(), ANSWERS, user, 0);
            events.push(String::from_utf8(text).unwrap());
        }
        if Call::repeats_final(sequence) {
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
    fn a_correct_stream_has_no_faults() {
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
