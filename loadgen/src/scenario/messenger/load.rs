//! Messages of the connected users: as many as the server takes, or on a schedule.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use hdrhistogram::Histogram;

use super::accounts::TURN_MAX;
use super::bare::{self, BareRow};
use super::ledger::Audience;
use super::users::Users;
use crate::cli::Common;
use crate::measure::{Progress, Window};
use crate::net::{Net, Target};
use crate::outcome::{Latency, Outcome, StoreRates, grouped, time};
use crate::payload::Layout;
use crate::process;
use crate::scenario::connections::connect_all;
use crate::schedule::Schedule;
use crate::stall::StallTimer;
use crate::verify::new_histogram;

/// The rate at which latency is measured, as a part of the highest one.
const PACED_SHARE: f64 = 0.5;

/// Messages on a schedule that are unfinished at a time, fewer than the server lets wait for its store.
const UNFINISHED_MAX: u64 = 8192;

/// When users send.
#[derive(Debug)]
pub(super) enum Pace {
    /// Each as soon as fewer than so many of its messages are unfinished.
    InFlight(u32),
    /// In turn, on a schedule.
    Scheduled(Schedule),
}

/// A run.
pub(super) struct Load<'a> {
    net: Net,
    users: Users,
    window: Window,
    common: &'a Common,
    audience: Audience,
    progress: Progress,
    stall: StallTimer,
    /// Of the part whose latency is reported.
    latency: Histogram<u64>,
    rates: Option<StoreRates>,
    /// The server's CPU time by thread when the window opened and closed.
    threads: Vec<(u64, BTreeMap<String, u64>)>,
    /// The user that sends next on a schedule.
    turn: usize,
    notes: Vec<String>,
}

impl<'a> Load<'a> {
    /// Connects all users.
    pub(super) fn connect(
        names: Vec<String>,
        tokens: Vec<String>,
        (audience, layout): (Audience, Layout),
        target: &Target,
        common: &'a Common,
    ) -> Result<Self, String> {
        let window = Window::new(common.pid)?;
        let count = names.len();
        let mut net = crate::scenario::net(target, common, count)?;
        let mut users = Users::new(names, tokens, (audience, layout), target);
        connect_all(&mut net, &mut users, count, common)?;
        Ok(Self {
            progress: Progress::new(common.quiet, net.now_ns()),
            stall: StallTimer::new(net.now_ns()),
            net,
            users,
            window,
            common,
            audience,
            latency: new_histogram(),
            rates: None,
            threads: Vec::new(),
            turn: 0,
            notes: Vec::new(),
        })
    }

    /// As many messages as the server takes, then half as many on a schedule; beside a bare loop of inserts, if
    /// there is a `database`.
    pub(super) fn run_at_most(
        &mut self,
        in_flight: u32,
        database: Option<&Path>,
    ) -> Result<(), String> {
        let own_ns = || process::cpu_ns("self").map_err(|error| format!("own CPU time: {error}"));
        let began_ns = own_ns()?;
        let before = self.bare_rate(database, in_flight)?;
        let bare_ns = own_ns()? - began_ns;
        let mut most = self.part(Pace::InFlight(in_flight), true)?;
        let after = self.bare_rate(database, in_flight)?;
        let closed = std::mem::replace(&mut self.latency, new_histogram());
        if let Some(latency) = Latency::of(&closed) {
            let (p50, p99) = (time(latency.p50), time(latency.p99));
            let all = grouped(f64::from(in_flight) * self.users.count() as f64);
            let note = format!("with {all} in flight: p50 {p50}, p99 {p99}");
            self.notes.push(note);
        }
        most = most.max(1.0);
        let paced = most * PACED_SHARE;
        let schedule = Schedule::new(self.net.now_ns(), paced, 1);
        self.part(Pace::Scheduled(schedule), false)?;
        let note = format!(
            "latency is that at {} messages/s, on a schedule",
            grouped(paced)
        );
        self.notes.push(note);
        self.rates = before.zip(after).map(|(before, after)| {
            let bare = f64::midpoint(before, after);
            StoreRates {
                bare_rows_per_second: bare,
                bare_cpu_ns: bare_ns as f64 / (before * bare::BARE_TIME.as_secs_f64()),
                bare_before: before,
                bare_after: after,
                share_of_bare: most / bare,
                paced_per_second: paced,
            }
        });
        Ok(())
    }

    /// Messages on a schedule.
    pub(super) fn run_on_schedule(&mut self, rate: f64) -> Result<(), String> {
        let schedule = Schedule::new(self.net.now_ns(), rate, 1);
        self.part(Pace::Scheduled(schedule), true).map(drop)
    }

    /// Rows of a bare loop a second: each user's `in_flight` one after the other, as they come in the run.
    fn bare_rate(&self, database: Option<&Path>, in_flight: u32) -> Result<Option<f64>, String> {
        let Some(database) = database else {
            return Ok(None);
        };
        let count = self.users.count() as u32;
        let row = |number: u32| {
            let (turn, in_turn) = (number / in_flight, number % in_flight);
            let own = turn / count * in_flight + in_turn;
            let (from, to, timestamp, content) = self.users.text_of((turn % count) as usize, own);
            BareRow {
                from,
                to,
                timestamp,
                content,
            }
        };
        bare::rows_per_second(database, row).map(Some)
    }

    /// What is counted: messages that are finished, or deliveries of broadcasts.
    fn count(&self) -> u64 {
        match self.audience {
            Audience::One => self.users.ledger.finished,
            Audience::Others => self.users.ledger.counts.received,
        }
    }

    /// Warm-up, window and drain; the rate within the window.
    fn part(&mut self, mut pace: Pace, is_reported: bool) -> Result<f64, String> {
        let began_ns = self.net.now_ns();
        let start_ns = began_ns + self.common.warmup.as_nanos() as u64;
        let stop_ns = start_ns + self.common.duration.as_nanos() as u64;
        let (mut start, mut is_started) = ((0, 0), false);
        self.stall.restart(began_ns);
        if let Pace::InFlight(_) = pace {
            self.users.ready = (0..self.users.count()).collect();
        }
        loop {
            let now_ns = self.net.now_ns();
            if now_ns >= start_ns && !is_started {
                is_started = true;
                start = (now_ns, self.count());
                self.latency.reset();
                self.users.latency.reset();
                if is_reported {
                    self.mark(now_ns)?;
                    let acknowledged = self.users.ledger.acknowledged;
                    let traffic = self.net.traffic();
                    self.window.start(now_ns, start.1, acknowledged, traffic);
                }
            }
            if now_ns >= stop_ns {
                break;
            }
            let wait = self.send_due(&mut pace, now_ns);
            self.turn(if is_started { "measuring" } else { "warming" }, wait)?;
            if self.stall.exceeds(self.common.patience, self.net.now_ns()) {
                self.users.connections.fail(format!(
                    "stalled: nothing came for {:?}",
                    self.common.patience
                ));
            }
            if self.users.connections.failure().is_some() {
                return Ok(0.0);
            }
        }
        let (now_ns, count) = (self.net.now_ns(), self.count());
        if is_reported {
            let acknowledged = self.users.ledger.acknowledged;
            let traffic = self.net.traffic();
            self.window.stop(now_ns, count, acknowledged, traffic);
            self.mark(now_ns)?;
        }
        self.drain()?;
        let recent = &mut self.users.latency;
        self.latency.add(&*recent).expect("the bounds are equal");
        recent.reset();
        Ok((count - start.1) as f64 * 1e9 / (now_ns - start.0).max(1) as f64)
    }

    /// Sends what is due; how long there is nothing to send.
    fn send_due(&mut self, pace: &mut Pace, now_ns: u64) -> Duration {
        match pace {
            Pace::InFlight(most) => {
                for user in self.users.take_ready() {
                    while self.users.ledger.waiting_of(user) < *most as usize {
                        self.users.send(&mut self.net, user, now_ns);
                    }
                    self.net.flush(self.users.id(user));
                }
                TURN_MAX
            }
            Pace::Scheduled(schedule) => {
                // What has to wait here keeps the time it was due.
                while self.users.ledger.unfinished < UNFINISHED_MAX
                    && let Some(due_ns) = schedule.take(now_ns)
                {
                    let user = self.turn;
                    self.turn = (user + 1) % self.users.count();
                    self.users.send(&mut self.net, user, due_ns);
                    self.net.flush(self.users.id(user));
                }
                Duration::from_nanos(schedule.next_ns().saturating_sub(now_ns)).min(TURN_MAX)
            }
        }
    }

    fn turn(&mut self, phase: &str, timeout: Duration) -> Result<(), String> {
        self.net
            .turn(&mut self.users, timeout)
            .map_err(|error| format!("epoll: {error}"))?;
        let (now_ns, count) = (self.net.now_ns(), self.count());
        let ledger = &self.users.ledger;
        self.stall
            .update(ledger.counts.received + ledger.acknowledged, now_ns);
        let unit = match self.audience {
            Audience::One => "messages",
            Audience::Others => "deliveries",
        };
        let faults = ledger.counts.faults();
        let recent = &mut self.users.latency;
        if self
            .progress
            .tick(now_ns, phase, unit, count, faults, recent)
        {
            self.latency.add(&*recent).expect("the bounds are equal");
            recent.reset();
        }
        Ok(())
    }

    /// Waits until all messages are finished.
    fn drain(&mut self) -> Result<(), String> {
        self.stall.restart(self.net.now_ns());
        while self.users.ledger.unfinished > 0
            && self.users.connections.failure().is_none()
            && !self.stall.exceeds(self.common.patience, self.net.now_ns())
        {
            self.turn("draining", TURN_MAX)?;
        }
        Ok(())
    }

    fn mark(&mut self, now_ns: u64) -> Result<(), String> {
        if let Some(pid) = self.common.pid {
            let threads = process::cpu_ns_by_thread(&pid.to_string())
                .map_err(|error| format!("--pid {pid} cannot be read: {error}"))?;
            self.threads.push((now_ns, threads));
        }
        Ok(())
    }

    /// Waits a moment for what must not come, and reports.
    pub(super) fn report(mut self, mut outcome: Outcome) -> Outcome {
        let until_ns = self.net.now_ns() + AFTERWARDS.as_nanos() as u64;
        while self.net.now_ns() < until_ns && self.users.connections.failure().is_none() {
            if let Err(problem) = self.turn("listening", TURN_MAX) {
                self.users.connections.fail(problem);
            }
        }
        self.window.report(&mut outcome);
        outcome.latency_us = Latency::of(&self.latency);
        self.users.ledger.close();
        outcome.verified = Some(self.users.ledger.counts);
        outcome.store = self.rates;
        if let [(start_ns, start), (stop_ns, stop)] = &self.threads[..] {
            let share = |(name, used): (&String, &u64)| {
                let used = used.saturating_sub(start.get(name).copied().unwrap_or(0));
                let share = used as f64 / (stop_ns - start_ns).max(1) as f64;
                (share >= 0.005).then(|| (name.clone(), share))
            };
            outcome.server_threads = stop.iter().filter_map(share).collect();
        }
        outcome.notes.append(&mut self.notes);
        let fault = self.users.first_fault();
        outcome
            .notes
            .extend(fault.map(|text| format!("the first wrong frame: {text}")));
        outcome
            .failures
            .extend(self.users.connections.failure().map(str::to_owned));
        outcome.judge();
        outcome
    }
}

/// How long it is looked for messages that come twice.
const AFTERWARDS: Duration = Duration::from_millis(300);
