//! The process's limits.

use rustix::process::{Resource, getrlimit, setrlimit};

/// Raises the number of files this process may open as far as it may, and
/// returns it; `None`: unlimited.
#[must_use]
pub fn raise_file_limit() -> Option<u64> {
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        let before = limit;
        limit.current = limit.maximum;
        if setrlimit(Resource::Nofile, limit).is_err() {
            limit = before;
        }
    }
    limit.current
}
