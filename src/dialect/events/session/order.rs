//! Orders of an application.

use std::borrow::Cow;

use super::subscribe::{By, end_patterns, unsubscribed};
use super::{EventsSession, Writer, answer, may_change};
use crate::id::PeerId;
use crate::shard::{ConnectionOrder, OrderReply, OrderResult, Shard};

impl EventsSession {
    /// Executes an order of an application.
    pub(super) fn execute_order(
        &mut self,
        shard: &Shard,
        peer: PeerId,
        order: &ConnectionOrder,
        reply: &mut OrderReply,
    ) -> OrderResult {
        if !self.may_answer(shard, peer) {
            return OrderResult::Later;
        }
        match order {
            ConnectionOrder::Send {
                name,
                data,
                priority,
            } => {
                shard.send_text(peer, *priority, |out, timestamp| {
                    Writer::new(out, timestamp).direct(name, data);
                });
                OrderResult::Done
            }
            ConnectionOrder::Reply { id, data } => {
                let id = Some(&**id).filter(|id| !id.is_empty());
                answer(shard, peer, |w| {
                    w.response(id, |out| out.extend_from_slice(data.as_bytes()));
                });
                OrderResult::Done
            }
            // No words of this protocol.
            ConnectionOrder::Subscribe {
                presence, group, ..
            } if !presence.is_empty() || !group.is_empty() => OrderResult::Unsupported,
            ConnectionOrder::Subscribe {
                topics, recover, ..
            } => {
                let names: Vec<Cow<'_, str>> = topics.iter().map(|name| (&**name).into()).collect();
                if !may_change(shard, peer, names.iter().map(|name| &**name)) {
                    // Of a client that does not read patterns cannot be changed.
                    if shard.is_blocked(peer) {
                        return OrderResult::Busy;
                    }
                    return OrderResult::Later;
                }
                let by = By::Application(reply.take());
                self.subscribe(shard, peer, by, &names, recover);
                // When all homes know of it, so that what is published then reaches it.
                OrderResult::Pending
            }
            ConnectionOrder::Unsubscribe { topics } => {
                // Its own `unsubscribe` takes several turns.
                if self.unsubscribing.is_some()
                    || !may_change(shard, peer, topics.iter().map(|name| &**name))
                {
                    if shard.is_blocked(peer) {
                        return OrderResult::Busy;
                    }
                    return OrderResult::Later;
                }
                let names = topics.iter();
                let names: Vec<Box<str>> = names
                    .filter_map(|name| self.subscriptions.remove(name))
                    .collect();
                self.end_topics(shard, peer, &names);
                end_patterns(shard, peer, &names);
                unsubscribed(shard, peer, None, &names);
                OrderResult::Done
            }
        }
    }
}
