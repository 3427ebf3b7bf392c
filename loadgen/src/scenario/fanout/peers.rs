//! The connections of a fan-out and their state.

mod foreign;
mod streams;

use std::collections::BTreeMap;

use super::plan::{FanoutPlan, MemberKind};
use super::publisher::FanoutPublisher;
use crate::cli::Load;
use crate::events::{self, ServerFrame};
use crate::foreign::{Foreign, Side};
use crate::net::{End, Handler, Id, Net, ResponsePart, Target};
use crate::outcome::Outcome;
use crate::payload::{Format, Random};
use crate::scenario;
use crate::verify::{Verifier, Wire};
use crate::wse::{Encoding, Unpacker};

/// The state of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Upgrading,
    Greeting,
    Confirming,
    Ready,
    /// A passing member that disconnects.
    Leaving,
}

/// What a connection is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum FanoutRole {
    Member(usize),
    Publisher(u16),
}

impl FanoutRole {
    fn side(self) -> Side {
        match self {
            Self::Member(_) => Side::Subscriber,
            Self::Publisher(_) => Side::Publisher,
        }
    }
}

#[derive(Debug, Clone, Copy)]
struct Peer {
    role: FanoutRole,
    stage: Stage,
    /// Whether its first event was parsed whole.
    parsed: bool,
}

/// All connections of a run.
#[derive(Debug)]
pub(crate) struct FanoutPeers {
    pub(crate) plan: FanoutPlan,
    pub(crate) verifier: Verifier,
    pub(crate) publishers: Vec<FanoutPublisher>,
    target: Target,
    wire: Wire,
    format: Format,
    unpacker: Unpacker,
    /// By connection id; `None` where a connection ended.
    peers: Vec<Option<Peer>>,
    /// Connection of each member.
    ids: Vec<Option<Id>>,
    /// Connections to open, in reverse.
    to_open: Vec<FanoutRole>,
    opening: usize,
    ready: usize,
    publishers_wanted: usize,
    /// The next passing member to be replaced.
    next_leaver: usize,
    replaced: u64,
    ends: BTreeMap<String, u64>,
    failure: Option<String>,
}

impl FanoutPeers {
    pub(crate) fn new(
        plan: FanoutPlan,
        load: &Load,
        (wire, format): (Wire, Format),
        target: Target,
        verifier: Verifier,
    ) -> Self {
        let publishers = usize::from(load.publishers);
        let mut to_open: Vec<FanoutRole> =
            (0..load.publishers).map(FanoutRole::Publisher).collect();
        to_open.extend((0..plan.members.len()).map(FanoutRole::Member));
        to_open.reverse();
        Self {
            ids: vec![None; plan.members.len()],
            next_leaver: 0,
            plan,
            verifier,
            publishers: Vec::new(),
            target,
            wire,
            format,
            unpacker: Unpacker::default(),
            peers: Vec::new(),
            to_open,
            opening: 0,
            ready: 0,
            publishers_wanted: publishers,
            replaced: 0,
            ends: BTreeMap::new(),
            failure: None,
        }
    }

    /// Starts the next connection; false if all are started.
    pub(crate) fn open_next(&mut self, net: &mut Net) -> Result<bool, String> {
        let Some(role) = self.to_open.pop() else {
            return Ok(false);
        };
        let id = match (role, self.wire) {
            // Its URL may have a query of its own.
            (_, Wire::Foreign(Foreign::Gateway(_))) => scenario::open(net)?,
            (_, Wire::Foreign(foreign)) if foreign.is_http() => scenario::open_http(net)?,
            (_, Wire::Foreign(foreign)) => {
                let path = foreign.path(role.side(), &self.plan.names[0]);
                scenario::open_on(net, &path)?
            }
            (FanoutRole::Member(member), Wire::Sse) => {
                let names = self.plan.names_of(member);
                scenario::open_stream(net, names)?
            }
            _ => scenario::open(net)?,
        };
        if self.peers.len() <= id {
            self.peers.resize(id + 1, None);
        }
        self.peers[id] = Some(Peer {
            role,
            stage: Stage::Upgrading,
            parsed: false,
        });
        if let FanoutRole::Member(member) = role {
            self.ids[member] = Some(id);
        }
        self.opening += 1;
        Ok(true)
    }

    /// Connections that are not ready yet.
    pub(crate) fn opening(&self) -> usize {
        self.opening
    }

    pub(crate) fn all_ready(&self) -> bool {
        self.to_open.is_empty() && self.opening == 0
    }

    pub(crate) fn readiness(&self) -> String {
        let all = self.plan.members.len() + self.publishers_wanted;
        format!("{} of {all} connections are ready", self.ready)
    }

    pub(crate) fn failure(&self) -> Option<&str> {
        self.failure.as_deref()
    }

    /// Fails the run; the first reason is reported.
    pub(crate) fn fail(&mut self, reason: String) {
        self.failure.get_or_insert(reason);
    }

    /// Messages received by all subscribers but slow ones.
    pub(crate) fn received(&self) -> u64 {
        self.verifier.counts().received
    }

    /// Deliveries that are due.
    pub(crate) fn outstanding(&self) -> u64 {
        self.publishers
            .iter()
            .map(|publisher| publisher.outstanding)
            .sum()
    }

    /// Subtracts the verified deliveries from the outstanding ones.
    pub(crate) fn settle(&mut self) {
        for (number, publisher) in self.publishers.iter_mut().enumerate() {
            let delivered = self.verifier.take_delivered(number);
            publisher.outstanding = publisher.outstanding.saturating_sub(delivered);
        }
    }

    /// Open connections of members of one kind.
    pub(crate) fn ids(&self, kind: MemberKind) -> Vec<Id> {
        let members = self.plan.members.iter().zip(&self.ids);
        members
            .filter(|(member, _)| member.kind == kind)
            .filter_map(|(_, id)| *id)
            .collect()
    }

    /// Disconnects the next passing member, by a close handshake and by a reset
    /// alternately; [`Self::open_next`] connects it again.
    pub(crate) fn replace_next(&mut self, net: &mut Net) -> Result<(), String> {
        let first = self.plan.shape.complete;
        let count = self.plan.shape.passing;
        if count == 0 {
            return Ok(());
        }
        let member = first + self.next_leaver;
        self.next_leaver = (self.next_leaver + 1) % count;
        let Some(id) = self.ids[member] else {
            return Ok(());
        };
        let Some(peer) = &mut self.peers[id] else {
            return Ok(());
        };
        if peer.stage != Stage::Ready {
            return Ok(());
        }
        self.replaced += 1;
        peer.stage = Stage::Leaving;
        if self.replaced.is_multiple_of(2) {
            net.close(id, 1000);
        } else {
            net.abort(id);
            self.member_left(id, member);
        }
        Ok(())
    }

    /// A passing member has disconnected: it will connect again.
    fn member_left(&mut self, id: Id, member: usize) {
        self.peers[id] = None;
        self.ids[member] = None;
        self.ready -= 1;
        self.verifier.restart(self.plan.members[member].replica);
        self.to_open.push(FanoutRole::Member(member));
    }

    /// Adds failures, ends and slow subscribers to the report.
    pub(crate) fn report(&self, outcome: &mut Outcome) {
        outcome.failures.extend(self.failure.clone());
        outcome.ends = self.ends.clone().into_iter().collect();
        if self.plan.shape.slow > 0 {
            let open = self.ids(MemberKind::Slow).len() as u64;
            if open > 0 {
                outcome
                    .ends
                    .push(("slow subscribers still open".into(), open));
            }
            let slow = self.verifier.slow_counts();
            outcome.notes.push(format!(
                "slow subscribers received {}, missed {} before the last one they got; {} duplicated, {} reordered, {} corrupt",
                slow.received, slow.lost, slow.duplicated, slow.reordered, slow.corrupt
            ));
            if slow.duplicated + slow.reordered + slow.corrupt + slow.misrouted > 0 {
                let failure = "a slow subscriber got duplicated, reordered or corrupt events";
                outcome.failures.push(failure.into());
            }
        }
        if self.replaced > 0 {
            let note = format!("{} passing subscribers were replaced", self.replaced);
            outcome.notes.push(note);
        }
        let other = self.verifier.counts().other + self.verifier.slow_counts().other;
        if other > 0 {
            let last = self.verifier.last_other();
            let note = format!("{other} frames were not events, the last: {last:.200}");
            outcome.notes.push(note);
        }
        if let Some(first) = self.verifier.first_corrupt() {
            let note = format!("the first corrupt message: {first:.300}");
            outcome.notes.push(note);
        }
        if self.wire == Wire::Foreign(Foreign::Gateway(Encoding::Zlib)) {
            let compressed = self.unpacker.compressed;
            if compressed == 0 {
                let failure = "no message came compressed, as --compression asked for";
                outcome.failures.push(failure.into());
            }
            let note = format!("{compressed} messages came compressed");
            outcome.notes.push(note);
        }
        let parses = self.verifier.parses();
        if parses * 20 > self.received() && self.received() > 100_000 {
            outcome.notes.push(format!(
                "{parses} events took the slow way because their envelope varies: the generator is slower than it could be"
            ));
        }
    }

    /// Handles a frame of a connection that is not ready yet.
    fn set_up(&mut self, net: &mut Net, id: Id, mut peer: Peer, payload: &[u8]) {
        let frame = match ServerFrame::parse_in(self.format, payload) {
            Ok(frame) => frame,
            Err(problem) => return self.fail(problem),
        };
        match (peer.stage, &*frame.kind, peer.role) {
            (Stage::Greeting, "connection_established", FanoutRole::Publisher(_)) => {
                peer.stage = Stage::Ready;
            }
            (Stage::Greeting, "connection_established", FanoutRole::Member(member)) => {
                peer.stage = Stage::Confirming;
                let names = self.plan.names_of(member);
                let frame = events::subscribe_in(self.format, names);
                let op = events::message_opcode(self.format);
                net.queue(id, op, |out| out.extend_from_slice(&frame));
                net.flush(id);
            }
            (Stage::Confirming, "subscription_confirmed", FanoutRole::Member(member))
                if frame.events.len() == self.plan.members[member].topics.len() =>
            {
                peer.stage = Stage::Ready;
            }
            _ => {
                let text = String::from_utf8_lossy(payload);
                self.fail(format!("unexpected answer while setting up: {text:.300}"));
            }
        }
        if peer.stage == Stage::Ready {
            self.mark_ready(net, id, peer.role);
        }
        self.peers[id] = Some(peer);
    }

    fn mark_ready(&mut self, net: &mut Net, id: Id, role: FanoutRole) {
        self.opening -= 1;
        self.ready += 1;
        if let FanoutRole::Publisher(number) = role {
            let mut random = Random::new(net.random.next());
            let topics = self.plan.shape.topics;
            let publisher = FanoutPublisher::new(number, id, self.wire, topics, &mut random);
            // Publishers become ready in any order.
            let at = self
                .publishers
                .partition_point(|other| other.number < number);
            self.publishers.insert(at, publisher);
        }
    }
}

impl Handler for FanoutPeers {
    fn opened(&mut self, net: &mut Net, id: Id) {
        let Some(peer) = &mut self.peers[id] else {
            return;
        };
        if let (FanoutRole::Member(_), Wire::Sse) = (peer.role, self.wire) {
            // The response confirms the subscription.
            peer.stage = Stage::Ready;
            let role = peer.role;
            self.mark_ready(net, id, role);
            return;
        }
        peer.stage = Stage::Greeting;
        if let Wire::Foreign(foreign) = self.wire {
            if foreign.is_http() {
                return self.stream_connected(net, id);
            }
            let step = foreign.opened(peer.role.side(), &self.plan.names[0]);
            self.foreign_step(net, id, foreign, step);
        }
    }

    fn read_began(&mut self, net: &mut Net, id: Id) {
        if let Some(Peer {
            role: FanoutRole::Member(member),
            ..
        }) = self.peers[id]
        {
            let replica = self.plan.members[member].replica;
            self.verifier
                .begin(member as u32, replica, net.read_at_ns());
        }
    }

    #[inline]
    fn message(&mut self, net: &mut Net, id: Id, op: u8, payload: &[u8]) {
        if let Wire::Foreign(foreign) = self.wire {
            return self.foreign_frame(net, id, foreign, (op, payload));
        }
        let Some(peer) = &mut self.peers[id] else {
            return;
        };
        match (peer.stage, peer.role) {
            (Stage::Ready | Stage::Leaving, FanoutRole::Member(_))
                if op == events::message_opcode(self.format) =>
            {
                if peer.parsed {
                    self.verifier.event(payload);
                } else {
                    peer.parsed = true;
                    self.verifier.first_event(payload);
                }
            }
            (Stage::Ready, _) => {
                let text = String::from_utf8_lossy(payload);
                self.fail(format!("unexpected message, opcode {op}: {text:.300}"));
            }
            (Stage::Leaving, _) => {}
            _ => {
                let peer = *peer;
                self.set_up(net, id, peer, payload);
            }
        }
    }

    fn response(&mut self, net: &mut Net, id: Id, part: ResponsePart<'_>) {
        self.stream_response(net, id, part);
    }

    fn read_ended(&mut self, _net: &mut Net, _id: Id) {
        self.verifier.end();
    }

    fn closed(&mut self, _net: &mut Net, id: Id, end: End) {
        let Some(peer) = self.peers[id].take() else {
            return;
        };
        let kind = match peer.role {
            FanoutRole::Member(member) => Some((member, self.plan.members[member].kind)),
            FanoutRole::Publisher(_) => None,
        };
        match (kind, peer.stage) {
            (Some((member, MemberKind::Passing)), Stage::Leaving) => self.member_left(id, member),
            (Some((member, MemberKind::Slow)), Stage::Ready) => {
                self.ids[member] = None;
                *self
                    .ends
                    .entry(format!("slow subscriber {end}"))
                    .or_default() += 1;
            }
            _ => {
                if let Some((member, _)) = kind {
                    self.ids[member] = None;
                }
                let what = match peer.role {
                    FanoutRole::Publisher(_) => "publisher",
                    FanoutRole::Member(_) => "subscriber",
                };
                self.fail(scenario::failure(&self.target, what, &end));
            }
        }
    }
}
