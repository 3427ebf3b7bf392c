//! The gateway's systemd unit, where one is installed.

use super::host::Host;

/// The settings of the unit with its drop-ins.
#[derive(Debug)]
pub(super) struct Unit {
    /// Lines `NAME=value`, those that count last.
    settings: Vec<(String, String)>,
}

impl Unit {
    /// The unit as systemd would find it; `None` when there is none.
    pub(super) fn installed(host: &Host) -> Option<Self> {
        let text = DIRECTORIES
            .iter()
            .find_map(|directory| host.text(&format!("{directory}/{NAME}")))?;
        let mut unit = Self {
            settings: Vec::new(),
        };
        unit.read(&text);
        // A drop-in hides one of the same name further down; otherwise their names give the order.
        let mut drop_ins: Vec<(String, &str)> = Vec::new();
        for directory in DIRECTORIES {
            for name in host.names(&format!("{directory}/{NAME}.d")) {
                let is_new = !drop_ins.iter().any(|(known, _)| *known == name);
                if name.ends_with(".conf") && is_new {
                    drop_ins.push((name, directory));
                }
            }
        }
        drop_ins.sort_unstable();
        for (name, directory) in drop_ins {
            if let Some(text) = host.text(&format!("{directory}/{NAME}.d/{name}")) {
                unit.read(&text);
            }
        }
        Some(unit)
    }

    /// The last value of a setting that has one; an empty value takes it back.
    pub(super) fn value(&self, name: &str) -> Option<&str> {
        let mut values = self.settings.iter().rev();
        let (_, value) = values.find(|(known, _)| known == name)?;
        (!value.is_empty()).then_some(value)
    }

    /// `MemoryMax=` in bytes, on a machine that has `total`; `None` where it is not set or unlimited.
    pub(super) fn memory_max(&self, total: u64) -> Option<u64> {
        let text = self.value("MemoryMax")?;
        let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
        let number: u64 = digits.parse().ok()?;
        let shift = match &text[digits.len()..] {
            "%" => return Some(total.checked_mul(number)? / 100),
            "" => 0,
            "K" => 10,
            "M" => 20,
            "G" => 30,
            "T" => 40,
            _ => return None,
        };
        number.checked_mul(1 << shift)
    }

    /// `CPUQuota=` in thousandths of a core; `None` where it is not set.
    pub(super) fn cpu_quota(&self) -> Option<u64> {
        let percent: u64 = self.value("CPUQuota")?.strip_suffix('%')?.parse().ok()?;
        percent.checked_mul(10)
    }

    fn read(&mut self, text: &str) {
        for line in text.lines().map(str::trim) {
            if let Some((name, value)) = line.split_once('=')
                && !line.starts_with(['#', ';'])
            {
                let setting = (name.trim().to_owned(), value.trim().to_owned());
                self.settings.push(setting);
            }
        }
    }
}

const NAME: &str = "fanfare.service";

/// Where systemd looks, first to last.
const DIRECTORIES: [&str; 4] = [
    "/etc/systemd/system",
    "/run/systemd/system",
    "/usr/local/lib/systemd/system",
    "/usr/lib/systemd/system",
];

#[cfg(test)]
mod tests {
    use super::super::testing::Tree;
    use super::*;

    #[track_caller]
    fn check(files: &[(&str, &str)], name: &str, expected: Option<&str>) {
        let unit = Unit::installed(&Tree::of(files).host()).expect("there is one");
        assert_eq!(unit.value(name), expected);
    }

    #[test]
    fn the_last_value_counts_and_drop_ins_come_after_the_unit() {
        let unit = (
            "usr/lib/systemd/system/fanfare.service",
            "[Service]\n#LimitNOFILE=1\nLimitNOFILE=2\nLimitNOFILE = 3\n",
        );
        check(&[unit], "LimitNOFILE", Some("3"));
        check(&[unit], "MemoryMax", None);
        let own = (
            "etc/systemd/system/fanfare.service.d/90-host.conf",
            "[Service]\nLimitNOFILE=4",
        );
        let other = (
            "usr/lib/systemd/system/fanfare.service.d/10.conf",
            "[Service]\nLimitNOFILE=5",
        );
        check(&[unit, own, other], "LimitNOFILE", Some("4"));
        let empty = (
            "etc/systemd/system/fanfare.service.d/99.conf",
            "[Service]\nLimitNOFILE=",
        );
        check(&[unit, own, empty], "LimitNOFILE", None);
        assert!(Unit::installed(&Tree::of(&[own]).host()).is_none());
    }

    #[test]
    fn memory_and_cpu_are_read_in_systemd_s_units() {
        for (lines, memory, cpu) in [
            ("MemoryMax=512M\nCPUQuota=150%", Some(512 << 20), Some(1500)),
            ("MemoryMax=2G", Some(2 << 30), None),
            ("MemoryMax=1024", Some(1024), None),
            ("MemoryMax=infinity\nCPUQuota=x", None, None),
            ("MemoryMax=40%", Some(4 << 30), None),
        ] {
            let tree = Tree::of(&[("etc/systemd/system/fanfare.service", lines)]);
            let unit = Unit::installed(&tree.host()).unwrap();
            let found = (unit.memory_max(10 << 30), unit.cpu_quota());
            assert_eq!(found, (memory, cpu), "{lines}");
        }
    }
}
