//! Checks what one subscriber gets over all of its connections: the messages of each topic, and over
//! WebSocket the positions (epoch and offset) that the server states.

use super::topic_verifier::{ResumeReport, TopicVerifier};
use super::topics::RunTopics;
use crate::payload::Layout;
use crate::verify::Counts;

/// The last position that the server stated for a topic on the current connection.
#[derive(Debug)]
struct ConfirmedPosition {
    epoch: String,
    /// The next event must have a higher one.
    offset: u64,
}

/// Knows what one subscriber must get and counts what it does.
#[derive(Debug)]
pub(super) struct SubscriberVerifier {
    /// By topic.
    verifiers: Vec<TopicVerifier>,
    /// By topic; `None` until the current connection's confirmation.
    positions: Vec<Option<ConfirmedPosition>>,
    /// The first position that contradicts an earlier one.
    violation: Option<String>,
}

impl SubscriberVerifier {
    pub(super) fn new(topics: &RunTopics) -> Self {
        let count = topics.names().len();
        Self {
            verifiers: (0..count).map(TopicVerifier::of_topic).collect(),
            positions: (0..count).map(|_| None).collect(),
            violation: None,
        }
    }

    /// A new connection resumes from the positions.
    pub(super) fn reconnect(&mut self) {
        self.verifiers.iter_mut().for_each(TopicVerifier::reconnect);
        self.positions
            .iter_mut()
            .for_each(|position| *position = None);
    }

    /// The confirmation states the position that events of `topic` follow.
    pub(super) fn confirm(&mut self, topic: usize, epoch: &str, offset: u64) {
        self.positions[topic] = Some(ConfirmedPosition {
            epoch: epoch.to_owned(),
            offset,
        });
    }

    /// An event of `topic` with its position.
    pub(super) fn event_at(
        &mut self,
        topic: usize,
        (epoch, offset): (&str, u64),
        layout: &Layout,
        data: &[u8],
    ) {
        match &mut self.positions[topic] {
            None => self.note_violation(topic, "an event before the confirmation"),
            Some(position) if position.epoch != epoch => {
                let why = format!("an event of epoch {epoch} in epoch {}", position.epoch);
                self.note_violation(topic, &why);
            }
            Some(position) if offset <= position.offset => {
                let why = format!("offset {offset} after {}", position.offset);
                self.note_violation(topic, &why);
            }
            Some(position) => position.offset = offset,
        }
        self.event(topic, layout, data);
    }

    /// An event of `topic` without a position.
    pub(super) fn event(&mut self, topic: usize, layout: &Layout, data: &[u8]) {
        self.verifiers[topic].event(layout, data);
    }

    /// As [`Self::gap`], on a transport that confirms subscriptions first.
    pub(super) fn gap_after_confirmation(&mut self, topic: usize, lost: Option<u64>) {
        if self.positions[topic].is_none() {
            self.note_violation(topic, "a gap before the confirmation");
        }
        self.gap(topic, lost);
    }

    /// The server announces that messages of `topic` are missing; how many, if it knows.
    pub(super) fn gap(&mut self, topic: usize, lost: Option<u64>) {
        self.verifiers[topic].gap(lost);
    }

    /// The position of `topic` passed its announced gaps.
    pub(super) fn commit_gaps(&mut self, topic: usize) {
        self.verifiers[topic].commit_gaps();
    }

    /// As [`Self::commit_gaps`], for all topics.
    pub(super) fn commit_all_gaps(&mut self) {
        self.verifiers
            .iter_mut()
            .for_each(TopicVerifier::commit_gaps);
    }

    /// Counts a frame that cannot be parsed.
    pub(super) fn corrupt(&mut self) {
        self.verifiers[0].corrupt();
    }

    fn note_violation(&mut self, topic: usize, why: &str) {
        self.violation
            .get_or_insert_with(|| format!("topic {topic}: {why}"));
    }

    /// Whether every one of the run's `sent` messages was received or announced as lost.
    pub(super) fn is_complete(&self, topics: &RunTopics, sent: u32) -> bool {
        let mut verifiers = self.verifiers.iter().enumerate();
        verifiers.all(|(topic, verifier)| verifier.is_complete(topics.messages_of(topic, sent)))
    }

    /// Counts what is missing of `sent` messages; returns the first violation, too.
    pub(super) fn finish(
        &mut self,
        topics: &RunTopics,
        sent: u32,
    ) -> (ResumeReport, Option<String>) {
        let mut all = ResumeReport {
            counts: Counts::default(),
            gaps: 0,
            announced_lost: 0,
        };
        for (topic, verifier) in self.verifiers.iter_mut().enumerate() {
            let report = verifier.finish(topics.messages_of(topic, sent));
            all.counts.add(report.counts);
            all.gaps += report.gaps;
            all.announced_lost += report.announced_lost;
        }
        (all, self.violation.take())
    }

    /// Messages received so far.
    pub(super) fn received(&self) -> u64 {
        self.verifiers.iter().map(TopicVerifier::received).sum()
    }

    /// Faults so far.
    pub(super) fn faults(&self) -> u64 {
        self.verifiers.iter().map(TopicVerifier::faults).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::payload::Source;

    /// Of two topics: a confirmation, an event with its position and number, a gap, or a new connection.
    enum SubscriberInput {
        Confirmed(usize, &'static str, u64),
        Event(usize, (&'static str, u64), u32),
        Gap(usize),
        Reconnect,
    }
    use SubscriberInput::{Confirmed, Event, Gap, Reconnect};

    #[track_caller]
    fn check(inputs: &[SubscriberInput], expected: Option<&str>) {
        let (layout, topics) = (Layout::new(64, 1), RunTopics::new("t", 2));
        let mut verifier = SubscriberVerifier::new(&topics);
        for input in inputs {
            match *input {
                Confirmed(topic, epoch, offset) => verifier.confirm(topic, epoch, offset),
                Event(topic, at, number) => {
                    let mut data = Vec::new();
                    let source = Source {
                        topic: topic as u32,
                        publisher: 0,
                    };
                    layout.write(&mut data, source, number, 5);
                    verifier.event_at(topic, at, &layout, &data);
                }
                Gap(topic) => verifier.gap_after_confirmation(topic, None),
                Reconnect => verifier.reconnect(),
            }
        }
        let (report, violation) = verifier.finish(&topics, 0);
        assert_eq!(violation.as_deref(), expected);
        assert_eq!(report.counts.corrupt, 0);
    }

    #[test]
    fn positions_that_contradict_earlier_ones_are_violations() {
        let begun = || [Confirmed(0, "9", 7), Confirmed(1, "8", 0)];
        let with = |more: Vec<SubscriberInput>| begun().into_iter().chain(more).collect::<Vec<_>>();
        check(
            &with(vec![
                Event(0, ("9", 8), 0),
                Event(1, ("8", 1), 0),
                Event(0, ("9", 10), 1),
                Reconnect,
                Confirmed(0, "9", 10),
                Confirmed(1, "8", 1),
                Gap(0),
                Event(0, ("9", 11), 2),
            ]),
            None,
        );
        let early = "topic 1: an event before the confirmation";
        check(&[Confirmed(0, "9", 7), Event(1, ("8", 1), 0)], Some(early));
        let early = "topic 0: an event before the confirmation";
        check(&with(vec![Reconnect, Event(0, ("9", 8), 0)]), Some(early));
        check(&[Gap(1)], Some("topic 1: a gap before the confirmation"));
        check(
            &with(vec![Event(0, ("9", 7), 0)]),
            Some("topic 0: offset 7 after 7"),
        );
        check(
            &with(vec![Event(0, ("9", 9), 0), Event(0, ("9", 8), 1)]),
            Some("topic 0: offset 8 after 9"),
        );
        check(
            &with(vec![Event(1, ("9", 1), 0)]),
            Some("topic 1: an event of epoch 9 in epoch 8"),
        );
    }

    #[test]
    fn a_message_of_one_topic_does_not_count_for_another() {
        let (layout, topics) = (Layout::new(64, 1), RunTopics::new("t", 2));
        let mut verifier = SubscriberVerifier::new(&topics);
        let mut event = |of: u32, to: usize, number| {
            let mut data = Vec::new();
            let source = Source {
                topic: of,
                publisher: 0,
            };
            layout.write(&mut data, source, number, 5);
            verifier.event(to, &layout, &data);
        };
        event(0, 0, 0);
        event(0, 0, 1);
        event(1, 1, 0);
        event(0, 1, 0);
        assert!(verifier.is_complete(&topics, 3) && !verifier.is_complete(&topics, 4));
        let (report, _) = verifier.finish(&topics, 4);
        let counts = report.counts;
        assert_eq!((counts.received, counts.lost, counts.corrupt), (3, 1, 1));
    }
}
