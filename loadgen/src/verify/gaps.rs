//! Sequence numbers that were jumped over, per stream.

use std::collections::BTreeMap;
use std::ops::Range;

/// Ranges remembered in all. When there are more, the oldest stream's go first
/// and a late message of theirs counts as duplicated instead of reordered.
const RANGES_MAX: usize = 1 << 20;

/// What a message with an old number turned out to be.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Late {
    /// It had been missing until now.
    Missing,
    /// It had come before.
    Seen,
}

/// Missing ranges by stream and start. Empty in every good run.
#[derive(Debug, Default)]
pub(crate) struct Gaps(BTreeMap<(usize, u32), u32>);

impl Gaps {
    /// Remembers that `missing` was jumped over.
    pub(crate) fn add(&mut self, stream: usize, missing: Range<u32>) {
        if self.0.len() >= RANGES_MAX {
            self.0.pop_first();
        }
        self.0.insert((stream, missing.start), missing.end);
    }

    /// Takes `sequence` out of what is missing.
    pub(crate) fn take(&mut self, stream: usize, sequence: u32) -> Late {
        let before = self.0.range((stream, 0)..=(stream, sequence)).next_back();
        let Some((&(_, start), &end)) = before else {
            return Late::Seen;
        };
        if sequence >= end {
            return Late::Seen;
        }
        self.0.remove(&(stream, start));
        if start < sequence {
            self.0.insert((stream, start), sequence);
        }
        if sequence + 1 < end {
            self.0.insert((stream, sequence + 1), end);
        }
        Late::Missing
    }

    pub(crate) fn forget(&mut self, stream: usize) {
        self.0.retain(|&(other, _), _| other != stream);
    }
}
