//! Resume: every subscriber cuts its connection again and again. In the end it must have every
//! message exactly once, or an announced gap.

mod client;
mod publisher;
mod shared;
mod sse;
mod subscriber;
mod subscriber_verifier;
mod topic_verifier;
mod topics;
mod websocket;

use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::task::{JoinHandle, LocalSet, spawn_local};
use tokio::time::{sleep, timeout};

use crate::cli::{self, Common, Encoding, Scenario, Transport};
use crate::measure::{Progress, Window};
use crate::net::Target;
use crate::outcome::{Latency, Outcome, grouped};
use crate::verify::Counts;

use client::ResumingClient;
use shared::{ResumeShared, SubscriberPhase};
use sse::Sse;
use subscriber::Subscriber;
use topic_verifier::ResumeReport;
use websocket::WebSocket;

/// Between two checks of the clock.
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
    let shared = Rc::new(ResumeShared::new(options, target, common));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| format!("tokio: {error}"))?;
    let mut run = ResumeRun {
        shared,
        options,
        common,
        window,
    };
    let reports = LocalSet::new().block_on(&runtime, run.drive());
    Ok(run.report(
        super::outcome(scenario, target, common, "deliveries"),
        &reports,
    ))
}

struct ResumeRun<'a> {
    shared: Rc<ResumeShared>,
    options: &'a cli::Resume,
    common: &'a Common,
    window: Window,
}

impl ResumeRun<'_> {
    /// Runs subscribers and publisher until every subscriber is complete, and returns what each got.
    /// Failures are in `shared`.
    async fn drive(&mut self) -> Vec<ResumeReport> {
        let shared = self.shared.clone();
        let subscribers: Vec<_> = (0..self.options.subscribers)
            .map(|number| spawn_local(self.subscriber(number).run()))
            .collect();
        if self.wait_until_subscribed().await {
            let publisher = {
                let (shared, rate) = (shared.clone(), self.options.rate);
                spawn_local(async move { publisher::publish(&shared, rate).await })
            };
            self.measure().await;
            shared.stop_publishing.set(true);
            match publisher.await.expect("the publisher does not panic") {
                Ok(_) => {}
                Err(why) => shared.fail(why),
            }
        }
        shared
            .phase
            .send_replace(SubscriberPhase::Draining(shared.published.get()));
        self.finish(subscribers).await
    }

    fn subscriber(&self, number: usize) -> Subscriber {
        let ResumeShared {
            target,
            topics,
            seed,
            ..
        } = &*self.shared;
        let seed = seed ^ (number as u64 + 1) << 32;
        let client: Box<dyn ResumingClient> = match self.options.transport {
            Transport::Websocket => {
                let encoding = self.options.encoding;
                Box::new(WebSocket::new(target, topics, encoding, seed))
            }
            Transport::Sse => Box::new(Sse::new(target, topics)),
        };
        Subscriber::new(&self.shared, client, seed)
    }

    /// Waits until every subscriber was subscribed once.
    async fn wait_until_subscribed(&self) -> bool {
        let wanted = self.options.subscribers;
        let began = Instant::now();
        while !self.shared.has_failed() {
            let subscribed_once = self.shared.subscribed_once.get();
            if subscribed_once == wanted {
                return true;
            }
            if began.elapsed() > self.common.patience {
                self.shared.fail(format!(
                    "only {subscribed_once} of {wanted} are subscribed after {:?}",
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
            let latency = &shared.connect_latency;
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

    /// Waits until every subscriber is complete.
    async fn finish(&self, subscribers: Vec<JoinHandle<ResumeReport>>) -> Vec<ResumeReport> {
        let patience = if self.shared.has_failed() {
            Duration::ZERO
        } else {
            self.common.patience
        };
        let until = tokio::time::Instant::now() + patience;
        let mut reports = Vec::new();
        let mut late = 0;
        for subscriber in subscribers {
            let left = until.saturating_duration_since(tokio::time::Instant::now());
            match timeout(left, subscriber).await {
                Ok(report) => reports.push(report.expect("a subscriber does not panic")),
                Err(_) => late += 1,
            }
        }
        if late > 0 {
            self.shared.fail(format!(
                "{late} subscribers do not have everything after {patience:?}"
            ));
        }
        reports
    }

    fn report(self, mut outcome: Outcome, reports: &[ResumeReport]) -> Outcome {
        let shared = &self.shared;
        self.window.report(&mut outcome);
        outcome.client = match self.options.transport {
            Transport::Websocket => "websocket".into(),
            Transport::Sse => "sse".into(),
        };
        let (mut counts, mut gaps, mut announced_lost) = (Counts::default(), 0, 0);
        for report in reports {
            counts.add(report.counts);
            gaps += report.gaps;
            announced_lost += report.announced_lost;
        }
        outcome.verified = Some(counts);
        outcome.latency_us = Latency::of(&shared.connect_latency.borrow());
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
            let announced = format!(
                "{} gaps were told, {} messages in all: is the topic's history long enough?",
                grouped(gaps as f64),
                grouped(announced_lost as f64)
            );
            if self.options.no_gaps {
                outcome.failures.push(announced);
            } else {
                outcome.notes.push(announced);
            }
        }
        outcome.ends.extend(shared.ends.take());
        outcome.failures.extend(shared.failure.take());
        outcome.judge();
        outcome
    }
}
