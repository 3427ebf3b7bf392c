//! Bytes that arrive bit by bit, in pieces of one size.

/// Bytes that arrive bit by bit. They are kept in pieces of one size until they are complete: a buffer that grew as a
/// whole would leave memory of many sizes behind, which others that grow beside it have no use for.
#[derive(Default, Debug)]
pub struct Segments {
    full: Vec<Vec<u8>>,
    last: Vec<u8>,
}

/// Bytes of a piece.
pub const SEGMENT_BYTES: usize = 16 * 1024;

impl Segments {
    /// None yet.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            full: Vec::new(),
            last: Vec::new(),
        }
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.full.len() * SEGMENT_BYTES + self.last.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes of memory that they are in: a quarter of a piece and 4 KiB more than their number at most.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.full.len() * SEGMENT_BYTES + self.last.capacity()
    }

    /// Appends what has arrived. `len_max` is the most that they can come to as far as is known now: no room is made
    /// beyond it.
    ///
    /// Cost: one copy; an allocation for each piece, and a few while there is only one.
    pub fn append(&mut self, mut bytes: &[u8], len_max: usize) {
        while !bytes.is_empty() {
            if self.last.len() == SEGMENT_BYTES {
                self.full.push(std::mem::take(&mut self.last));
            }
            let now = bytes.len().min(SEGMENT_BYTES - self.last.len());
            let last_max = len_max.saturating_sub(self.full.len() * SEGMENT_BYTES);
            grow(&mut self.last, now, last_max.min(SEGMENT_BYTES));
            self.last.extend_from_slice(&bytes[..now]);
            bytes = &bytes[now..];
        }
    }

    /// All of them in one piece.
    ///
    /// Cost: a copy, if there is more than one.
    #[must_use]
    pub fn join(mut self) -> Vec<u8> {
        if self.full.is_empty() {
            return self.last;
        }
        self.full.push(self.last);
        self.full.concat()
    }
}

/// Makes room for `extra` bytes, with some to spare: a quarter of what is held, or as much again
/// while that is small, but nothing beyond `len_max`.
fn grow(bytes: &mut Vec<u8>, extra: usize, len_max: usize) {
    const SMALL: usize = 4096;
    let needed = bytes.len() + extra;
    let capacity = bytes.capacity();
    if needed > capacity {
        let spare = match capacity < SMALL {
            true => capacity,
            false => capacity / 4,
        };
        let target = (capacity + spare).min(len_max).max(needed);
        bytes.reserve_exact(target - bytes.len());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_come_out_as_they_arrived_whatever_the_pieces() {
        let all: Vec<u8> = (0..100_000_u32).map(|n| (n % 251) as u8).collect();
        for size in [
            1,
            7,
            1000,
            SEGMENT_BYTES - 1,
            SEGMENT_BYTES,
            SEGMENT_BYTES + 1,
            100_000,
        ] {
            let mut segments = Segments::new();
            for (index, piece) in all.chunks(size).enumerate() {
                segments.append(piece, usize::MAX);
                assert_eq!(segments.len(), all.len().min((index + 1) * size));
                segments.append(b"", usize::MAX);
            }
            assert!(segments.join() == all, "{size}");
        }
        assert!(Segments::new().is_empty() && Segments::new().join().is_empty());
    }

    #[test]
    fn f08_memory_exceeds_the_bytes_by_a_quarter_of_a_piece_and_4_kib_at_most() {
        for size in [1, 7, 64, 1000, 65_536] {
            let mut segments = Segments::new();
            while segments.len() < 300_000 {
                segments.append(&vec![0; size], 1 << 20);
                let (len, capacity) = (segments.len(), segments.capacity());
                let held = segments.full.iter().map(Vec::capacity).sum::<usize>()
                    + segments.last.capacity();
                assert_eq!(capacity, held, "{len}");
                assert!(
                    capacity <= len + SEGMENT_BYTES / 4 + 4096,
                    "{capacity} for {len}"
                );
            }
        }
    }

    #[test]
    fn no_room_is_made_beyond_what_they_can_come_to() {
        for len_max in [10_000, 40_000] {
            let mut segments = Segments::new();
            for _ in 0..len_max / 1000 {
                segments.append(&[0; 1000], len_max);
                assert!(segments.capacity() <= len_max);
            }
        }
    }
}
