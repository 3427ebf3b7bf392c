//! Open files: one for each connection.

use super::amount::{grouped, rounded_up};
use super::finding::{Finding, Level, Remedy};
use super::host::Host;
use super::needs::Needs;
use super::unit::Unit;

/// Looks at the limits of the process, its unit and the system; what bounds the others comes first, so
/// that the commands work in this order.
pub(super) fn check(host: &Host, needs: &Needs<'_>) -> Vec<Finding> {
    vec![
        of_any_process(host, needs),
        of_process(host, needs),
        of_system(host, needs),
    ]
}

/// The limit that the gateway starts with: its unit's where one is installed, or that of the shell
/// which runs this command. The gateway raises the soft limit to the hard one itself.
fn of_process(host: &Host, needs: &Needs<'_>) -> Finding {
    let unit = Unit::installed(host);
    let (limit, whose, process) = match &unit {
        Some(unit) => (
            unit.value("LimitNOFILE").and_then(last_limit),
            "of the unit",
            "$(systemctl show -P MainPID fanfare)",
        ),
        None => (shell_limit(host), "of this shell", "$$"),
    };
    let needed = needs.files();
    let remedy = raise(host, needed, process);
    match limit {
        None if unit.is_some() => {
            let found = "the unit has no LimitNOFILE= that can be read";
            Finding::new(OPEN_FILES, OPEN_FILES_WHY, Level::Warn, found).remedied(remedy)
        }
        None => Finding::unknown(OPEN_FILES, OPEN_FILES_WHY),
        Some(limit) if limit >= needed => {
            let found = format!("{} {whose}, needs {}", shown(limit), grouped(needed));
            Finding::new(OPEN_FILES, OPEN_FILES_WHY, Level::Ok, found)
        }
        Some(limit) => {
            let found = format!("{} {whose}, needs {}", shown(limit), grouped(needed));
            Finding::new(OPEN_FILES, OPEN_FILES_WHY, Level::Fail, found).remedied(remedy)
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
    let remedy = Remedy::sysctl(NR_OPEN, &rounded_up(needed).to_string());
    Finding::new(NR_OPEN, NR_OPEN_WHY, Level::Fail, found).remedied(remedy)
}

fn of_system(host: &Host, needs: &Needs<'_>) -> Finding {
    // Open, unused (always 0), and the limit.
    let Some([open, _, max]) = host.sysctl_numbers("fs.file-nr") else {
        return Finding::unknown(FILE_MAX, FILE_MAX_WHY);
    };
    // A gateway that runs may be among those that are open.
    let needed = open.max(needs.files());
    let found = format!(
        "{} and {} are open, needs {}",
        shown(max),
        grouped(open),
        grouped(needed)
    );
    if max >= needed {
        return Finding::new(FILE_MAX, FILE_MAX_WHY, Level::Ok, found);
    }
    let remedy = Remedy::sysctl(FILE_MAX, &rounded_up(needed).to_string());
    Finding::new(FILE_MAX, FILE_MAX_WHY, Level::Fail, found).remedied(remedy)
}

/// Raises the limit of `process`. Nobody, not even root, may have more than `fs.nr_open`, which is at
/// least `needed` once what [`of_any_process`] says is done.
fn raise(host: &Host, needed: u64, process: &str) -> Remedy {
    let most = host
        .sysctl(NR_OPEN)
        .map_or(u64::MAX, |max: u64| max.max(needed));
    let files = rounded_up(needed).min(most);
    Remedy::unit(
        format!("prlimit --pid {process} --nofile={files}:{files}"),
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
            &findings(check, &files, "", Some(18_976)),
            &[
                (Level::Ok, "1,048,576, needs 20,000"),
                (Level::Ok, "20,000 of this shell, needs 20,000"),
                (Level::Ok, "no limit and 1,000 are open, needs 20,000"),
            ],
        );
        let found = findings(check, &files, "", Some(18_977));
        expect(
            &found[1..2],
            &[(Level::Fail, "20,000 of this shell, needs 20,001")],
        );
        let remedy = found[1].remedy.clone().unwrap();
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
            &findings(check, &[("proc/self/limits", LIMITS), unit], "", None)[1..2],
            &[(Level::Ok, "524,288 of the unit, needs 101,024")],
        );
        let unit = ("usr/lib/systemd/system/fanfare.service", "[Service]\n");
        expect(
            &findings(check, &[("proc/self/limits", LIMITS), unit], "", None)[1..2],
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
                (Level::Fail, "1,048,576, needs 2,001,024"),
                (Level::Unknown, "cannot be read here"),
                (Level::Fail, "1,000,000 and 1,000 are open, needs 2,001,024"),
            ],
        );
        assert_eq!(
            found[0].remedy.as_ref().unwrap().now,
            "sysctl -w fs.nr_open=2097152"
        );
    }

    #[test]
    fn the_commands_work_in_the_order_in_which_they_are_told() {
        // A power of two beyond fs.nr_open is refused; what is needed is not.
        let unit = (
            "etc/systemd/system/fanfare.service",
            "[Service]\nLimitNOFILE=1024\n",
        );
        for (nr_open, files) in [
            ("120000", 120_000),
            ("1048576", 131_072),
            ("65536", 101_024),
        ] {
            let tree = [("proc/sys/fs/nr_open", nr_open), unit];
            let found = findings(check, &tree, "", Some(100_000));
            assert_eq!((found[0].check, found[1].check), (NR_OPEN, OPEN_FILES));
            let remedy = found[1].remedy.clone().unwrap();
            assert_eq!(
                remedy.now,
                format!(
                    "prlimit --pid $(systemctl show -P MainPID fanfare) --nofile={files}:{files}"
                )
            );
            let text = remedy.keep.unwrap().text;
            assert_eq!(text, format!("[Service]\nLimitNOFILE={files}"));
        }
    }

    #[test]
    fn a_gateway_that_runs_is_not_counted_twice() {
        let files = [("proc/sys/fs/file-nr", "102000 0 120000")];
        let found = findings(check, &files, "", Some(100_000));
        let expected = "120,000 and 102,000 are open, needs 102,000";
        expect(&found[2..], &[(Level::Ok, expected)]);
    }
}
