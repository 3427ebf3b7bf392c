//! A publisher and a subscriber beside the load, on a thread and a topic of their own: what the load
//! costs other clients.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Deserialize;

use crate::cli::Common;
use crate::events::{self, ServerFrame};
use crate::frame::opcode;
use crate::net::{End, Handler, Id, Net, Target};
use crate::outcome::{Canary, Latency};
use crate::schedule::Schedule;
use crate::verify::new_histogram;

/// Messages per second.
const RATE: f64 = 10.0;

const TURN_MAX: Duration = Duration::from_millis(5);

/// A connected pair that publishes.
#[derive(Debug)]
pub(crate) struct RunningCanary {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Result<Canary, String>>,
}

impl RunningCanary {
    /// Connects the pair, which publishes until [`Self::stop`].
    pub(crate) fn start(target: &Target, common: &Common) -> Result<Self, String> {
        let stop = Arc::<AtomicBool>::default();
        let (ready, is_ready) = mpsc::channel();
        let (target, stopped) = (target.clone(), stop.clone());
        let (seed, patience) = (common.seed, common.patience);
        let thread = thread::spawn(move || {
            let net = Net::new(target.clone(), 1, seed);
            let mut net = net.map_err(|error| format!("epoll: {error}"))?;
            let mut pair = CanaryPair::open(&mut net, &target)?;
            let due = |pair: &CanaryPair| pair.ready < 2;
            pair.turn_while(&mut net, patience, due)?;
            if due(&pair) {
                return Err("the canary is not ready in time".to_owned());
            }
            // The receiver waits below.
            let _ = ready.send(());
            pair.publish_until_stopped(&mut net, &stopped, patience)
        });
        let running = Self { stop, thread };
        match is_ready.recv() {
            Ok(()) => Ok(running),
            Err(_) => Err(running.stop().err().unwrap_or_default()),
        }
    }

    /// Waits for outstanding messages.
    pub(crate) fn stop(self) -> Result<Canary, String> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread
            .join()
            .map_err(|_| "the canary panicked".to_owned())?
    }
}

struct CanaryPair {
    target: Target,
    topic: String,
    publisher: Id,
    subscriber: Id,
    ready: usize,
    /// When each message was due.
    due_ns: Vec<u64>,
    received: usize,
    latency: Histogram<u64>,
    failure: Option<String>,
}

/// An event of the pair's topic.
#[derive(Deserialize)]
struct CanaryEvent {
    data: usize,
}

impl CanaryPair {
    fn open(net: &mut Net, target: &Target) -> Result<Self, String> {
        Ok(Self {
            target: target.clone(),
            topic: format!("canary-{}", std::process::id()),
            publisher: super::open(net)?,
            subscriber: super::open(net)?,
            ready: 0,
            due_ns: Vec::new(),
            received: 0,
            latency: new_histogram(),
            failure: None,
        })
    }

    /// Handles events while `due`, for `patience` at most.
    fn turn_while(
        &mut self,
        net: &mut Net,
        patience: Duration,
        due: impl Fn(&Self) -> bool,
    ) -> Result<(), String> {
        let deadline_ns = net.now_ns() + patience.as_nanos() as u64;
        while due(self) && net.now_ns() < deadline_ns {
            net.turn(self, TURN_MAX)
                .map_err(|error| format!("epoll: {error}"))?;
            if let Some(failure) = self.failure.take() {
                return Err(failure);
            }
        }
        Ok(())
    }

    fn publish_until_stopped(
        mut self,
        net: &mut Net,
        stop: &AtomicBool,
        patience: Duration,
    ) -> Result<Canary, String> {
        let mut schedule = Schedule::new(net.now_ns(), RATE, 1);
        while !stop.load(Ordering::Relaxed) {
            while let Some(due_ns) = schedule.take(net.now_ns()) {
                let number = self.due_ns.len();
                self.due_ns.push(due_ns);
                let message =
                    serde_json::json!({ "type": "publish", "event": self.topic, "data": number });
                net.queue(self.publisher, opcode::TEXT, |out| {
                    out.extend_from_slice(message.to_string().as_bytes());
                });
                net.flush(self.publisher);
            }
            self.turn_while(net, TURN_MAX, |_| true)?;
        }
        self.turn_while(net, patience, |pair| pair.received < pair.due_ns.len())?;
        Ok(Canary {
            sent: self.due_ns.len(),
            lost: self.due_ns.len() - self.received,
            latency_us: Latency::of(&self.latency),
        })
    }

    fn fail(&mut self, why: String) {
        self.failure.get_or_insert(why);
    }
}

impl Handler for CanaryPair {
    fn opened(&mut self, _net: &mut Net, _id: Id) {}

    fn message(&mut self, net: &mut Net, id: Id, _op: u8, payload: &[u8]) {
        let frame = match ServerFrame::parse(payload) {
            Ok(frame) => frame,
            Err(problem) => return self.fail(problem),
        };
        match &*frame.kind {
            "connection_established" if id == self.subscriber => {
                let text = events::subscribe([&*self.topic].into_iter());
                net.queue(id, opcode::TEXT, |out| out.extend_from_slice(&text));
                net.flush(id);
            }
            "connection_established" | "subscription_confirmed" => self.ready += 1,
            "event" => match serde_json::from_slice(payload) {
                Ok(CanaryEvent { data }) if data == self.received => {
                    let late_ns = net.read_at_ns().saturating_sub(self.due_ns[data]);
                    self.latency.saturating_record(late_ns);
                    self.received += 1;
                }
                _ => {
                    let text = String::from_utf8_lossy(payload);
                    self.fail(format!(
                        "the canary expected message {}: {text:.200}",
                        self.received
                    ));
                }
            },
            _ => {
                let text = String::from_utf8_lossy(payload);
                self.fail(format!("the canary was told: {text:.200}"));
            }
        }
    }

    fn closed(&mut self, _net: &mut Net, _id: Id, end: End) {
        let failure = super::failure(&self.target, "canary", &end);
        self.fail(failure);
    }
}
