//! Fan-out with the reference client.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use tokio::sync::Notify;
use tokio::task::spawn_local;
use tokio::time::{sleep, timeout};

use super::{Clock, WsReceiver, WsSender, block_on, connect, expect, flush, next, send_text};
use crate::cli::{Common, Load, Scenario};
use crate::events;
use crate::measure::{Progress, Window};
use crate::net::{Target, Traffic};
use crate::outcome::{Latency, Outcome};
use crate::payload::{Layout, Source};
use crate::scenario;
use crate::scenario::fanout::plan::FanoutPlan;
use crate::schedule::Schedule;
use crate::verify::{Verifier, Wire, new_histogram};

/// Runs the scenario.
pub(crate) fn run(
    scenario: &Scenario,
    target: &Target,
    common: &Common,
) -> Result<Outcome, String> {
    let (plan, load) = FanoutPlan::of(scenario, common.seed).expect("only called for fan-out");
    scenario::check_file_limit(plan.members.len() + usize::from(load.publishers))?;
    let mut window = Window::new(common.pid)?;
    let (shared, latency) = block_on(drive(plan, load, target, common, &mut window))?;
    let sent: Vec<u32> = shared.sent.iter().map(Cell::get).collect();
    let verdict = shared.verifier.borrow().finish(&sent);
    let mut outcome = scenario::outcome(scenario, target, common, "deliveries");
    window.report(&mut outcome);
    outcome.latency_us = Latency::of(&latency);
    outcome.verified = Some(verdict.counts);
    outcome.topics_disagreeing = verdict.topics_disagreeing;
    outcome.failures.extend(shared.failure.take());
    outcome.judge();
    Ok(outcome)
}

/// State that the tasks of a run share.
struct ReferenceFanout {
    verifier: RefCell<Verifier>,
    layout: Layout,
    load: Load,
    name: String,
    complete: u64,
    clock: Clock,
    /// Messages sent, by publisher.
    sent: Vec<Cell<u32>>,
    /// Deliveries due, by publisher.
    outstanding: Vec<Cell<u64>>,
    delivered: Notify,
    stop: Cell<bool>,
    failure: RefCell<Option<String>>,
}

impl ReferenceFanout {
    fn fail(&self, problem: String) {
        self.failure.borrow_mut().get_or_insert(problem);
        self.stop.set(true);
        self.delivered.notify_waiters();
    }

    fn published(&self) -> u64 {
        self.sent.iter().map(|sent| u64::from(sent.get())).sum()
    }

    fn received(&self) -> u64 {
        self.verifier.borrow().counts().received
    }

    /// Shows progress, and adds the latencies since the last line to `latency`.
    fn show_progress(
        &self,
        now_ns: u64,
        phase: &str,
        progress: &mut Progress,
        latency: &mut Histogram<u64>,
    ) {
        let mut verifier = self.verifier.borrow_mut();
        let counts = verifier.counts();
        let recent = verifier.latency_mut();
        if progress.tick(
            now_ns,
            phase,
            "deliveries",
            counts.received,
            counts.faults(),
            recent,
        ) {
            latency.add(&*recent).expect("the bounds are equal");
            recent.reset();
        }
    }

    fn due(&self) -> u64 {
        self.outstanding.iter().map(Cell::get).sum()
    }
}

async fn drive(
    plan: FanoutPlan,
    load: Load,
    target: &Target,
    common: &Common,
    window: &mut Window,
) -> Result<(Rc<ReferenceFanout>, Histogram<u64>), String> {
    let publishers = usize::from(load.publishers);
    let layout = || Layout::new(load.payload, common.seed);
    let verifier = Verifier::new(
        layout(),
        plan.shape,
        Wire::WebSocket,
        plan.names.clone(),
        plan.owners(),
    );
    let shared = Rc::new(ReferenceFanout {
        verifier: RefCell::new(verifier),
        layout: layout(),
        name: plan.names[0].clone(),
        complete: plan.shape.complete as u64,
        clock: Clock(Instant::now()),
        sent: vec![Cell::new(0); publishers],
        outstanding: vec![Cell::new(0); publishers],
        delivered: Notify::new(),
        stop: Cell::new(false),
        failure: RefCell::new(None),
        load,
    });
    for (number, member) in plan.members.iter().enumerate() {
        let (mut sender, mut receiver) = connect(target).await?;
        expect(&mut receiver, "connection_established").await?;
        let names = member.topics.iter().map(|_| &*shared.name);
        send_text(&mut sender, events::subscribe(names)).await?;
        flush(&mut sender).await?;
        expect(&mut receiver, "subscription_confirmed").await?;
        let shared = Rc::clone(&shared);
        let replica = member.replica;
        spawn_local(async move {
            // Dropping the sender would end the connection.
            let _sender = sender;
            receive(&shared, number as u32, replica, receiver).await;
        });
    }
    let mut senders = Vec::new();
    for _ in 0..publishers {
        let (sender, mut receiver) = connect(target).await?;
        expect(&mut receiver, "connection_established").await?;
        senders.push(sender);
        let shared = Rc::clone(&shared);
        // Reading answers the server's pings.
        spawn_local(async move {
            let unexpected = match next(&mut receiver).await {
                Ok(message) => format!("publisher got {message}"),
                Err(end) => format!("publisher: {end}"),
            };
            shared.fail(unexpected);
        });
    }
    for (number, sender) in senders.into_iter().enumerate() {
        let (shared, patience) = (Rc::clone(&shared), common.patience);
        spawn_local(async move {
            if let Err(problem) = publish(&shared, number, sender, patience).await {
                shared.fail(format!("publisher: {problem}"));
            }
        });
    }
    let latency = watch(&shared, common, window).await;
    Ok((shared, latency))
}

/// Hands all messages of one subscriber to the verifier.
async fn receive(shared: &ReferenceFanout, owner: u32, replica: usize, mut receiver: WsReceiver) {
    loop {
        let text = match next(&mut receiver).await {
            Ok(message) => message.into_data(),
            Err(end) => return shared.fail(format!("subscriber: {end}")),
        };
        let mut verifier = shared.verifier.borrow_mut();
        verifier.begin(owner, replica, shared.clock.now_ns());
        verifier.first_event(&text);
        verifier.end();
        let mut settled = false;
        for (number, outstanding) in shared.outstanding.iter().enumerate() {
            let delivered = verifier.take_delivered(number);
            if delivered > 0 {
                outstanding.set(outstanding.get().saturating_sub(delivered));
                settled |= outstanding.get().is_multiple_of(shared.complete);
            }
        }
        if settled {
            shared.delivered.notify_waiters();
        }
    }
}

async fn publish(
    shared: &ReferenceFanout,
    number: usize,
    mut sender: WsSender,
    patience: Duration,
) -> Result<(), String> {
    let burst = shared.load.burst();
    let Load {
        window,
        rate,
        publishers,
        ..
    } = shared.load;
    let due = u64::from(burst) * shared.complete;
    let start_ns = shared.clock.now_ns();
    let mut schedule =
        rate.map(|rate| Schedule::new(start_ns, rate / f64::from(publishers), burst));
    let outstanding = &shared.outstanding[number];
    while !shared.stop.get() {
        let sent_ns = match &mut schedule {
            Some(schedule) => match schedule.take(shared.clock.now_ns()) {
                Some(due_ns) => due_ns,
                None => {
                    let wait_ns =
                        schedule.next_ns() - shared.clock.now_ns().min(schedule.next_ns());
                    sleep(Duration::from_nanos(wait_ns)).await;
                    continue;
                }
            },
            None if outstanding.get() > u64::from(window - 1) * due => {
                let waited = timeout(patience, shared.delivered.notified()).await;
                waited.map_err(|_| format!("stalled: no delivery for {patience:?}"))?;
                continue;
            }
            None => shared.clock.now_ns(),
        };
        outstanding.set(outstanding.get() + due);
        for _ in 0..burst {
            let sequence = shared.sent[number].get();
            shared.sent[number].set(sequence + 1);
            let source = Source {
                topic: 0,
                publisher: number as u16,
            };
            let mut text =
                format!(r#"{{"type":"publish","event":"{}","data":"#, shared.name).into_bytes();
            shared.layout.write(&mut text, source, sequence, sent_ns);
            text.push(b'}');
            send_text(&mut sender, text).await?;
        }
        flush(&mut sender).await?;
    }
    // Held open until the run is over.
    std::future::pending().await
}

/// Opens and closes the window, and waits for outstanding deliveries.
async fn watch(shared: &ReferenceFanout, common: &Common, window: &mut Window) -> Histogram<u64> {
    const TICK: Duration = Duration::from_millis(10);
    let mut latency = new_histogram();
    let mut progress = Progress::new(common.quiet, shared.clock.now_ns());
    let start_ns = shared.clock.now_ns() + common.warmup.as_nanos() as u64;
    let stop_ns = start_ns + common.duration.as_nanos() as u64;
    let give_up_ns = stop_ns + common.patience.as_nanos() as u64;
    loop {
        let now_ns = shared.clock.now_ns();
        let (received, published) = (shared.received(), shared.published());
        if now_ns >= start_ns && !window.is_started() {
            latency.reset();
            shared.verifier.borrow_mut().latency_mut().reset();
            window.start(now_ns, received, published, Traffic::default());
        }
        if now_ns >= stop_ns && !window.is_stopped() {
            window.stop(now_ns, received, published, Traffic::default());
            shared.stop.set(true);
        }
        let phase = if window.is_started() {
            "measuring"
        } else {
            "warming"
        };
        shared.show_progress(now_ns, phase, &mut progress, &mut latency);
        let failed = shared.failure.borrow().is_some();
        if failed || now_ns > give_up_ns || (window.is_stopped() && shared.due() == 0) {
            break;
        }
        sleep(TICK).await;
    }
    latency
        .add(&*shared.verifier.borrow_mut().latency_mut())
        .expect("the bounds are equal");
    latency
}
