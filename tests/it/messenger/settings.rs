//! Settings as existing deployments have them.

use std::time::Duration;

use super::{Account, check_text, gateway, get, post};
use crate::support::Process;

#[test]
fn registration_can_be_closed() {
    let gateway = gateway(|settings| settings.registration = false);
    let answer = post(
        gateway.address,
        "/auth/register",
        &Account::new("alice").registration(),
    );
    check_text(&answer, 403, "Registration is closed");
    assert_eq!(
        get(gateway.address, "/auth/check-userid/alice").json()["exists"],
        false
    );
}

#[test]
fn without_a_length_there_is_no_list() {
    let gateway = gateway(|settings| settings.list_max = 0);
    check_text(
        &get(gateway.address, "/active-users"),
        404,
        "404 page not found",
    );
}

#[test]
fn a_rate_that_is_no_number_is_told_and_passed_over() {
    let gateway = Process::with(
        &[],
        &[
            ("MESSAGE_RATE_LIMIT", "fast"),
            ("MESSAGE_BURST_LIMIT", "20"),
            ("DISABLE_HTTP_REDIRECT", "true"),
        ],
    );
    Account::registered(gateway.address, "alice").token(gateway.address);
    gateway.signal("TERM");
    let (status, _) = gateway.finish(Duration::from_secs(10));
    assert!(status.success());
}
