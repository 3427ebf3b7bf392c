//! What the publisher and all subscribers of a run share.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use tokio::sync::watch;

use super::topics::RunTopics;
use crate::cli::{self, Common};
use crate::net::{Target, Traffic};
use crate::payload::Layout;
use crate::verify::new_histogram;

/// Different reasons of ended connections that are reported.
const ENDS_MAX: usize = 10;

/// What subscribers do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SubscriberPhase {
    /// They cut their connections at random.
    Cutting,
    /// This many messages were published in all: they connect once more and stay until they have
    /// every one.
    Draining(u32),
}

/// State of a run. All its tasks are on one thread.
pub(super) struct ResumeShared {
    pub(super) target: Target,
    pub(super) topics: Rc<RunTopics>,
    pub(super) layout: Layout,
    pub(super) seed: u64,
    pub(super) cut_every: Duration,
    pub(super) away: Duration,
    pub(super) patience: Duration,
    pub(super) epoch: Instant,
    pub(super) phase: watch::Sender<SubscriberPhase>,
    pub(super) stop_publishing: Cell<bool>,
    pub(super) published: Cell<u32>,
    /// Subscribers whose subscription was confirmed at least once.
    pub(super) subscribed_once: Cell<usize>,
    /// Confirmed subscriptions over all connections.
    pub(super) subscribed: Cell<u64>,
    pub(super) received: Cell<u64>,
    pub(super) faults: Cell<u64>,
    /// Missed messages that the server announced to replay.
    pub(super) replayed: Cell<u64>,
    /// Cuts by the end of the stream, and by a reset.
    pub(super) cuts: Cell<(u64, u64)>,
    pub(super) traffic: Cell<Traffic>,
    /// From the start of a connection to its confirmed subscription.
    pub(super) connect_latency: RefCell<Histogram<u64>>,
    /// How often the server ended a connection, by reason.
    pub(super) ends: RefCell<BTreeMap<String, u64>>,
    pub(super) failure: RefCell<Option<String>>,
}

impl ResumeShared {
    pub(super) fn new(options: &cli::Resume, target: &Target, common: &Common) -> Self {
        Self {
            target: target.clone(),
            topics: Rc::new(RunTopics::new(&options.topic, options.topics)),
            layout: Layout::new(options.payload, common.seed),
            seed: common.seed,
            cut_every: options.cut_every,
            away: options.away,
            patience: common.patience,
            epoch: Instant::now(),
            phase: watch::Sender::new(SubscriberPhase::Cutting),
            stop_publishing: Cell::new(false),
            published: Cell::new(0),
            subscribed_once: Cell::new(0),
            subscribed: Cell::new(0),
            received: Cell::new(0),
            faults: Cell::new(0),
            replayed: Cell::new(0),
            cuts: Cell::new((0, 0)),
            traffic: Cell::new(Traffic::default()),
            connect_latency: RefCell::new(new_histogram()),
            ends: RefCell::default(),
            failure: RefCell::default(),
        }
    }

    pub(super) fn now_ns(&self) -> u64 {
        self.epoch.elapsed().as_nanos() as u64
    }

    /// Fails the run; the first reason is reported.
    pub(super) fn fail(&self, why: String) {
        self.failure.borrow_mut().get_or_insert(why);
    }

    pub(super) fn has_failed(&self) -> bool {
        self.failure.borrow().is_some()
    }

    /// Counts a connection that the server ended.
    pub(super) fn note_end(&self, why: String) {
        let mut ends = self.ends.borrow_mut();
        if ends.len() < ENDS_MAX || ends.contains_key(&why) {
            *ends.entry(why).or_default() += 1;
        }
    }

    pub(super) fn note_subscribed(&self, first: bool, took_ns: u64) {
        self.subscribed_once
            .set(self.subscribed_once.get() + usize::from(first));
        self.subscribed.set(self.subscribed.get() + 1);
        self.connect_latency
            .borrow_mut()
            .saturating_record(took_ns.max(1));
    }

    pub(super) fn note_cut(&self, reset: bool) {
        let (ends, resets) = self.cuts.get();
        let cuts = if reset {
            (ends, resets + 1)
        } else {
            (ends + 1, resets)
        };
        self.cuts.set(cuts);
    }

    pub(super) fn note_read(&self, bytes: usize, messages: u64, faults: u64) {
        let mut traffic = self.traffic.get();
        traffic.reads += 1;
        traffic.read_bytes += bytes as u64;
        traffic.messages += messages;
        self.traffic.set(traffic);
        self.received.set(self.received.get() + messages);
        self.faults.set(self.faults.get() + faults);
    }
}
