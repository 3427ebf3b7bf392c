//! Outcomes of the engine, written as messages.

use super::awaited::{Awaited, Pending};
use super::inflow::SeenIds;
use super::{Phase, WseSession};
use crate::engine::{Confirmation, GapCause, Outcome, PublishResult, Ticket};
use crate::id::PeerId;
use crate::shard::Shard;

impl WseSession {
    /// Waits for the answer to a request, or takes the one that has come.
    pub(super) fn await_outcome(
        &mut self,
        shard: &Shard,
        peer: PeerId,
        (ticket, awaited): (Ticket, Awaited),
        confirmation: Option<Confirmation>,
    ) {
        self.more().pending.push(Pending { ticket, awaited });
        if let Some(confirmation) = confirmation {
            self.confirm(shard, peer, &confirmation);
        }
        self.take_outcomes(shard, peer);
    }

    /// Writes the peer's outcomes so far, before anything else is answered.
    pub(super) fn take_outcomes(&mut self, shard: &Shard, peer: PeerId) {
        while let Some(outcome) = shard.next_outcome_for(peer) {
            self.handle_outcome(shard, peer, outcome);
        }
    }

    /// Writes an outcome to the client.
    pub(super) fn handle_outcome(&mut self, shard: &Shard, peer: PeerId, outcome: Outcome) {
        match outcome {
            Outcome::Confirmed(confirmation) => self.confirm(shard, peer, &confirmation),
            Outcome::CaughtUp => self.send_acks(shard, peer),
            Outcome::Gap(gap) => {
                if let (Some(topic), Some(lost), GapCause::History) =
                    (&gap.topic, gap.lost, gap.cause)
                {
                    self.pass_over(shard, peer, topic, lost);
                }
                self.send_system(shard, peer, "gap", |p| {
                    match &gap.topic {
                        Some(topic) => p.text("topic", topic),
                        None => p.raw("topic", "null"),
                    }
                    .optional("lost", gap.lost);
                });
            }
            Outcome::Published { id, result } => match result {
                PublishResult::Stored(stored) => {
                    self.publish_ack(shard, peer, &id, Some(stored.offset));
                }
                PublishResult::TooManyTopics | PublishResult::Busy | PublishResult::Forwarded => {
                    // Which one it was is not known: none may pass for published when it is sent again.
                    if let Some(more) = &mut self.more {
                        more.seen = SeenIds::default();
                    }
                    self.too_many_topics(shard, peer, &id);
                }
            },
            Outcome::Roster { ticket, roster } => {
                if let Some(Awaited::Roster(topic)) = self.take_pending(ticket) {
                    self.send_roster(shard, peer, &topic, &roster);
                }
            }
            Outcome::History { ticket, kept } => {
                if let Some(Awaited::History) = self.take_pending(ticket) {
                    self.send_history(shard, peer, &kept);
                }
            }
            Outcome::Reformatted(format) => {
                self.note_format(shard, peer, format);
            }
            // Outcomes for tasks, or handled by the shard.
            Outcome::Called(_)
            | Outcome::HungUp
            | Outcome::Answered { .. }
            | Outcome::Position(_)
            | Outcome::Slow { .. }
            | Outcome::Gone => {}
        }
        self.go_on(shard, peer);
    }

    /// Asks for what could not be asked for before.
    pub(super) fn go_on(&mut self, shard: &Shard, peer: PeerId) {
        // What is asked for may be answered at once.
        if self.more.is_none() || std::mem::replace(&mut self.is_asking, true) {
            return;
        }
        self.enter_rosters(shard, peer);
        while self.ask_history(shard, peer) {}
        self.is_asking = false;
        self.tidy();
    }

    fn confirm(&mut self, shard: &Shard, peer: PeerId, confirmation: &Confirmation) {
        match self.take_pending(confirmation.ticket) {
            Some(Awaited::Subscribe(mut ack)) => {
                self.note_refused((shard, peer), confirmation, &mut ack);
                ack.note(confirmation);
                shard.engine(|engine| engine.go_on(confirmation));
                self.put_ack(shard, peer, ack);
            }
            awaited => {
                if matches!(awaited, Some(Awaited::Join)) {
                    self.phase = Phase::Joined;
                }
                shard.engine(|engine| engine.go_on(confirmation));
            }
        }
    }

    fn take_pending(&mut self, ticket: Ticket) -> Option<Awaited> {
        let pending = &mut self.more.as_mut()?.pending;
        let at = pending.iter().position(|one| one.ticket == ticket)?;
        let awaited = pending.remove(at).awaited;
        self.tidy();
        Some(awaited)
    }

    /// Frees what most connections need only while they begin.
    pub(super) fn tidy(&mut self) {
        if self.more.as_ref().is_some_and(|more| more.is_idle()) {
            self.more = None;
        }
    }
}
