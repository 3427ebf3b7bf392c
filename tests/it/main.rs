//! Black-box tests: bytes to a real port, bytes back. They know nothing of the
//! gateway's inside but how to start it, and would survive a rewrite.

mod support;

mod events;
mod http_api;
mod limits;
mod order;
mod slow;
mod smoke;
