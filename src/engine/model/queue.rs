//! Queue groups: what must become of their messages.
//!
//! Each message goes to one member of each group that has any when its home takes it. Clients are in one of two groups,
//! by their number, so that a reader says which group a message was for.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use super::client::Asked;
use super::encoder::Event;
use super::oracle::{Check, fail};
use super::peers::Connection;
use super::seen::Thing;
use super::world::World;
use crate::engine::Publication;
use crate::id::{Position, UserKey};

thread_local! {
    /// Messages that an engine has encoded for a member of a queue group.
    static GIVEN: RefCell<Vec<MessageKey>> = const { RefCell::new(Vec::new()) };
}

/// The topic, epoch and offset of a message.
type MessageKey = (String, u64, u64);

/// The messages of queue groups.
#[derive(Debug, Default)]
pub(super) struct QueueOracle {
    /// The groups that have to get each message.
    due: BTreeMap<MessageKey, Due>,
    /// How many members each message was given to.
    given: BTreeMap<MessageKey, usize>,
    /// Messages that a shard has handed back: they may come late.
    pub(super) returned: BTreeSet<MessageKey>,
    /// Who has read a message, by its group.
    reads: BTreeMap<(MessageKey, String), String>,
    /// Topics with a member that has lost frames.
    lossy: BTreeSet<String>,
}

#[derive(Debug, Default)]
struct Due {
    groups: BTreeSet<String>,
    /// Those that have had no member since.
    excused: BTreeSet<String>,
}

/// An encoder writes a message for a member.
pub(super) fn note_given(publication: &Publication<'_>) {
    let key = (
        publication.topic.to_owned(),
        publication.epoch,
        publication.offset,
    );
    GIVEN.with_borrow_mut(|given| given.push(key));
}

/// Groups of a topic.
pub(super) const QUEUE_GROUPS: usize = 2;

/// The group of a client.
fn group_of(user: &str) -> String {
    let number: usize = user[1..].parse().expect("as it was made");
    format!("g{}", number % QUEUE_GROUPS)
}

impl QueueOracle {
    /// A client has read a message of a queue group.
    pub(super) fn read(&mut self, event: &Event<'_>, user: &str) {
        let at = event.position;
        let key = (event.topic.to_owned(), at.epoch, at.offset);
        let group = group_of(user);
        if let Some(other) = self.reads.insert((key, group), user.into()) {
            fail(Check::Queue, format!("{user} reads {event:?}, as {other}"));
        }
    }

    /// Whether a message may come behind newer ones.
    pub(super) fn is_late(&self, event: &Event<'_>) -> bool {
        let at = event.position;
        let key = (event.topic.to_owned(), at.epoch, at.offset);
        self.returned.contains(&key)
    }

    /// Checks that every group has got its messages, and that they have been read. Nothing is under way.
    pub(super) fn finish(&self) {
        for (key, given) in &self.given {
            let due = self.due.get(key).map_or(0, |due| due.groups.len());
            if *given > due {
                fail(Check::Queue, format!("{key:?}: {given} given, {due} due"));
            }
        }
        for (key, due) in &self.due {
            let given = self.given.get(key).copied().unwrap_or(0);
            if given + due.excused.len() < due.groups.len() {
                fail(Check::Queue, format!("{key:?}: {given} given of {due:?}"));
            }
            let groups = due.groups.iter();
            let read =
                groups.filter(|group| self.reads.contains_key(&(key.clone(), (*group).clone())));
            let read = read.count();
            if read < given && !self.lossy.contains(&key.0) {
                fail(Check::Queue, format!("{key:?}: {given} given, {read} read"));
            }
        }
    }

    /// How many messages a client has read.
    fn read_by(&self, user: &str) -> usize {
        self.reads.values().filter(|reader| *reader == user).count()
    }
}

impl World {
    /// A client joins its queue group of a topic.
    pub(super) fn join_queue(&mut self, client: usize, topic: &str) {
        let &mut Connection { node, peer, .. } = self.connection(client);
        self.take_outcomes(client);
        if !self.turn(node, |turn| turn.may_subscribe(peer, &[topic], false)) {
            return self.oracle.seen.note(Thing::Busy);
        }
        let group = group_of(&self.clients[client].user);
        let ticket = self.turn(node, |turn| turn.begin_subscription(peer));
        let view = &mut self.connection(client).view;
        view.asked.insert(ticket.0, Asked::default());
        view.queues.entry(topic.into()).or_default();
        let joined = self.turn(node, |turn| turn.join_queue(peer, topic, &group, ticket));
        self.oracle
            .seen
            .add(Thing::TooManyTopics, u64::from(joined.is_err()));
        self.changes += 1;
        if let Some(confirmation) = self.turn(node, |turn| turn.confirm(ticket)) {
            self.confirm(client, &confirmation);
            self.take_outcomes(client);
        }
    }

    /// A client leaves its queue group of a topic.
    pub(super) fn leave_queue(&mut self, client: usize, topic: &str) {
        let &mut Connection { node, peer, .. } = self.connection(client);
        let group = group_of(&self.clients[client].user);
        self.turn(node, |turn| turn.leave_queue(peer, topic, &group));
        self.changes += 1;
    }

    /// The groups of a topic with a member that a message is for.
    pub(super) fn queue_groups(&self, topic: &str, except: &str) -> BTreeSet<String> {
        let (node, except) = (self.home_of(topic), UserKey::of(except));
        let engine = &self.nodes[node].engine;
        let known = engine.homes.home.find(topic);
        let queues = known.and_then(|known| known.queues());
        let groups = queues.into_iter().flat_map(|queues| queues.groups());
        let groups = groups.filter(|group| {
            let mut members = group.members().iter();
            members.any(|member| {
                let is_here = member.shard.index() == node;
                (!is_here || engine.hub().is_present(member.peer))
                    && (except.is_none() || member.user != except)
            })
        });
        groups.map(|group| group.name().to_owned()).collect()
    }

    /// A home has taken a message.
    pub(super) fn expect_queued(&mut self, topic: &str, at: Position) {
        let key = (topic.to_owned(), at.epoch, at.offset);
        let groups = self.queue_groups(topic, self.oracle.skipped_user(&key));
        if !groups.is_empty() {
            let due = Due {
                groups,
                excused: BTreeSet::new(),
            };
            self.oracle.queues.due.insert(key, due);
        }
    }

    /// Records what an engine has given to members in a turn, and which groups have no member left.
    pub(super) fn note_queued(&mut self) {
        let given = GIVEN.take();
        for key in given {
            *self.oracle.queues.given.entry(key).or_default() += 1;
        }
        let QueueOracle { due, given, .. } = &self.oracle.queues;
        let is_open = |key: &MessageKey, due: &Due| {
            given.get(key).copied().unwrap_or(0) + due.excused.len() < due.groups.len()
        };
        let open = due.iter().filter(|(key, due)| is_open(key, due));
        let open: Vec<MessageKey> = open.map(|(key, _)| key.clone()).collect();
        for key in open {
            let there = self.queue_groups(&key.0, self.oracle.skipped_user(&key));
            if let Some(due) = self.oracle.queues.due.get_mut(&key) {
                due.excused.extend(due.groups.difference(&there).cloned());
            }
        }
    }

    /// A client's connection may have lost frames.
    pub(super) fn lose_queued(&mut self, client: usize) {
        let topics = self.connection(client).view.queues.keys();
        let topics: Vec<String> = topics.cloned().collect();
        self.oracle.queues.lossy.extend(topics);
    }
}

mod tests {
    use super::super::encoder::PLAIN;
    use super::super::ops::{Op, Setup};
    use super::super::traces::WIDE;
    use super::*;

    /// Clients of one group, and the engine of each.
    fn world(setup: Setup, members: &[(u8, u8)]) -> World {
        let mut world = World::new(setup);
        for &(client, node) in members.iter().chain(&[(1, 0)]) {
            world.apply(&Op::Join {
                client,
                node,
                format: PLAIN,
                greet: false,
            });
        }
        for &(client, _) in members {
            world.apply(&Op::JoinQueue {
                client,
                topic: "a.1",
            });
        }
        world.apply(&Op::Run { rounds: 4 });
        world
    }

    fn publish(world: &mut World) {
        world.apply(&Op::Publish {
            client: 1,
            topic: "a.1",
            key: "",
            answer: false,
            bytes: 10,
        });
    }

    fn read_by(world: &World, clients: &[u8]) -> Vec<usize> {
        let read = |client: &u8| world.oracle.queues.read_by(&format!("u{client}"));
        clients.iter().map(read).collect()
    }

    #[test]
    fn members_take_turns_whatever_engine_they_are_on() {
        for nodes in [[0, 1, 2], [0, 0, 1], [2, 2, 2]] {
            let members = [(0, nodes[0]), (2, nodes[1]), (4, nodes[2])];
            let mut world = world(WIDE, &members);
            for _ in 0..6 {
                publish(&mut world);
                world.apply(&Op::Run { rounds: 3 });
            }
            assert_eq!(read_by(&world, &[0, 2, 4]), [2, 2, 2], "{nodes:?}");
            world.apply(&Op::LeaveQueue {
                client: 2,
                topic: "a.1",
            });
            world.apply(&Op::Leave { client: 4 });
            world.apply(&Op::Run { rounds: 3 });
            for _ in 0..3 {
                publish(&mut world);
                world.apply(&Op::Run { rounds: 3 });
            }
            assert_eq!(read_by(&world, &[0, 2, 4]), [5, 2, 2], "{nodes:?}");
            world.finish();
        }
    }

    #[test]
    fn a_member_that_does_not_keep_up_is_passed_over() {
        for nodes in [[0, 0], [1, 1], [0, 1], [1, 0], [1, 2]] {
            let mut world = world(WIDE, &[(0, nodes[0]), (2, nodes[1])]);
            let Connection { node, peer, .. } = *world.connection(0);
            world.nodes[node].sockets.get(peer.slot).room = 1;
            for _ in 0..10 {
                publish(&mut world);
                world.apply(&Op::Run { rounds: 5 });
            }
            assert_eq!(read_by(&world, &[2]), [9], "{nodes:?}");
            world.finish();
            assert_eq!(read_by(&world, &[0, 2]), [1, 9], "{nodes:?}");
        }
    }

    #[test]
    fn where_none_keeps_up_messages_wait_in_outboxes() {
        for nodes in [[0, 0], [1, 1], [0, 1], [1, 2]] {
            let mut world = world(WIDE, &[(0, nodes[0]), (2, nodes[1])]);
            for client in [0, 2] {
                let Connection { node, peer, .. } = *world.connection(client);
                world.nodes[node].sockets.get(peer.slot).room = 1;
            }
            for _ in 0..10 {
                publish(&mut world);
                world.apply(&Op::Run { rounds: 5 });
            }
            assert_eq!(read_by(&world, &[0, 2]), [0, 0], "{nodes:?}");
            world.finish();
            assert_eq!(read_by(&world, &[0, 2]), [5, 5], "{nodes:?}");
        }
    }

    #[test]
    fn a_burst_waits_for_the_flush_and_loses_nothing() {
        let setup = Setup {
            outbox_messages: 3,
            ..WIDE
        };
        for node in 0..3 {
            let mut world = world(setup, &[(0, node)]);
            for _ in 0..30 {
                publish(&mut world);
            }
            world.finish();
            let read = read_by(&world, &[0])[0];
            assert!(read >= 3, "{read}");
            for node in &world.nodes {
                assert_eq!(node.counters.messages_dropped.read(), 0);
            }
        }
    }

    #[test]
    fn a_member_whose_task_crashed_gives_its_place_up() {
        for node in 0..3 {
            let mut world = world(WIDE, &[(0, node), (2, 1)]);
            let Connection { node, peer, .. } = *world.connection(0);
            world.nodes[node].engine.leave(peer);
            for _ in 0..4 {
                publish(&mut world);
            }
            world.nodes[node].sockets.remove(peer.slot);
            world.clients[0].connection = None;
            world.apply(&Op::Run { rounds: 5 });
            assert_eq!(read_by(&world, &[0, 2]), [0, 4]);
            world.finish();
        }
    }
}
