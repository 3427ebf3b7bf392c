//! Upgrade requests, read without hyper: its connection, buffers and tasks are of no use to a socket that leaves HTTP at once.

use axum::body::Bytes;
use axum::http::{HeaderName, HeaderValue, Method, Request, Uri};

use super::guard::{GuardLimits, bodiless_head, trim_blanks};

/// Reads the request for an upgrade whose whole head, without a body, is at the front of `received`, and returns it with
/// the bytes after it. `None` if there is none, or it is refused or no GET of HTTP/1.1: hyper reads it, or the
/// [`Guard`](super::Guard) says what is wrong.
///
/// Cost: a pass over the head to check it and one to split it; values are not copied. Without an `Upgrade`, a search for it.
#[must_use]
pub fn read_head(received: &Bytes, limits: GuardLimits) -> Option<(Request<()>, Bytes)> {
    if !has_upgrade(received) {
        return None;
    }
    let head_bytes = bodiless_head(received, limits)?;
    Some((split(received, head_bytes)?, received.slice(head_bytes..)))
}

/// Whether a line begins with the name of the field `Upgrade`.
fn has_upgrade(received: &[u8]) -> bool {
    const NAME: &[u8] = b"upgrade:";
    let mut ends = memchr::memchr_iter(b'\n', received);
    ends.any(|end| {
        let name = received[end + 1..].get(..NAME.len());
        name.is_some_and(|name| name.eq_ignore_ascii_case(NAME))
    })
}

/// Splits a head that the guard has passed: what it passed has one reading.
fn split(received: &Bytes, head_bytes: usize) -> Option<Request<()>> {
    let mut lines = lines(&received[..head_bytes]);
    let request_line = lines.next()?;
    let target = request_line
        .strip_prefix(b"GET ")?
        .strip_suffix(b" HTTP/1.1")?;
    let mut request = Request::new(());
    *request.method_mut() = Method::GET;
    *request.uri_mut() = Uri::from_maybe_shared(received.slice_ref(target)).ok()?;
    let headers = request.headers_mut();
    for line in lines.filter(|line| !line.is_empty()) {
        let colon = memchr::memchr(b':', line)?;
        let name = HeaderName::from_bytes(&line[..colon]).ok()?;
        let value = received.slice_ref(trim_blanks(&line[colon + 1..]));
        headers.append(name, HeaderValue::from_maybe_shared(value).ok()?);
    }
    Some(request)
}

/// The lines, without their ends.
fn lines(head: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut from = 0;
    memchr::memchr_iter(b'\n', head).map(move |end| {
        let line = &head[from..end - 1];
        from = end + 1;
        line
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: GuardLimits = GuardLimits {
        head_bytes_max: 1000,
        headers_max: 5,
    };

    fn read(text: &str) -> Option<(Request<()>, Bytes)> {
        read_head(&Bytes::copy_from_slice(text.as_bytes()), LIMITS)
    }

    #[test]
    fn a_request_is_split_into_its_fields() {
        let text = "GET /a?b=c%20 HTTP/1.1\r\nHOST: x:80\r\nUpgrade:\t websocket \r\nX-Empty:\r\nx: 1:2\r\nX: \u{e9}\r\n\r\n\u{1}rest\r\n\r\n";
        let (request, rest) = read(text).unwrap();
        assert_eq!(request.method(), Method::GET);
        assert_eq!(request.uri(), "/a?b=c%20");
        let headers: Vec<_> = request
            .headers()
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_bytes()))
            .collect();
        let expected: [(&str, &[u8]); 5] = [
            ("host", b"x:80"),
            ("upgrade", b"websocket"),
            ("x-empty", b""),
            ("x", b"1:2"),
            ("x", "\u{e9}".as_bytes()),
        ];
        assert_eq!(headers, expected);
        assert_eq!(&rest[..], b"\x01rest\r\n\r\n");
    }

    #[test]
    fn all_else_is_left_to_hyper_and_the_guard() {
        for text in [
            "",
            "GET / HTTP/1.1\r\nHost: x\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: x\r\nX: Upgrade:\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: x\r\nUpgrade: a\r\n",
            "GET / HTTP/1.1\r\nHost: x\r\nUpgrade: a\r\n\r",
            // A body, also one that is there.
            "GET / HTTP/1.1\r\nHost: x\r\nUpgrade: a\r\nContent-Length: 1\r\n\r\na",
            "GET / HTTP/1.1\r\nHost: x\r\nUpgrade: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: x\r\nUpgrade: a\r\n\r\n",
            "GET / HTTP/1.0\r\nHost: x\r\nUpgrade: a\r\n\r\n",
            "\r\nGET / HTTP/1.1\r\nHost: x\r\nUpgrade: a\r\n\r\n",
            // Refused.
            "GET / HTTP/1.1\r\nUpgrade: a\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: x\r\nUpgrade: a\r\nX: a\r\n b\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: x\r\nUpgrade: a\r\nX : a\r\n\r\n",
            "GET  / HTTP/1.1\r\nHost: x\r\nUpgrade: a\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: x\r\nUpgrade: a\r\na: b\r\na: b\r\na: b\r\na: b\r\n\r\n",
        ] {
            assert!(read(text).is_none(), "{text:?}");
        }
    }
}
