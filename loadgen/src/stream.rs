//! Server-Sent Events as a client sees them (WHATWG HTML 9.2.6).
//!
//! Shares no code with the server. It knows just what this generator needs, and
//! is stricter than a browser: lines end in LF, every event has an id, and the id
//! comes before it.

use memchr::memchr;

/// Largest event accepted from a server, in bytes.
pub(crate) const EVENT_BYTES_MAX: usize = 32 << 20;

/// What the front of a buffer holds.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Split {
    /// No empty line yet.
    Partial,
    /// A whole event: what is behind its id, the line ends included, is `body..len - 1`. Before it
    /// there may be more than one id, comments, and the time to come back.
    Event { body: usize, len: usize },
    /// Lines that are no event: a comment, an id alone, the time to come back.
    Other { len: usize },
    /// The server broke the format or promised more than it kept.
    Invalid(&'static str),
}

/// Looks at the lines up to the first empty one.
///
/// Cost: one search for each line, no copy.
#[inline]
pub(crate) fn split(bytes: &[u8]) -> Split {
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
        return Split::Event { body, len };
    }
    other(&bytes[..len], body)
}

fn partial(bytes: &[u8]) -> Split {
    if bytes.len() > EVENT_BYTES_MAX {
        Split::Invalid("event larger than 32 MiB")
    } else {
        Split::Partial
    }
}

#[cold]
fn other(block: &[u8], body: usize) -> Split {
    let len = block.len();
    match &block[body..] {
        // What is missing may be told without an id: a client that is cut off
        // right behind it is told again.
        gap if gap.starts_with(b"event: gap\n") => Split::Event { body, len },
        b"\n" => Split::Other { len },
        event if event.starts_with(b"event: ") => Split::Invalid("event without an id"),
        _ => Split::Invalid("not a field of an event"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVENT: &[u8] = b"id: x\nevent: t\ndata: 1\n\n";

    fn check(text: &str, expected: Split) {
        assert_eq!(split(text.as_bytes()), expected, "{text:?}");
    }

    #[test]
    fn blocks_are_told_apart() {
        check(
            "id: x\nevent: t\ndata: 1\n\nid",
            Split::Event { body: 6, len: 24 },
        );
        check(
            "event: gap\ndata: {}\n\n",
            Split::Event { body: 0, len: 21 },
        );
        check(
            "retry: 5\nid: a\n:\nid: x\nevent: t\ndata: 1\n\n",
            Split::Event { body: 23, len: 41 },
        );
        check(
            "id: x\nevent: gap\ndata: {}\n\n",
            Split::Event { body: 6, len: 27 },
        );
        check("id: x\n\n", Split::Other { len: 7 });
        check("retry: 5\n\n", Split::Other { len: 10 });
        check(":\n\nid: x\n\n", Split::Other { len: 3 });
        check(
            "event: t\ndata: 1\n\n",
            Split::Invalid("event without an id"),
        );
        check(
            "HTTP/1.1 200 OK\n\n",
            Split::Invalid("not a field of an event"),
        );
        check("\n:\n\n", Split::Other { len: 1 });
    }

    #[test]
    fn an_event_cut_anywhere_is_partial() {
        for cut in 0..EVENT.len() {
            assert_eq!(split(&EVENT[..cut]), Split::Partial, "{cut}");
        }
    }
}
