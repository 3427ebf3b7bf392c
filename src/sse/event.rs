//! Encodes an event stream so that every parser reads exactly one event with this name and this data
//! (hostile-inputs.md M11).

use std::time::Duration;

use memchr::{memchr2, memchr3};

use crate::json::put_string;

/// A comment, which parsers ignore: sent as a keep-alive. No blank line follows, since some clients would dispatch an
/// event without data: the comment is a line of the next event's block.
pub const HEARTBEAT: &[u8] = b":\n";

/// A CR, LF or NUL, which would end a field early or invalidate it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("an id or a name of an event has no CR, LF or NUL")]
pub struct ControlCharacter;

/// Messages of a topic that a stream misses.
#[derive(Clone, Copy, Debug)]
pub struct StreamGap<'a> {
    /// The topic.
    pub topic: &'a str,
    /// How many, if known.
    pub lost: Option<u64>,
    /// The cause.
    pub reason: GapReason,
}

/// Why messages are missing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum GapReason {
    /// The client was slow, and the topic's policy skips messages.
    Slow,
    /// The cursor is invalid, or for other topics.
    Cursor,
    /// The topic has begun a new epoch: its offsets count other messages.
    Epoch,
    /// The missed messages are not retained.
    History,
}

impl GapReason {
    /// The reason's name on the wire.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Slow => "slow_consumer",
            Self::Cursor => "invalid_cursor",
            Self::Epoch => "new_epoch",
            Self::History => "not_in_history",
        }
    }
}

/// Writes the `id` field: the position after the event that is written next. `write` appends the id itself.
///
/// # Errors
/// The id contains a character that would change its meaning; then nothing is written.
pub fn put_id(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) -> Result<(), ControlCharacter> {
    put_field(out, b"id: ", write)
}

/// Writes an event without its id, ending in the blank line that dispatches it.
/// The data's lines may end in CRLF, LF or CR; the receiver sees LF.
///
/// Cost: one search for line ends and one copy.
///
/// # Errors
/// `name` contains a character that would change its meaning.
pub fn put_event(out: &mut Vec<u8>, name: &str, data: &[u8]) -> Result<(), ControlCharacter> {
    put_field(out, b"event: ", |out| {
        out.extend_from_slice(name.as_bytes());
    })?;
    let mut rest = data;
    while let Some(end) = memchr2(b'\r', b'\n', rest) {
        put_data_line(out, &rest[..end]);
        let is_pair = rest[end..].starts_with(b"\r\n");
        rest = &rest[end + 1 + usize::from(is_pair)..];
    }
    put_data_line(out, rest);
    out.push(b'\n');
    Ok(())
}

/// Writes a `gap` event.
pub fn put_gap(out: &mut Vec<u8>, gap: &StreamGap<'_>) {
    out.extend_from_slice(b"event: gap\ndata: {\"event\":");
    put_string(out, gap.topic);
    out.extend_from_slice(b",\"lost\":");
    match gap.lost {
        Some(lost) => out.extend_from_slice(itoa::Buffer::new().format(lost).as_bytes()),
        None => out.extend_from_slice(b"null"),
    }
    out.extend_from_slice(b",\"reason\":\"");
    out.extend_from_slice(gap.reason.name().as_bytes());
    out.extend_from_slice(b"\"}\n\n");
}

/// Writes the `retry` field, the client's reconnection delay: between half of `base` and one and a half of it, by
/// `random`, so that clients disconnected together do not reconnect together (hostile-inputs.md R09). It is a line
/// of the next event's block, and takes effect as soon as it is read (WHATWG HTML 9.2.6).
pub fn put_retry(out: &mut Vec<u8>, base: Duration, random: u32) {
    let base_ms = u64::try_from(base.as_millis()).unwrap_or(u64::MAX / 2);
    let share = (u128::from(base_ms) * u128::from(random)) >> 32;
    let delay_ms = base_ms / 2 + u64::try_from(share).expect("a part of a u64");
    out.extend_from_slice(b"retry: ");
    out.extend_from_slice(itoa::Buffer::new().format(delay_ms).as_bytes());
    out.push(b'\n');
}

fn put_field(
    out: &mut Vec<u8>,
    name: &[u8],
    write: impl FnOnce(&mut Vec<u8>),
) -> Result<(), ControlCharacter> {
    let start = out.len();
    out.extend_from_slice(name);
    write(out);
    if memchr3(b'\r', b'\n', 0, &out[start..]).is_some() {
        out.truncate(start);
        return Err(ControlCharacter);
    }
    out.push(b'\n');
    Ok(())
}

fn put_data_line(out: &mut Vec<u8>, line: &[u8]) {
    out.extend_from_slice(b"data: ");
    out.extend_from_slice(line);
    out.push(b'\n');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sse::testing::{Event, Parser};
    use proptest::prelude::*;

    fn encoded(id: &str, name: &str, data: &str) -> Result<Vec<u8>, ControlCharacter> {
        let mut out = Vec::new();
        put_id(&mut out, |out| out.extend_from_slice(id.as_bytes()))?;
        put_event(&mut out, name, data.as_bytes())?;
        Ok(out)
    }

    fn check(data: &str, expected: &str) {
        let mut out = Vec::new();
        put_event(&mut out, "t", data.as_bytes()).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }

    /// The data as a receiver sees it: every line end is an LF.
    fn normalised(data: &str) -> String {
        data.replace("\r\n", "\n").replace('\r', "\n")
    }

    #[test]
    fn every_line_end_begins_a_line_of_data() {
        check("1", "event: t\ndata: 1\n\n");
        check("", "event: t\ndata: \n\n");
        check("a\nb", "event: t\ndata: a\ndata: b\n\n");
        check("a\rb", "event: t\ndata: a\ndata: b\n\n");
        check("a\r\nb", "event: t\ndata: a\ndata: b\n\n");
        check("a\n\rb\r", "event: t\ndata: a\ndata: \ndata: b\ndata: \n\n");
    }

    #[test]
    fn m11_an_id_or_a_name_that_would_end_its_line_is_refused() {
        for bad in ["\n", "\r", "\0", "a\nb", "a\r\ndata: x", "a\0"] {
            assert_eq!(encoded(bad, "t", ""), Err(ControlCharacter), "{bad:?}");
            assert_eq!(encoded("1", bad, ""), Err(ControlCharacter), "{bad:?}");
        }
    }

    #[test]
    fn a_gap_says_which_topic_how_many_and_why() {
        let mut out = Vec::new();
        let mut gap = StreamGap {
            topic: "a.b",
            lost: None,
            reason: GapReason::Cursor,
        };
        put_gap(&mut out, &gap);
        (gap.topic, gap.lost, gap.reason) = ("a\"b", Some(7), GapReason::Slow);
        put_gap(&mut out, &gap);
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "event: gap\ndata: {\"event\":\"a.b\",\"lost\":null,\"reason\":\"invalid_cursor\"}\n\n\
             event: gap\ndata: {\"event\":\"a\\\"b\",\"lost\":7,\"reason\":\"slow_consumer\"}\n\n"
        );
    }

    #[test]
    fn r09_the_time_to_come_back_is_spread_around_what_was_configured() {
        let retry = |random| {
            let mut out = Vec::new();
            put_retry(&mut out, Duration::from_secs(2), random);
            String::from_utf8(out).unwrap()
        };
        assert_eq!(retry(0), "retry: 1000\n");
        assert_eq!(retry(1 << 31), "retry: 2000\n");
        assert_eq!(retry(u32::MAX), "retry: 2999\n");
    }

    #[test]
    fn case_c6_what_is_no_event_is_in_the_block_of_one() {
        let mut stream = Vec::new();
        put_retry(&mut stream, Duration::from_secs(2), 0);
        put_id(&mut stream, |out| out.extend_from_slice(b"opening")).unwrap();
        let opening_len = stream.len();
        stream.extend(HEARTBEAT);
        stream.extend(encoded("first", "t", "1").unwrap());
        let first_len = stream.len();
        stream.extend(HEARTBEAT.repeat(2));
        stream.extend(encoded("second", "t", "2").unwrap());
        let text = str::from_utf8(&stream).unwrap();
        let mut blocks = text.split_terminator("\n\n");
        assert!(blocks.all(|block| block.contains("\ndata: ")), "{text}");
        for cut in 0..=stream.len() {
            let mut parser = Parser::default();
            let seen = parser.feed(&stream[..cut]);
            // `retry` takes effect at once, and `id` with its event: a client that is cut off resumes after the
            // last event that it received.
            let has_retry = cut >= "retry: 1000\n".len();
            assert_eq!(parser.retry_ms, has_retry.then_some(1000), "{cut}");
            let last = seen.last().map_or("", |event| &*event.id);
            assert_eq!(parser.last_id, last, "{cut}");
            let count = usize::from(cut >= first_len) + usize::from(cut == stream.len());
            assert_eq!(seen.len(), count, "{cut}");
            assert!(cut > opening_len || parser.last_id.is_empty());
        }
    }

    /// Text with many characters that are special to a parser.
    fn hostile_text() -> impl Strategy<Value = String> {
        let piece = prop_oneof![
            Just("\n".to_owned()),
            Just("\r".to_owned()),
            Just("\r\n".to_owned()),
            Just("\0".to_owned()),
            Just("\u{feff}".to_owned()),
            Just("data:".to_owned()),
            Just("id: 9".to_owned()),
            Just("event: evil".to_owned()),
            Just("retry: 1".to_owned()),
            Just(": ".to_owned()),
            Just(" ".to_owned()),
            any::<char>().prop_map(|character| character.to_string()),
        ];
        prop::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #[test]
        fn m11_what_was_written_is_what_is_read_and_one_event_each(
            events in prop::collection::vec((hostile_text(), hostile_text(), hostile_text()), 1..20),
            cuts in prop::collection::vec(0usize..2000, 0..6),
        ) {
            let (mut stream, mut expected) = (Vec::new(), Vec::new());
            for (id, name, data) in &events {
                let Ok(bytes) = encoded(id, name, data) else { continue };
                stream.extend(bytes);
                stream.extend(HEARTBEAT);
                expected.push(Event {
                    id: id.clone(),
                    // The default event type is `message` (WHATWG HTML 9.2.6).
                    name: if name.is_empty() { "message".into() } else { name.clone() },
                    data: normalised(data),
                });
            }
            prop_assert_eq!(&Parser::default().feed(&stream), &expected);
            let mut parser = Parser::default();
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(stream.len())).collect();
            cuts.extend([0, stream.len()]);
            cuts.sort_unstable();
            let pieces = cuts.windows(2).flat_map(|cut| parser.feed(&stream[cut[0]..cut[1]]));
            prop_assert_eq!(pieces.collect::<Vec<_>>(), expected);
        }
    }
}
