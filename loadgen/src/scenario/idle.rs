//! Idle connections: their memory in the server and the kernel, and whether it is
//! freed.

use std::time::Duration;

use super::connections::{ConnectionOwner, RunConnections, connect_all};
use crate::cli::{self, Common, IdleTransport, Scenario};
use crate::events::{self, ServerFrame};
use crate::foreign::{Greeter, SetupStep};
use crate::frame::opcode;
use crate::kernel::Kernel;
use crate::measure::{Progress, Window};
use crate::net::{End, Handler, Id, Net, Target};
use crate::outcome::{KernelMemory, Memory, Outcome};
use crate::process;
use crate::wse::{self, Encoding, Greeting};

const TURN_MAX: Duration = Duration::from_millis(50);

/// Runs the scenario: connect, measure, hold for `--duration`, close, measure.
pub(crate) fn run(
    scenario: &Scenario,
    options: &cli::Idle,
    target: &Target,
    common: &Common,
) -> Result<Outcome, String> {
    if options.subscribe && options.transport == IdleTransport::Wse {
        return Err("--subscribe is for the transports websocket and sse".into());
    }
    let mut window = Window::new(common.pid)?;
    let rss = || match common.pid {
        Some(pid) => process::rss_bytes(&pid.to_string())
            .map_err(|error| format!("--pid {pid} cannot be read: {error}")),
        None => Ok(0),
    };
    let kernel = || Kernel::now().map_err(|error| format!("the kernel's memory: {error}"));
    let mut net = super::net(target, common, options.connections)?;
    let mut handler = IdleHandler {
        subscribe: options.subscribe,
        transport: options.transport,
        greeter: options.target,
        leaving: false,
        left: 0,
        target: target.clone(),
        connections: RunConnections::default(),
    };
    let mut progress = Progress::new(common.quiet, net.now_ns());
    let (before_bytes, before) = (rss()?, kernel()?);
    connect_all(&mut net, &mut handler, options.connections, common)?;
    progress.write(&format!("{} connections are open", options.connections));
    wait(&mut net, &mut handler, options.settle)?;
    let (with_bytes, with) = (rss()?, kernel()?);
    window.start(net.now_ns(), 0, 0, net.traffic());
    wait(&mut net, &mut handler, common.duration)?;
    let held = options.connections - handler.left;
    window.stop(net.now_ns(), held as u64, 0, net.traffic());
    handler.leaving = true;
    for id in handler.connections.ready().to_vec() {
        net.close(id, 1000);
    }
    let deadline_ns = net.now_ns() + common.patience.as_nanos() as u64;
    while handler.left < options.connections && net.now_ns() < deadline_ns {
        wait(&mut net, &mut handler, Duration::ZERO)?;
    }
    progress.write(&format!("{} connections are closed", handler.left));
    if handler.left < options.connections {
        let open = options.connections - handler.left;
        handler
            .connections
            .fail(format!("{open} connections did not close in time"));
    }
    wait(&mut net, &mut handler, options.settle)?;
    let (after_bytes, after) = (rss()?, kernel()?);
    drop(progress);
    let mut outcome = super::outcome(scenario, target, common, "connections held");
    window.report(&mut outcome);
    // Held connections have no rate, and neither side is at its limit.
    outcome.per_second = 0.0;
    outcome.bottleneck = None;
    outcome.kernel_memory = Some(KernelMemory::new(options.connections, before, with, after));
    if common.pid.is_some() {
        outcome.memory = Some(Memory {
            connections: options.connections,
            before_bytes,
            with_bytes,
            after_bytes,
            per_connection_bytes: Some(
                (with_bytes as f64 - before_bytes as f64) / options.connections.max(1) as f64,
            ),
        });
    } else {
        let note = "give --pid to see what the connections cost the server";
        outcome.notes.push(note.into());
    }
    outcome
        .failures
        .extend(handler.connections.failure().map(str::to_owned));
    Ok(outcome)
}

/// Keeps answering pings for `time`, one turn at least.
fn wait(net: &mut Net, handler: &mut IdleHandler, time: Duration) -> Result<(), String> {
    let until_ns = net.now_ns() + time.as_nanos() as u64;
    loop {
        let left = Duration::from_nanos(until_ns.saturating_sub(net.now_ns()));
        let timeout = if time.is_zero() {
            TURN_MAX
        } else {
            left.min(TURN_MAX)
        };
        net.turn(handler, timeout)
            .map_err(|error| format!("epoll: {error}"))?;
        if net.now_ns() >= until_ns {
            return Ok(());
        }
    }
}

fn send(net: &mut Net, id: Id, text: &[u8]) {
    net.queue(id, opcode::TEXT, |out| out.extend_from_slice(text));
    net.flush(id);
}

struct IdleHandler {
    subscribe: bool,
    transport: IdleTransport,
    /// In place of the gateway.
    greeter: Option<Greeter>,
    leaving: bool,
    left: usize,
    target: Target,
    connections: RunConnections,
}

impl IdleHandler {
    /// Answers a frame of the wse protocol: its greeting, and heartbeats.
    fn wse_message(&mut self, net: &mut Net, id: Id, payload: &[u8]) {
        let frame = wse::ServerFrame::parse(payload);
        match frame.and_then(|frame| wse::greet(&frame, Encoding::Json)) {
            Ok(Greeting::Send(text)) => send(net, id, &text),
            Ok(Greeting::Done) => self.connections.mark_ready(id),
            Err(problem) => self.connections.fail(problem),
        }
    }
}

impl ConnectionOwner for IdleHandler {
    fn connections(&mut self) -> &mut RunConnections {
        &mut self.connections
    }

    fn open(&mut self, net: &mut Net, number: usize) -> Result<Id, String> {
        match self.transport {
            IdleTransport::Websocket | IdleTransport::Wse => super::open(net),
            IdleTransport::Sse => {
                let own = if self.subscribe { number } else { 0 };
                super::open_stream(net, [&*format!("idle-{own}")].into_iter())
            }
        }
    }
}

impl Handler for IdleHandler {
    fn opened(&mut self, net: &mut Net, id: Id) {
        if self.transport == IdleTransport::Sse {
            self.connections.mark_ready(id);
        } else if let Some(hello) = self.greeter.and_then(Greeter::hello) {
            send(net, id, hello);
        }
    }

    fn message(&mut self, net: &mut Net, id: Id, _op: u8, payload: &[u8]) {
        if self.transport == IdleTransport::Wse {
            return self.wse_message(net, id, payload);
        }
        if let Some(heard) = self.greeter.and_then(|greeter| greeter.heard(payload)) {
            match heard {
                Ok(SetupStep::Ready) => self.connections.mark_ready(id),
                Ok(SetupStep::Send(reply)) => send(net, id, &reply),
                Ok(SetupStep::Wait) => {}
                Err(problem) => self.connections.fail(problem),
            }
            return;
        }
        let frame = match ServerFrame::parse(payload) {
            Ok(frame) => frame,
            Err(problem) => return self.connections.fail(problem),
        };
        match &*frame.kind {
            "connection_established" if self.subscribe => {
                let text = events::subscribe([&*format!("idle-{id}")].into_iter());
                send(net, id, &text);
            }
            "connection_established" | "subscription_confirmed" => self.connections.mark_ready(id),
            // Other frames, such as heartbeats.
            _ => {}
        }
    }

    fn closed(&mut self, _net: &mut Net, _id: Id, end: End) {
        self.left += 1;
        if !self.leaving {
            let failure = super::failure(&self.target, "idle connection", &end);
            self.connections.fail(failure);
        }
    }
}
