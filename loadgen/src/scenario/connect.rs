//! Connects: TCP, upgrade, greeting, close, over and over.

use std::time::Duration;

use hdrhistogram::Histogram;

use crate::cli::{self, Common, Scenario};
use crate::events::ServerFrame;
use crate::foreign::{Greeter, SetupStep};
use crate::frame::opcode;
use crate::measure::{Progress, Window};
use crate::net::{End, Handler, Id, Net, Target};
use crate::outcome::{Latency, Outcome};
use crate::stall::StallTimer;
use crate::verify::new_histogram;

const TURN_MAX: Duration = Duration::from_millis(5);

/// Runs the scenario. Latency is from the first SYN to the greeting.
pub(crate) fn run(
    scenario: &Scenario,
    options: &cli::Connect,
    target: &Target,
    common: &Common,
) -> Result<Outcome, String> {
    let mut window = Window::new(common.pid)?;
    let mut net = super::net(target, common, options.concurrency)?;
    let mut handler = ConnectHandler {
        began_ns: Vec::new(),
        abort: options.abort,
        greeter: options.target,
        live: 0,
        greeted: 0,
        latency: new_histogram(),
        target: target.clone(),
        failure: None,
    };
    let mut progress = Progress::new(common.quiet, net.now_ns());
    let mut latency = new_histogram();
    let start_ns = net.now_ns() + common.warmup.as_nanos() as u64;
    let stop_ns = start_ns + common.duration.as_nanos() as u64;
    let mut stall = StallTimer::new(net.now_ns());
    while handler.failure.is_none() {
        let now_ns = net.now_ns();
        if now_ns >= start_ns && !window.is_started() {
            latency.reset();
            handler.latency.reset();
            window.start(now_ns, handler.greeted, 0, net.traffic());
        }
        if now_ns >= stop_ns {
            window.stop(now_ns, handler.greeted, 0, net.traffic());
            break;
        }
        stall.update(handler.greeted, now_ns);
        if stall.exceeds(common.patience, now_ns) {
            let patience = common.patience;
            handler.failure = Some(format!("stalled: no greeting for {patience:?}"));
        }
        while handler.live < options.concurrency {
            let id = super::open(&mut net)?;
            handler.opened_at(id, net.now_ns());
        }
        net.turn(&mut handler, TURN_MAX)
            .map_err(|error| format!("epoll: {error}"))?;
        let phase = if window.is_started() {
            "measuring"
        } else {
            "warming"
        };
        let recent = &mut handler.latency;
        if progress.tick(net.now_ns(), phase, "connects", handler.greeted, 0, recent) {
            latency.add(&*recent).expect("the bounds are equal");
            recent.reset();
        }
    }
    drop(progress);
    let mut outcome = super::outcome(scenario, target, common, "connects");
    window.report(&mut outcome);
    latency.add(&handler.latency).expect("the bounds are equal");
    outcome.latency_us = Latency::of(&latency);
    outcome.failures.extend(handler.failure);
    Ok(outcome)
}

struct ConnectHandler {
    /// When each connection was started; `None` once it is greeted.
    began_ns: Vec<Option<u64>>,
    abort: bool,
    /// In place of the gateway.
    greeter: Option<Greeter>,
    live: usize,
    greeted: u64,
    latency: Histogram<u64>,
    target: Target,
    failure: Option<String>,
}

impl ConnectHandler {
    fn opened_at(&mut self, id: Id, now_ns: u64) {
        if self.began_ns.len() <= id {
            self.began_ns.resize(id + 1, None);
        }
        self.began_ns[id] = Some(now_ns);
        self.live += 1;
    }
}

impl Handler for ConnectHandler {
    fn opened(&mut self, net: &mut Net, id: Id) {
        if let Some(hello) = self.greeter.and_then(Greeter::hello) {
            net.queue(id, opcode::TEXT, |out| out.extend_from_slice(hello));
            net.flush(id);
        }
    }

    fn message(&mut self, net: &mut Net, id: Id, _op: u8, payload: &[u8]) {
        let Some(began_ns) = self.began_ns[id].take() else {
            return;
        };
        let heard = self.greeter.and_then(|greeter| greeter.heard(payload));
        match heard.unwrap_or_else(|| greeting(payload)) {
            Ok(SetupStep::Ready) => {}
            Ok(_) => self.failure = Some("something else came before the greeting".into()),
            Err(problem) => self.failure = Some(problem),
        }
        self.greeted += 1;
        self.latency
            .saturating_record((net.read_at_ns() - began_ns).max(1));
        if self.abort {
            net.abort(id);
            self.live -= 1;
        } else {
            net.close(id, 1000);
        }
    }

    fn closed(&mut self, _net: &mut Net, id: Id, end: End) {
        self.live -= 1;
        let greeted = self.began_ns[id].is_none();
        if !greeted || !matches!(end, End::Closed { code: 1000, .. }) {
            self.failure
                .get_or_insert_with(|| super::failure(&self.target, "connection", &end));
        }
    }
}

/// Checks that a frame is the greeting of the events protocol.
fn greeting(payload: &[u8]) -> Result<SetupStep, String> {
    let frame = ServerFrame::parse(payload)?;
    if frame.kind == "connection_established" {
        Ok(SetupStep::Ready)
    } else {
        Err(format!("greeted with {}", frame.kind))
    }
}
