//! One frame to every connection, on a schedule: the least latency that a fan-out can
//! have.
//!
//! Latency is from the time a message was *due* to the read that brought it, as with
//! `loadgen fanout --rate`: what waits because the sender or the receiver is late
//! counts in full. A sender that is late joins what is due, and so catches up. Of a
//! gateway's way only the last part is here; nobody publishes.

use std::net::TcpStream;
use std::time::Duration;

use clap::Args;
use hdrhistogram::Histogram;
use rustix::thread::nanosleep;
use rustix::time::Timespec;

use crate::cycle::Cycle;
use crate::report::{Latency, Measured, new_histogram};
use crate::sockets::{Full, pairs, read_to_end};
use crate::window::{self, Phase, Shared};
use crate::{Common, Outcome};

/// When the first message is due: the threads have started by then.
const START_NS: u64 = 50_000_000;

/// Messages of one write to a connection at most.
const JOIN_MAX: u64 = 64;

#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Loopback connections.
    #[arg(long, default_value_t = 200)]
    connections: usize,

    /// Bytes of a frame, header included.
    #[arg(long, default_value_t = 256)]
    frame: usize,

    /// Messages a second, each to every connection.
    #[arg(long, default_value_t = 1000.0)]
    rate: f64,
}

/// Measures one rate.
pub(crate) fn run(options: &Options, common: &Common) -> Outcome<Measured> {
    let (senders, receivers) = pairs(options.connections)?;
    let shared = Shared::new();
    let schedule = Schedule {
        interval_ns: 1e9 / options.rate,
    };
    let cycle = Cycle::new(options.frame);
    let (sent, received, window) = window::run(
        common,
        &shared,
        || send(senders, options.frame, &cycle, &schedule, &shared),
        || receive(receivers, &cycle, &schedule, &shared),
    )?;
    let mut measured = Measured::new("paced", "deliveries", window);
    measured.connections = options.connections;
    measured.wire_bytes_per_message = options.frame;
    measured.messages_per_read = Some(received.frames as f64 / received.reads.max(1) as f64);
    measured.latency_us = Latency::of(&received.latency);
    let sent = vec![sent * options.frame as u64; options.connections];
    let what = "bytes received do not match bytes sent";
    measured.must_match(what, &sent, &received.bytes);
    measured.must_match("bytes were changed", &0, &received.wrong);
    Ok(measured)
}

/// When messages are due.
struct Schedule {
    interval_ns: f64,
}

impl Schedule {
    fn due_ns(&self, message: u64) -> u64 {
        START_NS + (message as f64 * self.interval_ns) as u64
    }
}

/// Sends what is due; returns the number of messages.
fn send(
    mut senders: Vec<TcpStream>,
    frame: usize,
    cycle: &Cycle,
    schedule: &Schedule,
    shared: &Shared,
) -> Outcome<u64> {
    let mut sent = 0;
    let batch = cycle.from(0, frame as u64).repeat(JOIN_MAX as usize);
    let mut full = Full::default();
    while !shared.has_reached(Phase::Stopping) {
        let early_ns = schedule.due_ns(sent).saturating_sub(shared.now_ns());
        if early_ns > 0 {
            let early = Duration::from_nanos(early_ns);
            // Cut short by a signal, the loop sleeps for the rest.
            let _ = nanosleep(&Timespec {
                tv_sec: early.as_secs().cast_signed(),
                tv_nsec: early.subsec_nanos().into(),
            });
            continue;
        }
        let now_ns = shared.now_ns();
        let frames = (1..JOIN_MAX).find(|&more| schedule.due_ns(sent + more) > now_ns);
        let frames = frames.unwrap_or(JOIN_MAX);
        let batch = &batch[..frame * frames as usize];
        for sender in &mut senders {
            full.write(sender, batch)?;
        }
        sent += frames;
        shared.add(frames * senders.len() as u64);
    }
    Ok(sent)
}

struct Received {
    /// By connection.
    bytes: Vec<u64>,
    frames: u64,
    reads: u64,
    /// Reads that brought other bytes than were sent.
    wrong: u64,
    /// Of the measured time.
    latency: Histogram<u64>,
}

/// Reads everything until all connections end.
fn receive(
    receivers: Vec<TcpStream>,
    cycle: &Cycle,
    schedule: &Schedule,
    shared: &Shared,
) -> Outcome<Received> {
    let mut received = Received {
        bytes: vec![0; receivers.len()],
        frames: 0,
        reads: 0,
        wrong: 0,
        latency: new_histogram(),
    };
    read_to_end(receivers, |number, bytes| {
        let now_ns = shared.now_ns();
        let from = received.bytes[number];
        let to = from + bytes.len() as u64;
        received.bytes[number] = to;
        received.reads += 1;
        received.wrong += u64::from(!cycle.matches(from, bytes));
        let (first, frames) = (cycle.ends(0, from), cycle.ends(from, to));
        received.frames += frames;
        for message in (first..first + frames).filter(|_| shared.is_measuring()) {
            let late_ns = now_ns.saturating_sub(schedule.due_ns(message));
            received.latency.saturating_record(late_ns.max(1));
        }
        Ok(())
    })?;
    Ok(received)
}
