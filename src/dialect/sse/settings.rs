//! `[sse]`: streams of Server-Sent Events.

use std::time::Duration;

use crate::config::kind::{Count, FlagKind, Maybe, Time};
use crate::config::section::section;
use crate::config::{SECRET, Secret, SectionRules};

section! {
    /// Streams of Server-Sent Events. Tokens are asked for as events.auth_required says.
    pub struct SseSettings("sse", mode) {
        /// Whether /api/v1/sse exists.
        enabled: bool = true, FlagKind;
        /// Topics of one stream. Beyond it: status 400.
        max_topics: usize = 50, Count(1..=1000);
        /// How long a client is told to wait before it connects again: between half of this and one
        /// and a half of it, drawn for each connection.
        retry: Duration = Duration::from_secs(2), Time(Duration::from_millis(10)..=Duration::from_mins(10));
        /// Silence after which a comment is sent, so that nothing on the way takes the stream for dead.
        heartbeat: Duration = Duration::from_secs(15), Time(Duration::from_millis(100)..=Duration::from_hours(1));
        /// The secret that signs cursors (event ids), at least 32 bytes. Without it cursors are signed
        /// with what follows from auth.jwt_secret; without that, they hold for this process only.
        cursor_secret: Option<Secret> = None, Maybe(SECRET);
    }
}

impl SectionRules for SseSettings {}
