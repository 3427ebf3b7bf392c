//! What the process takes of the machine, as the kernel counts it.

use std::fs;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::process::{Resource, getrlimit};
use rustix::time::{ClockId, clock_gettime};
use tokio::task::yield_now;

use super::monotonic_us;
use crate::metrics::ProcessUsage;

/// What the process takes now, but for when it began.
///
/// Cost: two small files and three system calls, about 50 us. Before Linux 6.2 open files are counted, about 1 us for
/// each, in turns of the calling task and at most every 10 s.
pub async fn process_usage() -> ProcessUsage {
    let cpu = clock_gettime(ClockId::ProcessCPUTime);
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    #[expect(clippy::cast_precision_loss, reason = "below 2^53")]
    let cpu_seconds = cpu.tv_sec as f64 + cpu.tv_nsec as f64 / 1e9;
    ProcessUsage {
        cpu_seconds,
        resident_bytes: field(&status, "VmRSS:").map(|kib| kib * 1024),
        virtual_bytes: field(&status, "VmSize:").map(|kib| kib * 1024),
        open_files: open_files().await,
        files_max: getrlimit(Resource::Nofile).current,
        threads: field(&status, "Threads:"),
        started_seconds: 0.0,
    }
}

/// The number in a line of `/proc/self/status`.
fn field(status: &str, name: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

const FILES: &str = "/proc/self/fd";

/// How often open files are counted one by one.
const COUNT_INTERVAL_US: u64 = 10_000_000;

/// Files that are counted in one turn of a shard: less than a millisecond.
const FILES_PER_TURN: u64 = 512;

/// When files were last counted one by one, and how many there were; 0: never.
static COUNTED_AT_US: AtomicU64 = AtomicU64::new(0);
static COUNTED: AtomicU64 = AtomicU64::new(0);

async fn open_files() -> Option<u64> {
    // Since Linux 6.2 the folder's size is the number.
    let size = fs::metadata(FILES).ok()?.len();
    if size > 0 {
        return Some(size);
    }
    let (at, now) = (COUNTED_AT_US.load(Ordering::Relaxed), monotonic_us());
    if at == 0 || now.saturating_sub(at) >= COUNT_INTERVAL_US {
        // Whoever asks meanwhile is told the last number.
        COUNTED_AT_US.store(now, Ordering::Relaxed);
        COUNTED.store(count_files().await?, Ordering::Relaxed);
    }
    Some(COUNTED.load(Ordering::Relaxed)).filter(|count| *count > 0)
}

async fn count_files() -> Option<u64> {
    let mut count = 0_u64;
    for file in fs::read_dir(FILES).ok()? {
        file.ok()?;
        count += 1;
        if count.is_multiple_of(FILES_PER_TURN) {
            yield_now().await;
        }
    }
    // The folder itself is open while it is read.
    Some(count.saturating_sub(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_tells_all_of_it() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        let usage = runtime.block_on(process_usage());
        assert!(usage.cpu_seconds > 0.0);
        let (resident, all) = (usage.resident_bytes.unwrap(), usage.virtual_bytes.unwrap());
        assert!((1 << 20..all).contains(&resident), "{resident} of {all}");
        assert!(usage.threads.unwrap() >= 2);
        // Other tests open and close files meanwhile, yet these stay.
        let held: Vec<_> = (0..1000)
            .map(|_| fs::File::open("/proc/self/status").unwrap())
            .collect();
        for count in [
            runtime.block_on(open_files()),
            runtime.block_on(count_files()),
        ] {
            let count = count.unwrap();
            assert!((1003..usage.files_max.unwrap()).contains(&count), "{count}");
        }
        drop(held);
    }

    #[test]
    fn a_line_of_the_status_is_read_to_its_number() {
        let status = "Name:\tVmRSS: 7\nVmRSS:\t    1234 kB\nThreads:\t5\n";
        assert_eq!(field(status, "VmRSS:"), Some(1234));
        assert_eq!(field(status, "Threads:"), Some(5));
        assert_eq!(field(status, "VmSize:"), None);
    }
}
