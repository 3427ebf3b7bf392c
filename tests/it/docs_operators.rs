//! What pages, dashboards and alerts for operators say of metrics, against what a gateway gives.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::support::{TestGateway, request};

const TROUBLESHOOTING: &str = include_str!("../../docs/troubleshooting.md");
const DEPLOYMENT: &str = include_str!("../../docs/deployment.md");
const CONTAINER: &str = include_str!("../../packaging/Containerfile");
const DASHBOARD: &str = include_str!("../../packaging/grafana/fanfare.json");
const ALERTS: &str = include_str!("../../packaging/grafana/alerts.yaml");

/// Files in which metrics are named.
const FILES: [(&str, &str); 3] = [
    ("docs/troubleshooting.md", TROUBLESHOOTING),
    ("packaging/grafana/fanfare.json", DASHBOARD),
    ("packaging/grafana/alerts.yaml", ALERTS),
];

/// The samples of a gateway, as Prometheus text without values, and the names of its metrics.
fn samples() -> BTreeSet<String> {
    // One that fetches keys tells of it.
    let keys =
        "[auth]\nalgorithm = \"ES256\"\nissuer = \"x\"\njwks_url = \"http://127.0.0.1:9/keys\"\n";
    let gateway = TestGateway::from_toml(keys, |_| {});
    let ask = b"GET /metrics?format=prometheus HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    let body = request(gateway.address, ask).body;
    let lines = body.lines().filter(|line| !line.starts_with("# HELP"));
    let lines = lines.map(|line| line.strip_prefix("# TYPE ").unwrap_or(line));
    let samples = lines.filter_map(|line| Some(line.rsplit_once(' ')?.0.to_owned()));
    samples.collect()
}

/// The metrics that a text names, each with the values of `reason` that it asks for.
fn named(text: &str) -> Vec<(&str, Vec<&str>)> {
    let is_name = |byte: char| byte.is_ascii_alphanumeric() || byte == '_';
    let found = ["fanfare_", "process_"]
        .into_iter()
        .flat_map(|prefix| text.match_indices(prefix));
    let found = found.filter(|(at, _)| !text[..*at].ends_with(is_name));
    let metrics = found.map(|(at, prefix)| {
        let rest = &text[at..];
        let (name, rest) = rest.split_at(rest.find(|it| !is_name(it)).unwrap_or(rest.len()));
        let labels = rest
            .strip_prefix('{')
            .and_then(|rest| rest.split('}').next());
        let reason = labels.and_then(|labels| labels.split_once("reason=").map(|(_, rest)| rest));
        let reason = reason.map(|reason| reason.trim_start_matches(['~', '\\', '"']));
        let reasons = reason.and_then(|reason| reason.split(['\\', '"']).next());
        let reasons = reasons.map_or(Vec::new(), |reasons| reasons.split('|').collect());
        (if name == prefix { "" } else { name }, reasons)
    });
    // A pattern of grep's, as `fanfare_(a|b)_total`, has no name.
    metrics.filter(|(name, _)| !name.is_empty()).collect()
}

#[test]
fn each_metric_that_operators_are_told_of_exists() {
    let samples = samples();
    for (file, text) in FILES {
        let metrics = named(text);
        assert!(metrics.len() > 10, "{file}: {metrics:?}");
        for (name, reasons) in metrics {
            let of_it = |sample: &String| {
                let rest = sample.strip_prefix(name);
                rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('{'))
            };
            assert!(samples.iter().any(of_it), "{file}: there is no {name}");
            for reason in reasons {
                let sample = format!("{name}{{reason=\"{reason}\"}}");
                assert!(samples.contains(&sample), "{file}: there is no {sample}");
            }
        }
    }
}

#[test]
fn each_reason_for_which_connections_end_is_explained() {
    let (_, section) = TROUBLESHOOTING
        .split_once("\n## Connections end\n")
        .unwrap();
    let section = section.split("\n## ").next().unwrap();
    let samples = samples();
    let begin = "fanfare_disconnects_total{reason=\"";
    let reasons = samples
        .iter()
        .filter_map(|sample| sample.strip_prefix(begin)?.split('"').next());
    for reason in reasons {
        assert!(section.contains(&format!("`{reason}`")), "{reason}");
    }
}

#[test]
fn each_panel_of_the_dashboard_asks_the_chosen_source_and_instances() {
    let dashboard: Value = serde_json::from_str(DASHBOARD).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let mut asked = 0;
    for panel in panels.iter().filter(|panel| panel["type"] != "row") {
        assert_eq!(panel["datasource"]["uid"], "${datasource}", "{panel}");
        for target in panel["targets"].as_array().unwrap() {
            let expression = target["expr"].as_str().unwrap();
            assert!(
                expression.contains("instance=~\"$instance\""),
                "{expression}"
            );
            asked += 1;
        }
    }
    assert!(asked > 30);
}

#[test]
fn a_metric_is_found_with_its_reasons() {
    let text = "`fanfare_a_total{reason=\"x\"}`, rate(fanfare_b{instance=~\\\"$i\\\",reason=~\\\"y|z\\\"}[5m]) fanfare_(c|d) xfanfare_e";
    let expected = [
        ("fanfare_a_total", vec!["x"]),
        ("fanfare_b", vec!["y", "z"]),
    ];
    assert_eq!(named(text), expected);
}

#[test]
fn the_container_and_the_pages_have_the_rust_of_cargo_toml() {
    let rust = env!("CARGO_PKG_RUST_VERSION");
    assert!(
        CONTAINER.contains(&format!("/library/rust:{rust}-")),
        "{rust}"
    );
    assert!(DEPLOYMENT.contains(&format!("Rust {rust};")), "{rust}");
}
