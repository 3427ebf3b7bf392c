//! Limits of the control group that this process, and so what its shell starts, is in.

use super::host::Host;

/// A limit of a control group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Limit {
    /// The tightest on the way up from the process's group.
    At(u64),
    /// None is set.
    None,
    /// The groups cannot be seen.
    Unknown,
}

/// Thousandths of a core that the group may use.
pub(super) fn cpu(host: &Host) -> Limit {
    tightest(host, "cpu", |host, directory| {
        if let Some(text) = host.text(&format!("{directory}/cpu.max")) {
            let (quota, period) = text.split_once(' ')?;
            return share(quota.parse().ok()?, period.parse().ok()?);
        }
        share(
            // -1 where there is none, which is no u64.
            host.value(&format!("{directory}/cpu.cfs_quota_us"))?,
            host.value(&format!("{directory}/cpu.cfs_period_us"))?,
        )
    })
}

/// Bytes that the group may use, the kernel's part for its sockets included.
pub(super) fn memory(host: &Host) -> Limit {
    tightest(host, "memory", |host, directory| {
        let bytes: u64 = host
            .value(&format!("{directory}/memory.max"))
            .or_else(|| host.value(&format!("{directory}/memory.limit_in_bytes")))?;
        // How the first version says that there is none.
        (bytes < NO_LIMIT_MIN).then_some(bytes)
    })
}

fn share(quota: u64, period: u64) -> Option<u64> {
    quota.checked_mul(1000)?.checked_div(period)
}

/// The smallest value that `read` finds from the process's directory up to the root of the hierarchy,
/// of the first version's hierarchy of `controller` or of the second version's.
fn tightest(host: &Host, controller: &str, read: impl Fn(&Host, &str) -> Option<u64>) -> Limit {
    let Some(groups) = host.text("/proc/self/cgroup") else {
        return Limit::Unknown;
    };
    if host.names(ROOT).is_empty() {
        return Limit::Unknown;
    }
    let mut smallest = None;
    for line in groups.lines() {
        // Number, controllers (none in the second version), path.
        let mut parts = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else {
            continue;
        };
        let root = if controllers.is_empty() {
            ROOT.to_owned()
        } else if controllers.split(',').any(|name| name == controller) {
            format!("{ROOT}/{controller}")
        } else {
            continue;
        };
        // A container may see its own directory as the root, and the path of its host.
        let mut path = path.trim_end_matches('/');
        loop {
            let found = read(host, &format!("{root}{path}"));
            smallest = [smallest, found].into_iter().flatten().min();
            match path.rfind('/') {
                Some(end) => path = &path[..end],
                None => break,
            }
        }
    }
    smallest.map_or(Limit::None, Limit::At)
}

const ROOT: &str = "/sys/fs/cgroup";
/// 4 EiB.
const NO_LIMIT_MIN: u64 = 1 << 62;

#[cfg(test)]
mod tests {
    use super::super::testing::Tree;
    use super::*;

    #[track_caller]
    fn check(files: &[(&str, &str)], expected_cpu: Limit, expected_memory: Limit) {
        let tree = Tree::of(files);
        let host = tree.host();
        assert_eq!((cpu(&host), memory(&host)), (expected_cpu, expected_memory));
    }

    #[test]
    fn the_tightest_limit_on_the_way_up_counts() {
        let files = [
            ("proc/self/cgroup", "0::/a.slice/b.service\n"),
            ("sys/fs/cgroup/a.slice/cpu.max", "150000 100000"),
            ("sys/fs/cgroup/a.slice/b.service/cpu.max", "max 100000"),
            ("sys/fs/cgroup/a.slice/memory.max", "max"),
            ("sys/fs/cgroup/a.slice/b.service/memory.max", "1073741824"),
        ];
        check(&files, Limit::At(1500), Limit::At(1 << 30));
        check(&files[..4], Limit::At(1500), Limit::None);
    }

    #[test]
    fn the_first_version_is_read_as_well() {
        let files = [
            ("proc/self/cgroup", "4:memory:/x\n2:cpu,cpuacct:/\n0::/\n"),
            ("sys/fs/cgroup/cpu/cpu.cfs_quota_us", "-1"),
            ("sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000"),
            (
                "sys/fs/cgroup/memory/memory.limit_in_bytes",
                "9223372036854771712",
            ),
            ("sys/fs/cgroup/memory/x/memory.limit_in_bytes", "4096"),
        ];
        check(&files, Limit::None, Limit::At(4096));
    }

    #[test]
    fn a_container_s_own_root_counts() {
        let files = [
            ("proc/self/cgroup", "0::/\n"),
            ("sys/fs/cgroup/cpu.max", "50000 100000"),
            ("sys/fs/cgroup/memory.max", "2147483648"),
        ];
        check(&files, Limit::At(500), Limit::At(2 << 30));
    }

    #[test]
    fn what_cannot_be_seen_is_unknown() {
        check(&[], Limit::Unknown, Limit::Unknown);
        check(
            &[("proc/self/cgroup", "0::/\n")],
            Limit::Unknown,
            Limit::Unknown,
        );
    }
}
