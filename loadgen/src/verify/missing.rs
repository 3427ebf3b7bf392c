//! Sequence numbers that were skipped, per stream.

use std::collections::BTreeMap;
use std::ops::Range;

use super::counts::Counts;

/// Ranges kept in all. Beyond it those of the first stream are dropped, and a late
/// message in them counts as duplicated instead of reordered.
const RANGES_MAX: usize = 1 << 20;

/// A message with an older number than expected.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum LateMessage {
    WasMissing,
    Duplicate,
}

/// End of each missing range, by stream and start. Empty in a run without faults.
#[derive(Debug, Default)]
pub(crate) struct MissingRanges(BTreeMap<(usize, u32), u32>);

impl MissingRanges {
    /// Adds a range that was skipped.
    pub(crate) fn add(&mut self, stream: usize, missing: Range<u32>) {
        if self.0.len() >= RANGES_MAX {
            self.0.pop_first();
        }
        self.0.insert((stream, missing.start), missing.end);
    }

    /// Removes a sequence number that arrived late.
    pub(crate) fn take(&mut self, stream: usize, sequence: u32) -> LateMessage {
        let before = self.0.range((stream, 0)..=(stream, sequence)).next_back();
        let Some((&(_, start), &end)) = before else {
            return LateMessage::Duplicate;
        };
        if sequence >= end {
            return LateMessage::Duplicate;
        }
        self.0.remove(&(stream, start));
        if start < sequence {
            self.0.insert((stream, start), sequence);
        }
        if sequence + 1 < end {
            self.0.insert((stream, sequence + 1), end);
        }
        LateMessage::WasMissing
    }

    /// Counts `sequence`, where `expected` is the next one of `stream`; false for a duplicate.
    pub(crate) fn count(
        &mut self,
        stream: usize,
        sequence: u32,
        expected: &mut u32,
        counts: &mut Counts,
    ) -> bool {
        if sequence < *expected {
            match self.take(stream, sequence) {
                LateMessage::WasMissing => {
                    counts.lost -= 1;
                    counts.reordered += 1;
                }
                LateMessage::Duplicate => {
                    counts.duplicated += 1;
                    return false;
                }
            }
        } else {
            if sequence > *expected {
                counts.lost += u64::from(sequence - *expected);
                self.add(stream, *expected..sequence);
            }
            *expected = sequence + 1;
        }
        true
    }

    pub(crate) fn forget(&mut self, stream: usize) {
        self.0.retain(|&(other, _), _| other != stream);
    }
}
