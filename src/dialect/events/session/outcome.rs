//! Outcomes of the engine, written as frames.

use super::{EventsSession, PendingReply, answer, error};
use crate::auth::Identity;
use crate::dialect::events::{Greeting, Refusal, TopicStart, put_history};
use crate::engine::{Confirmation, Outcome, PublishResult, Resumed, Start, Ticket};
use crate::id::PeerId;
use crate::json::put_string;
use crate::shard::{OrderResult, Shard};

impl EventsSession {
    /// Confirms a subscription to the client, at once or when homes have answered.
    pub(super) fn await_confirmation(
        &mut self,
        shard: &Shard,
        peer: PeerId,
        pending: (Ticket, PendingReply),
        confirmation: Option<Confirmation>,
    ) {
        self.pending.push(pending);
        if let Some(confirmation) = confirmation {
            self.confirm(shard, peer, &confirmation);
            self.take_outcomes(shard, peer);
        }
    }

    /// Writes the peer's outcomes so far, before anything else is answered.
    pub(super) fn take_outcomes(&mut self, shard: &Shard, peer: PeerId) {
        while let Some(outcome) = shard.next_outcome_for(peer) {
            self.handle_outcome(shard, peer, outcome);
        }
    }

    /// Writes a confirmation, and has the engine send what was missed.
    fn confirm(&mut self, shard: &Shard, peer: PeerId, confirmation: &Confirmation) {
        match self.take_pending(confirmation.ticket) {
            Some(PendingReply::Greeting) => self.greet(shard, peer),
            Some(PendingReply::Subscribe {
                id,
                accepted: subscribed,
                rejected: refused,
                reply,
            }) => {
                let accepted: Vec<&str> = subscribed.iter().map(|name| &**name).collect();
                let rejected = refused.iter().filter(|_| reply.is_none());
                let rejected: Vec<&str> = rejected.map(|name| &**name).collect();
                let topic_start = confirmation.starts().map(topic_start);
                answer(shard, peer, |w| {
                    w.subscribed(id.as_deref(), &accepted, &rejected, topic_start);
                });
                if let Some(reply) = reply {
                    reply.answer(OrderResult::Subscribed {
                        accepted: subscribed,
                        rejected: refused,
                    });
                }
            }
            Some(PendingReply::Roster { .. } | PendingReply::History { .. }) | None => {}
        }
        shard.engine(|engine| engine.go_on(confirmation));
    }

    /// Writes an outcome to the client.
    pub(super) fn handle_outcome(&mut self, shard: &Shard, peer: PeerId, outcome: Outcome) {
        match outcome {
            Outcome::Confirmed(confirmation) => self.confirm(shard, peer, &confirmation),
            Outcome::Gap(gap) => super::gap(shard, peer, &gap),
            Outcome::Published { id, result } => match result {
                PublishResult::Stored(stored) => {
                    answer(shard, peer, |w| w.published(&id, stored.offset));
                }
                PublishResult::TooManyTopics | PublishResult::Busy | PublishResult::Forwarded => {
                    error(shard, peer, &Refusal::too_many_topics(&id));
                }
            },
            Outcome::Roster { ticket, roster } => {
                if let Some(PendingReply::Roster { id, topic }) = self.take_pending(ticket) {
                    answer(shard, peer, |w| {
                        w.response(id.as_deref(), |out| {
                            out.push(b'{');
                            roster.put_fields(out, &topic);
                            out.push(b'}');
                        });
                    });
                }
            }
            Outcome::History { ticket, kept } => {
                if let Some(PendingReply::History { id, topic }) = self.take_pending(ticket) {
                    answer(shard, peer, |w| {
                        w.response(id.as_deref(), |out| {
                            out.extend_from_slice(br#"{"event":"#);
                            put_string(out, &topic);
                            let epoch = kept.position.epoch;
                            out.extend_from_slice(format!(r#","epoch":{epoch},"#).as_bytes());
                            put_history(out, &topic, &kept);
                            out.push(b'}');
                        });
                    });
                }
            }
            // Outcomes for tasks, or handled by the shard.
            Outcome::Called(_)
            | Outcome::HungUp
            | Outcome::Answered { .. }
            | Outcome::Position(_)
            | Outcome::CaughtUp
            | Outcome::Reformatted(_)
            | Outcome::Slow { .. }
            | Outcome::Gone => {}
        }
    }

    fn take_pending(&mut self, ticket: Ticket) -> Option<PendingReply> {
        let mut waiting = self.pending.iter();
        let at = waiting.position(|(other, _)| *other == ticket)?;
        let (_, pending) = self.pending.remove(at);
        if self.pending.is_empty() {
            // Most connections subscribe only once.
            self.pending = Vec::new();
        }
        Some(pending)
    }

    fn greet(&self, shard: &Shard, peer: PeerId) {
        let session_id = shard.session_id(self.endpoint, peer);
        let identity = self.identity();
        let greeting = Greeting {
            client_id: self.client_id.as_deref().unwrap_or(&session_id),
            session_id: &session_id,
            user: identity.map(|identity| identity.user.as_str()),
            name: self.user(),
            role: identity.and_then(|identity| identity.role.as_deref()),
            endpoint: self.endpoint,
            expires_ms: identity.map(Identity::expires_ms),
        };
        answer(shard, peer, |w| w.greeting(&greeting));
        if self.welcome && self.endpoint != "prod" {
            answer(shard, peer, |w| w.welcome(self.endpoint));
        }
    }
}

fn topic_start(start: Start<'_>) -> TopicStart<'_> {
    TopicStart {
        topic: start.name,
        epoch: start.position.epoch,
        offset: start.position.offset,
        recovered: start.resumed.map(|resumed| match resumed {
            Resumed::Complete(count) => (true, count),
            _ => (false, 0),
        }),
    }
}
