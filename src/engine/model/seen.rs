//! Counts of the interesting cases, so that the model cannot silently stop covering them.

/// A case that has to occur in some run.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Thing {
    Confirmed,
    ConfirmedLater,
    Recovered,
    TooOld,
    OtherEpoch,
    NeverSeen,
    Underway,
    Page,
    NextPage,
    GapOfSlow,
    GapOfHistory,
    PrivateGap,
    RequestStalled,
    LaneFull,
    DeliveriesDeferred,
    Busy,
    Slow,
    Gone,
    StreamResumed,
    StreamGap,
    StreamAhead,
    GroupFull,
    GroupOfSome,
    PatternEvent,
    WidePatternEvent,
    Appeared,
    Forgotten,
    AskedAgain,
    PresenceTold,
    Roster,
    CallAnswered,
    KeyTaken,
    CallAnsweredElsewhere,
    HungUp,
    KeyAgain,
    EpochChanged,
    CountedElsewhere,
    CountedExactly,
    History,
    TooManyTopics,
    Inbox,
    Broadcast,
    CutFrame,
    PatternRecovered,
    PatternTopicRecovered,
    PatternTopicLost,
    PatternRestarted,
    PatternForgotten,
    Skipped,
    Reformatted,
    RecoveredLast,
    StreamLast,
    HistoryBefore,
    PresenceUpdated,
    Queued,
    QueuedLate,
    QueueReturned,
    QueueGone,
}

const COUNT: usize = Thing::QueueGone as usize + 1;

/// How often each case occurred.
#[derive(Clone, Debug)]
pub(super) struct Seen([u64; COUNT]);

impl Default for Seen {
    fn default() -> Self {
        Self([0; COUNT])
    }
}

impl Seen {
    pub(super) fn note(&mut self, thing: Thing) {
        self.add(thing, 1);
    }

    pub(super) fn add(&mut self, thing: Thing, times: u64) {
        self.0[thing as usize] += times;
    }

    pub(super) fn merge(&mut self, other: &Self) {
        for (count, more) in self.0.iter_mut().zip(other.0) {
            *count += more;
        }
    }

    pub(super) fn all(&self) -> impl Iterator<Item = (Thing, u64)> {
        ALL.into_iter().zip(self.0)
    }
}

const ALL: [Thing; COUNT] = [
    Thing::Confirmed,
    Thing::ConfirmedLater,
    Thing::Recovered,
    Thing::TooOld,
    Thing::OtherEpoch,
    Thing::NeverSeen,
    Thing::Underway,
    Thing::Page,
    Thing::NextPage,
    Thing::GapOfSlow,
    Thing::GapOfHistory,
    Thing::PrivateGap,
    Thing::RequestStalled,
    Thing::LaneFull,
    Thing::DeliveriesDeferred,
    Thing::Busy,
    Thing::Slow,
    Thing::Gone,
    Thing::StreamResumed,
    Thing::StreamGap,
    Thing::StreamAhead,
    Thing::GroupFull,
    Thing::GroupOfSome,
    Thing::PatternEvent,
    Thing::WidePatternEvent,
    Thing::Appeared,
    Thing::Forgotten,
    Thing::AskedAgain,
    Thing::PresenceTold,
    Thing::Roster,
    Thing::CallAnswered,
    Thing::KeyTaken,
    Thing::CallAnsweredElsewhere,
    Thing::HungUp,
    Thing::KeyAgain,
    Thing::EpochChanged,
    Thing::CountedElsewhere,
    Thing::CountedExactly,
    Thing::History,
    Thing::TooManyTopics,
    Thing::Inbox,
    Thing::Broadcast,
    Thing::CutFrame,
    Thing::PatternRecovered,
    Thing::PatternTopicRecovered,
    Thing::PatternTopicLost,
    Thing::PatternRestarted,
    Thing::PatternForgotten,
    Thing::Skipped,
    Thing::Reformatted,
    Thing::RecoveredLast,
    Thing::StreamLast,
    Thing::HistoryBefore,
    Thing::PresenceUpdated,
    Thing::Queued,
    Thing::QueuedLate,
    Thing::QueueReturned,
    Thing::QueueGone,
];
