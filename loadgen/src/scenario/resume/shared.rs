//! What the publisher and all subscribers of a run share.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use tokio::sync::watch;

use super::topics::Topics;
use crate::net::{Target, Traffic};
use crate::payload::Layout;

/// Kinds of ends that are listed.
const ENDS_MAX: usize = 10;

/// What subscribers are doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// They are cut at random.
    Cutting,
    /// So many messages were sent, and no more will be: they come back once more
    /// and stay until they have everything.
    Last(u32),
}

/// What everybody in the run knows. All of it is one thread's.
pub(super) struct Shared {
    pub(super) target: Target,
    pub(super) topics: Rc<Topics>,
    pub(super) layout: Layout,
    pub(super) seed: u64,
    pub(super) cut_every: Duration,
    pub(super) away: Duration,
    pub(super) patience: Duration,
    pub(super) epoch: Instant,
    pub(super) phase: watch::Sender<Phase>,
    pub(super) publishing_ends: Cell<bool>,
    pub(super) published: Cell<u32>,
    /// Subscribers that have been subscribed at least once.
    pub(super) arrived: Cell<usize>,
    /// Subscriptions that were confirmed, over all connections.
    pub(super) subscribed: Cell<u64>,
    pub(super) received: Cell<u64>,
    pub(super) faults: Cell<u64>,
    pub(super) replayed: Cell<u64>,
    /// Cuts by the end of the stream, and by a reset.
    pub(super) cuts: Cell<(u64, u64)>,
    pub(super) traffic: Cell<Traffic>,
    pub(super) reconnects: RefCell<Histogram<u64>>,
    pub(super) ends: RefCell<BTreeMap<String, u64>>,
    pub(super) failure: RefCell<Option<String>>,
}

impl Shared {
    pub(super) fn now_ns(&self) -> u64 {
        self.epoch.elapsed().as_nanos() as u64
    }

    /// The first failure is the one that counts.
    pub(super) fn fail(&self, why: String) {
        self.failure.borrow_mut().get_or_insert(why);
    }

    pub(super) fn has_failed(&self) -> bool {
        self.failure.borrow().is_some()
    }

    /// A connection that the server ended.
    pub(super) fn note_end(&self, why: String) {
        let mut ends = self.ends.borrow_mut();
        if ends.len() < ENDS_MAX || ends.contains_key(&why) {
            *ends.entry(why).or_default() += 1;
        }
    }

    pub(super) fn note_subscribed(&self, first: bool, took_ns: u64) {
        self.arrived.set(self.arrived.get() + usize::from(first));
        self.subscribed.set(self.subscribed.get() + 1);
        self.reconnects
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
