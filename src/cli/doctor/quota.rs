//! Processor time that the gateway may use, however many cores there are.

use super::cgroup::{self, Limit};
use super::cores;
use super::finding::{Finding, Level, Remedy};
use super::host::Host;
use super::needs::Needs;
use super::unit::Unit;

/// Looks at the quota of the unit, where one is installed, or else of the control group.
pub(super) fn check(host: &Host, needs: &Needs<'_>) -> Vec<Finding> {
    let limit = match Unit::installed(host) {
        Some(unit) => unit.cpu_quota().map_or(Limit::None, Limit::At),
        None => cgroup::cpu(host),
    };
    let thousandths = match limit {
        Limit::Unknown => return vec![Finding::unknown(NAME, WHY)],
        Limit::None => return vec![Finding::new(NAME, WHY, Level::Ok, "none")],
        Limit::At(thousandths) => thousandths,
    };
    let Some(cores) = cores::allowed(host) else {
        return vec![Finding::unknown(NAME, WHY)];
    };
    let shards = needs.shards(cores.len());
    let found = format!(
        "{}.{} cores for {shards} shards",
        thousandths / 1000,
        thousandths % 1000 / 100
    );
    if thousandths >= shards as u64 * 1000 {
        return vec![Finding::new(NAME, WHY, Level::Ok, found)];
    }
    let fits = (thousandths / 1000).max(1);
    let remedy = Remedy::unit(
        format!("# or server.shards = {fits} in the configuration"),
        &format!("CPUQuota={}%", shards * 100),
    );
    vec![Finding::new(NAME, WHY, Level::Warn, found).remedied(remedy)]
}

const NAME: &str = "CPU quota";
const WHY: &str =
    "A shard that has used its part stands still, with all its connections, until the next period.";

#[cfg(test)]
mod tests {
    use super::super::testing::{expect, findings};
    use super::*;

    const FOUR: (&str, &str) = ("proc/self/status", "Cpus_allowed_list:\t0-3");

    #[test]
    fn a_quota_below_the_shards_is_told() {
        let files = [
            FOUR,
            ("proc/self/cgroup", "0::/"),
            ("sys/fs/cgroup/cpu.max", "250000 100000"),
        ];
        let found = findings(check, &files, "", None);
        expect(&found, &[(Level::Warn, "2.5 cores for 4 shards")]);
        let keep = found[0].remedy.clone().unwrap().keep.unwrap();
        assert_eq!(keep.text, "[Service]\nCPUQuota=400%");
        let found = findings(check, &files, "[server]\nshards = 2", None);
        expect(&found, &[(Level::Ok, "2.5 cores for 2 shards")]);
    }

    #[test]
    fn the_unit_s_quota_comes_before_the_shell_s() {
        let files = [
            FOUR,
            ("proc/self/cgroup", "0::/"),
            ("sys/fs/cgroup/cpu.max", "250000 100000"),
            ("etc/systemd/system/fanfare.service", "CPUQuota=400%"),
        ];
        let found = findings(check, &files, "", None);
        expect(&found, &[(Level::Ok, "4.0 cores for 4 shards")]);
    }

    #[test]
    fn groups_that_cannot_be_seen_are_unknown() {
        assert_eq!(findings(check, &[FOUR], "", None)[0].level, Level::Unknown);
    }
}
