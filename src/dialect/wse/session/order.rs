//! Orders of an application.

use tokio::time::Instant;
use uuid::Uuid;

use super::requests::Tuning;
use super::{Phase, WseSession};
use crate::conn::Flow;
use crate::dialect::wse::category::Category;
use crate::dialect::wse::format::OUTBOUND_BYTES_MAX;
use crate::dialect::wse::frame::{Dress, Writer};
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
        write: impl FnOnce(&mut Vec<u8>, Dress),
    ) {
        let tuning = self.tuning();
        if tuning.batch_size > 1 && priority < Priority::High {
            return self.send_in_batch(shard, peer, (priority, tuning), write);
        }
        let dress = self.dress;
        shard.send_text_from(peer, priority, tuning.compress_from(), |out, _| {
            write(out, dress);
            if out.len() > OUTBOUND_BYTES_MAX {
                out.clear();
                put_too_large(out, dress);
            }
        });
    }

    /// Keeps a message until the client's batch is full, or as old as it may be.
    fn send_in_batch(
        &mut self,
        shard: &Shard,
        peer: PeerId,
        (priority, tuning): (Priority, Tuning),
        write: impl FnOnce(&mut Vec<u8>, Dress),
    ) {
        let now = Instant::now();
        let batch = &mut self.more().batch;
        let begin = batch.messages.len();
        if begin > 0 {
            batch.messages.push(b',');
        }
        let at = batch.messages.len();
        write(&mut batch.messages, Dress::Field);
        if batch.messages.len() - at > BATCH_BYTES_MAX {
            // It goes by itself, behind those that came before.
            let message = batch.messages.split_off(at);
            batch.messages.truncate(begin);
            self.send_batch(shard, peer);
            return self.send_alone(shard, peer, priority, &message);
        }
        batch.count += 1;
        batch.priority = batch.priority.max(priority);
        let due = *batch.due.get_or_insert_with(|| now + tuning.batch_wait());
        let is_full = batch.count >= tuning.batch_size || batch.messages.len() > BATCH_BYTES_MAX;
        if is_full || begin > 0 && due <= now {
            self.send_batch(shard, peer);
        } else {
            self.wait_until(due);
            // Its task polls the timer.
            shard.wake(peer);
        }
    }

    /// Sends a message that was written in the dress of a batch.
    fn send_alone(&self, shard: &Shard, peer: PeerId, priority: Priority, message: &[u8]) {
        let (dress, compress_from) = (self.dress, self.tuning().compress_from());
        shard.send_text_from(peer, priority, compress_from, |out, _| {
            match message.len() > OUTBOUND_BYTES_MAX {
                true => put_too_large(out, dress),
                false => out.extend_from_slice(message),
            }
        });
    }

    /// Sends the client's batch if it is as old as it may be.
    pub(super) fn send_late_batch(&mut self, shard: &Shard, peer: PeerId) {
        let due = self.more.as_ref().and_then(|more| more.batch.due);
        match due {
            Some(due) if due <= Instant::now() => self.send_batch(shard, peer),
            Some(due) => self.wait_until(due),
            None => {}
        }
    }

    /// Sends what has been kept for the client's batch.
    pub(super) fn send_batch(&mut self, shard: &Shard, peer: PeerId) {
        let Some(more) = &mut self.more else { return };
        let batch = std::mem::take(&mut more.batch);
        if batch.count == 0 {
            return;
        }
        let (dress, compress_from) = (self.dress, self.tuning().compress_from());
        shard.send_text_from(peer, batch.priority, compress_from, |out, _| {
            let messages = str::from_utf8(&batch.messages).expect("it is made of texts");
            Writer::system(out, dress, "batch")
                .payload(|p| {
                    p.raw("messages", &format!("[{messages}]"))
                        .number("count", batch.count);
                })
                .end();
        });
    }
}

/// Messages that are kept for one frame.
#[derive(Debug)]
pub(super) struct Batch {
    /// Their objects, separated by commas.
    messages: Vec<u8>,
    count: u64,
    /// The highest class among them.
    priority: Priority,
    /// When they are sent at the latest.
    due: Option<Instant>,
}

impl Batch {
    pub(super) fn is_empty(&self) -> bool {
        self.count == 0
    }
}

impl Default for Batch {
    fn default() -> Self {
        Self {
            messages: Vec::new(),
            count: 0,
            priority: Priority::Background,
            due: None,
        }
    }
}

/// Bytes of a batch; the last message may exceed it.
const BATCH_BYTES_MAX: usize = OUTBOUND_BYTES_MAX / 4;

fn put_too_large(out: &mut Vec<u8>, dress: Dress) {
    Writer::system(out, dress, "gap")
        .payload(|p| {
            p.raw("topic", "null")
                .number("lost", 1)
                .text("cause", "too_large");
        })
        .end();
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
