//! A stream of events: what its reader is told besides them.

use crate::engine::{self, GapCause, Outcome};
use crate::id::{PeerId, Priority};
use crate::shard::Shard;
use crate::sse::{Gap, GapReason, put_gap};

/// The engine has something to tell.
pub(super) fn outcome(shard: &Shard, peer: PeerId, outcome: &Outcome) {
    match outcome {
        Outcome::Gap(missing) => gap(shard, peer, missing),
        Outcome::Position(id) => shard.send_raw(peer, Priority::High, id),
        _ => {}
    }
}

/// Tells the reader that messages are missing. Of what has no topic a stream has nothing.
fn gap(shard: &Shard, peer: PeerId, gap: &engine::Gap) {
    let Some(topic) = &gap.topic else { return };
    let reason = match gap.cause {
        GapCause::Slow => GapReason::Slow,
        GapCause::History => GapReason::History,
    };
    let mut out = Vec::new();
    put_gap(
        &mut out,
        &Gap {
            topic,
            lost: gap.lost,
            reason,
        },
    );
    shard.send_raw(peer, Priority::High, &out);
}
