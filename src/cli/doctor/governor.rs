//! What chooses the processors' frequency.

use super::cores;
use super::finding::{Finding, Level, Remedy};
use super::host::Host;
use super::needs::Needs;

/// Looks at the governor of each core that may be used.
pub(super) fn check(host: &Host, _: &Needs<'_>) -> Vec<Finding> {
    let Some(cores) = cores::allowed(host) else {
        return vec![Finding::unknown(NAME, WHY)];
    };
    let governors = cores.iter().filter_map(|core| {
        host.text(&format!(
            "/sys/devices/system/cpu/cpu{core}/cpufreq/scaling_governor"
        ))
    });
    let mut governors: Vec<String> = governors.collect();
    governors.sort_unstable();
    governors.dedup();
    if governors.is_empty() {
        return vec![if host.names("/sys/devices/system/cpu").is_empty() {
            Finding::unknown(NAME, WHY)
        } else {
            Finding::new(NAME, WHY, Level::Ok, "none: fixed, or the hypervisor's")
        }];
    }
    let found = governors.join(", ");
    if governors == ["performance"] {
        return vec![Finding::new(NAME, WHY, Level::Ok, found)];
    }
    let pattern = "/sys/devices/system/cpu/cpu*/cpufreq/scaling_governor";
    let remedy = Remedy::write(pattern, "performance");
    vec![Finding::new(NAME, WHY, Level::Note, found).remedied(remedy)]
}

const NAME: &str = "CPU governor";
const WHY: &str = "A core that has slowed down answers the first messages late; \"performance\" trades power for latency \
                   at low load.";

#[cfg(test)]
mod tests {
    use super::super::testing::{expect, findings};
    use super::*;

    #[test]
    fn any_other_governor_than_performance_is_a_choice() {
        let files = [
            ("proc/self/status", "Cpus_allowed_list:\t0-1"),
            (
                "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor",
                "performance",
            ),
            (
                "sys/devices/system/cpu/cpu1/cpufreq/scaling_governor",
                "powersave",
            ),
        ];
        let found = findings(check, &files, "", None);
        expect(&found, &[(Level::Note, "performance, powersave")]);
        let keep = found[0].remedy.clone().unwrap().keep.unwrap();
        assert_eq!(
            keep.text,
            "w /sys/devices/system/cpu/cpu*/cpufreq/scaling_governor - - - - performance"
        );
        let found = findings(check, &files[..2], "", None);
        expect(&found, &[(Level::Ok, "performance")]);
        let virtual_machine = [files[0], ("sys/devices/system/cpu/online", "0-1")];
        let found = findings(check, &virtual_machine, "", None);
        expect(&found, &[(Level::Ok, "none: fixed, or the hypervisor's")]);
        assert_eq!(findings(check, &[], "", None)[0].level, Level::Unknown);
    }
}
