//! The sum of all shards, as Prometheus text and as JSON.

use std::fmt::Write;
use std::sync::Arc;

use super::counters::{COUNTERS, GAUGES, STATUS_CLASSES};
use super::{
    Counter, CounterRegistry, Counters, DialectCounters, Histogram, Limited, ProcessUsage, Refused,
    log_lines_lost,
};

type Shards<'a> = &'a [Arc<Counters>];

/// What is counted by a label: name, what it is, the label and its values, field.
type ByLabel<'a> = (
    &'a str,
    &'a str,
    (&'a str, &'a [&'a str]),
    fn(&Counters) -> &[Counter],
);

/// What is counted of a protocol: name, kind, what it is, field.
type OfDialect = (
    &'static str,
    &'static str,
    &'static str,
    fn(&DialectCounters) -> u64,
);

const BY_DIALECT: [OfDialect; 3] = [
    (
        "dialect_connections",
        "gauge",
        "Connections open, by protocol.",
        |it| it.open.read(),
    ),
    (
        "dialect_connections_opened_total",
        "counter",
        "Connections opened, by protocol.",
        |it| it.opened.read(),
    ),
    (
        "dialect_messages_received_total",
        "counter",
        "Messages received from clients, by protocol.",
        |it| it.messages_in.read(),
    ),
];

fn by_label<'a>(disconnects: &'a [&'a str]) -> [ByLabel<'a>; 4] {
    let answered = "HTTP requests answered, by status; upgrades and event streams are connections.";
    let refused = "Connections refused before they were one.";
    let limited = "Times that somebody went beyond a limit.";
    let ended = "Connections that ended.";
    [
        ("http_requests", answered, ("code", &STATUS_CLASSES), |it| {
            &it.http_requests
        }),
        ("refused", refused, ("reason", &Refused::LABELS), |it| {
            &it.refused
        }),
        ("limited", limited, ("reason", &Limited::LABELS), |it| {
            &it.limited
        }),
        ("disconnects", ended, ("reason", disconnects), |it| {
            &it.disconnects
        }),
    ]
}

/// All numbers in Prometheus' text format.
#[must_use]
pub fn render_prometheus(
    shards: Shards<'_>,
    registered: &CounterRegistry,
    disconnects: &[&str],
    uptime_seconds: f64,
    process: &ProcessUsage,
) -> String {
    let mut out = String::with_capacity(16 * 1024);
    let mut put = |kind: &str, name: &str, help: &str, value: u64| {
        let _ = write!(
            out,
            "# HELP fanfare_{name} {help}\n# TYPE fanfare_{name} {kind}\nfanfare_{name} {value}\n"
        );
    };
    for (name, help, of) in COUNTERS {
        put("counter", name, help, sum(shards, of));
    }
    let help = "Lines of the log that could not be written.";
    put("counter", "log_lines_lost_total", help, log_lines_lost());
    for (index, (name, help)) in registered.counters.iter().enumerate() {
        let value = sum_of(shards, index, |it| &it.registered);
        put("counter", name, help, value);
    }
    for (name, help, of) in GAUGES {
        put("gauge", name, help, sum(shards, of));
    }
    let labels = ("transport", &TRANSPORTS[..]);
    let open = by_transport(shards, |it| (it.connections.read(), it.streams.read()));
    let about = ("transport_connections", "gauge", "Connections open.");
    labelled(&mut out, about, labels, |transport| open[transport]);
    let opened = |it: &Counters| (it.connections_opened.read(), it.streams_opened.read());
    let opened = by_transport(shards, opened);
    let name = "transport_connections_opened_total";
    let about = (name, "counter", "Connections opened.");
    labelled(&mut out, about, labels, |transport| opened[transport]);
    let dialects = ("dialect", registered.dialects());
    for (name, kind, help, of) in BY_DIALECT {
        labelled(&mut out, (name, kind, help), dialects, |index| {
            sum(shards, |shard| of(&shard.dialects[index]))
        });
    }
    for (name, help, labels, of) in by_label(disconnects) {
        let name = format!("{name}_total");
        let about = (&*name, "counter", help);
        labelled(&mut out, about, labels, |index| sum_of(shards, index, of));
    }
    let sizes = ("message_size_bytes", "Sizes of clients' messages.");
    histogram(&mut out, sizes, shards, |it| &it.message_sizes);
    let times = ("flush_seconds", "Time for one flush of a shard.");
    histogram(&mut out, times, shards, |it| &it.flush_times);
    let _ = write!(
        out,
        "# HELP fanfare_uptime_seconds Since the start.\n# TYPE fanfare_uptime_seconds gauge\n"
    );
    let _ = writeln!(out, "fanfare_uptime_seconds {uptime_seconds:.3}");
    let about = ("build_info", "gauge", "1, of the version that runs.");
    labelled(&mut out, about, ("version", &[VERSION]), |_| 1);
    for (name, kind, help, value) in process.families() {
        let _ = write!(
            out,
            "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}\n"
        );
    }
    out
}

/// The numbers as one JSON object; `active_connections` and `service` are what
/// existing clients look for.
#[must_use]
pub fn render_json(
    shards: Shards<'_>,
    registered: &CounterRegistry,
    disconnects: &[&str],
    uptime_seconds: f64,
    process: &ProcessUsage,
) -> String {
    let mut out = String::with_capacity(4 * 1024);
    let open = sum(shards, |shard| shard.connections.read());
    let _ = write!(
        out,
        r#"{{"active_connections":{open},"service":"websocket-sse-server","shards":{}"#,
        shards.len()
    );
    let _ = write!(out, r#","uptime_seconds":{uptime_seconds:.3}"#);
    let _ = write!(out, r#","version":"{VERSION}""#);
    for (name, _, _, value) in process.families() {
        let _ = write!(out, r#","{name}":{value}"#);
    }
    let _ = write!(out, r#","log_lines_lost_total":{}"#, log_lines_lost());
    let answered = |it: &Counters| it.http_requests.iter().map(Counter::read).sum();
    let _ = write!(out, r#","http_requests_total":{}"#, sum(shards, answered));
    for (name, _, of) in COUNTERS.iter().chain(GAUGES) {
        let _ = write!(out, r#","{name}":{}"#, sum(shards, of));
    }
    for (index, (name, _)) in registered.counters.iter().enumerate() {
        let value = sum_of(shards, index, |it| &it.registered);
        let _ = write!(out, r#","{name}":{value}"#);
    }
    for (name, _, (_, labels), of) in by_label(disconnects) {
        let field = |(index, label)| format!(r#""{label}":{}"#, sum_of(shards, index, of));
        let fields: Vec<_> = labels.iter().enumerate().map(field).collect();
        let _ = write!(out, r#","{name}":{{{}}}"#, fields.join(","));
    }
    out.push('}');
    out
}

/// The sum of the counters at `index` of a table.
fn sum_of(shards: Shards<'_>, index: usize, of: fn(&Counters) -> &[Counter]) -> u64 {
    sum(shards, |shard| of(shard)[index].read())
}

fn sum(shards: Shards<'_>, of: impl Fn(&Counters) -> u64) -> u64 {
    shards.iter().map(|shard| of(shard)).sum()
}

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The values of the label `transport`.
const TRANSPORTS: [&str; 2] = ["websocket", "sse"];

/// A number of all connections and one of those that are SSE, by [`TRANSPORTS`].
fn by_transport(shards: Shards<'_>, of: impl Fn(&Counters) -> (u64, u64)) -> [u64; 2] {
    let numbers = shards.iter().map(|shard| of(shard));
    let (all, sse) = numbers.fold((0, 0), |sum, it| (sum.0 + it.0, sum.1 + it.1));
    // They are read one after the other, while the shards go on counting.
    [all.saturating_sub(sse), sse]
}

fn labelled(
    out: &mut String,
    (name, kind, help): (&str, &str, &str),
    (label, values): (&str, &[&str]),
    of: impl Fn(usize) -> u64,
) {
    let _ = write!(
        out,
        "# HELP fanfare_{name} {help}\n# TYPE fanfare_{name} {kind}\n"
    );
    for (index, value) in values.iter().enumerate() {
        let _ = writeln!(out, "fanfare_{name}{{{label}=\"{value}\"}} {}", of(index));
    }
}

fn histogram<const N: usize>(
    out: &mut String,
    (name, help): (&str, &str),
    shards: Shards<'_>,
    of: fn(&Counters) -> &Histogram<N>,
) {
    let _ = write!(
        out,
        "# HELP fanfare_{name} {help}\n# TYPE fanfare_{name} histogram\n"
    );
    let all: Vec<_> = shards.iter().map(|shard| of(shard).read()).collect();
    let count: u64 = all.iter().map(|(_, count, _)| count).sum();
    for bucket in 0..N {
        let bound = all.first().map_or(0.0, |(below, ..)| below[bucket].0);
        let below: u64 = all.iter().map(|(below, ..)| below[bucket].1).sum();
        let _ = writeln!(out, "fanfare_{name}_bucket{{le=\"{bound}\"}} {below}");
    }
    let sum: f64 = all.iter().map(|(.., sum)| sum).sum();
    let _ = write!(
        out,
        "fanfare_{name}_bucket{{le=\"+Inf\"}} {count}\nfanfare_{name}_sum {sum}\n"
    );
    let _ = writeln!(out, "fanfare_{name}_count {count}");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::{OldName, OldNumber, render_old_names};

    const OLD_NAMES: &[OldName] = &[
        OldName {
            name: "old_up",
            kind: "gauge",
            help: "Since the start.",
            number: OldNumber::Uptime,
        },
        OldName {
            name: "old_in_total",
            kind: "counter",
            help: "Messages.",
            number: OldNumber::Sum(|it| it.messages_in.read()),
        },
        OldName {
            name: "old_open",
            kind: "gauge",
            help: "Connections.",
            number: OldNumber::OfDialect(|it| it.open.read()),
        },
    ];

    #[test]
    fn old_names_are_those_of_one_protocol() {
        let (shards, registry) = shards();
        assert_eq!(render_old_names(&shards, &registry, "first", 1.5), None);
        assert_eq!(
            render_old_names(&shards, &registry, "other", 1.5).unwrap(),
            "# HELP old_up Since the start.\n# TYPE old_up gauge\nold_up 1.500\n\
             # HELP old_in_total Messages.\n# TYPE old_in_total counter\nold_in_total 7\n\
             # HELP old_open Connections.\n# TYPE old_open gauge\nold_open 5\n"
        );
    }

    /// Two shards, and a counter of a protocol.
    fn shards() -> (Vec<Arc<Counters>>, CounterRegistry) {
        let mut registry = CounterRegistry::default();
        let own = registry.register("own_total", "What a protocol counts.");
        registry.register_dialect("first");
        registry.register_dialect("other");
        registry.register_old_names("other", OLD_NAMES);
        let shards = [(); 2].map(|()| Arc::new(Counters::with(&registry)));
        shards[0].registered(own).add(2);
        shards[1].registered(own).add(1);
        shards[0].connections.set(2);
        shards[1].connections.set(3);
        shards[1].streams.set(1);
        shards[1].messages_in.add(7);
        let other = registry.dialect("other").unwrap();
        shards[0].of_dialect(other).open.set(2);
        shards[1].of_dialect(other).open.set(3);
        shards[1].of_dialect(other).messages_in.add(4);
        shards[0].flush_times.record(0.0002);
        for (shard, status) in [(0, 200), (1, 204), (0, 101), (1, 404)] {
            shards[shard].answered(status);
        }
        (shards.into(), registry)
    }

    fn usage() -> ProcessUsage {
        ProcessUsage {
            cpu_seconds: 1.25,
            resident_bytes: Some(4096),
            started_seconds: 1_790_000_000.5,
            ..ProcessUsage::default()
        }
    }

    #[test]
    fn prometheus_text_has_help_type_and_the_sum_of_all_shards() {
        let (shards, registry) = shards();
        let text = render_prometheus(&shards, &registry, &["closed", "gone"], 1.5, &usage());
        for line in [
            "# TYPE fanfare_connections gauge",
            "fanfare_connections 5",
            "fanfare_transport_connections{transport=\"websocket\"} 4",
            "fanfare_transport_connections{transport=\"sse\"} 1",
            "fanfare_messages_received_total 7",
            "# HELP fanfare_own_total What a protocol counts.",
            "fanfare_own_total 3",
            "fanfare_dialect_connections{dialect=\"other\"} 5",
            "fanfare_dialect_connections{dialect=\"first\"} 0",
            "fanfare_dialect_messages_received_total{dialect=\"other\"} 4",
            "fanfare_disconnects_total{reason=\"gone\"} 0",
            "fanfare_flush_seconds_bucket{le=\"0.0005\"} 1",
            "fanfare_flush_seconds_count 1",
            "fanfare_http_requests_total{code=\"2xx\"} 3",
            "fanfare_http_requests_total{code=\"4xx\"} 1",
            "# TYPE process_cpu_seconds_total counter",
            "process_cpu_seconds_total 1.25",
            "process_resident_memory_bytes 4096",
            "process_start_time_seconds 1790000000.5",
        ] {
            assert!(
                text.lines().any(|other| other == line),
                "{line} is missing in\n{text}"
            );
        }
        // What is not known is left out.
        assert!(!text.contains("process_open_fds"));
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            assert_eq!(
                line.rsplit_once(' ')
                    .unwrap()
                    .1
                    .parse::<f64>()
                    .ok()
                    .map(|_| ()),
                Some(()),
                "{line}"
            );
        }
    }

    #[test]
    fn m15_the_number_of_series_is_fixed() {
        let series = |text: &str| text.lines().filter(|line| !line.starts_with('#')).count();
        let (shards, mut registry) = shards();
        for name in ["third", "fourth", "fifth", "sixth"] {
            registry.register_dialect(name);
        }
        let text = render_prometheus(&shards, &registry, &["closed"; 24], 0.0, &usage());
        assert!(series(&text) < 200, "{text}");
    }

    #[test]
    fn json_has_what_existing_clients_look_for() {
        let (shards, registry) = shards();
        let json = render_json(&shards, &registry, &["closed"], 1.5, &usage());
        let json: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(json["active_connections"], 5);
        assert_eq!(json["service"], "websocket-sse-server");
        assert_eq!(json["disconnects"]["closed"], 0);
        assert_eq!(json["own_total"], 3);
        assert_eq!(json["http_requests_total"], 4);
        assert_eq!(json["http_requests"]["4xx"], 1);
        assert_eq!(json["process_resident_memory_bytes"], 4096.0);
    }
}
