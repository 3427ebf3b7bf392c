//! `batch`: several messages in one, each answered as if sent alone.

use super::{EventsSession, error};
use crate::conn::Flow;
use crate::dialect::events::Command;
use crate::id::PeerId;
use crate::json::Raw;
use crate::shard::Shard;

impl EventsSession {
    /// Executes `messages` from index `done` on. It stops where a message has to wait or the outbox is full, and
    /// resumes there when the batch is passed again: none is executed twice.
    pub(super) fn batch(
        &mut self,
        shard: &Shard,
        peer: PeerId,
        messages: &[Raw<'_>],
        done: u32,
    ) -> Flow {
        for (index, message) in (0_u32..).zip(messages).skip(done as usize) {
            // At least one message per call, so that every call makes progress.
            let flow = if index > done && shard.is_outbox_full(peer) {
                Flow::Wait
            } else {
                match Command::parse(message.text()) {
                    Ok(command) => self.execute(shard, peer, message.text(), command),
                    Err(refusal) => {
                        error(shard, peer, &refusal);
                        Flow::Continue
                    }
                }
            };
            match flow {
                // The first one was charged as the batch itself.
                Flow::Continue => self.uncharged += u32::from(index > 0),
                Flow::Wait => {
                    self.resume = Some(index);
                    return Flow::Wait;
                }
                Flow::End(why) => return Flow::End(why),
            }
        }
        Flow::Continue
    }
}
