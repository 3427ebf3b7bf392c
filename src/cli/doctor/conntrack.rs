//! The kernel's table of connections, where a firewall or address translation has it loaded.

use super::amount::grouped;
use super::finding::{Finding, Level, Remedy};
use super::host::Host;
use super::needs::Needs;

/// Looks at the table's size. Nothing to find where there is none.
pub(super) fn check(host: &Host, needs: &Needs<'_>) -> Vec<Finding> {
    if !host.has("/proc/sys/net/netfilter/nf_conntrack_max") {
        let found = "not loaded";
        return vec![Finding::new(NAME, WHY, Level::Ok, found)];
    }
    let (Some(max), Some(used)) = (
        host.sysctl::<u64>(NAME),
        host.sysctl::<u64>("net.netfilter.nf_conntrack_count"),
    ) else {
        return vec![Finding::unknown(NAME, WHY)];
    };
    // Closed connections stay for two minutes.
    let needed = used.saturating_add(needs.connections.saturating_add(needs.connections / 4));
    let found = format!(
        "{}, {} used, needs {}",
        grouped(max),
        grouped(used),
        grouped(needed)
    );
    if max >= needed {
        return vec![Finding::new(NAME, WHY, Level::Ok, found)];
    }
    let size = needed.next_power_of_two();
    let mut remedy = Remedy::sysctl(NAME, &size.to_string());
    // Four entries a bucket; with fewer buckets every lookup is a walk.
    let buckets = size / 4;
    remedy.now = format!(
        "echo {buckets} > /sys/module/nf_conntrack/parameters/hashsize; {}",
        remedy.now
    );
    vec![Finding::new(NAME, WHY, Level::Fail, found).remedied(remedy)]
}

const NAME: &str = "net.netfilter.nf_conntrack_max";
const WHY: &str = "A full table drops packets of new connections, and `nf_conntrack: table full` in the kernel log is the \
                   only trace; connections over loopback have two ends and one entry.";

#[cfg(test)]
mod tests {
    use super::super::testing::{expect, findings};
    use super::*;

    #[test]
    fn a_small_table_is_told_with_its_hash() {
        let files = [
            ("proc/sys/net/netfilter/nf_conntrack_max", "65536"),
            ("proc/sys/net/netfilter/nf_conntrack_count", "36"),
        ];
        let found = findings(check, &files, "", Some(52_400));
        expect(&found, &[(Level::Ok, "65,536, 36 used, needs 65,536")]);
        let found = findings(check, &files, "", Some(60_000));
        expect(&found, &[(Level::Fail, "65,536, 36 used, needs 75,036")]);
        assert_eq!(
            found[0].remedy.as_ref().unwrap().now,
            "echo 32768 > /sys/module/nf_conntrack/parameters/hashsize; sysctl -w net.netfilter.nf_conntrack_max=131072"
        );
        let found = findings(check, &files[..1], "", None);
        assert_eq!(found[0].level, Level::Unknown);
    }

    #[test]
    fn no_table_is_fine() {
        expect(
            &findings(check, &[], "", None),
            &[(Level::Ok, "not loaded")],
        );
    }
}
