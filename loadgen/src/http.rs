//! HTTP/1.1 responses as a client sees them (RFC 9112).
//!
//! Shares no code with the server. It supports just what this generator needs, and
//! is stricter than a browser: a body has a length or is chunked, and an event
//! stream is chunked.

use std::borrow::Cow;
use std::ops::Range;

use memchr::{memchr, memmem};

/// Largest response head, in bytes.
const HEAD_BYTES_MAX: usize = 64 * 1024;

/// Largest body or chunk accepted from a server, in bytes.
const BODY_BYTES_MAX: usize = 32 << 20;

/// What is at the front of a buffer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum ResponseSplit<'a> {
    /// Incomplete; at least this many bytes are needed, 0 if that is not known.
    Partial { needs: usize },
    /// A whole response, `len` bytes.
    Answer {
        status: u16,
        body: Cow<'a, [u8]>,
        len: usize,
    },
    /// The head of an event stream, `len` bytes. Chunks follow.
    Stream { len: usize },
    /// A chunk of the stream, `len` bytes with its size line and line end.
    Chunk { data: Range<usize>, len: usize },
    /// The end of the stream, `len` bytes.
    End { len: usize },
    /// Malformed, or not supported here.
    Invalid(&'static str),
}

/// Splits the responses of one connection.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct ResponseReader {
    streaming: bool,
    /// The server closes the connection after the current response.
    last: bool,
}

/// The fields of a response head that say how its body is framed.
struct ResponseHead {
    status: u16,
    len: usize,
    content_length: Option<usize>,
    is_chunked: bool,
    is_stream: bool,
}

impl ResponseReader {
    /// Whether the server closes the connection after the current response.
    pub(crate) fn is_last(&self) -> bool {
        self.last
    }

    /// Splits what is at the front of `bytes`; the caller drops `len` bytes and calls again.
    ///
    /// Cost: one pass over the head. Only a chunked body is copied.
    pub(crate) fn split<'a>(&mut self, bytes: &'a [u8]) -> ResponseSplit<'a> {
        if self.streaming {
            return self.split_chunk(bytes);
        }
        let head = match self.head(bytes) {
            Ok(Some(head)) => head,
            Ok(None) if bytes.len() > HEAD_BYTES_MAX => {
                return ResponseSplit::Invalid("head over 64 KiB");
            }
            Ok(None) => return ResponseSplit::Partial { needs: 0 },
            Err(problem) => return ResponseSplit::Invalid(problem),
        };
        if head.is_chunked && head.is_stream && head.status == 200 {
            self.streaming = true;
            return ResponseSplit::Stream { len: head.len };
        }
        if head.is_chunked {
            return chunked_answer(bytes, &head);
        }
        // 204 has no body (RFC 9110 section 15.3.5), and so no length.
        let length = (head.status == 204).then_some(0).or(head.content_length);
        let Some(length) = length else {
            return ResponseSplit::Invalid("a body without a length");
        };
        let whole = head.len + length;
        match bytes.get(head.len..whole) {
            Some(body) => ResponseSplit::Answer {
                status: head.status,
                body: Cow::Borrowed(body),
                len: whole,
            },
            None => ResponseSplit::Partial { needs: whole },
        }
    }

    fn split_chunk(&mut self, bytes: &[u8]) -> ResponseSplit<'static> {
        match chunk(bytes) {
            Ok(Chunk::Data { data, len }) => ResponseSplit::Chunk { data, len },
            Ok(Chunk::Last { len }) => {
                self.streaming = false;
                ResponseSplit::End { len }
            }
            Ok(Chunk::Partial { needs }) => ResponseSplit::Partial { needs },
            Err(problem) => ResponseSplit::Invalid(problem),
        }
    }

    /// Reads a whole head.
    fn head(&mut self, bytes: &[u8]) -> Result<Option<ResponseHead>, &'static str> {
        let Some(end) = memmem::find(bytes, b"\r\n\r\n") else {
            return Ok(None);
        };
        let mut head = ResponseHead {
            status: status(bytes).ok_or("not an HTTP/1.1 response")?,
            len: end + 4,
            content_length: None,
            is_chunked: false,
            is_stream: false,
        };
        self.last = false;
        let mut rest = &bytes[..end + 2];
        while let Some(line_end) = memchr(b'\n', rest) {
            let line = &rest[..line_end - 1];
            rest = &rest[line_end + 1..];
            if let Some(value) = value(line, b"content-length:") {
                let text = str::from_utf8(value).ok();
                let length = text.and_then(|text| text.parse().ok());
                head.content_length = Some(
                    length
                        .filter(|&length| length <= BODY_BYTES_MAX)
                        .ok_or("a length that is none, or over 32 MiB")?,
                );
            } else if let Some(value) = value(line, b"transfer-encoding:") {
                head.is_chunked = value.eq_ignore_ascii_case(b"chunked");
            } else if let Some(value) = value(line, b"content-type:") {
                head.is_stream = value.starts_with(b"text/event-stream");
            } else if let Some(value) = value(line, b"connection:") {
                self.last = value.eq_ignore_ascii_case(b"close");
            }
        }
        Ok(Some(head))
    }
}

/// The status in a head's first line.
fn status(bytes: &[u8]) -> Option<u16> {
    let digits = bytes.strip_prefix(b"HTTP/1.1 ")?.get(..3)?;
    str::from_utf8(digits).ok()?.parse().ok()
}

/// The value of a field, if `line` has this `name`, in lower case and with its colon.
#[inline]
fn value<'a>(line: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let (own, value) = line.split_at_checked(name.len())?;
    own.eq_ignore_ascii_case(name).then(|| value.trim_ascii())
}

enum Chunk {
    Partial { needs: usize },
    Data { data: Range<usize>, len: usize },
    Last { len: usize },
}

/// Splits the chunk at the front of `bytes` (RFC 9112 section 7.1).
fn chunk(bytes: &[u8]) -> Result<Chunk, &'static str> {
    const LINE_BYTES_MAX: usize = 256;
    let Some(line_end) = memchr(b'\n', bytes) else {
        return if bytes.len() > LINE_BYTES_MAX {
            Err("a chunk without a length")
        } else {
            Ok(Chunk::Partial { needs: 0 })
        };
    };
    let size = bytes[..line_end]
        .split(|&byte| byte == b';')
        .next()
        .and_then(|size| str::from_utf8(size.trim_ascii()).ok())
        .and_then(|size| usize::from_str_radix(size, 16).ok())
        .filter(|&size| size <= BODY_BYTES_MAX)
        .ok_or("a chunk without a length, or one over 32 MiB")?;
    let data = line_end + 1..line_end + 1 + size;
    let len = data.end + 2;
    match bytes.get(data.end..len) {
        None => Ok(Chunk::Partial { needs: len }),
        Some(b"\r\n") if size == 0 => Ok(Chunk::Last { len }),
        Some(b"\r\n") => Ok(Chunk::Data { data, len }),
        Some(_) => Err("a chunk longer than it said, or with trailers"),
    }
}

/// A chunked body that is no event stream, reassembled.
fn chunked_answer(bytes: &[u8], head: &ResponseHead) -> ResponseSplit<'static> {
    let mut body = Vec::new();
    let mut at = head.len;
    loop {
        match chunk(&bytes[at..]) {
            Ok(Chunk::Data { data, len }) => {
                body.extend_from_slice(&bytes[at + data.start..at + data.end]);
                at += len;
            }
            Ok(Chunk::Last { len }) => {
                return ResponseSplit::Answer {
                    status: head.status,
                    body: Cow::Owned(body),
                    len: at + len,
                };
            }
            Ok(Chunk::Partial { needs }) if at + needs <= BODY_BYTES_MAX => {
                return ResponseSplit::Partial { needs: at + needs };
            }
            Ok(Chunk::Partial { .. }) => return ResponseSplit::Invalid("body over 32 MiB"),
            Err(problem) => return ResponseSplit::Invalid(problem),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\n\
        Transfer-Encoding: chunked\r\n\r\n";

    /// What a reader splits from `reads`: status and body of answers, `+` and the data of
    /// chunks, `.` for the end of a stream, `!` for what it refuses.
    fn found(reads: &[&[u8]]) -> Vec<String> {
        let (mut reader, mut kept, mut out) = (ResponseReader::default(), Vec::new(), Vec::new());
        for read in reads {
            kept.extend_from_slice(read);
            loop {
                let bytes = kept.clone();
                let used = match reader.split(&bytes) {
                    ResponseSplit::Partial { .. } => break,
                    ResponseSplit::Answer { status, body, len } => {
                        let body = String::from_utf8_lossy(&body);
                        out.push(format!("{status} {body} {}", reader.is_last()));
                        len
                    }
                    ResponseSplit::Stream { len } => len,
                    ResponseSplit::Chunk { data, len } => {
                        out.push(format!("+{}", String::from_utf8_lossy(&bytes[data])));
                        len
                    }
                    ResponseSplit::End { len } => {
                        out.push(".".into());
                        len
                    }
                    ResponseSplit::Invalid(_) => {
                        out.push("!".into());
                        return out;
                    }
                };
                kept.drain(..used);
            }
        }
        out
    }

    /// Checks what is split from `text`, whole and cut at every byte.
    fn check(text: &str, expected: &[&str]) {
        assert_eq!(found(&[text.as_bytes()]), expected, "{text:?}");
        for cut in 0..text.len() {
            let (left, right) = text.as_bytes().split_at(cut);
            assert_eq!(found(&[left, right]), expected, "{text:?} cut at {cut}");
        }
        let bytes: Vec<&[u8]> = text.as_bytes().chunks(1).collect();
        assert_eq!(found(&bytes), expected, "{text:?} byte by byte");
    }

    #[test]
    fn answers_follow_each_other() {
        check(
            "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}\
             HTTP/1.1 422 Unprocessable\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
            &["200 {} false", "422  true"],
        );
        check(
            "HTTP/1.1 204 No Content\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\nx",
            &["204  false", "200 x false"],
        );
    }

    #[test]
    fn a_chunked_answer_is_reassembled() {
        check(
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n2\r\n{\"\r\n3;x=y\r\na\"}\r\n0\r\n\r\n",
            &["200 {\"a\"} false"],
        );
    }

    #[test]
    fn an_event_stream_is_handed_on_by_chunk_and_another_answer_may_follow() {
        check(
            &format!("{HEAD}9\r\ndata: 1\n\n\r\n0\r\n\r\n{HEAD}1\r\nx\r\n"),
            &["+data: 1\n\n", ".", "+x"],
        );
    }

    #[test]
    fn unsupported_responses_are_refused() {
        check("HTTP/1.0 200 OK\r\n\r\n", &["!"]);
        check("HTTP/1.1 200 OK\r\n\r\n", &["!"]);
        check("HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n", &["!"]);
        check(&format!("{HEAD}x\r\n"), &["!"]);
        check(&format!("{HEAD}1\r\nxyz"), &["!"]);
    }
}
