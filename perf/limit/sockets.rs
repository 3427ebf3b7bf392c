//! Loopback connections, and waiting for them.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream, ToSocketAddrs};
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, Event, EventFlags};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{SocketFlags, accept_with, sockopt};

use crate::Outcome;

/// Bytes of one read of the serving thread: as many as the gateway reads.
pub(crate) const SERVER_READ_BYTES: usize = 64 * 1024;

/// Bytes of one read of the generator: as many as loadgen reads.
pub(crate) const GENERATOR_READ_BYTES: usize = 128 * 1024;

const EVENTS_MAX: usize = 1024;

/// Connections as the serving and as the generating side have them, in the same order.
pub(crate) fn pairs(connections: usize) -> Outcome<(Vec<TcpStream>, Vec<TcpStream>)> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let address = listener.local_addr()?;
    let mut servers = Vec::with_capacity(connections);
    let mut generators = Vec::with_capacity(connections);
    for _ in 0..connections {
        let generator = TcpStream::connect(address)?;
        let (server, _) = listener.accept()?;
        for socket in [&server, &generator] {
            socket.set_nodelay(true)?;
            socket.set_nonblocking(true)?;
        }
        servers.push(server);
        generators.push(generator);
    }
    Ok((servers, generators))
}

/// Gives each socket a send buffer of `bytes`. The kernel doubles what it is told.
pub(crate) fn limit_send_buffer(sockets: &[TcpStream], bytes: usize) -> Outcome<()> {
    for socket in sockets {
        sockopt::set_socket_send_buffer_size(socket, bytes)?;
    }
    Ok(())
}

/// A listener with SO_REUSEADDR, which the standard library sets.
pub(crate) fn listen(address: impl ToSocketAddrs) -> Outcome<TcpListener> {
    let listener = TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    // Its connections have that from the start.
    sockopt::set_tcp_nodelay(&listener, true)?;
    Ok(listener)
}

/// Accepts all that wait.
pub(crate) fn accept(
    listener: &TcpListener,
    mut each: impl FnMut(TcpStream) -> Outcome<()>,
) -> Outcome<()> {
    loop {
        match accept_with(listener, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC) {
            Ok(socket) => each(socket.into())?,
            Err(Errno::WOULDBLOCK) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
    }
}

/// Times that a socket was full.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Full {
    /// Waits for room.
    pub(crate) waits: u64,
    pub(crate) partial_writes: u64,
}

impl Full {
    /// What came after `earlier`.
    pub(crate) fn since(self, earlier: Self) -> Self {
        Self {
            waits: self.waits - earlier.waits,
            partial_writes: self.partial_writes - earlier.partial_writes,
        }
    }

    /// Writes all of `bytes`; never spins, but waits for room where there is none.
    pub(crate) fn write(&mut self, socket: &mut TcpStream, bytes: &[u8]) -> Outcome<()> {
        let mut rest = bytes;
        while !rest.is_empty() {
            match socket.write(rest) {
                Ok(written) => {
                    rest = &rest[written..];
                    self.partial_writes += u64::from(!rest.is_empty());
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.waits += 1;
                    poll(&mut [PollFd::new(socket, PollFlags::OUT)], None)?;
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}

/// What a read brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Arrived {
    Bytes(usize),
    Nothing,
    End,
}

/// Reads once.
pub(crate) fn read(mut socket: &TcpStream, buffer: &mut [u8]) -> io::Result<Arrived> {
    match socket.read(buffer) {
        Ok(0) => Ok(Arrived::End),
        Ok(read) => Ok(Arrived::Bytes(read)),
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(Arrived::Nothing),
        Err(error) => Err(error),
    }
}

/// Reads everything until all connections end; `each` gets what a read brought, and from which.
pub(crate) fn read_to_end(
    sockets: Vec<TcpStream>,
    mut each: impl FnMut(usize, &[u8]) -> Outcome<()>,
) -> Outcome<()> {
    let poller = Poller::of(&sockets)?;
    let mut open = sockets.len();
    let mut sockets: Vec<_> = sockets.into_iter().map(Some).collect();
    let mut buffer = vec![0; GENERATOR_READ_BYTES];
    let mut events = Vec::new();
    while open > 0 {
        poller.wait(&mut events, None)?;
        for event in &events {
            let number = event.data.u64() as usize;
            let Some(socket) = &sockets[number] else {
                continue;
            };
            match read(socket, &mut buffer)? {
                Arrived::Bytes(count) => each(number, &buffer[..count])?,
                Arrived::Nothing => {}
                Arrived::End => {
                    sockets[number] = None;
                    open -= 1;
                }
            }
        }
    }
    Ok(())
}

/// Level-triggered epoll. A socket is out of it when it is closed.
#[derive(Debug)]
pub(crate) struct Poller(OwnedFd);

impl Poller {
    pub(crate) fn new() -> Outcome<Self> {
        Ok(Self(epoll::create(epoll::CreateFlags::CLOEXEC)?))
    }

    /// Of these sockets, each under its number.
    pub(crate) fn of(sockets: &[TcpStream]) -> Outcome<Self> {
        let poller = Self::new()?;
        for (number, socket) in sockets.iter().enumerate() {
            poller.add(socket, number as u64, EventFlags::IN)?;
        }
        Ok(poller)
    }

    pub(crate) fn add(&self, socket: impl AsFd, key: u64, what: EventFlags) -> Outcome<()> {
        Ok(epoll::add(
            &self.0,
            socket,
            epoll::EventData::new_u64(key),
            what,
        )?)
    }

    pub(crate) fn modify(&self, socket: impl AsFd, key: u64, what: EventFlags) -> Outcome<()> {
        Ok(epoll::modify(
            &self.0,
            socket,
            epoll::EventData::new_u64(key),
            what,
        )?)
    }

    /// Waits until something is ready, for `timeout` at most, and puts that into
    /// `events` in place of what was there.
    pub(crate) fn wait(&self, events: &mut Vec<Event>, timeout: Option<Duration>) -> Outcome<()> {
        events.clear();
        events.reserve(EVENTS_MAX);
        let timeout = timeout.map(|timeout| Timespec {
            tv_sec: timeout.as_secs().cast_signed(),
            tv_nsec: timeout.subsec_nanos().into(),
        });
        match epoll::wait(&self.0, spare_capacity(events), timeout.as_ref()) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}
