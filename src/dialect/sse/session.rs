//! The session of an SSE connection: opens the stream, reports its user's presence, and writes gaps.

use std::sync::Arc;
use std::time::SystemTime;

use hyper::header::HeaderMap;

use super::Sse;
use crate::config::Config;
use crate::conn::{Flow, Session};
use crate::engine::{self, GapCause, Outcome};
use crate::http::{event_stream_head, refuse_raw_with};
use crate::id::{PeerId, Priority};
use crate::inbound::ObjectKind;
use crate::shard::{ConnectionOrder, Disconnect, OrderReply, OrderResult, Shard};
use crate::sse::{
    ControlCharacter, EventsRequest, GapReason, StreamGap, event_type, put_event, put_gap,
    put_retry,
};
use crate::ws::Payload;

/// The session of an SSE connection.
#[derive(Debug)]
pub(super) struct StreamSession {
    /// What the stream begins with; `None` once the stream has begun.
    opening: Option<Box<StreamOpening>>,
    presence: Option<Box<StreamPresence>>,
}

#[derive(Debug)]
struct StreamOpening {
    sse: Arc<Sse>,
    request: EventsRequest,
    /// The CORS headers of the response.
    page: HeaderMap,
}

/// The topics in whose rosters the user of a stream is listed.
#[derive(Debug)]
struct StreamPresence {
    user: Box<str>,
    topics: Box<[Box<str>]>,
}

impl StreamSession {
    /// A stream of the topics of `request`. An authenticated user is listed in the rosters of those topics that keep
    /// presence; an anonymous stream is not, since it has no name that would be the same after a reconnect.
    pub(super) fn new(
        sse: Arc<Sse>,
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
            opening: Some(Box::new(StreamOpening { sse, request, page })),
            presence: user.map(|user| {
                let user = user.into();
                Box::new(StreamPresence { user, topics })
            }),
        }
    }
}

impl Session for StreamSession {
    fn begin(&mut self, shard: &Shard, peer: PeerId) -> Flow {
        let StreamOpening { sse, request, page } =
            *self.opening.take().expect("a stream begins once");
        let now = SystemTime::now();
        let mut head = event_stream_head(&page, now);
        let seed = u64::from(peer.generation) << 16 | u64::from(shard.id.0);
        put_retry(&mut head, sse.settings.retry, sse.cursors.draw(seed));
        if shard
            .engine(|engine| engine.open_stream(peer, &request, head))
            .is_err()
        {
            self.presence = None;
            let refusal = refuse_raw_with(503, "Too many topics", now, &page);
            shard.send_raw(peer, Priority::Critical, &refusal);
            return Flow::End(Disconnect::Overloaded);
        }
        let topics = request.topics.iter().map(|topic| &**topic);
        shard.tell_topics(peer, ObjectKind::Subscribe, topics);
        if let Some(StreamPresence { user, topics }) = self.presence.as_deref() {
            for topic in topics {
                shard.engine(|engine| engine.enter(topic, user, ""));
            }
        }
        Flow::Continue
    }

    fn message(&mut self, _: &Shard, _: PeerId, _: Payload<'_>) -> Flow {
        Flow::Continue
    }

    fn outcome(&mut self, shard: &Shard, peer: PeerId, outcome: Outcome) {
        match outcome {
            Outcome::Gap(missing) => gap(shard, peer, &missing),
            Outcome::Position(id) => shard.send_raw(peer, Priority::High, &id),
            _ => {}
        }
    }

    fn order(
        &mut self,
        shard: &Shard,
        peer: PeerId,
        order: &ConnectionOrder,
        _: &mut OrderReply,
    ) -> OrderResult {
        let ConnectionOrder::Send {
            name,
            data,
            priority,
        } = order
        else {
            return OrderResult::Unsupported;
        };
        // Nothing is written before the head of the response.
        if !shard.is_streaming(peer) {
            return OrderResult::Later;
        }
        let mut out = Vec::new();
        match put_event(&mut out, event_type(name), data.as_bytes()) {
            Ok(()) => {
                shard.send_raw(peer, *priority, &out);
                OrderResult::Done
            }
            Err(ControlCharacter) => OrderResult::Unsupported,
        }
    }

    fn end(&mut self, shard: &Shard, _: PeerId) {
        if let Some(StreamPresence { user, topics }) = self.presence.take().as_deref() {
            for topic in topics {
                shard.engine(|engine| engine.exit(topic, user));
            }
        }
    }
}

/// Writes a gap event. A gap without a topic (broadcasts, inbox) does not concern a stream.
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
