//! Echo: every connection gets its own messages back, whole and in order.

mod pong;

use std::collections::VecDeque;
use std::time::Duration;

use hdrhistogram::Histogram;

use pong::Pongs;

use super::connections::{ConnectionOwner, RunConnections, connect_all};
use crate::cli::{self, Common, Scenario};
use crate::events::ServerFrame;
use crate::frame::opcode;
use crate::measure::{Progress, Window};
use crate::net::{End, Handler, Id, Net, Target};
use crate::outcome::{Latency, Outcome};
use crate::payload::{self, Layout, PayloadHead, Source};
use crate::schedule::Schedule;
use crate::stall::StallTimer;
use crate::verify::{Counts, MissingRanges, new_histogram};

/// Bytes queued on a connection above which scheduled messages wait; they keep their times.
const QUEUED_BYTES_MAX: usize = 1 << 20;

const TURN_MAX: Duration = Duration::from_millis(5);

/// Runs the scenario.
pub(crate) fn run(
    scenario: &Scenario,
    options: &cli::Echo,
    target: &Target,
    common: &Common,
) -> Result<Outcome, String> {
    let window = Window::new(common.pid)?;
    let mut net = super::net(target, common, options.connections)?;
    let mut handler = EchoHandler {
        layout: Layout::new(options.payload, common.seed),
        op: if options.binary {
            opcode::BINARY
        } else {
            opcode::TEXT
        },
        in_flight: options.in_flight,
        closed_loop: options.rate.is_none(),
        pongs: options.ping.then(Pongs::default),
        streams: Vec::new(),
        missing: MissingRanges::default(),
        counts: Counts::default(),
        latency: new_histogram(),
        sent: 0,
        answered: 0,
        sending: false,
        target: target.clone(),
        connections: RunConnections::default(),
    };
    connect_all(&mut net, &mut handler, options.connections, common)?;
    let mut run = EchoRun {
        schedule: options
            .rate
            .map(|rate| Schedule::new(net.now_ns(), rate, 1)),
        progress: Progress::new(common.quiet, net.now_ns()),
        latency: new_histogram(),
        next_connection: 0,
        stall: StallTimer::new(net.now_ns()),
        window,
        net,
        handler,
        common,
    };
    run.send_until_stopped()?;
    run.drain()?;
    Ok(run.report(super::outcome(scenario, target, common, "echoes")))
}

struct EchoRun<'a> {
    net: Net,
    handler: EchoHandler,
    common: &'a Common,
    schedule: Option<Schedule>,
    window: Window,
    progress: Progress,
    latency: Histogram<u64>,
    /// The connection of the next scheduled message.
    next_connection: usize,
    /// Of echoes.
    stall: StallTimer,
}

impl EchoRun<'_> {
    fn send_until_stopped(&mut self) -> Result<(), String> {
        let began_ns = self.net.now_ns();
        let start_ns = began_ns + self.common.warmup.as_nanos() as u64;
        let stop_ns = start_ns + self.common.duration.as_nanos() as u64;
        self.handler.sending = true;
        if self.schedule.is_none() {
            for id in self.handler.connections.ready().to_vec() {
                self.handler
                    .send(&mut self.net, id, self.handler.in_flight, began_ns);
                self.net.flush(id);
            }
        }
        loop {
            let now_ns = self.net.now_ns();
            let (count, traffic) = (self.handler.counts.received, self.net.traffic());
            if now_ns >= start_ns && !self.window.is_started() {
                self.latency.reset();
                self.handler.latency.reset();
                self.window.start(now_ns, count, 0, traffic);
            }
            if now_ns >= stop_ns {
                self.window.stop(now_ns, count, 0, traffic);
                self.handler.sending = false;
                return Ok(());
            }
            let until_due = self.send_scheduled(now_ns);
            let timeout = Duration::from_nanos(until_due).min(TURN_MAX);
            self.turn(
                if self.window.is_started() {
                    "measuring"
                } else {
                    "warming"
                },
                timeout,
            )?;
            if self.stalled() {
                let patience = self.common.patience;
                let due = self.handler.sent - self.handler.answered;
                self.handler.connections.fail(format!(
                    "stalled: {due} echoes are due and none came for {patience:?}"
                ));
            }
            if self.handler.connections.failure().is_some() {
                return Ok(());
            }
        }
    }

    /// Sends what is due; returns the nanoseconds until the next message is.
    fn send_scheduled(&mut self, now_ns: u64) -> u64 {
        let Some(schedule) = &mut self.schedule else {
            return u64::MAX;
        };
        let ids = self.handler.connections.ready().len();
        loop {
            let id = self.handler.connections.ready()[self.next_connection];
            if self.net.queued_bytes(id) >= QUEUED_BYTES_MAX {
                return u64::MAX;
            }
            let Some(due_ns) = schedule.take(now_ns) else {
                return schedule.next_ns() - now_ns;
            };
            self.handler.send(&mut self.net, id, 1, due_ns);
            self.net.flush(id);
            self.next_connection = (self.next_connection + 1) % ids;
        }
    }

    fn turn(&mut self, phase: &str, timeout: Duration) -> Result<(), String> {
        self.net
            .turn(&mut self.handler, timeout)
            .map_err(|error| format!("epoll: {error}"))?;
        let now_ns = self.net.now_ns();
        let Counts { received, .. } = self.handler.counts;
        self.stall.update(self.handler.answered, now_ns);
        let faults = self.handler.counts.faults();
        let recent = &mut self.handler.latency;
        let progress = &mut self.progress;
        if progress.tick(now_ns, phase, "echoes", received, faults, recent) {
            self.latency.add(&*recent).expect("the bounds are equal");
            recent.reset();
        }
        Ok(())
    }

    fn stalled(&self) -> bool {
        self.handler.answered < self.handler.sent
            && self.stall.exceeds(self.common.patience, self.net.now_ns())
    }

    fn drain(&mut self) -> Result<(), String> {
        self.stall.restart(self.net.now_ns());
        while self.handler.answered < self.handler.sent
            && self.handler.connections.failure().is_none()
            && !self.stalled()
        {
            self.turn("draining", TURN_MAX)?;
        }
        Ok(())
    }

    fn report(mut self, mut outcome: Outcome) -> Outcome {
        drop(self.progress);
        self.window.report(&mut outcome);
        self.latency
            .add(&self.handler.latency)
            .expect("the bounds are equal");
        outcome.latency_us = Latency::of(&self.latency);
        for stream in &self.handler.streams {
            self.handler.counts.lost += u64::from(stream.next - stream.expected);
        }
        outcome.verified = Some(self.handler.counts);
        outcome
            .failures
            .extend(self.handler.connections.failure().map(str::to_owned));
        outcome.judge();
        outcome
    }
}

/// The messages of one connection.
#[derive(Debug, Default, Clone)]
struct EchoStream {
    /// Next sequence number to send.
    next: u32,
    /// Next sequence number to be echoed.
    expected: u32,
    /// Send times of pings, oldest first.
    pings: VecDeque<u64>,
    /// Echoes within the current read.
    answers: u32,
}

struct EchoHandler {
    layout: Layout,
    op: u8,
    in_flight: u32,
    closed_loop: bool,
    /// Set when pings are sent instead of messages.
    pongs: Option<Pongs>,
    /// By connection.
    streams: Vec<EchoStream>,
    missing: MissingRanges,
    counts: Counts,
    latency: Histogram<u64>,
    sent: u64,
    answered: u64,
    sending: bool,
    target: Target,
    connections: RunConnections,
}

impl EchoHandler {
    /// Queues `count` messages with the send time `sent_ns`.
    fn send(&mut self, net: &mut Net, id: Id, count: u32, sent_ns: u64) {
        let stream = &mut self.streams[id];
        self.sent += u64::from(count);
        for _ in 0..count {
            if self.pongs.is_some() {
                stream.pings.push_back(sent_ns);
                net.queue(id, opcode::TEXT, |out| pong::write_ping(out, sent_ns));
            } else {
                let source = Source::from_number(id as u32);
                let layout = &self.layout;
                net.queue(id, self.op, |out| {
                    layout.write(out, source, stream.next, sent_ns);
                });
            }
            stream.next += 1;
        }
    }

    /// Checks an echoed message and counts faults; returns when it was sent.
    fn echoed(&mut self, id: Id, op: u8, data: &[u8], now_ns: u64) -> Option<u64> {
        let head =
            PayloadHead::of(data).filter(|_| op == self.op && data.len() == self.layout.bytes());
        let known = head.and_then(|head| {
            let source = payload::number(head.source)?;
            let sequence = payload::number(head.sequence)?;
            let sent_ns = payload::time_ns(head.time).filter(|&sent_ns| sent_ns <= now_ns)?;
            let tail = self.layout.tail_matches(data, source, sequence);
            tail.then_some((source, sequence, sent_ns))
        });
        let Some((source, sequence, sent_ns)) = known else {
            self.counts.corrupt += 1;
            return None;
        };
        let stream = &mut self.streams[id];
        if source != id as u32 || sequence >= stream.next {
            self.counts.misrouted += 1;
            return None;
        }
        let is_new = self
            .missing
            .count(id, sequence, &mut stream.expected, &mut self.counts);
        is_new.then_some(sent_ns)
    }

    /// Checks a pong and counts faults; returns when its ping was sent.
    fn ponged(&mut self, id: Id, payload: &[u8]) -> Option<u64> {
        let stream = &mut self.streams[id];
        let (Some(pongs), Some(sent_ns)) = (&mut self.pongs, stream.pings.pop_front()) else {
            self.counts.duplicated += 1;
            return None;
        };
        stream.expected += 1;
        if pongs.answers(payload, sent_ns) {
            Some(sent_ns)
        } else {
            self.counts.corrupt += 1;
            None
        }
    }

    fn greeted(&mut self, id: Id, payload: &[u8]) {
        match ServerFrame::parse(payload) {
            Ok(frame) if frame.kind == "connection_established" => self.connections.mark_ready(id),
            Ok(frame) => self
                .connections
                .fail(format!("greeted with {}", frame.kind)),
            Err(problem) => self.connections.fail(problem),
        }
    }
}

impl ConnectionOwner for EchoHandler {
    fn connections(&mut self) -> &mut RunConnections {
        &mut self.connections
    }
}

impl Handler for EchoHandler {
    fn opened(&mut self, _net: &mut Net, id: Id) {
        if self.streams.len() <= id {
            self.streams.resize(id + 1, EchoStream::default());
        }
        if self.pongs.is_none() {
            self.connections.mark_ready(id);
        }
    }

    fn message(&mut self, net: &mut Net, id: Id, op: u8, payload: &[u8]) {
        let now_ns = net.read_at_ns();
        let sent_ns = if self.pongs.is_none() {
            self.echoed(id, op, payload, now_ns)
        } else if self.sending || self.answered < self.sent {
            self.ponged(id, payload)
        } else {
            return self.greeted(id, payload);
        };
        // A wrong echo also makes room for the next message.
        self.streams[id].answers += 1;
        self.answered += 1;
        if let Some(sent_ns) = sent_ns {
            self.counts.received += 1;
            self.latency
                .saturating_record(now_ns.saturating_sub(sent_ns).max(1));
        }
    }

    fn read_ended(&mut self, net: &mut Net, id: Id) {
        let answers = std::mem::take(&mut self.streams[id].answers);
        if answers > 0 && self.sending && self.closed_loop {
            let now_ns = net.now_ns();
            self.send(net, id, answers, now_ns);
            net.flush(id);
        }
    }

    fn closed(&mut self, _net: &mut Net, _id: Id, end: End) {
        let failure = super::failure(&self.target, "connection", &end);
        self.connections.fail(failure);
    }
}
