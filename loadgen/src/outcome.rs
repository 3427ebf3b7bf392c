//! The result of a run: a table for people, JSON for programs.

use std::fmt;
use std::time::Duration;

use hdrhistogram::Histogram;
use serde::{Serialize, Serializer};

use crate::kernel::Kernel;
use crate::verify::Counts;

/// The result of one run. What a scenario does not measure is absent.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Outcome {
    pub(crate) scenario: String,
    pub(crate) url: String,
    pub(crate) client: String,
    /// The arguments of the run.
    pub(crate) settings: serde_json::Value,
    /// Length of the measured window.
    pub(crate) seconds: f64,
    /// What is counted: deliveries, echoes, publications or connections.
    pub(crate) unit: &'static str,
    /// Units within the window, and per second.
    pub(crate) count: u64,
    pub(crate) per_second: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) published: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) published_per_second: Option<f64>,
    /// Over the whole run, warm-up included.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) verified: Option<Counts>,
    /// Topics of which two subscribers saw different orders; absent when messages
    /// are missing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) topics_disagreeing: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) latency_us: Option<Latency>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) wire_bytes_per_message: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) messages_per_read: Option<f64>,
    /// Of messages to the server, header and mask included.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) sent_bytes_per_message: Option<f64>,
    /// What the last TLS handshake agreed on; absent where connections are plain, and of the clients
    /// on tokio.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) tls: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) handshakes: Option<Handshakes>,
    pub(crate) generator_cpu_share: f64,
    pub(crate) generator_cpu_ns_per_unit: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) server: Option<Server>,
    /// Shares of a core that the server's threads used within the window, by their names.
    #[serde(skip_serializing_if = "Vec::is_empty", serialize_with = "as_shares")]
    pub(crate) server_threads: Vec<(String, f64)>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) store: Option<StoreRates>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) login: Option<LoginCost>,
    /// Which side had no CPU left: `generator`, `server`, `both` or `neither`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) bottleneck: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) canary: Option<Canary>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) backend: Option<BackendReport>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) memory: Option<Memory>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) kernel_memory: Option<KernelMemory>,
    /// How connections ended whose end does not fail the run, such as those of slow subscribers.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) ends: Vec<(String, u64)>,
    pub(crate) notes: Vec<String>,
    /// Why the run failed; empty if it succeeded.
    pub(crate) failures: Vec<String>,
}

/// TLS handshakes within the window.
#[derive(Debug, Serialize)]
pub(crate) struct Handshakes {
    pub(crate) full: u64,
    /// Those that resumed a session.
    pub(crate) resumed: u64,
    pub(crate) per_second: f64,
}

/// The result of a pair of clients beside the load.
#[derive(Debug, Serialize)]
pub(crate) struct Canary {
    pub(crate) sent: usize,
    pub(crate) lost: usize,
    /// From the scheduled time of a message to its read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) latency_us: Option<Latency>,
}

/// What members of the backend link were told, over the whole run.
#[derive(Debug, Serialize)]
pub(crate) struct BackendReport {
    pub(crate) members: usize,
    /// Messages of clients.
    pub(crate) sent: u64,
    pub(crate) acknowledged: u64,
    /// Messages that clients were told have no room.
    pub(crate) refused: u64,
    /// Objects that came again and said so.
    pub(crate) redelivered: u64,
    pub(crate) connects: u64,
    pub(crate) disconnects: u64,
    /// What must not be, and how often it was.
    #[serde(serialize_with = "as_map")]
    pub(crate) faults: Vec<(&'static str, u64)>,
}

fn as_map<S: Serializer>(pairs: &[(&'static str, u64)], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(pairs.iter().copied())
}

fn as_shares<S: Serializer>(pairs: &[(String, f64)], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(pairs.iter().map(|(name, share)| (name, share)))
}

/// Stored messages beside a bare loop of inserts.
#[derive(Debug, Serialize)]
pub(crate) struct StoreRates {
    /// Rows of the bare loop, the mean of before and after.
    pub(crate) bare_rows_per_second: f64,
    /// CPU time of such a row, that of its content included.
    pub(crate) bare_cpu_ns: f64,
    pub(crate) bare_before: f64,
    pub(crate) bare_after: f64,
    /// The rate of messages as a part of it.
    pub(crate) share_of_bare: f64,
    /// The rate on a schedule that latency was measured at.
    pub(crate) paced_per_second: f64,
}

/// What a login costs the server.
#[derive(Debug, Serialize)]
pub(crate) struct LoginCost {
    /// CPU time of a login: two requests.
    pub(crate) login_ns: f64,
    /// That of a request that has nothing to do with accounts.
    pub(crate) plain_request_ns: f64,
    /// That of the verification alone, in the generator.
    pub(crate) verification_ns: f64,
    /// The login's over that of the verification and one plain request.
    pub(crate) times: f64,
}

impl LoginCost {
    pub(crate) fn new(login_ns: f64, plain_request_ns: f64, verification_ns: f64) -> Self {
        Self {
            login_ns,
            plain_request_ns,
            verification_ns,
            times: login_ns / (plain_request_ns + verification_ns),
        }
    }
}

/// The server's CPU and memory within the window.
#[derive(Debug, Serialize)]
pub(crate) struct Server {
    pub(crate) pid: u32,
    /// Cores in use on average.
    pub(crate) cpu_share: f64,
    pub(crate) cpu_ns_per_unit: f64,
    /// The part of its CPU that it spent in the kernel.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) kernel_share: Option<f64>,
    pub(crate) rss_bytes: u64,
    pub(crate) rss_bytes_before: u64,
}

/// Resident memory of the server before, with and after the connections of a run.
#[derive(Debug, Serialize)]
pub(crate) struct Memory {
    pub(crate) connections: usize,
    pub(crate) before_bytes: u64,
    pub(crate) with_bytes: u64,
    pub(crate) after_bytes: u64,
    /// Only if connections were idle.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) per_connection_bytes: Option<f64>,
}

/// Memory of the kernel before, with and after the connections of a run. It is that of the whole
/// machine: both ends of a connection on loopback, and all other processes.
#[derive(Debug, Serialize)]
pub(crate) struct KernelMemory {
    pub(crate) before: Kernel,
    pub(crate) with: Kernel,
    pub(crate) after: Kernel,
    per_connection_bytes: f64,
    /// The part that is no cache.
    unreclaimable_per_connection_bytes: f64,
}

impl KernelMemory {
    pub(crate) fn new(connections: usize, before: Kernel, with: Kernel, after: Kernel) -> Self {
        let each = |of: fn(&Kernel) -> u64| {
            (of(&with) as f64 - of(&before) as f64) / connections.max(1) as f64
        };
        Self {
            before,
            with,
            after,
            per_connection_bytes: each(Kernel::total_bytes),
            unreclaimable_per_connection_bytes: each(|kernel| kernel.unreclaimable_bytes),
        }
    }
}

/// Percentiles in microseconds.
#[derive(Debug, Serialize)]
pub(crate) struct Latency {
    pub(crate) mean: f64,
    pub(crate) p50: f64,
    pub(crate) p90: f64,
    pub(crate) p99: f64,
    pub(crate) p999: f64,
    pub(crate) max: f64,
}

impl Latency {
    /// The percentiles of a histogram in nanoseconds; `None` if it is empty.
    pub(crate) fn of(histogram: &Histogram<u64>) -> Option<Self> {
        let at = |quantile| histogram.value_at_quantile(quantile) as f64 / 1e3;
        (!histogram.is_empty()).then(|| Self {
            mean: histogram.mean() / 1e3,
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p999: at(0.999),
            max: histogram.max() as f64 / 1e3,
        })
    }
}

impl Outcome {
    /// Adds the canary, and failures if it lost messages or its p99 is above `p99_max`.
    pub(crate) fn judge_canary(&mut self, canary: Canary, p99_max: Duration) {
        if canary.lost > 0 || canary.sent == 0 {
            let Canary { lost, sent, .. } = canary;
            let failure = format!("the canary lost {lost} of {sent} messages");
            self.failures.push(failure);
        }
        let p99 = canary.latency_us.as_ref().map_or(0.0, |it| it.p99);
        let max = p99_max.as_secs_f64() * 1e6;
        if p99 > max {
            let failure = format!("the canary's p99 is {}, above {}", time(p99), time(max));
            self.failures.push(failure);
        }
        self.canary = Some(canary);
    }

    /// Adds what members of the backend link were told, and a failure for each kind of fault.
    pub(crate) fn judge_backend(&mut self, report: BackendReport) {
        for &(what, count) in &report.faults {
            if count > 0 {
                self.failures.push(format!("{count} {what}"));
            }
        }
        self.backend = Some(report);
    }

    /// Adds failures for the faults that were counted.
    pub(crate) fn judge(&mut self) {
        if let Some(counts) = self.verified
            && counts.faults() > 0
        {
            let Counts {
                lost,
                duplicated,
                reordered,
                corrupt,
                misrouted,
                misnumbered,
                ..
            } = counts;
            self.failures.push(format!(
                "{lost} lost, {duplicated} duplicated, {reordered} reordered, {corrupt} corrupt, {misrouted} misrouted, {misnumbered} misnumbered"
            ));
        }
        if let Some(topics @ 1..) = self.topics_disagreeing {
            self.failures.push(format!(
                "subscribers of {topics} topics saw different orders"
            ));
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut row = |label: &str, value: String| writeln!(f, "  {label:<22} {value}");
        row("scenario", format!("{} on {}", self.scenario, self.url))?;
        let rate = if self.per_second > 0.0 {
            format!("in {:.2} s: {}/s", self.seconds, grouped(self.per_second))
        } else {
            format!("for {:.2} s", self.seconds)
        };
        row(self.unit, format!("{} {rate}", grouped(self.count as f64)))?;
        if let (Some(count), Some(rate)) = (self.published, self.published_per_second) {
            let value = format!("{}: {}/s", grouped(count as f64), grouped(rate));
            row("published", value)?;
        }
        if let Some(counts) = &self.verified {
            row(
                "verified, whole run",
                format!(
                    "{} received, {} lost, {} duplicated, {} reordered, {} corrupt, {} misrouted, {} misnumbered",
                    grouped(counts.received as f64),
                    counts.lost,
                    counts.duplicated,
                    counts.reordered,
                    counts.corrupt,
                    counts.misrouted,
                    counts.misnumbered
                ),
            )?;
        }
        match self.topics_disagreeing {
            Some(0) => row("order", "the same for every subscriber".into())?,
            Some(topics) => row("order", format!("DIFFERENT in {topics} topics"))?,
            None => {}
        }
        if let Some(latency) = &self.latency_us {
            row(
                "latency",
                format!(
                    "p50 {}  p90 {}  p99 {}  p99.9 {}  max {}",
                    time(latency.p50),
                    time(latency.p90),
                    time(latency.p99),
                    time(latency.p999),
                    time(latency.max)
                ),
            )?;
        }
        if let Some(canary) = &self.canary {
            let latency = canary.latency_us.as_ref().map_or_else(String::new, |it| {
                format!(
                    ", p50 {}  p99 {}  max {}",
                    time(it.p50),
                    time(it.p99),
                    time(it.max)
                )
            });
            let (sent, lost) = (canary.sent, canary.lost);
            row("canary", format!("{sent} sent, {lost} lost{latency}"))?;
        }
        if let Some(backend) = &self.backend {
            row(
                "backend, whole run",
                format!(
                    "{} sent, {} acknowledged, {} refused, {} redelivered",
                    grouped(backend.sent as f64),
                    grouped(backend.acknowledged as f64),
                    grouped(backend.refused as f64),
                    grouped(backend.redelivered as f64)
                ),
            )?;
            let (came, left) = (backend.connects as f64, backend.disconnects as f64);
            let value = format!("{} came, {} left", grouped(came), grouped(left));
            row("clients, whole run", value)?;
        }
        if let (Some(bytes), Some(per_read)) = (self.wire_bytes_per_message, self.messages_per_read)
        {
            row(
                "on the wire",
                format!("{bytes:.1} bytes a message, {per_read:.1} messages a read"),
            )?;
        }
        if let Some(tls) = &self.tls {
            row("TLS", tls.clone())?;
        }
        if let Some(handshakes) = &self.handshakes {
            row(
                "TLS handshakes",
                format!(
                    "{} full, {} resumed: {}/s",
                    grouped(handshakes.full as f64),
                    grouped(handshakes.resumed as f64),
                    grouped(handshakes.per_second)
                ),
            )?;
        }
        if let Some(server) = &self.server {
            row(
                "server",
                format!(
                    "{:.0} ns of CPU each{}, {:.0} % of a core, RSS {} ({} before)",
                    server.cpu_ns_per_unit,
                    server
                        .kernel_share
                        .map_or_else(String::new, |share| format!(
                            " ({:.0} % in the kernel)",
                            share * 100.0
                        )),
                    server.cpu_share * 100.0,
                    bytes(server.rss_bytes as f64),
                    bytes(server.rss_bytes_before as f64)
                ),
            )?;
        }
        if !self.server_threads.is_empty() {
            let shares = self.server_threads.iter();
            let shares = shares.map(|(name, share)| format!("{name} {:.0} %", share * 100.0));
            row("its threads", shares.collect::<Vec<_>>().join(", "))?;
        }
        if let Some(store) = &self.store {
            row(
                "bare inserts",
                format!(
                    "{}/s before, {}/s after: the messages are {:.2} of that; {:.1} us of CPU each",
                    grouped(store.bare_before),
                    grouped(store.bare_after),
                    store.share_of_bare,
                    store.bare_cpu_ns / 1e3
                ),
            )?;
        }
        if let Some(login) = &self.login {
            row(
                "a login",
                format!(
                    "{:.1} us of the server's CPU: {:.2} times a plain request ({:.1} us) and a verification ({:.1} us)",
                    login.login_ns / 1e3,
                    login.times,
                    login.plain_request_ns / 1e3,
                    login.verification_ns / 1e3
                ),
            )?;
        }
        row(
            "generator",
            format!(
                "{:.0} ns of CPU each, {:.0} % of a core",
                self.generator_cpu_ns_per_unit,
                self.generator_cpu_share * 100.0
            ),
        )?;
        match self.bottleneck {
            Some("generator") => row(
                "bottleneck",
                "THE GENERATOR: the server could do more than this".into(),
            )?,
            Some(side) => row("bottleneck", side.into())?,
            None => {}
        }
        if let Some(memory) = &self.memory {
            row(
                "server memory",
                format!(
                    "{} before, {} with {} connections, {} after",
                    bytes(memory.before_bytes as f64),
                    bytes(memory.with_bytes as f64),
                    grouped(memory.connections as f64),
                    bytes(memory.after_bytes as f64)
                ),
            )?;
            if let Some(each) = memory.per_connection_bytes {
                let how = if self.tls.is_some() { "TLS" } else { "plain" };
                row("per connection", format!("{each:.0} bytes, {how}"))?;
            }
        }
        if let Some(memory) = &self.kernel_memory {
            row(
                "kernel memory",
                format!(
                    "{} before, {} with them, {} after",
                    bytes(memory.before.total_bytes() as f64),
                    bytes(memory.with.total_bytes() as f64),
                    bytes(memory.after.total_bytes() as f64)
                ),
            )?;
            row(
                "per connection",
                format!(
                    "{:.0} bytes for both ends, {:.0} of them unreclaimable",
                    memory.per_connection_bytes, memory.unreclaimable_per_connection_bytes
                ),
            )?;
            row(
                "of it in TCP",
                format!(
                    "{} before, {} with them, {} after",
                    bytes(memory.before.tcp_buffer_bytes as f64),
                    bytes(memory.with.tcp_buffer_bytes as f64),
                    bytes(memory.after.tcp_buffer_bytes as f64)
                ),
            )?;
        }
        for (end, count) in &self.ends {
            row("ended", format!("{count}: {end}"))?;
        }
        for note in &self.notes {
            row("note", note.clone())?;
        }
        for failure in &self.failures {
            row("FAILED", failure.clone())?;
        }
        Ok(())
    }
}

/// A number with thousands separators.
pub(crate) fn grouped(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut out = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// Microseconds in the unit that reads best.
pub(crate) fn time(microseconds: f64) -> String {
    match microseconds {
        ..1_000.0 => format!("{microseconds:.0} us"),
        ..1_000_000.0 => format!("{:.2} ms", microseconds / 1e3),
        _ => format!("{:.2} s", microseconds / 1e6),
    }
}

fn bytes(value: f64) -> String {
    if value < 1024.0 * 1024.0 {
        format!("{:.1} KiB", value / 1024.0)
    } else {
        format!("{:.1} MiB", value / 1024.0 / 1024.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_well() {
        assert_eq!(grouped(0.0), "0");
        assert_eq!(grouped(999.0), "999");
        assert_eq!(grouped(1234567.4), "1,234,567");
        assert_eq!(time(12.3), "12 us");
        assert_eq!(time(1_500.0), "1.50 ms");
    }

    #[test]
    fn a_canary_that_loses_or_waits_too_long_fails_a_run() {
        let canary = |lost, ms: u64| {
            let mut latencies = crate::verify::new_histogram();
            latencies.record(ms * 1_000_000).unwrap();
            Canary {
                sent: 10,
                lost,
                latency_us: Latency::of(&latencies),
            }
        };
        for (lost, ms, failures) in [(0, 49, 0), (1, 49, 1), (0, 51, 1), (1, 51, 2)] {
            let mut outcome = Outcome::default();
            outcome.judge_canary(canary(lost, ms), Duration::from_millis(50));
            assert_eq!(outcome.failures.len(), failures, "{lost} lost, {ms} ms");
        }
    }

    #[test]
    fn faults_and_disagreement_fail_a_run() {
        let mut outcome = Outcome::default();
        outcome.judge();
        assert!(outcome.failures.is_empty());
        outcome.verified = Some(Counts {
            lost: 3,
            ..Counts::default()
        });
        outcome.topics_disagreeing = Some(1);
        outcome.judge();
        assert_eq!(outcome.failures.len(), 2);
    }
}
