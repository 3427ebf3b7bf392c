//! The session of a member's connection.

mod run;

use std::task::Context;

use super::answers::Answers;
use super::{BadObject, Failure, LinkEncoding, LinkRequest, Said, objects};
use crate::conn::{Flow, Session};
use crate::engine::Outcome;
use crate::id::PeerId;
use crate::inbound::MemberLimits;
use crate::msgpack;
use crate::process::MemberSlot;
use crate::service::Service;
use crate::shard::{Disconnect, Handle, Shard};
use crate::ws::Payload;
use run::published;

/// The session of a member's connection.
#[derive(Debug)]
pub(super) struct LinkSession {
    /// Its shard, for futures.
    shard: Handle,
    service: Service,
    request: LinkRequest,
    /// Its place among the members.
    #[expect(dead_code, reason = "dropping it frees it")]
    slot: MemberSlot,
    answers: Answers,
    /// The operation that waits has been counted toward the service's rate limit.
    is_charged: bool,
    /// Objects of the frame that waits which are done.
    done: usize,
    /// Objects of frames besides the first, which are not charged yet.
    uncharged: u32,
}

impl LinkSession {
    pub(super) fn new(
        shard: Handle,
        service: Service,
        request: LinkRequest,
        slot: MemberSlot,
    ) -> Self {
        Self {
            shard,
            service,
            request,
            slot,
            answers: Answers::default(),
            is_charged: false,
            done: 0,
            uncharged: 0,
        }
    }

    /// Does what the objects of a frame say, one after the other.
    fn frame(&mut self, shard: &Shard, peer: PeerId, text: &str) -> Flow {
        let objects = match objects(text) {
            Ok(objects) => objects,
            Err(why) => {
                self.say(shard, peer, &why);
                return Flow::Continue;
            }
        };
        let done = std::mem::take(&mut self.done);
        for (index, object) in objects.into_iter().enumerate().skip(done) {
            // Backpressure: a member that waits for so many answers is not read from.
            let flow = match self.answers.is_full(shard) {
                true => Flow::Wait,
                false => self.object(shard, peer, object),
            };
            match flow {
                Flow::Continue => self.uncharged += u32::from(index > 0),
                Flow::Wait => {
                    self.done = index;
                    return Flow::Wait;
                }
                Flow::End(why) => return Flow::End(why),
            }
        }
        Flow::Continue
    }

    fn object(&mut self, shard: &Shard, peer: PeerId, text: &str) -> Flow {
        match Said::parse(text) {
            Ok(Said::Ack(seq)) => shard.acknowledge(peer, seq),
            Ok(Said::Credit(more)) => {
                shard.add_credit(peer, u32::try_from(more).unwrap_or(u32::MAX));
            }
            Ok(Said::Operation(id, operation)) => {
                let flow = self.run((shard, peer, id), operation);
                let is_done = flow != Flow::Wait;
                shard.counters.backend_operations.add(u64::from(is_done));
                return flow;
            }
            Err(BadObject { id: None, why }) => self.say(shard, peer, &why),
            Err(BadObject { id, why }) => self.answers.put(shard, peer, id, &Err(why)),
        }
        Flow::Continue
    }

    /// Tells the member of something that it has said without an `id` and that cannot be understood.
    fn say(&mut self, shard: &Shard, peer: PeerId, why: &Failure) {
        shard.counters.errors_sent.add(1);
        let mut object = Vec::new();
        why.put(&mut object, None);
        self.answers.put_object(shard, peer, object);
    }
}

impl Session for LinkSession {
    fn begin(&mut self, shard: &Shard, peer: PeerId) -> Flow {
        let limits = MemberLimits {
            kinds: self.request.kinds,
            credit: self.request.credit,
        };
        shard.attach(peer, &self.request.group, limits);
        Flow::Continue
    }

    fn is_announced(&self) -> bool {
        // It is no client.
        false
    }

    fn message(&mut self, shard: &Shard, peer: PeerId, payload: Payload<'_>) -> Flow {
        match (self.request.format, payload) {
            (LinkEncoding::Json, Payload::Text(text)) => self.frame(shard, peer, text),
            (LinkEncoding::Msgpack, Payload::Binary(packed)) => shard.with_text(|text| {
                if let Err(why) = msgpack::to_json(packed, text) {
                    let why = format!("Not a MessagePack message: {why}");
                    self.say(shard, peer, &Failure::invalid(why));
                    return Flow::Continue;
                }
                let text = str::from_utf8(text).expect("its strings have been checked");
                self.frame(shard, peer, text)
            }),
            _ => Flow::End(Disconnect::Unsupported),
        }
    }

    fn take_uncharged(&mut self) -> u32 {
        std::mem::take(&mut self.uncharged)
    }

    fn is_polled(&self) -> bool {
        true
    }

    fn poll(&mut self, shard: &Shard, peer: PeerId, cx: &mut Context<'_>) {
        self.answers.poll(shard, cx);
        self.answers.write(shard, peer);
    }

    fn outcome(&mut self, shard: &Shard, peer: PeerId, outcome: Outcome) {
        match outcome {
            Outcome::Published { id, result } => {
                if let Ok(number) = id.parse() {
                    let answered = published(result);
                    self.answers
                        .take_publication(shard, peer, number, &answered);
                }
            }
            Outcome::Roster { ticket, roster } => {
                self.answers.take_roster(shard, peer, ticket, &roster);
            }
            _ => {}
        }
    }

    fn end(&mut self, shard: &Shard, peer: PeerId) {
        shard.detach(peer);
        self.answers.end();
    }
}
