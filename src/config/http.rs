//! `[http]`: limits of requests before and beside the upgrade.

use std::time::Duration;

use super::kind::{Count, ListOf, Size, Time};
use super::mode::Mode;
use super::origin::{CORS_ORIGIN, CorsOrigin, ORIGIN, OriginPattern};
use super::section::{SectionRules, section};
use super::size::{GIB, KIB, MIB};

section! {
    /// Limits of HTTP requests, those that become WebSocket and SSE connections included.
    pub struct Http("http", mode) {
        /// Bytes of a request line with its headers. Beyond it: status 431, and the connection is
        /// closed.
        max_head_size: usize = 16 * KIB, Size(8 * KIB..=MIB);
        /// Headers of a request. Beyond it: status 431, and the connection is closed.
        max_headers: usize = 100, Count(16..=1000);
        /// Bytes of a request body. Beyond it: status 413.
        max_body_size: usize = MIB, Size(KIB..=GIB);
        /// Bytes that the bodies of requests, and those of answers that clients have not taken yet, may
        /// come to in the whole process; at least one body of max_body_size always may. Beyond it: status
        /// 503 with Retry-After. Answers of up to 16 KiB do not count.
        max_buffered_bytes: usize = 256 * MIB, Size(MIB..=1024 * GIB);
        /// How long a connection may wait for its next request; then it is closed.
        keep_alive_timeout: Duration = Duration::from_secs(75), Time(Duration::from_secs(1)..=Duration::from_hours(1));
        /// Origins of the web pages that may open WebSocket connections, as `"https://app.example.com"`,
        /// or "https://*.example.com" for any one label; empty: all. Others: status 403 before the
        /// upgrade. Clients that send no Origin are no web pages and pass.
        allowed_origins: Vec<OriginPattern> = Vec::new(), ListOf { item: ORIGIN, len: 0..=1000 }, AsKey "ALLOWED_ORIGINS";
        /// Origins of the web pages that may use the HTTP API and SSE of another host (CORS), as for
        /// allowed_origins, or "http://localhost:*" for any port; empty: none; "*": all, without cookies.
        cors_origins: Vec<CorsOrigin> = local_pages(mode), ListOf { item: CORS_ORIGIN, len: 0..=1000 }, AsKey "CORS_ORIGINS";
    }
}

impl SectionRules for Http {}

/// The pages that may use the API by default: in demo and dev mode those of this machine.
fn local_pages(mode: Mode) -> Vec<CorsOrigin> {
    let origins: &[&str] = match mode {
        Mode::Prod => &[],
        Mode::Demo | Mode::Dev => &[
            "http://localhost:*",
            "http://127.0.0.1:*",
            "http://[::1]:*",
            "https://localhost:*",
            "https://127.0.0.1:*",
            "https://[::1]:*",
        ],
    };
    let parse = |origin: &&str| OriginPattern::parse(origin).expect("these are origins");
    let patterns = origins.iter().map(parse);
    patterns.map(CorsOrigin::Only).collect()
}
