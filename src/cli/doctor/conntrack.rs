//! The kernel's table of connections, where a firewall or address translation has it loaded.

use super::amount::{grouped, rounded_up};
use super::finding::{Finding, Keep, Level, MODPROBE_FILE, Remedy};
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
    // Closed connections stay for two minutes. A gateway that runs may be among those used.
    let needed = used.max(needs.connections.saturating_add(needs.connections / 4));
    let found = format!(
        "{}, {} used, needs {}",
        grouped(max),
        grouped(used),
        grouped(needed)
    );
    if max >= needed {
        return vec![Finding::new(NAME, WHY, Level::Ok, found)];
    }
    vec![Finding::new(NAME, WHY, Level::Fail, found).remedied(larger(host, needed))]
}

/// A table of this many entries. Each is in it twice, once for each direction: with a bucket for an
/// entry a lookup walks past two. That is the default since Linux 5.15, and never made less here.
fn larger(host: &Host, needed: u64) -> Remedy {
    let size = rounded_up(needed);
    let buckets = host.sysctl(BUCKETS).map_or(size, |now: u64| now.max(size));
    Remedy {
        now: format!(
            "echo {buckets} > /sys/module/nf_conntrack/parameters/hashsize; sysctl -w {NAME}={size}"
        ),
        keep: Some(Keep {
            file: MODPROBE_FILE,
            text: format!("options nf_conntrack hashsize={buckets}\n{LOADED}"),
        }),
    }
}

const NAME: &str = "net.netfilter.nf_conntrack_max";
const BUCKETS: &str = "net.netfilter.nf_conntrack_buckets";
/// A module that is told its buckets takes eight entries for each, so that no other line is needed.
const LOADED: &str = "# nf_conntrack_max becomes 8 times that; a line in sysctl.d holds only where \
                      modules-load.d has the module loaded before";
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
        let found = findings(check, &files, "", Some(52_429));
        expect(&found, &[(Level::Ok, "65,536, 36 used, needs 65,536")]);
        let found = findings(check, &files, "", Some(60_000));
        expect(&found, &[(Level::Fail, "65,536, 36 used, needs 75,000")]);
        let remedy = found[0].remedy.clone().unwrap();
        assert_eq!(
            remedy.now,
            "echo 131072 > /sys/module/nf_conntrack/parameters/hashsize; sysctl -w net.netfilter.nf_conntrack_max=131072"
        );
        let keep = remedy.keep.unwrap();
        assert_eq!(keep.file, "/etc/modprobe.d/fanfare.conf");
        assert!(
            keep.text
                .starts_with("options nf_conntrack hashsize=131072\n# "),
            "{keep:?}"
        );
        let found = findings(check, &files[..1], "", None);
        assert_eq!(found[0].level, Level::Unknown);
    }

    #[test]
    fn buckets_are_never_made_fewer() {
        let files = [
            ("proc/sys/net/netfilter/nf_conntrack_max", "65536"),
            ("proc/sys/net/netfilter/nf_conntrack_count", "36"),
            ("proc/sys/net/netfilter/nf_conntrack_buckets", "262144"),
        ];
        let found = findings(check, &files, "", Some(60_000));
        let now = &found[0].remedy.as_ref().unwrap().now;
        assert!(now.starts_with("echo 262144 > "), "{now}");
        assert!(now.ends_with("nf_conntrack_max=131072"), "{now}");
    }

    #[test]
    fn a_gateway_that_runs_is_not_counted_twice() {
        let files = [
            ("proc/sys/net/netfilter/nf_conntrack_max", "65536"),
            ("proc/sys/net/netfilter/nf_conntrack_count", "50036"),
        ];
        let found = findings(check, &files, "", Some(50_000));
        expect(&found, &[(Level::Ok, "65,536, 50,036 used, needs 62,500")]);
    }

    #[test]
    fn no_table_is_fine() {
        expect(
            &findings(check, &[], "", None),
            &[(Level::Ok, "not loaded")],
        );
    }
}
