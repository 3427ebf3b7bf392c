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

/// What `pid` has used of its CPU in its own code and in the kernel, in ticks of the clock; `self` works too.
///
/// Sampled by the kernel at each tick (10 ms on most), so a share of a second or more is good to a few percent.
pub(crate) fn ticks(pid: &str) -> io::Result<Ticks> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    Ticks::of(&stat).ok_or_else(|| io::Error::other(format!("no times in /proc/{pid}/stat")))
}

/// CPU time in ticks of the clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ticks {
    user: u64,
    kernel: u64,
}

impl Ticks {
    /// Reads `utime` and `stime` of proc_pid_stat(5). The name before them may contain anything.
    fn of(stat: &str) -> Option<Self> {
        let (_, after_name) = stat.rsplit_once(')')?;
        let mut fields = after_name.split_ascii_whitespace().skip(11);
        let mut next = || fields.next()?.parse().ok();
        Some(Self {
            user: next()?,
            kernel: next()?,
        })
    }

    /// The kernel's part of what was used since `earlier`; `None` if that is less than a tick.
    pub(crate) fn kernel_share_since(self, earlier: Self) -> Option<f64> {
        let kernel = self.kernel.checked_sub(earlier.kernel)? as f64;
        let user = self.user.checked_sub(earlier.user)? as f64;
        (kernel + user > 0.0).then(|| kernel / (kernel + user))
    }
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
    fn the_kernels_part_is_that_between_two_looks() {
        let stat = |user, kernel| {
            Ticks::of(&format!(
                "7 (a) name) S 1 7 7 0 -1 0 5 0 0 0 {user} {kernel} 0 0 20"
            ))
        };
        let (from, to) = (stat(10, 20).unwrap(), stat(20, 50).unwrap());
        assert_eq!(to.kernel_share_since(from), Some(0.75));
        assert_eq!(to.kernel_share_since(to), None);
        assert_eq!(from.kernel_share_since(to), None);
        assert_eq!(Ticks::of("7 (name) S 1 7"), None);
        ticks("self").unwrap();
    }

    #[test]
    fn a_missing_process_is_an_error() {
        assert!(cpu_ns("0").is_err());
        assert!(ticks("0").is_err());
        assert!(rss_bytes("0").is_err());
    }
}
