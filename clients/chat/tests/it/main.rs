//! The program against a server in this process.

#![expect(
    clippy::disallowed_methods,
    reason = "tests wait for the program on threads of their own"
)]

mod client;
mod docs;
mod reconnect;
mod script;
mod server;
mod talk;
mod usage;
