//! Ports of whoever connects from this machine: a proxy in front, or a load generator.

use super::amount::{counted, grouped};
use super::finding::{Finding, Level, Remedy};
use super::host::Host;
use super::needs::Needs;

/// Looks at the range, which matters where a listener is on loopback.
pub(super) fn check(host: &Host, needs: &Needs<'_>) -> Vec<Finding> {
    let Some([first, last]) = host.sysctl_numbers(RANGE) else {
        return vec![Finding::unknown(RANGE, WHY)];
    };
    let ports = last.saturating_add(1).saturating_sub(first);
    let listeners = needs.loopback_addresses();
    if listeners == 0 {
        let found = format!(
            "{} ports; no client takes one of this machine",
            grouped(ports)
        );
        return vec![Finding::new(RANGE, WHY, Level::Ok, found)];
    }
    let most = ports.saturating_mul(listeners as u64);
    let found = format!(
        "{first} to {last}: {} connections from one address to {}, {} configured",
        grouped(most),
        counted(listeners, "loopback listener"),
        grouped(needs.connections)
    );
    if most >= needs.connections {
        return vec![Finding::new(RANGE, WHY, Level::Ok, found)];
    }
    let finding = Finding::new(RANGE, WHY, Level::Note, found);
    // When the widest range is not enough, more addresses are; nothing here is to be run.
    let is_widest = first <= WIDEST.0 && last >= WIDEST.1;
    vec![if is_widest {
        finding
    } else {
        finding.remedied(Remedy::sysctl(RANGE, &format!("{} {}", WIDEST.0, WIDEST.1)))
    }]
}

const RANGE: &str = "net.ipv4.ip_local_port_range";
const WHY: &str = "A proxy or generator on this machine has one port for each connection from one address to one \
                   listener; more listeners or source addresses give it more.";
/// All ports that no service of the system has.
const WIDEST: (u64, u64) = (1024, 65_535);

#[cfg(test)]
mod tests {
    use super::super::testing::{expect, findings};
    use super::*;

    const FILES: [(&str, &str); 1] = [("proc/sys/net/ipv4/ip_local_port_range", "32768\t60999\n")];

    #[test]
    fn a_proxy_on_this_machine_runs_out_of_ports() {
        let found = findings(check, &FILES, "", Some(28_233));
        expect(
            &found,
            &[(
                Level::Note,
                "32768 to 60999: 28,232 connections from one address to 1 loopback listener, 28,233 configured",
            )],
        );
        assert_eq!(
            found[0].remedy.as_ref().unwrap().now,
            "sysctl -w net.ipv4.ip_local_port_range=\"1024 65535\""
        );
        assert_eq!(
            findings(check, &FILES, "", Some(28_232))[0].level,
            Level::Ok
        );
    }

    #[test]
    fn clients_from_elsewhere_have_ports_of_their_own() {
        let keys = "[server]\nlisten = [\"10.0.0.1:80\"]\nallow_open = true";
        expect(
            &findings(check, &FILES, keys, None),
            &[(
                Level::Ok,
                "28,232 ports; no client takes one of this machine",
            )],
        );
    }

    #[test]
    fn a_range_that_no_kernel_has_is_no_panic() {
        let range = "0 18446744073709551615";
        let files = [("proc/sys/net/ipv4/ip_local_port_range", range)];
        assert_eq!(findings(check, &files, "", None)[0].level, Level::Ok);
    }

    #[test]
    fn nothing_is_wider_than_the_widest() {
        let files = [("proc/sys/net/ipv4/ip_local_port_range", "1024 65535")];
        let found = findings(check, &files, "", None);
        assert_eq!((found[0].level, &found[0].remedy), (Level::Note, &None));
    }
}
