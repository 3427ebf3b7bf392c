//! The program over TLS: a server of rustls in front of the plain ones.

use std::fs;
use std::net::{Shutdown, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Output;
use std::sync::{Arc, LazyLock};

use futures_util::SinkExt;
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::Value;
use tokio::io::{AsyncWriteExt, copy, sink, split};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::spawn_local;
use tokio_rustls::TlsAcceptor;
use tokio_tungstenite::accept_async;
use tokio_tungstenite::tungstenite::Message;

use super::{baseline, bridging, loadgen_at, report, resuming, start};

/// How the server ends a connection that the plain one behind it has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ending {
    /// With close_notify.
    InOrder,
    /// By TCP alone.
    Truncated,
}

/// A self-signed certificate and its key.
struct TestCertificate {
    certificate: CertificateDer<'static>,
    key: PrivateKeyDer<'static>,
    /// The certificate, PEM.
    file: PathBuf,
}

impl TestCertificate {
    fn new(host: &str, file: &str) -> Self {
        let own = rcgen::generate_simple_self_signed([host.to_owned()]).unwrap();
        let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(file);
        fs::write(&file, own.cert.pem()).unwrap();
        let key = own.signing_key.serialize_pem();
        Self {
            certificate: own.cert.into(),
            key: PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap(),
            file,
        }
    }
}

/// The servers' own, for 127.0.0.1.
static CERTIFICATE: LazyLock<TestCertificate> =
    LazyLock::new(|| TestCertificate::new("127.0.0.1", "loadgen-tls.pem"));

/// For another host.
static OTHER: LazyLock<TestCertificate> =
    LazyLock::new(|| TestCertificate::new("fanfare.example", "loadgen-tls-other.pem"));

/// Starts a server with this certificate in front of the one at `behind`.
fn front(certificate: &TestCertificate, behind: SocketAddr, ending: Ending) -> SocketAddr {
    let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![certificate.certificate.clone()],
            certificate.key.clone_key(),
        )
        .unwrap();
    config.ticketer = aws_lc_rs::Ticketer::new().unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    start(move |listener| serve(listener, acceptor, behind, ending))
}

async fn serve(
    listener: TcpListener,
    acceptor: TlsAcceptor,
    behind: SocketAddr,
    ending: Ending,
) -> std::io::Result<()> {
    loop {
        let (socket, _) = listener.accept().await?;
        socket.set_nodelay(true)?;
        let acceptor = acceptor.clone();
        // The tests end connections on purpose.
        spawn_local(async move { relay(socket, &acceptor, behind, ending).await });
    }
}

async fn relay(
    socket: TcpStream,
    acceptor: &TlsAcceptor,
    behind: SocketAddr,
    ending: Ending,
) -> std::io::Result<()> {
    let socket = socket.into_std()?;
    let end = socket.try_clone()?;
    let socket = TcpStream::from_std(socket)?;
    let (mut from_client, mut to_client) = split(acceptor.accept(socket).await?);
    let behind = TcpStream::connect(behind).await?;
    behind.set_nodelay(true)?;
    let (mut from_server, mut to_server) = behind.into_split();
    spawn_local(async move {
        // The end of a client, in whichever way, is told to the server.
        let _ = copy(&mut from_client, &mut to_server).await;
        to_server.shutdown().await
    });
    copy(&mut from_server, &mut to_client).await?;
    match ending {
        Ending::InOrder => to_client.shutdown().await,
        Ending::Truncated => end.shutdown(Shutdown::Both),
    }
}

/// Runs a scenario over TLS in front of this server.
fn over_tls(behind: SocketAddr, ending: Ending, arguments: &str) -> Output {
    let server = front(&CERTIFICATE, behind, ending);
    let file = CERTIFICATE.file.display();
    loadgen_at(
        &format!("wss://{server}"),
        &format!("{arguments} --ca-file {file}"),
    )
}

/// Runs a scenario over TLS in front of this server; it must succeed and have done something.
fn check(behind: SocketAddr, arguments: &str) -> Value {
    let output = over_tls(behind, Ending::InOrder, arguments);
    let report = report(&output);
    assert!(output.status.success(), "{arguments}: {report:#}");
    assert!(report["count"].as_u64() > Some(0), "{report:#}");
    report
}

#[test]
fn every_scenario_verifies_over_tls_what_it_does_without() {
    for arguments in [
        "fanout --subscribers 20 --publishers 2",
        "fanout --subscribers 3 --payload 102400 --burst 8",
        "fanout --subscribers 5 --publishers 2 --client tungstenite",
        "topics --topics 120 --subscribers 3",
        "slow --subscribers 10 --slow 2 --rate 500 --canary-p99 4000",
        "churn --subscribers 5 --passing 5 --churn-rate 100",
        "echo --connections 2 --payload 102400",
        "echo --connections 2 --payload 2000000",
        "echo --connections 5 --in-flight 4 --client tungstenite",
        "publish --publishers 3 --burst 10",
    ] {
        let report = check(start(baseline::serve), arguments);
        assert!(report["url"].as_str().unwrap().starts_with("wss://"));
        if report["client"] == "fast" {
            let tls = report["tls"].as_str().unwrap();
            assert!(tls.starts_with("TLSv1_3, "), "{tls}");
        }
    }
}

#[test]
fn idle_connections_say_that_they_are_tls() {
    let pid = std::process::id();
    let arguments = format!("idle --connections 20 --settle 0.1 --pid {pid}");
    let report = check(start(baseline::serve), &arguments);
    assert!(report["memory"]["per_connection_bytes"].is_f64());
    assert!(report["tls"].as_str().unwrap().contains("X25519MLKEM768"));
    // Streams that end when their clients shut down their side.
    let streams = start(|listener| async move {
        loop {
            let (mut stream, _) = listener.accept().await?;
            spawn_local(async move {
                let head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n";
                stream.write_all(head).await?;
                copy(&mut stream, &mut sink()).await
            });
        }
    });
    let arguments = "idle --connections 5 --settle 0.1 --transport sse";
    assert!(check(streams, arguments)["tls"].is_string());
}

#[test]
fn subscribers_resume_over_tls() {
    for transport in ["websocket", "sse"] {
        let behind = start(|listener| resuming::serve(listener, resuming::ResumeFault::None));
        let arguments = "resume --subscribers 5 --rate 500 --cut-every 0.2s --away 0.02 --no-gaps";
        let report = check(behind, &format!("{arguments} --transport {transport}"));
        assert!(!report["notes"][1].as_str().unwrap().starts_with("0 "));
    }
}

#[test]
fn bridges_push_and_answer_over_tls() {
    for mode in [
        "push --connections 4",
        "batch --connections 2 --batch 5",
        "send --calls 3",
    ] {
        let (side, fault) = (bridging::FaultSide::Pushes, bridging::BridgeFault::None);
        let behind = start(move |listener| bridging::serve(listener, side, fault));
        let report = check(behind, &format!("bridge {mode} --users 10"));
        assert!(report["tls"].is_string(), "{report:#}");
    }
}

#[test]
fn handshakes_are_counted_and_full_unless_sessions_are_resumed() {
    let report = check(start(baseline::serve), "connect --concurrency 4");
    let count = report["count"].as_u64().unwrap();
    let handshakes = &report["handshakes"];
    assert_eq!(handshakes["resumed"], 0, "{report:#}");
    // Those under way when the window begins and ends.
    assert!(handshakes["full"].as_u64().unwrap().abs_diff(count) <= 8);

    let arguments = "connect --concurrency 4 --resume-sessions --warmup 0.5";
    let report = check(start(baseline::serve), arguments);
    let handshakes = &report["handshakes"];
    assert_eq!(handshakes["full"], 0, "{report:#}");
    assert!(handshakes["resumed"].as_u64() > Some(0), "{report:#}");

    let plain = loadgen_at("ws://127.0.0.1:1", "connect --resume-sessions");
    let problem = String::from_utf8_lossy(&plain.stderr).into_owned();
    assert!(
        problem.contains("--resume-sessions is for wss://"),
        "{problem}"
    );
}

/// What is said of a failed run over TLS.
fn problem(url: &str, arguments: &str) -> String {
    let output = loadgen_at(url, arguments);
    assert_eq!(output.status.code(), Some(1), "{arguments}");
    let said = [&output.stderr[..], &output.stdout].concat();
    String::from_utf8_lossy(&said).into_owned()
}

#[test]
fn a_certificate_that_is_not_trusted_is_refused_with_what_to_do() {
    let behind = start(baseline::serve);
    let server = front(&CERTIFICATE, behind, Ending::InOrder);
    let elsewhere = front(&OTHER, behind, Ending::InOrder);
    let other = OTHER.file.display();
    for scenario in [
        "fanout --subscribers 3",
        "fanout --subscribers 3 --client tungstenite",
        "resume --subscribers 3",
        "connect",
    ] {
        for (server, why) in [
            (server, "invalid peer certificate"),
            (elsewhere, "fanfare.example"),
        ] {
            let arguments = format!("{scenario} --ca-file {other}");
            let said = problem(&format!("wss://{server}"), &arguments);
            for part in ["TLS failed", why, "--ca-file", "--insecure"] {
                assert!(said.contains(part), "{scenario}: {said}");
            }
        }
        // Whatever this system trusts.
        let said = problem(&format!("wss://{server}"), scenario);
        assert!(said.contains("--insecure"), "{scenario}: {said}");
    }
    let output = loadgen_at(&format!("https://{elsewhere}"), "connect --insecure");
    assert!(output.status.success(), "{:#}", report(&output));
}

#[test]
fn a_file_of_no_certificates_and_a_server_without_tls_are_explained() {
    let plain = start(baseline::serve);
    let answering = start(|listener| async move {
        loop {
            let (mut stream, _) = listener.accept().await?;
            stream
                .write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")
                .await?;
        }
    });
    for server in [plain, answering] {
        for client in ["fast", "tungstenite"] {
            let arguments = format!("fanout --insecure --client {client}");
            let said = problem(&format!("wss://{server}"), &arguments);
            let asked = "does the server speak TLS on this port?";
            assert!(said.contains(asked), "{client}: {said}");
        }
    }
    let directory = env!("CARGO_TARGET_TMPDIR");
    for file in ["no-such-file.pem", "."] {
        let arguments = format!("fanout --ca-file {directory}/{file}");
        let said = problem(&format!("wss://{plain}"), &arguments);
        assert!(
            said.contains(&format!("--ca-file {directory}/{file}: ")),
            "{said}"
        );
    }
}

#[test]
fn a_connection_closed_by_websocket_may_lack_close_notify() {
    for arguments in [
        "connect --concurrency 4",
        "idle --connections 5 --settle 0.1",
    ] {
        let output = over_tls(start(baseline::serve), Ending::Truncated, arguments);
        let report = report(&output);
        assert!(output.status.success(), "{arguments}: {report:#}");
    }
}

#[test]
fn the_end_of_a_stream_says_whether_close_notify_was_there() {
    for ending in [Ending::InOrder, Ending::Truncated] {
        // Greets, and ends without a close frame.
        let behind = start(|listener| async move {
            loop {
                let (stream, _) = listener.accept().await?;
                spawn_local(async move {
                    let greeting = Message::text(r#"{"type":"connection_established"}"#);
                    let mut socket = accept_async(stream).await?;
                    socket.send(greeting).await
                });
            }
        });
        let output = over_tls(behind, ending, "idle --connections 1 --settle 0.1");
        assert_eq!(output.status.code(), Some(1));
        let said = [output.stderr, output.stdout].concat();
        let said = String::from_utf8_lossy(&said);
        let lost = "lost without a close frame: end of stream";
        assert!(said.contains(lost), "{ending:?}: {said}");
        let is_truncated = said.contains(&format!("{lost} without TLS close_notify"));
        assert_eq!(is_truncated, ending == Ending::Truncated, "{said}");
    }
}
