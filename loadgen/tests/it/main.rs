//! The program against real servers: the baseline, in which it must find no fault,
//! and servers with one planted fault each, which it must catch.

#[path = "../../../examples/baseline.rs"]
#[expect(dead_code, reason = "its command line is the example's")]
mod baseline;
mod bridging;
mod faulty;
mod linking;
mod peers;
mod resuming;
mod tls;

use std::net::SocketAddr;
use std::process::{Command, Output};
use std::sync::mpsc;
use std::thread;

use faulty::FanoutFault;
use serde_json::Value;
use tokio::net::TcpListener;

/// Starts a server on a thread of its own and returns where it listens.
fn start<F>(serve: impl FnOnce(TcpListener) -> F + Send + 'static) -> SocketAddr
where
    F: Future<Output = std::io::Result<()>>,
{
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        tokio::task::LocalSet::new().block_on(&runtime, async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            sender.send(listener.local_addr().unwrap()).unwrap();
            serve(listener).await.unwrap();
        });
    });
    receiver.recv().unwrap()
}

fn loadgen(server: SocketAddr, arguments: &str) -> Output {
    loadgen_at(&format!("ws://{server}"), arguments)
}

fn loadgen_at(url: &str, arguments: &str) -> Output {
    Command::new(env!("CARGO_BIN_EXE_loadgen"))
        .args(["--url", url, "--json", "-", "--quiet"])
        .args(["--warmup", "0.2", "--duration", "0.5", "--patience", "4"])
        .args(arguments.split_whitespace())
        .output()
        .unwrap()
}

fn report(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| {
        panic!("{error}: {}", String::from_utf8_lossy(&output.stderr));
    })
}

/// Runs a scenario against the baseline; it must succeed and have done something.
fn check(arguments: &str) -> Value {
    let server = start(baseline::serve);
    let output = loadgen(server, arguments);
    let report = report(&output);
    assert!(output.status.success(), "{arguments}: {report:#}");
    assert!(report["count"].as_u64().unwrap() > 0, "{report:#}");
    report
}

#[test]
fn fan_out_is_complete_and_in_one_order() {
    for arguments in [
        "fanout --subscribers 20 --publishers 2",
        "fanout --subscribers 20 --burst 1",
        "fanout --subscribers 5 --burst 2000",
        "fanout --subscribers 10 --rate 2000",
        "fanout --subscribers 10 --payload 41",
        "fanout --subscribers 3 --payload 20000 --burst 8",
        "fanout --subscribers 10 --source-addresses 3",
        "fanout --subscribers 5 --publishers 2 --client tungstenite",
    ] {
        let report = check(arguments);
        assert_eq!(report["topics_disagreeing"], 0, "{arguments}");
        assert!(report["latency_us"]["p99"].as_f64().unwrap() > 0.0);
    }
}

#[test]
fn variations_of_fan_out_are_complete() {
    check("topics --topics 120 --subscribers 3 --subs-per-conn 50 --publishers 2");
    let slow = check("slow --subscribers 10 --slow 2 --rate 500 --canary-p99 4000");
    assert_eq!(slow["canary"]["lost"], 0);
    assert!(slow["canary"]["sent"].as_u64().unwrap() > 0);
    assert!(slow["kernel_memory"]["with"]["tcp_buffer_bytes"].is_u64());
    assert!(
        slow["notes"][0]
            .as_str()
            .unwrap()
            .starts_with("slow subscribers received")
    );
    let churn = check("churn --subscribers 5 --passing 5 --churn-rate 200");
    assert!(
        churn["notes"][0]
            .as_str()
            .unwrap()
            .contains("were replaced")
    );
}

#[test]
fn echoes_come_back_whole() {
    for arguments in [
        "echo --connections 5 --in-flight 8",
        "echo --connections 5 --binary",
        "echo --connections 5 --rate 1000",
        "echo --connections 2 --payload 100000",
        "echo --connections 5 --in-flight 4 --ping",
        "echo --connections 5 --in-flight 4 --client tungstenite",
    ] {
        check(arguments);
    }
}

#[test]
fn inbound_messages_are_all_counted() {
    let report = check("publish --publishers 3 --burst 10");
    assert!(report["verified"]["received"].as_u64().unwrap() > 100);
    // The padding alone is 128.
    assert!(report["sent_bytes_per_message"].as_f64().unwrap() > 128.0);
}

#[test]
fn connections_come_and_go() {
    check("connect --concurrency 4");
    check("connect --concurrency 4 --abort");
    let pid = std::process::id();
    let report = check(&format!("idle --connections 20 --settle 0.1 --pid {pid}"));
    assert_eq!(report["memory"]["connections"], 20);
    let kernel = &report["kernel_memory"];
    assert!(kernel["with"]["unreclaimable_bytes"].as_u64().unwrap() > 0);
}

/// Runs fan-out against a server with a planted fault; it must fail, and count
/// that fault and no other.
fn check_caught(fault: FanoutFault, counter: &str) {
    for client in ["fast", "tungstenite"] {
        let server = start(move |listener| faulty::serve(listener, fault));
        // On a schedule: a closed loop would wait for the dropped message.
        let arguments = format!("fanout --subscribers 3 --rate 2000 --client {client}");
        let output = loadgen(server, &arguments);
        let report = report(&output);
        assert_eq!(output.status.code(), Some(1), "{client}: {report:#}");
        for name in ["lost", "duplicated", "reordered", "corrupt", "misrouted"] {
            let count = report["verified"][name].as_u64().unwrap();
            // A corrupt message is missing, too.
            let expected = name == counter || (counter == "corrupt" && name == "lost");
            assert_eq!(count > 0, expected, "{client}, {name}: {report:#}");
        }
    }
}

#[test]
fn a_dropped_message_is_caught() {
    check_caught(FanoutFault::Drop, "lost");
}

#[test]
fn a_repeated_message_is_caught() {
    check_caught(FanoutFault::Repeat, "duplicated");
}

#[test]
fn swapped_messages_are_caught() {
    check_caught(FanoutFault::Swap, "reordered");
}

#[test]
fn a_changed_message_is_caught() {
    check_caught(FanoutFault::Change, "corrupt");
}

#[test]
fn two_orders_are_caught() {
    let server = start(|listener| faulty::serve(listener, FanoutFault::OwnOrder));
    let output = loadgen(server, "fanout --subscribers 3 --publishers 2 --rate 2000");
    let report = report(&output);
    assert_eq!(output.status.code(), Some(1), "{report:#}");
    assert_eq!(report["topics_disagreeing"], 1, "{report:#}");
    for name in ["lost", "duplicated", "reordered"] {
        assert_eq!(report["verified"][name], 0, "{report:#}");
    }
}

/// The ways in which wse messages can be written.
const WSE_ENCODINGS: [&str; 3] = ["", "--compression --payload 1100", "--msgpack"];

/// As [`check_caught`], for clients of the wse protocol; the counts of these and of no other faults must
/// be above 0.
fn check_wse(fault: FanoutFault, arguments: &str, counters: &[&str]) -> Value {
    let server = start(move |listener| faulty::serve(listener, fault));
    let output = loadgen(server, &format!("wse --subscribers 3 {arguments}"));
    let report = report(&output);
    let context = format!("{fault:?}, {arguments}: {report:#}");
    let code = i32::from(!counters.is_empty());
    assert_eq!(output.status.code(), Some(code), "{context}");
    for name in [
        "lost",
        "duplicated",
        "reordered",
        "corrupt",
        "misrouted",
        "misnumbered",
    ] {
        let count = report["verified"][name].as_u64().unwrap();
        assert_eq!(count > 0, counters.contains(&name), "{name}, {context}");
    }
    assert!(report["count"].as_u64() > Some(0), "{context}");
    report
}

#[test]
fn wse_clients_get_everything_in_every_encoding() {
    for encoding in WSE_ENCODINGS {
        for load in ["", "--publishers 2 --rate 2000", "--burst 1 --window 4"] {
            let report = check_wse(FanoutFault::None, &format!("{encoding} {load}"), &[]);
            assert_eq!(report["topics_disagreeing"], 0, "{report:#}");
            assert_eq!(report["scenario"], "wse");
            // Numbers of two and more lengths, all but the first of a connection compared in place.
            assert!(
                report["verified"]["received"].as_u64() > Some(400),
                "{report:#}"
            );
            let notes = report["notes"].to_string();
            assert!(!notes.contains("the slow way"), "{notes}");
            assert_eq!(
                notes.contains("came compressed"),
                encoding.contains("compression")
            );
        }
    }
}

#[test]
fn every_fault_of_a_wse_fan_out_is_caught() {
    let cases: &[(FanoutFault, &[&str])] = &[
        (FanoutFault::Drop, &["lost"]),
        (FanoutFault::Repeat, &["duplicated"]),
        (FanoutFault::Swap, &["reordered"]),
        (FanoutFault::Change, &["corrupt", "lost"]),
        (FanoutFault::Cut, &["corrupt", "lost"]),
        (FanoutFault::Offset, &["misnumbered"]),
        (FanoutFault::Leap, &["misnumbered"]),
        (FanoutFault::Epoch, &["misnumbered"]),
        (FanoutFault::Kind, &["corrupt", "lost"]),
        (FanoutFault::Seq, &["corrupt", "lost"]),
        (FanoutFault::Opcode, &["corrupt", "lost"]),
        (FanoutFault::Flip, &["corrupt", "lost"]),
    ];
    thread::scope(|scope| {
        for &(fault, counters) in cases {
            scope.spawn(move || {
                for encoding in WSE_ENCODINGS {
                    // On a schedule: a closed loop would wait for the dropped message.
                    let arguments = format!("{encoding} --rate 600");
                    check_wse(fault, &arguments, counters);
                }
            });
        }
    });
}

#[test]
fn a_message_of_wse_that_is_numbered_wrongly_is_counted_once() {
    let arguments = "--rate 2000 --duration 0.1 --warmup 0";
    let report = check_wse(FanoutFault::Offset, arguments, &["misnumbered"]);
    let received = report["verified"]["received"].as_u64().unwrap();
    // One in a hundred, of those of the first of three subscribers.
    let expected = (received / 3 + 50) / 100;
    assert_eq!(report["verified"]["misnumbered"], expected, "{report:#}");
}

#[test]
fn offsets_that_leap_are_caught_with_several_publishers() {
    let arguments = "--publishers 2 --rate 2000";
    check_wse(FanoutFault::Leap, arguments, &["misnumbered"]);
}

#[test]
fn what_wse_clients_cannot_go_on_from_ends_a_run() {
    for (fault, arguments, reason) in [
        (FanoutFault::NoAck, "", "only 1 of 4 connections are ready"),
        (
            FanoutFault::EmptyAck,
            "",
            "the subscription of t0 was answered with",
        ),
        (FanoutFault::GreetingSeq, "", "a seq stalls"),
        (FanoutFault::None, "--compression", "give --payload 1024"),
        (
            FanoutFault::None,
            "--msgpack --inbound",
            "--inbound has options of its own",
        ),
    ] {
        let server = start(move |listener| faulty::serve(listener, fault));
        let output = loadgen(
            server,
            &format!("wse --subscribers 3 --patience 1 {arguments}"),
        );
        let problem = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{problem}");
        assert!(problem.contains(reason), "{fault:?}: {problem}");
    }
    for (fault, arguments, reason) in [
        (
            FanoutFault::NotCompressed,
            "--compression --payload 1100",
            "no message came compressed",
        ),
        (FanoutFault::Warning, "", "FANFARE_WSE__RATE_CAPACITY=0"),
    ] {
        let server = start(move |listener| faulty::serve(listener, fault));
        let output = loadgen(server, &format!("wse --subscribers 3 {arguments}"));
        assert_eq!(output.status.code(), Some(1));
        let failures = report(&output)["failures"].to_string();
        assert!(failures.contains(reason), "{failures}");
    }
}

#[test]
fn a_closed_connection_is_named_with_its_code() {
    let server = start(|listener| faulty::serve(listener, FanoutFault::Close));
    let output = loadgen(server, "fanout --subscribers 3 --rate 2000");
    let report = report(&output);
    assert_eq!(output.status.code(), Some(1));
    let failures = report["failures"].to_string();
    assert!(failures.contains("code 1008 (too slow)"), "{failures}");
}

#[test]
fn a_missing_or_unwilling_server_is_explained() {
    let no_server = SocketAddr::from(([127, 0, 0, 1], 1));
    for client in ["fast", "tungstenite"] {
        let output = loadgen(no_server, &format!("fanout --client {client}"));
        let problem = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1));
        assert!(problem.contains("server not reachable"), "{problem}");
    }
    let server = start(baseline::serve);
    let elsewhere = Command::new(env!("CARGO_BIN_EXE_loadgen"))
        .args(["fanout", "--url", &format!("ws://{server}/elsewhere")])
        .output()
        .unwrap();
    let problem = String::from_utf8_lossy(&elsewhere.stderr).into_owned();
    assert!(
        problem.contains("status 404: no such endpoint"),
        "{problem}"
    );
    let output = loadgen(server, "connect --client tungstenite");
    assert_eq!(output.status.code(), Some(1));
    let output = loadgen(server, "fanout --payload 40");
    assert_eq!(output.status.code(), Some(2));
}

/// Runs the resume scenario against a server with this fault over both
/// transports, and checks exit code and report.
fn check_resume(
    fault: resuming::ResumeFault,
    arguments: &str,
    expected: impl Fn(Option<i32>, &Value),
) {
    for transport in ["websocket", "sse"] {
        let server = start(move |listener| resuming::serve(listener, fault));
        let arguments = format!(
            "resume --subscribers 10 --rate 1000 --cut-every 0.1s --away 0.02 \
             --transport {transport} {arguments}"
        );
        let output = loadgen(server, &arguments);
        expected(output.status.code(), &report(&output));
    }
}

#[test]
fn subscribers_that_are_cut_have_everything_once_in_the_end() {
    check_resume(resuming::ResumeFault::None, "--no-gaps", |code, report| {
        assert_eq!(code, Some(0), "{report:#}");
        let received = report["verified"]["received"].as_u64().unwrap();
        assert!(received >= 5_000, "{report:#}");
        let cuts = report["notes"][1].as_str().unwrap();
        assert!(!cuts.starts_with("0 "), "{cuts}");
    });
}

#[test]
fn a_hole_after_a_resume_is_caught() {
    check_resume(resuming::ResumeFault::Hole, "", |code, report| {
        assert_eq!(code, Some(1), "{report:#}");
        assert_ne!(report["verified"]["lost"], 0, "{report:#}");
        assert_eq!(report["verified"]["duplicated"], 0, "{report:#}");
    });
}

#[test]
fn a_message_that_comes_again_after_a_resume_is_caught() {
    check_resume(resuming::ResumeFault::Repeat, "", |code, report| {
        assert_eq!(code, Some(1), "{report:#}");
        assert_eq!(report["verified"]["lost"], 0, "{report:#}");
        assert_ne!(report["verified"]["duplicated"], 0, "{report:#}");
    });
}

#[test]
fn a_gap_that_is_told_is_a_failure_only_where_none_may_be() {
    check_resume(resuming::ResumeFault::Gap, "", |code, report| {
        assert_eq!(code, Some(0), "{report:#}");
        assert_eq!(report["verified"]["lost"], 0, "{report:#}");
    });
    check_resume(resuming::ResumeFault::Gap, "--no-gaps", |code, report| {
        assert_eq!(code, Some(1), "{report:#}");
        let failures = report["failures"].to_string();
        assert!(failures.contains("gaps were told"), "{failures}");
    });
}

/// Runs a mode of the bridge scenario against a server with this fault; it must count
/// these faults and no others, and fail if there are any.
fn check_bridge(
    side: bridging::FaultSide,
    fault: bridging::BridgeFault,
    mode: &str,
    counters: &[&str],
) {
    let server = start(move |listener| bridging::serve(listener, side, fault));
    let output = loadgen(server, &format!("bridge {mode} --users 10"));
    let report = report(&output);
    let expected = i32::from(!counters.is_empty());
    assert_eq!(
        output.status.code(),
        Some(expected),
        "{fault:?}: {report:#}"
    );
    for name in ["lost", "duplicated", "reordered", "corrupt", "misrouted"] {
        let count = report["verified"][name].as_u64().unwrap();
        let is_expected = counters.contains(&name);
        assert_eq!(count > 0, is_expected, "{fault:?}, {name}: {report:#}");
    }
    assert!(
        report["verified"]["received"].as_u64().unwrap() > 20,
        "{report:#}"
    );
}

#[test]
fn pushes_batches_and_calls_are_complete_and_in_order() {
    for mode in [
        "push --connections 4",
        "push --connections 4 --rate 500",
        "batch --connections 2 --batch 10",
        "batch --connections 2 --batch 5 --rate 500 --payload 2000",
        "send --calls 5",
        "send --calls 5 --beside 4 --batch 10 --intruders",
        "send --calls 2 --answers 0",
    ] {
        check_bridge(
            bridging::FaultSide::Pushes,
            bridging::BridgeFault::None,
            mode,
            &[],
        );
    }
}

#[test]
fn a_service_goes_on_when_the_server_closes_after_an_answer() {
    let mode = "push --connections 3";
    check_bridge(
        bridging::FaultSide::Pushes,
        bridging::BridgeFault::Close,
        mode,
        &[],
    );
}

/// As [`check_bridge`], for all of these faults at the same time.
fn check_faults(
    side: bridging::FaultSide,
    mode: &str,
    faults: &[(bridging::BridgeFault, &[&str])],
) {
    thread::scope(|scope| {
        for &(fault, counters) in faults {
            scope.spawn(move || check_bridge(side, fault, mode, counters));
        }
    });
}

#[test]
fn every_fault_of_a_push_is_caught() {
    use bridging::BridgeFault;
    for mode in ["push --connections 1", "batch --connections 1 --batch 7"] {
        check_faults(
            bridging::FaultSide::Pushes,
            mode,
            &[
                (BridgeFault::Drop, &["lost"]),
                (BridgeFault::Repeat, &["duplicated"]),
                (BridgeFault::Swap, &["reordered"]),
                (BridgeFault::Misdirect, &["misrouted", "lost"]),
                (BridgeFault::Change, &["corrupt", "lost"]),
                (BridgeFault::NoSender, &["corrupt", "lost"]),
            ],
        );
    }
}

#[test]
fn every_fault_of_an_answer_is_caught() {
    use bridging::BridgeFault;
    check_faults(
        bridging::FaultSide::Answers,
        "send --calls 5 --intruders",
        &[
            (BridgeFault::Drop, &["lost"]),
            (BridgeFault::Repeat, &["duplicated"]),
            (BridgeFault::Swap, &["reordered"]),
            (BridgeFault::Misdirect, &["misrouted", "lost"]),
            (BridgeFault::Change, &["corrupt", "lost"]),
            (BridgeFault::AnyUser, &["misrouted"]),
        ],
    );
}

#[test]
fn an_answer_that_does_not_say_success_fails_a_run() {
    for (fault, mode, said) in [
        (bridging::BridgeFault::Partial, "push", "partial"),
        (
            bridging::BridgeFault::ResultOrder,
            "batch --batch 5",
            "results",
        ),
    ] {
        let side = bridging::FaultSide::Pushes;
        let server = start(move |listener| bridging::serve(listener, side, fault));
        let output = loadgen(server, &format!("bridge {mode} --users 10"));
        let failures = report(&output)["failures"].to_string();
        assert_eq!(output.status.code(), Some(1), "{failures}");
        assert!(failures.contains("did not say success"), "{failures}");
        assert!(failures.contains(said), "{failures}");
    }
}

#[test]
fn an_impossible_bridge_run_is_explained() {
    let no_server = SocketAddr::from(([127, 0, 0, 1], 1));
    let output = loadgen(no_server, "bridge batch --users 10");
    let problem = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        problem.contains("--batch 100 needs as many --users"),
        "{problem}"
    );
    let output = loadgen(no_server, "bridge push --users 10");
    let problem = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(problem.contains("server not reachable"), "{problem}");
}

/// The scenarios of the backend link: by clients of the events protocol, and of wse.
const BACKEND: [&str; 2] = ["backend", "wse --inbound"];

/// Runs a backend scenario against a gateway with this fault; its faults must be exactly these, by
/// the names of counters, or of `faults` by what they begin with. One with a question mark may be
/// missing.
fn check_backend(fault: linking::LinkFault, arguments: &str, expected: &[&str]) -> Value {
    let server = start(move |listener| linking::serve(listener, fault));
    let output = loadgen(server, arguments);
    let report = report(&output);
    let code = i32::from(!expected.is_empty());
    let context = format!("{fault:?}, {arguments}: {report:#}");
    assert_eq!(output.status.code(), Some(code), "{context}");
    let counters = ["lost", "duplicated", "reordered", "corrupt", "misrouted"];
    let counted = counters.map(|name| (name, report["verified"][name].as_u64().unwrap()));
    let faults = report["backend"]["faults"].as_object().unwrap();
    let told = faults
        .iter()
        .map(|(name, count)| (&**name, count.as_u64().unwrap()));
    let mut missing: Vec<_> = expected
        .iter()
        .map(|name| (name.trim_end_matches('?'), name.ends_with('?')))
        .collect();
    for (name, count) in counted.into_iter().chain(told) {
        let known = missing
            .iter()
            .position(|(known, _)| name.starts_with(known));
        let is_optional = known.is_some_and(|at| missing.remove(at).1);
        let is_right = is_optional || (count > 0) == known.is_some();
        assert!(is_right, "{name}: {context}");
    }
    assert!(missing.is_empty(), "{missing:?}: {context}");
    let connects = report["backend"]["connects"].as_u64().unwrap();
    assert!(connects > 2, "{context}");
    report
}

/// Each of these loads in each scenario of the backend link.
fn each_backend(loads: &[&str]) -> Vec<String> {
    let of = |load: &&str| BACKEND.map(|scenario| format!("{scenario} {load}"));
    loads.iter().flat_map(of).collect()
}

#[test]
fn an_application_gets_what_clients_say_once_and_in_order() {
    let none = linking::LinkFault::None;
    let loads = [
        "--connections 5",
        "--connections 5 --members 3 --burst 10 --in-flight 25",
        "--connections 5 --rate 2000",
        "--connections 3 --ids --size 1000",
        "--connections 3 --size 66 --burst 1 --in-flight 1",
        "--connections 6 --members 2 --slow-member 30",
    ];
    for arguments in each_backend(&loads) {
        let report = check_backend(none, &arguments, &[]);
        let verified = report["verified"]["received"].as_u64().unwrap();
        assert!(verified > 50, "{report:#}");
        assert_eq!(report["backend"]["sent"], verified);
        assert_eq!(report["backend"]["acknowledged"], verified);
        assert_eq!(report["backend"]["redelivered"], 0);
        assert!(report["latency_us"]["p99"].as_f64().unwrap() > 0.0);
        assert!(report["count"].as_u64().unwrap() > 0);
    }
}

#[test]
fn refused_messages_are_matched_to_those_that_are_missing() {
    for arguments in each_backend(&["--connections 5", "--connections 5 --ids"]) {
        let report = check_backend(linking::LinkFault::Refuse, &arguments, &[]);
        let of = |name: &str| report["backend"][name].as_u64().unwrap();
        assert!(of("refused") > 50, "{report:#}");
        assert_eq!(of("sent"), of("acknowledged") + of("refused"));
    }
}

#[test]
fn what_a_killed_member_had_comes_again() {
    let loads = [
        "--connections 5 --kill-member-after 0.2",
        "--connections 8 --members 3 --kill-member-after 0.2",
        "--connections 5 --rate 5000 --kill-member-after 0.2",
    ];
    for arguments in each_backend(&loads) {
        let report = check_backend(linking::LinkFault::None, &arguments, &[]);
        let redelivered = report["backend"]["redelivered"].as_u64().unwrap();
        assert!(redelivered > 0, "{report:#}");
    }
}

#[test]
fn every_fault_of_a_backend_link_is_caught() {
    use linking::LinkFault;
    let cases: &[(LinkFault, &str, &[&str])] = &[
        (LinkFault::Drop, "--rate 3000", &["lost"]),
        (LinkFault::Repeat, "", &["duplicated", "came again without"]),
        (LinkFault::Swap, "", &["reordered"]),
        (LinkFault::Change, "--rate 3000", &["corrupt", "lost"]),
        (LinkFault::Misdirect, "", &["clients and connections"]),
        (LinkFault::SkipSeq, "", &["objects whose seq"]),
        (LinkFault::SameNumber, "", &["numbers (n)"]),
        (LinkFault::Again, "", &["came again although"]),
        (
            LinkFault::RefuseAndSend,
            "",
            &["refused messages that came"],
        ),
        (
            LinkFault::Move,
            "--members 2",
            // What the one member has may be read after what the other got later.
            &[
                "clients that changed",
                "reordered?",
                "numbers (n)?",
                "objects before connect?",
            ],
        ),
        (LinkFault::Gap, "", &["messages that gaps"]),
        (LinkFault::ConnectTwice, "", &["connects that came twice"]),
        (
            LinkFault::DisconnectTwice,
            "",
            &["disconnects that came twice"],
        ),
        (
            LinkFault::NoDisconnect,
            "",
            &["connections without a disconnect"],
        ),
        (LinkFault::LateConnect, "", &["objects before connect"]),
    ];
    thread::scope(|scope| {
        // In wse a refusal names no message.
        let arguments = "backend --connections 3 --ids";
        let expected = &["clients of whom others"];
        scope.spawn(move || check_backend(LinkFault::RefuseOther, arguments, expected));
        for &(fault, arguments, expected) in cases {
            scope.spawn(move || {
                for scenario in BACKEND {
                    let arguments = format!("{scenario} --connections 3 {arguments}");
                    check_backend(fault, &arguments, expected);
                }
            });
        }
    });
}

#[test]
fn every_fault_of_a_redelivery_is_caught() {
    use linking::LinkFault;
    let cases: &[(LinkFault, &[&str])] = &[
        (
            LinkFault::Unmarked,
            &["came again without", "objects of a killed member"],
        ),
        (LinkFault::Renumber, &["numbers (n)"]),
        (
            LinkFault::Forget,
            // What was on its way to the member is lost, if there was any.
            &["lost?", "objects of a killed member"],
        ),
    ];
    thread::scope(|scope| {
        for &(fault, expected) in cases {
            let arguments = "backend --connections 3 --kill-member-after 0.1 --patience 1";
            scope.spawn(move || check_backend(fault, arguments, expected));
        }
    });
}

#[test]
fn what_the_gateway_says_is_not_acknowledged_fails_a_run() {
    let server = start(|listener| linking::serve(listener, linking::LinkFault::Pending));
    let output = loadgen(server, "backend --connections 3 --patience 1");
    let failures = report(&output)["failures"].to_string();
    assert_eq!(output.status.code(), Some(1), "{failures}");
    assert!(
        failures.contains("1 objects are not acknowledged"),
        "{failures}"
    );
}

#[test]
fn clients_that_come_and_go_are_told_of_once_each() {
    use linking::LinkFault;
    let arguments = "backend --churn --clients 200 --over 0.5";
    for load in each_backend(&["--churn --clients 200 --over 0.5"]) {
        let report = check_backend(LinkFault::None, &load, &[]);
        assert_eq!(report["backend"]["connects"], 200);
        assert_eq!(report["backend"]["disconnects"], 200);
    }
    let cases: &[(LinkFault, &[&str])] = &[
        (LinkFault::ConnectTwice, &["connects that came twice"]),
        (
            LinkFault::NoDisconnect,
            &["connections without a disconnect"],
        ),
        (LinkFault::SameCode, &["disconnects with a wrong code"]),
    ];
    thread::scope(|scope| {
        for &(fault, expected) in cases {
            scope.spawn(move || {
                check_backend(fault, &format!("{arguments} --patience 2"), expected)
            });
        }
    });
}

#[test]
fn an_impossible_backend_run_is_explained() {
    let server = start(|listener| linking::serve(listener, linking::LinkFault::None));
    for (arguments, reason) in [
        ("backend --size 62", "a message has at least 63 bytes"),
        ("wse --inbound --size 65", "a message has at least 66 bytes"),
        (
            "backend --in-flight 10",
            "--in-flight has to be --burst at least",
        ),
    ] {
        let output = loadgen(server, arguments);
        let problem = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{problem}");
        assert!(problem.contains(reason), "{problem}");
    }
    // It has no such endpoint.
    let output = loadgen(start(baseline::serve), "backend");
    let problem = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{problem}");
    assert!(
        problem.contains("/api/v1/backend") && problem.contains("404"),
        "{problem}"
    );
}
