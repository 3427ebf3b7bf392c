//! Memory of the kernel on the whole machine, from /proc.
//!
//! Sockets, their files and their epoll entries are in slabs. The kernel counts the
//! inode and the dentry of an open socket as reclaimable, although they are not, together
//! with its cache of files. On a quiet machine the difference between two measurements
//! is what the connections between them use; its unreclaimable part is a lower bound.

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
    /// Socket buffers. Those in slabs are counted twice; idle connections have none.
    pub(crate) tcp_buffer_bytes: u64,
}

impl Kernel {
    /// Measures now.
    pub(crate) fn now() -> io::Result<Self> {
        let memory = fs::read_to_string("/proc/meminfo")?;
        let sockets = fs::read_to_string("/proc/net/sockstat")?;
        let page_bytes = rustix::param::page_size() as u64;
        Self::parse(&memory, &sockets, page_bytes)
            .ok_or_else(|| io::Error::other("/proc/meminfo or /proc/net/sockstat lacks a line"))
    }

    /// Parses /proc/meminfo and /proc/net/sockstat.
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

    /// The sum.
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
    fn memory_is_parsed_and_added_up() {
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
    fn a_missing_line_is_refused() {
        assert_eq!(Kernel::parse("MemTotal: 100 kB\n", SOCKETS, 4096), None);
        assert_eq!(Kernel::parse(MEMORY, "sockets: used 17\n", 4096), None);
    }

    #[test]
    fn this_machine_has_the_files() {
        assert!(Kernel::now().unwrap().total_bytes() > 100_000);
    }
}
