//! Open files: one for each connection.

use super::amount::grouped;
use super::finding::{Finding, Level, Remedy};
use super::host::Host;
use super::needs::Needs;
use super::unit::Unit;

/// Looks at the limits of the process, its unit and the system.
pub(super) fn check(host: &Host, needs: &Needs<'_>) -> Vec<Finding> {
    vec![
        of_process(host, needs),
        of_any_process(host, needs),
        of_system(host, needs),
    ]
}

/// The limit that the gateway starts with: its unit's where one is installed, or that of the shell
/// which runs this command. The gateway raises the soft limit to the hard one itself.
fn of_process(host: &Host, needs: &Needs<'_>) -> Finding {
    let unit = Unit::installed(host);
    let (limit, whose) = match &unit {
        Some(unit) => (
            unit.value("LimitNOFILE").and_then(last_limit),
            "of the unit",
        ),
        None => (shell_limit(host), "of this shell"),
    };
    let needed = needs.files();
    match limit {
        None if unit.is_some() => {
            let found = "the unit has no LimitNOFILE= that can be read";
            Finding::new(OPEN_FILES, OPEN_FILES_WHY, Level::Warn, found).remedied(raise(needed))
        }
        None => Finding::unknown(OPEN_FILES, OPEN_FILES_WHY),
        Some(limit) if limit >= needed => {
            let found = format!("{} {whose}, needs {}", shown(limit), grouped(needed));
            Finding::new(OPEN_FILES, OPEN_FILES_WHY, Level::Ok, found)
        }
        Some(limit) => {
            let found = format!("{} {whose}, needs {}", shown(limit), grouped(needed));
            Finding::new(OPEN_FILES, OPEN_FILES_WHY, Level::Fail, found).remedied(raise(needed))
        }
    }
}

fn of_any_process(host: &Host, needs: &Needs<'_>) -> Finding {
    let Some(max) = host.sysctl::<u64>("fs.nr_open") else {
        return Finding::unknown(NR_OPEN, NR_OPEN_WHY);
    };
    let needed = needs.files();
    let found = format!("{}, needs {}", grouped(max), grouped(needed));
    if max >= needed {
        return Finding::new(NR_OPEN, NR_OPEN_WHY, Level::Ok, found);
    }
    let remedy = Remedy::sysctl(NR_OPEN, &needed.next_power_of_two().to_string());
    Finding::new(NR_OPEN, NR_OPEN_WHY, Level::Fail, found).remedied(remedy)
}

fn of_system(host: &Host, needs: &Needs<'_>) -> Finding {
    // Open, unused (always 0), and the limit.
    let Some([open, _, max]) = host.sysctl_numbers("fs.file-nr") else {
        return Finding::unknown(FILE_MAX, FILE_MAX_WHY);
    };
    let needed = open.saturating_add(needs.files());
    let found = format!(
        "{} and {} are open, needs {}",
        shown(max),
        grouped(open),
        grouped(needed)
    );
    if max >= needed {
        return Finding::new(FILE_MAX, FILE_MAX_WHY, Level::Ok, found);
    }
    let remedy = Remedy::sysctl(FILE_MAX, &needed.next_power_of_two().to_string());
    Finding::new(FILE_MAX, FILE_MAX_WHY, Level::Fail, found).remedied(remedy)
}

fn raise(needed: u64) -> Remedy {
    let files = needed.next_power_of_two();
    Remedy::unit(
        format!("prlimit --pid $$ --nofile={files}:{files}"),
        &format!("LimitNOFILE={files}"),
    )
}

/// The hard limit of this process, which the shell gave it.
fn shell_limit(host: &Host) -> Option<u64> {
    let limits = host.text("/proc/self/limits")?;
    let line = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"))?;
    limit(line.split_whitespace().nth(1)?)
}

/// The hard one of a unit's `soft:hard`, or the one that stands for both.
fn last_limit(text: &str) -> Option<u64> {
    limit(text.rsplit(':').next()?)
}

fn limit(text: &str) -> Option<u64> {
    match text {
        "unlimited" | "infinity" => Some(u64::MAX),
        number => number.parse().ok(),
    }
}

fn shown(limit: u64) -> String {
    // What the kernel has for "as many as there can be".
    if limit >= i64::MAX as u64 {
        "no limit".to_owned()
    } else {
        grouped(limit)
    }
}

const OPEN_FILES: &str = "open files";
const OPEN_FILES_WHY: &str = "Each connection is a file: beyond the limit none is accepted.";
const NR_OPEN: &str = "fs.nr_open";
const NR_OPEN_WHY: &str = "No limit of open files can be raised above it.";
const FILE_MAX: &str = "fs.file-max";
const FILE_MAX_WHY: &str = "The files of all processes together; beyond it nobody opens one.";

#[cfg(test)]
mod tests {
    use super::super::testing::{expect, findings};
    use super::*;

    const LIMITS: &str = "Limit                     Soft Limit           Hard Limit           Units     \n\
                          Max processes             96365                96365                processes \n\
                          Max open files            1024                 20000                files     \n";
    const SYSTEM: [(&str, &str); 2] = [
        ("proc/sys/fs/nr_open", "1048576"),
        ("proc/sys/fs/file-nr", "1000\t0\t9223372036854775807"),
    ];

    #[test]
    fn the_hard_limit_of_the_shell_is_what_counts() {
        let files = [SYSTEM[0], SYSTEM[1], ("proc/self/limits", LIMITS)];
        expect(
            &findings(check, &files, "", Some(19_936)),
            &[
                (Level::Ok, "20,000 of this shell, needs 20,000"),
                (Level::Ok, "1,048,576, needs 20,000"),
                (Level::Ok, "no limit and 1,000 are open, needs 21,000"),
            ],
        );
        let found = findings(check, &files, "", Some(19_937));
        expect(
            &found[..1],
            &[(Level::Fail, "20,000 of this shell, needs 20,001")],
        );
        let remedy = found[0].remedy.clone().unwrap();
        assert_eq!(remedy.now, "prlimit --pid $$ --nofile=32768:32768");
        assert_eq!(remedy.keep.unwrap().text, "[Service]\nLimitNOFILE=32768");
    }

    #[test]
    fn an_installed_unit_comes_before_the_shell() {
        let unit = (
            "etc/systemd/system/fanfare.service",
            "[Service]\nLimitNOFILE=1024:524288\n",
        );
        expect(
            &findings(check, &[("proc/self/limits", LIMITS), unit], "", None)[..1],
            &[(Level::Ok, "524,288 of the unit, needs 100,064")],
        );
        let unit = ("usr/lib/systemd/system/fanfare.service", "[Service]\n");
        expect(
            &findings(check, &[("proc/self/limits", LIMITS), unit], "", None)[..1],
            &[(Level::Warn, "the unit has no LimitNOFILE= that can be read")],
        );
    }

    #[test]
    fn a_million_connections_need_the_system_s_limits_raised() {
        let files = [
            ("proc/sys/fs/nr_open", "1048576"),
            ("proc/sys/fs/file-nr", "1000 0 1000000"),
        ];
        let found = findings(check, &files, "", Some(2_000_000));
        expect(
            &found,
            &[
                (Level::Unknown, "cannot be read here"),
                (Level::Fail, "1,048,576, needs 2,000,064"),
                (Level::Fail, "1,000,000 and 1,000 are open, needs 2,001,064"),
            ],
        );
        assert_eq!(
            found[1].remedy.as_ref().unwrap().now,
            "sysctl -w fs.nr_open=2097152"
        );
    }
}
