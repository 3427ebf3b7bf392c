//! The measured window, and the progress line while it runs.

use std::io::{IsTerminal, Write, stderr};

use hdrhistogram::Histogram;

use crate::net::Traffic;
use crate::outcome::{Handshakes, Outcome, Server, grouped, time};
use crate::process;

/// Share of a core from which the generator counts as busy.
const GENERATOR_BUSY: f64 = 0.95;

/// Share of a core from which the server counts as busy.
const SERVER_BUSY: f64 = 0.90;

/// Counters at one moment.
#[derive(Debug, Clone, Copy)]
struct Sample {
    at_ns: u64,
    count: u64,
    published: u64,
    traffic: Traffic,
    own_cpu_ns: u64,
    /// `None` without a process id, or when the process has ended.
    server_cpu_ns: Option<u64>,
    server_ticks: Option<process::Ticks>,
}

/// Measures between [`Self::start`] and [`Self::stop`].
#[derive(Debug)]
pub(crate) struct Window {
    pid: Option<u32>,
    rss_bytes_before: u64,
    start: Option<Sample>,
    stop: Option<Sample>,
}

impl Window {
    /// Measures the server's memory now, before any connection. Fails if `pid` cannot
    /// be read.
    pub(crate) fn new(pid: Option<u32>) -> Result<Self, String> {
        let rss_bytes_before = match pid {
            Some(pid) => process::rss_bytes(&pid.to_string())
                .map_err(|error| format!("--pid {pid} cannot be read: {error}"))?,
            None => 0,
        };
        Ok(Self {
            pid,
            rss_bytes_before,
            start: None,
            stop: None,
        })
    }

    pub(crate) fn is_started(&self) -> bool {
        self.start.is_some()
    }

    pub(crate) fn is_stopped(&self) -> bool {
        self.stop.is_some()
    }

    /// Opens the window.
    pub(crate) fn start(&mut self, at_ns: u64, count: u64, published: u64, traffic: Traffic) {
        self.start = Some(self.sample(at_ns, count, published, traffic));
    }

    /// Closes the window.
    pub(crate) fn stop(&mut self, at_ns: u64, count: u64, published: u64, traffic: Traffic) {
        self.stop = Some(self.sample(at_ns, count, published, traffic));
    }

    fn sample(&self, at_ns: u64, count: u64, published: u64, traffic: Traffic) -> Sample {
        Sample {
            at_ns,
            count,
            published,
            traffic,
            own_cpu_ns: process::cpu_ns("self").unwrap_or(0),
            server_cpu_ns: self
                .pid
                .and_then(|pid| process::cpu_ns(&pid.to_string()).ok()),
            server_ticks: self
                .pid
                .and_then(|pid| process::ticks(&pid.to_string()).ok()),
        }
    }

    /// Adds the measured values, if the window was closed.
    pub(crate) fn report(&self, outcome: &mut Outcome) {
        let (Some(start), Some(stop)) = (self.start, self.stop) else {
            return;
        };
        let wall_ns = (stop.at_ns - start.at_ns).max(1) as f64;
        let count = stop.count - start.count;
        let published = stop.published - start.published;
        let each = |cpu_ns: f64| cpu_ns / count.max(1) as f64;
        outcome.seconds = wall_ns / 1e9;
        outcome.count = count;
        outcome.per_second = count as f64 * 1e9 / wall_ns;
        if published > 0 {
            outcome.published = Some(published);
            outcome.published_per_second = Some(published as f64 * 1e9 / wall_ns);
        }
        let reads = stop.traffic.reads - start.traffic.reads;
        let messages = stop.traffic.messages - start.traffic.messages;
        if messages > 0 && reads > 0 {
            let bytes = stop.traffic.read_bytes - start.traffic.read_bytes;
            outcome.wire_bytes_per_message = Some(bytes as f64 / messages as f64);
            outcome.messages_per_read = Some(messages as f64 / reads as f64);
        }
        let sent = stop.traffic.sent_messages - start.traffic.sent_messages;
        if sent > 0 {
            let bytes = stop.traffic.sent_bytes - start.traffic.sent_bytes;
            outcome.sent_bytes_per_message = Some(bytes as f64 / sent as f64);
        }
        outcome.tls = stop.traffic.tls.map(|tls| tls.to_string());
        let handshakes = stop.traffic.handshakes - start.traffic.handshakes;
        if handshakes > 0 {
            let resumed = stop.traffic.resumed - start.traffic.resumed;
            outcome.handshakes = Some(Handshakes {
                full: handshakes - resumed,
                resumed,
                per_second: handshakes as f64 * 1e9 / wall_ns,
            });
        }
        let own_ns = (stop.own_cpu_ns - start.own_cpu_ns) as f64;
        outcome.generator_cpu_share = own_ns / wall_ns;
        outcome.generator_cpu_ns_per_unit = each(own_ns);
        let Some(pid) = self.pid else {
            if outcome.generator_cpu_share >= GENERATOR_BUSY {
                let note =
                    "the generator's core was full; give --pid to see whether the server's was too";
                outcome.notes.push(note.into());
            }
            return;
        };
        let (Some(from_ns), Some(to_ns)) = (start.server_cpu_ns, stop.server_cpu_ns) else {
            outcome
                .notes
                .push(format!("process {pid} ended during the run"));
            return;
        };
        let server_ns = to_ns.saturating_sub(from_ns) as f64;
        let server = Server {
            pid,
            cpu_share: server_ns / wall_ns,
            cpu_ns_per_unit: each(server_ns),
            kernel_share: stop
                .server_ticks
                .zip(start.server_ticks)
                .and_then(|(to, from)| to.kernel_share_since(from)),
            rss_bytes: process::rss_bytes(&pid.to_string()).unwrap_or(0),
            rss_bytes_before: self.rss_bytes_before,
        };
        let (own_busy, server_busy) = (
            outcome.generator_cpu_share >= GENERATOR_BUSY,
            server.cpu_share >= SERVER_BUSY,
        );
        outcome.bottleneck = Some(match (own_busy, server_busy) {
            (true, false) => "generator",
            (true, true) => "both",
            (false, true) => "server",
            (false, false) => "neither",
        });
        outcome.server = Some(server);
    }
}

/// A line on standard error once a second.
#[derive(Debug)]
pub(crate) struct Progress {
    quiet: bool,
    next_ns: u64,
    last: (u64, u64),
    drawn: bool,
}

impl Progress {
    pub(crate) fn new(quiet: bool, now_ns: u64) -> Self {
        Self {
            quiet,
            next_ns: now_ns + 1_000_000_000,
            last: (now_ns, 0),
            drawn: false,
        }
    }

    /// Writes the line if it is time; `recent` holds the latencies since the
    /// last call that returned true.
    pub(crate) fn tick(
        &mut self,
        now_ns: u64,
        phase: &str,
        unit: &str,
        count: u64,
        faults: u64,
        recent: &Histogram<u64>,
    ) -> bool {
        if now_ns < self.next_ns {
            return false;
        }
        self.next_ns = now_ns + 1_000_000_000;
        let (last_ns, last_count) = std::mem::replace(&mut self.last, (now_ns, count));
        if self.quiet {
            return true;
        }
        let rate = (count - last_count) as f64 * 1e9 / (now_ns - last_ns).max(1) as f64;
        let p99 = time(recent.value_at_quantile(0.99) as f64 / 1e3);
        self.write(&format!(
            "{phase:<9} {:>12} {unit}/s   faults {faults}   p99 {p99}",
            grouped(rate)
        ));
        true
    }

    /// Writes `line` over the last one on a terminal, below it elsewhere.
    pub(crate) fn write(&mut self, line: &str) {
        if self.quiet {
            return;
        }
        let mut out = stderr().lock();
        // A progress line that cannot be written does not fail the run.
        let _ = if out.is_terminal() {
            self.drawn = true;
            write!(out, "\r\x1b[2K{line}").and_then(|()| out.flush())
        } else {
            writeln!(out, "{line}")
        };
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.drawn {
            eprintln!();
        }
    }
}
