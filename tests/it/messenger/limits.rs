//! What one client can cost.

use fanfare::config::Mode;
use fanfare::dialect::messenger::MessengerSettings;
use serde_json::json;

use super::{Account, check_text, gateway, get, post, post_with, verify};
use crate::support::TestGateway;

#[test]
fn a26_an_address_has_a_number_of_requests_a_minute() {
    let gateway = gateway(|settings| settings.requests_per_minute = 3);
    let alice = Account::registered(gateway.address, "alice");
    alice.token(gateway.address);
    for path in [
        "/active-users",
        "/auth/users/alice",
        "/auth/check-userid/alice",
    ] {
        let answer = get(gateway.address, path);
        check_text(&answer, 429, "Rate limit exceeded");
        let later: u64 = answer.header("retry-after").unwrap().parse().unwrap();
        assert!((1..=60).contains(&later), "{answer:?}");
    }
    let answer = post(
        gateway.address,
        "/auth/login",
        &json!({ "user_id": "alice" }),
    );
    check_text(&answer, 429, "Rate limit exceeded");
}

#[test]
fn a26_an_address_has_a_number_of_registrations_a_minute() {
    let gateway = gateway(|settings| settings.registrations_per_minute = 1);
    let alice = Account::registered(gateway.address, "alice");
    let answer = post(
        gateway.address,
        "/auth/register",
        &Account::new("bob").registration(),
    );
    check_text(&answer, 429, "Rate limit exceeded");
    alice.token(gateway.address);
}

#[test]
fn a23_wrong_signatures_count_as_wrong_credentials() {
    let gateway = TestGateway::with(|config| config.auth.max_failures_per_minute = 2);
    let alice = Account::registered(gateway.address, "alice");
    let right = alice.answer(&alice.challenge(gateway.address));
    let wrong = json!({ "user_id": "alice", "signature": alice.sign(b"another") });
    for _ in 0..2 {
        check_text(
            &verify(gateway.address, &wrong),
            401,
            "Authentication failed",
        );
    }
    let answer = verify(gateway.address, &right);
    assert_eq!(answer.status, 429, "{answer:?}");
    assert!(answer.header("retry-after").is_some());
}

#[test]
fn bodies_have_the_limits_of_all_and_are_refused_in_text() {
    let gateway = TestGateway::with(|config| config.http.max_body_size = 4096);
    let large = vec![b' '; 5000];
    let answer = post_with(gateway.address, "/auth/register", "", &large);
    check_text(&answer, 413, "Request body too large");
    let answer = post_with(
        gateway.address,
        "/auth/login",
        "Content-Encoding: gzip\r\n",
        b"{}",
    );
    assert_eq!(answer.status, 415);
    let name = "x".repeat(257);
    let mut registration = Account::new("alice").registration();
    registration["username"] = name.into();
    assert_eq!(
        post(gateway.address, "/auth/register", &registration).status,
        400
    );
}

#[test]
fn challenges_end() {
    let gateway = gateway(|settings| {
        settings.challenge_lifetime = std::time::Duration::from_secs(1);
    });
    let alice = Account::registered(gateway.address, "alice");
    let body = alice.answer(&alice.challenge(gateway.address));
    std::thread::sleep(std::time::Duration::from_millis(1100));
    check_text(&verify(gateway.address, &body), 400, "No challenge found");
}

#[test]
fn a26_a_list_has_a_length_and_says_so() {
    let gateway = gateway(|settings| settings.list_max = 2);
    for id in ["a", "b", "c"] {
        Account::registered(gateway.address, id);
    }
    let listed = get(gateway.address, "/active-users").json();
    assert_eq!(listed["offline"].as_array().unwrap().len(), 2, "{listed}");
    assert_eq!(listed["total"], 3);
}

#[test]
fn a26_accounts_have_a_limit() {
    let gateway = TestGateway::with(|config| config.store.max_users = 1);
    Account::registered(gateway.address, "alice");
    let answer = post(
        gateway.address,
        "/auth/register",
        &Account::new("bob").registration(),
    );
    check_text(&answer, 507, "The limit of registered users is reached");
}

#[test]
fn in_prod_mode_there_is_nothing_of_it_unless_it_is_enabled() {
    let gateway = TestGateway::in_mode(Mode::Prod, |config| {
        config.auth.jwt_secret = fanfare::config::Secret::new([7; 32]);
    });
    let answer = post(
        gateway.address,
        "/auth/register",
        &Account::new("a").registration(),
    );
    assert_eq!(
        (answer.status, answer.json()),
        (404, json!({ "detail": "Not Found" }))
    );
    assert_eq!(get(gateway.address, "/active-users").status, 404);
    let settings: MessengerSettings = fanfare::config::Config::for_mode(Mode::Prod).section();
    assert!(!settings.enabled && settings.requests_per_minute > 0);
}
