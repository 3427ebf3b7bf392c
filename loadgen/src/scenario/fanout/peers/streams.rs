//! Connections to durable-streams: requests and responses. Each creates the stream first, or is told that it is there; a
//! subscriber's next response is its stream of events, and a publisher's are to what it appends.

use super::{FanoutPeers, FanoutRole, Stage};
use crate::foreign::{Foreign, durable_streams};
use crate::net::{Handler, Id, Net, ResponsePart};

impl FanoutPeers {
    /// Creates the stream.
    pub(super) fn stream_connected(&self, net: &mut Net, id: Id) {
        let path = durable_streams::path(&self.plan.names[0]);
        net.queue_json(id, "PUT", &path, b"");
        net.flush(id);
    }

    /// Handles a part of a response.
    pub(super) fn stream_response(&mut self, net: &mut Net, id: Id, part: ResponsePart<'_>) {
        let Some(peer) = self.peers[id] else {
            return;
        };
        match (peer.stage, part) {
            (Stage::Ready, ResponsePart::Chunk(chunk)) => self.stream_chunk(net, id, chunk),
            (Stage::Ready, ResponsePart::Answer { status, .. }) if is_taken(status) => {}
            (Stage::Greeting, ResponsePart::Answer { status, .. }) if is_there(status) => {
                match peer.role {
                    FanoutRole::Member(_) => self.ask_for_events(net, id),
                    FanoutRole::Publisher(_) => self.stream_ready(net, id, peer.role),
                }
            }
            (Stage::Confirming, ResponsePart::Stream) => self.stream_ready(net, id, peer.role),
            (_, ResponsePart::Answer { status, body }) => {
                let body = String::from_utf8_lossy(body);
                self.fail(format!("answered with status {status}: {body:.200}"));
            }
            (_, ResponsePart::End) => {
                let why =
                    "the server ended a stream of events, as durable-streams does in a minute";
                self.fail(why.into());
            }
            (_, ResponsePart::Stream | ResponsePart::Chunk(_)) => {
                self.fail("a stream of events that was not asked for".into());
            }
        }
    }

    fn ask_for_events(&mut self, net: &mut Net, id: Id) {
        let path = durable_streams::reading_path(&self.plan.names[0]);
        let request = self.target.get(&path);
        net.queue_request(id, |out| out.extend_from_slice(&request));
        net.flush(id);
        self.set_stage(id, Stage::Confirming);
    }

    fn stream_ready(&mut self, net: &mut Net, id: Id, role: FanoutRole) {
        self.set_stage(id, Stage::Ready);
        self.mark_ready(net, id, role);
    }

    /// Checks all deliveries of a chunk.
    fn stream_chunk(&mut self, net: &mut Net, id: Id, chunk: &[u8]) {
        self.read_began(net, id);
        let checked = self.foreign_deliveries(net, id, Foreign::DurableStreams, chunk);
        self.read_ended(net, id);
        // The first message, which comes in a frame of its own elsewhere.
        net.count_more_messages(1);
        if let Err(problem) = checked {
            self.fail(problem);
        }
    }

    fn set_stage(&mut self, id: Id, stage: Stage) {
        self.peers[id].as_mut().expect("it has just spoken").stage = stage;
    }
}

/// Whether a stream was created, or has been before.
fn is_there(status: u16) -> bool {
    matches!(status, 200 | 201)
}

/// Whether messages were appended.
fn is_taken(status: u16) -> bool {
    matches!(status, 200 | 204)
}
