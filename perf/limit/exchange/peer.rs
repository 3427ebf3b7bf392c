//! One end of a connection that owes bytes of a stream that repeats itself.

use std::io::{ErrorKind, Write};
use std::net::TcpStream;

use rustix::event::epoll::EventFlags;

use crate::Outcome;
use crate::cycle::Cycle;
use crate::sockets::{Arrived, Poller, read};

/// Never waits: what a socket does not take is written when there is room.
#[derive(Debug)]
pub(super) struct Peer {
    socket: TcpStream,
    /// Bytes so far.
    pub(super) read: u64,
    pub(super) written: u64,
    /// Bytes that are to have been written.
    owed: u64,
    /// Whether the poller was asked to tell when there is room.
    waits_for_room: bool,
}

impl Peer {
    pub(super) fn new(socket: TcpStream) -> Self {
        Self {
            socket,
            read: 0,
            written: 0,
            owed: 0,
            waits_for_room: false,
        }
    }

    /// Reads once.
    pub(super) fn read(&mut self, buffer: &mut [u8]) -> Outcome<Arrived> {
        let arrived = read(&self.socket, buffer)?;
        if let Arrived::Bytes(count) = arrived {
            self.read += count as u64;
        }
        Ok(arrived)
    }

    /// `messages` more are to be written.
    pub(super) fn owe(&mut self, messages: u64, stream: &Cycle) {
        self.owed += messages * stream.period() as u64;
    }

    /// Writes what is owed, as far as there is room.
    pub(super) fn write(&mut self, stream: &Cycle) -> Outcome<()> {
        while self.written < self.owed {
            let bytes = stream.from(self.written, self.owed - self.written);
            match self.socket.write(bytes) {
                Ok(count) => self.written += count as u64,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Asks `poller` to tell when there is room if something is still owed.
    pub(super) fn update_interest(&mut self, poller: &Poller, key: u64) -> Outcome<()> {
        let waits = self.written < self.owed;
        if waits != self.waits_for_room {
            self.waits_for_room = waits;
            let room = if waits {
                EventFlags::OUT
            } else {
                EventFlags::empty()
            };
            poller.modify(&self.socket, key, EventFlags::IN | room)?;
        }
        Ok(())
    }
}
