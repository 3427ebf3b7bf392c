//! A stream of events: whose presence it is, and what its reader is told besides events.

use crate::config::Config;
use crate::engine::{self, GapCause, Outcome};
use crate::id::{PeerId, Priority};
use crate::shard::Shard;
use crate::sse::{Gap, GapReason, put_gap};

/// A stream of events.
#[derive(Debug)]
pub(in crate::conn) struct Stream(Option<Box<Attended>>);

/// Where the user of a stream is present by it.
#[derive(Debug)]
struct Attended {
    user: Box<str>,
    topics: Box<[Box<str>]>,
}

impl Stream {
    /// A stream of `topics`. With a user it counts in the rosters of those that keep presence. Without
    /// one it is nobody's: it has no name that it would have again when it comes back.
    pub(super) fn new(config: &Config, user: Option<&str>, topics: &[Box<str>]) -> Self {
        let kept = topics
            .iter()
            .filter(|topic| config.namespace(topic).presence);
        let topics: Box<[_]> = kept.cloned().collect();
        let user = user.filter(|_| !topics.is_empty());
        Self(user.map(|user| {
            let user = user.into();
            Box::new(Attended { user, topics })
        }))
    }

    /// The stream has begun.
    pub(super) fn begin(&self, shard: &Shard) {
        if let Some(Attended { user, topics }) = self.0.as_deref() {
            for topic in topics {
                shard.engine(|engine| engine.enter(topic, user));
            }
        }
    }

    /// The stream is over.
    pub(super) fn end(&mut self, shard: &Shard) {
        if let Some(Attended { user, topics }) = self.0.take().as_deref() {
            for topic in topics {
                shard.engine(|engine| engine.exit(topic, user));
            }
        }
    }
}

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
