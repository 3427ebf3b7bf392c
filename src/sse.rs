//! Server-Sent Events (WHATWG HTML 9.2): the stream's text, its cursors, and
//! what a request for one may ask. Pure: bytes in, values out.

mod cursor;
mod event;
mod request;
#[cfg(test)]
mod testing;

pub use cursor::{CursorKey, Scope};
pub use event::{
    ControlCharacter, GapReason, HEARTBEAT, StreamGap, put_event, put_gap, put_id, put_retry,
};
pub use request::{EventsRequest, RequestError, event_type};

/// What comings and goings are called.
pub const PRESENCE: &str = "presence";
