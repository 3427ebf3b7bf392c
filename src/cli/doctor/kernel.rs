//! The kernel: its version, its clock, and what it does against the processor's faults.

use super::amount::counted;
use super::finding::{Finding, Level, Remedy};
use super::host::Host;
use super::needs::Needs;

/// Looks at what decides the cost of system calls.
pub(super) fn check(host: &Host, needs: &Needs<'_>) -> Vec<Finding> {
    let mut findings = vec![version(host), clock(host), mitigations(host)];
    findings.extend(handing_over(host, needs));
    findings
}

fn version(host: &Host) -> Finding {
    let Some(release) = host.text("/proc/sys/kernel/osrelease") else {
        return Finding::unknown(VERSION, VERSION_WHY);
    };
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    let mut next = || numbers.next()?.parse::<u32>().ok();
    let level = match (next(), next()) {
        (Some(major), Some(minor)) if (major, minor) >= OLDEST => Level::Ok,
        (Some(_), Some(_)) => Level::Fail,
        _ => Level::Unknown,
    };
    Finding::new(VERSION, VERSION_WHY, level, release)
}

fn clock(host: &Host) -> Finding {
    let directory = "/sys/devices/system/clocksource/clocksource0";
    let Some(current) = host.text(&format!("{directory}/current_clocksource")) else {
        return Finding::unknown(CLOCK, CLOCK_WHY);
    };
    if !SLOW_CLOCKS.contains(&current.as_str()) {
        return Finding::new(CLOCK, CLOCK_WHY, Level::Ok, current);
    }
    let finding = Finding::new(CLOCK, CLOCK_WHY, Level::Warn, current);
    let available = host.text(&format!("{directory}/available_clocksource"));
    let available = available.unwrap_or_default();
    let better = available
        .split_whitespace()
        .find(|name| !SLOW_CLOCKS.contains(name));
    match better {
        Some(better) => finding.remedied(Remedy::write(
            &format!("{directory}/current_clocksource"),
            better,
        )),
        None => finding,
    }
}

fn mitigations(host: &Host) -> Finding {
    let directory = "/sys/devices/system/cpu/vulnerabilities";
    let names = host.names(directory);
    if names.is_empty() {
        return Finding::unknown(MITIGATIONS, MITIGATIONS_WHY);
    }
    let active = names.iter().filter(|name| {
        let state = host.text(&format!("{directory}/{name}"));
        state.is_some_and(|state| state.starts_with("Mitigation"))
    });
    let active: Vec<&str> = active.map(String::as_str).collect();
    let found = match active.len() {
        0 => "none active".to_owned(),
        number => format!(
            "{} active: {}",
            counted(number, "mitigation"),
            active.join(", ")
        ),
    };
    Finding::new(MITIGATIONS, MITIGATIONS_WHY, Level::Ok, found)
}

/// Only where gateways take turns on one port.
fn handing_over(host: &Host, needs: &Needs<'_>) -> Option<Finding> {
    if !needs.config.server.share_port {
        return None;
    }
    Some(match host.sysctl::<u8>(HANDING_OVER) {
        None => Finding::unknown(HANDING_OVER, HANDING_OVER_WHY),
        Some(0) => Finding::new(HANDING_OVER, HANDING_OVER_WHY, Level::Note, "0")
            .remedied(Remedy::sysctl(HANDING_OVER, "1")),
        Some(_) => Finding::new(HANDING_OVER, HANDING_OVER_WHY, Level::Ok, "1"),
    })
}

const VERSION: &str = "kernel";
const VERSION_WHY: &str = "Shards share a port by SO_REUSEPORT, which older kernels than 3.9 lack.";
const OLDEST: (u32, u32) = (3, 9);
const CLOCK: &str = "clock source";
const CLOCK_WHY: &str = "With this one every look at the clock is a system call, or slower.";
/// Those that programs cannot read by themselves.
const SLOW_CLOCKS: [&str; 5] = ["hpet", "acpi_pm", "jiffies", "refined-jiffies", "pit"];
const MITIGATIONS: &str = "mitigations";
const MITIGATIONS_WHY: &str = "They make system calls dearer, which is most of a delivery's cost; they are there for a reason.";
const HANDING_OVER: &str = "net.ipv4.tcp_migrate_req";
const HANDING_OVER_WHY: &str = "When one of the gateways on a port ends, connects that wait for it are reset; 1 hands \
                                them to the others.";

#[cfg(test)]
mod tests {
    use super::super::testing::{expect, findings};
    use super::*;

    const CLOCKS: &str = "sys/devices/system/clocksource/clocksource0";

    #[track_caller]
    fn check_version(release: &str, level: Level) {
        let files = [("proc/sys/kernel/osrelease", release)];
        expect(&findings(check, &files, "", None)[..1], &[(level, release)]);
    }

    #[test]
    fn kernels_without_shared_ports_fail() {
        check_version("6.18.44-fc", Level::Ok);
        check_version("3.10.0-1160.el7.x86_64", Level::Ok);
        check_version("3.8.13", Level::Fail);
        check_version("?", Level::Unknown);
    }

    #[test]
    fn a_slow_clock_is_told_with_a_faster_one() {
        let current = format!("{CLOCKS}/current_clocksource");
        let available = format!("{CLOCKS}/available_clocksource");
        let files = [
            (current.as_str(), "hpet"),
            (available.as_str(), "acpi_pm tsc hpet"),
        ];
        let found = findings(check, &files, "", None);
        expect(&found[1..2], &[(Level::Warn, "hpet")]);
        let remedy = found[1].remedy.clone().unwrap();
        assert!(remedy.now.contains("echo tsc"), "{remedy:?}");
        for fast in ["tsc", "kvm-clock", "arch_sys_counter"] {
            let found = findings(check, &[(current.as_str(), fast)], "", None);
            expect(&found[1..2], &[(Level::Ok, fast)]);
        }
    }

    #[test]
    fn mitigations_are_counted_and_left_alone() {
        let files = [
            (
                "sys/devices/system/cpu/vulnerabilities/meltdown",
                "Not affected",
            ),
            (
                "sys/devices/system/cpu/vulnerabilities/retbleed",
                "Mitigation: x",
            ),
        ];
        let found = findings(check, &files, "", None);
        expect(&found[2..], &[(Level::Ok, "1 mitigation active: retbleed")]);
        assert_eq!(found[2].remedy, None);
    }

    #[test]
    fn waiting_connects_are_handed_over_where_a_port_is_shared() {
        let files = [("proc/sys/net/ipv4/tcp_migrate_req", "0")];
        let found = findings(check, &files, "[server]\nshare_port = true", None);
        expect(&found[3..], &[(Level::Note, "0")]);
        assert_eq!(findings(check, &files, "", None).len(), 3);
    }
}
