//! Memory that the kernel holds, of the whole machine, from /proc.
//!
//! Sockets, their files and what epoll knows of them are in its slabs. The kernel counts
//! the inode and the name of each socket as reclaimable, which they are not while it is
//! open, and beside them whatever it caches of files. So on a quiet machine the
//! difference between two looks is what came in between, and never less than
//! the part that cannot be reclaimed.

use std::fs;
use std::io;

use serde::Serialize;

/// Bytes at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(crate) struct Kernel {
    pub(crate) unreclaimable_bytes: u64,
    pub(crate) reclaimable_bytes: u64,
    /// Stacks of threads, and page tables of processes.
    pub(crate) stack_and_table_bytes: u64,
    /// Bytes on the way between sockets. Those that lie in slabs count here, too; idle
    /// connections have none.
    pub(crate) tcp_buffer_bytes: u64,
}

impl Kernel {
    /// What the kernel holds now.
    pub(crate) fn now() -> io::Result<Self> {
        let memory = fs::read_to_string("/proc/meminfo")?;
        let sockets = fs::read_to_string("/proc/net/sockstat")?;
        let page_bytes = rustix::param::page_size() as u64;
        Self::parse(&memory, &sockets, page_bytes)
            .ok_or_else(|| io::Error::other("/proc/meminfo or /proc/net/sockstat lacks a line"))
    }

    /// Reads the two files.
    fn parse(memory: &str, sockets: &str, page_bytes: u64) -> Option<Self> {
        let kibibytes = |name: &str| -> Option<u64> {
            let line = memory.lines().find(|line| line.starts_with(name))?;
            let value = line[name.len()..].split_ascii_whitespace().next()?;
            value.parse::<u64>().ok().map(|value| value * 1024)
        };
        let tcp = sockets.lines().find(|line| line.starts_with("TCP:"))?;
        let mut mem = tcp
            .split_ascii_whitespace()
            .skip_while(|&word| word != "mem");
        let pages: u64 = mem.nth(1)?.parse().ok()?;
        Some(Self {
            unreclaimable_bytes: kibibytes("SUnreclaim:")?,
            reclaimable_bytes: kibibytes("SReclaimable:")?,
            stack_and_table_bytes: kibibytes("KernelStack:")? + kibibytes("PageTables:")?,
            tcp_buffer_bytes: pages * page_bytes,
        })
    }

    /// All of it.
    pub(crate) fn total_bytes(&self) -> u64 {
        self.unreclaimable_bytes
            + self.reclaimable_bytes
            + self.stack_and_table_bytes
            + self.tcp_buffer_bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MEMORY: &str = "MemTotal: 100 kB\nSlab: 9 kB\nSReclaimable:  7 kB\nSUnreclaim:   2 kB\n\
                          KernelStack:  3 kB\nPageTables:   4 kB\nSecPageTables:   99 kB\n";
    const SOCKETS: &str =
        "sockets: used 17\nTCP: inuse 3 orphan 0 tw 4 alloc 3 mem 5\nUDP: inuse 0 mem 8\n";

    #[test]
    fn the_kernels_memory_is_added_up() {
        let kernel = Kernel::parse(MEMORY, SOCKETS, 4096).unwrap();
        let expected = Kernel {
            unreclaimable_bytes: 2048,
            reclaimable_bytes: 7 * 1024,
            stack_and_table_bytes: 7 * 1024,
            tcp_buffer_bytes: 5 * 4096,
        };
        assert_eq!(kernel, expected);
        assert_eq!(kernel.total_bytes(), 16 * 1024 + 5 * 4096);
    }

    #[test]
    fn a_file_that_lacks_a_line_is_not_guessed_at() {
        assert_eq!(Kernel::parse("MemTotal: 100 kB\n", SOCKETS, 4096), None);
        assert_eq!(Kernel::parse(MEMORY, "sockets: used 17\n", 4096), None);
    }

    #[test]
    fn this_machine_tells() {
        assert!(Kernel::now().unwrap().total_bytes() > 100_000);
    }
}
