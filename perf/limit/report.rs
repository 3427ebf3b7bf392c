//! What a run found out: a table for people, JSON for programs.

use hdrhistogram::Histogram;
use serde::Serialize;

use crate::window::Window;

/// A thread that uses this much of a core has none left.
const BUSY: f64 = 0.95;

/// A server that uses less than this could have done more.
const IDLE: f64 = 0.90;

/// Longest latency that is told apart, in nanoseconds: a minute.
const LATENCY_NS_MAX: u64 = 60_000_000_000;

/// One run's figures, by the names they have in loadgen's reports.
#[derive(Debug, Serialize)]
pub(crate) struct Measured {
    pub(crate) mode: &'static str,
    /// What is counted.
    pub(crate) unit: &'static str,
    pub(crate) connections: usize,
    /// Bytes of a message that the server sends, header included.
    pub(crate) wire_bytes_per_message: usize,
    seconds: f64,
    count: u64,
    per_second: f64,
    /// At the generator.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) messages_per_read: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) latency_us: Option<Latency>,
    server: Server,
    generator_cpu_share: f64,
    generator_cpu_ns_per_unit: f64,
    /// Which side had no CPU left: `generator`, `server`, `both` or `neither`.
    bottleneck: &'static str,
    /// Where the server writes without being asked.
    #[serde(flatten)]
    pub(crate) writes: Option<Writes>,
    /// Why the figures count for nothing; empty in a good run.
    failures: Vec<String>,
}

/// The serving thread's use of its core.
#[derive(Debug, Serialize)]
struct Server {
    cpu_share: f64,
    cpu_ns_per_unit: f64,
    kernel_share: f64,
}

/// How frames were joined into writes.
#[derive(Debug, Serialize)]
pub(crate) struct Writes {
    /// Frames a write.
    pub(crate) join: usize,
    pub(crate) cpu_ns_per_write: f64,
    /// Times the sender waited for room.
    pub(crate) waits: u64,
    pub(crate) partial_writes: u64,
}

impl Measured {
    /// What the window says of a mode that counts `unit`; the mode adds the rest.
    pub(crate) fn new(mode: &'static str, unit: &'static str, window: Window) -> Self {
        let each = |cpu_ns: u64| cpu_ns as f64 / window.count.max(1) as f64;
        let cpu_share = window.server_ns as f64 / window.wall_ns;
        let generator_cpu_share = window.generator_ns as f64 / window.wall_ns;
        Self {
            mode,
            unit,
            connections: 0,
            wire_bytes_per_message: 0,
            seconds: window.wall_ns / 1e9,
            count: window.count,
            per_second: window.count as f64 * 1e9 / window.wall_ns,
            messages_per_read: None,
            latency_us: None,
            server: Server {
                cpu_share,
                cpu_ns_per_unit: each(window.server_ns),
                kernel_share: window.server_kernel_share,
            },
            generator_cpu_share,
            generator_cpu_ns_per_unit: each(window.generator_ns),
            bottleneck: match (generator_cpu_share >= BUSY, cpu_share >= IDLE) {
                (true, false) => "generator",
                (true, true) => "both",
                (false, true) => "server",
                (false, false) => "neither",
            },
            writes: None,
            failures: Vec::new(),
        }
    }

    /// CPU nanoseconds of the serving thread for one unit.
    pub(crate) fn cpu_ns(&self) -> f64 {
        self.server.cpu_ns_per_unit
    }

    /// Fails the run unless the two are equal.
    pub(crate) fn must_match<T: PartialEq>(&mut self, what: &str, one: &T, other: &T) {
        if one != other {
            self.failures.push(format!("{}: {what}", self.mode));
        }
    }

    pub(crate) fn failures(&self) -> impl Iterator<Item = &str> {
        self.failures.iter().map(String::as_str)
    }
}

/// Microseconds.
#[derive(Debug, Serialize)]
pub(crate) struct Latency {
    p50: f64,
    p99: f64,
    max: f64,
}

impl Latency {
    /// The percentiles of a histogram in nanoseconds; none of an empty one.
    pub(crate) fn of(histogram: &Histogram<u64>) -> Option<Self> {
        let at = |quantile| histogram.value_at_quantile(quantile) as f64 / 1e3;
        (!histogram.is_empty()).then(|| Self {
            p50: at(0.5),
            p99: at(0.99),
            max: histogram.max() as f64 / 1e3,
        })
    }
}

/// For latencies in nanoseconds.
pub(crate) fn new_histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, LATENCY_NS_MAX, 3).expect("the bounds are valid")
}

/// Prints a table, a line a run.
pub(crate) fn print(all: &[Measured]) {
    println!(
        "{:>8} {:>6} {:>12} {:>9} {:>9} {:>8} {:>9} {:>9} {:>10} {:>10} {:>9} {:>8}",
        "mode",
        "join",
        "per second",
        "ns each",
        "ns/write",
        "server",
        "generator",
        "p50 us",
        "p99 us",
        "max us",
        "waits",
        "partial"
    );
    for one in all {
        let writes = one.writes.as_ref();
        let latency = one.latency_us.as_ref();
        let join = writes.map(|writes| writes.join as f64);
        println!(
            "{:>8} {:>6} {:>12.0} {:>9.1} {:>9} {:>7.0}% {:>8.0}% {:>9} {:>10} {:>10} {:>9} {:>8}",
            one.mode,
            shown(join.or(one.messages_per_read)),
            one.per_second,
            one.server.cpu_ns_per_unit,
            shown(writes.map(|writes| writes.cpu_ns_per_write)),
            one.server.cpu_share * 100.0,
            one.generator_cpu_share * 100.0,
            shown(latency.map(|latency| latency.p50)),
            shown(latency.map(|latency| latency.p99)),
            shown(latency.map(|latency| latency.max)),
            shown(writes.map(|writes| writes.waits as f64)),
            shown(writes.map(|writes| writes.partial_writes as f64)),
        );
    }
}

fn shown(value: Option<f64>) -> String {
    value.map_or_else(String::new, |value| format!("{value:.0}"))
}
