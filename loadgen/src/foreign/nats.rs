//! The client protocol of NATS: lines, and data of an announced length.
//!
//! A frame holds one or more protocol messages, always whole ones.

use memchr::memchr;

use super::connection::{Received, SetupStep, Side};
use crate::parsed::Parsed;

const CONNECT: &str = "CONNECT {\"verbose\":false,\"pedantic\":false,\"tls_required\":false,\
                       \"lang\":\"loadgen\",\"version\":\"1\",\"protocol\":0}\r\n";

/// The server greets with INFO and answers the PING after the subscription with PONG: then the
/// subscription is active.
pub(super) fn set_up(side: Side, topic: &str, payload: &[u8]) -> Result<SetupStep, String> {
    let mut lines = payload.split_inclusive(|&byte| byte == b'\n');
    // Another INFO may come with the PONG.
    if lines.clone().any(|line| line == b"PONG\r\n") {
        return Ok(SetupStep::Ready);
    }
    if lines.any(|line| line.starts_with(b"INFO ")) {
        let subscribe = match side {
            Side::Subscriber => format!("SUB {topic} 1\r\n"),
            Side::Publisher => String::new(),
        };
        let greeting = format!("{CONNECT}{subscribe}PING\r\n");
        return Ok(SetupStep::Send(greeting.into_bytes()));
    }
    received(payload)
        .map(|answer| answer.map_or(SetupStep::Wait, |answer| SetupStep::Send(answer.to_vec())))
}

pub(super) fn publish(
    out: &mut Vec<u8>,
    topic: &str,
    bytes: usize,
    data: impl FnOnce(&mut Vec<u8>),
) {
    out.extend_from_slice(b"PUB ");
    out.extend_from_slice(topic.as_bytes());
    out.push(b' ');
    out.extend_from_slice(bytes.to_string().as_bytes());
    out.extend_from_slice(b"\r\n");
    data(out);
    out.extend_from_slice(b"\r\n");
}

/// The reply that a frame without deliveries requires.
pub(super) fn received(mut payload: &[u8]) -> Result<Option<&'static [u8]>, String> {
    let mut reply = None;
    while !payload.is_empty() {
        match next(&mut payload)? {
            Received::Reply(bytes) => reply = Some(bytes),
            Received::Nothing => {}
            Received::Message(_) => return Err("NATS delivered what nobody subscribed to".into()),
        }
    }
    Ok(reply)
}

/// Takes the next protocol message off a frame.
///
/// Cost: one search and a few digits; the data is not read.
#[inline]
pub(super) fn next<'a>(frame: &mut &'a [u8]) -> Result<Received<'a>, String> {
    let bytes = *frame;
    let cut = || "a frame of NATS ends inside a message".to_owned();
    let line = memchr(b'\n', bytes).ok_or_else(cut)? + 1;
    if bytes.starts_with(b"MSG ") {
        let whole = line + data_bytes(&bytes[..line]).ok_or_else(cut)? + 2;
        let (message, rest) = bytes.split_at_checked(whole).ok_or_else(cut)?;
        *frame = rest;
        return Ok(Received::Message(message));
    }
    *frame = &bytes[line..];
    match &bytes[..line] {
        b"PING\r\n" => Ok(Received::Reply(b"PONG\r\n")),
        b"PONG\r\n" | b"+OK\r\n" => Ok(Received::Nothing),
        info if info.starts_with(b"INFO ") => Ok(Received::Nothing),
        other => {
            let text = String::from_utf8_lossy(other);
            Err(format!("NATS said: {:.200}", text.trim_end()))
        }
    }
}

/// The number at the end of a MSG line.
#[inline]
fn data_bytes(line: &[u8]) -> Option<usize> {
    let digits = line.strip_suffix(b"\r\n")?.rsplit(|&byte| byte == b' ');
    let digits = digits.into_iter().next()?;
    (1..=8).contains(&digits.len()).then_some(())?;
    digits.iter().try_fold(0, |number, digit| {
        let digit = digit.wrapping_sub(b'0');
        (digit < 10).then(|| number * 10 + usize::from(digit))
    })
}

/// `MSG topic sid bytes`, a line end, the data, which is a JSON string, a line end.
pub(super) fn parse(message: &[u8]) -> Parsed<'_> {
    let parsed = memchr(b'\n', message).and_then(|end| {
        let line = &message[..=end];
        let name = line
            .strip_prefix(b"MSG ")?
            .split(|&byte| byte == b' ')
            .next()?;
        let data = end + 1..end + 1 + data_bytes(line)?;
        let is_whole = message.get(data.end..)? == b"\r\n" && message[data.start] == b'"';
        is_whole.then_some(Parsed::Event {
            name: String::from_utf8_lossy(name),
            data,
            stamp: None,
        })
    });
    parsed.unwrap_or(Parsed::Corrupt)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_taken_apart_message_by_message() {
        let mut frame: &[u8] = b"MSG t 1 2\r\nab\r\nPING\r\nMSG t 1 11\r\nhello\r\nworl\r\n";
        assert_eq!(
            next(&mut frame),
            Ok(Received::Message(b"MSG t 1 2\r\nab\r\n"))
        );
        assert_eq!(next(&mut frame), Ok(Received::Reply(b"PONG\r\n")));
        assert_eq!(
            next(&mut frame),
            Ok(Received::Message(b"MSG t 1 11\r\nhello\r\nworl\r\n"))
        );
        assert!(frame.is_empty());
    }

    #[test]
    fn a_cut_or_refusing_frame_is_an_error() {
        for mut frame in [
            &b"MSG t 1 5\r\nab\r\n"[..],
            b"MSG t 1 x\r\n",
            b"MSG t",
            b"-ERR 'Slow Consumer'\r\n",
        ] {
            assert!(next(&mut frame).is_err(), "{frame:?}");
        }
    }

    #[test]
    fn the_handshake_subscribes_and_waits_for_the_answer() {
        let Ok(SetupStep::Send(sent)) = set_up(Side::Subscriber, "t", b"INFO {}\r\n") else {
            panic!("nothing is sent");
        };
        assert!(sent.ends_with(b"SUB t 1\r\nPING\r\n"));
        assert_eq!(
            set_up(Side::Subscriber, "t", b"PONG\r\nINFO {}\r\n"),
            Ok(SetupStep::Ready)
        );
        assert_eq!(
            set_up(Side::Publisher, "t", b"PING\r\n"),
            Ok(SetupStep::Send(b"PONG\r\n".to_vec()))
        );
    }
}
