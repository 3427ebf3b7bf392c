//! Members without a connection: they poll over HTTP.

use tokio::sync::oneshot;

use super::{Desk, PollRefused, PollRequest, PolledObjects, Way};
use crate::inbound::{Group, MemberId, MemberLimits};
use crate::process::MemberSlot;

/// Bytes of an answer beyond which no object begins.
const ANSWER_BYTES: usize = 1024 * 1024;

/// A member that polls.
#[derive(Debug)]
pub(super) struct PollingMember {
    name: Box<str>,
    /// Its place among the members.
    #[expect(dead_code, reason = "dropping it frees it")]
    slot: MemberSlot,
    /// When it did so last.
    polled_ms: u64,
    /// It waits for objects: for how many, and where they go.
    waiting: Option<(usize, PollReply)>,
}

pub(super) type PollReply = oneshot::Sender<Result<PolledObjects, PollRefused>>;

impl PollingMember {
    /// Whether it has not polled for too long.
    pub(super) fn has_left(&self, now_ms: u64, timeout_ms: u64) -> bool {
        let is_waiting = self.waiting.as_ref();
        let is_waiting = is_waiting.is_some_and(|(_, reply)| !reply.is_closed());
        !is_waiting && now_ms.saturating_sub(self.polled_ms) >= timeout_ms
    }

    /// Answers it if it waits and there is something for it.
    pub(super) fn answer(&mut self, id: MemberId, group: &mut Group, now_ms: u64) {
        if group.may_send(id)
            && let Some((max, reply)) = self.waiting.take()
        {
            self.polled_ms = now_ms;
            answer((max, reply), id, group, now_ms);
        }
    }
}

/// Answers a member with what there is for it.
fn answer((max, reply): (usize, PollReply), id: MemberId, group: &mut Group, now_ms: u64) {
    let mut events = Vec::new();
    let count = group.put_batch(id, (max, ANSWER_BYTES), now_ms, &mut events);
    if count == 0 {
        events.extend_from_slice(b"[]");
    }
    let next = group.place_of(id).map_or(1, |(next, _)| next);
    let polled = PolledObjects {
        events,
        next,
        count,
    };
    // It does not wait any more: the objects are still to be sent.
    if let Err(Ok(polled)) = reply.send(Ok(polled)) {
        group.take_back_last(id, polled.count);
    }
}

impl Desk {
    /// Answers a member that polls, now or when there are objects for it.
    pub(in crate::shard) fn poll(&mut self, poll: &PollRequest, reply: PollReply, now_ms: u64) {
        let refuse = |reply: PollReply, why| {
            // It may not wait any more.
            let _ = reply.send(Err(why));
        };
        let known = self.find(&poll.group);
        let known = known.and_then(|index| self.find_polling(index, &poll.member));
        // Before the group, which would take what clients say although nobody is there.
        let slot = match known {
            Some(_) => None,
            None => self.rooms.take_member_slot(),
        };
        if known.is_none() && slot.is_none() {
            return refuse(reply, PollRefused::Members);
        }
        let Some(index) = self.open(&poll.group, now_ms) else {
            return refuse(reply, PollRefused::Groups);
        };
        let limits = MemberLimits {
            kinds: poll.kinds,
            credit: self.config.backend.credit,
        };
        // The only member may have another filter than before.
        if !self.group_mut(index).may_attach(known, poll.kinds) {
            return refuse(reply, PollRefused::Kinds);
        }
        let id = match known {
            Some(id) => {
                // What it was sent and has not acknowledged may not have reached it: it may have begun anew, or hung up.
                self.group_mut(index).send_again(id);
                self.group_mut(index).attach(id, limits, now_ms);
                self.update_kinds(index);
                id
            }
            None => {
                let polling = PollingMember {
                    name: poll.member.clone(),
                    slot: slot.expect("one without a slot is refused"),
                    polled_ms: now_ms,
                    waiting: None,
                };
                self.add(index, limits, Way::Polls(polling), now_ms)
            }
        };
        let group = self.groups[index].as_mut();
        let group = &mut group.expect("it was opened").group;
        group.distribute();
        let member = self.members.get_mut(&id).map(|member| &mut member.way);
        if let Some(Way::Polls(polling)) = member {
            polling.polled_ms = now_ms;
            // The one before does not wait any more, whatever it says.
            if let Some((_, before)) = polling.waiting.take() {
                let next = group.place_of(id).map_or(1, |(next, _)| next);
                let _ = before.send(Ok(PolledObjects {
                    events: b"[]".to_vec(),
                    next,
                    count: 0,
                }));
            }
            match poll.waits && !group.may_send(id) {
                true => polling.waiting = Some((poll.max, reply)),
                false => answer((poll.max, reply), id, group, now_ms),
            }
        }
        self.settle(index);
    }

    /// Notes that a member that polls has acknowledged all objects up to `seq`. Returns how many it has not.
    pub(in crate::shard) fn acknowledge_polled(
        &mut self,
        (group, member): (&str, &str),
        seq: u64,
        now_ms: u64,
    ) -> Result<usize, PollRefused> {
        let index = self.find(group).ok_or(PollRefused::Unknown)?;
        let id = self.find_polling(index, member);
        let id = id.ok_or(PollRefused::Unknown)?;
        let acked = self.acknowledge_member(id, seq, now_ms);
        acked.map_err(|error| PollRefused::Ack(error.last))?;
        let place = self.group_mut(index).place_of(id);
        Ok(place.map_or(0, |(_, open)| open))
    }

    fn find_polling(&self, group: usize, wanted: &str) -> Option<MemberId> {
        let mut members = self.members.iter();
        let found = members.find(|(_, member)| match &member.way {
            Way::Polls(polling) => member.group == group && *polling.name == *wanted,
            Way::Link(..) => false,
        });
        found.map(|(id, _)| *id)
    }
}
