//! `[websocket]`: liveness, deadlines, budgets and compression of WebSocket peers.

use std::time::Duration;

use super::kind::{Count, FlagKind, Size, Time};
use super::section::{SectionRules, section};
use super::size::{GIB, MIB};

section! {
    /// Liveness, deadlines, budgets and compression of WebSocket connections.
    pub struct Websocket("websocket", mode) {
        /// Silence after which the gateway sends a ping. Any frame counts as life.
        ping_interval: Duration = Duration::from_secs(30), Time(Duration::from_secs(1)..=Duration::from_hours(1)), Seconds "WS_PING_INTERVAL";
        /// How long a pinged client may stay silent; then the connection is dropped.
        ping_timeout: Duration = Duration::from_secs(10), Time(Duration::from_millis(100)..=Duration::from_hours(1)), Seconds "WS_PING_TIMEOUT";
        /// From the first byte of a message to its last; then the connection is closed with 1008.
        message_timeout: Duration = Duration::from_secs(30), Time(Duration::from_millis(100)..=Duration::from_hours(1));
        /// How long a client may take to answer a close frame; then the connection is dropped.
        close_timeout: Duration = Duration::from_secs(5), Time(Duration::from_millis(100)..=Duration::from_mins(5));
        /// Bytes of unfinished messages of the whole process. Beyond it the connection that asks for
        /// more is closed with 1013.
        max_unfinished_bytes: usize = 256 * MIB, Size(MIB..=1024 * GIB);
        /// Pings and pongs a client may send per second, sustained. Beyond it: closed with 1008.
        max_control_frames_per_second: u32 = 1000, Count(1..=1_000_000);
        /// Whether permessage-deflate (RFC 7692) is negotiated with clients that offer it.
        deflate: bool = true, FlagKind;
        /// Effort of the compressor, 1 (fastest) to 9 (smallest). A broadcast is compressed once for all
        /// its receivers.
        deflate_level: u32 = 1, Count(1..=9);
        /// Messages below this size are sent uncompressed.
        deflate_min_size: usize = 64, Size(0..=MIB);
        /// Whether a client may keep its compression context between messages: smaller messages from it
        /// for about 32 KiB of memory per connection.
        deflate_client_contexts: bool = false, FlagKind;
    }
}

impl SectionRules for Websocket {}
