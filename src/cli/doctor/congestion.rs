//! How fast the kernel sends.

use super::finding::{Finding, Level, Remedy};
use super::host::Host;
use super::needs::Needs;

/// Looks at congestion control and what goes with it. Over loopback it costs and helps nobody.
pub(super) fn check(host: &Host, _: &Needs<'_>) -> Vec<Finding> {
    let mut findings = vec![control(host)];
    findings.push(after_idle(host));
    findings
}

fn control(host: &Host) -> Finding {
    let Some(control) = host.sysctl::<String>(CONTROL) else {
        return Finding::unknown(CONTROL, CONTROL_WHY);
    };
    let discipline = host.sysctl::<String>(DISCIPLINE);
    match (control.as_str(), discipline.as_deref()) {
        // It paces: fq does that for all sockets of a card at once, else each has a timer.
        ("bbr", Some("fq")) => Finding::new(CONTROL, CONTROL_WHY, Level::Ok, "bbr, paced by fq"),
        ("bbr", discipline) => {
            let found = format!(
                "bbr, paced by a timer for each connection; {DISCIPLINE} is {}",
                discipline.unwrap_or("not to be read")
            );
            Finding::new(CONTROL, CONTROL_WHY, Level::Note, found).remedied(fair_queues(host))
        }
        _ => Finding::new(CONTROL, CONTROL_WHY, Level::Ok, control),
    }
}

/// The setting is for cards to come; those that are there are told one by one.
fn fair_queues(host: &Host) -> Remedy {
    let mut cards = host.cards();
    if cards.is_empty() {
        cards.push("DEV".to_owned());
    }
    let commands = cards
        .iter()
        .map(|card| format!("tc qdisc replace dev {card} root fq"));
    let commands: Vec<String> = commands.collect();
    Remedy {
        now: commands.join("; "),
        ..Remedy::sysctl(DISCIPLINE, "fq")
    }
}

fn after_idle(host: &Host) -> Finding {
    match host.sysctl::<u8>(AFTER_IDLE) {
        None => Finding::unknown(AFTER_IDLE, AFTER_IDLE_WHY),
        Some(0) => Finding::new(AFTER_IDLE, AFTER_IDLE_WHY, Level::Ok, "0"),
        Some(_) => Finding::new(AFTER_IDLE, AFTER_IDLE_WHY, Level::Note, "1")
            .remedied(Remedy::sysctl(AFTER_IDLE, "0")),
    }
}

const CONTROL: &str = "net.ipv4.tcp_congestion_control";
const CONTROL_WHY: &str =
    "bbr holds its rate over lossy networks; it paces, which costs processor time.";
const DISCIPLINE: &str = "net.core.default_qdisc";
const AFTER_IDLE: &str = "net.ipv4.tcp_slow_start_after_idle";
const AFTER_IDLE_WHY: &str = "A connection that was quiet begins slowly again: a burst to it takes more round trips. 0 \
                              keeps what it knew, at the risk of a burst that the network cannot take any more.";

#[cfg(test)]
mod tests {
    use super::super::testing::{expect, findings};
    use super::*;

    #[track_caller]
    fn check_control(control: &str, discipline: &str, expected: (Level, &str)) {
        let files = [
            ("proc/sys/net/ipv4/tcp_congestion_control", control),
            ("proc/sys/net/core/default_qdisc", discipline),
            ("proc/sys/net/ipv4/tcp_slow_start_after_idle", "0"),
        ];
        expect(
            &findings(check, &files, "", None),
            &[expected, (Level::Ok, "0")],
        );
    }

    #[test]
    fn bbr_without_fq_is_told() {
        check_control("cubic", "pfifo_fast", (Level::Ok, "cubic"));
        check_control("bbr", "fq", (Level::Ok, "bbr, paced by fq"));
        let found = "bbr, paced by a timer for each connection; net.core.default_qdisc is fq_codel";
        check_control("bbr", "fq_codel", (Level::Note, found));
    }

    #[test]
    fn the_cards_that_are_there_are_told_one_by_one() {
        let files = [
            ("proc/sys/net/ipv4/tcp_congestion_control", "bbr"),
            ("sys/class/net/lo/mtu", "65536"),
            ("sys/class/net/eth0/device/vendor", ""),
            ("sys/class/net/eth1/device/vendor", ""),
        ];
        for (files, now) in [
            (
                &files[..],
                "tc qdisc replace dev eth0 root fq; tc qdisc replace dev eth1 root fq",
            ),
            (&files[..2], "tc qdisc replace dev DEV root fq"),
        ] {
            let found = findings(check, files, "", None);
            let remedy = found[0].remedy.clone().unwrap();
            assert_eq!(remedy.now, now);
            assert_eq!(remedy.keep.unwrap().text, "net.core.default_qdisc = fq");
        }
    }

    #[test]
    fn a_slow_start_after_idle_is_a_choice() {
        let files = [("proc/sys/net/ipv4/tcp_slow_start_after_idle", "1")];
        expect(
            &findings(check, &files, "", None),
            &[(Level::Unknown, "cannot be read here"), (Level::Note, "1")],
        );
    }
}
