//! Which cores take packets from the network cards.

use super::amount::counted;
use super::cores;
use super::cpu_list;
use super::finding::{Finding, Level, Remedy};
use super::host::Host;
use super::needs::Needs;

/// Looks at the cards' queues and at who moves their interrupts.
pub(super) fn check(host: &Host, needs: &Needs<'_>) -> Vec<Finding> {
    let mut findings = queues(host, needs);
    findings.push(balancer(host, needs));
    findings
}

fn queues(host: &Host, needs: &Needs<'_>) -> Vec<Finding> {
    if needs.is_loopback_only() {
        let found = "listens on loopback only";
        return vec![Finding::new(QUEUES, QUEUES_WHY, Level::Ok, found)];
    }
    let allowed = cores::allowed(host).unwrap_or_default();
    let shards = needs.shards(allowed.len());
    let cards = host.cards();
    let findings: Vec<Finding> = cards
        .iter()
        .map(|card| of_card(host, card, shards, &allowed))
        .collect();
    if findings.is_empty() {
        return vec![Finding::unknown(QUEUES, QUEUES_WHY)];
    }
    findings
}

fn of_card(host: &Host, card: &str, shards: usize, allowed: &[usize]) -> Finding {
    let directory = format!("/sys/class/net/{card}/queues");
    let queues = host.names(&directory);
    let queues: Vec<_> = queues
        .iter()
        .filter(|name| name.starts_with("rx-"))
        .collect();
    if queues.is_empty() {
        return Finding::unknown(QUEUES, QUEUES_WHY);
    }
    let is_spread = queues.iter().any(|queue| {
        let mask = host.text(&format!("{directory}/{queue}/rps_cpus"));
        mask.is_some_and(|mask| mask.contains(|c| !matches!(c, '0' | ',')))
    });
    let found = format!(
        "{card} has {} for {}{}",
        counted(queues.len(), "receive queue"),
        counted(shards, "shard"),
        if is_spread { ", spread by RPS" } else { "" }
    );
    if queues.len() >= shards || is_spread {
        return Finding::new(QUEUES, QUEUES_WHY, Level::Ok, found);
    }
    let masks = format!("{directory}/rx-*/rps_cpus");
    let mut remedy = Remedy::write(&masks, &cpu_list::mask(allowed));
    remedy.now = format!("ethtool -L {card} combined {shards} || {}", remedy.now);
    Finding::new(QUEUES, QUEUES_WHY, Level::Note, found).remedied(remedy)
}

fn balancer(host: &Host, needs: &Needs<'_>) -> Finding {
    let processes = host.names("/proc");
    let mut processes = processes
        .iter()
        .filter(|name| name.bytes().all(|b| b.is_ascii_digit()));
    let runs = processes.any(|id| {
        let name = host.text(&format!("/proc/{id}/comm"));
        name.as_deref() == Some("irqbalance")
    });
    if runs && needs.config.server.pin_threads && !needs.is_loopback_only() {
        let remedy = Remedy::command("systemctl disable --now irqbalance");
        return Finding::new(
            BALANCER,
            BALANCER_WHY,
            Level::Note,
            "runs, and shards are pinned",
        )
        .remedied(remedy);
    }
    let found = if runs { "runs" } else { "is not seen running" };
    Finding::new(BALANCER, BALANCER_WHY, Level::Ok, found)
}

const QUEUES: &str = "network queues";
const QUEUES_WHY: &str = "The core that takes a queue's interrupts does the kernel's part of receiving: fewer queues than \
                          shards load some cores twice.";
const BALANCER: &str = "irqbalance";
const BALANCER_WHY: &str = "It moves interrupts between cores by its own rule; a pinned shard cannot give way. Fixed \
                            interrupts give steadier latency.";

#[cfg(test)]
mod tests {
    use super::super::testing::{expect, findings};
    use super::*;

    const PUBLIC: &str = "[server]\nlisten = [\"10.0.0.1:80\"]\nallow_open = true";
    const HOST: [(&str, &str); 3] = [
        ("proc/self/status", "Cpus_allowed_list:\t0-3"),
        ("sys/class/net/lo/queues/rx-0/rps_cpus", "0"),
        ("sys/class/net/eth0/device/vendor", ""),
    ];

    #[test]
    fn one_queue_for_four_shards_is_told() {
        let queue = ("sys/class/net/eth0/queues/rx-0/rps_cpus", "00000000");
        let files = [&HOST[..], &[queue]].concat();
        let found = findings(check, &files, PUBLIC, None);
        expect(
            &found,
            &[
                (Level::Note, "eth0 has 1 receive queue for 4 shards"),
                (Level::Ok, "is not seen running"),
            ],
        );
        let remedy = found[0].remedy.clone().unwrap();
        assert_eq!(
            remedy.now,
            "ethtool -L eth0 combined 4 || for file in /sys/class/net/eth0/queues/rx-*/rps_cpus; \
             do echo f > \"$file\"; done"
        );
        let queue = (
            "sys/class/net/eth0/queues/rx-0/rps_cpus",
            "00000000,0000000f",
        );
        let files = [&HOST[..], &[queue]].concat();
        expect(
            &findings(check, &files, PUBLIC, None)[..1],
            &[(
                Level::Ok,
                "eth0 has 1 receive queue for 4 shards, spread by RPS",
            )],
        );
    }

    #[test]
    fn loopback_needs_no_card() {
        expect(
            &findings(check, &HOST, "", None)[..1],
            &[(Level::Ok, "listens on loopback only")],
        );
        expect(
            &findings(check, &HOST[..2], PUBLIC, None)[..1],
            &[(Level::Unknown, "cannot be read here")],
        );
    }

    #[test]
    fn a_balancer_beside_pinned_shards_is_told() {
        let files = [("proc/17/comm", "irqbalance\n"), ("proc/self/comm", "x")];
        let found = findings(check, &files, PUBLIC, None);
        assert_eq!(found[1].level, Level::Note);
        let keys = format!("{PUBLIC}\npin_threads = false");
        assert_eq!(findings(check, &files, &keys, None)[1].level, Level::Ok);
    }
}
