//! Fan-out, and its variations: many topics, slow subscribers, subscribers that come and go.

mod peers;
pub(crate) mod plan;
mod publisher;

use std::time::Duration;

use hdrhistogram::Histogram;

use peers::FanoutPeers;
use plan::{FanoutPlan, MemberKind};

use super::HANDSHAKES_MAX;
use super::canary::RunningCanary;
use crate::cli::{Common, Load, Scenario};
use crate::kernel::Kernel;
use crate::measure::{Progress, Window};
use crate::net::{Net, Target};
use crate::outcome::{KernelMemory, Latency, Outcome};
use crate::payload::Layout;
use crate::schedule::Schedule;
use crate::stall::StallTimer;
use crate::verify::{Verifier, Wire, new_histogram};

/// Bytes queued on a publisher's connection above which its next burst waits. A
/// scheduled burst keeps its time.
const QUEUED_BYTES_MAX: usize = 1 << 20;

/// Longest wait for events, so that windows open and close on time.
const TURN_MAX: Duration = Duration::from_millis(5);

/// Time without deliveries after which a failed run, or one that reads the rest of slow
/// subscribers, ends.
const FINAL_STALL: Duration = Duration::from_secs(1);

/// Runs one of the fan-out scenarios.
pub(crate) fn run(
    scenario: &Scenario,
    target: &Target,
    common: &Common,
) -> Result<Outcome, String> {
    let (plan, load) =
        FanoutPlan::of(scenario, common.seed).expect("only called for those scenarios");
    let slow = match scenario {
        Scenario::Slow(slow) => Some(slow),
        _ => None,
    };
    let kernel = || Kernel::now().map_err(|error| format!("the kernel's memory: {error}"));
    let before = kernel()?;
    let window = Window::new(common.pid)?;
    let connections = plan.members.len() + usize::from(load.publishers);
    let mut net = super::net(target, common, connections)?;
    let layout = || Layout::with_format(scenario.format(), load.payload, common.seed);
    let peers = connect(
        &mut net,
        plan,
        &load,
        (scenario.wire(), layout()),
        target,
        common,
    )?;
    let churn = match scenario {
        Scenario::Churn(churn) => Some(Schedule::new(net.now_ns(), churn.churn_rate, 1)),
        _ => None,
    };
    let mut run = FanoutRun {
        layout: layout(),
        schedule: load
            .rate
            .map(|rate| Schedule::new(net.now_ns(), rate, load.burst())),
        churn,
        progress: Progress::new(common.quiet, net.now_ns()),
        latency: new_histogram(),
        window,
        published: 0,
        next_publisher: 0,
        stall: StallTimer::new(net.now_ns()),
        worked_for: 0,
        load,
        common,
        net,
        peers,
    };
    let canary = match slow.and_then(|slow| slow.canary_p99) {
        Some(p99_max) => Some((RunningCanary::start(target, common)?, p99_max)),
        None => None,
    };
    run.pause_slow();
    let began_ns = run.net.now_ns();
    run.publish_until_stopped(began_ns)?;
    let with = kernel()?;
    run.drain()?;
    let canary = match canary {
        Some((canary, p99_max)) => Some((canary.stop()?, p99_max)),
        None => None,
    };
    run.collect_slow()?;
    let mut outcome = super::outcome(scenario, target, common, "deliveries");
    if let Some((canary, p99_max)) = canary {
        outcome.judge_canary(canary, p99_max);
    }
    if let Some(slow) = slow {
        outcome.kernel_memory = Some(KernelMemory::new(slow.slow, before, with, kernel()?));
    }
    Ok(run.report(outcome, began_ns))
}

/// Opens all connections and waits until every one is subscribed or ready to
/// publish.
fn connect(
    net: &mut Net,
    plan: FanoutPlan,
    load: &Load,
    (wire, layout): (Wire, Layout),
    target: &Target,
    common: &Common,
) -> Result<FanoutPeers, String> {
    const LINE_NS: u64 = 1_000_000_000;
    let (names, owners) = (plan.names.clone(), plan.owners());
    let format = layout.format();
    let verifier = Verifier::new(layout, plan.shape, wire, names, owners);
    let mut peers = FanoutPeers::new(plan, load, (wire, format), target.clone(), verifier);
    let mut progress = Progress::new(common.quiet, net.now_ns());
    let deadline_ns = net.now_ns() + common.patience.as_nanos() as u64;
    let mut next_line_ns = net.now_ns() + LINE_NS;
    while !peers.all_ready() {
        while peers.opening() < HANDSHAKES_MAX && peers.open_next(net)? {}
        net.turn(&mut peers, TURN_MAX)
            .map_err(|error| format!("epoll: {error}"))?;
        if let Some(failure) = peers.failure() {
            return Err(failure.to_owned());
        }
        if net.now_ns() > deadline_ns {
            return Err(format!("after --patience, only {}", peers.readiness()));
        }
        if net.now_ns() > next_line_ns {
            next_line_ns += LINE_NS;
            progress.write(&format!("connecting: {}", peers.readiness()));
        }
    }
    Ok(peers)
}

struct FanoutRun<'a> {
    common: &'a Common,
    load: Load,
    layout: Layout,
    net: Net,
    peers: FanoutPeers,
    schedule: Option<Schedule>,
    churn: Option<Schedule>,
    window: Window,
    progress: Progress,
    latency: Histogram<u64>,
    published: u64,
    /// The publisher of the next scheduled burst.
    next_publisher: usize,
    /// Of deliveries.
    stall: StallTimer,
    /// Deliveries that the subscribers were busy with.
    worked_for: u64,
}

impl FanoutRun<'_> {
    fn pause_slow(&mut self) {
        for id in self.peers.ids(MemberKind::Slow) {
            self.net.pause(id);
        }
    }

    /// Publishes through warm-up and window.
    fn publish_until_stopped(&mut self, began_ns: u64) -> Result<(), String> {
        let start_ns = began_ns + self.common.warmup.as_nanos() as u64;
        let stop_ns = start_ns + self.common.duration.as_nanos() as u64;
        loop {
            let now_ns = self.net.now_ns();
            if now_ns >= start_ns && !self.window.is_started() {
                self.latency.reset();
                self.peers.verifier.latency_mut().reset();
                let (count, traffic) = (self.peers.received(), self.net.traffic());
                self.window.start(now_ns, count, self.published, traffic);
            }
            if now_ns >= stop_ns {
                let (count, traffic) = (self.peers.received(), self.net.traffic());
                self.window.stop(now_ns, count, self.published, traffic);
                return Ok(());
            }
            self.churn(now_ns)?;
            let until_due = self.publish(now_ns);
            let until_edge = if self.window.is_started() {
                stop_ns
            } else {
                start_ns
            } - now_ns;
            let timeout = Duration::from_nanos(until_due.min(until_edge)).min(TURN_MAX);
            let phase = if self.window.is_started() {
                "measuring"
            } else {
                "warming"
            };
            self.turn(phase, timeout)?;
            if self.peers.failure().is_some() {
                return Ok(());
            }
            if self.load.rate.is_none() && self.stalled() {
                self.peers.fail(format!(
                    "stalled: {} deliveries are due and none came for {:?}",
                    self.peers.outstanding(),
                    self.common.patience
                ));
                return Ok(());
            }
        }
    }

    fn stalled(&self) -> bool {
        self.stall.exceeds(self.common.patience, self.net.now_ns())
    }

    /// Sends what is due or has room in the window; returns the nanoseconds until the next burst is due.
    fn publish(&mut self, now_ns: u64) -> u64 {
        if self.schedule.is_some() {
            return self.publish_scheduled(now_ns);
        }
        let room = u64::from(self.load.window - 1) * self.burst_deliveries();
        for number in 0..self.peers.publishers.len() {
            let publisher = &self.peers.publishers[number];
            let has_room = self.net.queued_bytes(publisher.id) < QUEUED_BYTES_MAX;
            if publisher.outstanding <= room && has_room {
                self.send(number, now_ns);
            }
        }
        u64::MAX
    }

    fn publish_scheduled(&mut self, now_ns: u64) -> u64 {
        loop {
            let id = self.peers.publishers[self.next_publisher].id;
            if self.net.queued_bytes(id) >= QUEUED_BYTES_MAX {
                return u64::MAX;
            }
            let schedule = self.schedule.as_mut().expect("checked by the caller");
            let Some(due_ns) = schedule.take(now_ns) else {
                return schedule.next_ns() - now_ns;
            };
            self.send(self.next_publisher, due_ns);
            self.next_publisher = (self.next_publisher + 1) % self.peers.publishers.len();
        }
    }

    /// Deliveries due for one burst.
    fn burst_deliveries(&self) -> u64 {
        u64::from(self.load.burst()) * self.peers.plan.shape.complete as u64
    }

    fn send(&mut self, number: usize, sent_ns: u64) {
        let due = self.burst_deliveries();
        let publisher = &mut self.peers.publishers[number];
        let names = &self.peers.plan.names;
        publisher.send(
            &mut self.net,
            &self.layout,
            names,
            self.load.burst(),
            sent_ns,
        );
        publisher.outstanding += due;
        self.published += u64::from(self.load.burst());
    }

    /// Replaces passing subscribers as scheduled.
    fn churn(&mut self, now_ns: u64) -> Result<(), String> {
        let Some(churn) = &mut self.churn else {
            return Ok(());
        };
        while churn.take(now_ns).is_some() {
            self.peers.replace_next(&mut self.net)?;
        }
        while self.peers.opening() < HANDSHAKES_MAX && self.peers.open_next(&mut self.net)? {}
        Ok(())
    }

    /// One turn of the loop, and the progress line.
    fn turn(&mut self, phase: &str, timeout: Duration) -> Result<(), String> {
        self.net
            .turn(&mut self.peers, timeout)
            .map_err(|error| format!("epoll: {error}"))?;
        self.peers.settle();
        let received = self.peers.received();
        self.work(received - self.worked_for);
        self.worked_for = received;
        let now_ns = self.net.now_ns();
        self.stall.update(received, now_ns);
        let faults = self.peers.verifier.counts().faults();
        let recent = self.peers.verifier.latency_mut();
        let progress = &mut self.progress;
        if progress.tick(now_ns, phase, "deliveries", received, faults, recent) {
            self.latency.add(&*recent).expect("the bounds are equal");
            recent.reset();
        }
        Ok(())
    }

    /// Is busy with deliveries, as `--work` says.
    fn work(&self, deliveries: u64) {
        let until_ns = self.net.now_ns() + deliveries * u64::from(self.load.work);
        while self.load.work > 0 && self.net.now_ns() < until_ns {
            std::hint::spin_loop();
        }
    }

    /// Waits for outstanding deliveries.
    fn drain(&mut self) -> Result<(), String> {
        let began_ns = self.net.now_ns();
        let patience_ns = self.common.patience.as_nanos() as u64;
        self.stall.restart(began_ns);
        while self.peers.outstanding() > 0 {
            self.turn("draining", TURN_MAX)?;
            let now_ns = self.net.now_ns();
            let is_over = self.peers.failure().is_some() && self.stall.exceeds(FINAL_STALL, now_ns);
            if is_over || now_ns - began_ns > patience_ns {
                break;
            }
        }
        Ok(())
    }

    /// Reads the rest of the slow subscribers, to report on them.
    fn collect_slow(&mut self) -> Result<(), String> {
        for id in self.peers.ids(MemberKind::Slow) {
            self.net.resume(id);
        }
        let began_ns = self.net.now_ns();
        let mut stall = StallTimer::new(began_ns);
        stall.update(self.net.traffic().read_bytes, began_ns);
        while !self.peers.ids(MemberKind::Slow).is_empty() {
            self.turn("slow ones", TURN_MAX)?;
            let now_ns = self.net.now_ns();
            stall.update(self.net.traffic().read_bytes, now_ns);
            let waited_ns = now_ns - began_ns;
            if stall.exceeds(FINAL_STALL, now_ns)
                || waited_ns > self.common.patience.as_nanos() as u64
            {
                break;
            }
        }
        Ok(())
    }

    fn report(mut self, mut outcome: Outcome, began_ns: u64) -> Outcome {
        drop(self.progress);
        if !self.window.is_stopped() {
            let (count, traffic) = (self.peers.received(), self.net.traffic());
            let now_ns = self.net.now_ns();
            if !self.window.is_started() {
                self.window.start(began_ns, 0, 0, Default::default());
            }
            self.window.stop(now_ns, count, self.published, traffic);
        }
        self.window.report(&mut outcome);
        let recent = self.peers.verifier.latency_mut();
        self.latency.add(&*recent).expect("the bounds are equal");
        outcome.latency_us = Latency::of(&self.latency);
        let shape = self.peers.plan.shape;
        let sent: Vec<u32> = (0..shape.topics)
            .flat_map(|topic| {
                let publishers = self.peers.publishers.iter();
                publishers.map(move |publisher| publisher.sent(topic))
            })
            .collect();
        let verdict = self.peers.verifier.finish(&sent);
        outcome.verified = Some(verdict.counts);
        outcome.topics_disagreeing = verdict.topics_disagreeing;
        self.peers.report(&mut outcome);
        outcome.judge();
        outcome
    }
}
