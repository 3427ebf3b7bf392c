//! Checks what one subscriber gets of a topic over all of its connections: every message once,
//! or a gap that the server announces.

use crate::payload::{self, Layout, PayloadHead, Source};
use crate::verify::{Counts, LateMessage, MissingRanges};

/// The source of a topic's messages; there is one publisher.
pub(super) fn source_of(topic: usize) -> Source {
    Source {
        topic: topic as u32,
        publisher: 0,
    }
}

/// How many messages the server announces as missing before the next one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum AnnouncedLoss {
    #[default]
    None,
    Messages(u64),
    /// Any number.
    Unknown,
}

impl AnnouncedLoss {
    fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::None, loss) | (loss, Self::None) => loss,
            (Self::Messages(first), Self::Messages(second)) => Self::Messages(first + second),
            _ => Self::Unknown,
        }
    }
}

/// Checks messages by their sequence numbers, which the publisher counts from 0.
#[derive(Debug, Default)]
pub(super) struct TopicVerifier {
    /// [`Source::number`] of all messages.
    source: u32,
    /// The next sequence number.
    next: u32,
    announced: AnnouncedLoss,
    /// Announced on this connection, and not passed by the position yet: the next connection
    /// announces it again.
    pending: AnnouncedLoss,
    missing: MissingRanges,
    counts: Counts,
    /// Gaps announced.
    gaps: u64,
    /// Messages missing within announced gaps.
    announced_lost: u64,
}

impl TopicVerifier {
    pub(super) fn of_topic(topic: usize) -> Self {
        Self {
            source: source_of(topic).number(),
            ..Self::default()
        }
    }

    /// Checks the data of one event.
    pub(super) fn event(&mut self, layout: &Layout, data: &[u8]) {
        let sequence = PayloadHead::of(data).and_then(|head| {
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
            match self.missing.take(0, sequence) {
                LateMessage::WasMissing => {
                    self.counts.lost -= 1;
                    self.counts.reordered += 1;
                    self.counts.received += 1;
                }
                LateMessage::Duplicate => self.counts.duplicated += 1,
            }
            return;
        }
        let lost = self.subtract_announced(u64::from(sequence - self.next));
        if lost > 0 {
            self.missing.add(0, self.next..sequence);
            self.counts.lost += lost;
        }
        self.counts.received += 1;
        self.next = sequence + 1;
    }

    /// Of `missing` messages, how many were not announced.
    fn subtract_announced(&mut self, missing: u64) -> u64 {
        self.commit_gaps();
        let announced = match std::mem::take(&mut self.announced) {
            AnnouncedLoss::None => 0,
            AnnouncedLoss::Messages(lost) => lost.min(missing),
            AnnouncedLoss::Unknown => missing,
        };
        self.announced_lost += announced;
        missing - announced
    }

    /// The server announces that messages are missing; how many, if it knows.
    pub(super) fn gap(&mut self, lost: Option<u64>) {
        self.gaps += 1;
        self.pending = self
            .pending
            .and(lost.map_or(AnnouncedLoss::Unknown, AnnouncedLoss::Messages));
    }

    /// The position passed the announced gaps: no later connection announces them again.
    pub(super) fn commit_gaps(&mut self) {
        self.announced = self.announced.and(std::mem::take(&mut self.pending));
    }

    /// A new connection resumes from the position.
    pub(super) fn reconnect(&mut self) {
        self.pending = AnnouncedLoss::None;
    }

    /// Counts a frame that cannot be parsed.
    pub(super) fn corrupt(&mut self) {
        self.counts.corrupt += 1;
    }

    /// Whether every one of `sent` messages was received or announced as lost.
    pub(super) fn is_complete(&self, sent: u32) -> bool {
        let missing = u64::from(sent.saturating_sub(self.next));
        missing == 0
            || match self.announced.and(self.pending) {
                AnnouncedLoss::None => false,
                AnnouncedLoss::Messages(lost) => lost >= missing,
                AnnouncedLoss::Unknown => true,
            }
    }

    /// Counts what is missing of `sent` messages.
    pub(super) fn finish(&mut self, sent: u32) -> ResumeReport {
        let lost = self.subtract_announced(u64::from(sent.saturating_sub(self.next)));
        self.next = self.next.max(sent);
        self.counts.lost += lost;
        ResumeReport {
            counts: self.counts,
            gaps: self.gaps,
            announced_lost: self.announced_lost,
        }
    }

    /// Messages received so far.
    pub(super) fn received(&self) -> u64 {
        self.counts.received
    }

    /// Faults so far.
    pub(super) fn faults(&self) -> u64 {
        self.counts.faults()
    }
}

/// What one subscriber got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ResumeReport {
    /// Messages within announced gaps do not count as `lost`.
    pub(super) counts: Counts,
    pub(super) gaps: u64,
    pub(super) announced_lost: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A message by its sequence number, or a gap.
    enum TopicInput {
        Message(u32),
        Gap(Option<u64>),
    }
    use TopicInput::{Gap, Message};

    /// Of 10 messages: received, lost, duplicated, reordered, announced as lost.
    fn check(inputs: impl IntoIterator<Item = TopicInput>, expected: [u64; 5]) {
        let layout = Layout::new(64, 1);
        let mut verifier = TopicVerifier::default();
        for input in inputs {
            match input {
                Message(sequence) => {
                    let mut data = Vec::new();
                    layout.write(&mut data, source_of(0), sequence, 5);
                    verifier.event(&layout, &data);
                }
                Gap(lost) => verifier.gap(lost),
            }
        }
        let complete = verifier.is_complete(10);
        let report = verifier.finish(10);
        let counts = report.counts;
        assert_eq!(
            [
                counts.received,
                counts.lost,
                counts.duplicated,
                counts.reordered,
                report.announced_lost
            ],
            expected
        );
        assert!(complete || counts.lost > 0);
        assert_eq!(counts.corrupt, 0);
    }

    fn messages(numbers: impl IntoIterator<Item = u32>) -> impl Iterator<Item = TopicInput> {
        numbers.into_iter().map(Message)
    }

    #[test]
    fn everything_once_is_no_fault() {
        check(messages(0..10), [10, 0, 0, 0, 0]);
    }

    #[test]
    fn a_gap_that_is_not_announced_is_lost() {
        check(messages((0..4).chain(6..10)), [8, 2, 0, 0, 0]);
        check(messages(1..10), [9, 1, 0, 0, 0]);
        check(messages(0..9), [9, 1, 0, 0, 0]);
        check([], [0, 10, 0, 0, 0]);
    }

    #[test]
    fn repeated_messages_are_duplicated_and_late_ones_reordered() {
        check(messages((0..5).chain(3..10)), [10, 0, 2, 0, 0]);
        check(
            messages((0..3).chain([4, 3]).chain(5..10)),
            [10, 0, 0, 1, 0],
        );
    }

    #[test]
    fn a_gap_covers_what_it_announces_and_no_more() {
        let around = |gap| messages(0..4).chain([gap]).chain(messages(7..10));
        check(around(Gap(Some(3))), [7, 0, 0, 0, 3]);
        check(around(Gap(None)), [7, 0, 0, 0, 3]);
        check(around(Gap(Some(2))), [7, 1, 0, 0, 2]);
        check(messages(0..8).chain([Gap(Some(2))]), [8, 0, 0, 0, 2]);
        check(messages(0..8).chain([Gap(Some(1))]), [8, 1, 0, 0, 1]);
    }

    #[test]
    fn a_gap_covers_messages_once() {
        let inputs = messages(0..2)
            .chain([Gap(None)])
            .chain(messages(4..6))
            .chain(messages(8..10));
        check(inputs, [6, 2, 0, 0, 2]);
    }

    #[test]
    fn a_gap_that_the_next_connection_repeats_counts_once() {
        for (kept, expected) in [(false, 3), (true, 6)] {
            let mut verifier = TopicVerifier::default();
            verifier.gap(Some(3));
            if kept {
                verifier.commit_gaps();
            }
            verifier.reconnect();
            verifier.gap(Some(3));
            let report = verifier.finish(10);
            assert_eq!(
                (report.announced_lost, report.counts.lost),
                (expected, 10 - expected)
            );
        }
    }

    #[test]
    fn changed_data_is_corrupt() {
        let layout = Layout::new(64, 1);
        let mut verifier = TopicVerifier::default();
        let mut data = Vec::new();
        layout.write(&mut data, source_of(0), 0, 5);
        data[50] ^= 1;
        verifier.event(&layout, &data);
        assert_eq!(verifier.finish(0).counts.corrupt, 1);
    }
}
