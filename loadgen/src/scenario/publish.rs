//! Inbound: publications without subscribers, as fast as the server accepts them.
//!
//! The last message of every burst carries an id. The offset in its answer must
//! have advanced by the size of the burst: that counts every message with one answer
//! per burst.

use std::collections::VecDeque;
use std::io::Write;
use std::time::Duration;

use hdrhistogram::Histogram;

use super::connections::{ConnectionOwner, RunConnections, connect_all};
use crate::cli::{self, Common, Scenario};
use crate::events::ServerFrame;
use crate::frame::opcode;
use crate::measure::{Progress, Window};
use crate::net::{End, Handler, Id, Net, Target};
use crate::outcome::{Latency, Outcome};
use crate::payload::{Layout, Source};
use crate::stall::StallTimer;
use crate::verify::{Counts, new_histogram};

const TURN_MAX: Duration = Duration::from_millis(5);

/// Runs the scenario.
pub(crate) fn run(
    scenario: &Scenario,
    options: &cli::Publish,
    target: &Target,
    common: &Common,
) -> Result<Outcome, String> {
    let mut window = Window::new(common.pid)?;
    let count = usize::from(options.publishers);
    let mut net = super::net(target, common, count)?;
    let mut handler = InboundHandler {
        layout: Layout::new(options.payload, common.seed),
        burst: options.burst,
        topic: options.topic.clone(),
        publishers: Vec::new(),
        counts: Counts::default(),
        latency: new_histogram(),
        sending: false,
        target: target.clone(),
        connections: RunConnections::default(),
    };
    connect_all(&mut net, &mut handler, count, common)?;
    let mut progress = Progress::new(common.quiet, net.now_ns());
    let mut latency = new_histogram();
    let start_ns = net.now_ns() + common.warmup.as_nanos() as u64;
    let stop_ns = start_ns + common.duration.as_nanos() as u64;
    let mut stall = StallTimer::new(net.now_ns());
    handler.sending = true;
    for id in handler.connections.ready().to_vec() {
        for _ in 0..options.window {
            handler.send(&mut net, id);
        }
    }
    while handler.connections.failure().is_none() {
        let now_ns = net.now_ns();
        let received = handler.counts.received;
        stall.update(received, now_ns);
        if now_ns >= start_ns && !window.is_started() {
            latency.reset();
            handler.latency.reset();
            window.start(now_ns, received, 0, net.traffic());
        }
        if now_ns >= stop_ns && !window.is_stopped() {
            window.stop(now_ns, received, 0, net.traffic());
            handler.sending = false;
        }
        if window.is_stopped() && handler.is_answered() {
            break;
        }
        if stall.exceeds(common.patience, now_ns) {
            handler.connections.fail(format!(
                "stalled: no answer for {:?}; {} bursts have none",
                common.patience,
                handler.unanswered()
            ));
        }
        net.turn(&mut handler, TURN_MAX)
            .map_err(|error| format!("epoll: {error}"))?;
        let phase = if window.is_started() {
            "measuring"
        } else {
            "warming"
        };
        let (count, faults) = (handler.counts.received, handler.counts.faults());
        let recent = &mut handler.latency;
        if progress.tick(net.now_ns(), phase, "messages", count, faults, recent) {
            latency.add(&*recent).expect("the bounds are equal");
            recent.reset();
        }
    }
    drop(progress);
    let mut outcome = super::outcome(scenario, target, common, "publications");
    window.report(&mut outcome);
    latency.add(&handler.latency).expect("the bounds are equal");
    outcome.latency_us = Latency::of(&latency);
    handler.counts.lost += u64::from(options.burst) * handler.unanswered() as u64;
    outcome.verified = Some(handler.counts);
    outcome.notes.push(format!(
        "latency is of the answer to a burst of {}",
        options.burst
    ));
    outcome
        .failures
        .extend(handler.connections.failure().map(str::to_owned));
    outcome.judge();
    Ok(outcome)
}

#[derive(Debug, Default, Clone)]
struct InboundPublisher {
    number: u16,
    next: u32,
    bursts: u64,
    /// Id and send time of bursts without an answer, oldest first.
    waiting: VecDeque<(u64, u64)>,
    last_offset: Option<u64>,
}

struct InboundHandler {
    layout: Layout,
    burst: u32,
    topic: String,
    /// By connection.
    publishers: Vec<InboundPublisher>,
    counts: Counts,
    latency: Histogram<u64>,
    sending: bool,
    target: Target,
    connections: RunConnections,
}

impl InboundHandler {
    fn unanswered(&self) -> usize {
        self.publishers
            .iter()
            .map(|publisher| publisher.waiting.len())
            .sum()
    }

    fn is_answered(&self) -> bool {
        self.unanswered() == 0
    }

    /// Sends one burst, its last message with an id.
    fn send(&mut self, net: &mut Net, id: Id) {
        let sent_ns = net.now_ns();
        let publisher = &mut self.publishers[id];
        let source = Source {
            topic: publisher.number.into(),
            publisher: publisher.number,
        };
        for left in (0..self.burst).rev() {
            net.queue(id, opcode::TEXT, |out| {
                let (topic, number) = (&self.topic, publisher.number);
                write!(
                    out,
                    r#"{{"type":"publish","event":"{topic}{number}","data":"#
                )
                .expect("a Vec grows");
                self.layout.write(out, source, publisher.next, sent_ns);
                if left == 0 {
                    write!(out, r#","id":{}"#, publisher.bursts).expect("a Vec grows");
                }
                out.push(b'}');
            });
            publisher.next = publisher.next.wrapping_add(1);
        }
        publisher.waiting.push_back((publisher.bursts, sent_ns));
        publisher.bursts += 1;
        net.flush(id);
    }

    /// Checks the answer to a burst.
    fn answered(&mut self, id: Id, frame: &ServerFrame, now_ns: u64) -> Result<(), String> {
        let publisher = &mut self.publishers[id];
        let offset = frame
            .result
            .as_ref()
            .and_then(|result| result["offset"].as_u64());
        let burst = frame.id.as_ref().and_then(serde_json::Value::as_u64);
        let (Some(offset), Some(burst)) = (offset, burst) else {
            return Err(format!("answered with {frame:?}"));
        };
        match publisher.waiting.pop_front() {
            Some((expected, sent_ns)) if expected == burst => {
                self.latency
                    .saturating_record(now_ns.saturating_sub(sent_ns).max(1));
            }
            other => return Err(format!("answer to {burst}, expected was {other:?}")),
        }
        let advanced = match publisher.last_offset.replace(offset) {
            Some(last) => offset.saturating_sub(last),
            // The topic's first offset is not known.
            None => u64::from(self.burst),
        };
        self.counts.received += advanced.min(self.burst.into());
        self.counts.lost += u64::from(self.burst).saturating_sub(advanced);
        self.counts.duplicated += advanced.saturating_sub(self.burst.into());
        Ok(())
    }
}

impl ConnectionOwner for InboundHandler {
    fn connections(&mut self) -> &mut RunConnections {
        &mut self.connections
    }
}

impl Handler for InboundHandler {
    fn opened(&mut self, _net: &mut Net, id: Id) {
        if self.publishers.len() <= id {
            self.publishers.resize(id + 1, InboundPublisher::default());
        }
        self.publishers[id].number = id as u16;
    }

    fn message(&mut self, net: &mut Net, id: Id, _op: u8, payload: &[u8]) {
        let frame = match ServerFrame::parse(payload) {
            Ok(frame) => frame,
            Err(problem) => return self.connections.fail(problem),
        };
        match &*frame.kind {
            "connection_established" => self.connections.mark_ready(id),
            "response" => {
                if let Err(problem) = self.answered(id, &frame, net.read_at_ns()) {
                    self.connections.fail(problem);
                } else if self.sending {
                    self.send(net, id);
                }
            }
            _ => {
                let text = String::from_utf8_lossy(payload);
                self.connections
                    .fail(format!("unexpected frame: {text:.300}"));
            }
        }
    }

    fn closed(&mut self, _net: &mut Net, _id: Id, end: End) {
        let failure = super::failure(&self.target, "publisher", &end);
        self.connections.fail(failure);
    }
}
