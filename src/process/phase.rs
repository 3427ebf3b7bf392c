//! Whether the process serves or stops.

use std::time::Instant;

/// What the process is doing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ProcessPhase {
    /// Serving.
    Running,
    /// About to stop, and not ready for new clients.
    Draining {
        /// When it begins to close its clients. Until then it serves as ever, since a load balancer
        /// needs a while to see that it is not ready.
        from: Instant,
        /// When it has ended at the latest.
        until: Instant,
    },
    /// Stopping now.
    Stopping,
}
