//! The members of the group: what each has received in its session, and acknowledges.

use std::collections::VecDeque;
use std::time::Duration;

use crate::frame::opcode;
use crate::net::{Id, Net};

/// One session of a member, or none while it is away.
#[derive(Debug, Default)]
struct Member {
    id: Option<Id>,
    session: u32,
    /// The `seq` of its next object.
    next_seq: u64,
    /// The last `seq` that it acknowledged.
    acknowledged_seq: u64,
    /// New messages of the current read.
    messages: u64,
    /// Objects of the current read.
    objects: u64,
    /// How late it acknowledges.
    delay_ns: u64,
    held: VecDeque<HeldAck>,
}

/// An acknowledgement that is held back.
#[derive(Debug, Clone, Copy)]
struct HeldAck {
    due_ns: u64,
    seq: u64,
    /// New messages that it is for.
    messages: u64,
}

/// What a member did at the end of a read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub(crate) enum ReadEnd {
    /// It acknowledged what came, or will.
    Taken,
    /// It reset its connection, which ended this session.
    Killed { session: u32 },
}

/// All members, by number.
#[derive(Debug)]
pub(crate) struct Members {
    members: Vec<Member>,
    /// New messages that were acknowledged.
    pub(crate) acknowledged: u64,
    /// Objects that a member had not acknowledged when it was killed.
    pub(crate) unacknowledged: u64,
    /// Objects whose `seq` does not follow the last one's.
    pub(crate) seq_faults: u64,
    /// The member that gets the next messages resets its connection instead of acknowledging them.
    pub(crate) kill: bool,
    is_over: bool,
}

impl Members {
    /// `count` members, of whom the last acknowledges this late.
    pub(crate) fn new(count: usize, ack_delay: Duration) -> Self {
        let mut members: Vec<_> = (0..count).map(|_| Member::default()).collect();
        if let Some(last) = members.last_mut() {
            last.delay_ns = ack_delay.as_nanos() as u64;
        }
        Self {
            members,
            acknowledged: 0,
            unacknowledged: 0,
            seq_faults: 0,
            kill: false,
            is_over: false,
        }
    }

    /// A member is attached.
    pub(crate) fn attach(&mut self, number: usize, id: Id, session: u32) {
        let member = &mut self.members[number];
        member.id = Some(id);
        member.session = session;
        member.next_seq = 1;
        member.acknowledged_seq = 0;
    }

    /// A member's connection has ended; whether it had been asked to close.
    pub(crate) fn detach(&mut self, number: usize) -> bool {
        self.members[number].id = None;
        self.is_over
    }

    pub(crate) fn session(&self, number: usize) -> u32 {
        self.members[number].session
    }

    pub(crate) fn count(&self) -> usize {
        self.members.len()
    }

    /// Connections of members that are attached.
    pub(crate) fn attached(&self) -> impl Iterator<Item = Id> {
        self.members.iter().filter_map(|member| member.id)
    }

    /// The first member that is away.
    pub(crate) fn absent(&self) -> Option<usize> {
        self.members.iter().position(|member| member.id.is_none())
    }

    /// Whether acknowledgements are held back.
    pub(crate) fn has_held(&self) -> bool {
        self.members.iter().any(|member| !member.held.is_empty())
    }

    /// An object has come.
    #[inline]
    pub(crate) fn count_object(&mut self, number: usize, seq: u64) {
        let member = &mut self.members[number];
        self.seq_faults += u64::from(seq != member.next_seq);
        member.next_seq = seq + 1;
        member.objects += 1;
    }

    /// It was a message that had not come before.
    #[inline]
    pub(crate) fn count_message(&mut self, number: usize) {
        self.members[number].messages += 1;
    }

    /// Objects of the current read.
    pub(crate) fn objects(&self, number: usize) -> u64 {
        self.members[number].objects
    }

    /// Acknowledges what a read brought, or kills the member.
    pub(crate) fn end_read(&mut self, net: &mut Net, number: usize) -> ReadEnd {
        let member = &mut self.members[number];
        let messages = std::mem::take(&mut member.messages);
        let objects = std::mem::take(&mut member.objects);
        let Some(id) = member.id.filter(|_| objects > 0) else {
            return ReadEnd::Taken;
        };
        if self.kill && messages > 0 {
            self.kill = false;
            member.id = None;
            // They come again, and are acknowledged then, but are not new any more.
            let held = member.held.drain(..).map(|held| held.messages);
            self.acknowledged += messages + held.sum::<u64>();
            self.unacknowledged += member.next_seq - 1 - member.acknowledged_seq;
            net.abort(id);
            return ReadEnd::Killed {
                session: member.session,
            };
        }
        let seq = member.next_seq - 1;
        if member.delay_ns > 0 {
            member.held.push_back(HeldAck {
                due_ns: net.read_at_ns() + member.delay_ns,
                seq,
                messages,
            });
        } else {
            self.acknowledged += messages;
            member.acknowledge(net, id, seq);
        }
        ReadEnd::Taken
    }

    /// Sends the acknowledgements that were held back until now.
    pub(crate) fn send_held(&mut self, net: &mut Net, now_ns: u64) {
        for member in &mut self.members {
            let mut last = None;
            while let Some(held) = member.held.pop_front_if(|held| held.due_ns <= now_ns) {
                last = Some(held.seq);
                self.acknowledged += held.messages;
            }
            if let (Some(seq), Some(id)) = (last, member.id) {
                member.acknowledge(net, id, seq);
            }
        }
    }

    /// Closes the connections; the run is over.
    pub(crate) fn close(&mut self, net: &mut Net, code: u16) {
        self.is_over = true;
        for id in self.attached() {
            net.close(id, code);
        }
    }
}

impl Member {
    fn acknowledge(&mut self, net: &mut Net, id: Id, seq: u64) {
        self.acknowledged_seq = seq;
        net.queue(id, opcode::TEXT, |out| {
            out.extend_from_slice(format!(r#"{{"ack":{seq}}}"#).as_bytes());
        });
        net.flush(id);
    }
}
