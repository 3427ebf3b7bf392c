//! Registration and login, byte for byte as existing clients know them.

use serde_json::{Value, json};

use super::{Account, check_text, get, method, post, post_with, verify};
use crate::support::TestGateway;

#[test]
fn an_account_is_registered_once_and_is_found() {
    let gateway = TestGateway::start();
    let address = gateway.address;
    let exists = |id: &str| get(address, &format!("/auth/check-userid/{id}")).json();
    assert_eq!(exists("alice"), json!({ "exists": false }));
    let alice = Account::new("alice");
    let answer = post(address, "/auth/register", &alice.registration());
    assert_eq!(
        (answer.status, &*answer.body),
        (201, "User registered successfully")
    );
    assert_eq!(
        answer.header("content-type"),
        Some("text/plain; charset=utf-8")
    );
    assert_eq!(exists("alice"), json!({ "exists": true }));
    let again = post(
        address,
        "/auth/register",
        &Account::new("alice").registration(),
    );
    check_text(&again, 409, "User already exists");
    let found = get(address, "/auth/users/alice");
    let expected =
        json!({ "user_id": "alice", "username": "ALICE", "public_key": alice.public_key() });
    assert_eq!((found.status, found.json()), (200, expected));
    assert_eq!(found.header("content-type"), Some("application/json"));
    check_text(&get(address, "/auth/users/bob"), 404, "User not found");
}

#[test]
fn an_encryption_key_is_told_to_others_and_ids_may_have_any_letters() {
    let gateway = TestGateway::start();
    let account = Account::new("zoë/ a%");
    let mut registration = account.registration();
    registration["x25519_public_key"] = account.public_key().into();
    assert_eq!(
        post(gateway.address, "/auth/register", &registration).status,
        201
    );
    let path = "zo%C3%AB/%20a%25";
    let found = get(gateway.address, &format!("/auth/users/{path}")).json();
    assert_eq!(found["user_id"], "zoë/ a%");
    assert_eq!(found["x25519_public_key"], account.public_key());
    let exists = get(gateway.address, &format!("/auth/check-userid/{path}")).json();
    assert_eq!(exists, json!({ "exists": true }));
    account.token(gateway.address);
}

#[test]
fn what_cannot_be_an_account_is_refused() {
    let gateway = TestGateway::start();
    let check = |field: &str, value: Value, text: &str| {
        let mut registration = Account::new("alice").registration();
        registration[field] = value;
        let answer = post(gateway.address, "/auth/register", &registration);
        check_text(&answer, 400, text);
    };
    check("user_id", "".into(), "User ID is required");
    check("user_id", Value::Null, "User ID is required");
    let limits = "it has 1 to 128 bytes and no control characters";
    check(
        "user_id",
        "a\nb".into(),
        &format!("Invalid user ID: {limits}"),
    );
    check(
        "user_id",
        "x".repeat(129).into(),
        &format!("Invalid user ID: {limits}"),
    );
    for reserved in ["server", "system", "broadcast", "sse"] {
        check("user_id", reserved.into(), "Reserved user ID");
    }
    for key in [
        "",
        "AAAA",
        "!",
        "AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
    ] {
        check("public_key", key.into(), "Invalid public key");
    }
    check(
        "x25519_public_key",
        "AAAA".into(),
        "Invalid x25519 public key",
    );
    check("user_id", 7.into(), "Invalid JSON");
    for body in ["", "{", "[]", "null", "{} {}", "\u{0}"] {
        let answer = post_with(gateway.address, "/auth/register", "", body.as_bytes());
        check_text(&answer, 400, "Invalid JSON");
        let answer = post_with(gateway.address, "/auth/login", "", body.as_bytes());
        check_text(&answer, 400, "Invalid JSON");
    }
    assert_eq!(
        get(gateway.address, "/active-users").json(),
        json!({ "online": [], "offline": [] })
    );
}

#[test]
fn a23_a_signed_challenge_is_good_for_one_token() {
    let gateway = TestGateway::start();
    let address = gateway.address;
    let alice = Account::registered(address, "alice");
    let (first, second) = (alice.challenge(address), alice.challenge(address));
    assert_ne!(first, second);
    let answer = verify(address, &alice.answer(&first));
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    let answer = answer.json();
    assert_eq!(answer["token"].as_str().unwrap().split('.').count(), 3);
    assert!(
        answer["expires_at"].as_str().unwrap().ends_with('Z'),
        "{answer}"
    );
    // The same signature is good for nothing, the other challenge still is.
    check_text(
        &verify(address, &alice.answer(&first)),
        401,
        "Authentication failed",
    );
    let mut named = alice.answer(&second);
    named["challenge"] = first.into();
    check_text(&verify(address, &named), 400, "No challenge found");
    named["challenge"] = second.into();
    assert_eq!(verify(address, &named).status, 200);
    check_text(&verify(address, &named), 400, "No challenge found");
}

#[test]
fn a_login_fails_in_the_words_that_clients_know() {
    let gateway = TestGateway::start();
    let address = gateway.address;
    let (alice, mallory) = (
        Account::registered(address, "alice"),
        Account::new("mallory"),
    );
    let empty = json!({ "user_id": "alice", "signature": "" });
    check_text(&verify(address, &empty), 400, "No challenge found");
    check_text(
        &verify(address, &json!({ "user_id": "mallory" })),
        400,
        "No challenge found",
    );
    let challenge = alice.challenge(address);
    let mut body = mallory.answer(&challenge);
    body["user_id"] = "alice".into();
    check_text(&verify(address, &body), 401, "Authentication failed");
    body["signature"] = "not base64".into();
    check_text(&verify(address, &body), 400, "Invalid signature encoding");
    check_text(&verify(address, &empty), 401, "Authentication failed");
    // Of the text, not of the bytes that it stands for.
    body["signature"] = alice.sign(challenge.as_bytes()).into();
    check_text(&verify(address, &body), 401, "Authentication failed");
    // An id that is not registered gets a challenge like any other.
    let challenge = mallory.challenge(address);
    check_text(
        &verify(address, &mallory.answer(&challenge)),
        401,
        "User not found",
    );
    check_text(
        &post(address, "/auth/login", &json!({})),
        400,
        "User ID is required",
    );
    assert_eq!(
        verify(address, &alice.answer(&alice.challenge(address))).status,
        200
    );
}

#[test]
fn a23_of_two_requests_with_one_signature_one_has_a_token() {
    let gateway = TestGateway::with(|config| config.server.shards = 2);
    let address = gateway.address;
    let alice = Account::registered(address, "alice");
    for _ in 0..5 {
        let body = alice.answer(&alice.challenge(address));
        #[expect(clippy::needless_collect, reason = "all ask at once")]
        let asking: Vec<_> = (0..4)
            .map(|_| {
                let body = body.clone();
                std::thread::spawn(move || verify(address, &body).status)
            })
            .collect();
        let statuses = asking.into_iter().map(|it| it.join().unwrap());
        assert_eq!(statuses.filter(|status| *status == 200).count(), 1);
    }
}

#[test]
fn paths_of_accounts_are_answered_in_text_also_where_there_is_nothing() {
    let gateway = TestGateway::start();
    let address = gateway.address;
    for (verb, path) in [
        ("GET", "/auth/register"),
        ("GET", "/auth/login"),
        ("PUT", "/auth/login?verify=true"),
        ("POST", "/auth/check-userid/alice"),
        ("DELETE", "/auth/users/alice"),
        ("POST", "/active-users"),
    ] {
        check_text(&method(address, verb, path), 405, "Method not allowed");
    }
    for path in ["/auth", "/auth/", "/auth/nothing", "/static/x", "/static/"] {
        check_text(&get(address, path), 404, "404 page not found");
    }
    check_text(&get(address, "/auth/users/"), 400, "User ID is required");
    assert_eq!(
        get(address, "/auth/check-userid/").json(),
        json!({ "exists": false })
    );
    assert_eq!(
        get(address, "/nothing").json(),
        json!({ "detail": "Not Found" })
    );
    assert_eq!(
        get(address, "/authority").json(),
        json!({ "detail": "Not Found" })
    );
}

#[test]
fn what_is_stored_is_counted_for_services() {
    let gateway = TestGateway::start();
    for id in ["alice", "bob"] {
        Account::registered(gateway.address, id);
    }
    let listed = get(gateway.address, "/active-users").json();
    assert_eq!(listed, json!({ "online": [], "offline": ["alice", "bob"] }));
    let stats = get(gateway.address, "/api/v1/messenger/stats").json();
    assert_eq!(
        (&stats["users"], &stats["connected"]),
        (&2.into(), &0.into())
    );
    assert!(stats["database_bytes"].as_u64().unwrap() > 0, "{stats}");
}
