//! Ports for servers that cannot be told to take any.

use std::hash::{BuildHasher, RandomState};
use std::net::TcpListener;

/// A port of 127.0.0.1 that nobody has. Below those that the kernel gives away, so that no other test gets it before the
/// server that it is for.
pub(crate) fn free_port() -> u16 {
    loop {
        let offset = RandomState::new().hash_one(0) % 10_000;
        let port = 20_000 + u16::try_from(offset).unwrap();
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}
