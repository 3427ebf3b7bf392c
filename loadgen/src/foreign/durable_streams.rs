//! Electric's durable-streams: JSON messages are appended to a stream over HTTP, an array of them at a time.
//!
//! Its readers get them as Server-Sent Events (WHATWG HTML 9.2.6) in chunks of HTTP: an event of the array of all that
//! came since the one before, and an event that says how far it goes. A chunk holds whole events.

use memchr::{memchr, memmem};

use super::connection::Received;

/// What precedes the messages of an event, and what begins the other kind of event.
const DATA: &[u8] = b"event: data\ndata:[";
const CONTROL: &[u8] = b"event: control\n";

/// The path of a stream, which is created, and appended to.
pub(crate) fn path(topic: &str) -> String {
    format!("/{topic}")
}

/// The path and query that read what is appended from then on.
pub(crate) fn reading_path(topic: &str) -> String {
    format!("/{topic}?offset=now&live=sse")
}

/// Takes the next message off a chunk. All messages are strings without escapes.
///
/// Cost: one search; the data is not read otherwise.
#[inline]
pub(super) fn next<'a>(chunk: &mut &'a [u8]) -> Result<Received<'a>, String> {
    let bytes = *chunk;
    if bytes.starts_with(CONTROL) {
        *chunk = after_control(bytes)?;
        return Ok(Received::Nothing);
    }
    let bytes = bytes.strip_prefix(DATA).unwrap_or(bytes);
    let quote = bytes
        .strip_prefix(b"\"")
        .and_then(|text| memchr(b'"', text));
    let quote = quote.ok_or_else(|| unexpected(bytes))?;
    let (message, rest) = bytes.split_at(quote + 2);
    *chunk = match rest {
        [b',', rest @ ..] | [b']', b'\n', b'\n', rest @ ..] => rest,
        _ => return Err(unexpected(bytes)),
    };
    Ok(Received::Message(message))
}

/// What follows an event without messages.
fn after_control(bytes: &[u8]) -> Result<&[u8], String> {
    let end = memmem::find(bytes, b"\n\n").ok_or_else(|| unexpected(bytes))?;
    let (event, rest) = bytes.split_at(end + 2);
    if memmem::find(event, b"\"streamClosed\"").is_some() {
        return Err(unexpected(event));
    }
    Ok(rest)
}

#[cold]
fn unexpected(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    format!("unexpected in a stream of events: {text:.200}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chunk_is_taken_apart_message_by_message() {
        let mut chunk: &[u8] = b"event: data\ndata:[\"ab\",\"cd\"]\n\n\
            event: control\ndata:{\"streamNextOffset\":\"7\",\"upToDate\":true}\n\n\
            event: data\ndata:[\"e\"]\n\n";
        assert_eq!(next(&mut chunk), Ok(Received::Message(b"\"ab\"")));
        assert_eq!(next(&mut chunk), Ok(Received::Message(b"\"cd\"")));
        assert_eq!(next(&mut chunk), Ok(Received::Nothing));
        assert_eq!(next(&mut chunk), Ok(Received::Message(b"\"e\"")));
        assert!(chunk.is_empty());
    }

    #[test]
    fn what_is_cut_closed_or_no_string_is_an_error() {
        for mut chunk in [
            &b"event: data\ndata:[\"ab"[..],
            b"event: data\ndata:[\"ab\"",
            b"event: data\ndata:[\"ab\"]\n",
            b"event: data\ndata:[5]\n\n",
            b"event: other\n\n",
            b"event: control\ndata:{}\n",
            b"event: control\ndata:{\"streamNextOffset\":\"7\",\"streamClosed\":true}\n\n",
        ] {
            assert!(next(&mut chunk).is_err(), "{chunk:?}");
        }
    }
}
