//! Where a client's topics begin: at the positions at which it resumes after a reconnect, or with the newest messages.

use std::borrow::Cow;

use super::Begin;
use crate::id::Position;
use crate::json::{self, Raw};

/// Where a topic begins for a client, or the topics that a pattern matches.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Recover<'a> {
    /// The topic's name, or the pattern.
    pub topic: Cow<'a, str>,
    /// From where on its messages are wanted.
    pub from: RecoverFrom,
}

/// From where on messages are wanted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RecoverFrom {
    /// After this position: the topic's epoch and the newest message received; for a pattern the process's epoch and
    /// the time of the subscription.
    Position(Position),
    /// The newest messages that are kept, at most this many.
    Last(u64),
}

impl RecoverFrom {
    /// Where the subscription to a topic begins.
    #[must_use]
    pub fn begin(self) -> Begin {
        match self {
            Self::Position(position) => Begin::After(position),
            Self::Last(count) => Begin::Last(count),
        }
    }

    /// The position to resume from, if it is one.
    #[must_use]
    pub fn position(self) -> Option<Position> {
        match self {
            Self::Position(position) => Some(position),
            Self::Last(_) => None,
        }
    }
}

impl Recover<'_> {
    /// Reads an object of topics, each with the position after which it is wanted or with a number of messages:
    /// `{"topic":{"epoch":..,"offset":..}}` or `{"topic":{"last":..}}`. A position counts where both are given, so that a
    /// client may always say how many it wants without one. `None` if it is anything else.
    #[must_use]
    pub fn read(recover: Raw<'_>) -> Option<Vec<Recover<'static>>> {
        let mut topics = Vec::new();
        json::fields(recover.text(), |topic, value| {
            let (mut epoch, mut offset, mut last) = (None, None, None);
            let read = json::fields(value.text(), |key, value| match key {
                "epoch" => epoch = value.as_count(),
                "offset" => offset = value.as_count(),
                "last" => last = value.as_count(),
                _ => {}
            });
            let from = match (epoch, offset, last) {
                (Some(epoch), Some(offset), _) => {
                    Some(RecoverFrom::Position(Position { epoch, offset }))
                }
                (None, None, Some(last)) if !topic.contains('*') => Some(RecoverFrom::Last(last)),
                _ => None,
            };
            topics.push(from.filter(|_| read.is_ok()).map(|from| Recover {
                topic: Cow::Owned(topic.to_owned()),
                from,
            }));
        })
        .ok()?;
        topics.into_iter().collect()
    }
}
