//! Server-Sent Events (WHATWG HTML 9.2): the encoding of a stream, its cursors, and its request. Pure: bytes in,
//! values out.

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

/// The event type of presence messages.
pub const PRESENCE: &str = "presence";
