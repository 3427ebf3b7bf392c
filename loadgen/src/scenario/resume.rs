//! Resume under fire: every connection is cut again and again, and every
//! subscriber must have every message exactly once in the end, or have been told
//! of the gap.

mod books;
mod client;
mod ledger;
mod publisher;
mod shared;
mod sse;
mod subscriber;
mod topics;
mod websocket;

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::task::{JoinHandle, LocalSet, spawn_local};
use tokio::time::{sleep, timeout};

use crate::cli::{self, Common, Encoding, Scenario, Transport};
use crate::measure::{Progress, Window};
use crate::net::{Target, Traffic};
use crate::outcome::{Latency, Outcome, grouped};
use crate::payload::Layout;
use crate::verify::{Counts, new_histogram};

use client::Client;
use ledger::Verdict;
use shared::{Phase, Shared};
use sse::Sse;
use subscriber::Subscriber;
use topics::Topics;
use websocket::WebSocket;

/// Between two looks at the clock.
const TICK: Duration = Duration::from_millis(10);

/// Runs the scenario. Latency is from the beginning of a connection to its
/// confirmed subscription.
pub(crate) fn run(
    scenario: &Scenario,
    options: &cli::Resume,
    target: &Target,
    common: &Common,
) -> Result<Outcome, String> {
    super::check_file_limit(options.subscribers)?;
    if options.transport == Transport::Sse && options.encoding != Encoding::Json {
        return Err("--encoding is for --transport websocket".into());
    }
    let window = Window::new(common.pid)?;
    let shared = Rc::new(Shared {
        target: target.clone(),
        topics: Rc::new(Topics::new(&options.topic, options.topics)),
        layout: Layout::new(options.payload, common.seed),
        seed: common.seed,
        cut_every: options.cut_every,
        away: options.away,
        patience: common.patience,
        epoch: Instant::now(),
        phase: watch::Sender::new(Phase::Cutting),
        publishing_ends: Cell::new(false),
        published: Cell::new(0),
        arrived: Cell::new(0),
        subscribed: Cell::new(0),
        received: Cell::new(0),
        faults: Cell::new(0),
        replayed: Cell::new(0),
        cuts: Cell::new((0, 0)),
        traffic: Cell::new(Traffic::default()),
        reconnects: RefCell::new(new_histogram()),
        ends: RefCell::default(),
        failure: RefCell::default(),
    });
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| format!("tokio: {error}"))?;
    let mut run = Run {
        shared,
        options,
        common,
        window,
    };
    let verdicts = LocalSet::new().block_on(&runtime, run.fire());
    Ok(run.report(
        super::outcome(scenario, target, common, "deliveries"),
        &verdicts,
    ))
}

struct Run<'a> {
    shared: Rc<Shared>,
    options: &'a cli::Resume,
    common: &'a Common,
    window: Window,
}

impl Run<'_> {
    /// Subscribes, publishes and cuts, lets everybody come back, and returns what
    /// each subscriber has then. What fails is noted.
    async fn fire(&mut self) -> Vec<Verdict> {
        let shared = self.shared.clone();
        let subscribers: Vec<_> = (0..self.options.subscribers)
            .map(|number| spawn_local(self.subscriber(number).live()))
            .collect();
        if self.all_are_subscribed().await {
            let publisher = {
                let (shared, rate) = (shared.clone(), self.options.rate);
                spawn_local(async move { publisher::publish(&shared, rate).await })
            };
            self.measure().await;
            shared.publishing_ends.set(true);
            match publisher.await.expect("the publisher does not panic") {
                Ok(_) => {}
                Err(why) => shared.fail(why),
            }
        }
        shared
            .phase
            .send_replace(Phase::Last(shared.published.get()));
        self.verdicts(subscribers).await
    }

    fn subscriber(&self, number: usize) -> Subscriber {
        let Shared {
            target,
            topics,
            seed,
            ..
        } = &*self.shared;
        let seed = seed ^ (number as u64 + 1) << 32;
        let client: Box<dyn Client> = match self.options.transport {
            Transport::Websocket => {
                let encoding = self.options.encoding;
                Box::new(WebSocket::new(target, topics, encoding, seed))
            }
            Transport::Sse => Box::new(Sse::new(target, topics)),
        };
        Subscriber::new(&self.shared, client, seed)
    }

    /// Waits until each subscriber has been subscribed once.
    async fn all_are_subscribed(&self) -> bool {
        let wanted = self.options.subscribers;
        let began = Instant::now();
        while !self.shared.has_failed() {
            let arrived = self.shared.arrived.get();
            if arrived == wanted {
                return true;
            }
            if began.elapsed() > self.common.patience {
                self.shared.fail(format!(
                    "only {arrived} of {wanted} are subscribed after {:?}",
                    self.common.patience
                ));
            }
            sleep(TICK).await;
        }
        false
    }

    /// Opens and closes the window.
    async fn measure(&mut self) {
        let shared = self.shared.clone();
        let start_ns = shared.now_ns() + self.common.warmup.as_nanos() as u64;
        let stop_ns = start_ns + self.common.duration.as_nanos() as u64;
        let mut progress = Progress::new(self.common.quiet, shared.now_ns());
        while !shared.has_failed() {
            let now_ns = shared.now_ns();
            let received = shared.received.get();
            let (published, traffic) = (shared.published.get().into(), shared.traffic.get());
            if now_ns >= start_ns && !self.window.is_started() {
                self.window.start(now_ns, received, published, traffic);
            }
            if now_ns >= stop_ns {
                self.window.stop(now_ns, received, published, traffic);
                return;
            }
            let phase = if self.window.is_started() {
                "measuring"
            } else {
                "warming"
            };
            let faults = shared.faults.get();
            let latency = &shared.reconnects;
            progress.tick(
                now_ns,
                phase,
                "deliveries",
                received,
                faults,
                &latency.borrow(),
            );
            sleep(TICK).await;
        }
    }

    /// Waits for the subscribers to have everything.
    async fn verdicts(&self, subscribers: Vec<JoinHandle<Verdict>>) -> Vec<Verdict> {
        let patience = if self.shared.has_failed() {
            Duration::ZERO
        } else {
            self.common.patience
        };
        let until = tokio::time::Instant::now() + patience;
        let mut verdicts = Vec::new();
        let mut late = 0;
        for subscriber in subscribers {
            let left = until.saturating_duration_since(tokio::time::Instant::now());
            match timeout(left, subscriber).await {
                Ok(verdict) => verdicts.push(verdict.expect("a subscriber does not panic")),
                Err(_) => late += 1,
            }
        }
        if late > 0 {
            self.shared.fail(format!(
                "{late} subscribers do not have everything after {patience:?}"
            ));
        }
        verdicts
    }

    fn report(self, mut outcome: Outcome, verdicts: &[Verdict]) -> Outcome {
        let shared = &self.shared;
        self.window.report(&mut outcome);
        outcome.client = match self.options.transport {
            Transport::Websocket => "websocket".into(),
            Transport::Sse => "sse".into(),
        };
        let (mut counts, mut gaps, mut told_lost) = (Counts::default(), 0, 0);
        for verdict in verdicts {
            counts.add(verdict.counts);
            gaps += verdict.gaps;
            told_lost += verdict.told_lost;
        }
        outcome.verified = Some(counts);
        outcome.latency_us = Latency::of(&shared.reconnects.borrow());
        let note = "latency is from the beginning of a connection to its subscription";
        outcome.notes.push(note.into());
        let (ends, resets) = shared.cuts.get();
        outcome.notes.push(format!(
            "{} cuts, {} of them by a reset; {} subscriptions",
            grouped((ends + resets) as f64),
            grouped(resets as f64),
            grouped(shared.subscribed.get() as f64)
        ));
        if shared.replayed.get() > 0 {
            outcome.notes.push(format!(
                "{} messages were missed and repeated",
                grouped(shared.replayed.get() as f64)
            ));
        }
        if gaps > 0 {
            let told = format!(
                "{} gaps were told, {} messages in all: is the topic's history long enough?",
                grouped(gaps as f64),
                grouped(told_lost as f64)
            );
            if self.options.no_gaps {
                outcome.failures.push(told);
            } else {
                outcome.notes.push(told);
            }
        }
        outcome.ends.extend(shared.ends.take());
        outcome.failures.extend(shared.failure.take());
        outcome.judge();
        outcome
    }
}
