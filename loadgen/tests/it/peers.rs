//! Other products' servers, where perf/peers/setup has installed them: each is started as perf/run
//! starts it, and driven through its own protocol.

use std::path::Path;
use std::process::Command;

use super::report;

/// Exit code of perf/peers/smoke if the peer is not installed.
const NOT_INSTALLED: i32 = 77;

/// Nothing is lost, reordered or changed, or the peer is not installed.
fn check(peer: &str, scenario: &str) {
    let smoke = Path::new(env!("CARGO_MANIFEST_DIR")).join("../perf/peers/smoke");
    let output = Command::new("python3")
        .arg(smoke)
        .args([peer, scenario, "--loadgen", env!("CARGO_BIN_EXE_loadgen")])
        .output();
    let output = match output {
        Ok(output) => output,
        Err(error) => return eprintln!("skipped: python3 cannot be run: {error}"),
    };
    if output.status.code() == Some(NOT_INSTALLED) {
        return eprint!("skipped: {}", String::from_utf8_lossy(&output.stderr));
    }
    let report = report(&output);
    assert!(output.status.success(), "{peer}: {report:#}");
    assert!(report["count"].as_u64() > Some(0), "{peer}: {report:#}");
    if matches!(scenario, "fanout" | "wse") {
        assert_eq!(report["topics_disagreeing"], 0, "{peer}: {report:#}");
    }
}

#[test]
fn nchan_delivers_through_its_paths() {
    check("nchan", "fanout");
}

#[test]
fn nats_delivers_through_its_text_protocol() {
    check("nats", "fanout");
}

#[test]
fn sockudo_delivers_through_the_pusher_protocol() {
    check("sockudo", "fanout");
}

#[test]
fn uwebsockets_delivers_through_its_topics() {
    check("uwebsockets", "fanout");
}

#[test]
fn uwebsockets_echoes() {
    check("uwebsockets", "echo");
}

#[test]
fn uwebsockets_greets_who_connects() {
    check("uwebsockets", "connect");
}

#[test]
fn uwebsockets_holds_idle_connections() {
    check("uwebsockets", "idle");
}

#[test]
fn wse_delivers_through_its_wire_protocol() {
    check("wse", "fanout");
}

#[test]
fn wse_delivers_beside_the_gateways_own_wse() {
    check("wse", "wse");
}

#[test]
fn centrifugo_delivers_through_its_client_protocol() {
    check("centrifugo", "fanout");
}

#[test]
fn centrifugo_answers_who_connects() {
    check("centrifugo", "connect");
}

#[test]
fn centrifugo_holds_idle_connections() {
    check("centrifugo", "idle");
}

#[test]
fn durable_streams_delivers_through_its_event_streams() {
    check("durable_streams", "fanout");
}
