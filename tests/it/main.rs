//! Black-box tests: bytes to a real port, bytes back. They know nothing of the
//! gateway's inside but how to start it, and would survive a rewrite.

#![expect(
    clippy::disallowed_methods,
    reason = "tests wait for the gateway on threads of their own"
)]

mod support;

mod addresses;
mod backend;
mod backend_ops;
mod batch;
mod bodies;
mod bridge;
mod chat_demo;
mod compression;
mod counts;
mod direct;
mod directory;
mod docs_bridge;
mod docs_clients;
mod docs_messenger;
mod docs_operators;
mod docs_protocol;
mod docs_readme;
mod docs_sse;
mod docs_wse;
mod drain;
mod ends;
mod events;
mod frames;
mod frames_events;
mod handshake;
mod history;
mod hostile_messages;
mod hostile_wse;
mod http_api;
mod key_sets;
mod limits;
mod messenger;
mod metrics;
mod modes;
mod msgpack;
mod openapi;
mod order;
mod origins;
mod page;
mod ports;
mod presence;
mod proxies;
mod publisher;
mod rates;
mod refusals;
mod request_heads;
mod resume;
mod roles;
mod service_manager;
mod slow;
mod smoke;
mod sse;
mod tls;
mod tokens;
mod unix_sockets;
mod wse;
mod wse_defects;
