//! The fast client: many WebSocket, SSE and HTTP connections on one thread.
//!
//! Level-triggered epoll, one read per readiness event into one large buffer that
//! stays in the cache, unless a connection is eager; frames and events are handed on in place. Bytes are copied only
//! when a read ends inside a frame. With TLS, ciphertext is read into a buffer of its own and
//! opened into the large one. A scenario implements [`Handler`] and calls
//! [`Net::turn`] in its loop.

mod connection;
mod end;
pub(crate) mod handshake;
mod stream;
mod tls;

use std::io::{self, ErrorKind, Read};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, SocketAddrV4};
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};
use socket2::{Domain, Protocol, Socket, Type};

pub(crate) use connection::Id;
use connection::{Connection, ConnectionKind, ConnectionPhase};
pub(crate) use end::End;
pub(crate) use handshake::Target;
pub(crate) use stream::Stream;
use tls::HELD_BYTES_MAX;
pub(crate) use tls::{TlsParameters, TlsSettings, Trust};

use crate::frame::{self, FIN, FrameSplit, opcode};
use crate::http::{ResponseReader, ResponseSplit};
use crate::payload::Random;
use crate::sse;

/// Bytes of one read at most. Larger ones save no system calls that matter and
/// push the parsed bytes out of the L2 cache.
const READ_BYTES_MAX: usize = 128 * 1024;

/// Reads in a row of an eager connection, while there is more.
const EAGER_READS_MAX: usize = 64;

/// Readiness events taken per turn.
const EVENTS_MAX: usize = 1024;

/// What a scenario does when something happens on a connection. Every method
/// may write to any connection, open and close.
pub(crate) trait Handler {
    /// The upgrade was accepted, the event stream has begun, or the HTTP connection
    /// is open for requests.
    fn opened(&mut self, net: &mut Net, id: Id);

    /// Bytes were read; the messages in them follow.
    fn read_began(&mut self, _net: &mut Net, _id: Id) {}

    /// One whole data message, or a Server-Sent Event without its id as text.
    fn message(&mut self, net: &mut Net, id: Id, op: u8, payload: &[u8]);

    /// A part of a response on an HTTP connection.
    fn response(&mut self, _net: &mut Net, _id: Id, _part: ResponsePart<'_>) {}

    /// All whole messages of the read were handed on.
    fn read_ended(&mut self, _net: &mut Net, _id: Id) {}

    /// The connection is gone; `id` may be used again from here on.
    fn closed(&mut self, net: &mut Net, id: Id, end: End);
}

/// A part of a response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ResponsePart<'a> {
    /// A whole response that is no event stream.
    Answer { status: u16, body: &'a [u8] },
    /// An event stream begins.
    Stream,
    /// The bytes of one chunk.
    Chunk(&'a [u8]),
    /// The stream ends.
    End,
}

/// Totals over all sockets.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Traffic {
    pub(crate) reads: u64,
    /// As the sockets brought them: sealed, with TLS.
    pub(crate) read_bytes: u64,
    /// Data messages received.
    pub(crate) messages: u64,
    /// Frames queued, and their bytes, mask included.
    pub(crate) sent_messages: u64,
    pub(crate) sent_bytes: u64,
    /// TLS handshakes, and those of them that resumed a session.
    pub(crate) handshakes: u64,
    pub(crate) resumed: u64,
    /// Of the last handshake.
    pub(crate) tls: Option<TlsParameters>,
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
    /// For one read of a TLS connection.
    ciphertext: Vec<u8>,
    /// Whether the last read filled the buffer, on an eager connection.
    has_more: bool,
    epoch: Instant,
    read_at_ns: u64,
    traffic: Traffic,
    pub(crate) random: Random,
}

impl Net {
    /// No connections yet. Their source addresses will be 127.0.0.1 to
    /// 127.0.0.`source_addresses`, or the system's choice if that is 1.
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
            ciphertext: Vec::new(),
            has_more: false,
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

    /// When the bytes now handed on were read.
    pub(crate) fn read_at_ns(&self) -> u64 {
        self.read_at_ns
    }

    pub(crate) fn traffic(&self) -> Traffic {
        self.traffic
    }

    /// Counts the messages of a frame beyond its first.
    pub(crate) fn count_more_messages(&mut self, more: u64) {
        self.traffic.messages += more;
    }

    /// Starts to connect. [`Handler::opened`] or [`Handler::closed`] follows.
    pub(crate) fn open(&mut self) -> io::Result<Id> {
        let key = handshake::key();
        let request = self.target.request(&key);
        self.start(request, ConnectionKind::WebSocket(key))
    }

    /// As [`Self::open`], on this path.
    pub(crate) fn open_on(&mut self, path: &str) -> io::Result<Id> {
        let key = handshake::key();
        let request = self.target.request_on(path, &key);
        self.start(request, ConnectionKind::WebSocket(key))
    }

    /// As [`Self::open`], at a target of the same server ([`Target::at`]).
    pub(crate) fn open_to(&mut self, target: &Target) -> io::Result<Id> {
        let key = handshake::key();
        self.start(target.request(&key), ConnectionKind::WebSocket(key))
    }

    /// As [`Self::open`], with `name=value` added to the query.
    pub(crate) fn open_with(&mut self, parameter: &str) -> io::Result<Id> {
        let mut target = self.target.clone();
        target.add_parameter(parameter);
        self.open_to(&target)
    }

    /// As [`Self::open`], for requests, of which [`Target::post`] makes the heads.
    pub(crate) fn open_http(&mut self) -> io::Result<Id> {
        self.start(Vec::new(), ConnectionKind::Http(ResponseReader::default()))
    }

    /// As [`Self::open`], for an event stream of these topics.
    pub(crate) fn open_stream<'a>(
        &mut self,
        topics: impl Iterator<Item = &'a str>,
    ) -> io::Result<Id> {
        let request = self.target.stream_request(topics, None);
        self.start(request, ConnectionKind::EventStream)
    }

    fn start(&mut self, request: Vec<u8>, kind: ConnectionKind) -> io::Result<Id> {
        let stream = self.connect()?;
        let tls = match &self.target.tls {
            Some(tls) => Some(tls.session()?),
            None => None,
        };
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
        self.connections[id].start(stream, tls, request, kind);
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

    /// Queues a masked frame on `id`. [`Self::flush`] sends it.
    pub(crate) fn queue(&mut self, id: Id, op: u8, write: impl FnOnce(&mut Vec<u8>)) {
        let mask = self.random.mask();
        let out = &mut self.connections[id].out;
        let before = out.len();
        frame::encode(out, op, mask, write);
        self.traffic.sent_messages += 1;
        self.traffic.sent_bytes += (out.len() - before) as u64;
    }

    /// Queues the bytes of a request on `id`.
    pub(crate) fn queue_request(&mut self, id: Id, write: impl FnOnce(&mut Vec<u8>)) {
        write(&mut self.connections[id].out);
    }

    /// Queues a request with a JSON body, which may be empty, on `id`.
    pub(crate) fn queue_json(&mut self, id: Id, method: &str, path: &str, body: &[u8]) {
        let head = self.target.json_request(method, path, body.len());
        self.queue_request(id, |out| {
            out.extend_from_slice(&head);
            out.extend_from_slice(body);
        });
        self.traffic.sent_messages += 1;
        self.traffic.sent_bytes += (head.len() + body.len()) as u64;
    }

    /// Whether `id` takes no more requests: the server closes it after its last response.
    pub(crate) fn is_last(&self, id: Id) -> bool {
        matches!(&self.connections[id].kind, ConnectionKind::Http(reader) if reader.is_last())
    }

    /// Bytes queued on `id` and not sent yet.
    pub(crate) fn queued_bytes(&self, id: Id) -> usize {
        self.connections[id].queued_bytes()
    }

    /// Writes what is queued on `id`; the rest follows when the socket is writable.
    pub(crate) fn flush(&mut self, id: Id) {
        // The read after a failed write fails, too, with a better reason.
        if self.connections[id].flush().is_ok() {
            self.update_interest(id);
        }
    }

    /// Starts the closing handshake (RFC 6455 section 7.1.2); shuts down the write side
    /// of an event stream or HTTP connection.
    pub(crate) fn close(&mut self, id: Id, code: u16) {
        if !self.connections[id].is_websocket() {
            self.connections[id].close_tls();
            if let Some(socket) = &self.connections[id].socket {
                // Fails where the server closed first.
                let _ = socket.shutdown(Shutdown::Write);
            }
        } else if self.connections[id].phase == ConnectionPhase::Open {
            self.queue(id, opcode::CLOSE, |out| {
                out.extend_from_slice(&code.to_be_bytes());
            });
            self.connections[id].phase = ConnectionPhase::Closing;
            self.flush(id);
        }
    }

    /// Closes the socket with a reset, without a close frame. [`Handler::closed`] is
    /// not called.
    pub(crate) fn abort(&mut self, id: Id) {
        if let Some(socket) = &self.connections[id].socket {
            let _ = socket.set_linger(Some(Duration::ZERO));
        }
        self.release(id);
    }

    /// Reads from `id` until there is no more when it is readable, not once: one connection among
    /// many that others send as much to as to all of them. Without TLS.
    pub(crate) fn set_eager(&mut self, id: Id) {
        self.connections[id].eager = true;
    }

    /// Stops reading from `id`, with a small receive buffer: the server notices soon.
    pub(crate) fn pause(&mut self, id: Id) {
        let connection = &mut self.connections[id];
        connection.paused = true;
        if let Some(socket) = &connection.socket {
            let _ = socket.set_recv_buffer_size(4096);
        }
        self.update_interest(id);
    }

    /// Reads from `id` again, with a large receive buffer to catch up.
    pub(crate) fn resume(&mut self, id: Id) {
        let connection = &mut self.connections[id];
        connection.paused = false;
        if let Some(socket) = &connection.socket {
            let _ = socket.set_recv_buffer_size(4 << 20);
        }
        self.update_interest(id);
    }

    /// Waits for readiness events, at most `timeout`, and handles them.
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
        if connection.phase == ConnectionPhase::Connecting {
            let error = connection.socket.as_ref()?.take_error();
            if let Ok(Some(error)) | Err(error) = error {
                return Some(End::Unreachable(error.to_string()));
            }
            if connection.tls.is_some() {
                connection.phase = ConnectionPhase::Securing;
            } else {
                self.connected(handler, id);
            }
        }
        self.flush(id);
        None
    }

    /// The connection takes its request.
    fn connected(&mut self, handler: &mut impl Handler, id: Id) {
        let connection = &mut self.connections[id];
        connection.phase = ConnectionPhase::Upgrading;
        if let ConnectionKind::Http(_) = connection.kind {
            connection.phase = ConnectionPhase::Open;
            handler.opened(self, id);
        }
    }

    /// Sends what a read of TLS called for and, at the end of the handshake, the request.
    fn answer_tls(&mut self, handler: &mut impl Handler, id: Id) {
        let connection = &mut self.connections[id];
        if connection.phase == ConnectionPhase::Securing
            && let Some((is_resumed, parameters)) =
                connection.tls.as_ref().and_then(|tls| tls.parameters())
        {
            self.traffic.handshakes += 1;
            self.traffic.resumed += u64::from(is_resumed);
            self.traffic.tls = Some(parameters);
            self.connected(handler, id);
        }
        self.flush(id);
    }

    fn readable(&mut self, handler: &mut impl Handler, id: Id, flags: epoll::EventFlags) {
        if self.connections[id].paused
            && !flags.intersects(epoll::EventFlags::HUP | epoll::EventFlags::ERR)
        {
            return;
        }
        let mut buffer = std::mem::take(&mut self.buffer);
        let mut end = self.read(handler, id, &mut buffer);
        let mut reads = 1;
        while self.has_more && end.is_none() && reads < EAGER_READS_MAX {
            end = self.read(handler, id, &mut buffer);
            reads += 1;
        }
        self.buffer = buffer;
        if let Some(end) = end {
            self.end(handler, id, end);
        }
    }

    /// Reads once and hands on all complete frames, events or response parts.
    fn read(&mut self, handler: &mut impl Handler, id: Id, buffer: &mut Vec<u8>) -> Option<End> {
        self.has_more = false;
        let connection = &mut self.connections[id];
        let socket = connection.socket.as_mut()?;
        let kept = connection.rest.len();
        if buffer.len() < connection.needs.max(kept) + READ_BYTES_MAX {
            buffer.resize(connection.needs.max(kept) + READ_BYTES_MAX, 0);
        }
        buffer[..kept].copy_from_slice(&connection.rest);
        let room = kept..kept.max(connection.needs) + READ_BYTES_MAX;
        if connection.tls.is_some() {
            return self.read_tls(handler, id, &mut buffer[..room.end], kept);
        }
        let room_bytes = room.len();
        let read = match socket.read(&mut buffer[room]) {
            Ok(0) => return Some(connection.end_of_stream()),
            Ok(read) => read,
            Err(error)
                if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) =>
            {
                return None;
            }
            Err(error) => return Some(connection.broken(error)),
        };
        self.has_more = read == room_bytes && connection.eager;
        self.count_read(read);
        self.hand_on(handler, id, &buffer[..kept + read])
    }

    fn count_read(&mut self, bytes: usize) {
        self.traffic.reads += 1;
        self.traffic.read_bytes += bytes as u64;
        self.read_at_ns = self.epoch.elapsed().as_nanos() as u64;
    }

    /// Reads once, and hands on what that adds to the `kept` bytes at the front of `buffer`.
    fn read_tls(
        &mut self,
        handler: &mut impl Handler,
        id: Id,
        buffer: &mut [u8],
        kept: usize,
    ) -> Option<End> {
        let connection = &mut self.connections[id];
        let (socket, tls) = (connection.socket.as_mut()?, connection.tls.as_mut()?);
        let room = &mut buffer[kept..];
        let ciphertext_bytes = room.len() - HELD_BYTES_MAX;
        if self.ciphertext.len() < ciphertext_bytes {
            self.ciphertext.resize(ciphertext_bytes, 0);
        }
        let read = match tls.read(socket, &mut self.ciphertext[..ciphertext_bytes], room) {
            Ok(read) => read,
            Err(error)
                if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) =>
            {
                return None;
            }
            Err(error) => return Some(connection.broken(error)),
        };
        let is_over = connection.phase == ConnectionPhase::Securing && !tls.is_handshaking();
        let has_answer = is_over || tls.wants_write();
        self.count_read(read.wire_bytes);
        if has_answer {
            self.answer_tls(handler, id);
        }
        if read.plain_bytes > 0
            && let Some(end) = self.hand_on(handler, id, &buffer[..kept + read.plain_bytes])
        {
            return Some(end);
        }
        read.end.map(|end| self.connections[id].tls_end(end))
    }

    /// Hands on all that is complete in `bytes`, of which the front was kept before, and keeps the
    /// rest.
    fn hand_on(&mut self, handler: &mut impl Handler, id: Id, bytes: &[u8]) -> Option<End> {
        let connection = &mut self.connections[id];
        connection.rest.clear();
        let bytes = if connection.phase < ConnectionPhase::Open {
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
        match self.connections[id].kind {
            ConnectionKind::WebSocket(_) => self.frames(handler, id, bytes),
            ConnectionKind::EventStream => self.events(handler, id, bytes),
            ConnectionKind::Http(_) => self.responses(handler, id, bytes),
        }
    }

    fn responses(&mut self, handler: &mut impl Handler, id: Id, bytes: &[u8]) -> Option<End> {
        let mut rest = bytes;
        while let ConnectionKind::Http(reader) = &mut self.connections[id].kind {
            let len = match reader.split(rest) {
                ResponseSplit::Partial { needs } => {
                    self.keep(id, rest, needs);
                    break;
                }
                ResponseSplit::Answer { status, body, len } => {
                    let body = &*body;
                    handler.response(self, id, ResponsePart::Answer { status, body });
                    len
                }
                ResponseSplit::Stream { len } => {
                    handler.response(self, id, ResponsePart::Stream);
                    len
                }
                ResponseSplit::Chunk { data, len } => {
                    handler.response(self, id, ResponsePart::Chunk(&rest[data]));
                    len
                }
                ResponseSplit::End { len } => {
                    handler.response(self, id, ResponsePart::End);
                    len
                }
                ResponseSplit::Invalid(problem) => return Some(End::Protocol(problem)),
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
            match sse::split(rest) {
                sse::EventSplit::Event { body, len } => {
                    messages += 1;
                    handler.message(self, id, opcode::TEXT, &rest[body..len - 1]);
                    rest = &rest[len..];
                }
                sse::EventSplit::Other { len } => rest = &rest[len..],
                sse::EventSplit::Partial => {
                    // Doubles each time, so that a long event is searched a few times only.
                    self.keep(id, rest, 2 * rest.len());
                    break None;
                }
                sse::EventSplit::Invalid(problem) => break Some(End::Protocol(problem)),
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
                FrameSplit::Frame {
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
                FrameSplit::Partial { needs } => {
                    self.keep(id, rest, needs);
                    break None;
                }
                FrameSplit::Invalid(problem) => break Some(End::Protocol(problem)),
            }
        };
        self.traffic.messages += messages;
        handler.read_ended(self, id);
        end
    }

    /// Keeps an incomplete frame, event or head for the next read.
    fn keep(&mut self, id: Id, rest: &[u8], needs: usize) {
        let connection = &mut self.connections[id];
        // The handler may have aborted the connection.
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
                let closing = self.connections[id].phase == ConnectionPhase::Closing;
                if !closing {
                    // The reply echoes the code (RFC 6455 section 5.5.1).
                    let code = payload.get(..2).unwrap_or_default();
                    self.queue(id, opcode::CLOSE, |out| out.extend_from_slice(code));
                    self.flush(id);
                }
                // The server closes the connection first (RFC 6455 section 7.1.1), and
                // so keeps its TIME_WAIT.
                let connection = &mut self.connections[id];
                connection.phase = ConnectionPhase::Closing;
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
            self.connections[id].close_tls();
            self.release(id);
            handler.closed(self, id, end);
        }
    }

    /// Closes the socket, which also removes it from epoll.
    fn release(&mut self, id: Id) {
        let connection = &mut self.connections[id];
        if connection.socket.is_some() {
            *connection = Connection::default();
            self.free.push(id);
        }
    }

    /// Registers the connection's interest with epoll.
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
