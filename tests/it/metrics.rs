//! `/metrics` as Prometheus reads it, and what it says of the process.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::Value;

use crate::support::{Client, Process, TestGateway, metric, request};

fn scrape(address: SocketAddr) -> String {
    let head =
        b"GET /metrics HTTP/1.1\r\nHost: x\r\nAccept: text/plain\r\nConnection: close\r\n\r\n";
    let response = request(address, head);
    assert_eq!(response.status, 200, "{response:?}");
    response.body
}

/// Prints a JSON object for each family: what Prometheus' own parser makes of the text.
const PARSE: &str = "
import json, sys
from prometheus_client.parser import text_string_to_metric_families
for family in text_string_to_metric_families(sys.stdin.read()):
    print(json.dumps({
        'name': family.name, 'type': family.type, 'help': family.documentation,
        'samples': [[it.name, it.labels, it.value] for it in family.samples],
    }))
";

/// The families of a text, by their names.
fn parsed(text: &str) -> BTreeMap<String, Value> {
    let mut python = Command::new("/usr/bin/python3")
        .args(["-c", PARSE])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("python3 is there: scripts/setup test");
    let mut input = python.stdin.take().unwrap();
    input.write_all(text.as_bytes()).unwrap();
    drop(input);
    let output = python.wait_with_output().unwrap();
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{complaint}(scripts/setup test installs the parser)"
    );
    let lines = str::from_utf8(&output.stdout).unwrap().lines();
    let mut families = BTreeMap::new();
    for line in lines {
        let family: Value = serde_json::from_str(line).unwrap();
        let name = family["name"].as_str().unwrap().to_owned();
        let before = families.insert(name, family);
        assert!(before.is_none(), "a family comes twice: {line}");
    }
    families
}

#[test]
fn prometheus_own_parser_reads_every_line_and_names_follow_its_conventions() {
    let gateway = TestGateway::start();
    let mut client = Client::events(gateway.address);
    client.subscribe(&["m"]);
    let text = scrape(gateway.address);
    let families = parsed(&text);
    let samples = |family: &Value| family["samples"].as_array().unwrap().len();
    let read: usize = families.values().map(samples).sum();
    let written = text.lines().filter(|line| !line.starts_with('#')).count();
    assert_eq!(read, written);
    for (name, family) in &families {
        assert!(!family["help"].as_str().unwrap().is_empty(), "{family}");
        // The parser takes `_total` off a counter's name: it has to be on each of its samples.
        match family["type"].as_str().unwrap() {
            "counter" => {
                let total = format!("{name}_total");
                for sample in family["samples"].as_array().unwrap() {
                    assert_eq!(sample[0], *total);
                }
            }
            "gauge" => assert!(!name.ends_with("_total"), "{name}"),
            "histogram" => assert!(name.ends_with("_bytes") || name.ends_with("_seconds")),
            other => panic!("{name} is {other}"),
        }
        assert!(samples(family) > 0, "{family}");
    }
    for name in [
        "process_cpu_seconds",
        "process_resident_memory_bytes",
        "process_virtual_memory_bytes",
        "process_open_fds",
        "process_max_fds",
        "process_threads",
        "process_start_time_seconds",
    ] {
        let value = families[name]["samples"][0][2].as_f64().unwrap();
        assert!(value > 0.0, "{name}");
    }
    let build = &families["fanfare_build_info"]["samples"][0];
    assert_eq!(build[1]["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(build[2], 1.0);
}

#[test]
fn the_process_is_as_the_kernel_counts_it() {
    let began = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let process = Process::start(&["--shards", "2"]);
    let read = || {
        let families = parsed(&scrape(process.address));
        move |name: &str| families[name]["samples"][0][2].as_f64().unwrap()
    };
    let before = read();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let lifetime = began.as_secs_f64() - 1.0..=now.as_secs_f64() + 1.0;
    assert!(lifetime.contains(&before("process_start_time_seconds")));
    let of_kernel = format!("/proc/{}", process.pid());
    let count = |folder: &str| {
        let entries = fs::read_dir(format!("{of_kernel}/{folder}")).unwrap();
        f64::from(u32::try_from(entries.count()).unwrap())
    };
    // A thread may begin or end meanwhile.
    let threads = (0..100).find_map(|_| {
        let (first, told) = (count("task"), read()("process_threads"));
        (count("task") == first).then_some((told, first))
    });
    let (told, counted) = threads.expect("threads do not come and go all the time");
    assert_eq!(told, counted);
    #[expect(clippy::cast_precision_loss, reason = "small")]
    let resident = process.rss() as f64;
    let told = before("process_resident_memory_bytes");
    assert!(
        (resident / 2.0..resident * 2.0).contains(&told),
        "{told} of {resident}"
    );
    // Each client is a file more.
    let clients: Vec<_> = (0..20).map(|_| Client::echo(process.address)).collect();
    let with_clients = read();
    let more = with_clients("process_open_fds") - before("process_open_fds");
    assert!((19.0..=21.0).contains(&more), "{more}");
    drop(clients);
    assert!(with_clients("process_cpu_seconds") >= before("process_cpu_seconds"));
}

#[test]
fn answers_are_counted_by_the_class_of_their_status() {
    let gateway = TestGateway::start();
    let address = gateway.address;
    let counted = || {
        ["2xx", "3xx", "4xx", "5xx"]
            .map(|class| metric(address, &format!("http_requests_total{{code=\"{class}\"}}")))
    };
    let get = |path: &str, headers: &str| {
        let head = format!("GET {path} HTTP/1.1\r\nHost: x\r\n{headers}\r\n");
        request(address, head.as_bytes()).status
    };
    assert_eq!(counted()[0], 0);
    let before = counted();
    // An answer of the router, a path that is not there, a refused upgrade, and what is no request.
    let close = "Connection: close\r\n";
    assert_eq!(get("/health", close), 200);
    assert_eq!(get("/never", close), 404);
    let upgrade = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 7\r\n";
    assert_eq!(get("/debug/echo", upgrade), 426);
    assert_eq!(request(address, b"GET\r\n\r\n").status, 400);
    // A client that connects is a connection.
    let _client = Client::echo(address);
    let after = counted();
    let more: Vec<u64> = (0..4).map(|class| after[class] - before[class]).collect();
    // Of scrapes: the four of `before`, but the first of `after` has not counted itself.
    assert_eq!(more, [1 + 4, 0, 3, 0]);
}

#[test]
fn connections_and_messages_are_counted_by_protocol_and_under_the_names_of_wse() {
    let gateway = TestGateway::start();
    let address = gateway.address;
    let mut echo = Client::echo(address);
    echo.send(0x81, b"once");
    assert_eq!(echo.next().unwrap().payload, b"once");
    let gone = Client::connect(address, "/wse");
    let mut client = Client::connect(address, "/wse");
    assert_eq!(client.json()["t"], "server_ready");
    for _ in 0..2 {
        client.say(&serde_json::json!({ "c": "WSE", "t": "ping", "p": { "timestamp": 1 } }));
        while client.json()["t"] != "PONG" {}
    }
    drop(gone);
    let of =
        |name: &str, dialect: &str| metric(address, &format!("{name}{{dialect=\"{dialect}\"}}"));
    let deadline = Instant::now() + Duration::from_secs(10);
    while of("dialect_connections", "wse") != 1 {
        assert!(Instant::now() < deadline, "{}", scrape(address));
        std::thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(of("dialect_connections_opened_total", "wse"), 2);
    assert_eq!(of("dialect_messages_received_total", "wse"), 2);
    assert_eq!(of("dialect_connections", "echo"), 1);
    assert_eq!(of("dialect_messages_received_total", "echo"), 1);
    assert_eq!(of("dialect_connections_opened_total", "events"), 0);
    // Those of all protocols are what they were.
    assert_eq!(metric(address, "connections"), 2);
    assert_eq!(metric(address, "connections_opened_total"), 3);
    assert_eq!(metric(address, "messages_received_total"), 3);
    let get = |query: &str| {
        let head = format!("GET /metrics?{query} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        request(address, head.as_bytes())
    };
    let text = get("names=wse").body;
    let families = parsed(&text);
    let value = |family: &str| families[family]["samples"][0][2].as_f64().unwrap();
    let written = text.lines().filter(|line| !line.starts_with('#')).count();
    assert_eq!(families.len(), written, "one number of each name");
    for (family, expected) in [
        ("wse_connections", 1.0),
        ("wse_connections_accepted", 2.0),
        ("wse_messages_received", 2.0),
        ("wse_auth_failures", 0.0),
        ("ws_connections_active", 1.0),
        ("ws_disconnections", 1.0),
        ("pubsub_published", 0.0),
        ("dlq_messages", 0.0),
    ] {
        assert_eq!(value(family), expected, "{family}");
    }
    assert!(value("wse_bytes_sent") > 0.0 && value("wse_uptime_seconds") > 0.0);
    for family in families.values() {
        let (name, kind) = (&family["samples"][0][0], &family["type"]);
        let is_total = name.as_str().unwrap().ends_with("_total");
        assert_eq!(is_total, kind == "counter", "{family}");
        assert!(!family["help"].as_str().unwrap().is_empty(), "{family}");
    }
    let unknown = get("names=nobody");
    assert_eq!(unknown.status, 400, "{unknown:?}");
}
