//! The topics of a run, and which message goes to which.

use std::collections::BTreeMap;

/// The topics of a run. Messages are published to each in turn.
#[derive(Debug)]
pub(super) struct RunTopics {
    names: Vec<String>,
    numbers: BTreeMap<String, usize>,
}

impl RunTopics {
    /// One topic of this name, or `count` topics with it as prefix.
    pub(super) fn new(name: &str, count: usize) -> Self {
        let names: Vec<String> = match count {
            1 => vec![name.to_owned()],
            _ => (0..count)
                .map(|number| format!("{name}.{number}"))
                .collect(),
        };
        let numbers = names.iter().cloned().zip(0..).collect();
        Self { names, numbers }
    }

    pub(super) fn names(&self) -> &[String] {
        &self.names
    }

    pub(super) fn number(&self, name: &str) -> Option<usize> {
        self.numbers.get(name).copied()
    }

    /// The topic of the run's message number `message`, and its sequence number there.
    pub(super) fn topic_and_sequence(&self, message: u32) -> (usize, u32) {
        let topics = self.names.len() as u32;
        ((message % topics) as usize, message / topics)
    }

    /// How many of the run's first `sent` messages are published to `topic`.
    pub(super) fn messages_of(&self, topic: usize, sent: u32) -> u32 {
        let (next, round) = self.topic_and_sequence(sent);
        round + u32::from(topic < next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_spread_over_the_topics() {
        let topics = RunTopics::new("t", 3);
        assert_eq!(topics.names(), ["t.0", "t.1", "t.2"]);
        assert_eq!(topics.number("t.1"), Some(1));
        for sent in 0..20 {
            let mut counted = [0; 3];
            for message in 0..sent {
                let (topic, number) = topics.topic_and_sequence(message);
                assert_eq!(number, counted[topic]);
                counted[topic] += 1;
            }
            assert_eq!(
                [0, 1, 2].map(|topic| topics.messages_of(topic, sent)),
                counted
            );
        }
        assert_eq!(RunTopics::new("t", 1).names(), ["t"]);
    }
}
