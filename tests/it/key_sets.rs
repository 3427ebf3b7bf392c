//! Key sets of an issuer (docs/tokens.md): fetched, kept, and what a token may not make of them.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use fanfare::config::{Config, KeySetAddress, Mode, TokenAlgorithm};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;
use serde_json::{Value, json};

use crate::support::{Client, KeyServer, Process, TestGateway, metric, request};

const ISSUER: &str = "https://login.example.com";

/// How long something that must happen may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(15);

fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.unwrap().as_secs()
}

/// A key of the issuer.
struct Key {
    id: &'static str,
    pair: Ed25519KeyPair,
}

impl Key {
    fn new(id: &'static str) -> Self {
        let pair = Ed25519KeyPair::generate().unwrap();
        Self { id, pair }
    }

    fn jwk(&self) -> Value {
        let x = URL_SAFE_NO_PAD.encode(self.pair.public_key().as_ref());
        json!({ "kty": "OKP", "crv": "Ed25519", "use": "sig", "kid": self.id, "x": x })
    }

    /// A token with this header besides its `alg`, of `issuer`.
    fn sign(&self, header: Value, issuer: &Value) -> String {
        let mut header = header;
        header["alg"] = json!("EdDSA");
        let claims = json!({ "sub": "alice", "iss": issuer, "exp": now() + 600 });
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let message = format!("{}.{}", part(&header), part(&claims));
        let signature = self.pair.sign(message.as_bytes());
        format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature.as_ref()))
    }

    /// A good token.
    fn token(&self) -> String {
        self.sign(json!({ "kid": self.id }), &json!(ISSUER))
    }
}

fn set(keys: &[&Key]) -> String {
    let keys: Vec<_> = keys.iter().map(|key| key.jwk()).collect();
    json!({ "keys": keys }).to_string()
}

/// A gateway whose only keys are those of the set at `url`.
fn gateway(url: &str, change: impl FnOnce(&mut Config)) -> TestGateway {
    TestGateway::in_mode(Mode::Dev, |config| {
        config.auth.algorithm = TokenAlgorithm::EdDsa;
        config.auth.issuer = Some(ISSUER.to_owned());
        config.auth.jwks_url = Some(KeySetAddress::parse(url).expect("an address"));
        change(config);
    })
}

fn url(server: &KeyServer) -> String {
    format!("http://{}/keys", server.address)
}

/// Connects with `token`; the client, or the code it was closed with.
fn enter(address: SocketAddr, token: &str) -> Result<Client, u16> {
    let bearer = format!("Authorization: Bearer {token}\r\n");
    let mut client = Client::connect_with(address, "/api/v1/ws", &bearer);
    if client.json()["type"] == "connection_established" {
        return Ok(client);
    }
    Err(client
        .next()
        .expect("a close frame")
        .close_code()
        .expect("a code"))
}

#[track_caller]
fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "never: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn a04_a05_a_token_names_a_key_of_the_issuer_to_the_byte() {
    let [a, b, foreign] = ["a", "b", "a"].map(Key::new);
    let server = KeyServer::start(&set(&[&a, &b]));
    let gateway = gateway(&url(&server), |_| {});
    for key in [&a, &b] {
        assert!(enter(gateway.address, &key.token()).is_ok(), "{}", key.id);
    }
    // The same key id of another issuer: its key is not asked for, and its tokens are not ours.
    let issuer = json!(ISSUER);
    let mut refused = vec![
        foreign.token(),
        foreign.sign(json!({ "kid": "a" }), &json!("https://other.example.com")),
        a.sign(json!({}), &issuer),
    ];
    for other in [
        json!("https://other.example.com"),
        json!("https://login.example.com/"),
        json!([ISSUER]),
        json!(null),
    ] {
        refused.push(a.sign(json!({ "kid": "a" }), &other));
    }
    let long = "a".repeat(4000);
    for id in ["b", "A", "a ", "", "../keys/a", "a' OR '1'='1", &long] {
        refused.push(a.sign(json!({ "kid": id }), &issuer));
    }
    for token in refused {
        assert_eq!(
            enter(gateway.address, &token).err(),
            Some(1008),
            "{token:.200}"
        );
    }
    assert_eq!(metric(gateway.address, "jwks_keys"), 2);
}

#[test]
fn a03_a06_no_address_is_made_of_a_token() {
    let key = Key::new("a");
    let server = KeyServer::start(&set(&[&key]));
    let gateway = gateway(&url(&server), |_| {});
    let elsewhere = TcpListener::bind("127.0.0.1:0").unwrap();
    elsewhere.set_nonblocking(true).unwrap();
    let there = format!("http://{}/keys", elsewhere.local_addr().unwrap());
    let own = Key::new("own");
    for header in [
        json!({ "kid": "own", "jku": there }),
        json!({ "kid": "own", "x5u": there }),
        json!({ "kid": "own", "jwk": own.jwk() }),
        json!({ "kid": there }),
        json!({ "kid": "own" }),
    ] {
        let token = own.sign(header, &json!(there));
        assert_eq!(
            enter(gateway.address, &token).err(),
            Some(1008),
            "{token:.200}"
        );
    }
    // The control thread has had the time to do what it is told.
    std::thread::sleep(Duration::from_millis(1500));
    assert!(elsewhere.accept().is_err(), "something connected");
    assert!(enter(gateway.address, &key.token()).is_ok());
}

#[test]
fn a07_thousands_of_unknown_keys_cause_no_fetch_before_its_time() {
    let key = Key::new("a");
    let server = KeyServer::start(&set(&[&key]));
    let began = Instant::now();
    let gateway = gateway(&url(&server), |_| {});
    assert_eq!(server.requests(), 1);
    let stranger = Key::new("x");
    for round in 0..20 {
        let mut requests = String::new();
        for number in 0..100 {
            let header = json!({ "kid": format!("unknown-{round}-{number}") });
            let token = stranger.sign(header, &json!(ISSUER));
            requests += &format!(
                "GET /api/v1/ws/connections HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\r\n"
            );
        }
        let answers = request(gateway.address, requests.as_bytes());
        assert_eq!((answers.status, answers.count()), (401, 100));
    }
    // One is due when 30 s have passed, and a slow machine may take as long.
    let allowed = 1 + began.elapsed().as_secs() / 30;
    assert!(server.requests() as u64 <= allowed, "{}", server.requests());
    assert!(enter(gateway.address, &key.token()).is_ok());
}

#[test]
fn a17_a_key_that_leaves_the_set_takes_its_connections_with_it() {
    let [old, new] = ["old", "new"].map(Key::new);
    let server = KeyServer::start(&set(&[&old]));
    let url = url(&server);
    let process = Process::with(
        &[],
        &[
            ("FANFARE_AUTH__ALGORITHM", "EdDSA"),
            ("FANFARE_AUTH__ISSUER", ISSUER),
            ("FANFARE_AUTH__JWKS_URL", &url),
            ("FANFARE_EVENTS__AUTH_REQUIRED", "true"),
        ],
    );
    let address = process.address;
    let mut early = enter(address, &old.token()).unwrap();
    assert_eq!(enter(address, &new.token()).err(), Some(1008));
    // A signal fetches at once.
    server.put(&set(&[&new, &old]));
    process.signal("HUP");
    wait_until("the new key counts", || {
        enter(address, &new.token()).is_ok()
    });
    let mut late = enter(address, &new.token()).unwrap();
    assert!(enter(address, &old.token()).is_ok());
    // What is no set changes nothing.
    let failed = "jwks_fetches_total{result=\"failed\"}";
    for (number, body) in (1..).zip(["{\"keys\":[]}", "<html>", ""]) {
        server.put(body);
        process.signal("HUP");
        wait_until("the fetch has failed", || metric(address, failed) == number);
        assert!(enter(address, &old.token()).is_ok(), "{body}");
    }
    let elsewhere = format!("location: {url}\r\n");
    server.refuse("302 Found", &elsewhere);
    process.signal("HUP");
    wait_until("the fetch has failed", || metric(address, failed) == 4);
    assert!(enter(address, &old.token()).is_ok());
    server.put(&set(&[&new]));
    process.signal("HUP");
    assert_eq!(early.until_close(), Some(4002));
    assert_eq!(enter(address, &old.token()).err(), Some(1008));
    late.say(&json!({ "type": "ping" }));
    assert_eq!(late.json()["type"], "pong");
    assert_eq!(metric(address, "jwks_keys"), 1);
    assert_eq!(metric(address, "jwks_fetches_total{result=\"ok\"}"), 3);
    process.signal("TERM");
    let (_, log) = process.finish(PATIENCE);
    let told = log.matches("its keys stay as they were").count();
    assert_eq!(told, 4, "{log}");
    assert!(log.contains("redirects are not followed"), "{log}");
}

#[test]
fn a_gateway_starts_without_its_set_and_gets_it_later() {
    let key = Key::new("a");
    let server = KeyServer::start("");
    server.refuse("503 Service Unavailable", "");
    let gateway = gateway(&url(&server), |config| {
        config.auth.max_failures_per_minute = 1;
    });
    let get = |path: &str, headers: &str| {
        let head = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{headers}\r\n");
        request(gateway.address, head.as_bytes())
    };
    assert_eq!(get("/health/ready", "").status, 200);
    // The token may be a good one: whoever has it comes again, and has not guessed.
    let bearer = format!("Authorization: Bearer {}\r\n", key.token());
    let upgrade = format!(
        "GET /api/v1/ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{bearer}\r\n"
    );
    for answer in [
        get("/api/v1/ws/connections", &bearer),
        get("/api/v1/sse?topics=a", &bearer),
        request(gateway.address, upgrade.as_bytes()),
    ] {
        assert_eq!(answer.status, 503, "{answer:?}");
        assert_eq!(answer.header("retry-after"), Some("5"), "{answer:?}");
    }
    let refused = "refused_total{reason=\"key_set\"}";
    assert_eq!(metric(gateway.address, refused), 3);
    server.put(&set(&[&key]));
    wait_until("the key is there", || {
        request(gateway.address, upgrade.as_bytes()).status == 101
    });
    assert!(enter(gateway.address, &key.token()).is_ok());
}

#[test]
fn a_set_in_a_file_is_read_again_when_it_changes() {
    let [old, new] = ["old", "new"].map(Key::new);
    let name = format!("key-set-{}.json", std::process::id());
    let path = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::write(&path, set(&[&old])).unwrap();
    let gateway = gateway(&format!("file:{}", path.display()), |_| {});
    let mut early = enter(gateway.address, &old.token()).unwrap();
    assert_eq!(enter(gateway.address, &new.token()).err(), Some(1008));
    std::fs::write(&path, set(&[&new])).unwrap();
    wait_until("the new key counts", || {
        enter(gateway.address, &new.token()).is_ok()
    });
    assert_eq!(early.until_close(), Some(4002));
    std::fs::remove_file(&path).unwrap();
}

#[test]
fn a06_a_set_over_tls_is_taken_from_a_trusted_server_only() {
    let key = Key::new("a");
    let own = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let secret = PrivateKeyDer::from_pem_slice(own.signing_key.serialize_pem().as_bytes()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let tls = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![own.cert.der().clone()], secret)
        .unwrap();
    let server = KeyServer::with(&set(&[&key]), Some(Arc::new(tls)));
    let name = format!("key-set-ca-{}.pem", std::process::id());
    let path = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::write(&path, own.cert.pem()).unwrap();
    let by = |host: &str, trusted: bool| {
        let url = format!("https://{host}:{}/keys", server.address.port());
        let gateway = gateway(&url, |config| {
            config.auth.jwks_ca_file = trusted.then(|| path.clone());
        });
        metric(gateway.address, "jwks_keys") == 1 && enter(gateway.address, &key.token()).is_ok()
    };
    assert!(by("localhost", true));
    // Another name than the certificate's, and a certificate that nobody here has issued.
    assert!(!by("127.0.0.1", true));
    assert!(!by("localhost", false));
    std::fs::remove_file(&path).unwrap();
}
