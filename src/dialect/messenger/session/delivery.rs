//! From the mailbox to the client.

use std::collections::VecDeque;
use std::task::Context;

use super::MessengerSession;
use crate::dialect::messenger::frame::put_message;
use crate::id::PeerId;
use crate::shard::Shard;
use crate::store::{Delivery, MessageKind};
use crate::ws::OpCode;
use crate::ws::encode::{frame_len, put_frame};

/// Messages that are queued for the client and not known to be written to its socket, in the order in which they are
/// written.
#[derive(Debug, Default)]
pub(super) struct InFlight {
    /// Each with the end of its frame in all that was queued.
    frames: VecDeque<(i64, u64)>,
    /// The bytes of all frames that were queued.
    queued: u64,
}

/// So many of them at most: behind them the mailbox waits.
const IN_FLIGHT_MAX: usize = 256;

impl InFlight {
    pub(super) fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    fn push(&mut self, id: i64, bytes: usize) {
        self.queued += bytes as u64;
        self.frames.push_back((id, self.queued));
    }

    /// Takes all.
    pub(super) fn take(&mut self) -> Vec<i64> {
        self.frames.drain(..).map(|(id, _)| id).collect()
    }

    /// Takes those that have been written whole, where so many bytes are not. The others stay pending.
    pub(super) fn take_written(&mut self, unsent: u64) -> Vec<i64> {
        let written = self.queued.saturating_sub(unsent);
        let count = self.frames.partition_point(|(_, end)| *end <= written);
        self.frames.drain(..count).map(|(id, _)| id).collect()
    }
}

impl MessengerSession {
    /// Queues what the mailbox has, as far as the client reads, and tells the store what has been written.
    pub(super) fn poll_mailbox(&mut self, shard: &Shard, peer: PeerId, cx: &Context<'_>) {
        self.mailbox.register(cx.waker());
        if !self.in_flight.is_empty() {
            let written = self.in_flight.take_written(shard.unsent_kept(peer));
            self.note_written(written);
        }
        if self.mailbox.is_replaced() {
            // What is queued is written first, if the socket takes it: another connection gets what is not.
            if self.in_flight.is_empty() || shard.is_blocked(peer) {
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
        while self.in_flight.frames.len() < count_max && unsent < bytes_max {
            let Some(delivery) = self.mailbox.pop() else {
                if self.mailbox.is_behind() {
                    self.store.refill(&self.mailbox);
                }
                break;
            };
            let bytes = self.deliver(shard, peer, &delivery);
            unsent += bytes as u64;
            self.in_flight.push(delivery.message.id, bytes);
        }
        // A socket that is full wakes the task itself when it is not any more.
        if !self.in_flight.is_empty() && !shard.is_blocked(peer) {
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
            bytes = frame_len(out.len());
        });
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_written_with_the_last_byte_of_its_frame() {
        let mut in_flight = InFlight::default();
        for id in 1..=4 {
            in_flight.push(id, 10);
        }
        assert_eq!(in_flight.take_written(40), [0_i64; 0]);
        assert_eq!(in_flight.take_written(25), [1]);
        assert_eq!(in_flight.take_written(20), [2]);
        in_flight.push(5, 10);
        assert_eq!(in_flight.take_written(11), [3]);
        assert_eq!(in_flight.take_written(100), [0_i64; 0]);
        assert_eq!(in_flight.take(), [4, 5]);
        assert!(in_flight.is_empty());
    }
}
