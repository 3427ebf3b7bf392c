//! The side that connects.

use std::io::Write;
use std::net::{SocketAddr, TcpStream};

use hdrhistogram::Histogram;
use rustix::event::epoll::EventFlags;
use rustix::io::Errno;
use slab::Slab;
use socket2::{Domain, Protocol, Socket, Type};

use super::{CLIENT_CLOSE, SERVER_CLOSE};
use crate::Outcome;
use crate::report::new_histogram;
use crate::sockets::{Arrived, GENERATOR_READ_BYTES, Poller, read};
use crate::window::{Phase, Shared};

pub(super) struct Visited {
    pub(super) greeted: u64,
    /// Connections that were told something else than was due.
    pub(super) wrong: u64,
    /// From the SYN to the greeting, of the measured time.
    pub(super) latency: Histogram<u64>,
}

struct Visit {
    socket: TcpStream,
    began_ns: u64,
    /// Bytes so far.
    read: usize,
    /// Whether the request has gone out.
    asked: bool,
}

/// Visits until the run stops, and ends all visits.
pub(super) fn visit(
    address: SocketAddr,
    concurrency: usize,
    request: &[u8],
    response: &[u8],
    shared: &Shared,
) -> Outcome<Visited> {
    let poller = Poller::new()?;
    let due = [response, SERVER_CLOSE].concat();
    let mut visits: Slab<Visit> = Slab::with_capacity(concurrency);
    let mut visited = Visited {
        greeted: 0,
        wrong: 0,
        latency: new_histogram(),
    };
    let mut buffer = vec![0; GENERATOR_READ_BYTES];
    let mut events = Vec::new();
    loop {
        while visits.len() < concurrency && !shared.has_reached(Phase::Stopping) {
            let began_ns = shared.now_ns();
            let socket = connect(address)?;
            let place = visits.vacant_entry();
            let both = EventFlags::IN | EventFlags::OUT;
            poller.add(&socket, place.key() as u64, both)?;
            place.insert(Visit {
                socket,
                began_ns,
                read: 0,
                asked: false,
            });
        }
        if visits.is_empty() {
            return Ok(visited);
        }
        poller.wait(&mut events, None)?;
        for event in &events {
            let key = event.data.u64();
            let visit = &mut visits[key as usize];
            if !visit.asked {
                if let Some(error) = visit.socket.take_error()? {
                    return Err(format!("cannot connect: {error}").into());
                }
                visit.socket.write_all(request)?;
                visit.asked = true;
                poller.modify(&visit.socket, key, EventFlags::IN)?;
                continue;
            }
            match read(&visit.socket, &mut buffer)? {
                Arrived::Bytes(count) => {
                    let now_ns = shared.now_ns();
                    let (from, to) = (visit.read, visit.read + count);
                    visit.read = to;
                    visited.wrong += u64::from(due.get(from..to) != Some(&buffer[..count]));
                    if from < response.len() && to >= response.len() {
                        visited.greeted += 1;
                        shared.add(1);
                        if shared.is_measuring() {
                            let took_ns = now_ns - visit.began_ns;
                            visited.latency.saturating_record(took_ns.max(1));
                        }
                        visit.socket.write_all(CLIENT_CLOSE)?;
                    }
                }
                Arrived::Nothing => {}
                Arrived::End => {
                    let visit = visits.remove(key as usize);
                    visited.wrong += u64::from(visit.read != due.len());
                }
            }
        }
    }
}

/// Starts to connect, as loadgen does.
fn connect(address: SocketAddr) -> Outcome<TcpStream> {
    let (domain, kind) = (Domain::for_address(address), Type::STREAM.nonblocking());
    let socket = Socket::new(domain, kind, Some(Protocol::TCP))?;
    socket.set_tcp_nodelay(true)?;
    match socket.connect(&address.into()) {
        Ok(()) => {}
        Err(error) if error.raw_os_error() == Some(Errno::INPROGRESS.raw_os_error()) => {}
        Err(error) => return Err(error.into()),
    }
    Ok(socket.into())
}
