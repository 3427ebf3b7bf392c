//! The bridge protocol: services push and ask over HTTP, users answer over WebSocket.

mod answer;
mod call;
mod delivery;
mod peers;
mod plan;
mod request;

use std::time::Duration;

use hdrhistogram::Histogram;

use peers::BridgePeers;
use plan::{BridgePlan, RequestKind};

use super::connections::connect_all;
use crate::cli::{self, Common, Scenario};
use crate::measure::{Progress, Window};
use crate::net::{Net, Target, Traffic};
use crate::outcome::{Latency, Memory, Outcome, grouped};
use crate::payload::Layout;
use crate::process;
use crate::schedule::Schedule;
use crate::stall::StallTimer;
use crate::verify::new_histogram;

/// Longest wait for events, so that windows open and close on time.
const TURN_MAX: Duration = Duration::from_millis(5);

/// Time without progress after which a failed run stops draining.
const FAILED_STALL: Duration = Duration::from_secs(1);

/// Runs the scenario.
pub(crate) fn run(
    scenario: &Scenario,
    options: &cli::Bridge,
    target: &Target,
    common: &Common,
) -> Result<Outcome, String> {
    let load = options.load();
    let plan = BridgePlan::of(options)?;
    let rate = plan.rate;
    let calls = plan.services.contains(&RequestKind::Call);
    let batch = plan.batch as u32;
    let unit = match &options.mode {
        cli::BridgeMode::Push(_) => "pushes",
        cli::BridgeMode::Batch(_) => "messages",
        cli::BridgeMode::Send(_) => "calls",
    };
    let window = Window::new(common.pid)?;
    let before_bytes = rss_bytes(common)?;
    let mut peers = BridgePeers::new(plan, target.clone(), || {
        Layout::new(load.payload, common.seed)
    });
    let count = peers.count();
    let mut net = super::net(target, common, count)?;
    connect_all(&mut net, &mut peers, count, common)?;
    wait_until_users_are_known(&mut net, &mut peers, common)?;
    let began_ns = net.now_ns();
    let mut run = BridgeRun {
        schedule: rate.map(|rate| Schedule::new(began_ns, rate, batch)),
        progress: Progress::new(common.quiet, began_ns),
        latency: new_histogram(),
        marks: Vec::new(),
        stall: StallTimer::new(began_ns),
        calls,
        unit,
        window,
        net,
        peers,
        common,
    };
    run.post_until_stopped(began_ns)?;
    run.drain()?;
    let with_bytes = rss_bytes(common)?;
    run.leave(load.settle)?;
    let mut outcome = super::outcome(scenario, target, common, unit);
    if common.pid.is_some() {
        outcome.memory = Some(Memory {
            connections: count,
            before_bytes,
            with_bytes,
            after_bytes: rss_bytes(common)?,
            // The memory is not that of idle connections.
            per_connection_bytes: None,
        });
    }
    Ok(run.report(outcome))
}

/// The server's resident memory, 0 without a process id.
fn rss_bytes(common: &Common) -> Result<u64, String> {
    match common.pid {
        Some(pid) => process::rss_bytes(&pid.to_string())
            .map_err(|error| format!("--pid {pid} cannot be read: {error}")),
        None => Ok(0),
    }
}

/// Waits until the server knows every user.
fn wait_until_users_are_known(
    net: &mut Net,
    peers: &mut BridgePeers,
    common: &Common,
) -> Result<(), String> {
    let deadline_ns = net.now_ns() + common.patience.as_nanos() as u64;
    peers.look_for_users(net);
    while !peers.are_all_seen() {
        turn(net, peers, TURN_MAX)?;
        if let Some(failure) = peers.connections.failure() {
            return Err(failure.to_owned());
        }
        if let Some(refusal) = peers.first_refusal() {
            return Err(format!("a push was answered with {refusal}"));
        }
        if net.now_ns() > deadline_ns {
            return Err(
                "after --patience, the server does not know all connected users: \
                 pushes to them are not answered with success"
                    .into(),
            );
        }
    }
    Ok(())
}

/// Handles readiness events, then sends answers and reconnects.
fn turn(net: &mut Net, peers: &mut BridgePeers, timeout: Duration) -> Result<(), String> {
    let timeout = if peers.is_answering() {
        Duration::ZERO
    } else {
        timeout
    };
    net.turn(peers, timeout)
        .map_err(|error| format!("epoll: {error}"))?;
    peers.work(net)
}

/// Totals at the start or end of the window.
#[derive(Debug, Clone, Copy)]
struct Mark {
    at_ns: u64,
    pushes: u64,
    events: u64,
    rss_bytes: u64,
}

struct BridgeRun<'a> {
    net: Net,
    peers: BridgePeers,
    common: &'a Common,
    /// Whether calls are measured instead of messages.
    calls: bool,
    unit: &'static str,
    schedule: Option<Schedule>,
    window: Window,
    /// At the start and at the end of the window.
    marks: Vec<Mark>,
    progress: Progress,
    latency: Histogram<u64>,
    /// Of events, deliveries and answers.
    stall: StallTimer,
}

impl BridgeRun<'_> {
    fn count(&self) -> u64 {
        if self.calls {
            self.peers.totals.calls
        } else {
            self.peers.deliveries.counts().received
        }
    }

    /// What was agreed on for TLS; pushes, answers and requests have no bytes of a message.
    fn traffic(&self) -> Traffic {
        Traffic {
            tls: self.net.traffic().tls,
            ..Traffic::default()
        }
    }

    fn recent(&mut self) -> &mut Histogram<u64> {
        if self.calls {
            &mut self.peers.call_latency
        } else {
            self.peers.deliveries.latency_mut()
        }
    }

    /// Posts through warm-up and window.
    fn post_until_stopped(&mut self, began_ns: u64) -> Result<(), String> {
        let start_ns = began_ns + self.common.warmup.as_nanos() as u64;
        let stop_ns = start_ns + self.common.duration.as_nanos() as u64;
        self.peers.start(&mut self.net);
        loop {
            let now_ns = self.net.now_ns();
            if now_ns >= start_ns && !self.window.is_started() {
                self.latency.reset();
                self.peers.call_latency.reset();
                self.peers.deliveries.latency_mut().reset();
                self.mark(now_ns)?;
                self.window.start(now_ns, self.count(), 0, self.traffic());
            }
            if now_ns >= stop_ns {
                self.window.stop(now_ns, self.count(), 0, self.traffic());
                self.mark(now_ns)?;
                self.peers.sending = false;
                return Ok(());
            }
            let until_due = self.post_scheduled(now_ns);
            let phase = if self.window.is_started() {
                "measuring"
            } else {
                "warming"
            };
            self.turn(phase, Duration::from_nanos(until_due).min(TURN_MAX))?;
            if self.is_stalled() {
                self.peers.connections.fail(format!(
                    "stalled: {} requests have no answer and nothing came for {:?}",
                    self.peers.unanswered(),
                    self.common.patience
                ));
            }
            if self.peers.connections.failure().is_some() {
                self.peers.sending = false;
                return Ok(());
            }
        }
    }

    fn mark(&mut self, at_ns: u64) -> Result<(), String> {
        self.marks.push(Mark {
            at_ns,
            pushes: self.peers.deliveries.counts().received,
            events: self.peers.events.received,
            rss_bytes: rss_bytes(self.common)?,
        });
        Ok(())
    }

    /// Posts what is due; returns the nanoseconds until the next request is.
    fn post_scheduled(&mut self, now_ns: u64) -> u64 {
        let Some(schedule) = &mut self.schedule else {
            return u64::MAX;
        };
        while self.peers.has_idle() {
            let Some(due_ns) = schedule.take(now_ns) else {
                return schedule.next_ns() - now_ns;
            };
            self.peers.post_scheduled(&mut self.net, due_ns);
        }
        u64::MAX
    }

    /// Faults so far.
    fn faults(&self) -> u64 {
        let counts = self.peers.deliveries.counts();
        counts.faults() + self.peers.events.faults() + self.peers.totals.refused
    }

    fn is_stalled(&self) -> bool {
        self.stall.exceeds(self.common.patience, self.net.now_ns()) && self.peers.unanswered() > 0
    }

    /// One turn of the loop, and the progress line.
    fn turn(&mut self, phase: &str, timeout: Duration) -> Result<(), String> {
        turn(&mut self.net, &mut self.peers, timeout)?;
        let now_ns = self.net.now_ns();
        let counts = self.peers.deliveries.counts();
        let done = counts.received + self.peers.events.received + self.peers.totals.requests;
        self.stall.update(done, now_ns);
        let faults = self.faults();
        let count = self.count();
        let recent = if self.calls {
            &mut self.peers.call_latency
        } else {
            self.peers.deliveries.latency_mut()
        };
        let progress = &mut self.progress;
        if progress.tick(now_ns, phase, self.unit, count, faults, recent) {
            self.latency.add(&*recent).expect("the bounds are equal");
            recent.reset();
        }
        Ok(())
    }

    /// Waits for outstanding answers and deliveries.
    fn drain(&mut self) -> Result<(), String> {
        self.stall.restart(self.net.now_ns());
        while self.peers.unanswered() > 0 || self.peers.deliveries.outstanding() > 0 {
            self.turn("draining", TURN_MAX)?;
            let now_ns = self.net.now_ns();
            let failed = self.peers.connections.failure().is_some() || self.faults() > 0;
            if failed && self.stall.exceeds(FAILED_STALL, now_ns)
                || self.stall.exceeds(self.common.patience, now_ns)
            {
                break;
            }
        }
        Ok(())
    }

    /// Closes all connections and lets the server settle, if its memory is measured.
    fn leave(&mut self, settle: Duration) -> Result<(), String> {
        if self.common.pid.is_none() {
            return Ok(());
        }
        self.peers.leave(&mut self.net);
        let patience_ns = self.net.now_ns() + self.common.patience.as_nanos() as u64;
        while self.peers.open_count() > 0 && self.net.now_ns() < patience_ns {
            turn(&mut self.net, &mut self.peers, TURN_MAX)?;
        }
        let settled_ns = self.net.now_ns() + settle.as_nanos() as u64;
        while self.net.now_ns() < settled_ns {
            turn(&mut self.net, &mut self.peers, TURN_MAX)?;
        }
        Ok(())
    }

    fn report(mut self, mut outcome: Outcome) -> Outcome {
        self.window.report(&mut outcome);
        let recent = self.recent().clone();
        self.latency.add(&recent).expect("the bounds are equal");
        outcome.latency_us = Latency::of(&self.latency);
        self.peers.abandon_calls();
        let mut counts = self.peers.deliveries.finish();
        counts.add(self.peers.events);
        outcome.verified = Some(counts);
        self.note(&mut outcome);
        let totals = self.peers.totals;
        if let Some(text) = self.peers.first_refusal() {
            let refused = grouped(totals.refused as f64);
            outcome.failures.push(format!(
                "{refused} answers did not say success, the first: {text}"
            ));
        }
        outcome
            .failures
            .extend(self.peers.connections.failure().map(str::to_owned));
        outcome.judge();
        outcome
    }

    /// Adds what the report has no field for.
    fn note(&self, outcome: &mut Outcome) {
        let notes = &mut outcome.notes;
        if let [start, stop] = self.marks[..] {
            let seconds = (stop.at_ns - start.at_ns).max(1) as f64 / 1e9;
            let rate = |count: u64| grouped(count as f64 / seconds);
            if self.calls {
                notes.push("latency is from the question to the end of its stream".into());
                let answers = stop.events - start.events;
                notes.push(format!("{} answers/s at their callers", rate(answers)));
                let beside = stop.pushes - start.pushes;
                if beside > 0 {
                    notes.push(format!("beside them {} pushed messages/s", rate(beside)));
                }
            }
            if self.common.pid.is_some() {
                let kib = |bytes: u64| grouped(bytes as f64 / 1024.0);
                notes.push(format!(
                    "RSS {} KiB when measuring began, {} KiB when it ended",
                    kib(start.rss_bytes),
                    kib(stop.rss_bytes)
                ));
            }
        }
        if self.peers.totals.reopened > 0 {
            let reopened = grouped(self.peers.totals.reopened as f64);
            notes.push(format!(
                "the server closed {reopened} HTTP connections between two requests"
            ));
        }
        if let Some(text) = self.peers.deliveries.first_fault() {
            notes.push(format!("the first wrong frame: {text}"));
        }
    }
}
