//! What `tests/it` uses.

#![expect(dead_code, reason = "the other tests use more of it")]

#[path = "../it/support/client.rs"]
mod client;
#[path = "../it/support/free_port.rs"]
mod free_port;
#[path = "../it/support/gateway.rs"]
mod gateway;
#[path = "../it/support/http.rs"]
mod http;
#[path = "../it/support/socket.rs"]
mod socket;
#[path = "../it/support/threads.rs"]
mod threads;

pub(crate) use client::Client;
pub(crate) use free_port::free_port;
pub(crate) use gateway::TestGateway;
pub(crate) use http::request;
pub(crate) use socket::Socket;
pub(crate) use threads::Patience;
