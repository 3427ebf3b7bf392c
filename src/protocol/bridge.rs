//! The bridge protocol (docs/bridge.md): services push over HTTP, users answer
//! over WebSocket, answers go back as a stream of events.

mod answer;
mod correlation;
mod data;
mod event;
mod format;
mod frame;
mod inbound;
mod invalid;
mod mention;
mod push;
mod syntax;
mod user;

pub use answer::Answer;
pub use correlation::{CORRELATION_BYTES_MAX, Correlation};
pub use data::DATA;
pub use event::put_error_event;
pub use format::{BridgeFormats, PUSH};
pub use frame::{put_completed, put_error_frame};
pub use inbound::Inbound;
pub use invalid::{DETAILS_MAX, Invalid};
pub use push::{MESSAGE, Push};
pub use user::user_of;
