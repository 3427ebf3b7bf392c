//! One membership of a topic, as its client sees it.

use std::collections::BTreeMap;

use super::encoder::Event;
use super::oracle::{Check, Oracle, expect, fail};
use super::seen::Thing;
use crate::engine::Resumed;
use crate::id::Position;

/// What has come of a topic.
#[derive(Debug)]
pub(super) struct Track {
    /// Which of the memberships of its topic.
    pub(super) life: u32,
    /// The confirmation that has to come first.
    pub(super) awaits: Option<u32>,
    /// The unsubscription that the client has to be told of first: until then messages are of an
    /// earlier membership. 0 for none.
    pub(super) behind: u32,
    /// The newest message that is accounted for.
    last: Option<Position>,
    /// For patterns: nothing behind this place may be missing.
    pub(super) base: Option<Position>,
    /// Nothing up to here may come.
    pub(super) floor: Option<Position>,
    /// Messages that are missing, as far as has been told.
    lost: u64,
    /// It has been told that any number is missing.
    pub(super) is_lost: bool,
    /// Gaps of it may have given way to other frames.
    is_deaf: bool,
    /// A gap has to be told.
    owes_gap: bool,
    /// Gaps may be those of an earlier membership.
    pub(super) may_be_old: bool,
    /// The newest presence message's number.
    presence: Option<Position>,
    /// Who came or left last, by user.
    users: BTreeMap<String, bool>,
}

/// Whether a membership is one still, as far as the client has been told.
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
            is_deaf: false,
            owes_gap: false,
            may_be_old: false,
            presence: None,
            users: BTreeMap::new(),
        }
    }

    /// A message has come.
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
            is_next = missing == 0;
            if !self.is_lost && missing > self.lost {
                let told = self.lost;
                let why = format!("{missing} missing, {told} told");
                fail(Check::Missing, what(&why));
            }
            if !self.is_lost && self.counts_exactly() && missing < self.lost {
                let told = self.lost;
                fail(Check::Gap, what(&format!("{missing} missing, {told} told")));
            }
        }
        if self.owes_gap && !self.is_deaf {
            fail(Check::Gap, what("a gap has to come first"));
        }
        (self.lost, self.is_lost) = (0, self.is_deaf);
        self.last = Some(at);
        if !is_next {
            self.users.clear();
        }
    }

    /// Whether as many messages must be missing as gaps tell, and no fewer.
    fn counts_exactly(&self) -> bool {
        // Of a membership by a pattern it is not known when it began.
        self.last.is_some() && !self.may_be_old
    }

    /// The offset that has to come next, if that is known.
    fn expected(&self, at: Position, what: &impl Fn(&str) -> String) -> Option<u64> {
        match (self.last, self.base) {
            (Some(last), _) if last.epoch == at.epoch => Some(last.offset + 1),
            // The membership goes on: its topic cannot have begun anew, but where it has been told.
            (Some(last), _) if !self.is_lost => {
                fail(Check::Order, what(&format!("after {last:?}")))
            }
            (None, Some(base)) if base.epoch == at.epoch => {
                // It may have begun before the client was told.
                Some((base.offset + 1).min(at.offset))
            }
            (None, Some(_)) => Some(1),
            _ => None,
        }
    }

    /// Somebody came or left: a count of its own, which jumps where something gave way.
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
        let (sign, user) = event.data.split_at(1);
        let came = sign == "+";
        if self.users.insert(user.into(), came) == Some(came) {
            fail(Check::Presence, format!("{} twice", event.data));
        }
    }

    /// Nothing is known of confirmations and gaps any more.
    pub(super) fn grow_deaf(&mut self) {
        (self.awaits, self.behind) = (None, 0);
        (self.is_deaf, self.is_lost, self.owes_gap) = (true, true, false);
    }

    /// The newest message that the client has, if that is known.
    pub(super) fn last(&self) -> Option<Position> {
        self.last.filter(|_| !self.is_lost && self.awaits.is_none())
    }

    /// A gap is told.
    pub(super) fn gap(&mut self, lost: Option<u64>) {
        match lost {
            Some(lost) => self.lost += lost,
            None => self.is_lost = true,
        }
        self.owes_gap = false;
    }

    /// A confirmation names the place where the membership began.
    pub(super) fn named(
        &mut self,
        at: Position,
        resumed: Option<Resumed>,
        from: Option<Position>,
        oracle: &mut Oracle,
    ) {
        self.awaits = None;
        if self.is_lost {
            // Anything may have been lost before.
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

    /// A confirmation names a topic that the client was a member of before.
    pub(super) fn named_while_flowing(
        &mut self,
        at: Position,
        resumed: Option<Resumed>,
        oracle: &mut Oracle,
    ) {
        if resumed == Some(Resumed::Underway) {
            self.owes_gap = true;
            oracle.seen.note(Thing::Underway);
        }
        match self.last {
            Some(last) if last == at || self.is_lost => {}
            // It is named behind the gap that is still to be told, as in the confirmation before.
            Some(_) if self.owes_gap => {}
            Some(last) => {
                // What has been told missing is behind it by then.
                let is_told = last.epoch == at.epoch && last.offset + self.lost == at.offset;
                if !is_told {
                    let what = format!("{at:?} while it flows, after {last:?}, {} lost", self.lost);
                    fail(Check::Confirmation, what);
                }
            }
            None => self.floor = Some(at),
        }
    }

    /// Checks that all has come.
    pub(super) fn finish(&self, name: &str, head: Position) {
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
        if missing > self.lost || missing < self.lost && self.counts_exactly() {
            let told = self.lost;
            let what = format!("{name}: {missing} missing before {head:?}, {told} told: {self:?}");
            fail(Check::Missing, what);
        }
    }
}
