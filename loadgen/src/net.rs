//! The fast client: many WebSocket, SSE and HTTP connections on one thread.
//!
//! Level-triggered epoll, one read per readiness into one large buffer that
//! stays in the cache, frames and events handed on in place. Bytes are copied only when a
//! read ends inside a frame. A scenario implements [`Handler`] and calls
//! [`Net::turn`] in its loop.

mod connection;
mod end;
pub(crate) mod handshake;

use std::io::{self, ErrorKind, Read};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, SocketAddrV4};
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};
use socket2::{Domain, Protocol, Socket, Type};

pub(crate) use connection::Id;
use connection::{Connection, Opening, Phase};
pub(crate) use end::End;
pub(crate) use handshake::Target;

use crate::frame::{self, FIN, Split, opcode};
use crate::http::{Reader, Step};
use crate::payload::Random;
use crate::stream;

/// Bytes of one read at most. Larger ones save no system calls that matter and
/// push the parsed bytes out of the L2 cache.
const READ_BYTES_MAX: usize = 128 * 1024;

/// Readiness events taken per turn.
const EVENTS_MAX: usize = 1024;

/// What a scenario does when something happens on a connection. Every method
/// may write to any connection, open and close.
pub(crate) trait Handler {
    /// The upgrade was accepted, the stream of events has begun, or requests may go
    /// out on an HTTP connection.
    fn opened(&mut self, net: &mut Net, id: Id);

    /// Bytes were read; the messages in them follow.
    fn read_began(&mut self, _net: &mut Net, _id: Id) {}

    /// One whole data message, or an event without its id as a text.
    fn message(&mut self, net: &mut Net, id: Id, op: u8, payload: &[u8]);

    /// What came on an HTTP connection.
    fn response(&mut self, _net: &mut Net, _id: Id, _part: Part<'_>) {}

    /// All whole messages of the read were handed on.
    fn read_ended(&mut self, _net: &mut Net, _id: Id) {}

    /// The connection is gone; `id` may be used again from here on.
    fn closed(&mut self, net: &mut Net, id: Id, end: End);
}

/// A part of a response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part<'a> {
    /// All of one that is no stream of events.
    Answer { status: u16, body: &'a [u8] },
    /// A stream of events begins.
    Stream,
    /// Bytes of the stream, as much as the server put into one chunk.
    Chunk(&'a [u8]),
    /// The stream ends.
    End,
}

/// What went over all sockets so far.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Traffic {
    pub(crate) reads: u64,
    pub(crate) read_bytes: u64,
    /// Data messages received.
    pub(crate) messages: u64,
    /// Frames queued, and their bytes, mask included.
    pub(crate) sent_messages: u64,
    pub(crate) sent_bytes: u64,
}

/// Connections to one server.
pub(crate) struct Net {
    target: Target,
    source_addresses: u8,
    epoll: OwnedFd,
    connections: Vec<Connection>,
    free: Vec<Id>,
    opened: usize,
    events: Vec<epoll::Event>,
    buffer: Vec<u8>,
    epoch: Instant,
    read_at_ns: u64,
    traffic: Traffic,
    pub(crate) random: Random,
}

impl Net {
    /// No connections yet. They will come from 127.0.0.1 up to
    /// 127.0.0.`source_addresses`, or from wherever the system likes if that is 1.
    pub(crate) fn new(target: Target, source_addresses: u8, seed: u64) -> io::Result<Self> {
        Ok(Self {
            target,
            source_addresses,
            epoll: epoll::create(epoll::CreateFlags::CLOEXEC)?,
            connections: Vec::new(),
            free: Vec::new(),
            opened: 0,
            events: Vec::with_capacity(EVENTS_MAX),
            buffer: vec![0; READ_BYTES_MAX],
            epoch: Instant::now(),
            read_at_ns: 0,
            traffic: Traffic::default(),
            random: Random::new(seed ^ 0x6D61_736B),
        })
    }

    /// Nanoseconds since this value was made: the clock of all measurements.
    pub(crate) fn now_ns(&self) -> u64 {
        self.epoch.elapsed().as_nanos() as u64
    }

    /// When the bytes now handed on had been read.
    pub(crate) fn read_at_ns(&self) -> u64 {
        self.read_at_ns
    }

    pub(crate) fn traffic(&self) -> Traffic {
        self.traffic
    }

    /// Says that a frame held this many messages besides one.
    pub(crate) fn count_more_messages(&mut self, more: u64) {
        self.traffic.messages += more;
    }

    /// Starts to connect. [`Handler::opened`] or [`Handler::closed`] follows.
    pub(crate) fn open(&mut self) -> io::Result<Id> {
        let key = handshake::key();
        let request = self.target.request(&key);
        self.start(request, Opening::WebSocket(key))
    }

    /// As [`Self::open`], on this path.
    pub(crate) fn open_on(&mut self, path: &str) -> io::Result<Id> {
        let key = handshake::key();
        let request = self.target.request_on(path, &key);
        self.start(request, Opening::WebSocket(key))
    }

    /// As [`Self::open`], with `name=value` added to the query.
    pub(crate) fn open_with(&mut self, parameter: &str) -> io::Result<Id> {
        let mut target = self.target.clone();
        target.add_parameter(parameter);
        let key = handshake::key();
        self.start(target.request(&key), Opening::WebSocket(key))
    }

    /// As [`Self::open`], for requests, of which [`Target::post`] makes the heads.
    pub(crate) fn open_http(&mut self) -> io::Result<Id> {
        self.start(Vec::new(), Opening::Http(Reader::default()))
    }

    /// As [`Self::open`], for a stream of events of these topics.
    pub(crate) fn open_stream<'a>(
        &mut self,
        topics: impl Iterator<Item = &'a str>,
    ) -> io::Result<Id> {
        let request = self.target.stream_request(topics, None);
        self.start(request, Opening::Stream)
    }

    fn start(&mut self, request: Vec<u8>, opening: Opening) -> io::Result<Id> {
        let stream = self.connect()?;
        let id = self.free.pop().unwrap_or_else(|| {
            self.connections.push(Connection::default());
            self.connections.len() - 1
        });
        epoll::add(
            &self.epoll,
            &stream,
            epoll::EventData::new_u64(id as u64),
            epoll::EventFlags::IN | epoll::EventFlags::OUT,
        )?;
        self.connections[id].start(stream, request, opening);
        self.opened += 1;
        Ok(id)
    }

    fn connect(&self) -> io::Result<Socket> {
        let address = self.target.address;
        let socket = Socket::new(
            Domain::for_address(address),
            Type::STREAM.nonblocking(),
            Some(Protocol::TCP),
        )?;
        socket.set_tcp_nodelay(true)?;
        if self.source_addresses > 1 {
            let last = 1 + (self.opened % usize::from(self.source_addresses)) as u8;
            let source = SocketAddrV4::new(Ipv4Addr::new(127, 0, 0, last), 0);
            socket.bind(&SocketAddr::V4(source).into())?;
        }
        match socket.connect(&address.into()) {
            Ok(()) => {}
            Err(error)
                if error.raw_os_error() == Some(rustix::io::Errno::INPROGRESS.raw_os_error()) => {}
            Err(error) => return Err(error),
        }
        Ok(socket)
    }

    /// Appends a masked frame to what goes out on `id`. [`Self::flush`] sends it.
    pub(crate) fn queue(&mut self, id: Id, op: u8, write: impl FnOnce(&mut Vec<u8>)) {
        let mask = self.random.mask();
        let out = &mut self.connections[id].out;
        let before = out.len();
        frame::encode(out, op, mask, write);
        self.traffic.sent_messages += 1;
        self.traffic.sent_bytes += (out.len() - before) as u64;
    }

    /// Appends the bytes of a request to what goes out on `id`.
    pub(crate) fn queue_request(&mut self, id: Id, write: impl FnOnce(&mut Vec<u8>)) {
        write(&mut self.connections[id].out);
    }

    /// Whether no more requests may go out on `id`: the server said that it closes
    /// after its last answer.
    pub(crate) fn is_last(&self, id: Id) -> bool {
        matches!(&self.connections[id].opening, Opening::Http(reader) if reader.is_last())
    }

    /// Bytes that wait to be sent on `id`.
    pub(crate) fn queued_bytes(&self, id: Id) -> usize {
        self.connections[id].queued_bytes()
    }

    /// Writes what is queued on `id`; what the socket does not take follows
    /// when it has room.
    pub(crate) fn flush(&mut self, id: Id) {
        // A failed write shows as a failed read right after, which says more.
        if self.connections[id].flush().is_ok() {
            self.update_interest(id);
        }
    }

    /// Starts the closing handshake (RFC 6455 section 7.1.2); of a stream or an HTTP
    /// connection, ends our side.
    pub(crate) fn close(&mut self, id: Id, code: u16) {
        if !self.connections[id].is_websocket() {
            if let Some(socket) = &self.connections[id].socket {
                // Fails where the server has gone first.
                let _ = socket.shutdown(Shutdown::Write);
            }
        } else if self.connections[id].phase == Phase::Open {
            self.queue(id, opcode::CLOSE, |out| {
                out.extend_from_slice(&code.to_be_bytes());
            });
            self.connections[id].phase = Phase::Closing;
            self.flush(id);
        }
    }

    /// Closes the socket with a reset and without a word. [`Handler::closed`] is
    /// not called.
    pub(crate) fn abort(&mut self, id: Id) {
        if let Some(socket) = &self.connections[id].socket {
            let _ = socket.set_linger(Some(Duration::ZERO));
        }
        self.release(id);
    }

    /// Stops reading from `id`; the kernel's receive buffer is made small, so
    /// that the server notices soon.
    pub(crate) fn pause(&mut self, id: Id) {
        let connection = &mut self.connections[id];
        connection.paused = true;
        if let Some(socket) = &connection.socket {
            let _ = socket.set_recv_buffer_size(4096);
        }
        self.update_interest(id);
    }

    /// Reads from `id` again, with a receive buffer that lets it catch up.
    pub(crate) fn resume(&mut self, id: Id) {
        let connection = &mut self.connections[id];
        connection.paused = false;
        if let Some(socket) = &connection.socket {
            let _ = socket.set_recv_buffer_size(4 << 20);
        }
        self.update_interest(id);
    }

    /// Waits until something happens, at most `timeout`, and handles all of it.
    pub(crate) fn turn(&mut self, handler: &mut impl Handler, timeout: Duration) -> io::Result<()> {
        let timeout = Timespec {
            tv_sec: timeout.as_secs().cast_signed(),
            tv_nsec: timeout.subsec_nanos().into(),
        };
        let mut events = std::mem::take(&mut self.events);
        match epoll::wait(&self.epoll, spare_capacity(&mut events), Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        for event in events.drain(..) {
            let (id, flags) = (event.data.u64() as usize, event.flags);
            if flags.contains(epoll::EventFlags::OUT)
                && let Some(end) = self.writable(handler, id)
            {
                self.end(handler, id, end);
                continue;
            }
            let readable = epoll::EventFlags::IN | epoll::EventFlags::HUP | epoll::EventFlags::ERR;
            if flags.intersects(readable) {
                self.readable(handler, id, flags);
            }
        }
        self.events = events;
        Ok(())
    }

    fn writable(&mut self, handler: &mut impl Handler, id: Id) -> Option<End> {
        let connection = &mut self.connections[id];
        if connection.phase == Phase::Connecting {
            let error = connection.socket.as_ref()?.take_error();
            if let Ok(Some(error)) | Err(error) = error {
                return Some(End::Unreachable(error.to_string()));
            }
            connection.phase = Phase::Upgrading;
            if let Opening::Http(_) = connection.opening {
                connection.phase = Phase::Open;
                handler.opened(self, id);
            }
        }
        self.flush(id);
        None
    }

    fn readable(&mut self, handler: &mut impl Handler, id: Id, flags: epoll::EventFlags) {
        if self.connections[id].paused
            && !flags.intersects(epoll::EventFlags::HUP | epoll::EventFlags::ERR)
        {
            return;
        }
        let mut buffer = std::mem::take(&mut self.buffer);
        let end = self.read(handler, id, &mut buffer);
        self.buffer = buffer;
        if let Some(end) = end {
            self.end(handler, id, end);
        }
    }

    /// Reads once and hands on what is complete.
    fn read(&mut self, handler: &mut impl Handler, id: Id, buffer: &mut Vec<u8>) -> Option<End> {
        let connection = &mut self.connections[id];
        let socket = connection.socket.as_mut()?;
        let kept = connection.rest.len();
        if buffer.len() < connection.needs.max(kept) + READ_BYTES_MAX {
            buffer.resize(connection.needs.max(kept) + READ_BYTES_MAX, 0);
        }
        buffer[..kept].copy_from_slice(&connection.rest);
        let read = match socket.read(&mut buffer[kept..kept.max(connection.needs) + READ_BYTES_MAX])
        {
            Ok(0) => return Some(connection.end_of_stream()),
            Ok(read) => read,
            Err(error)
                if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) =>
            {
                return None;
            }
            Err(error) => return Some(connection.broken(error)),
        };
        connection.rest.clear();
        self.traffic.reads += 1;
        self.traffic.read_bytes += read as u64;
        self.read_at_ns = self.epoch.elapsed().as_nanos() as u64;
        let bytes = &buffer[..kept + read];
        let bytes = if connection.phase < Phase::Open {
            match connection.upgrade(bytes) {
                Ok(Some(head_bytes)) => {
                    handler.opened(self, id);
                    &bytes[head_bytes..]
                }
                Ok(None) => {
                    self.keep(id, bytes, 0);
                    return None;
                }
                Err(end) => return Some(end),
            }
        } else {
            bytes
        };
        match self.connections[id].opening {
            Opening::WebSocket(_) => self.frames(handler, id, bytes),
            Opening::Stream => self.events(handler, id, bytes),
            Opening::Http(_) => self.responses(handler, id, bytes),
        }
    }

    fn responses(&mut self, handler: &mut impl Handler, id: Id, bytes: &[u8]) -> Option<End> {
        let mut rest = bytes;
        while let Opening::Http(reader) = &mut self.connections[id].opening {
            let len = match reader.step(rest) {
                Step::Partial { needs } => {
                    self.keep(id, rest, needs);
                    break;
                }
                Step::Answer { status, body, len } => {
                    let body = &*body;
                    handler.response(self, id, Part::Answer { status, body });
                    len
                }
                Step::Stream { len } => {
                    handler.response(self, id, Part::Stream);
                    len
                }
                Step::Chunk { data, len } => {
                    handler.response(self, id, Part::Chunk(&rest[data]));
                    len
                }
                Step::End { len } => {
                    handler.response(self, id, Part::End);
                    len
                }
                Step::Invalid(problem) => return Some(End::Protocol(problem)),
            };
            rest = &rest[len..];
        }
        None
    }

    fn events(&mut self, handler: &mut impl Handler, id: Id, bytes: &[u8]) -> Option<End> {
        let mut rest = bytes;
        let mut messages = 0;
        handler.read_began(self, id);
        let end = loop {
            match stream::split(rest) {
                stream::Split::Event { body, len } => {
                    messages += 1;
                    handler.message(self, id, opcode::TEXT, &rest[body..len - 1]);
                    rest = &rest[len..];
                }
                stream::Split::Other { len } => rest = &rest[len..],
                stream::Split::Partial => {
                    // Twice as much each time: a long event is not searched too often.
                    self.keep(id, rest, 2 * rest.len());
                    break None;
                }
                stream::Split::Invalid(problem) => break Some(End::Protocol(problem)),
            }
        };
        self.traffic.messages += messages;
        handler.read_ended(self, id);
        end
    }

    fn frames(&mut self, handler: &mut impl Handler, id: Id, bytes: &[u8]) -> Option<End> {
        let mut rest = bytes;
        let mut messages = 0;
        handler.read_began(self, id);
        let end = loop {
            match frame::split(rest) {
                Split::Frame {
                    first,
                    head,
                    payload,
                } => {
                    let (frame, after) = rest.split_at(head + payload);
                    rest = after;
                    let op = first ^ FIN;
                    if matches!(op, opcode::TEXT | opcode::BINARY)
                        && !self.connections[id].is_fragmented()
                    {
                        messages += 1;
                        handler.message(self, id, op, &frame[head..]);
                    } else if let Some(end) = self.unusual_frame(handler, id, first, &frame[head..])
                    {
                        break Some(end);
                    }
                }
                Split::Partial { needs } => {
                    self.keep(id, rest, needs);
                    break None;
                }
                Split::Invalid(problem) => break Some(End::Protocol(problem)),
            }
        };
        self.traffic.messages += messages;
        handler.read_ended(self, id);
        end
    }

    /// Keeps the start of a frame or head for the next read.
    fn keep(&mut self, id: Id, rest: &[u8], needs: usize) {
        let connection = &mut self.connections[id];
        // The handler may have given the connection up meanwhile.
        if connection.socket.is_some() {
            connection.needs = needs;
            connection.rest.extend_from_slice(rest);
        }
    }

    /// Fragmented and control frames.
    fn unusual_frame(
        &mut self,
        handler: &mut impl Handler,
        id: Id,
        first: u8,
        payload: &[u8],
    ) -> Option<End> {
        match first & 0x0F {
            opcode::PING => {
                self.queue(id, opcode::PONG, |out| out.extend_from_slice(payload));
                self.flush(id);
            }
            opcode::PONG => {}
            opcode::CLOSE => {
                let closing = self.connections[id].phase == Phase::Closing;
                if !closing {
                    // The answer repeats the code (RFC 6455 section 5.5.1).
                    let code = payload.get(..2).unwrap_or_default();
                    self.queue(id, opcode::CLOSE, |out| out.extend_from_slice(code));
                    self.flush(id);
                }
                // The server is the one to close the connection (RFC 6455 section
                // 7.1.1), which also leaves TIME_WAIT and its port there.
                let connection = &mut self.connections[id];
                connection.phase = Phase::Closing;
                connection.close_frame = Some(End::closed(payload));
            }
            op => match self.connections[id].assemble(first & FIN != 0, op, payload) {
                Ok(None) => {}
                Ok(Some((op, message))) => {
                    self.traffic.messages += 1;
                    handler.message(self, id, op, &message);
                }
                Err(problem) => return Some(End::Protocol(problem)),
            },
        }
        None
    }

    fn end(&mut self, handler: &mut impl Handler, id: Id, end: End) {
        if self.connections[id].socket.is_some() {
            self.release(id);
            handler.closed(self, id, end);
        }
    }

    /// Gives up the socket; closing it also takes it out of epoll.
    fn release(&mut self, id: Id) {
        let connection = &mut self.connections[id];
        if connection.socket.is_some() {
            *connection = Connection::default();
            self.free.push(id);
        }
    }

    /// Asks epoll for what the connection waits for.
    fn update_interest(&mut self, id: Id) {
        let connection = &mut self.connections[id];
        let Some(socket) = &connection.socket else {
            return;
        };
        let wanted = connection.interest();
        if wanted != connection.interest_set {
            connection.interest_set = wanted;
            let data = epoll::EventData::new_u64(id as u64);
            // Fails only for sockets that are not registered, and this one is.
            let _ = epoll::modify(&self.epoll, socket.as_fd(), data, wanted);
        }
    }
}
