//! CPU time and memory of a process, from /proc.

use std::collections::BTreeMap;
use std::fs;
use std::io;

/// Nanoseconds of CPU that all live threads of `pid` have used; `self` works too.
///
/// Threads that have ended are not counted.
pub(crate) fn cpu_ns(pid: &str) -> io::Result<u64> {
    let mut total = 0;
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        // A thread may end after the listing.
        if let Ok(schedstat) = fs::read_to_string(task?.path().join("schedstat")) {
            total += first_number(&schedstat).unwrap_or(0);
        }
    }
    Ok(total)
}

/// Nanoseconds of CPU that the live threads of `pid` have used, by their names.
pub(crate) fn cpu_ns_by_thread(pid: &str) -> io::Result<BTreeMap<String, u64>> {
    let mut threads = BTreeMap::new();
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        let task = task?.path();
        // A thread may end after the listing.
        if let (Ok(name), Ok(schedstat)) = (
            fs::read_to_string(task.join("comm")),
            fs::read_to_string(task.join("schedstat")),
        ) {
            let name = name.trim().to_owned();
            *threads.entry(name).or_default() += first_number(&schedstat).unwrap_or(0);
        }
    }
    Ok(threads)
}

/// Resident memory of `pid` in bytes.
pub(crate) fn rss_bytes(pid: &str) -> io::Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .and_then(first_number)
        .map(|kibibytes| kibibytes * 1024)
        .ok_or_else(|| io::Error::other(format!("no VmRSS in /proc/{pid}/status")))
}

fn first_number(text: &str) -> Option<u64> {
    text.split_ascii_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_uses_cpu_and_memory() {
        assert!(cpu_ns("self").unwrap() > 0);
        assert!(rss_bytes("self").unwrap() > 100_000);
    }

    #[test]
    fn a_missing_process_is_an_error() {
        assert!(cpu_ns("0").is_err());
        assert!(rss_bytes("0").is_err());
    }
}
