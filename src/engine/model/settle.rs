//! The end of a run: all pending work completes, all clients leave, and nothing remains.

use super::oracle::{Check, expect, fail};
use super::world::World;
use crate::engine::FlushBudget;
use crate::engine::attendance::Attendance;
use crate::engine::calls::{Callers, Calls};
use crate::engine::catch_up::CatchUps;
use crate::engine::groups::Groups;
use crate::engine::hub::Flush;
use crate::engine::interest::Interests;
use crate::engine::publish::Receipts;
use crate::engine::queues::Queues;
use crate::engine::tickets::Tickets;

/// Rounds after which pending work counts as stuck.
const ROUNDS_MAX: usize = 400;

/// Flushes of one engine in one turn after which it counts as endless.
const FLUSHES_MAX: usize = 2000;

impl World {
    /// Completes all pending work, and checks the result.
    pub(super) fn finish(&mut self) {
        for client in 0..self.clients.len() {
            self.drain(client);
        }
        self.mesh.go_all();
        self.settle();
        self.check_arrived();
        self.check_presence();
        self.end_all();
        self.check_empty();
    }

    /// A client's socket accepts all bytes from now on.
    fn drain(&mut self, client: usize) {
        let Some(connection) = &self.clients[client].connection else {
            return;
        };
        let (node, peer) = (connection.node, connection.peer);
        self.nodes[node].sockets.get(peer.slot).room = usize::MAX;
        if self.nodes[node].engine.hub().is_blocked(peer.slot) {
            self.turn(node, |turn| turn.unblock(peer));
        }
    }

    /// Runs until no work is pending. An engine is flushed only if it has asked for it, or if a shard would do so
    /// unasked.
    fn settle(&mut self) {
        let mut idle = 0;
        for round in 1..ROUNDS_MAX {
            let mut is_busy = false;
            for node in 0..self.nodes.len() {
                let taken = self.exchange(node, 4, 4 * self.nodes.len());
                is_busy |= taken | self.reap(node);
                if round % 5 == 0 {
                    self.turn(node, |turn| {
                        turn.go_on_waiting();
                        turn.close_groups();
                    });
                    self.at_home(node, None, |turn| turn.sweep_presence());
                }
                if self.nodes[node].is_wanted || self.mesh.may_hand_over(node) {
                    is_busy = true;
                    self.flush_all(node);
                }
            }
            self.now_ms += 20;
            idle = if is_busy { 0 } else { idle + 1 };
            if idle == 12 {
                break;
            }
        }
        if idle < 12 || !self.is_quiet() {
            fail(Check::Stuck, format!("{:?}", self.mesh));
        }
    }

    /// Flushes until only output for full sockets is left.
    fn flush_all(&mut self, node: usize) {
        let budget = FlushBudget {
            writes_max: 3,
            bytes_max: 100_000,
        };
        for _ in 0..FLUSHES_MAX {
            if self.flush(node, budget) == Flush::Done {
                return;
            }
        }
        fail(Check::Stuck, "a flush does not come to its end");
    }

    /// Connections that have been disconnected or sent their last frame leave.
    pub(super) fn reap(&mut self, node: usize) -> bool {
        let mut any = false;
        for client in 0..self.clients.len() {
            let Some(connection) = &self.clients[client].connection else {
                continue;
            };
            let hub = self.nodes[connection.node].engine.hub();
            let is_closed = connection.is_closing && hub.is_drained(connection.peer.slot);
            if connection.node == node && (connection.is_disconnecting || is_closed) {
                self.leave(client);
                any = true;
            }
        }
        any
    }

    fn check_arrived(&mut self) {
        let heads = self.heads();
        self.tasks.finish();
        let oracle = &mut self.oracle;
        oracle.queues.finish();
        for client in &mut self.clients {
            let Some(connection) = &mut client.connection else {
                continue;
            };
            oracle.reader.clone_from(&client.user);
            let (peer, hub) = (connection.peer, self.nodes[connection.node].engine.hub());
            let awaited = hub.answers_awaited(peer);
            if awaited != 0 || !connection.rosters.is_empty() || !connection.answers.is_empty() {
                let what = format!("{awaited} answers: {connection:?}");
                fail(Check::Unanswered, what);
            }
            if !hub.is_drained(peer.slot) || connection.view.is_cut() {
                fail(Check::Stuck, format!("{connection:?} is not drained"));
            }
            match &mut connection.stream {
                Some((_, stream)) => stream.finish(&heads, oracle),
                None => connection.view.finish(&heads, oracle),
            }
        }
    }

    /// Users whose grace period is over must have been reported.
    fn check_presence(&mut self) {
        // Reporting finds closed sockets, whose peers then leave.
        for _ in 0..3 {
            self.now_ms += self.setup.grace_ms;
            for node in 0..self.nodes.len() {
                self.at_home(node, None, |turn| turn.sweep_presence());
            }
            self.settle();
        }
        for (topic, users) in &self.present {
            let home = &self.nodes[self.home_of(topic)]
                .engine
                .homes
                .attendance
                .presence;
            let roster = home.roster(topic, "", 1000).users;
            for one in &roster {
                self.oracle.check_presence_data(&one.user, &one.data);
            }
            let roster = roster
                .into_iter()
                .map(|one| (one.user.into(), one.connections));
            let there = users.iter().filter(|(_, connections)| **connections > 0);
            let there: Vec<(String, u32)> = match topic.starts_with("p.") {
                true => there.map(|(user, count)| (user.clone(), *count)).collect(),
                false => Vec::new(),
            };
            expect(Check::Presence, &roster.collect(), &there, topic);
        }
        self.check_arrived();
    }

    /// All clients leave, and everything is swept.
    fn end_all(&mut self) {
        for client in 0..self.clients.len() {
            self.leave(client);
        }
        for call in 0..self.tasks.calls.len() {
            if !self.tasks.calls[call].is_hung_up {
                self.hang_up(call);
            }
        }
        // Short lanes let interests be withdrawn only a few at a time.
        let mut rounds = 6;
        for _ in 0..60 {
            rounds -= usize::from(
                self.nodes
                    .iter()
                    .all(|node| node.engine.hub().topics().next().is_none()),
            );
            if rounds == 0 {
                break;
            }
            // By then all retained messages have expired.
            self.now_ms += 400_000;
            for node in 0..self.nodes.len() {
                self.at_home(node, None, |turn| turn.sweep_presence());
                self.turn(node, |turn| {
                    turn.close_groups();
                    turn.sweep_vacant();
                });
            }
            self.settle();
            for node in 0..self.nodes.len() {
                let now = self.now();
                self.nodes[node].engine.tidy(now);
                self.sweep_home(node);
            }
        }
    }

    pub(super) fn sweep_home(&mut self, node: usize) {
        let mut next = Some(0);
        while let Some(from) = next {
            next = self.turn(node, |turn| turn.sweep_home(from));
        }
    }

    fn check_empty(&self) {
        self.tasks.finish();
        for number in 0..self.nodes.len() {
            self.check_interests(number);
        }
        for (number, node) in self.nodes.iter().enumerate() {
            let engine = &node.engine;
            let hub = engine.hub();
            let topics: Vec<&str> = hub.topics().map(|(_, name)| name).collect();
            let left = |what: &str, is_left: bool| {
                if is_left {
                    fail(Check::Left, format!("engine {number}: {what}"));
                }
            };
            left(&format!("topics {topics:?}"), !topics.is_empty());
            left("subscriptions", hub.subscription_count() > 0);
            let homes: Vec<_> = engine.homes.home.topics().collect();
            left(&format!("topics at home {homes:?}"), !homes.is_empty());
            left(&format!("{} bytes", hub.held()), hub.held() > 0);
            left("peers", hub.peer_count() > 0);
            left("histories", engine.history_held() > 0);
            // Compared with a new one through `Debug`.
            let debug = [
                (
                    "tickets",
                    format!("{:?}", engine.tickets),
                    format!("{:?}", Tickets::default()),
                ),
                (
                    "pages",
                    format!("{:?}", engine.catch_ups),
                    format!("{:?}", CatchUps::default()),
                ),
                (
                    "receipts",
                    format!("{:?}", engine.receipts),
                    format!("{:?}", Receipts::default()),
                ),
                (
                    "queues",
                    format!("{:?}", engine.queues),
                    format!("{:?}", Queues::default()),
                ),
                (
                    "callers",
                    format!("{:?}", engine.callers),
                    format!("{:?}", Callers::default()),
                ),
                (
                    "calls",
                    format!("{:?}", engine.homes.calls),
                    format!("{:?}", Calls::default()),
                ),
                (
                    "groups",
                    format!("{:?}", engine.readers.groups),
                    format!("{:?}", Groups::default()),
                ),
                (
                    "presence",
                    format!("{:?}", engine.homes.attendance),
                    format!("{:?}", Attendance::default()),
                ),
            ];
            for (what, found, empty) in debug {
                left(&format!("{what}: {found}"), found != empty);
            }
            let merges = format!("{:?}", engine.readers.merges);
            for part in ["parts: {}", "streams: {}", "catching_up: {}", "ahead: []"] {
                left(&format!("{part} in {merges}"), !merges.contains(part));
            }
        }
    }

    /// Checks that an engine has no interests left.
    fn check_interests(&self, number: usize) {
        let interests = format!("{:?}", self.nodes[number].engine.readers.interests);
        if interests != format!("{:?}", Interests::default()) {
            fail(Check::Left, format!("engine {number}: {interests}"));
        }
    }
}
