//! Decides which bytes of a connection reach the HTTP parser.
//!
//! A request head is passed on whole or not at all, after a check that is
//! stricter than any parser needs to be: where two implementations could
//! disagree about where a request ends, there is no request (hostile-inputs.md H07).
//! The work is linear in the bytes received, however they are cut (H01, H02).

/// How large a request head may be.
#[derive(Clone, Copy, Debug)]
pub struct GuardLimits {
    /// Bytes of the request line and the headers together.
    pub head_bytes_max: usize,
    /// Headers.
    pub headers_max: usize,
}

/// Why a request head is refused. No further input is parsed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum HeadError {
    /// Larger than [`GuardLimits::head_bytes_max`].
    #[error("request head too large")]
    TooLarge,
    /// More than [`GuardLimits::headers_max`].
    #[error("too many headers")]
    TooManyHeaders,
    /// Not `METHOD target HTTP/1.x`.
    #[error("malformed request line")]
    RequestLine,
    /// A malformed header line, or one that parsers interpret differently.
    #[error("malformed header")]
    Header,
    /// A body length that is missing, repeated, contradictory or malformed.
    #[error("ambiguous message length")]
    Length,
    /// `Host` is missing, repeated or malformed.
    #[error("missing, repeated or malformed Host")]
    Host,
    /// A TLS record instead of a request.
    #[error("this port speaks plain HTTP, not TLS: use http:// or ws://, or a proxy that ends TLS")]
    Tls,
}

impl HeadError {
    /// The status to answer with.
    #[must_use]
    pub fn status(self) -> u16 {
        match self {
            Self::TooLarge | Self::TooManyHeaders => 431,
            _ => 400,
        }
    }
}

/// Bytes that may be passed to the parser.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Passed {
    /// The number of bytes, at the front of the buffer.
    pub bytes: usize,
    /// Their request is the last one of the connection.
    pub last: bool,
}

/// The bytes of a connection that have not been passed to the parser.
#[derive(Debug)]
pub struct Guard {
    limits: GuardLimits,
    held: Vec<u8>,
    /// Bytes at the front that have been passed on.
    given: usize,
    /// The position up to which the end of the head has been searched.
    scanned: usize,
    state: GuardState,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum GuardState {
    Head,
    Body(u64),
    /// All further bytes pass unchecked: a chunked body, or the bytes after an upgrade request.
    Last,
}

impl Guard {
    /// A guard that has seen nothing.
    #[must_use]
    pub fn new(limits: GuardLimits) -> Self {
        Self {
            limits,
            held: Vec::new(),
            given: 0,
            scanned: 0,
            state: GuardState::Head,
        }
    }

    /// Takes bytes that the peer sent.
    pub fn take(&mut self, bytes: &[u8]) {
        if self.given > 0 {
            self.held.drain(..self.given);
            self.scanned -= self.given.min(self.scanned);
            self.given = 0;
        }
        self.held.extend_from_slice(bytes);
    }

    /// The bytes that may go to the parser now; none if more are needed.
    ///
    /// # Errors
    /// The head that comes next is refused.
    pub fn pass(&mut self) -> Result<Option<Passed>, HeadError> {
        let waiting = &self.held[self.given..];
        if waiting.is_empty() {
            return Ok(None);
        }
        match self.state {
            GuardState::Last => Ok(Some(Passed {
                bytes: waiting.len(),
                last: true,
            })),
            GuardState::Body(left) => {
                let bytes = waiting
                    .len()
                    .min(usize::try_from(left).unwrap_or(usize::MAX));
                Ok(Some(Passed { bytes, last: false }))
            }
            GuardState::Head => self.pass_head(),
        }
    }

    /// Takes the first `bytes` of what [`Self::pass`] allowed.
    pub fn give(&mut self, bytes: usize) -> &[u8] {
        let start = self.given;
        self.given += bytes;
        if let GuardState::Body(left) = self.state {
            let left = left - bytes as u64;
            self.state = if left == 0 {
                GuardState::Head
            } else {
                GuardState::Body(left)
            };
            self.scanned = self.given;
        }
        &self.held[start..self.given]
    }

    /// Whether more of a request that the parser has begun to read is to come; of chunks, only the
    /// parser knows.
    #[must_use]
    pub fn is_in_request(&self) -> bool {
        self.state != GuardState::Head
    }

    /// Whether bytes of the next request have been received.
    #[must_use]
    pub fn holds_next(&self) -> bool {
        self.state == GuardState::Head && self.given < self.held.len()
    }

    /// What has not been given to the parser: after an upgrade, the peer's first frames.
    #[must_use]
    pub fn into_rest(mut self) -> Vec<u8> {
        self.held.drain(..self.given);
        self.held
    }

    fn pass_head(&mut self) -> Result<Option<Passed>, HeadError> {
        // A line end before the request line is ignored (RFC 9112 2.2).
        while self.held[self.given..].starts_with(b"\r\n") {
            self.given += 2;
            self.scanned = self.scanned.max(self.given);
        }
        // Refused early: it can no longer become a valid request.
        match self.held[self.given..] {
            [TLS_HANDSHAKE, ..] => return Err(HeadError::Tls),
            // A line end may follow.
            [b'\r'] => {}
            [first, ..] if !first.is_ascii_alphabetic() => return Err(HeadError::RequestLine),
            _ => {}
        }
        let from = self
            .scanned
            .max(self.given)
            .saturating_sub(3)
            .max(self.given);
        let end = memchr::memmem::find(&self.held[from..], b"\r\n\r\n");
        let Some(end) = end.map(|at| from + at + 4) else {
            self.scanned = self.held.len();
            let waiting = self.held.len() - self.given;
            return if waiting > self.limits.head_bytes_max {
                Err(HeadError::TooLarge)
            } else {
                Ok(None)
            };
        };
        if end - self.given > self.limits.head_bytes_max {
            return Err(HeadError::TooLarge);
        }
        let body = check_head(&self.held[self.given..end - 2], self.limits.headers_max)?;
        let bytes = end - self.given;
        self.state = match body {
            // A head without a body is given out like a body of its own length.
            BodyGuard::Length(length) => GuardState::Body(bytes as u64 + length),
            BodyGuard::Chunked => GuardState::Last,
        };
        self.scanned = end;
        Ok(Some(Passed {
            bytes,
            last: body == BodyGuard::Chunked,
        }))
    }
}

/// The bytes of the head at the front of `received`, if it is whole, passes, and has no body.
pub(super) fn bodiless_head(received: &[u8], limits: GuardLimits) -> Option<usize> {
    let bytes = memchr::memmem::find(received, b"\r\n\r\n")? + 4;
    if bytes > limits.head_bytes_max {
        return None;
    }
    let body = check_head(&received[..bytes - 2], limits.headers_max).ok()?;
    (body == BodyGuard::Length(0)).then_some(bytes)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum BodyGuard {
    Length(u64),
    Chunked,
}

/// Checks a head whose last line end is included and whose empty line is not.
fn check_head(head: &[u8], headers_max: usize) -> Result<BodyGuard, HeadError> {
    let mut lines = head
        .split_inclusive(|&byte| byte == b'\n')
        .map(|line| line.strip_suffix(b"\r\n"));
    let request = lines.next().flatten().ok_or(HeadError::RequestLine)?;
    let version = check_request_line(request)?;
    let (mut length, mut chunked, mut hosts, mut headers) = (None, false, 0, 0);
    for line in lines {
        headers += 1;
        if headers > headers_max {
            return Err(HeadError::TooManyHeaders);
        }
        let line = line.ok_or(HeadError::Header)?;
        let colon = memchr::memchr(b':', line).ok_or(HeadError::Header)?;
        let (name, value) = (&line[..colon], trim_blanks(&line[colon + 1..]));
        let visible = |&byte: &u8| byte >= b' ' && byte != 0x7f || byte == b'\t';
        if name.is_empty()
            || !name.iter().all(|&byte| is_token_byte(byte))
            || !value.iter().all(visible)
        {
            return Err(HeadError::Header);
        }
        if name.eq_ignore_ascii_case(b"content-length") {
            if length.is_some() || value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
                return Err(HeadError::Length);
            }
            let number = str::from_utf8(value)
                .ok()
                .and_then(|digits| digits.parse::<u64>().ok());
            length = Some(
                number
                    .filter(|&n| n <= LENGTH_MAX)
                    .ok_or(HeadError::Length)?,
            );
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            if chunked || !value.eq_ignore_ascii_case(b"chunked") {
                return Err(HeadError::Length);
            }
            chunked = true;
        } else if name.eq_ignore_ascii_case(b"host") {
            hosts += 1;
            if value
                .iter()
                .any(|&byte| matches!(byte, b'@' | b'/' | b'\\' | b' ' | b','))
            {
                return Err(HeadError::Host);
            }
        }
    }
    if hosts > 1 || hosts == 0 && version == Version::Http11 {
        return Err(HeadError::Host);
    }
    match (length, chunked) {
        (None, true) if version == Version::Http11 => Ok(BodyGuard::Chunked),
        (_, true) => Err(HeadError::Length),
        (length, false) => Ok(BodyGuard::Length(length.unwrap_or(0))),
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Version {
    Http10,
    Http11,
}

fn check_request_line(line: &[u8]) -> Result<Version, HeadError> {
    let mut parts = line.split(|&byte| byte == b' ');
    let (Some(method), Some(target), Some(version), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(HeadError::RequestLine);
    };
    let graphic = |&byte: &u8| byte.is_ascii_graphic() && byte != b'#';
    if method.is_empty()
        || !method.iter().all(u8::is_ascii_alphabetic)
        || target.is_empty()
        || !target.iter().all(graphic)
    {
        return Err(HeadError::RequestLine);
    }
    match version {
        b"HTTP/1.1" => Ok(Version::Http11),
        b"HTTP/1.0" => Ok(Version::Http10),
        _ => Err(HeadError::RequestLine),
    }
}

/// A header's value without the blanks around it (RFC 9110 section 5.5), which are spaces and tabs alone.
pub(super) fn trim_blanks(mut value: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] = value {
        value = rest;
    }
    while let [rest @ .., b' ' | b'\t'] = value {
        value = rest;
    }
    value
}

fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// The first byte of a TLS connection (RFC 8446, section 5.1).
const TLS_HANDSHAKE: u8 = 0x16;

/// A body may announce no more than this; what a request may really have is a
/// matter of its route.
const LENGTH_MAX: u64 = 1 << 40;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LIMITS: GuardLimits = GuardLimits {
        head_bytes_max: 16 * 1024,
        headers_max: 100,
    };

    /// Feeds `bytes` in pieces of `piece` and returns what passed.
    fn passed(bytes: &[u8], piece: usize) -> (Vec<u8>, Result<(), HeadError>) {
        let mut guard = Guard::new(LIMITS);
        let mut out = Vec::new();
        for piece in bytes.chunks(piece) {
            guard.take(piece);
            loop {
                match guard.pass() {
                    Ok(Some(passed)) => {
                        let half = passed.bytes.div_ceil(2);
                        out.extend_from_slice(guard.give(half));
                    }
                    Ok(None) => break,
                    Err(error) => return (out, Err(error)),
                }
            }
        }
        (out, Ok(()))
    }

    fn check(head: &str, expected: Result<(), HeadError>) {
        for piece in [1, 7, usize::MAX] {
            let (out, outcome) = passed(head.as_bytes(), piece);
            assert_eq!(outcome, expected, "{head:?}");
            let whole = if expected.is_ok() { head.len() } else { 0 };
            assert_eq!(out.len(), whole, "{head:?} passes whole or not at all");
        }
    }

    #[test]
    fn legal_requests_pass_one_after_the_other() {
        check("GET / HTTP/1.1\r\nHost: a\r\n\r\n", Ok(()));
        check(
            "GET / HTTP/1.0\r\n\r\nGET /b?x=1 HTTP/1.1\r\nhost:\ta:80 \r\nX: \r\n\r\n",
            Ok(()),
        );
        check(
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabcGET / HTTP/1.1\r\nHost: a\r\n\r\n",
            Ok(()),
        );
        check(
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\nGET",
            Ok(()),
        );
    }

    #[test]
    fn h07_whatever_could_be_read_in_two_ways_is_refused() {
        let with = |header: &str| format!("POST / HTTP/1.1\r\nHost: a\r\n{header}\r\n\r\nabcdef");
        for header in [
            "Content-Length: 3\r\nContent-Length: 3",
            "Content-Length: 3\r\nContent-Length: 4",
            "Content-Length: 3, 3",
            "Content-Length: +3",
            "Content-Length: -3",
            "Content-Length: 0x3",
            "Content-Length: ",
            "Content-Length: 3 3",
            "Content-Length: 18446744073709551616",
            "Content-Length: 9999999999999999",
            "Content-Length: 3\r\nTransfer-Encoding: chunked",
            "Transfer-Encoding: chunked\r\nContent-Length: 3",
            "Transfer-Encoding: xchunked",
            "Transfer-Encoding: chunked, identity",
            "Transfer-Encoding: identity",
            "Transfer-Encoding: gzip, chunked",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
        ] {
            check(&with(header), Err(HeadError::Length));
        }
        for header in [
            "X: a\r\n folded",
            " X: a",
            "X : a",
            "Content-Length : 3",
            "X\t: a",
            "no colon",
            ": a",
            "X: a\0b",
            "X: a\rb",
            "X: a\r",
            "X: \ra",
            "X: \u{c}a",
            "X: a\u{c}",
            "X: a\nY: b",
            "X: a\u{7f}",
            "X\u{e9}: a",
            "X: a\n",
        ] {
            check(&with(header), Err(HeadError::Header));
        }
        check(
            "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            Err(HeadError::Length),
        );
    }

    #[test]
    fn request_lines_are_exact() {
        for line in [
            "GET /",
            "GET  / HTTP/1.1",
            "GET / HTTP/1.1 ",
            " GET / HTTP/1.1",
            "GET / HTTP/2.0",
            "GET / http/1.1",
            "G\u{e9}T / HTTP/1.1",
            "GET /\u{e9} HTTP/1.1",
            "GET /#x HTTP/1.1",
            "GET /\tx HTTP/1.1",
            "/ HTTP/1.1",
            "GET / HTTP/1.11",
        ] {
            check(
                &format!("{line}\r\nHost: a\r\n\r\n"),
                Err(HeadError::RequestLine),
            );
        }
        check(
            "GET / HTTP/1.1\nHost: a\r\n\r\n",
            Err(HeadError::RequestLine),
        );
    }

    #[test]
    fn case_h13_what_cannot_become_a_request_is_refused_at_its_first_byte() {
        check("\x16\x03\x01\x02\0\x01", Err(HeadError::Tls));
        check("\r\n\x16", Err(HeadError::Tls));
        for start in [" ", "\0", "\x10", "/", "{", "\n", "\r\r\n", "\r\n\t"] {
            check(start, Err(HeadError::RequestLine));
        }
        // A line end may come before a request, in pieces, too.
        assert_eq!(passed(b"\r", 1), (Vec::new(), Ok(())));
        assert_eq!(passed(b"\r\n\r", 1), (Vec::new(), Ok(())));
    }

    #[test]
    fn h17_exactly_one_host() {
        check("GET / HTTP/1.1\r\n\r\n", Err(HeadError::Host));
        check(
            "GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
            Err(HeadError::Host),
        );
        check("GET / HTTP/1.1\r\nHost: a@b\r\n\r\n", Err(HeadError::Host));
    }

    #[test]
    fn h01_h03_h04_heads_are_bounded() {
        let long = |n: usize| format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "x".repeat(n));
        check(&long(16 * 1024 - 32), Ok(()));
        check(&long(16 * 1024), Err(HeadError::TooLarge));
        check(&"x".repeat(20_000), Err(HeadError::TooLarge));
        let many = |n: usize| format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "X: y\r\n".repeat(n));
        check(&many(99), Ok(()));
        check(&many(100), Err(HeadError::TooManyHeaders));
    }

    #[test]
    fn what_follows_an_upgrade_is_kept_back() {
        let mut guard = Guard::new(LIMITS);
        let head = b"GET /ws HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n\r\n";
        guard.take(&[&head[..], b"\x81\x80"].concat());
        assert_eq!(
            guard.pass(),
            Ok(Some(Passed {
                bytes: head.len(),
                last: false
            }))
        );
        assert_eq!(guard.give(head.len()), head);
        assert_eq!(guard.into_rest(), b"\x81\x80");
    }

    proptest! {
        #[test]
        fn cutting_the_bytes_changes_nothing(
            bytes in prop::collection::vec(prop_oneof![
                Just(b"GET / HTTP/1.1\r\n".to_vec()), Just(b"Host: a\r\n".to_vec()), Just(b"\r\n".to_vec()),
                Just(b"Content-Length: 5\r\n".to_vec()), Just(b"hello".to_vec()), Just(b"X: y\n".to_vec()),
            ], 0..14).prop_map(|parts| parts.concat()),
            piece in 1usize..9,
        ) {
            prop_assert_eq!(passed(&bytes, piece), passed(&bytes, usize::MAX));
        }
    }
}
