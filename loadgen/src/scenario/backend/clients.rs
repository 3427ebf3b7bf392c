//! The clients of a run: where each is in its life, and when it sends.

use std::collections::VecDeque;

use super::app_message::AppMessages;
use super::ledger::Ledger;
use crate::frame::opcode;
use crate::net::{Id, Net};

/// Close code of a client that closes.
pub(crate) const NORMAL: u16 = 1000;

/// Where a client is in its life.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum ClientPhase {
    #[default]
    Absent,
    Opening,
    Open(Id),
    /// It has sent a close frame.
    Closing,
    Closed,
    Reset,
}

/// All clients, by number.
#[derive(Debug)]
pub(crate) struct Clients {
    phases: Vec<ClientPhase>,
    /// Clients that were greeted, in that order, until they are taken.
    greeted: VecDeque<u32>,
    ended: u32,
    burst: u32,
    /// Messages of a client on the way, in a closed loop.
    in_flight: Option<u32>,
    /// Whether clients answer what was received by more, in a closed loop.
    pub(crate) sending: bool,
    /// Clients of whom something was received or refused since they last sent.
    touched: Vec<u32>,
    is_touched: Vec<bool>,
}

impl Clients {
    /// `count` clients that write `burst` messages at a time. Without `in_flight` they only send when
    /// they are told to.
    pub(crate) fn new(count: usize, burst: u32, in_flight: Option<u32>) -> Self {
        Self {
            phases: vec![ClientPhase::Absent; count],
            greeted: VecDeque::new(),
            ended: 0,
            burst,
            in_flight,
            sending: false,
            touched: Vec::new(),
            is_touched: vec![false; count],
        }
    }

    pub(crate) fn phase(&self, client: u32) -> ClientPhase {
        self.phases[client as usize]
    }

    /// Clients whose connections have ended.
    pub(crate) fn ended(&self) -> u32 {
        self.ended
    }

    pub(crate) fn take_greeted(&mut self) -> Option<u32> {
        self.greeted.pop_front()
    }

    pub(crate) fn opening(&mut self, client: u32) {
        self.phases[client as usize] = ClientPhase::Opening;
    }

    pub(crate) fn greet(&mut self, client: u32, id: Id) {
        self.phases[client as usize] = ClientPhase::Open(id);
        self.greeted.push_back(client);
    }

    /// A connection has ended; returns the phase that it was in.
    pub(crate) fn closed(&mut self, client: u32) -> ClientPhase {
        self.ended += 1;
        std::mem::replace(&mut self.phases[client as usize], ClientPhase::Closed)
    }

    /// Closes a client's connection.
    pub(crate) fn close(&mut self, net: &mut Net, client: u32) {
        if let ClientPhase::Open(id) = self.phase(client) {
            self.phases[client as usize] = ClientPhase::Closing;
            net.close(id, NORMAL);
        }
    }

    /// Resets a client's connection: what it sent last need not arrive.
    pub(crate) fn reset(&mut self, net: &mut Net, ledger: &mut Ledger, client: u32) {
        if let ClientPhase::Open(id) = self.phase(client) {
            self.phases[client as usize] = ClientPhase::Reset;
            self.ended += 1;
            ledger.reset(client);
            net.abort(id);
        }
    }

    /// Bytes that the client's socket has not taken.
    pub(crate) fn queued_bytes(&self, net: &Net, client: u32) -> usize {
        match self.phase(client) {
            ClientPhase::Open(id) => net.queued_bytes(id),
            _ => 0,
        }
    }

    /// Sends `count` messages of a client that is open, in one write.
    pub(crate) fn send(
        &self,
        net: &mut Net,
        messages: &AppMessages,
        ledger: &mut Ledger,
        client: u32,
        (count, sent_ns): (u32, u64),
    ) {
        let ClientPhase::Open(id) = self.phase(client) else {
            return;
        };
        for _ in 0..count {
            let sequence = ledger.send(client);
            net.queue(id, opcode::TEXT, |out| {
                messages.write(out, client, sequence, sent_ns);
            });
        }
        net.flush(id);
    }

    /// Fills up what a client may have on the way, in a closed loop.
    pub(crate) fn fill(
        &self,
        net: &mut Net,
        messages: &AppMessages,
        ledger: &mut Ledger,
        client: u32,
    ) {
        let Some(in_flight) = self.in_flight.filter(|_| self.sending) else {
            return;
        };
        let room = in_flight.saturating_sub(ledger.in_flight(client));
        let count = room / self.burst * self.burst;
        if count > 0 {
            let now_ns = net.now_ns();
            self.send(net, messages, ledger, client, (count, now_ns));
        }
    }

    /// Something of this client was received or refused.
    #[inline]
    pub(crate) fn touch(&mut self, client: u32) {
        if !std::mem::replace(&mut self.is_touched[client as usize], true) {
            self.touched.push(client);
        }
    }

    /// Fills up what the touched clients may have on the way.
    pub(crate) fn fill_touched(
        &mut self,
        net: &mut Net,
        messages: &AppMessages,
        ledger: &mut Ledger,
    ) {
        while let Some(client) = self.touched.pop() {
            self.is_touched[client as usize] = false;
            self.fill(net, messages, ledger, client);
        }
    }
}
