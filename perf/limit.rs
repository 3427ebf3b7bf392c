//! What this machine can do without any gateway: one thread that sends to many
//! loopback connections, and one that reads them.
//!
//! ```text
//! cargo run --release --example limit -- --connections 1000 --frame 256 --join 1,16,64,256
//! ```
//!
//! For each joining factor J the sender writes J frames at a time to one
//! connection after the other. A server that fans out has to do at least that,
//! so these are the figures to divide a gateway's by. Sender and receiver are
//! pinned to a core each; CPU time is that of the sending thread alone. The
//! sender never spins: it waits for room in a socket that is full, and finishes
//! partial writes before it goes on. Every connection's bytes are counted at the
//! other end and must match.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use clap::Parser;
use rustix::buffer::spare_capacity;
use rustix::event::{PollFd, PollFlags, epoll, poll};
use rustix::time::{ClockId, clock_gettime};
use serde::Serialize;

/// Bytes of one read.
const READ_BYTES: usize = 128 * 1024;

/// The bare-socket limit of this machine.
#[derive(Debug, Parser)]
struct Options {
    /// Loopback connections.
    #[arg(long, default_value_t = 1000)]
    connections: usize,

    /// Bytes of a frame, header included.
    #[arg(long, default_value_t = 256)]
    frame: usize,

    /// Frames per write, a list to try one after the other.
    #[arg(long, value_delimiter = ',', default_value = "1,16,64,256")]
    join: Vec<usize>,

    /// Seconds for each.
    #[arg(long, default_value_t = 3.0)]
    duration: f64,

    /// Core of the sender.
    #[arg(long, default_value_t = 0)]
    sender_core: usize,

    /// Core of the receiver.
    #[arg(long, default_value_t = 1)]
    receiver_core: usize,

    /// Print one JSON array instead of a table.
    #[arg(long)]
    json: bool,
}

/// One joining factor's figures.
#[derive(Debug, Serialize)]
struct Measured {
    connections: usize,
    frame_bytes: usize,
    join: usize,
    frames_per_second: f64,
    /// CPU nanoseconds of the sending thread.
    cpu_ns_per_frame: f64,
    cpu_ns_per_write: f64,
    cpu_share: f64,
    /// Times the sender waited for room.
    waits: u64,
    partial_writes: u64,
    verified: bool,
}

type Outcome<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

fn main() -> Outcome<()> {
    let options = Options::parse();
    let mut all = Vec::new();
    if !options.json {
        println!(
            "{:>6} {:>14} {:>12} {:>12} {:>6} {:>9} {:>8}",
            "join", "frames/s", "ns/frame", "ns/write", "cpu", "waits", "partial"
        );
    }
    for &join in &options.join {
        let measured = measure(&options, join)?;
        if !options.json {
            println!(
                "{:>6} {:>14.0} {:>12.1} {:>12.0} {:>5.0}% {:>9} {:>8}",
                join,
                measured.frames_per_second,
                measured.cpu_ns_per_frame,
                measured.cpu_ns_per_write,
                measured.cpu_share * 100.0,
                measured.waits,
                measured.partial_writes
            );
        }
        all.push(measured);
    }
    if options.json {
        println!("{}", serde_json::to_string_pretty(&all)?);
    }
    if all.iter().all(|measured| measured.verified) {
        Ok(())
    } else {
        Err("bytes received do not match bytes sent".into())
    }
}

fn measure(options: &Options, join: usize) -> Outcome<Measured> {
    let (senders, receivers) = connect(options.connections)?;
    let receiver_core = options.receiver_core;
    let receiving = thread::spawn(move || {
        pin(receiver_core)?;
        receive(receivers)
    });
    let (core, frame) = (options.sender_core, options.frame);
    let duration = Duration::from_secs_f64(options.duration);
    let sending = thread::spawn(move || {
        pin(core)?;
        send(senders, frame, join, duration)
    });
    let sent = sending.join().map_err(|_| "the sender panicked")??;
    let received = receiving.join().map_err(|_| "the receiver panicked")??;
    let writes = sent.measured_bytes / (frame * join) as u64;
    let frames = writes * join as u64;
    let wall_ns = sent.wall.as_nanos() as f64;
    let cpu_ns = sent.cpu.as_nanos() as f64;
    Ok(Measured {
        connections: options.connections,
        frame_bytes: frame,
        join,
        frames_per_second: frames as f64 * 1e9 / wall_ns,
        cpu_ns_per_frame: cpu_ns / frames as f64,
        cpu_ns_per_write: cpu_ns / writes as f64,
        cpu_share: cpu_ns / wall_ns,
        waits: sent.waits,
        partial_writes: sent.partial_writes,
        verified: sent.bytes == received,
    })
}

fn connect(connections: usize) -> Outcome<(Vec<TcpStream>, Vec<TcpStream>)> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let address = listener.local_addr()?;
    let mut senders = Vec::with_capacity(connections);
    let mut receivers = Vec::with_capacity(connections);
    for _ in 0..connections {
        let receiver = TcpStream::connect(address)?;
        let (sender, _) = listener.accept()?;
        sender.set_nodelay(true)?;
        sender.set_nonblocking(true)?;
        receiver.set_nonblocking(true)?;
        senders.push(sender);
        receivers.push(receiver);
    }
    Ok((senders, receivers))
}

#[derive(Debug)]
struct Sent {
    /// By connection.
    bytes: Vec<u64>,
    /// Of all connections, after the warm-up.
    measured_bytes: u64,
    wall: Duration,
    cpu: Duration,
    waits: u64,
    partial_writes: u64,
}

fn send(
    mut senders: Vec<TcpStream>,
    frame: usize,
    join: usize,
    duration: Duration,
) -> Outcome<Sent> {
    let batch = vec![b'x'; frame * join];
    let mut sent = Sent {
        bytes: vec![0; senders.len()],
        measured_bytes: 0,
        wall: Duration::ZERO,
        cpu: Duration::ZERO,
        waits: 0,
        partial_writes: 0,
    };
    // Buffers grow to their size and caches fill before it counts.
    let warm_until = Instant::now() + duration / 5;
    while Instant::now() < warm_until {
        send_round(&mut senders, &batch, &mut sent)?;
    }
    let warm: u64 = sent.bytes.iter().sum();
    (sent.waits, sent.partial_writes) = (0, 0);
    let (began, cpu_began) = (Instant::now(), thread_cpu());
    while began.elapsed() < duration {
        send_round(&mut senders, &batch, &mut sent)?;
    }
    (sent.wall, sent.cpu) = (began.elapsed(), thread_cpu() - cpu_began);
    sent.measured_bytes = sent.bytes.iter().sum::<u64>() - warm;
    Ok(sent)
}

/// Writes the batch to every connection once.
fn send_round(senders: &mut [TcpStream], batch: &[u8], sent: &mut Sent) -> Outcome<()> {
    for (sender, bytes) in senders.iter_mut().zip(&mut sent.bytes) {
        let mut rest = batch;
        while !rest.is_empty() {
            match sender.write(rest) {
                Ok(written) => {
                    rest = &rest[written..];
                    sent.partial_writes += u64::from(!rest.is_empty());
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    sent.waits += 1;
                    poll(&mut [PollFd::new(sender, PollFlags::OUT)], None)?;
                }
                Err(error) => return Err(error.into()),
            }
        }
        *bytes += batch.len() as u64;
    }
    Ok(())
}

/// Reads everything until all connections end; returns the bytes of each.
fn receive(mut receivers: Vec<TcpStream>) -> Outcome<Vec<u64>> {
    let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    for (number, receiver) in receivers.iter().enumerate() {
        let data = epoll::EventData::new_u64(number as u64);
        epoll::add(&epoll, receiver, data, epoll::EventFlags::IN)?;
    }
    let mut bytes = vec![0; receivers.len()];
    let mut open = receivers.len();
    let mut buffer = vec![0; READ_BYTES];
    let mut events = Vec::with_capacity(1024);
    while open > 0 {
        epoll::wait(&epoll, spare_capacity(&mut events), None)?;
        for event in events.drain(..) {
            let number = event.data.u64() as usize;
            match receivers[number].read(&mut buffer) {
                Ok(0) => {
                    epoll::delete(&epoll, &receivers[number])?;
                    open -= 1;
                }
                Ok(read) => bytes[number] += read as u64,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
    Ok(bytes)
}

/// CPU time of this thread.
fn thread_cpu() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.cast_unsigned(), time.tv_nsec as u32)
}

fn pin(core: usize) -> Outcome<()> {
    let mut cores = rustix::thread::CpuSet::new();
    cores.set(core);
    rustix::thread::sched_setaffinity(None, &cores)
        .map_err(|error| format!("core {core}: {error}").into())
}
