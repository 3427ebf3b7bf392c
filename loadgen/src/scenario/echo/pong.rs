//! The events protocol's `ping` and `pong`.

use std::io::Write;

use crate::events::ServerFrame;

const FIELD: &[u8] = b"\"client_timestamp\":";

/// Added to times, so that all have the same number of digits for 100 days.
const BASE: u64 = 1_000_000_000_000_000;

/// Digits of a time.
const DIGITS: usize = 16;

/// Appends a ping that carries `sent_ns`.
pub(super) fn write_ping(out: &mut Vec<u8>, sent_ns: u64) {
    write!(out, r#"{{"type":"ping","timestamp":{}}}"#, BASE + sent_ns).expect("a Vec grows");
}

/// Checks pongs; remembers the position of the timestamp in the last one.
#[derive(Debug, Default)]
pub(super) struct Pongs {
    at: usize,
}

impl Pongs {
    /// Whether `payload` answers the ping that carried `sent_ns`.
    pub(super) fn answers(&mut self, payload: &[u8], sent_ns: u64) -> bool {
        let expected = BASE + sent_ns;
        if self.at > 0
            && payload.starts_with(br#"{"type":"pong""#)
            && payload.get(self.at - FIELD.len()..self.at) == Some(FIELD)
            && payload.get(self.at..self.at + DIGITS).and_then(decimal) == Some(expected)
            && matches!(payload.get(self.at + DIGITS), Some(b',' | b'}'))
        {
            return true;
        }
        let Ok(frame) = ServerFrame::parse(payload) else {
            return false;
        };
        self.at = payload
            .windows(FIELD.len())
            .position(|window| window == FIELD)
            .map_or(0, |at| at + FIELD.len());
        frame.kind == "pong" && frame.client_timestamp == Some(expected)
    }
}

fn decimal(digits: &[u8]) -> Option<u64> {
    digits.iter().try_fold(0, |value, digit| {
        let digit = digit.wrapping_sub(b'0');
        (digit < 10).then(|| value * 10 + u64::from(digit))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_right_pong_answers() {
        let mut pongs = Pongs::default();
        let pong = |time: u64| {
            let time = BASE + time;
            format!(r#"{{"type":"pong","timestamp":"x","client_timestamp":{time}}}"#)
        };
        for _ in 0..2 {
            assert!(pongs.answers(pong(5).as_bytes(), 5));
            assert!(!pongs.answers(pong(6).as_bytes(), 5));
            assert!(!pongs.answers(pong(5).replace("pong", "gong").as_bytes(), 5));
            assert!(!pongs.answers(b"{}", 5));
        }
        let other_place = r#"{"client_timestamp":1000000000000007,"type":"pong"}"#;
        assert!(pongs.answers(other_place.as_bytes(), 7));
    }
}
