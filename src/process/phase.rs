//! The phases of a process: running, draining, stopping.

use std::time::Instant;

/// The phase of the process.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ProcessPhase {
    /// Serving.
    Running,
    /// Stopping: `/health/ready` fails, and clients are closed from `from` on.
    Draining {
        /// When it begins to close clients. Until then it serves as before, since a load balancer needs time to see
        /// that it is not ready.
        from: Instant,
        /// When it stops at the latest.
        until: Instant,
    },
    /// Stopping now.
    Stopping,
}
