//! `batch`: many messages in one, each answered as if it had come alone.

use super::{EventsSession, error};
use crate::conn::Flow;
use crate::dialect::events::Command;
use crate::id::PeerId;
use crate::json::Raw;
use crate::shard::Shard;

impl EventsSession {
    /// Does what `messages` ask, from number `done` on. Where one has to wait,
    /// or nobody takes the answers, it stops there and goes on when the batch
    /// comes again: nothing is done twice.
    pub(super) fn batch(
        &mut self,
        shard: &Shard,
        peer: PeerId,
        messages: &[Raw<'_>],
        done: u32,
    ) -> Flow {
        for (index, message) in (0_u32..).zip(messages).skip(done as usize) {
            // The first one gets on in any case, or this might not end.
            let flow = if index > done && shard.is_outbox_full(peer) {
                Flow::Wait
            } else {
                match Command::parse(message.text()) {
                    Ok(command) => self.act(shard, peer, message.text(), command),
                    Err(refusal) => {
                        error(shard, peer, &refusal);
                        Flow::Continue
                    }
                }
            };
            match flow {
                // The first one was counted as the message that it came in.
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
