//! One membership of a topic, as its client observes it.

use std::collections::BTreeMap;

use super::encoder::Event;
use super::oracle::{Check, Oracle, expect, fail};
use super::seen::Thing;
use crate::engine::Resumed;
use crate::id::Position;

/// The state of one membership.
#[derive(Debug)]
pub(super) struct Track {
    /// Counts the memberships of its topic.
    pub(super) life: u32,
    /// The confirmation that has to come before any message.
    pub(super) awaits: Option<u32>,
    /// The unsubscription whose reply has to come first: until then messages belong to an earlier membership. 0 if
    /// there is none.
    pub(super) behind: u32,
    /// The newest message received or reported as lost.
    last: Option<Position>,
    /// For patterns: no message after this position may be missing.
    pub(super) base: Option<Position>,
    /// No message up to this position may come.
    pub(super) floor: Option<Position>,
    /// Missing messages reported by gaps.
    lost: u64,
    /// A gap has reported an unknown number of missing messages.
    pub(super) is_lost: bool,
    /// Gaps may have been dropped in favour of other frames.
    may_miss_reports: bool,
    /// A gap has to be reported.
    owes_gap: bool,
    /// Gaps may belong to an earlier membership.
    pub(super) may_be_old: bool,
    /// The newest presence message.
    presence: Option<Position>,
    /// Whether each user is present by the last message about it.
    users: BTreeMap<String, bool>,
}

/// Whether the membership still exists, as far as the client has been told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Membership {
    Live,
    Ended,
}

impl Track {
    pub(super) fn new(life: u32) -> Self {
        Self {
            life,
            awaits: None,
            behind: 0,
            last: None,
            base: None,
            floor: None,
            lost: 0,
            is_lost: false,
            may_miss_reports: false,
            owes_gap: false,
            may_be_old: false,
            presence: None,
            users: BTreeMap::new(),
        }
    }

    /// A message has arrived.
    pub(super) fn event(&mut self, event: &Event<'_>, membership: Membership, oracle: &mut Oracle) {
        if event.is_presence {
            return self.presence(event, membership, oracle);
        }
        let at = event.position;
        let what = |why: &str| format!("{} {at:?}: {why}", event.topic);
        if membership == Membership::Live && self.awaits.is_some() {
            fail(Check::BeforeConfirmation, what("it has not been named"));
        }
        if let Some(floor) = self.floor
            && floor.epoch == at.epoch
            && at.offset <= floor.offset
        {
            fail(Check::AfterConfirmation, what(&format!("named {floor:?}")));
        }
        let mut is_next = true;
        if let Some(expected) = self.expected(at, &what) {
            if at.offset < expected {
                fail(Check::Order, what(&format!("{expected} was expected")));
            }
            let missing = at.offset - expected;
            let before = Position {
                offset: expected - 1,
                ..at
            };
            let skipped = oracle.skipped(event.topic, before, at.offset);
            oracle.seen.add(Thing::Skipped, skipped);
            is_next = missing == skipped;
            if !self.is_lost && missing > self.lost + skipped {
                let told = self.lost;
                let why = format!("{missing} missing, {told} told");
                fail(Check::Missing, what(&why));
            }
            if !self.is_lost && self.counts_exactly() && missing < self.lost {
                let told = self.lost;
                fail(Check::Gap, what(&format!("{missing} missing, {told} told")));
            }
        }
        if self.owes_gap && !self.may_miss_reports {
            fail(Check::Gap, what("a gap has to come first"));
        }
        (self.lost, self.is_lost) = (0, self.may_miss_reports);
        self.last = Some(at);
        if !is_next {
            self.users.clear();
        }
    }

    /// Whether the number of missing messages must equal the number that gaps report.
    fn counts_exactly(&self) -> bool {
        // The start of a membership by pattern is unknown.
        self.last.is_some() && !self.may_be_old
    }

    /// The offset that has to come next, if known.
    fn expected(&self, at: Position, what: &impl Fn(&str) -> String) -> Option<u64> {
        match (self.last, self.base) {
            (Some(last), _) if last.epoch == at.epoch => Some(last.offset + 1),
            // Within a membership the topic cannot begin a new epoch unless that was reported.
            (Some(last), _) if !self.is_lost => {
                fail(Check::Order, what(&format!("after {last:?}")))
            }
            (None, Some(base)) if base.epoch == at.epoch => {
                // The membership may have begun before the client was told.
                Some((base.offset + 1).min(at.offset))
            }
            (None, Some(_)) => Some(1),
            _ => None,
        }
    }

    /// A join, a leave or an update. These have their own numbers, which skip dropped messages.
    fn presence(&mut self, event: &Event<'_>, membership: Membership, oracle: &mut Oracle) {
        oracle.seen.note(Thing::PresenceTold);
        if membership == Membership::Live && self.awaits.is_some() {
            fail(Check::BeforeConfirmation, event.data);
        }
        let at = event.position;
        let is_next = match self.presence.replace(at) {
            Some(last) if last.epoch == at.epoch && at.offset <= last.offset => {
                fail(Check::Presence, format!("{at:?} after {last:?}"));
            }
            last => last.is_some_and(|last| last.epoch == at.epoch && at.offset == last.offset + 1),
        };
        if !is_next {
            self.users.clear();
        }
        let (sign, change) = event.data.split_at(1);
        let (user, data) = change.split_once(' ').expect("data, or null");
        let was_there = self.users.insert(user.into(), sign != "-");
        oracle.check_presence_data(user, data);
        if was_there.is_some_and(|was_there| was_there == (sign == "+")) {
            fail(Check::Presence, format!("{} twice", event.data));
        }
        oracle
            .seen
            .add(Thing::PresenceUpdated, u64::from(sign == "="));
    }

    /// From now on confirmations and gaps may have been dropped.
    pub(super) fn lose_reports(&mut self) {
        (self.awaits, self.behind) = (None, 0);
        (self.may_miss_reports, self.is_lost, self.owes_gap) = (true, true, false);
    }

    /// The newest message that the client has, if known.
    pub(super) fn last(&self) -> Option<Position> {
        self.last.filter(|_| !self.is_lost && self.awaits.is_none())
    }

    /// A gap has been reported.
    pub(super) fn gap(&mut self, lost: Option<u64>) {
        match lost {
            Some(lost) => self.lost += lost,
            None => self.is_lost = true,
        }
        self.owes_gap = false;
    }

    /// A confirmation gives the position where the membership began.
    pub(super) fn named(
        &mut self,
        at: Position,
        resumed: Option<Resumed>,
        from: Option<Position>,
        oracle: &mut Oracle,
    ) {
        self.awaits = None;
        if self.is_lost {
            // Any number may have been lost before.
            self.last = None;
            return;
        }
        if self.last.is_some() {
            return;
        }
        let behind = |count: u64| Position {
            epoch: at.epoch,
            offset: at.offset - count,
        };
        self.last = Some(at);
        match resumed {
            None => {}
            Some(Resumed::Complete(count)) => {
                if let Some(from) = from {
                    expect(Check::Confirmation, &behind(count), &from, "recovered");
                }
                self.last = Some(behind(count));
                oracle.seen.add(Thing::Recovered, count.min(1));
            }
            Some(Resumed::TooOld(count)) => {
                expect(Check::Confirmation, &Some(behind(count)), &from, "too old");
                (self.last, self.owes_gap) = (Some(behind(count)), true);
                oracle.seen.note(Thing::TooOld);
            }
            Some(Resumed::OtherEpoch) => {
                self.owes_gap = true;
                oracle.seen.note(Thing::OtherEpoch);
            }
            Some(Resumed::NeverSeen) => {
                self.owes_gap = true;
                oracle.seen.note(Thing::NeverSeen);
            }
            Some(Resumed::Underway) => fail(Check::Confirmation, "underway at once"),
        }
        self.floor = self.last;
    }

    /// A confirmation names a topic of an earlier subscription.
    pub(super) fn named_while_flowing(
        &mut self,
        (name, at): (&str, Position),
        resumed: Option<Resumed>,
        oracle: &mut Oracle,
    ) {
        if resumed == Some(Resumed::Underway) {
            self.owes_gap = true;
            oracle.seen.note(Thing::Underway);
        }
        match self.last {
            Some(last) if last == at || self.is_lost => {}
            // Its position is after the gap still to be reported, as in the confirmation before.
            Some(_) if self.owes_gap => {}
            Some(last) => {
                // Its position includes the missing messages already reported.
                if !is_told(oracle, (name, last), self.lost, at) {
                    let what = format!("{at:?} while it flows, after {last:?}, {} lost", self.lost);
                    fail(Check::Confirmation, what);
                }
            }
            None => self.floor = Some(at),
        }
    }

    /// Checks that every message has arrived.
    pub(super) fn finish(&self, name: &str, head: Position, oracle: &Oracle) {
        if self.is_lost {
            return;
        }
        if self.owes_gap {
            fail(Check::Gap, format!("{name}: a gap was never told"));
        }
        let last = match (self.last, self.base) {
            (Some(last), _) => last,
            (None, Some(base)) if base.epoch == head.epoch => base,
            (None, Some(_)) => Position { offset: 0, ..head },
            (None, None) => return,
        };
        if last.epoch != head.epoch && (last.offset, head.offset) != (0, 0) {
            fail(
                Check::Missing,
                format!("{name}: {last:?}, stands at {head:?}"),
            );
        }
        let missing = head.offset.saturating_sub(last.offset);
        let from = Position {
            epoch: head.epoch,
            ..last
        };
        let skipped = oracle.skipped(name, from, head.offset);
        if missing > self.lost + skipped || missing < self.lost && self.counts_exactly() {
            let told = self.lost;
            let what = format!("{name}: {missing} missing before {head:?}, {told} told: {self:?}");
            fail(Check::Missing, what);
        }
    }
}

/// Whether a client that had `last`, and was told that `lost` messages are missing, is at `at`. Messages that leave it
/// out may be among the lost.
pub(super) fn is_told(
    oracle: &Oracle,
    (name, last): (&str, Position),
    lost: u64,
    at: Position,
) -> bool {
    let least = last.offset + lost;
    let most = least + oracle.skipped(name, last, at.offset);
    last.epoch == at.epoch && (least..=most).contains(&at.offset)
}
