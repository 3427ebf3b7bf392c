//! What one subscriber has of a topic, over all of its connections: every message once,
//! or a gap that was told.

use crate::payload::{self, Head, Layout, Source};
use crate::verify::{Counts, Gaps, Late};

/// Where the messages of a topic come from: there is one publisher.
pub(super) fn source_of(topic: usize) -> Source {
    Source {
        topic: topic as u32,
        publisher: 0,
    }
}

/// What a subscriber has been told about messages that it will not get.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Told {
    #[default]
    Nothing,
    /// This many are missing before the next one.
    Lost(u64),
    /// Some may be missing before the next one.
    Some,
}

impl Told {
    fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Nothing, told) | (told, Self::Nothing) => told,
            (Self::Lost(first), Self::Lost(second)) => Self::Lost(first + second),
            _ => Self::Some,
        }
    }
}

/// Checks messages by their sequence numbers, which the publisher counts from 0.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    /// As in the payloads.
    source: u32,
    next: u32,
    told: Told,
    /// Told on this connection about what is behind the position: the next one
    /// will be told again.
    told_now: Told,
    holes: Gaps,
    counts: Counts,
    /// Times that the server told of missing messages.
    gaps: u64,
    /// Messages that are missing, as was told.
    told_lost: u64,
}

impl Ledger {
    pub(super) fn of_topic(topic: usize) -> Self {
        Self {
            source: source_of(topic).number(),
            ..Self::default()
        }
    }

    /// One publication's data.
    pub(super) fn event(&mut self, layout: &Layout, data: &[u8]) {
        let sequence = Head::of(data).and_then(|head| {
            let sequence = payload::number(head.sequence)?;
            let is_whole = data.len() == layout.bytes()
                && payload::number(head.source) == Some(self.source)
                && layout.tail_matches(data, self.source, sequence);
            is_whole.then_some(sequence)
        });
        match sequence {
            Some(sequence) => self.take(sequence),
            None => self.counts.corrupt += 1,
        }
    }

    fn take(&mut self, sequence: u32) {
        if sequence < self.next {
            match self.holes.take(0, sequence) {
                Late::Missing => {
                    self.counts.lost -= 1;
                    self.counts.reordered += 1;
                    self.counts.received += 1;
                }
                Late::Seen => self.counts.duplicated += 1,
            }
            return;
        }
        let untold = self.excuse(u64::from(sequence - self.next));
        if untold > 0 {
            self.holes.add(0, self.next..sequence);
            self.counts.lost += untold;
        }
        self.counts.received += 1;
        self.next = sequence + 1;
    }

    /// Takes what was told off a hole; what is left of it nobody has told.
    fn excuse(&mut self, hole: u64) -> u64 {
        self.keep_told();
        let excused = match std::mem::take(&mut self.told) {
            Told::Nothing => 0,
            Told::Lost(lost) => lost.min(hole),
            Told::Some => hole,
        };
        self.told_lost += excused;
        hole - excused
    }

    /// The server says that messages are missing; how many, if it knows.
    pub(super) fn gap(&mut self, lost: Option<u64>) {
        self.gaps += 1;
        self.told_now = self.told_now.and(lost.map_or(Told::Some, Told::Lost));
    }

    /// The subscriber's position is behind the gaps that were told: they will
    /// not be told again.
    pub(super) fn keep_told(&mut self) {
        self.told = self.told.and(std::mem::take(&mut self.told_now));
    }

    /// A new connection begins, at the position.
    pub(super) fn begin_again(&mut self) {
        self.told_now = Told::Nothing;
    }

    /// A frame that is none.
    pub(super) fn corrupt(&mut self) {
        self.counts.corrupt += 1;
    }

    /// Whether nothing of `sent` messages is due any more.
    pub(super) fn has_all(&self, sent: u32) -> bool {
        let missing = u64::from(sent.saturating_sub(self.next));
        missing == 0
            || match self.told.and(self.told_now) {
                Told::Nothing => false,
                Told::Lost(lost) => lost >= missing,
                Told::Some => true,
            }
    }

    /// The verdict, given how many messages were sent.
    pub(super) fn finish(&mut self, sent: u32) -> Verdict {
        let untold = self.excuse(u64::from(sent.saturating_sub(self.next)));
        self.next = self.next.max(sent);
        self.counts.lost += untold;
        Verdict {
            counts: self.counts,
            gaps: self.gaps,
            told_lost: self.told_lost,
        }
    }

    /// Messages so far.
    pub(super) fn received(&self) -> u64 {
        self.counts.received
    }

    /// Faults so far.
    pub(super) fn faults(&self) -> u64 {
        self.counts.faults()
    }
}

/// What a subscriber's messages amount to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Verdict {
    /// Gaps that were told are not in `lost`.
    pub(super) counts: Counts,
    pub(super) gaps: u64,
    pub(super) told_lost: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What comes: a message by its number, or a gap.
    enum Comes {
        Message(u32),
        Gap(Option<u64>),
    }
    use Comes::{Gap, Message};

    /// Checks received, lost, duplicated, reordered, told as lost of 10 messages.
    fn check(what: impl IntoIterator<Item = Comes>, expected: [u64; 5]) {
        let layout = Layout::new(64, 1);
        let mut ledger = Ledger::default();
        for comes in what {
            match comes {
                Message(sequence) => {
                    let mut data = Vec::new();
                    layout.write(&mut data, source_of(0), sequence, 5);
                    ledger.event(&layout, &data);
                }
                Gap(lost) => ledger.gap(lost),
            }
        }
        let complete = ledger.has_all(10);
        let verdict = ledger.finish(10);
        let counts = verdict.counts;
        assert_eq!(
            [
                counts.received,
                counts.lost,
                counts.duplicated,
                counts.reordered,
                verdict.told_lost
            ],
            expected
        );
        assert!(complete || counts.lost > 0);
        assert_eq!(counts.corrupt, 0);
    }

    fn messages(numbers: impl IntoIterator<Item = u32>) -> impl Iterator<Item = Comes> {
        numbers.into_iter().map(Message)
    }

    #[test]
    fn everything_once_is_no_fault() {
        check(messages(0..10), [10, 0, 0, 0, 0]);
    }

    #[test]
    fn a_hole_that_nobody_told_is_lost() {
        check(messages((0..4).chain(6..10)), [8, 2, 0, 0, 0]);
        check(messages(1..10), [9, 1, 0, 0, 0]);
        check(messages(0..9), [9, 1, 0, 0, 0]);
        check([], [0, 10, 0, 0, 0]);
    }

    #[test]
    fn what_comes_again_is_duplicated_and_what_comes_late_reordered() {
        check(messages((0..5).chain(3..10)), [10, 0, 2, 0, 0]);
        check(
            messages((0..3).chain([4, 3]).chain(5..10)),
            [10, 0, 0, 1, 0],
        );
    }

    #[test]
    fn a_gap_excuses_what_it_tells_and_no_more() {
        let around = |gap| messages(0..4).chain([gap]).chain(messages(7..10));
        check(around(Gap(Some(3))), [7, 0, 0, 0, 3]);
        check(around(Gap(None)), [7, 0, 0, 0, 3]);
        check(around(Gap(Some(2))), [7, 1, 0, 0, 2]);
        check(messages(0..8).chain([Gap(Some(2))]), [8, 0, 0, 0, 2]);
        check(messages(0..8).chain([Gap(Some(1))]), [8, 1, 0, 0, 1]);
    }

    #[test]
    fn a_gap_excuses_once() {
        let what = messages(0..2)
            .chain([Gap(None)])
            .chain(messages(4..6))
            .chain(messages(8..10));
        check(what, [6, 2, 0, 0, 2]);
    }

    #[test]
    fn a_gap_that_is_told_again_on_the_next_connection_counts_once() {
        for (kept, expected) in [(false, 3), (true, 6)] {
            let mut ledger = Ledger::default();
            ledger.gap(Some(3));
            if kept {
                ledger.keep_told();
            }
            ledger.begin_again();
            ledger.gap(Some(3));
            let verdict = ledger.finish(10);
            assert_eq!(
                (verdict.told_lost, verdict.counts.lost),
                (expected, 10 - expected)
            );
        }
    }

    #[test]
    fn changed_data_is_corrupt() {
        let layout = Layout::new(64, 1);
        let mut ledger = Ledger::default();
        let mut data = Vec::new();
        layout.write(&mut data, source_of(0), 0, 5);
        data[50] ^= 1;
        ledger.event(&layout, &data);
        assert_eq!(ledger.finish(0).counts.corrupt, 1);
    }
}
