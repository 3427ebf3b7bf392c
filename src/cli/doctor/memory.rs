//! Memory: what the gateway may come to, against what there is.

use super::amount::{grouped, size};
use super::cgroup::{self, Limit};
use super::finding::{Finding, Level, Remedy};
use super::host::Host;
use super::needs::Needs;
use super::unit::Unit;

/// Looks at the limit that holds for the gateway, at swap and at overcommitting.
pub(super) fn check(host: &Host, needs: &Needs<'_>) -> Vec<Finding> {
    let mut findings = vec![enough(host, needs), swap(host)];
    findings.push(overcommit(host));
    findings
}

fn enough(host: &Host, needs: &Needs<'_>) -> Finding {
    let Some(total) = host.memory_total() else {
        return Finding::unknown(MEMORY, MEMORY_WHY);
    };
    let limit = match Unit::installed(host) {
        Some(unit) => unit.memory_max(total).map_or(Limit::None, Limit::At),
        None => cgroup::memory(host),
    };
    let (there_is, whose) = match limit {
        Limit::At(bytes) if bytes < total => (bytes, "of its group"),
        // A limit that cannot be seen is another check's to tell; this much there is.
        _ => (total, "of the machine"),
    };
    let needed = needs.memory();
    let stalled = needs.unsent_bytes().map_or_else(String::new, |bytes| {
        format!(", and {} for each client that does not read", size(bytes))
    });
    let found = format!(
        "{} {whose}, may come to {} with {} connections{stalled}",
        size(there_is),
        size(needed),
        grouped(needs.connections)
    );
    if there_is >= needed {
        let level = if limit == Limit::Unknown {
            Level::Unknown
        } else {
            Level::Ok
        };
        return Finding::new(MEMORY, MEMORY_WHY, level, found);
    }
    let remedy = match limit {
        Limit::At(bytes) if bytes < total && needed <= total => Remedy::unit(
            "# or lower hub.max_memory, hub.max_history_memory, server.max_connections",
            &format!("MemoryMax={}M", needed.div_ceil(1 << 20)),
        ),
        _ => Remedy::command(
            "# lower hub.max_memory, hub.max_history_memory or server.max_connections in the configuration",
        ),
    };
    Finding::new(MEMORY, MEMORY_WHY, Level::Warn, found).remedied(remedy)
}

fn swap(host: &Host) -> Finding {
    match host.meminfo("SwapTotal:") {
        None => Finding::unknown(SWAP, SWAP_WHY),
        Some(0) => Finding::new(SWAP, SWAP_WHY, Level::Ok, "none"),
        Some(bytes) => {
            let remedy = Remedy::unit("# the unit's file; or swapoff -a", "MemorySwapMax=0");
            Finding::new(SWAP, SWAP_WHY, Level::Note, size(bytes)).remedied(remedy)
        }
    }
}

fn overcommit(host: &Host) -> Finding {
    match host.sysctl::<u8>(OVERCOMMIT) {
        None => Finding::unknown(OVERCOMMIT, OVERCOMMIT_WHY),
        Some(2) => {
            let remedy = Remedy::sysctl(OVERCOMMIT, "0");
            Finding::new(OVERCOMMIT, OVERCOMMIT_WHY, Level::Note, "2: strict").remedied(remedy)
        }
        Some(mode) => Finding::new(OVERCOMMIT, OVERCOMMIT_WHY, Level::Ok, mode.to_string()),
    }
}

const MEMORY: &str = "memory";
const MEMORY_WHY: &str = "Beyond it the kernel ends the gateway with all its connections; budgets in [hub], \
                          [websocket] and [http], 2 KiB in the process (3 with server.huge_pages) and 5 KiB in the \
                          kernel for each connection.";
const SWAP: &str = "swap";
const SWAP_WHY: &str =
    "Connections that were quiet are on disk when a message comes for all of them.";
const OVERCOMMIT: &str = "vm.overcommit_memory";
const OVERCOMMIT_WHY: &str =
    "The allocator reserves more than it uses; counted strictly, a reservation can fail.";

#[cfg(test)]
mod tests {
    use super::super::testing::{expect, findings};
    use super::*;

    const QUIET: [(&str, &str); 3] = [
        (
            "proc/meminfo",
            "MemTotal:        4194304 kB\nSwapTotal:             0 kB",
        ),
        ("proc/sys/vm/overcommit_memory", "0"),
        ("proc/self/cgroup", "0::/"),
    ];

    #[test]
    fn budgets_and_connections_are_added_up() {
        let files = [&QUIET[..], &[("sys/fs/cgroup/cgroup.procs", "")]].concat();
        let found = findings(check, &files, "", Some(100_000));
        expect(
            &found,
            &[
                (
                    Level::Ok,
                    "4 GiB of the machine, may come to 2.4 GiB with 100,000 connections, and 192 KiB for each client that does not read",
                ),
                (Level::Ok, "none"),
                (Level::Ok, "0"),
            ],
        );
        let found = findings(check, &files, "", Some(1_000_000));
        assert_eq!(found[0].level, Level::Warn);
        assert_eq!(found[0].remedy.as_ref().unwrap().keep, None);
        // The group's limit cannot be seen, so that it is enough is not known.
        let found = findings(check, &QUIET, "", Some(100_000));
        assert_eq!(found[0].level, Level::Unknown);
    }

    #[test]
    fn a_group_s_limit_is_raised_where_the_machine_has_the_memory() {
        let files = [&QUIET[..], &[("sys/fs/cgroup/memory.max", "1073741824")]].concat();
        let found = findings(check, &files, "", Some(100_000));
        expect(
            &found[..1],
            &[(
                Level::Warn,
                "1 GiB of its group, may come to 2.4 GiB with 100,000 connections, and 192 KiB for each client that does not read",
            )],
        );
        let keep = found[0].remedy.clone().unwrap().keep.unwrap();
        assert_eq!(keep.text, "[Service]\nMemoryMax=2476M");
    }

    #[test]
    fn a_unit_s_share_of_the_machine_is_a_limit() {
        let unit = ("etc/systemd/system/fanfare.service", "MemoryMax=25%");
        let files = [&QUIET[..], &[unit]].concat();
        let found = findings(check, &files, "", Some(100_000));
        expect(
            &found[..1],
            &[(
                Level::Warn,
                "1 GiB of its group, may come to 2.4 GiB with 100,000 connections, and 192 KiB for each client that does not read",
            )],
        );
    }

    #[test]
    fn swap_and_strict_accounting_are_choices() {
        let files = [
            ("proc/meminfo", "MemTotal: 4194304 kB\nSwapTotal: 1024 kB"),
            ("proc/sys/vm/overcommit_memory", "2"),
        ];
        expect(
            &findings(check, &files, "", Some(1))[1..],
            &[(Level::Note, "1 MiB"), (Level::Note, "2: strict")],
        );
    }
}
