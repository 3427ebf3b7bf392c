//! The queue groups of a topic at its home: who is in them, and whose turn it is.
//!
//! A message goes to one member of each group. Members take turns, whatever shard they are on; those that do not keep
//! up are passed over while others do.

use crate::id::{PeerId, ShardId, UserKey};

/// Queue groups of one topic.
pub const QUEUE_GROUPS_MAX: usize = 64;

/// Bytes in the name of a queue group.
pub const QUEUE_GROUP_BYTES_MAX: usize = 128;

/// For how long members are passed over whose shard has handed a message back, while others keep up.
const PASSED_MS: u64 = 100;

/// Why a peer is no member of a queue group.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum QueueError {
    /// The topic is new and its home is at its topic limit.
    Topics,
    /// The hub is at its memory limit for memberships.
    Memory,
    /// The topic has [`QUEUE_GROUPS_MAX`] queue groups.
    Groups,
}

/// Whether a queue group may have this name: 1 to [`QUEUE_GROUP_BYTES_MAX`] bytes without control characters.
#[must_use]
pub fn is_queue_group(name: &str) -> bool {
    (1..=QUEUE_GROUP_BYTES_MAX).contains(&name.len()) && !name.contains(char::is_control)
}

/// The queue groups of a topic; there is one at least.
#[derive(Default, Debug)]
pub(super) struct QueueGroups(Vec<QueueGroup>);

/// The members of one group.
#[derive(Debug)]
pub(super) struct QueueGroup {
    name: Box<str>,
    members: Vec<QueueMember>,
    /// The index of the member whose turn it is.
    turn: usize,
}

/// A member of a queue group.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct QueueMember {
    pub(super) shard: ShardId,
    pub(super) peer: PeerId,
    /// Whose connection it is.
    pub(super) user: UserKey,
    /// When its shard last handed a message back because no member there kept up.
    passed_ms: Option<u64>,
}

/// How well a member takes a message; the first is best.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Fitness {
    /// It keeps up, as far as is known.
    Ready,
    /// It may keep up again, or will after the next flush.
    Likely,
    /// The lane to its shard is full.
    NoRoom,
    /// It does not keep up.
    Behind,
}

impl QueueMember {
    pub(super) fn new(shard: ShardId, peer: PeerId, user: UserKey) -> Self {
        Self {
            shard,
            peer,
            user,
            passed_ms: None,
        }
    }

    /// How well a member of another shard takes a message that was published at `since_ms`, if its lane has room. A
    /// shard that has handed back a message since is not asked again.
    pub(super) fn fitness(&self, since_ms: u64, now_ms: u64) -> Fitness {
        match self.passed_ms {
            None => Fitness::Ready,
            Some(passed_ms) if passed_ms >= since_ms => Fitness::Behind,
            Some(passed_ms) if now_ms < passed_ms + PASSED_MS => Fitness::Likely,
            Some(_) => Fitness::Ready,
        }
    }
}

impl QueueGroups {
    /// Adds a member. Returns `false` at the limit of groups. One that is a member already stays one.
    pub(super) fn join(&mut self, name: &str, member: QueueMember) -> bool {
        let group = match self.0.iter().position(|group| *group.name == *name) {
            Some(at) => &mut self.0[at],
            None if self.0.len() >= QUEUE_GROUPS_MAX => return false,
            None => {
                self.0.push(QueueGroup {
                    name: name.into(),
                    members: Vec::new(),
                    turn: 0,
                });
                self.0.last_mut().expect("it was just pushed")
            }
        };
        let mut members = group.members.iter();
        if !members.any(|other| (other.shard, other.peer) == (member.shard, member.peer)) {
            group.members.push(member);
        }
        true
    }

    /// Removes a member, and its group with the last one.
    pub(super) fn leave(&mut self, name: &str, (shard, peer): (ShardId, PeerId)) {
        let Some(at) = self.0.iter().position(|group| *group.name == *name) else {
            return;
        };
        let members = &mut self.0[at].members;
        let known = members
            .iter()
            .position(|one| (one.shard, one.peer) == (shard, peer));
        if let Some(known) = known {
            members.swap_remove(known);
        }
        if members.is_empty() {
            self.0.swap_remove(at);
        }
    }

    /// Whether no group is left.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All groups, each at an index until one is removed.
    pub(super) fn groups(&self) -> &[QueueGroup] {
        &self.0
    }

    /// The index of a group.
    pub(super) fn find(&self, name: &str) -> Option<usize> {
        self.0.iter().position(|group| *group.name == *name)
    }

    /// A group, by index.
    pub(super) fn group_mut(&mut self, index: usize) -> &mut QueueGroup {
        &mut self.0[index]
    }
}

impl QueueGroup {
    /// The group's name.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// The members of a group.
    #[cfg(test)]
    pub(super) fn members(&self) -> &[QueueMember] {
        &self.members
    }

    /// The member that takes the next message best: of several the one whose turn comes first. `fitness` is `None` for
    /// those that it is not for.
    ///
    /// Cost: one step where the first one is ready; else a look at every member.
    pub(super) fn best(
        &self,
        fitness: impl Fn(&QueueMember) -> Option<Fitness>,
    ) -> Option<(usize, Fitness)> {
        let (later, first) = self.members.split_at(self.turn.min(self.members.len()));
        let (later, first) = (later.iter().zip(0..), first.iter().zip(later.len()..));
        let mut best: Option<(usize, Fitness)> = None;
        for (member, at) in first.chain(later) {
            let Some(found) = fitness(member) else {
                continue;
            };
            if best.is_none_or(|(_, best)| found < best) {
                best = Some((at, found));
            }
            if found == Fitness::Ready {
                break;
            }
        }
        best
    }

    /// Takes the turn of the member at an index: the next one has its turn now.
    pub(super) fn take_turn(&mut self, at: usize) -> QueueMember {
        self.turn = at + 1;
        self.members[at]
    }

    /// No member on a shard keeps up.
    pub(super) fn pass_over(&mut self, shard: ShardId, now_ms: u64) {
        let members = self.members.iter_mut();
        for member in members.filter(|member| member.shard == shard) {
            member.passed_ms = Some(now_ms);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::Slot;

    fn peer(number: u32) -> PeerId {
        PeerId {
            slot: Slot(number),
            generation: number,
        }
    }

    /// Members 0 to `count`, each on the shard of its number.
    fn group_of(count: u16) -> QueueGroups {
        let mut groups = QueueGroups::default();
        for number in 0..count {
            let member = QueueMember::new(ShardId(number), peer(number.into()), UserKey::NONE);
            assert!(groups.join("g", member) && groups.join("g", member));
        }
        groups
    }

    fn next(
        groups: &mut QueueGroups,
        fitness: impl Fn(&QueueMember) -> Option<Fitness>,
    ) -> Option<u16> {
        let index = groups.find("g")?;
        let (at, _) = groups.groups()[index].best(fitness)?;
        Some(groups.group_mut(index).take_turn(at).shard.0)
    }

    #[test]
    fn members_take_turns_and_one_that_leaves_gives_its_place_up() {
        let mut groups = group_of(3);
        let ready = |_: &QueueMember| Some(Fitness::Ready);
        let taken: Vec<_> = (0..5).filter_map(|_| next(&mut groups, ready)).collect();
        assert_eq!(taken, [0, 1, 2, 0, 1]);
        groups.leave("g", (ShardId(1), peer(1)));
        groups.leave("g", (ShardId(1), peer(1)));
        groups.leave("other", (ShardId(0), peer(0)));
        let mut taken: Vec<_> = (0..4).filter_map(|_| next(&mut groups, ready)).collect();
        taken.sort_unstable();
        assert_eq!(taken, [0, 0, 2, 2]);
        groups.leave("g", (ShardId(0), peer(0)));
        groups.leave("g", (ShardId(2), peer(2)));
        assert!(groups.is_empty());
        assert_eq!(next(&mut groups, ready), None);
    }

    #[test]
    fn the_first_of_those_that_take_it_best_gets_it() {
        use Fitness::{Behind, Likely, NoRoom, Ready};
        let mut groups = group_of(4);
        let of = |fitness: [Option<Fitness>; 4]| {
            move |member: &QueueMember| fitness[member.shard.index()]
        };
        let all_behind = of([Some(Behind); 4]);
        assert_eq!(
            next(
                &mut groups,
                of([None, Some(Behind), Some(Ready), Some(Ready)])
            ),
            Some(2)
        );
        assert_eq!(
            next(
                &mut groups,
                of([Some(Behind), Some(NoRoom), Some(Likely), None])
            ),
            Some(2)
        );
        assert_eq!(next(&mut groups, all_behind), Some(3));
        assert_eq!(next(&mut groups, all_behind), Some(0));
        assert_eq!(next(&mut groups, of([None; 4])), None);
    }

    #[test]
    fn a_shard_that_hands_back_is_passed_over_for_a_while_and_asked_once_for_each_message() {
        let mut groups = group_of(2);
        groups.group_mut(0).pass_over(ShardId(0), 1000);
        let fitness = |groups: &QueueGroups, since_ms, now_ms| {
            groups.groups()[0].members()[0].fitness(since_ms, now_ms)
        };
        assert_eq!(fitness(&groups, 1000, 1000), Fitness::Behind);
        assert_eq!(fitness(&groups, 990, 5000), Fitness::Behind);
        assert_eq!(fitness(&groups, 1001, 1099), Fitness::Likely);
        assert_eq!(fitness(&groups, 1001, 1100), Fitness::Ready);
        assert_eq!(
            groups.groups()[0].members()[1].fitness(0, 0),
            Fitness::Ready
        );
    }

    #[test]
    fn a_topic_has_so_many_groups() {
        let mut groups = QueueGroups::default();
        let member = QueueMember::new(ShardId(0), peer(1), UserKey::NONE);
        for number in 0..QUEUE_GROUPS_MAX {
            assert!(groups.join(&number.to_string(), member));
        }
        assert!(!groups.join("one more", member));
        groups.leave("0", (ShardId(0), peer(1)));
        assert!(groups.join("one more", member));
    }

    #[test]
    fn names_of_groups() {
        let longest = "n".repeat(QUEUE_GROUP_BYTES_MAX);
        assert!(is_queue_group("a b*") && is_queue_group(&longest));
        for wrong in ["", "a\0b", "a\u{85}", &format!("{longest}n")] {
            assert!(!is_queue_group(wrong), "{wrong:?}");
        }
    }
}
