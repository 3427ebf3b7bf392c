//! Opens the connections of a run.

use std::time::Duration;

use super::HANDSHAKES_MAX;
use crate::cli::Common;
use crate::measure::Progress;
use crate::net::{Handler, Id, Net};

const TURN_MAX: Duration = Duration::from_millis(5);

/// The connections of a run, and why it failed.
#[derive(Debug, Default)]
pub(crate) struct RunConnections {
    opening: usize,
    ready: Vec<Id>,
    failure: Option<String>,
}

impl RunConnections {
    /// A connection is set up.
    pub(crate) fn mark_ready(&mut self, id: Id) {
        self.opening = self.opening.saturating_sub(1);
        self.ready.push(id);
    }

    /// Connections that are set up, in the order they were.
    pub(crate) fn ready(&self) -> &[Id] {
        &self.ready
    }

    /// Fails the run; the first reason is reported.
    pub(crate) fn fail(&mut self, reason: String) {
        self.failure.get_or_insert(reason);
    }

    pub(crate) fn failure(&self) -> Option<&str> {
        self.failure.as_deref()
    }
}

/// A handler with a number of connections to open before the run.
pub(crate) trait ConnectionOwner: Handler {
    fn connections(&mut self) -> &mut RunConnections;

    /// Starts connection `number`.
    fn open(&mut self, net: &mut Net, _number: usize) -> Result<Id, String> {
        super::open(net)
    }
}

/// Opens `count` connections and waits until all are set up.
pub(crate) fn connect_all(
    net: &mut Net,
    handler: &mut impl ConnectionOwner,
    count: usize,
    common: &Common,
) -> Result<(), String> {
    const LINE_NS: u64 = 1_000_000_000;
    let mut progress = Progress::new(common.quiet, net.now_ns());
    let deadline_ns = net.now_ns() + common.patience.as_nanos() as u64;
    let mut next_line_ns = net.now_ns() + LINE_NS;
    let mut opened = 0;
    loop {
        while opened < count && handler.connections().opening < HANDSHAKES_MAX {
            handler.open(net, opened)?;
            opened += 1;
            handler.connections().opening += 1;
        }
        net.turn(handler, TURN_MAX)
            .map_err(|error| format!("epoll: {error}"))?;
        let connections = handler.connections();
        if let Some(failure) = &connections.failure {
            return Err(failure.clone());
        }
        let ready = connections.ready.len();
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
