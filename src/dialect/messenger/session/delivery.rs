//! From the mailbox to the client.

use std::task::Context;

use super::MessengerSession;
use crate::dialect::messenger::frame::put_message;
use crate::id::PeerId;
use crate::shard::Shard;
use crate::store::{Delivery, MessageKind};
use crate::ws::OpCode;
use crate::ws::encode::put_frame;

/// Messages that are queued for the client and not known to be written to its socket.
#[derive(Debug, Default)]
pub(super) struct InFlight {
    ids: Vec<i64>,
}

/// So many of them at most: behind them the mailbox waits.
const IN_FLIGHT_MAX: usize = 256;

impl InFlight {
    pub(super) fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    /// Takes all.
    pub(super) fn take(&mut self) -> Vec<i64> {
        std::mem::take(&mut self.ids)
    }

    /// Takes those that have been written: all, once nothing is left of what was queued.
    /// What may not have been written stays pending.
    pub(super) fn take_written(&mut self, shard: &Shard, peer: PeerId) -> Vec<i64> {
        match shard.traffic_of(peer).unsent {
            0 => self.take(),
            _ => Vec::new(),
        }
    }
}

impl MessengerSession {
    /// Queues what the mailbox has, as far as the client reads, and tells the store what has been written.
    pub(super) fn poll_mailbox(&mut self, shard: &Shard, peer: PeerId, cx: &Context<'_>) {
        self.mailbox.register(cx.waker());
        if !self.in_flight.ids.is_empty() {
            let written = self.in_flight.take_written(shard, peer);
            self.store.delivered(&self.mailbox, written);
        }
        if self.mailbox.is_replaced() {
            // What is queued is written first, if the socket takes it: another connection gets what is not.
            if self.in_flight.ids.is_empty() || shard.is_blocked(peer) {
                shard.disconnect(peer, self.messenger.causes.replaced);
            } else {
                shard.wake_after_flush(cx.waker());
            }
            return;
        }
        let hub = &shard.config.hub;
        let bytes_max = (hub.outbox_max_bytes / 2) as u64;
        let count_max = IN_FLIGHT_MAX.min(hub.outbox_max_messages.div_ceil(2));
        let mut unsent = shard.traffic_of(peer).unsent;
        while self.in_flight.ids.len() < count_max && unsent < bytes_max {
            let Some(delivery) = self.mailbox.pop() else {
                if self.mailbox.is_behind() {
                    self.store.refill(&self.mailbox);
                }
                break;
            };
            let bytes = self.deliver(shard, peer, &delivery);
            unsent += bytes as u64;
            self.in_flight.ids.push(delivery.message.id);
            self.counts.1 += 1;
        }
        // A socket that is full wakes the task itself when it is not any more.
        if !self.in_flight.ids.is_empty() && !shard.is_blocked(peer) {
            shard.wake_after_flush(cx.waker());
        }
    }

    /// Queues a message, which nothing else that is queued for the client displaces; the bytes of its frame.
    fn deliver(&self, shard: &Shard, peer: PeerId, delivery: &Delivery) -> usize {
        let (message, is_replayed) = (&*delivery.message, delivery.is_replayed);
        if message.kind == MessageKind::Broadcast && !is_replayed {
            let frame = message.encoded(|message| {
                let (mut payload, mut frame) = (Vec::new(), Vec::new());
                put_message(&mut payload, message, false);
                put_frame(&mut frame, OpCode::Text, &payload);
                frame.into()
            });
            shard.send_kept_raw(peer, frame);
            return frame.len();
        }
        let mut bytes = 0;
        shard.send_kept(peer, |out| {
            put_message(out, message, is_replayed);
            bytes = out.len();
        });
        bytes
    }
}
