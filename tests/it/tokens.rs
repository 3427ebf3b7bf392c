//! Tokens: which are accepted, what they permit, and when they end (docs/tokens.md).

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der, PublicKeyX509Der};
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RsaKeyPair,
};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use fanfare::auth::{Globs, Grant, Rights, SigningKey, Terms};
use fanfare::config::{Config, KeyHash, Mode, Secret, TokenAlgorithm};
use serde_json::{Value, json};

use crate::support::{Client, Process, Response, TestGateway, request};

const SECRET: [u8; 32] = [7; 32];

/// How long something that must happen may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(10);

fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.unwrap().as_secs()
}

fn secret_key() -> SigningKey {
    SigningKey::of_secret(&Secret::new(SECRET).unwrap(), None)
}

/// A token of a user with a role, valid for a while.
fn token(user: &str, role: Option<&str>, rights: Option<&Rights>) -> String {
    signed(&secret_key(), user, role, rights, now() + 600)
}

fn signed(
    key: &SigningKey,
    user: &str,
    role: Option<&str>,
    rights: Option<&Rights>,
    expires_at: u64,
) -> String {
    let terms = Terms {
        grant: Grant {
            user,
            role,
            issued_at: now(),
            expires_at,
        },
        issuer: None,
        audience: &[],
        rights,
        topics: None,
    };
    terms.sign(key).unwrap()
}

/// A token with these claims and whatever header, signed with HS256 and `secret`.
fn forged(secret: &[u8], header: &Value, claims: &Value) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let message = format!("{}.{}", part(header), part(claims));
    let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, secret);
    let tag = aws_lc_rs::hmac::sign(&key, message.as_bytes());
    format!("{message}.{}", URL_SAFE_NO_PAD.encode(tag.as_ref()))
}

/// A key pair: the private half in PEM, and the public one in PEM and DER.
struct Pair {
    algorithm: TokenAlgorithm,
    private: String,
    public: String,
    der: Vec<u8>,
}

impl Pair {
    fn generate(algorithm: TokenAlgorithm) -> Self {
        let x509 = |key: PublicKeyX509Der<'_>| key.as_ref().to_vec();
        let (private, der) = match algorithm {
            TokenAlgorithm::Hs256 => unreachable!("it has no pairs"),
            TokenAlgorithm::Rs256 => {
                let pair = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
                let private: Pkcs8V1Der<'_> = pair.as_der().unwrap();
                let private = private.as_ref().to_vec();
                (private, x509(pair.public_key().as_der().unwrap()))
            }
            TokenAlgorithm::Es256 => {
                let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
                let private = pair.to_pkcs8v1().unwrap().as_ref().to_vec();
                (private, x509(pair.public_key().as_der().unwrap()))
            }
            TokenAlgorithm::EdDsa => {
                let pair = Ed25519KeyPair::generate().unwrap();
                let private = pair.to_pkcs8().unwrap().as_ref().to_vec();
                (private, x509(pair.public_key().as_der().unwrap()))
            }
        };
        let pem = |label: &str, der: &[u8]| {
            let text = STANDARD.encode(der);
            format!("-----BEGIN {label}-----\n{text}\n-----END {label}-----\n")
        };
        Self {
            algorithm,
            private: pem("PRIVATE KEY", &private),
            public: pem("PUBLIC KEY", &der),
            der,
        }
    }

    fn token(&self, kid: Option<&str>) -> String {
        let kid = kid.map(str::to_owned);
        let key = SigningKey::of_pem(self.algorithm, self.private.as_bytes(), kid).unwrap();
        signed(&key, "alice", None, None, now() + 600)
    }
}

/// Files of one test, gone at its end.
struct Files(PathBuf);

impl Files {
    fn new(name: &str) -> Self {
        let directory = std::env::temp_dir().join(format!("fanfare-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        Self(directory)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Writes a file as a whole.
    fn put(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let (new, path) = (self.path("new"), self.path(name));
        std::fs::write(&new, content).unwrap();
        std::fs::rename(&new, &path).unwrap();
        path
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn globs(list: &[&'static str]) -> Globs {
    Globs::new(list.iter().copied()).unwrap()
}

fn gateway(change: impl FnOnce(&mut Config)) -> TestGateway {
    TestGateway::in_mode(Mode::Dev, |config| {
        config.auth.jwt_secret = Secret::new(SECRET);
        change(config);
    })
}

/// Connects with `token`; the client and its greeting, or the code it was closed with.
fn enter(address: SocketAddr, token: &str) -> Result<(Client, Value), u16> {
    let bearer = format!("Authorization: Bearer {token}\r\n");
    let mut client = Client::connect_with(address, "/api/v1/ws", &bearer);
    let first = client.json();
    if first["type"] == "connection_established" {
        return Ok((client, first));
    }
    assert_eq!(first["code"], "AUTHENTICATION_FAILED", "{first}");
    let close = client.next().expect("a close frame");
    assert_eq!(&close.payload[2..], b"Authentication failed");
    Err(close.close_code().expect("a code"))
}

#[track_caller]
fn check_refused(address: SocketAddr, token: &str) {
    assert_eq!(enter(address, token).err(), Some(1008), "{token:.200}");
}

/// Tries until `token` is welcome, or is not.
#[track_caller]
fn wait_until(address: SocketAddr, token: &str, welcome: bool) {
    let deadline = Instant::now() + PATIENCE;
    while enter(address, token).is_ok() != welcome {
        assert!(Instant::now() < deadline, "welcome: {welcome}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn get_upgrade(path: &str, headers: &str) -> String {
    format!(
        "GET {path} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{headers}\r\n"
    )
}

fn publish(address: SocketAddr, headers: &str, topic: &str) -> Response {
    let body = json!({ "event": topic, "data": 1 }).to_string();
    let head = format!(
        "POST /api/v1/events HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{headers}Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    request(address, head.as_bytes())
}

/// The permissions that prod mode leaves when nothing else is said.
#[test]
fn in_prod_clients_listen_and_services_publish_and_patterns_across_namespaces_take_a_claim() {
    let gateway = TestGateway::in_mode(Mode::Prod, |config| {
        config.auth.jwt_secret = Secret::new(SECRET);
    });
    let of = |role, list: Option<&[&'static str]>| {
        let subscribe = list.map(|list| Globs::new(list.iter().copied()).unwrap());
        let rights = Rights {
            subscribe,
            ..Rights::default()
        };
        enter(gateway.address, &token("ann", role, Some(&rights)))
            .unwrap()
            .0
    };
    let publish = json!({ "type": "publish", "event": "chat.a", "data": 1, "id": 1 });
    let mut client = of(None, None);
    let confirmed = client.subscribe(&["chat.*", "news"]);
    assert_eq!(confirmed["events"], json!(["chat.*", "news"]));
    client.say(&publish);
    assert_eq!(client.json()["code"], "FORBIDDEN");

    for (mut client, wide) in [
        (of(None, None), "*"),
        (of(Some("service"), None), "c*"),
        (of(None, Some(&["chat.*"])), "*.a"),
    ] {
        let confirmed = client.subscribe(&[wide, "chat.a"]);
        assert_eq!(confirmed["rejected"], json!([wide]));
        assert_eq!(confirmed["events"], json!(["chat.a"]));
        let error = client.json();
        let says = error["message"].as_str().unwrap();
        assert_eq!(error["code"], "FORBIDDEN");
        assert!(
            says.contains("whose `fanfare.subscribe` covers it"),
            "{says}"
        );
    }
    let mut listener = of(None, Some(&["*"]));
    assert!(listener.subscribe(&["*"])["rejected"].is_null());
    let mut service = of(Some("service"), None);
    service.say(&publish);
    assert_eq!(service.json()["type"], "response");
    assert_eq!(listener.json()["event"], "chat.a");
}

#[test]
fn a01_a02_each_algorithm_takes_its_own_tokens_and_no_forgeries() {
    let files = Files::new("algorithms");
    for algorithm in [
        TokenAlgorithm::Rs256,
        TokenAlgorithm::Es256,
        TokenAlgorithm::EdDsa,
    ] {
        let pair = Pair::generate(algorithm);
        let gateway = TestGateway::in_mode(Mode::Prod, |config| {
            config.auth.algorithm = algorithm;
            config.auth.jwt_public_key_file = Some(files.put("key.pem", &pair.public));
            config.auth.max_failures_per_minute = 0;
        });
        let good = pair.token(None);
        let (_, greeting) = enter(gateway.address, &good).unwrap();
        assert_eq!(greeting["user"], "alice");
        let claims = json!({ "sub": "alice", "exp": now() + 600 });
        let message = good.rsplit_once('.').unwrap().0;
        let none = |alg: &str| {
            let header = json!({ "alg": alg }).to_string();
            let payload = message.split_once('.').unwrap().1;
            format!("{}.{payload}", URL_SAFE_NO_PAD.encode(header))
        };
        for forgery in [
            format!("{message}."),
            message.to_owned(),
            none("none"),
            format!("{}.", none("none")),
            format!("{}.", none("nOnE")),
            forged(pair.public.as_bytes(), &json!({ "alg": "HS256" }), &claims),
            forged(
                pair.public.trim_end().as_bytes(),
                &json!({ "alg": "HS256" }),
                &claims,
            ),
            forged(&pair.der, &json!({ "alg": "HS256" }), &claims),
            forged(&pair.der, &json!({ "alg": algorithm.name() }), &claims),
            Pair::generate(algorithm).token(None),
        ] {
            check_refused(gateway.address, &forgery);
        }
    }
}

#[test]
fn a04_a08_a09_a10_tokens_that_say_something_else_are_refused() {
    let gateway = gateway(|config| {
        config.auth.jwt_key_id = Some("k1".to_owned());
        config.auth.issuer = Some("https://issuer".to_owned());
        config.auth.audience = vec!["fanfare".to_owned()];
    });
    let header = json!({ "alg": "HS256", "kid": "k1" });
    let good = json!({ "sub": "alice", "exp": now() + 600, "iss": "https://issuer", "aud": ["x", "fanfare"] });
    let with = |key: &str, value: Value| {
        let mut claims = good.clone();
        claims[key] = value;
        forged(&SECRET, &header, &claims)
    };
    assert!(enter(gateway.address, &forged(&SECRET, &header, &good)).is_ok());
    let mut without_exp = good.clone();
    without_exp.as_object_mut().unwrap().remove("exp");
    for bad in [
        forged(&SECRET, &json!({ "alg": "HS256" }), &good),
        forged(&SECRET, &json!({ "alg": "HS256", "kid": "k2" }), &good),
        forged(
            &SECRET,
            &json!({ "alg": "HS256", "kid": "../../dev/null" }),
            &good,
        ),
        forged(
            &SECRET,
            &json!({ "alg": "HS256", "kid": "k1", "jku": "http://127.0.0.1:9/" }),
            &good,
        ),
        forged(&SECRET, &header, &without_exp),
        with("exp", json!(now() - 31)),
        with("exp", json!((now() + 600).to_string())),
        with("exp", json!(null)),
        with("nbf", json!(now() + 100)),
        with("nbf", json!("0")),
        with("iss", json!("https://other")),
        with("aud", json!("fanfar")),
        with("aud", json!([])),
        with("fanfare", json!({ "subscribes": ["a"] })),
        with("x", json!("x".repeat(9_000))),
    ] {
        check_refused(gateway.address, &bad);
    }
    let huge = format!("Authorization: Bearer {}\r\n", "x".repeat(100_000));
    let response = request(gateway.address, get_upgrade("/api/v1/ws", &huge).as_bytes());
    assert_eq!(response.status, 431);
}

#[test]
fn a_browser_sends_its_token_as_a_subprotocol() {
    let gateway = gateway(|_| {});
    let (alice, bob) = (token("alice", None, None), token("bob", None, None));
    let connect = |path: &str, protocols: &str| {
        let header = format!("Sec-WebSocket-Protocol: {protocols}\r\n");
        let mut client = Client::connect_with(gateway.address, path, &header);
        (client.json(), client)
    };
    let (greeting, client) = connect("/api/v1/ws", &format!("bearer, {alice}"));
    assert_eq!(greeting["user"], "alice");
    let lines = client.head.lines();
    let chosen: Vec<_> = lines
        .filter(|line| {
            line.to_ascii_lowercase()
                .starts_with("sec-websocket-protocol")
        })
        .collect();
    assert_eq!(chosen, ["Sec-WebSocket-Protocol: bearer"]);
    let both = format!("/api/v1/ws?token={alice}");
    assert_eq!(
        connect(&both, &format!("bearer, {alice}")).0["user"],
        "alice"
    );
    assert_eq!(connect(&both, &format!("bearer, {bob}")).0["type"], "error");
    assert_eq!(
        connect("/api/v1/ws", &format!("chat, {alice}")).0["type"],
        "error"
    );
}

#[test]
fn the_query_is_decoded_and_can_be_switched_off() {
    let alice = token("alice", None, None);
    let escaped = alice.replace('.', "%2E");
    let open = gateway(|_| {});
    let mut client = Client::connect(open.address, &format!("/api/v1/ws?token={escaped}"));
    assert_eq!(client.json()["user"], "alice");
    let closed = gateway(|config| config.auth.token_in_query = false);
    let mut client = Client::connect(closed.address, &format!("/api/v1/ws?token={alice}"));
    assert_eq!(client.json()["code"], "AUTHENTICATION_FAILED");
    assert!(enter(closed.address, &alice).is_ok());
}

#[test]
fn the_cookies_name_is_configured() {
    let gateway = gateway(|config| config.auth.cookie_name = "session".to_owned());
    let alice = token("alice", None, None);
    for (name, welcome) in [("session", true), ("access_token", false)] {
        let headers = format!(
            "Origin: http://{}\r\nCookie: {name}={alice}\r\n",
            gateway.address
        );
        let mut client = Client::connect_with(gateway.address, "/api/v1/ws", &headers);
        assert_eq!(
            client.json()["type"] == "connection_established",
            welcome,
            "{name}"
        );
    }
}

#[test]
fn case_h3_h4_a_cookie_counts_whatever_stands_beside_it_and_around_its_token() {
    let gateway = gateway(|_| {});
    let alice = token("alice", None, None);
    let own = format!("Origin: http://{}\r\n", gateway.address);
    for cookie in [
        format!("n=Zo\u{eb}; access_token={alice}"),
        format!("access_token={alice}; n=\u{fffd}"),
        format!("access_token=\"{alice}\""),
        format!("access_token=\"Bearer {alice}\"; x=\"y\""),
        format!("access_token=Bearer {alice}"),
        format!("access_token=Bearer%20{alice}"),
    ] {
        let headers = format!("{own}Cookie: {cookie}\r\n");
        let mut client = Client::connect_with(gateway.address, "/api/v1/ws", &headers);
        assert_eq!(client.json()["user"], "alice", "{cookie}");
    }
}

#[test]
fn case_h10_every_401_says_which_credentials_are_asked_for() {
    let gateway = TestGateway::in_mode(Mode::Prod, |config| {
        config.auth.jwt_secret = Secret::new(SECRET);
    });
    let get = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    let post = |path: &str| {
        format!(
            "POST {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{{}}"
        )
    };
    for head in [
        get_upgrade("/ws?user_id=ann&token=a.b.c", ""),
        get_upgrade("/ws", ""),
        get_upgrade("/ws?user_id=ann", "Authorization: Bearer x\r\n"),
        get("/api/v1/sse?topics=t"),
        get("/api/v1/sse?topics=t&token=a.b.c"),
        get("/api/v1/ws/connections"),
        get("/api/v1/ws/subscriptions"),
        get("/api/v1/history?event=t"),
        post("/api/v1/events"),
        post("/api/v1/events/batch"),
        post("/api/v1/publish"),
        post("/sse/push"),
        post("/sse/push/batch"),
        post("/sse/send"),
    ] {
        let answer = request(gateway.address, head.as_bytes());
        if answer.status == 404 {
            continue;
        }
        assert_eq!(answer.status, 401, "{head}: {answer:?}");
        assert_eq!(
            answer.header("www-authenticate"),
            Some("Bearer"),
            "{head}: {answer:?}"
        );
    }
}

#[test]
fn a12_a_connection_ends_with_its_token_and_hears_nothing_after() {
    let gateway = gateway(|config| config.auth.leeway = Duration::from_secs(1));
    let end = now() + 2;
    let short = signed(&secret_key(), "alice", None, None, end - 1);
    let mut clients: Vec<Client> = (0..50)
        .map(|_| enter(gateway.address, &short).unwrap().0)
        .collect();
    for client in &mut clients {
        client.subscribe(&["tick"]);
    }
    let (mut publisher, _) = enter(gateway.address, &token("bob", None, None)).unwrap();
    let deadline = Instant::now() + PATIENCE;
    // Published every few milliseconds well past the end, the time in milliseconds as data.
    let millis = || {
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        since.unwrap().as_millis() as u64
    };
    while millis() < (end + 2) * 1000 && Instant::now() < deadline {
        publisher.say(&json!({ "type": "publish", "event": "tick", "data": millis() }));
        std::thread::sleep(Duration::from_millis(5));
    }
    for client in &mut clients {
        let mut last = 0;
        let close = loop {
            let frame = client.next().expect("a close frame");
            if frame.first == 0x88 {
                break frame;
            }
            last = frame.json()["data"].as_u64().unwrap();
        };
        assert_eq!(close.close_code(), Some(4002));
        assert_eq!(&close.payload[2..], b"Token expired");
        assert!(last > 0, "it heard something before");
        assert!(last < (end + 1) * 1000, "heard {last} after {end}");
    }
    // Others are not concerned.
    publisher.say(&json!({ "type": "ping" }));
    assert_eq!(publisher.json()["type"], "pong");
    check_refused(gateway.address, &short);
}

/// Sends a token on a live connection, under a few of the names that it may have; the answer.
fn renew(client: &mut Client, token: &str) -> Value {
    // At most one token is looked at in 100 ms.
    std::thread::sleep(Duration::from_millis(120));
    client.say(&json!({ "type": "authenticate", "token": token, "id": "r" }));
    let answer = client.json();
    assert_eq!(answer["id"], "r", "{answer}");
    answer
}

#[track_caller]
fn check_not_renewed(client: &mut Client, token: &str, why: &str) -> Value {
    let answer = renew(client, token);
    assert_eq!(answer["code"], "AUTHENTICATION_FAILED", "{answer}");
    let message = answer["message"].as_str().unwrap();
    assert!(message.contains(why), "{message}");
    client.say(&json!({ "type": "ping" }));
    assert_eq!(client.json()["type"], "pong", "the connection stays");
    answer
}

#[test]
fn a12_a_renewed_connection_outlives_its_first_token_and_ends_with_the_newest() {
    let gateway = gateway(|config| config.auth.leeway = Duration::ZERO);
    let ends_at = |end: u64| signed(&secret_key(), "alice", None, None, end);
    let began = now();
    let (mut client, greeting) = enter(gateway.address, &ends_at(began + 4)).unwrap();
    assert!(greeting["expires_at"].is_string(), "{greeting}");
    client.subscribe(&["tick"]);
    let answer = renew(&mut client, &ends_at(began + 12));
    assert_eq!(answer["type"], "authenticated", "{answer}");
    assert!(
        answer["expires_at"].as_str() > greeting["expires_at"].as_str(),
        "{answer}"
    );
    // The older form.
    std::thread::sleep(Duration::from_millis(120));
    client
        .say(&json!({ "type": "refresh_token", "data": { "refresh_token": ends_at(began + 9) } }));
    assert_eq!(client.json()["type"], "authenticated");
    // A refused one changes nothing.
    check_not_renewed(&mut client, "nonsense", "Invalid or expired");
    check_not_renewed(&mut client, &ends_at(began - 1), "Invalid or expired");
    while now() < began + 6 {
        std::thread::sleep(Duration::from_millis(50));
    }
    client.say(&json!({ "type": "publish", "event": "tick", "data": 1 }));
    assert_eq!(
        client.json()["publisher"],
        "alice",
        "it is subscribed as before"
    );
    let close = loop {
        let frame = client.next().expect("a close frame");
        if frame.first == 0x88 {
            break frame;
        }
    };
    assert_eq!(
        (close.close_code(), &close.payload[2..]),
        (Some(4002), &b"Token expired"[..])
    );
    assert!(now() >= began + 9);
}

#[test]
fn a22_a_token_is_renewed_by_its_user_and_as_far_as_it_covers_what_is_subscribed_to() {
    let gateway = gateway(|_| {});
    let rights = |subscribe: &[&'static str], publish: &[&'static str]| Rights {
        subscribe: Some(globs(subscribe)),
        publish: Some(globs(publish)),
        ..Rights::default()
    };
    let (wide, narrow) = (rights(&["a.*", "b"], &["a.*"]), rights(&["a.*"], &["b"]));
    let (mut client, _) = enter(gateway.address, &token("alice", None, Some(&wide))).unwrap();
    check_not_renewed(
        &mut client,
        &token("bob", None, Some(&wide)),
        "another user's",
    );
    client.subscribe(&["a.*", "b"]);
    let narrow = token("alice", Some("clerk"), Some(&narrow));
    check_not_renewed(&mut client, &narrow, "`b`");
    client.say(&json!({ "type": "unsubscribe", "events": ["b"] }));
    assert_eq!(client.json()["type"], "unsubscription_confirmed");
    assert_eq!(renew(&mut client, &narrow)["type"], "authenticated");
    // From now on it may what the new token says.
    client.say(&json!({ "type": "publish", "event": "a.x", "data": 1, "id": 1 }));
    assert_eq!(client.json()["code"], "FORBIDDEN");
    client.say(&json!({ "type": "publish", "event": "b", "data": 1, "id": 1 }));
    assert_eq!(client.json()["type"], "response");
    client.say(&json!({ "type": "subscribe", "events": ["b"] }));
    assert_eq!(client.json()["rejected"], json!(["b"]));
    let list = "GET /api/v1/ws/connections HTTP/1.1\r\nHost: x\r\nConnection: close\r\n";
    let service = token("backend", Some("service"), None);
    let list = format!("{list}Authorization: Bearer {service}\r\n\r\n");
    let list = request(gateway.address, list.as_bytes()).json();
    assert_eq!(list["connections"][0]["role"], "clerk", "{list}");
    // Without a user there is nothing to renew, and tokens are looked at one by one.
    let mut nobody = Client::events(gateway.address);
    check_not_renewed(&mut nobody, &token("alice", None, None), "no user");
    std::thread::sleep(Duration::from_millis(120));
    let again = json!({ "type": "authenticate", "token": narrow });
    client.say(&json!({ "type": "batch", "messages": [again, again] }));
    assert_eq!(client.json()["type"], "authenticated");
    assert_eq!(client.json()["code"], "BUSY");
    client.say(&json!({ "type": "authenticate" }));
    assert_eq!(client.json()["code"], "INVALID_MESSAGE");
}

#[test]
fn the_topics_that_a_token_lists_bind_its_user_in_every_protocol() {
    let gateway = gateway(|_| {});
    let token = |topics: Value| {
        let claims = json!({ "sub": "alice", "exp": now() + 600, "wse_topics": topics });
        forged(&SECRET, &json!({ "alg": "HS256", "typ": "JWT" }), &claims)
    };
    let bound = token(json!({ "allow": ["chat.*"], "deny": ["chat.x*"] }));
    let asked = json!(["chat.a", "chat.b*", "chat.x", "chat.*", "news"]);
    let refused = json!(["chat.x", "chat.*", "news"]);
    let (mut client, _) = enter(gateway.address, &bound).unwrap();
    client.say(&json!({ "type": "subscribe", "events": asked }));
    let answer = client.json();
    assert_eq!(answer["events"], json!(["chat.a", "chat.b*"]), "{answer}");
    assert_eq!(answer["rejected"], refused, "{answer}");
    client.say(&json!({ "type": "publish", "event": "news", "data": 1, "id": 1 }));
    assert_eq!(client.json()["code"], "FORBIDDEN");
    let narrower = token(json!({ "allow": ["chat.a"] }));
    check_not_renewed(&mut client, &narrower, "`chat.b*`");
    let bearer = format!("Authorization: Bearer {bound}\r\n");
    let mut client = Client::connect_with(gateway.address, "/wse", &bearer);
    assert_eq!(client.json()["t"], "server_ready");
    let p = json!({ "action": "subscribe", "topics": asked });
    client.say(&json!({ "c": "WSE", "t": "subscription_update", "p": p }));
    let answer = loop {
        let answer = client.json();
        if answer["t"] == "subscription_update" {
            break answer;
        }
    };
    assert_eq!(answer["p"]["failed_topics"], refused, "{answer}");
    let stream = format!("GET /api/v1/sse?topics=news HTTP/1.1\r\nHost: x\r\n{bearer}\r\n");
    assert_eq!(request(gateway.address, stream.as_bytes()).status, 403);
    assert_eq!(
        enter(gateway.address, &token(json!({ "allow": "chat.*" }))).err(),
        Some(1008)
    );
}

#[test]
fn a18_wrong_tokens_on_a_live_connection_are_counted_too() {
    let gateway = gateway(|config| config.auth.max_failures_per_minute = 3);
    let alice = token("alice", None, None);
    let (mut client, _) = enter(gateway.address, &alice).unwrap();
    for _ in 0..3 {
        check_not_renewed(&mut client, "nonsense", "Invalid or expired");
    }
    let answer = check_not_renewed(&mut client, &alice, "Too many wrong credentials");
    assert!(
        answer["details"]["retry_after"].as_u64() > Some(0),
        "{answer}"
    );
    let bearer = format!("Authorization: Bearer {alice}\r\n");
    let head = get_upgrade("/api/v1/ws", &bearer);
    assert_eq!(request(gateway.address, head.as_bytes()).status, 429);
}

#[test]
fn a17_keys_are_changed_without_a_restart_and_their_connections_end_with_them() {
    let files = Files::new("rotation");
    let [first, second, third] = [(); 3].map(|()| Pair::generate(TokenAlgorithm::EdDsa));
    let gateway = TestGateway::in_mode(Mode::Dev, |config| {
        config.auth.algorithm = TokenAlgorithm::EdDsa;
        config.auth.jwt_public_key_file = Some(files.put("current.pem", &first.public));
        config.auth.previous_public_key_file = Some(files.put("previous.pem", ""));
    });
    let (mut old, _) = enter(gateway.address, &first.token(None)).unwrap();
    check_refused(gateway.address, &second.token(None));
    files.put("previous.pem", &first.public);
    files.put("current.pem", &second.public);
    wait_until(gateway.address, &second.token(None), true);
    let (mut newer, _) = enter(gateway.address, &second.token(None)).unwrap();
    wait_until(gateway.address, &first.token(None), true);
    // A file that holds no key changes nothing.
    for bad in ["", "rubbish", &third.private] {
        files.put("current.pem", bad);
        std::thread::sleep(Duration::from_millis(1_200));
        assert!(enter(gateway.address, &second.token(None)).is_ok(), "{bad}");
    }
    // The first key goes, and with it whoever came in by it.
    files.put("previous.pem", &second.public);
    files.put("current.pem", &third.public);
    wait_until(gateway.address, &third.token(None), true);
    assert_eq!(old.until_close(), Some(4002));
    wait_until(gateway.address, &first.token(None), false);
    newer.say(&json!({ "type": "ping" }));
    assert_eq!(newer.json()["type"], "pong");
}

#[test]
fn a13_a_signal_reads_the_keys_again_and_no_token_is_logged() {
    let files = Files::new("signal");
    let secret = files.put("secret", "0123456789abcdef0123456789abcdef\n");
    let process = Process::with(
        &[],
        &[
            ("FANFARE_AUTH__JWT_SECRET_FILE", secret.to_str().unwrap()),
            ("FANFARE_EVENTS__AUTH_REQUIRED", "true"),
            ("FANFARE_LOG__LEVEL", "trace"),
        ],
    );
    let key = |text: &str| SigningKey::of_secret(&Secret::new(text.as_bytes()).unwrap(), None);
    let of = |text: &str| signed(&key(text), "alice", None, None, now() + 600);
    let old = of("0123456789abcdef0123456789abcdef");
    let new = of("fedcba9876543210fedcba9876543210");
    let mut used = vec![old.clone(), new.clone(), "x.y.z-not-a-token".to_owned()];
    for token in &used {
        for path in [
            "/api/v1/ws",
            "/api/v1/ws/demo",
            "/api/v1/nothing",
            "/health",
        ] {
            let target = format!("{path}?token={token}");
            request(process.address, get_upgrade(&target, "").as_bytes());
        }
        publish(
            process.address,
            &format!("Authorization: Bearer {token}\r\n"),
            "a",
        );
    }
    assert!(enter(process.address, &old).is_ok());
    files.put("secret", "fedcba9876543210fedcba9876543210\n");
    process.signal("HUP");
    wait_until(process.address, &new, true);
    check_refused(process.address, &old);
    files.put("secret", "short\n");
    process.signal("HUP");
    assert!(enter(process.address, &new).is_ok());
    process.signal("TERM");
    let (status, log) = process.finish(PATIENCE);
    assert!(status.success(), "{log}");
    assert!(log.contains("the keys of tokens have changed"), "{log}");
    assert!(
        log.contains("the keys of tokens stay as they were"),
        "{log}"
    );
    used.push("fedcba9876543210".to_owned());
    for token in &used {
        let signature = token.rsplit('.').next().unwrap();
        assert!(!log.contains(signature), "{log}");
    }
}

#[test]
fn a15_a_token_says_what_its_user_may_do() {
    let gateway = gateway(|config| {
        let text = "[auth]\njwt_secret = \"0123456789abcdef0123456789abcdef\"\n\
                    [namespace.\"ops.\"]\nsubscribe = \"service\"\npublish = \"nobody\"";
        config.namespaces = Config::from_toml(text).unwrap().namespaces;
    });
    let rights = Rights {
        subscribe: Some(globs(&["chat.*", "news"])),
        publish: Some(globs(&["chat.lobby", "ops.a"])),
        deny: globs(&["chat.secret*"]),
        ..Rights::default()
    };
    let (mut ann, _) = enter(gateway.address, &token("ann", None, Some(&rights))).unwrap();
    let answer = ann.subscribe(&[
        "chat.a",
        "chat.a*",
        "news",
        "user:ann:events",
        "chat.*",
        "*",
        "chat.secret",
        "other",
        "user:bob:events",
        "user:ann:*",
    ]);
    assert_eq!(
        answer["events"],
        json!(["chat.a", "chat.a*", "news", "user:ann:events"])
    );
    assert_eq!(answer["rejected"].as_array().unwrap().len(), 6);
    let (mut bob, _) = enter(gateway.address, &token("bob", None, None)).unwrap();
    assert_eq!(bob.subscribe(&["ops.a", "*", "ops*"])["events"], json!([]));
    assert_eq!(bob.subscribe(&["chat.*"])["events"], json!(["chat.*"]));
    let say = |client: &mut Client, topic: &str| {
        client.say(&json!({ "type": "publish", "event": topic, "data": 1, "id": 1 }));
        client.json()
    };
    for topic in ["chat.a", "news", "ops.a", "user:ann:events"] {
        let answer = say(&mut ann, topic);
        assert_eq!(answer["code"], "FORBIDDEN", "{topic}: {answer}");
        assert!(answer["message"].as_str().unwrap().len() > 20);
    }
    assert_eq!(say(&mut ann, "chat.lobby")["type"], "response");
    assert_eq!(bob.json()["event"], "chat.lobby");
    assert_eq!(say(&mut bob, "ops.a")["code"], "FORBIDDEN");
    // A service's events reach the inbox of their user.
    let service = format!(
        "Authorization: Bearer {}\r\n",
        token("s", Some("service"), None)
    );
    assert_eq!(
        publish(gateway.address, &service, "user:ann:events").status,
        202
    );
    assert_eq!(ann.json()["event"], "user:ann:events");
    assert_eq!(publish(gateway.address, &service, "ops.a").status, 403);
    let limited = token("s", Some("service"), Some(&rights));
    let limited = format!("Authorization: Bearer {limited}\r\n");
    assert_eq!(publish(gateway.address, &limited, "chat.lobby").status, 202);
    // What may not be subscribed to is not told in another way either.
    let history = |topic: &str| {
        let head = format!(
            "GET /api/v1/topics/{topic}/history HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{limited}\r\n"
        );
        request(gateway.address, head.as_bytes()).status
    };
    assert_eq!((history("chat.a"), history("other")), (200, 403));
    let presence = json!({ "query": "presence", "event": "other" });
    ann.say(&json!({ "type": "query", "id": 2, "params": presence }));
    assert_eq!(ann.json()["code"], "FORBIDDEN");
    let refused = publish(gateway.address, &limited, "chat.a");
    assert_eq!(refused.status, 403);
    assert!(
        refused.json()["detail"]
            .as_str()
            .unwrap()
            .contains("fanfare.publish")
    );
}

#[test]
fn a18_an_address_with_too_many_wrong_credentials_waits() {
    // The SHA-256 of "key".
    let hash = "sha256:2c70e12b7a0646f92279f427c7b38e7334d8e5389cff167a1dc30e73f826b683";
    let gateway = gateway(|config| {
        config.auth.max_failures_per_minute = 5;
        config.auth.api_keys = vec![KeyHash::parse(hash).unwrap()];
    });
    let good = token("alice", Some("service"), None);
    let (mut before, _) = enter(gateway.address, &good).unwrap();
    for _ in 0..3 {
        check_refused(gateway.address, "x.y.z");
    }
    // Whoever sends none is asked for one, and no more.
    assert_eq!(publish(gateway.address, "", "a").status, 401);
    assert_eq!(
        publish(gateway.address, "X-API-Key: guess\r\n", "a").status,
        401
    );
    assert_eq!(
        publish(gateway.address, "Authorization: Bearer guess\r\n", "a").status,
        401
    );
    let check_429 = |response: &Response| {
        assert_eq!(response.status, 429, "{response:?}");
        let wait: u64 = response.header("retry-after").unwrap().parse().unwrap();
        assert!((1..=60).contains(&wait), "{wait}");
    };
    let bearer = format!("Authorization: Bearer {good}\r\n");
    for headers in ["X-API-Key: key\r\n", "Authorization: Bearer x\r\n", &bearer] {
        check_429(&publish(gateway.address, headers, "a"));
    }
    let upgrade = get_upgrade("/api/v1/ws", &bearer);
    check_429(&request(gateway.address, upgrade.as_bytes()));
    let demo = Client::connect_with(gateway.address, "/api/v1/ws/demo", &bearer);
    drop(demo);
    before.say(&json!({ "type": "ping" }));
    assert_eq!(before.json()["type"], "pong");
}

#[test]
fn t6_an_empty_token_is_none() {
    let gateway = TestGateway::start();
    for path in ["/api/v1/ws?token=", "/api/v1/ws?token=&client_id=a"] {
        let greeting = Client::connect(gateway.address, path).json();
        assert_eq!(
            greeting["type"], "connection_established",
            "{path}: {greeting}"
        );
        assert_eq!(greeting["authenticated"], false);
    }
    let cleared =
        Client::connect_with(gateway.address, "/api/v1/ws", "Cookie: access_token=\r\n").json();
    assert_eq!(cleared["authenticated"], false, "{cleared}");
}

#[test]
fn t1_t2_t3_t4_tokens_of_common_libraries_are_taken() {
    let gateway = TestGateway::in_mode(Mode::Dev, |config| {
        config.auth.jwt_secret = Secret::new(SECRET);
    });
    let f64_now = || f64::from(u32::try_from(now()).unwrap());
    let header = json!({ "alg": "HS256", "typ": "JWT", "kid": "their-key" });
    let claims = json!({
        "sub": "alice",
        "iat": f64_now() + 0.336_421,
        "nbf": f64_now() - 0.5,
        "exp": f64_now() + 600.25,
        "name": null,
        "role": ["admin"],
    });
    let token = forged(&SECRET, &header, &claims);
    let greeting = Client::connect(gateway.address, &format!("/api/v1/ws?token={token}")).json();
    assert_eq!(greeting["authenticated"], true, "{greeting}");
    assert_eq!(greeting["role"], "admin", "{greeting}");
}
