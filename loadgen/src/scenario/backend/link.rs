//! A group of members, from attaching to leaving, around what a run does in between.

use std::time::Duration;

use hdrhistogram::Histogram;

use super::app_message::AppMessages;
use super::clients::NORMAL;
use super::handler::{BackendHandler, Plan};
use super::ledger::LedgerFaults;
use super::lifecycles::LifecycleFaults;
use crate::cli::Common;
use crate::measure::{Progress, Window};
use crate::net::Net;
use crate::outcome::{BackendReport, Latency, Outcome, grouped};
use crate::stall::StallTimer;
use crate::verify::new_histogram;

pub(crate) const TURN_MAX: Duration = Duration::from_millis(5);

/// Between two questions how much the group has not acknowledged.
const ASK_NS: u64 = 20_000_000;

/// How long a member that was killed stays away.
const AWAY_NS: u64 = 100_000_000;

/// A run's connections and measurements.
pub(crate) struct Link<'a> {
    pub(crate) net: Net,
    pub(crate) handler: BackendHandler,
    pub(crate) common: &'a Common,
    pub(crate) window: Window,
    progress: Progress,
    latency: Histogram<u64>,
    stall: StallTimer,
    /// Why no more messages are awaited.
    stalled: Option<String>,
    /// When a member that was killed comes back, and which.
    back: Option<(u64, usize)>,
}

impl<'a> Link<'a> {
    /// Attaches the members, and has them take what the group still had.
    pub(crate) fn attach(
        mut net: Net,
        plan: Plan,
        messages: AppMessages,
        common: &'a Common,
    ) -> Result<Self, String> {
        let window = Window::new(common.pid)?;
        let members = plan.members;
        let mut handler = BackendHandler::new(plan, messages);
        handler.inbox.discarding = true;
        for number in 0..members {
            handler.open_member(&mut net, number)?;
        }
        let now_ns = net.now_ns();
        let mut link = Self {
            progress: Progress::new(common.quiet, now_ns),
            latency: new_histogram(),
            stall: StallTimer::new(now_ns),
            stalled: None,
            back: None,
            net,
            handler,
            common,
            window,
        };
        if !link.turn_until(|link| link.handler.members.absent().is_none(), "attaching")? {
            let patience = common.patience;
            return Err(format!("not all members are attached after {patience:?}"));
        }
        link.settle()?;
        link.handler.inbox.discarding = false;
        match link.handler.connections.failure() {
            Some(failure) => Err(failure.to_owned()),
            None => Ok(link),
        }
    }

    pub(crate) fn now_ns(&self) -> u64 {
        self.net.now_ns()
    }

    pub(crate) fn has_failed(&self) -> bool {
        self.handler.connections.failure().is_some()
    }

    /// Whether nothing came for too long although messages are outstanding.
    pub(crate) fn is_stalled(&self) -> bool {
        self.stalled.is_some()
    }

    /// Opens the window.
    pub(crate) fn start_window(&mut self, now_ns: u64) {
        self.latency.reset();
        self.handler.inbox.latency.reset();
        let (count, sent) = (
            self.handler.members.acknowledged,
            self.handler.inbox.ledger.sent(),
        );
        self.window.start(now_ns, count, sent, self.net.traffic());
    }

    pub(crate) fn stop_window(&mut self, now_ns: u64) {
        let (count, sent) = (
            self.handler.members.acknowledged,
            self.handler.inbox.ledger.sent(),
        );
        self.window.stop(now_ns, count, sent, self.net.traffic());
    }

    /// Waits for what happens, at most `timeout`.
    pub(crate) fn turn(&mut self, phase: &str, timeout: Duration) -> Result<(), String> {
        self.net
            .turn(&mut self.handler, timeout)
            .map_err(|error| format!("epoll: {error}"))?;
        let now_ns = self.net.now_ns();
        self.handler.members.send_held(&mut self.net, now_ns);
        self.bring_back(now_ns)?;
        let handler = &mut self.handler;
        let received = handler.inbox.ledger.counts.received;
        let done = received + handler.inbox.ledger.refused() + handler.members.acknowledged;
        self.stall.update(done, now_ns);
        if handler.inbox.ledger.outstanding() == 0 && !handler.members.has_held() {
            self.stall.restart(now_ns);
        }
        if self.stalled.is_none() && self.stall.exceeds(self.common.patience, now_ns) {
            let (due, patience) = (handler.inbox.ledger.outstanding(), self.common.patience);
            self.stalled = Some(format!(
                "stalled: {due} messages were neither received nor refused for {patience:?}"
            ));
        }
        let faults = handler.inbox.faults() + handler.members.seq_faults;
        let recent = &mut handler.inbox.latency;
        let count = handler.members.acknowledged;
        if self
            .progress
            .tick(now_ns, phase, "messages", count, faults, recent)
        {
            self.latency.add(&*recent).expect("the bounds are equal");
            recent.reset();
        }
        Ok(())
    }

    /// Kills the member that gets the next messages.
    pub(crate) fn kill_member(&mut self) {
        self.handler.members.kill = true;
    }

    /// Whether no member is to be killed any more. One that was comes back after some time.
    pub(crate) fn has_killed(&mut self, now_ns: u64) -> bool {
        if !self.handler.members.kill
            && let Some(number) = self.handler.members.absent()
        {
            self.back = Some((now_ns + AWAY_NS, number));
        }
        !self.handler.members.kill
    }

    /// Opens a connection for a member that was killed, when it is time.
    fn bring_back(&mut self, now_ns: u64) -> Result<(), String> {
        match self.back {
            Some((back_ns, number)) if now_ns >= back_ns => {
                self.back = None;
                self.handler.open_member(&mut self.net, number)
            }
            _ => Ok(()),
        }
    }

    /// Turns until `is_done`, at most as long as the user's patience; false if it was not.
    pub(crate) fn turn_until(
        &mut self,
        is_done: impl Fn(&mut Self) -> bool,
        phase: &str,
    ) -> Result<bool, String> {
        let deadline_ns = self.net.now_ns() + self.common.patience.as_nanos() as u64;
        while !is_done(self) {
            if let Some(failure) = self.handler.connections.failure()
                && !self.window.is_started()
            {
                return Err(failure.to_owned());
            }
            if self.has_failed() || self.net.now_ns() > deadline_ns {
                return Ok(false);
            }
            self.turn(phase, TURN_MAX)?;
        }
        Ok(true)
    }

    /// Waits until the gateway says that everything is acknowledged.
    fn settle(&mut self) -> Result<(), String> {
        let began_ns = self.now_ns();
        let deadline_ns = began_ns + self.common.patience.as_nanos() as u64;
        let mut ask_ns = began_ns;
        self.handler.pending = None;
        while self.handler.pending != Some(0) && !self.has_failed() {
            let now_ns = self.now_ns();
            if now_ns > deadline_ns {
                let patience = self.common.patience;
                self.handler.connections.fail(match self.handler.pending {
                    Some(pending) => format!(
                        "after {patience:?} the gateway says that {pending} objects are not acknowledged"
                    ),
                    None => format!("no answer to the op health for {patience:?}"),
                });
            }
            if now_ns >= ask_ns {
                ask_ns = now_ns + ASK_NS;
                self.handler.ask_pending(&mut self.net);
            }
            self.turn("settling", TURN_MAX)?;
        }
        Ok(())
    }

    /// Waits until every connection of a client was told to have left, until everything is acknowledged,
    /// and detaches the members. The clients must have been closed.
    pub(crate) fn leave(&mut self, clients: usize) -> Result<(), String> {
        let has_ended = |link: &mut Self| {
            let handler = &link.handler;
            let connected = handler.inbox.lifecycles.connects() as usize >= clients;
            handler.clients.ended() as usize >= clients
                && connected
                && handler.inbox.lifecycles.open() == 0
        };
        // What is missing is counted in the report.
        self.turn_until(has_ended, "leaving")?;
        self.settle()?;
        self.handler.members.close(&mut self.net, NORMAL);
        self.turn_until(
            |link| link.handler.members.attached().next().is_none(),
            "leaving",
        )?;
        Ok(())
    }

    /// The report of a run with this many clients that were greeted.
    pub(crate) fn report(mut self, mut outcome: Outcome, clients: usize) -> Outcome {
        drop(self.progress);
        self.window.report(&mut outcome);
        let handler = &self.handler;
        self.latency
            .add(&handler.inbox.latency)
            .expect("the bounds are equal");
        outcome.latency_us = Latency::of(&self.latency);
        let ledger = handler.inbox.ledger.finish();
        outcome.verified = Some(ledger.counts);
        let LedgerFaults {
            unmarked,
            causeless,
            numbers,
            moved,
        } = handler.inbox.ledger.faults;
        let LifecycleFaults {
            connected_twice,
            disconnected_twice,
            out_of_turn,
            mixed,
            wrong_codes,
        } = handler.inbox.lifecycles.faults;
        let lifecycles = &handler.inbox.lifecycles;
        let (connects, disconnects) = (lifecycles.connects(), lifecycles.disconnects());
        let clients = clients as u64;
        let redelivered = handler.inbox.ledger.redelivered;
        let repeated = handler.inbox.ledger.repeated;
        let missing_again = handler.members.unacknowledged.saturating_sub(repeated);
        outcome.judge_backend(BackendReport {
            members: handler.members.count(),
            sent: handler.inbox.ledger.sent(),
            acknowledged: handler.members.acknowledged,
            refused: handler.inbox.ledger.refused(),
            redelivered,
            connects,
            disconnects,
            faults: vec![
                (
                    "refused messages that came as well",
                    ledger.refused_and_received,
                ),
                (
                    "clients of whom others are missing than were refused",
                    ledger.mismatched,
                ),
                (
                    "objects of a killed member that did not come again",
                    missing_again,
                ),
                ("came again without saying so", unmarked),
                ("came again although no member had left", causeless),
                ("numbers (n) used twice, changed or out of order", numbers),
                (
                    "objects whose seq does not follow",
                    handler.members.seq_faults,
                ),
                ("clients that changed their member", moved),
                (
                    "messages that gaps say were dropped",
                    handler.inbox.ledger.told_lost,
                ),
                (
                    "connections without a connect",
                    clients.saturating_sub(connects),
                ),
                ("connects of no client", connects.saturating_sub(clients)),
                ("connections without a disconnect", connects - disconnects),
                ("connects that came twice", connected_twice),
                ("disconnects that came twice", disconnected_twice),
                ("objects before connect or after disconnect", out_of_turn),
                ("clients and connections that were mixed up", mixed),
                ("disconnects with a wrong code", wrong_codes),
            ],
        });
        let parses = handler.inbox.parses();
        if parses * 20 > ledger.counts.received && ledger.counts.received > 100_000 {
            outcome.notes.push(format!(
                "{parses} objects took the slow way because what is around messages varies: the generator is slower than it could be"
            ));
        }
        if ledger.unread > 0 {
            outcome.notes.push(format!(
                "{} messages of reset connections were not read any more",
                grouped(ledger.unread as f64)
            ));
        }
        if handler.inbox.discarded > 0 {
            outcome.notes.push(format!(
                "{} objects of before this run were discarded",
                grouped(handler.inbox.discarded as f64)
            ));
        }
        if handler.inbox.ledger.counts.corrupt > 0 {
            let text = &handler.inbox.last_corrupt;
            outcome.notes.push(format!("not understood: {text:.600}"));
        }
        outcome.failures.extend(self.stalled);
        let failure = handler.connections.failure();
        outcome.failures.extend(failure.map(str::to_owned));
        outcome.judge();
        outcome
    }
}
