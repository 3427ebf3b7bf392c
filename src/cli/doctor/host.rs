//! The host as the kernel tells it: small files under one root.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// The files of a host. With another root than `/`, those of a machine whose `/proc`, `/sys` and `/etc`
/// are mounted there, or of a test.
#[derive(Debug)]
pub(super) struct Host {
    root: PathBuf,
}

impl Host {
    /// The host whose files are under `root`.
    pub(super) fn at(root: &Path) -> Self {
        Self {
            root: root.to_owned(),
        }
    }

    /// What the file holds, without white space around it; `None` when it is not there or may not be
    /// read. Bytes that are not UTF-8 are replaced.
    pub(super) fn text(&self, path: &str) -> Option<String> {
        let mut bytes = Vec::new();
        let file = File::open(self.path(path)).ok()?;
        file.take(FILE_LEN_MAX).read_to_end(&mut bytes).ok()?;
        Some(String::from_utf8_lossy(&bytes).trim().to_owned())
    }

    /// The only value in the file.
    pub(super) fn value<T: FromStr>(&self, path: &str) -> Option<T> {
        self.text(path)?.parse().ok()
    }

    /// The value of a kernel setting, by its name as in `net.core.somaxconn`.
    pub(super) fn sysctl<T: FromStr>(&self, name: &str) -> Option<T> {
        self.value(&sysctl_path(name))
    }

    /// The numbers of a kernel setting that has several.
    pub(super) fn sysctl_numbers<const N: usize>(&self, name: &str) -> Option<[u64; N]> {
        let text = self.text(&sysctl_path(name))?;
        let numbers: Option<Vec<u64>> = text.split_whitespace().map(|n| n.parse().ok()).collect();
        numbers?.try_into().ok()
    }

    /// Bytes of memory of the machine.
    pub(super) fn memory_total(&self) -> Option<u64> {
        self.meminfo("MemTotal:")
    }

    /// A line of `/proc/meminfo` in bytes.
    pub(super) fn meminfo(&self, name: &str) -> Option<u64> {
        let text = self.text("/proc/meminfo")?;
        let line = text.lines().find_map(|line| line.strip_prefix(name))?;
        let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
        kib.checked_mul(1024)
    }

    /// Bytes of a page of memory, the unit of some kernel settings.
    pub(super) fn page_bytes(&self) -> Option<u64> {
        let maps = self.text("/proc/self/smaps")?;
        let mut lines = maps.lines();
        let size = lines.find_map(|line| line.strip_prefix("KernelPageSize:"))?;
        let kib: u64 = size.trim().strip_suffix("kB")?.trim().parse().ok()?;
        kib.checked_mul(1024)
    }

    /// The names in a directory, in order; none when it is not there or may not be read.
    pub(super) fn names(&self, path: &str) -> Vec<String> {
        let entries = fs::read_dir(self.path(path)).into_iter().flatten();
        let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        let mut names: Vec<String> = names.collect();
        names.sort_unstable();
        names
    }

    /// The network cards, in order: bridges, tunnels and loopback have no device.
    pub(super) fn cards(&self) -> Vec<String> {
        let mut names = self.names("/sys/class/net");
        names.retain(|name| self.has(&format!("/sys/class/net/{name}/device")));
        names
    }

    /// Whether there is something at `path`.
    pub(super) fn has(&self, path: &str) -> bool {
        self.path(path).exists()
    }

    fn path(&self, path: &str) -> PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }
}

fn sysctl_path(name: &str) -> String {
    format!("/proc/sys/{}", name.replace('.', "/"))
}

/// Bytes of a file that are read. `/proc/net/netstat` and unit files are the largest.
const FILE_LEN_MAX: u64 = 256 * 1024;

#[cfg(test)]
mod tests {
    use super::super::testing::Tree;

    #[test]
    fn values_are_read_and_what_is_missing_is_none() {
        let tree = Tree::of(&[
            ("proc/sys/net/core/somaxconn", "4096\n"),
            ("proc/sys/net/ipv4/tcp_mem", "1\t2\t3\n"),
            ("sys/class/net/lo/x", ""),
            ("sys/class/net/eth0/x", ""),
            ("sys/class/net/eth0/device/vendor", ""),
        ]);
        let host = tree.host();
        assert_eq!(host.sysctl("net.core.somaxconn"), Some(4096));
        assert_eq!(host.sysctl::<u64>("net.core.somaxcon"), None);
        assert_eq!(host.sysctl_numbers("net.ipv4.tcp_mem"), Some([1, 2, 3]));
        assert_eq!(host.sysctl_numbers::<2>("net.ipv4.tcp_mem"), None);
        assert_eq!(host.names("/sys/class/net"), ["eth0", "lo"]);
        assert!(host.names("/sys/class/block").is_empty());
        assert!(host.has("/sys/class/net/lo"));
        assert_eq!(host.cards(), ["eth0"]);
    }
}
