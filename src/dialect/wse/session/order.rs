//! Orders of an application.

use uuid::Uuid;

use super::{Phase, WseSession};
use crate::conn::Flow;
use crate::dialect::wse::category::Category;
use crate::dialect::wse::format::OUTBOUND_BYTES_MAX;
use crate::dialect::wse::frame::Writer;
use crate::id::{PeerId, Priority};
use crate::shard::{ConnectionOrder, OrderReply, OrderResult, Shard};

impl WseSession {
    /// Executes an order of an application.
    pub(super) fn execute_order(
        &mut self,
        shard: &Shard,
        peer: PeerId,
        order: &ConnectionOrder,
        reply: &mut OrderReply,
    ) -> OrderResult {
        if self.refused.is_some() {
            return OrderResult::NotFound;
        }
        // Messages are readable by all clients from the start; topics have to wait for none.
        if self.phase == Phase::Greeted && self.change_format(shard, peer) == Flow::Wait {
            return OrderResult::Later;
        }
        match order {
            ConnectionOrder::Send {
                name,
                data,
                priority,
            } => {
                self.send_direct(shard, peer, *priority, name, data);
                if &**name == "snapshot_complete" {
                    self.note_snapshot_complete();
                }
                OrderResult::Done
            }
            ConnectionOrder::Reply { id, data } => {
                self.send_one(shard, peer, Priority::High, |out, dress| {
                    let writer = Writer::begin(out, dress, Category::Update, "response");
                    let writer = writer.data(data.as_bytes());
                    match &**id {
                        "" => writer.end(),
                        id => writer.raw("cid", id).end(),
                    }
                });
                self.note_sync_answer(shard, peer, id);
                OrderResult::Done
            }
            ConnectionOrder::Subscribe {
                topics,
                recover,
                presence,
                group,
            } => {
                if !self.may_change(shard, peer, topics) {
                    return busy_or_later(shard, peer);
                }
                let reply = reply.take();
                let how = (&**presence, &**group);
                self.subscribe_by_order(shard, peer, (topics, recover), how, reply);
                // When all homes know of it, so that what is published then reaches it.
                OrderResult::Pending
            }
            ConnectionOrder::Unsubscribe { topics } => {
                if !self.may_change(shard, peer, topics) {
                    return busy_or_later(shard, peer);
                }
                self.unsubscribe(shard, peer, topics);
                OrderResult::Done
            }
        }
    }

    /// Sends the client a message of its own.
    fn send_direct(
        &mut self,
        shard: &Shard,
        peer: PeerId,
        priority: Priority,
        name: &str,
        data: &str,
    ) {
        let renamed = self.wse.settings.event_map.get(name);
        let kind = renamed.map_or(name, String::as_str).to_owned();
        let id = format!("\"{}\"", Uuid::now_v7());
        let wse = self.wse.clone();
        let is_signed = wse.settings.signed_types.contains(&kind);
        let signer = wse.signer.as_ref().filter(|_| is_signed);
        let now_ms = shard.clock.wall_ms();
        self.send_one(shard, peer, priority, |out, dress| {
            let begin = out.len();
            let write = |out: &mut Vec<u8>, sig: Option<String>| {
                let writer = Writer::begin(out, dress, Category::of(&kind), &kind);
                let writer = writer.data(data.as_bytes()).raw("id", &id);
                match sig {
                    Some(sig) => writer.raw("sig", &format!("\"{sig}\"")).end(),
                    None => writer.end(),
                }
            };
            write(out, None);
            if let Some(signer) = signer {
                // What is signed is the object, without what may be before it.
                let object = out[begin..].iter().position(|byte| *byte == b'{');
                let object = &out[begin + object.unwrap_or(0)..];
                let text = str::from_utf8(object).expect("it is made of texts");
                let sig = signer.sign(text, now_ms, rand_nonce());
                out.truncate(begin);
                write(out, sig);
            }
        });
    }

    /// Sends a message as the client reads them; if it is too large for clients, they are told that it is missing.
    fn send_one(
        &mut self,
        shard: &Shard,
        peer: PeerId,
        priority: Priority,
        write: impl FnOnce(&mut Vec<u8>, crate::dialect::wse::frame::Dress),
    ) {
        let dress = self.dress;
        shard.send_text(peer, priority, |out, _| {
            write(out, dress);
            if out.len() > OUTBOUND_BYTES_MAX {
                out.clear();
                Writer::system(out, dress, "gap")
                    .payload(|p| {
                        p.raw("topic", "null")
                            .number("lost", 1)
                            .text("cause", "too_large");
                    })
                    .end();
            }
        });
    }
}

/// A nonce that is not used again.
fn rand_nonce() -> u64 {
    Uuid::new_v4().as_u64_pair().0
}

/// Of a client that does not read, patterns cannot be changed.
fn busy_or_later(shard: &Shard, peer: PeerId) -> OrderResult {
    match shard.is_blocked(peer) {
        true => OrderResult::Busy,
        false => OrderResult::Later,
    }
}
