//! Echo with the reference client.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::{Duration, Instant};

use futures_util::SinkExt;
use hdrhistogram::Histogram;
use tokio::task::spawn_local;
use tokio::time::sleep;
use tokio_tungstenite::tungstenite::Message;

use super::{Clock, block_on, connect, flush, next};
use crate::cli::{self, Common, Scenario};
use crate::measure::{Progress, Window};
use crate::net::{Target, Traffic};
use crate::outcome::{Latency, Outcome};
use crate::payload::{Layout, Source};
use crate::scenario;
use crate::verify::{Counts, new_histogram};

/// Runs the scenario, as a closed loop.
pub(crate) fn run(
    scenario: &Scenario,
    options: &cli::Echo,
    target: &Target,
    common: &Common,
) -> Result<Outcome, String> {
    if options.rate.is_some() || options.ping {
        return Err("--client tungstenite echoes without --rate and --ping".into());
    }
    scenario::check_file_limit(options.connections)?;
    let mut window = Window::new(common.pid)?;
    let shared = block_on(drive(options, target, common, &mut window))?;
    let mut outcome = scenario::outcome(scenario, target, common, "echoes");
    window.report(&mut outcome);
    outcome.latency_us = Latency::of(&shared.latency.borrow());
    outcome.verified = Some(Counts {
        lost: shared.due.get(),
        ..shared.counts.get()
    });
    outcome.failures.extend(shared.failure.take());
    outcome.judge();
    Ok(outcome)
}

struct ReferenceEcho {
    layout: Layout,
    in_flight: u32,
    binary: bool,
    clock: Clock,
    counts: Cell<Counts>,
    /// Messages not echoed yet.
    due: Cell<u64>,
    latency: RefCell<Histogram<u64>>,
    stop: Cell<bool>,
    failure: RefCell<Option<String>>,
}

async fn drive(
    options: &cli::Echo,
    target: &Target,
    common: &Common,
    window: &mut Window,
) -> Result<Rc<ReferenceEcho>, String> {
    let shared = Rc::new(ReferenceEcho {
        layout: Layout::new(options.payload, common.seed),
        in_flight: options.in_flight,
        binary: options.binary,
        clock: Clock(Instant::now()),
        counts: Cell::default(),
        due: Cell::default(),
        latency: RefCell::new(new_histogram()),
        stop: Cell::new(false),
        failure: RefCell::default(),
    });
    for number in 0..options.connections {
        let socket = connect(target).await?;
        let shared = Rc::clone(&shared);
        spawn_local(async move {
            if let Err(problem) = converse(&shared, number as u32, socket).await {
                shared.failure.borrow_mut().get_or_insert(problem);
            }
        });
    }
    watch(&shared, common, window).await;
    Ok(shared)
}

/// Keeps one connection's messages in flight.
async fn converse(
    shared: &ReferenceEcho,
    number: u32,
    (mut sender, mut receiver): (super::WsSender, super::WsReceiver),
) -> Result<(), String> {
    let mut sequence = 0;
    let mut waiting: VecDeque<(Message, u64)> = VecDeque::new();
    loop {
        if !shared.stop.get() {
            while waiting.len() < shared.in_flight as usize {
                let sent_ns = shared.clock.now_ns();
                let mut data = Vec::new();
                let source = Source::from_number(number);
                shared.layout.write(&mut data, source, sequence, sent_ns);
                sequence += 1;
                let message = if shared.binary {
                    Message::binary(data)
                } else {
                    Message::text(String::from_utf8(data).expect("it is ASCII"))
                };
                waiting.push_back((message.clone(), sent_ns));
                shared.due.set(shared.due.get() + 1);
                sender
                    .feed(message)
                    .await
                    .map_err(|error| error.to_string())?;
            }
            flush(&mut sender).await?;
        }
        let Some((expected, sent_ns)) = waiting.pop_front() else {
            // Held open until the run is over.
            std::future::pending::<()>().await;
            return Ok(());
        };
        let message = next(&mut receiver).await?;
        let mut counts = shared.counts.get();
        if message == expected {
            counts.received += 1;
            let latency = shared.clock.now_ns() - sent_ns;
            shared
                .latency
                .borrow_mut()
                .saturating_record(latency.max(1));
        } else {
            counts.corrupt += 1;
        }
        shared.counts.set(counts);
        shared.due.set(shared.due.get() - 1);
    }
}

async fn watch(shared: &ReferenceEcho, common: &Common, window: &mut Window) {
    const TICK: Duration = Duration::from_millis(10);
    let mut progress = Progress::new(common.quiet, shared.clock.now_ns());
    let start_ns = shared.clock.now_ns() + common.warmup.as_nanos() as u64;
    let stop_ns = start_ns + common.duration.as_nanos() as u64;
    let give_up_ns = stop_ns + common.patience.as_nanos() as u64;
    loop {
        let now_ns = shared.clock.now_ns();
        let counts = shared.counts.get();
        if now_ns >= start_ns && !window.is_started() {
            shared.latency.borrow_mut().reset();
            window.start(now_ns, counts.received, 0, Traffic::default());
        }
        if now_ns >= stop_ns && !window.is_stopped() {
            window.stop(now_ns, counts.received, 0, Traffic::default());
            shared.stop.set(true);
        }
        let phase = if window.is_started() {
            "measuring"
        } else {
            "warming"
        };
        progress.tick(
            now_ns,
            phase,
            "echoes",
            counts.received,
            counts.faults(),
            &shared.latency.borrow(),
        );
        let failed = shared.failure.borrow().is_some();
        if failed || now_ns > give_up_ns || (window.is_stopped() && shared.due.get() == 0) {
            return;
        }
        sleep(TICK).await;
    }
}
