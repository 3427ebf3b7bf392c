//! Browser tests: the pages at `/` and `/docs`, and plain `WebSocket` and `EventSource`, in
//! Debian's Chromium. Without it they fail and say how to install it.

#![expect(
    clippy::disallowed_methods,
    reason = "tests wait for the browser on threads of their own"
)]

mod api;
mod bridge;
mod browser;
mod clients;
mod docs;
mod nginx;
mod page;
mod proxy;
mod sse;
mod support;

use std::net::SocketAddr;
use std::time::Duration;

use fanfare::dialect::sse::SseSettings;
use serde_json::{Value, json};

const DESKTOP: (u32, u32) = (1280, 800);
const PHONE: (u32, u32) = (390, 844);

/// A demo gateway that has browsers come back soon.
fn gateway() -> support::TestGateway {
    support::TestGateway::with(|config| {
        config.section_mut::<SseSettings>().retry = Duration::from_millis(100);
    })
}

/// Publishes as a backend does.
fn post(address: SocketAddr, event: &str, data: &Value) {
    let body = json!({ "event": event, "data": data }).to_string();
    let head = format!(
        "POST /api/v1/events HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    let response = support::request(address, (head + &body).as_bytes());
    assert_eq!(response.status, 202, "{response:?}");
}
