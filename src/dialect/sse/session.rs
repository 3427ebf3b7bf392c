//! A stream of events: whose presence it is, and what its reader is told besides events.

use std::time::SystemTime;

use hyper::header::HeaderMap;

use crate::config::Config;
use crate::conn::{Flow, Session};
use crate::engine::{self, GapCause, Outcome};
use crate::http::{event_stream_head, refuse_raw_with};
use crate::id::{PeerId, Priority};
use crate::shard::{Disconnect, Shard};
use crate::sse::{EventsRequest, GapReason, StreamGap, put_gap};
use crate::ws::OpCode;

/// A stream of events.
#[derive(Debug)]
pub(super) struct StreamSession {
    /// What is asked for, and what the head of the response says to the page that asks; until it has begun.
    opening: Option<Box<(EventsRequest, HeaderMap)>>,
    attended: Option<Box<Attended>>,
}

/// Where the user of a stream is present by it.
#[derive(Debug)]
struct Attended {
    user: Box<str>,
    topics: Box<[Box<str>]>,
}

impl StreamSession {
    /// A stream of the topics of `request`. With a user it counts in the rosters of those that keep presence. Without
    /// one it is nobody's: it has no name that it would have again when it comes back.
    pub(super) fn new(
        config: &Config,
        user: Option<&str>,
        request: EventsRequest,
        page: HeaderMap,
    ) -> Self {
        let topics = request.topics.iter();
        let kept = topics.filter(|topic| config.namespace(topic).presence);
        let topics: Box<[_]> = kept.cloned().collect();
        let user = user.filter(|_| !topics.is_empty());
        Self {
            opening: Some(Box::new((request, page))),
            attended: user.map(|user| {
                let user = user.into();
                Box::new(Attended { user, topics })
            }),
        }
    }
}

impl Session for StreamSession {
    fn begin(&mut self, shard: &Shard, peer: PeerId) -> Flow {
        let (request, page) = *self.opening.take().expect("a stream begins once");
        let now = SystemTime::now();
        let head = event_stream_head(&page, now);
        if shard
            .engine(|engine| engine.open_stream(peer, &request, head))
            .is_err()
        {
            self.attended = None;
            let refusal = refuse_raw_with(503, "Too many topics", now, &page);
            shard.send_raw(peer, Priority::Critical, &refusal);
            return Flow::End(Disconnect::Overloaded);
        }
        if let Some(Attended { user, topics }) = self.attended.as_deref() {
            for topic in topics {
                shard.engine(|engine| engine.enter(topic, user));
            }
        }
        Flow::Continue
    }

    fn message(&mut self, _: &Shard, _: PeerId, _: OpCode, _: &[u8]) -> Flow {
        Flow::Continue
    }

    fn outcome(&mut self, shard: &Shard, peer: PeerId, outcome: Outcome) {
        match outcome {
            Outcome::Gap(missing) => gap(shard, peer, &missing),
            Outcome::Position(id) => shard.send_raw(peer, Priority::High, &id),
            _ => {}
        }
    }

    fn end(&mut self, shard: &Shard, _: PeerId) {
        if let Some(Attended { user, topics }) = self.attended.take().as_deref() {
            for topic in topics {
                shard.engine(|engine| engine.exit(topic, user));
            }
        }
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
        &StreamGap {
            topic,
            lost: gap.lost,
            reason,
        },
    );
    shard.send_raw(peer, Priority::High, &out);
}
