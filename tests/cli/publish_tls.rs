//! `fanfare publish` to a gateway that speaks TLS: whose certificates it takes, and what it says of the others.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Stdio;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::PrivateKeyDer;
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use super::gen_cert::Pair;
use super::{Ran, Scratch, Serving, done, fanfare, fanfare_with, refused};

/// A gateway that speaks TLS and answers one request of each of `connections` connections; joined, it tells what it was
/// asked, in the clear.
fn serve(config: Arc<ServerConfig>, connections: usize) -> (String, JoinHandle<Vec<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("https://{}", listener.local_addr().unwrap());
    let serving = thread::spawn(move || {
        let accept = |_| answer(listener.accept().unwrap().0, &config);
        (0..connections).map(accept).collect()
    });
    (url, serving)
}

/// Reads a request and answers it. What the client refuses to send is empty.
fn answer(stream: TcpStream, config: &Arc<ServerConfig>) -> String {
    let connection = ServerConnection::new(Arc::clone(config)).unwrap();
    let mut stream = StreamOwned::new(connection, stream);
    let (mut request, mut buffer) = (Vec::new(), [0; 4096]);
    while !request.ends_with(b"}") {
        match stream.read(&mut buffer) {
            Ok(0) | Err(_) => return String::new(),
            Ok(read) => request.extend_from_slice(&buffer[..read]),
        }
    }
    let answer = b"HTTP/1.1 202 Accepted\r\ncontent-length: 2\r\n\r\n{}";
    stream.write_all(answer).unwrap();
    stream.conn.send_close_notify();
    let _ = stream.flush();
    String::from_utf8(request).unwrap()
}

fn publish(url: &str, arguments: &[&str]) -> Ran {
    publish_with(url, arguments, &[])
}

fn publish_with(url: &str, arguments: &[&str], env: &[(&str, &str)]) -> Ran {
    let all = [
        "publish",
        "--url",
        url,
        "--event",
        "news",
        "--data",
        "{\"n\":1}",
    ];
    let token = [("FANFARE_TOKEN", "the.token")];
    fanfare_with(
        &[&all[..], arguments].concat(),
        &[&token[..], env].concat(),
        "",
    )
}

#[test]
fn an_event_is_posted_over_tls_to_a_gateway_that_is_trusted() {
    let pair = Pair::new("tls-trusted", &[]);
    let (url, serving) = serve(pair.server(), 4);
    let certificate = pair.certificate();
    let by_name = url.replace("127.0.0.1", "localhost");
    for ran in [
        publish(&url, &["--ca-file", &certificate]),
        publish(&by_name, &["--ca-file", &certificate]),
        publish_with(&url, &[], &[("SSL_CERT_FILE", &certificate)]),
        publish(&url, &["--insecure"]),
    ] {
        done(&ran);
        assert_eq!(ran.stdout, "202 {}\n");
    }
    for request in serving.join().unwrap() {
        assert!(
            request.starts_with("POST /api/v1/events HTTP/1.1\r\n"),
            "{request}"
        );
        assert!(
            request.contains("\r\nauthorization: Bearer the.token\r\n"),
            "{request}"
        );
        assert!(
            request.ends_with("{\"event\":\"news\",\"data\":{\"n\":1}}"),
            "{request}"
        );
    }
}

#[test]
fn nothing_is_sent_to_a_gateway_that_is_not_trusted() {
    let pair = Pair::new("tls-untrusted", &["example.com"]);
    let other = Pair::new("tls-other", &[]);
    let (url, serving) = serve(pair.server(), 4);
    let theirs = other.certificate();
    let ran = publish(&url, &["--ca-file", &theirs]);
    refused(&ran, 69, "no authority that is trusted here has issued it");
    refused(
        &ran,
        69,
        "--ca-file names the certificates to trust, --insecure trusts any",
    );
    let ran = publish_with(&url, &[], &[("SSL_CERT_FILE", &theirs)]);
    refused(&ran, 69, "not trusted");
    let ran = publish(&url, &["--ca-file", &pair.certificate()]);
    refused(&ran, 69, "it is for example.com, not for 127.0.0.1");
    assert!(!ran.stderr.contains("the.token"), "{ran:?}");
    // Neither the issuer nor the name is looked at.
    done(&publish(&url, &["--insecure"]));
    let requests = serving.join().unwrap();
    assert!(requests[..3].iter().all(String::is_empty), "{requests:?}");
    assert!(!requests[3].is_empty());
}

#[test]
fn what_is_wrong_with_tls_is_said() {
    let pair = Pair::new("tls-wrong", &[]);
    let key = pair.path("fanfare.key");
    let missing = pair.path("missing");
    let url = "https://127.0.0.1:1";
    let ran = publish(url, &["--ca-file", key.to_str().unwrap()]);
    refused(&ran, 2, "it holds no certificate");
    refused(
        &publish(url, &["--ca-file", missing.to_str().unwrap()]),
        2,
        "No such file",
    );
    let both = ["--insecure", "--ca-file", &pair.certificate()];
    refused(&publish(url, &both), 2, "cannot be used with");
    refused(
        &publish("http://127.0.0.1:1", &["--insecure"]),
        2,
        "write https://",
    );
    let none = [("SSL_CERT_FILE", key.to_str().unwrap())];
    refused(&publish_with(url, &[], &none), 69, "ca-certificates");
    refused(&publish("https://user:secret@a", &[]), 2, "without user");
    assert!(
        !publish("https://user:secret@a", &[])
            .stderr
            .contains("secret")
    );

    // A gateway in the clear.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("https://{}", listener.local_addr().unwrap());
    let serving = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let _ = stream.read(&mut [0; 4096]);
        stream
            .write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            .unwrap();
    });
    refused(
        &publish(&url, &["--insecure"]),
        69,
        "write http:// if that is meant",
    );
    serving.join().unwrap();
    // One of TLS that is spoken to in the clear.
    let (url, serving) = serve(pair.server(), 1);
    let ran = publish(&url.replace("https", "http"), &[]);
    refused(&ran, 69, "write https:// if TLS is spoken there");
    serving.join().unwrap();
}

/// As `openssl req -x509` makes them.
#[test]
fn an_authority_that_is_a_server_itself_is_refused_with_a_way_out() {
    let mut params = rcgen::CertificateParams::new(["127.0.0.1".to_owned()]).unwrap();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = params.self_signed(&key).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], PrivateKeyDer::from(key));
    let file = Scratch::new("authority.crt", &certificate.pem());
    let (url, serving) = serve(Arc::new(config.unwrap()), 1);
    let ran = publish(&url, &["--ca-file", file.path()]);
    refused(&ran, 69, "an authority's own (CA:TRUE)");
    refused(&ran, 69, "fanfare gen-cert");
    serving.join().unwrap();
}

/// As `make run` with ARGS, beside its own address.
#[test]
fn the_gateway_serves_with_what_gen_cert_made() {
    let pair = Pair::new("tls-serve", &[]);
    // A port that was free a moment ago.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("https://{}", listener.local_addr().unwrap());
    drop(listener);
    let directory = pair.path("");
    let first = format!("cd {}", directory.display());
    let files = [
        "--tls-certificate",
        "fanfare.crt",
        "--tls-key",
        "fanfare.key",
    ];
    let arguments = [&["--listen", &*url], &files[..]].concat();
    let serving = Serving::start(&first, Stdio::null(), &arguments, &[]);
    let publish = |url: &str, arguments: &[&str]| {
        let event = ["publish", "--event", "a", "--data", "1", "--url", url];
        fanfare(&[&event[..], arguments].concat())
    };
    let certificate = pair.certificate();
    for url in [url.clone(), url.replace("127.0.0.1", "localhost")] {
        let ran = publish(&url, &["--ca-file", &certificate]);
        done(&ran);
        assert!(ran.stdout.starts_with("202 "), "{ran:?}");
    }
    let plain = format!("http://{}", serving.address);
    done(&publish(&plain, &[]));
    let ran = publish(&plain.replace("http", "https"), &["--insecure"]);
    refused(&ran, 69, "write http:// if that is meant");
    let ran = publish(&url.replace("https", "http"), &[]);
    assert_eq!(ran.code, 65, "{ran:?}");
    assert!(ran.stdout.contains("use https://"), "{ran:?}");
    serving.stops();
}

#[test]
fn help_warns_of_insecure() {
    let ran = fanfare(&["publish", "--help"]);
    done(&ran);
    assert!(
        ran.stdout.contains("can pretend to be the gateway"),
        "{}",
        ran.stdout
    );
}
