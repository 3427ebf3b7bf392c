//! Server-Sent Events as a client sees them (WHATWG HTML 9.2.6).
//!
//! Shares no code with the server. It supports just what this generator needs, and
//! is stricter than a browser: lines end in LF, and every event but a gap has an id,
//! before its other fields.

use memchr::memchr;

/// Largest event accepted from a server, in bytes.
pub(crate) const EVENT_BYTES_MAX: usize = 32 << 20;

/// What is at the front of a buffer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum EventSplit {
    /// No empty line yet.
    Partial,
    /// A whole event: its lines after the id are `body..len - 1`. Ids, comments and `retry` fields
    /// precede them.
    Event { body: usize, len: usize },
    /// No event: comments, ids and `retry` fields alone.
    Other { len: usize },
    /// Malformed, or an event without an id.
    Invalid(&'static str),
}

/// Splits the lines up to the first empty one.
///
/// Cost: one search for each line, no copy.
#[inline]
pub(crate) fn split(bytes: &[u8]) -> EventSplit {
    let (mut body, mut has_id) = (0, false);
    loop {
        let rest = &bytes[body..];
        let is_id = rest.starts_with(b"id: ");
        if !is_id && !rest.starts_with(b":") && !rest.starts_with(b"retry: ") {
            break;
        }
        match memchr(b'\n', rest) {
            Some(end) => body += end + 1,
            None => return partial(bytes),
        }
        has_id |= is_id;
    }
    let mut line = body;
    loop {
        match bytes.get(line) {
            Some(b'\n') => break,
            Some(_) => {}
            None => return partial(bytes),
        }
        match memchr(b'\n', &bytes[line..]) {
            Some(end) => line += end + 1,
            None => return partial(bytes),
        }
    }
    let len = line + 1;
    if has_id && bytes[body..].starts_with(b"event: ") {
        return EventSplit::Event { body, len };
    }
    other(&bytes[..len], body)
}

fn partial(bytes: &[u8]) -> EventSplit {
    if bytes.len() > EVENT_BYTES_MAX {
        EventSplit::Invalid("event larger than 32 MiB")
    } else {
        EventSplit::Partial
    }
}

#[cold]
fn other(block: &[u8], body: usize) -> EventSplit {
    let len = block.len();
    match &block[body..] {
        // A gap may have no id: a client that loses the connection right after it
        // gets it again.
        gap if gap.starts_with(b"event: gap\n") => EventSplit::Event { body, len },
        b"\n" => EventSplit::Other { len },
        event if event.starts_with(b"event: ") => EventSplit::Invalid("event without an id"),
        _ => EventSplit::Invalid("not a field of an event"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVENT: &[u8] = b"id: x\nevent: t\ndata: 1\n\n";

    fn check(text: &str, expected: EventSplit) {
        assert_eq!(split(text.as_bytes()), expected, "{text:?}");
    }

    #[test]
    fn blocks_are_told_apart() {
        check(
            "id: x\nevent: t\ndata: 1\n\nid",
            EventSplit::Event { body: 6, len: 24 },
        );
        check(
            "event: gap\ndata: {}\n\n",
            EventSplit::Event { body: 0, len: 21 },
        );
        check(
            "retry: 5\nid: a\n:\nid: x\nevent: t\ndata: 1\n\n",
            EventSplit::Event { body: 23, len: 41 },
        );
        check(
            "id: x\nevent: gap\ndata: {}\n\n",
            EventSplit::Event { body: 6, len: 27 },
        );
        check("id: x\n\n", EventSplit::Other { len: 7 });
        check("retry: 5\n\n", EventSplit::Other { len: 10 });
        check(":\n\nid: x\n\n", EventSplit::Other { len: 3 });
        check(
            "event: t\ndata: 1\n\n",
            EventSplit::Invalid("event without an id"),
        );
        check(
            "HTTP/1.1 200 OK\n\n",
            EventSplit::Invalid("not a field of an event"),
        );
        check("\n:\n\n", EventSplit::Other { len: 1 });
    }

    #[test]
    fn an_event_cut_anywhere_is_partial() {
        for cut in 0..EVENT.len() {
            assert_eq!(split(&EVENT[..cut]), EventSplit::Partial, "{cut}");
        }
    }
}
