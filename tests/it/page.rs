//! `GET /`: the page to try the gateway out. What it does in a browser is tested
//! in `tests/browser`.

use fanfare::config::Mode;

use crate::support::{Response, TestGateway, request};

fn get(gateway: &TestGateway) -> Response {
    let head = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    request(gateway.address, head)
}

/// Checks what `/` answers in this mode with this configuration.
fn check(mode: Mode, page: Option<bool>, expected: Result<&str, u16>) {
    let gateway = TestGateway::in_mode(mode, |config| {
        config.debug.page = page.unwrap_or(config.debug.page);
    });
    let response = get(&gateway);
    match expected {
        Ok(endpoint) => {
            assert_eq!(response.status, 200, "{mode}");
            assert_eq!(
                response.header("content-type"),
                Some("text/html; charset=utf-8")
            );
            let names = format!("data-endpoint=\"{endpoint}\"");
            assert!(response.body.contains(&names), "{mode}");
        }
        Err(status) => assert_eq!(response.status, status, "{mode}"),
    }
}

#[test]
fn the_page_is_served_in_demo_and_dev_mode_and_can_be_switched() {
    check(Mode::Demo, None, Ok("/api/v1/ws/demo"));
    check(Mode::Dev, None, Ok("/api/v1/ws/dev"));
    check(Mode::Prod, None, Err(404));
    check(Mode::Demo, Some(false), Err(404));
    check(Mode::Prod, Some(true), Ok("/api/v1/ws"));
}

#[test]
fn the_page_may_load_nothing_from_elsewhere() {
    let gateway = TestGateway::start();
    let response = get(&gateway);
    let policy = response.header("content-security-policy").unwrap();
    assert!(policy.starts_with("default-src 'none'; style-src 'sha256-"));
    assert!(
        !policy.contains("unsafe") && !policy.contains("http"),
        "{policy}"
    );
    for outside in ["src=\"", "@import", "url(", "href=\"http"] {
        assert!(!response.body.contains(outside), "{outside}");
    }
    assert!(!response.body.contains("{{"), "everything is filled in");
}
