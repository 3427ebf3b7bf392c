//! Connecting a number of connections before a run.

use std::time::Duration;

use super::HANDSHAKES_MAX;
use crate::cli::Common;
use crate::measure::Progress;
use crate::net::{Handler, Id, Net};

const TURN_MAX: Duration = Duration::from_millis(5);

/// How many connections are on the way and there, and what went wrong.
#[derive(Debug, Default)]
pub(crate) struct Arrivals {
    opening: usize,
    ready: Vec<Id>,
    failure: Option<String>,
}

impl Arrivals {
    /// A connection is as far as it has to be.
    pub(crate) fn arrived(&mut self, id: Id) {
        self.opening = self.opening.saturating_sub(1);
        self.ready.push(id);
    }

    /// The connections that arrived, in the order they did.
    pub(crate) fn ready(&self) -> &[Id] {
        &self.ready
    }

    /// Remembers why the run failed; the first reason stays.
    pub(crate) fn fail(&mut self, reason: String) {
        self.failure.get_or_insert(reason);
    }

    pub(crate) fn failure(&self) -> Option<&str> {
        self.failure.as_deref()
    }
}

/// A handler whose connections arrive.
pub(crate) trait Arriving: Handler {
    fn arrivals(&mut self) -> &mut Arrivals;

    /// Starts connection `number`.
    fn open(&mut self, net: &mut Net, _number: usize) -> Result<Id, String> {
        super::open(net)
    }
}

/// Opens `count` connections and waits until all have arrived.
pub(crate) fn gather(
    net: &mut Net,
    handler: &mut impl Arriving,
    count: usize,
    common: &Common,
) -> Result<(), String> {
    const LINE_NS: u64 = 1_000_000_000;
    let mut progress = Progress::new(common.quiet, net.now_ns());
    let deadline_ns = net.now_ns() + common.patience.as_nanos() as u64;
    let mut next_line_ns = net.now_ns() + LINE_NS;
    let mut opened = 0;
    loop {
        while opened < count && handler.arrivals().opening < HANDSHAKES_MAX {
            handler.open(net, opened)?;
            opened += 1;
            handler.arrivals().opening += 1;
        }
        net.turn(handler, TURN_MAX)
            .map_err(|error| format!("epoll: {error}"))?;
        let arrivals = handler.arrivals();
        if let Some(failure) = &arrivals.failure {
            return Err(failure.clone());
        }
        let ready = arrivals.ready.len();
        if ready == count {
            return Ok(());
        }
        if net.now_ns() > deadline_ns {
            return Err(format!(
                "after --patience, only {ready} of {count} connections are ready"
            ));
        }
        if net.now_ns() > next_line_ns {
            next_line_ns += LINE_NS;
            progress.write(&format!("connecting: {ready} of {count}"));
        }
    }
}
