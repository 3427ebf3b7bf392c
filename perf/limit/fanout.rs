//! Joined frames to many connections: what a fan-out costs at least.
//!
//! For each joining factor J the server writes J frames at a time to one connection
//! after the other. It never spins: it waits for room in a socket that is full, and
//! finishes partial writes before it goes on. Every connection's bytes are counted at
//! the other end and must match.
//!
//! With a reader that takes its time (`--work`) sockets are full, as behind real networks.
//! A server then has to come back to each, so writes go on wherever there is room
//! instead of waiting for one connection.

use std::net::TcpStream;
use std::num::NonZeroUsize;
use std::time::{Duration, Instant};

use clap::Args;

use crate::report::{Measured, Writes};
use crate::rounds::{Readers, Rounds, Slowest};
use crate::sockets::{Full, limit_send_buffer, pairs, read_to_end};
use crate::window::{self, Phase, Shared};
use crate::{Common, Outcome};

#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Loopback connections.
    #[arg(long, default_value_t = 1000)]
    connections: usize,

    /// Bytes of a frame, header included.
    #[arg(long, default_value_t = 256)]
    frame: usize,

    /// Frames per write, a list to try one after the other.
    #[arg(long, value_delimiter = ',', default_value = "1,16,64,256")]
    join: Vec<usize>,

    /// Bytes of each send buffer, as `server.send_buffer` sets them [default: the kernel's own]
    #[arg(long, value_name = "BYTES")]
    send_buffer: Option<usize>,

    /// Batches on the way to each connection at most, where readers are slow: as with a publisher that waits for the
    /// slowest reader
    #[arg(long, default_value = "4")]
    window: NonZeroUsize,

    /// Nanoseconds that the reader is busy with each frame: it is slower than the server, and sockets are full.
    #[arg(long, default_value_t = 0, value_name = "NS")]
    work: u64,
}

/// Measures one joining factor after the other.
pub(crate) fn run(options: &Options, common: &Common) -> Outcome<Vec<Measured>> {
    let joins = options.join.iter();
    joins.map(|&join| measure(options, join, common)).collect()
}

fn measure(options: &Options, join: usize, common: &Common) -> Outcome<Measured> {
    let (senders, receivers) = pairs(options.connections)?;
    if let Some(bytes) = options.send_buffer {
        limit_send_buffer(&senders, bytes)?;
    }
    let shared = Shared::new();
    let slowest = Slowest::new()?;
    let batch_bytes = options.frame * join;
    let bytes = vec![b'x'; batch_bytes * options.window.get()];
    let (sent, received, window) = window::run(
        common,
        &shared,
        || match options.work {
            0 => send(senders, &bytes[..batch_bytes], join as u64, &shared),
            _ => {
                let rounds = Rounds::new(senders, &bytes, batch_bytes, &slowest)?;
                send_where_room_is(rounds, options.frame, &shared)
            }
        },
        || receive(receivers, options, batch_bytes as u64, &slowest),
    )?;
    let mut measured = Measured::new("fanout", "deliveries", window);
    measured.connections = options.connections;
    measured.wire_bytes_per_message = options.frame;
    measured.messages_per_read = Some(received.per_read(options.frame));
    measured.writes = Some(Writes {
        join,
        cpu_ns_per_write: measured.cpu_ns() * join as f64,
        waits: sent.full.waits,
        partial_writes: sent.full.partial_writes,
    });
    let what = "bytes received do not match bytes sent";
    measured.must_match(what, &sent.bytes, &received.bytes);
    Ok(measured)
}

struct Sent {
    /// By connection.
    bytes: Vec<u64>,
    /// After the warm-up.
    full: Full,
}

fn send(mut senders: Vec<TcpStream>, batch: &[u8], frames: u64, shared: &Shared) -> Outcome<Sent> {
    let mut bytes = vec![0; senders.len()];
    let mut warm = Full::default();
    let mut full = Full::default();
    while !shared.has_reached(Phase::Stopping) {
        let full = if shared.is_measuring() {
            &mut full
        } else {
            &mut warm
        };
        for (sender, bytes) in senders.iter_mut().zip(&mut bytes) {
            full.write(sender, batch)?;
            *bytes += batch.len() as u64;
            shared.add(frames);
        }
    }
    Ok(Sent { bytes, full })
}

struct Received {
    /// By connection.
    bytes: Vec<u64>,
    reads: u64,
}

impl Received {
    fn per_read(&self, frame: usize) -> f64 {
        let frames = self.bytes.iter().sum::<u64>() / frame as u64;
        frames as f64 / self.reads.max(1) as f64
    }
}

/// As [`send`], without waiting for one connection while others have room.
fn send_where_room_is(mut rounds: Rounds<'_>, frame: usize, shared: &Shared) -> Outcome<Sent> {
    let mut warm = None;
    while !shared.has_reached(Phase::Stopping) {
        if warm.is_none() && shared.is_measuring() {
            warm = Some(rounds.full);
        }
        let before = rounds.sent();
        rounds.write()?;
        shared.add(rounds.sent() / frame as u64 - before / frame as u64);
    }
    let full = rounds.full.since(warm.unwrap_or_default());
    let bytes = rounds.finish()?;
    Ok(Sent { bytes, full })
}

/// Reads everything until all connections end.
fn receive(
    receivers: Vec<TcpStream>,
    options: &Options,
    batch_bytes: u64,
    slowest: &Slowest,
) -> Outcome<Received> {
    let mut readers = match options.work {
        0 => None,
        _ => Some(Readers::new(slowest, receivers.len(), options.window)),
    };
    let work = Duration::from_nanos(options.work);
    let mut received = Received {
        bytes: vec![0; receivers.len()],
        reads: 0,
    };
    read_to_end(receivers, |number, bytes| {
        let before = received.bytes[number];
        let after = before + bytes.len() as u64;
        received.bytes[number] = after;
        received.reads += 1;
        let frames = (bytes.len() / options.frame) as u32;
        let until = Instant::now() + work * frames;
        while Instant::now() < until {
            std::hint::spin_loop();
        }
        match &mut readers {
            Some(readers) => readers.note(before / batch_bytes, after / batch_bytes),
            None => Ok(()),
        }
    })?;
    Ok(received)
}
