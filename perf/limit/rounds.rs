//! The same batches to many slow readers, round by round, as a publisher with few bursts on the way makes a gateway do.

use std::io::{ErrorKind, Write};
use std::net::TcpStream;
use std::num::NonZeroUsize;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rustix::event::epoll::{Event, EventFlags};
use rustix::event::{EventfdFlags, eventfd};

use crate::Outcome;
use crate::sockets::{Full, Poller};

/// The key of the event that says that the slowest reader has got on.
const SLOWEST: u64 = u64::MAX;

/// How far the slowest reader is, which the reading thread says and the sending one waits for.
#[derive(Debug)]
pub(crate) struct Slowest {
    /// Batches that all readers have.
    batches: AtomicU64,
    event: OwnedFd,
}

impl Slowest {
    pub(crate) fn new() -> Outcome<Self> {
        Ok(Self {
            batches: AtomicU64::new(0),
            event: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?,
        })
    }

    fn batches(&self) -> u64 {
        self.batches.load(Ordering::Acquire)
    }
}

/// What the readers have, for [`Slowest`].
#[derive(Debug)]
pub(crate) struct Readers<'a> {
    slowest: &'a Slowest,
    count: usize,
    /// How many readers have each of the batches on the way, from the oldest on.
    having: Vec<usize>,
}

impl<'a> Readers<'a> {
    /// Of `count` readers, to which `window` batches at most are on the way.
    pub(crate) fn new(slowest: &'a Slowest, count: usize, window: NonZeroUsize) -> Self {
        Self {
            slowest,
            count,
            having: vec![0; window.get()],
        }
    }

    /// A reader that had `from` batches has `to` now.
    pub(crate) fn note(&mut self, from: u64, to: u64) -> Outcome<()> {
        let window = self.having.len() as u64;
        for batch in from..to {
            self.having[(batch % window) as usize] += 1;
        }
        while let all = self.slowest.batches()
            && let place = (all % window) as usize
            && self.having[place] == self.count
        {
            self.having[place] = 0;
            self.slowest.batches.store(all + 1, Ordering::Release);
            rustix::io::write(&self.slowest.event, &1_u64.to_ne_bytes())?;
        }
        Ok(())
    }
}

/// Connections that are sent the same batches over and over: a round is one write to each that has room. None gets further
/// ahead of the slowest reader than by all of them.
pub(crate) struct Rounds<'a> {
    /// All batches, one after the other.
    bytes: &'a [u8],
    batch_bytes: usize,
    slowest: &'a Slowest,
    poller: Poller,
    sockets: Vec<TcpStream>,
    /// Bytes of each so far.
    sent: Vec<u64>,
    /// Those with room, in turn.
    ready: Vec<usize>,
    /// Those with room that have to wait for the slowest reader.
    ahead: Vec<usize>,
    has_room: Vec<bool>,
    events: Vec<Event>,
    total: u64,
    pub(crate) full: Full,
}

impl<'a> Rounds<'a> {
    /// Sends `bytes` to each, at most `batch_bytes` a write.
    pub(crate) fn new(
        sockets: Vec<TcpStream>,
        bytes: &'a [u8],
        batch_bytes: usize,
        slowest: &'a Slowest,
    ) -> Outcome<Self> {
        let poller = Poller::new()?;
        for (number, socket) in sockets.iter().enumerate() {
            poller.add(socket, number as u64, EventFlags::OUT | EventFlags::ET)?;
        }
        poller.add(&slowest.event, SLOWEST, EventFlags::IN | EventFlags::ET)?;
        Ok(Self {
            bytes,
            batch_bytes,
            slowest,
            poller,
            sent: vec![0; sockets.len()],
            ready: (0..sockets.len()).collect(),
            ahead: Vec::new(),
            has_room: vec![true; sockets.len()],
            sockets,
            events: Vec::new(),
            total: 0,
            full: Full::default(),
        })
    }

    /// Bytes of all.
    pub(crate) fn sent(&self) -> u64 {
        self.total
    }

    /// One write to each that has room, of what is left of its batch. Waits where there is nothing to write.
    pub(crate) fn write(&mut self) -> Outcome<()> {
        let sendable = self.slowest.batches() * self.batch_bytes as u64 + self.bytes.len() as u64;
        for number in std::mem::take(&mut self.ready) {
            if self.sent[number] == sendable {
                self.ahead.push(number);
                continue;
            }
            let rest = self.rest_of_batch(number);
            let written = match (&self.sockets[number]).write(rest) {
                Ok(written) => written,
                Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
                Err(error) => return Err(error.into()),
            };
            self.has_room[number] = written == rest.len();
            self.sent[number] += written as u64;
            self.total += written as u64;
            match self.has_room[number] {
                true => self.ready.push(number),
                false => self.full.partial_writes += 1,
            }
        }
        let timeout = match self.ready.is_empty() {
            true => {
                self.full.waits += 1;
                None
            }
            false => Some(Duration::ZERO),
        };
        self.poller.wait(&mut self.events, timeout)?;
        for event in &self.events {
            match event.data.u64() {
                SLOWEST => self.ready.append(&mut self.ahead),
                number => {
                    let number = number as usize;
                    // One that has never been full is told of, too.
                    if !std::mem::replace(&mut self.has_room[number], true) {
                        self.ready.push(number);
                    }
                }
            }
        }
        Ok(())
    }

    fn rest_of_batch(&self, number: usize) -> &'a [u8] {
        let at = (self.sent[number] % self.bytes.len() as u64) as usize;
        &self.bytes[at..][..self.batch_bytes - at % self.batch_bytes]
    }

    /// Sends what is left of each batch. Returns the bytes of each.
    pub(crate) fn finish(mut self) -> Outcome<Vec<u64>> {
        for number in 0..self.sockets.len() {
            let rest = self.rest_of_batch(number);
            if rest.len() < self.batch_bytes {
                self.full.write(&mut self.sockets[number], rest)?;
                self.sent[number] += rest.len() as u64;
            }
        }
        Ok(self.sent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slowest_reader_has_what_all_have() {
        let slowest = Slowest::new().unwrap();
        let mut readers = Readers::new(&slowest, 2, NonZeroUsize::new(3).unwrap());
        readers.note(0, 3).unwrap();
        readers.note(0, 0).unwrap();
        assert_eq!(slowest.batches(), 0);
        readers.note(0, 1).unwrap();
        assert_eq!(slowest.batches(), 1);
        readers.note(3, 4).unwrap();
        readers.note(1, 3).unwrap();
        assert_eq!(slowest.batches(), 3);
        readers.note(3, 4).unwrap();
        assert_eq!(slowest.batches(), 4);
    }
}
