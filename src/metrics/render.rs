//! The sum of all shards, as Prometheus text and as JSON.

use std::fmt::Write;
use std::sync::Arc;

use super::counters::{COUNTERS, GAUGES, LIMITS, REFUSALS};
use super::{Counters, Histogram, log_lines_lost};

type Shards<'a> = &'a [Arc<Counters>];

/// All numbers in Prometheus' text format.
#[must_use]
pub fn render_prometheus(shards: Shards<'_>, disconnects: &[&str], uptime_seconds: f64) -> String {
    let mut out = String::with_capacity(8 * 1024);
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
    for (name, help, of) in GAUGES {
        put("gauge", name, help, sum(shards, of));
    }
    labelled(
        &mut out,
        ("transport_connections", "gauge"),
        "Connections open.",
        ("transport", &TRANSPORTS),
        |transport| {
            by_transport(
                shards,
                |c| c.connections.read(),
                |c| c.sse_connections.read(),
            )[transport]
        },
    );
    labelled(
        &mut out,
        ("transport_connections_opened_total", "counter"),
        "Connections opened.",
        ("transport", &TRANSPORTS),
        |transport| {
            by_transport(
                shards,
                |c| c.connections_opened.read(),
                |c| c.sse_connections_opened.read(),
            )[transport]
        },
    );
    labelled(
        &mut out,
        ("refused_total", "counter"),
        "Connections refused before they were one.",
        ("reason", &REFUSALS),
        |reason| sum(shards, |shard| shard.refused[reason].read()),
    );
    labelled(
        &mut out,
        ("limited_total", "counter"),
        "Times that somebody went beyond a limit.",
        ("reason", &LIMITS),
        |limit| sum(shards, |shard| shard.limited[limit].read()),
    );
    labelled(
        &mut out,
        ("disconnects_total", "counter"),
        "Connections that ended.",
        ("reason", disconnects),
        |reason| sum(shards, |shard| shard.disconnects[reason].read()),
    );
    histogram(
        &mut out,
        "message_size_bytes",
        "Sizes of clients' messages.",
        shards,
        |c| &c.message_sizes,
    );
    histogram(
        &mut out,
        "flush_seconds",
        "Time for one flush of a shard.",
        shards,
        |c| &c.flush_times,
    );
    let _ = write!(
        out,
        "# HELP fanfare_uptime_seconds Since the start.\n# TYPE fanfare_uptime_seconds gauge\n"
    );
    let _ = writeln!(out, "fanfare_uptime_seconds {uptime_seconds:.3}");
    out
}

/// The numbers as one JSON object; `active_connections` and `service` are what
/// existing clients look for.
#[must_use]
pub fn render_json(shards: Shards<'_>, disconnects: &[&str], uptime_seconds: f64) -> String {
    let mut out = String::with_capacity(2 * 1024);
    let open = sum(shards, |shard| shard.connections.read());
    let _ = write!(
        out,
        r#"{{"active_connections":{open},"service":"websocket-sse-server","shards":{}"#,
        shards.len()
    );
    let _ = write!(out, r#","uptime_seconds":{uptime_seconds:.3}"#);
    let _ = write!(out, r#","log_lines_lost_total":{}"#, log_lines_lost());
    for (name, _, of) in COUNTERS.iter().chain(GAUGES) {
        let _ = write!(out, r#","{name}":{}"#, sum(shards, of));
    }
    let object = |out: &mut String, key: &str, labels: &[&str], of: &dyn Fn(usize) -> u64| {
        let fields: Vec<_> = labels
            .iter()
            .enumerate()
            .map(|(i, label)| format!(r#""{label}":{}"#, of(i)))
            .collect();
        let _ = write!(out, r#","{key}":{{{}}}"#, fields.join(","));
    };
    object(&mut out, "refused", &REFUSALS, &|reason| {
        sum(shards, |shard| shard.refused[reason].read())
    });
    object(&mut out, "limited", &LIMITS, &|limit| {
        sum(shards, |shard| shard.limited[limit].read())
    });
    object(&mut out, "disconnects", disconnects, &|reason| {
        sum(shards, |shard| shard.disconnects[reason].read())
    });
    out.push('}');
    out
}

fn sum(shards: Shards<'_>, of: impl Fn(&Counters) -> u64) -> u64 {
    shards.iter().map(|shard| of(shard)).sum()
}

/// The values of the label `transport`.
const TRANSPORTS: [&str; 2] = ["websocket", "sse"];

/// A number of all connections and one of those that are SSE, by [`TRANSPORTS`].
fn by_transport(
    shards: Shards<'_>,
    all: impl Fn(&Counters) -> u64,
    sse: impl Fn(&Counters) -> u64,
) -> [u64; TRANSPORTS.len()] {
    let (all, sse) = (sum(shards, all), sum(shards, sse));
    // They are read one after the other, while the shards go on counting.
    [all.saturating_sub(sse), sse]
}

fn labelled(
    out: &mut String,
    (name, kind): (&str, &str),
    help: &str,
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
    name: &str,
    help: &str,
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

    fn shards() -> Vec<Arc<Counters>> {
        let shards = vec![Arc::new(Counters::default()), Arc::new(Counters::default())];
        shards[0].connections.set(2);
        shards[1].connections.set(3);
        shards[1].sse_connections.set(1);
        shards[1].messages_in.add(7);
        shards[0].flush_times.record(0.0002);
        shards
    }

    #[test]
    fn prometheus_text_has_help_type_and_the_sum_of_all_shards() {
        let text = render_prometheus(&shards(), &["closed", "gone"], 1.5);
        for line in [
            "# TYPE fanfare_connections gauge",
            "fanfare_connections 5",
            "fanfare_transport_connections{transport=\"websocket\"} 4",
            "fanfare_transport_connections{transport=\"sse\"} 1",
            "fanfare_messages_received_total 7",
            "fanfare_disconnects_total{reason=\"gone\"} 0",
            "fanfare_flush_seconds_bucket{le=\"0.0005\"} 1",
            "fanfare_flush_seconds_count 1",
        ] {
            assert!(
                text.lines().any(|other| other == line),
                "{line} is missing in\n{text}"
            );
        }
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
        let text = render_prometheus(&shards(), &["closed"; 12], 0.0);
        assert!(series(&text) < 100);
    }

    #[test]
    fn json_has_what_existing_clients_look_for() {
        let json: serde_json::Value =
            serde_json::from_str(&render_json(&shards(), &["closed"], 1.5)).unwrap();
        assert_eq!(json["active_connections"], 5);
        assert_eq!(json["service"], "websocket-sse-server");
        assert_eq!(json["disconnects"]["closed"], 0);
    }
}
