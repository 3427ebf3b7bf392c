//! `[server]`: listeners, shards and what connections may cost before they speak.

use std::net::SocketAddr;
use std::time::Duration;

use super::kind::{Count, Flag, ListOf, Parsed, Size, Time};
use super::section::section;
use super::size::GIB;

section! {
    /// Listeners, shards, and what a connection may cost before it speaks.
    pub struct Server(mode) {
        /// Addresses to listen on. While anything is open to clients without credentials, only loopback
        /// addresses are accepted (see allow_open).
        listen: Vec<SocketAddr> = vec![SocketAddr::from(([127, 0, 0, 1], 8080))],
            ListOf { item: ADDRESS, len: 1..=64 };
        /// Threads that serve connections, each with its own listener; 0: one per available core.
        shards: usize = 0, Count(0..=1024);
        /// Whether each shard's thread stays on one core.
        pin_threads: bool = true, Flag;
        /// Connections the kernel keeps waiting to be accepted, per listener and shard; it drops those
        /// beyond it, and the client tries again. net.core.somaxconn may lower it.
        backlog: u32 = 4096, Count(1..=65_535);
        /// From SIGTERM to the exit: clients are closed spread over this time, the rest is cut off at
        /// its end.
        drain_timeout: Duration = Duration::from_secs(10), Time(Duration::ZERO..=Duration::from_hours(1));
        /// Open connections of the process. Beyond it: status 503 with Retry-After, before the upgrade.
        max_connections: usize = 100_000, Count(1..=100_000_000);
        /// Open connections from one address; 0: no limit. Beyond it: status 503 with Retry-After.
        max_connections_per_ip: usize = 0, Count(0..=100_000_000);
        /// From accepting a connection, or a kept one's first byte, to the end of the request head,
        /// however slowly its bytes arrive. Then the connection is closed.
        handshake_timeout: Duration = Duration::from_secs(10),
            Time(Duration::from_millis(100)..=Duration::from_mins(5));
        /// Connections of the process that have not upgraded. Beyond it the oldest of them is closed.
        max_handshakes: usize = 16_384, Count(16..=10_000_000);
        /// SO_SNDBUF of every connection: unsent bytes the kernel holds for it; "0B": the kernel's
        /// choice.
        send_buffer: usize = 0, Size(0..=GIB);
        /// Accept listeners beyond loopback although something is open to clients without credentials.
        allow_open: bool = false, Flag;
    }
}

/// An IP address with its port.
const ADDRESS: Parsed<SocketAddr> = Parsed {
    read: |text| text.parse().ok(),
    show: SocketAddr::to_string,
    accepts: "an IP address with a port, as \"127.0.0.1:8080\" or \"[::1]:8080\"",
};
