//! Cores: how many the gateway may use, and what shards make of them.

use super::amount::counted;
use super::cpu_list;
use super::finding::{Finding, Level, Remedy};
use super::host::Host;
use super::needs::Needs;

/// Looks at the cores that a process started here may use.
pub(super) fn check(host: &Host, needs: &Needs<'_>) -> Vec<Finding> {
    let Some(allowed) = allowed(host) else {
        return vec![Finding::unknown(SHARDS, SHARDS_WHY)];
    };
    let mut findings = vec![shards(host, needs, &allowed)];
    findings.extend(shared_port(needs));
    findings.extend(siblings(host, needs, &allowed));
    findings.extend(nodes(host, needs, &allowed));
    findings
}

/// The cores that this process, and whatever is started beside it, may use: its affinity, which
/// control groups narrow, too. The mask counts those that could be plugged in as well: only what is
/// online is a core.
pub(super) fn allowed(host: &Host) -> Option<Vec<usize>> {
    let status = host.text("/proc/self/status")?;
    let mut lines = status.lines();
    let list = lines.find_map(|line| line.strip_prefix("Cpus_allowed_list:"))?;
    let mut cores = cpu_list::parse(list.trim())?;
    if let Some(online) = online(host) {
        cores.retain(|core| online.contains(core));
    }
    (!cores.is_empty()).then_some(cores)
}

fn online(host: &Host) -> Option<Vec<usize>> {
    cpu_list::parse(&host.text("/sys/devices/system/cpu/online")?)
}

fn shards(host: &Host, needs: &Needs<'_>, allowed: &[usize]) -> Finding {
    let shards = needs.shards(allowed.len());
    let of = match online(host).map(|cores| cores.len()) {
        Some(online) if online > allowed.len() => format!(" of {online} online"),
        _ => String::new(),
    };
    let found = format!(
        "{} on {}{of}",
        counted(shards, "shard"),
        counted(allowed.len(), "core")
    );
    if shards <= allowed.len() {
        return Finding::new(SHARDS, SHARDS_WHY, Level::Ok, found);
    }
    let remedy = format!(
        "# server.shards = {} in the configuration, or more cores",
        allowed.len()
    );
    Finding::new(SHARDS, SHARDS_WHY, Level::Warn, found).remedied(Remedy::command(remedy))
}

/// Two gateways that pin alike share cores while others stand idle.
fn shared_port(needs: &Needs<'_>) -> Option<Finding> {
    let server = &needs.config.server;
    (server.share_port && server.pin_threads).then(|| {
        let found = "share_port and pin_threads are both on: each process pins from its first core";
        let remedy = Remedy::unit("taskset -c 0-1 fanfare serve", "CPUAffinity=0-1");
        Finding::new(PINNING, PINNING_WHY, Level::Note, found).remedied(remedy)
    })
}

/// Nothing to say where no core is shared.
fn siblings(host: &Host, needs: &Needs<'_>, allowed: &[usize]) -> Option<Finding> {
    let topology = |core: &usize| {
        let core = format!("/sys/devices/system/cpu/cpu{core}/topology");
        host.text(&format!("{core}/thread_siblings_list"))
    };
    let mut physical: Vec<String> = allowed.iter().filter_map(topology).collect();
    if physical.len() < allowed.len() {
        return Some(Finding::unknown(SIBLINGS, SIBLINGS_WHY));
    }
    physical.sort_unstable();
    physical.dedup();
    let shards = needs.shards(allowed.len());
    (physical.len() < shards).then(|| {
        let found = format!(
            "{} on {} of {}",
            counted(shards, "shard"),
            counted(allowed.len(), "thread"),
            counted(physical.len(), "physical core")
        );
        Finding::new(SIBLINGS, SIBLINGS_WHY, Level::Note, found)
    })
}

/// Nothing to say where all memory is equally near.
fn nodes(host: &Host, needs: &Needs<'_>, allowed: &[usize]) -> Option<Finding> {
    let nodes = host.text("/sys/devices/system/node/online")?;
    let nodes = cpu_list::parse(&nodes)?;
    let used = nodes.iter().filter(|node| {
        let cores = host.text(&format!("/sys/devices/system/node/node{node}/cpulist"));
        let cores = cores
            .and_then(|list| cpu_list::parse(&list))
            .unwrap_or_default();
        cores.iter().any(|core| allowed.contains(core))
    });
    let used = used.count();
    (used > 1 && needs.shards(allowed.len()) > 1).then(|| {
        let found = format!("shards on {used} nodes");
        let remedy = Remedy::unit(
            "numactl --cpunodebind=0 --membind=0 fanfare serve",
            "NUMAPolicy=bind\nNUMAMask=0\nCPUAffinity=numa",
        );
        Finding::new(NODES, NODES_WHY, Level::Note, found).remedied(remedy)
    })
}

const SHARDS: &str = "cores";
const SHARDS_WHY: &str = "More shards than cores only add switches; fewer leave cores to others.";
const PINNING: &str = "pinning";
const PINNING_WHY: &str =
    "Processes on one port need cores of their own each, or they share the first ones.";
const SIBLINGS: &str = "hyper-threads";
const SIBLINGS_WHY: &str =
    "Two shards on one physical core do less than twice the work of one; look at load by core.";
const NODES: &str = "NUMA nodes";
const NODES_WHY: &str = "What one shard hands to another on the other node is read from far memory; a gateway for each \
                         node is faster where the clients of a topic can be kept together.";

#[cfg(test)]
mod tests {
    use super::super::testing::{Tree, expect, findings};
    use super::*;

    const TWO: [(&str, &str); 4] = [
        (
            "proc/self/status",
            "Name:\tfanfare\nCpus_allowed:\t3\nCpus_allowed_list:\t0-1\n",
        ),
        ("sys/devices/system/cpu/online", "0-3"),
        (
            "sys/devices/system/cpu/cpu0/topology/thread_siblings_list",
            "0",
        ),
        (
            "sys/devices/system/cpu/cpu1/topology/thread_siblings_list",
            "1",
        ),
    ];

    #[test]
    fn shards_are_compared_with_the_cores_that_may_be_used() {
        let found = findings(check, &TWO, "", None);
        expect(&found, &[(Level::Ok, "2 shards on 2 cores of 4 online")]);
        let found = findings(check, &TWO, "[server]\nshards = 3", None);
        expect(
            &found,
            &[
                (Level::Warn, "3 shards on 2 cores of 4 online"),
                (Level::Note, "3 shards on 2 threads of 2 physical cores"),
            ],
        );
        expect(
            &findings(check, &[], "", None),
            &[(Level::Unknown, "cannot be read here")],
        );
    }

    #[test]
    fn a_core_that_is_not_plugged_in_is_none() {
        let files = [
            ("proc/self/status", "Cpus_allowed_list:\t0-127"),
            ("sys/devices/system/cpu/online", "0-3\n"),
        ];
        assert_eq!(allowed(&Tree::of(&files).host()), Some(vec![0, 1, 2, 3]));
        let found = findings(check, &files, "[server]\nshards = 5", None);
        expect(&found[..1], &[(Level::Warn, "5 shards on 4 cores")]);
        // Without the list of those online, the mask is all there is to go by.
        let mask_only = allowed(&Tree::of(&files[..1]).host());
        assert_eq!(mask_only.map(|cores| cores.len()), Some(128));
    }

    #[test]
    fn shared_physical_cores_are_told() {
        let files = [
            TWO[0],
            (
                "sys/devices/system/cpu/cpu0/topology/thread_siblings_list",
                "0-1",
            ),
            (
                "sys/devices/system/cpu/cpu1/topology/thread_siblings_list",
                "0-1",
            ),
        ];
        expect(
            &findings(check, &files, "", None)[1..],
            &[(Level::Note, "2 shards on 2 threads of 1 physical core")],
        );
        let found = findings(check, &files, "[server]\nshards = 1", None);
        expect(&found, &[(Level::Ok, "1 shard on 2 cores")]);
    }

    #[test]
    fn shards_on_two_nodes_are_told() {
        let files = [
            &TWO[..],
            &[
                ("sys/devices/system/node/online", "0-1"),
                ("sys/devices/system/node/node0/cpulist", "0,2"),
                ("sys/devices/system/node/node1/cpulist", "1,3"),
            ],
        ]
        .concat();
        expect(
            &findings(check, &files, "", None)[1..],
            &[(Level::Note, "shards on 2 nodes")],
        );
    }

    #[test]
    fn gateways_that_pin_alike_are_told() {
        let found = findings(check, &TWO, "[server]\nshare_port = true", None);
        assert_eq!((found[1].check, found[1].level), ("pinning", Level::Note));
    }
}
