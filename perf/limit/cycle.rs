//! A stream of bytes that repeats itself: whoever knows the position knows the bytes.

/// Bytes that are there at least from any position on.
const CHUNK_BYTES: usize = 64 * 1024;

/// A message over and over.
#[derive(Debug)]
pub(crate) struct Cycle {
    period: usize,
    bytes: Vec<u8>,
}

impl Cycle {
    /// Of a message of `period` bytes that has no likeness to itself, so that a stream
    /// that is off by anything does not match.
    pub(crate) fn new(period: usize) -> Self {
        let message: Vec<u8> = (0..period as u64)
            .map(|at| ((at + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 56) as u8)
            .collect();
        let bytes = message.iter().cycle().copied();
        Self {
            period,
            bytes: bytes.take(period + CHUNK_BYTES).collect(),
        }
    }

    /// Bytes of a message.
    pub(crate) fn period(&self) -> usize {
        self.period
    }

    /// Some bytes of the stream from `position` on, `bytes_max` at most.
    pub(crate) fn from(&self, position: u64, bytes_max: u64) -> &[u8] {
        let rest = &self.bytes[(position % self.period as u64) as usize..];
        &rest[..rest
            .len()
            .min(usize::try_from(bytes_max).unwrap_or(usize::MAX))]
    }

    /// Whether the stream has `bytes` at `position`.
    pub(crate) fn matches(&self, mut position: u64, mut bytes: &[u8]) -> bool {
        while !bytes.is_empty() {
            let expected = self.from(position, bytes.len() as u64);
            let (these, rest) = bytes.split_at(expected.len());
            if these != expected {
                return false;
            }
            position += these.len() as u64;
            bytes = rest;
        }
        true
    }

    /// Messages that end within the bytes from `from` to `to`.
    pub(crate) fn ends(&self, from: u64, to: u64) -> u64 {
        let period = self.period as u64;
        to / period - from / period
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_matches_at_its_own_position_only() {
        let cycle = Cycle::new(200);
        let stream: Vec<u8> = cycle.from(0, 200).repeat(1_000);
        for (position, length) in [(0, 200_000), (3, 1), (199, 70_000), (400, 200)] {
            let bytes = &stream[position..(position + length).min(stream.len())];
            assert!(cycle.matches(position as u64, bytes));
            assert!(length < 10 || !cycle.matches(position as u64 + 1, bytes));
        }
        let mut changed = stream;
        changed[150_000] ^= 1;
        assert!(!cycle.matches(0, &changed));
    }

    #[test]
    fn messages_count_where_they_end() {
        let cycle = Cycle::new(10);
        assert_eq!(cycle.ends(0, 9), 0);
        assert_eq!(cycle.ends(9, 10), 1);
        assert_eq!(cycle.ends(5, 35), 3);
    }
}
