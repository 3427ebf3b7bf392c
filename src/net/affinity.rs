//! Cores: which there are, and staying on one.

use std::io;

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// The cores this process may use, by number. Never empty.
#[must_use]
pub fn available_cores() -> Vec<usize> {
    let allowed = sched_getaffinity(None);
    let cores = allowed.map(|set| {
        (0..CpuSet::MAX_CPU)
            .filter(|&core| set.is_set(core))
            .collect()
    });
    cores
        .ok()
        .filter(|cores: &Vec<usize>| !cores.is_empty())
        .unwrap_or_else(|| vec![0])
}

/// Keeps the calling thread on `core`.
///
/// # Errors
/// The kernel's, if the core is not available to the process.
pub fn pin_to_core(core: usize) -> io::Result<()> {
    let mut set = CpuSet::new();
    set.set(core);
    Ok(sched_setaffinity(None, &set)?)
}
