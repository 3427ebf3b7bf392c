//! What one subscriber has of each of its topics, and whether the server has kept what it says about
//! where they stand.

use super::ledger::{Ledger, Verdict};
use super::topics::Topics;
use crate::payload::Layout;
use crate::verify::Counts;

/// Where a topic stands on the present connection.
#[derive(Debug)]
struct Standing {
    epoch: String,
    /// What comes next is behind it.
    offset: u64,
}

/// Everything that a subscriber has, over all of its connections.
#[derive(Debug)]
pub(super) struct Books {
    ledgers: Vec<Ledger>,
    /// By topic; `None` until the present connection's confirmation names it.
    standings: Vec<Option<Standing>>,
    /// The first time that the server has not kept what it says.
    violation: Option<String>,
}

impl Books {
    pub(super) fn new(topics: &Topics) -> Self {
        let count = topics.names().len();
        Self {
            ledgers: (0..count).map(Ledger::of_topic).collect(),
            standings: (0..count).map(|_| None).collect(),
            violation: None,
        }
    }

    /// A new connection begins, at the positions.
    pub(super) fn begin_again(&mut self) {
        self.ledgers.iter_mut().for_each(Ledger::begin_again);
        self.standings
            .iter_mut()
            .for_each(|standing| *standing = None);
    }

    /// The confirmation names a topic: what comes next is behind this position.
    pub(super) fn confirm(&mut self, topic: usize, epoch: &str, offset: u64) {
        self.standings[topic] = Some(Standing {
            epoch: epoch.to_owned(),
            offset,
        });
    }

    /// An event of `topic`, where a position is said of each.
    pub(super) fn event_at(
        &mut self,
        topic: usize,
        (epoch, offset): (&str, u64),
        layout: &Layout,
        data: &[u8],
    ) {
        match &mut self.standings[topic] {
            None => self.violate(topic, "an event before the confirmation"),
            Some(standing) if standing.epoch != epoch => {
                let why = format!("an event of epoch {epoch} in epoch {}", standing.epoch);
                self.violate(topic, &why);
            }
            Some(standing) if offset <= standing.offset => {
                let why = format!("offset {offset} after {}", standing.offset);
                self.violate(topic, &why);
            }
            Some(standing) => standing.offset = offset,
        }
        self.event(topic, layout, data);
    }

    /// An event of `topic`.
    pub(super) fn event(&mut self, topic: usize, layout: &Layout, data: &[u8]) {
        self.ledgers[topic].event(layout, data);
    }

    /// A gap of `topic`, where a confirmation has to come first.
    pub(super) fn gap_at(&mut self, topic: usize, lost: Option<u64>) {
        if self.standings[topic].is_none() {
            self.violate(topic, "a gap before the confirmation");
        }
        self.gap(topic, lost);
    }

    /// The server says that messages of `topic` are missing.
    pub(super) fn gap(&mut self, topic: usize, lost: Option<u64>) {
        self.ledgers[topic].gap(lost);
    }

    /// The position of `topic` is behind the gaps that were told of it.
    pub(super) fn keep_told(&mut self, topic: usize) {
        self.ledgers[topic].keep_told();
    }

    /// The same of all topics.
    pub(super) fn keep_all_told(&mut self) {
        self.ledgers.iter_mut().for_each(Ledger::keep_told);
    }

    /// A frame that is none, of whatever topic.
    pub(super) fn corrupt(&mut self) {
        self.ledgers[0].corrupt();
    }

    fn violate(&mut self, topic: usize, why: &str) {
        self.violation
            .get_or_insert_with(|| format!("topic {topic}: {why}"));
    }

    /// Whether nothing of the run's `sent` messages is due any more.
    pub(super) fn has_all(&self, topics: &Topics, sent: u32) -> bool {
        let mut ledgers = self.ledgers.iter().enumerate();
        ledgers.all(|(topic, ledger)| ledger.has_all(topics.share(topic, sent)))
    }

    /// The verdict, given how many messages were sent.
    pub(super) fn finish(&mut self, topics: &Topics, sent: u32) -> (Verdict, Option<String>) {
        let mut all = Verdict {
            counts: Counts::default(),
            gaps: 0,
            told_lost: 0,
        };
        for (topic, ledger) in self.ledgers.iter_mut().enumerate() {
            let verdict = ledger.finish(topics.share(topic, sent));
            all.counts.add(verdict.counts);
            all.gaps += verdict.gaps;
            all.told_lost += verdict.told_lost;
        }
        (all, self.violation.take())
    }

    /// Messages so far.
    pub(super) fn received(&self) -> u64 {
        self.ledgers.iter().map(Ledger::received).sum()
    }

    /// Faults so far.
    pub(super) fn faults(&self) -> u64 {
        self.ledgers.iter().map(Ledger::faults).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::payload::Source;

    /// What comes of two topics: a confirmation, an event with its position and number, or the next connection.
    enum Comes {
        Confirmed(usize, &'static str, u64),
        Event(usize, (&'static str, u64), u32),
        Gap(usize),
        Again,
    }
    use Comes::{Again, Confirmed, Event, Gap};

    #[track_caller]
    fn check(what: &[Comes], expected: Option<&str>) {
        let (layout, topics) = (Layout::new(64, 1), Topics::new("t", 2));
        let mut books = Books::new(&topics);
        for comes in what {
            match *comes {
                Confirmed(topic, epoch, offset) => books.confirm(topic, epoch, offset),
                Event(topic, at, number) => {
                    let mut data = Vec::new();
                    let source = Source {
                        topic: topic as u32,
                        publisher: 0,
                    };
                    layout.write(&mut data, source, number, 5);
                    books.event_at(topic, at, &layout, &data);
                }
                Gap(topic) => books.gap_at(topic, None),
                Again => books.begin_again(),
            }
        }
        let (verdict, violation) = books.finish(&topics, 0);
        assert_eq!(violation.as_deref(), expected);
        assert_eq!(verdict.counts.corrupt, 0);
    }

    #[test]
    fn what_the_server_says_of_positions_is_held_against_it() {
        let begun = || [Confirmed(0, "9", 7), Confirmed(1, "8", 0)];
        let with = |more: Vec<Comes>| begun().into_iter().chain(more).collect::<Vec<_>>();
        check(
            &with(vec![
                Event(0, ("9", 8), 0),
                Event(1, ("8", 1), 0),
                Event(0, ("9", 10), 1),
                Again,
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
        check(&with(vec![Again, Event(0, ("9", 8), 0)]), Some(early));
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

    /// Numbers of one topic do not stand in for another's.
    #[test]
    fn each_topic_has_to_have_all_of_its_messages() {
        let (layout, topics) = (Layout::new(64, 1), Topics::new("t", 2));
        let mut books = Books::new(&topics);
        let mut event = |of: u32, to: usize, number| {
            let mut data = Vec::new();
            let source = Source {
                topic: of,
                publisher: 0,
            };
            layout.write(&mut data, source, number, 5);
            books.event(to, &layout, &data);
        };
        event(0, 0, 0);
        event(0, 0, 1);
        event(1, 1, 0);
        event(0, 1, 0);
        assert!(books.has_all(&topics, 3) && !books.has_all(&topics, 4));
        let (verdict, _) = books.finish(&topics, 4);
        let counts = verdict.counts;
        assert_eq!((counts.received, counts.lost, counts.corrupt), (3, 1, 1));
    }
}
