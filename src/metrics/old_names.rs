//! Numbers under the names that they had in another server, for dashboards that look for these.

use std::fmt::Write;
use std::sync::Arc;

use super::{CounterRegistry, Counters, DialectCounters};

/// A number of the gateway under a name of another server.
#[derive(Clone, Copy, Debug)]
pub struct OldName {
    /// The name, in full.
    pub name: &'static str,
    /// What it is: `counter`, whose name then ends in `_total`, or `gauge`.
    pub kind: &'static str,
    /// What is counted here.
    pub help: &'static str,
    /// The number.
    pub number: OldNumber,
}

/// Where a number is found.
#[derive(Clone, Copy, Debug)]
pub enum OldNumber {
    /// The sum of this over all shards.
    Sum(fn(&Counters) -> u64),
    /// The same, of the protocol whose names these are.
    OfDialect(fn(&DialectCounters) -> u64),
    /// Seconds since the start.
    Uptime,
}

/// The numbers in Prometheus' text format, by the names that `protocol` has registered; `None` if it has none.
#[must_use]
pub fn render_old_names(
    shards: &[Arc<Counters>],
    registered: &CounterRegistry,
    protocol: &str,
    uptime_seconds: f64,
) -> Option<String> {
    let names = registered.old_names(protocol)?;
    let dialect = registered.dialect(protocol);
    let mut out = String::with_capacity(4 * 1024);
    for OldName {
        name,
        kind,
        help,
        number,
    } in names
    {
        let _ = write!(out, "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} ");
        let value: u64 = match number {
            OldNumber::Uptime => {
                let _ = writeln!(out, "{uptime_seconds:.3}");
                continue;
            }
            OldNumber::Sum(of) => shards.iter().map(|shard| of(shard)).sum(),
            OldNumber::OfDialect(of) => {
                let counters = |shard: &Arc<Counters>| dialect.map(|id| of(shard.of_dialect(id)));
                shards.iter().filter_map(counters).sum()
            }
        };
        let _ = writeln!(out, "{value}");
    }
    Some(out)
}
