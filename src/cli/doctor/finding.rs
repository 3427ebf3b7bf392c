//! What a check says.

use serde::Serialize;

/// How much something matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Level {
    /// As it should be.
    Ok,
    /// It cannot be read here, as in a container, and nothing is assumed.
    Unknown,
    /// A choice with two sides, or a fact worth knowing.
    Note,
    /// It works, and would work better, or fails under load.
    Warn,
    /// What is configured cannot be had.
    Fail,
}

impl Level {
    /// All of them, the gravest first.
    pub(super) const ALL: [Self; 5] = [Self::Fail, Self::Warn, Self::Note, Self::Unknown, Self::Ok];

    /// The word in front of a finding.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Unknown => "unknown",
            Self::Note => "note",
            Self::Warn => "warn",
            Self::Fail => "FAIL",
        }
    }
}

/// One thing that was looked at.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Finding {
    /// What was looked at: the name of the setting where it has one.
    pub check: &'static str,
    /// How much it matters.
    pub level: Level,
    /// What is there, and what is needed where that is something else.
    pub found: String,
    /// Why it matters to a gateway, in a sentence.
    pub why: &'static str,
    /// How to change it, where there is something to change.
    pub remedy: Option<Remedy>,
}

/// How to change something.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Remedy {
    /// The command that changes it until the next reboot; empty where only the file does.
    pub now: String,
    /// The file that keeps it; none where it is decided elsewhere, as by the gateway's configuration.
    pub keep: Option<Keep>,
}

/// What goes into which file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Keep {
    /// The file.
    pub file: &'static str,
    /// What is to be appended, without the last newline.
    pub text: String,
}

impl Finding {
    /// A finding without a remedy.
    pub(super) fn new(
        check: &'static str,
        why: &'static str,
        level: Level,
        found: impl Into<String>,
    ) -> Self {
        Self {
            check,
            level,
            found: found.into(),
            why,
            remedy: None,
        }
    }

    /// It cannot be read.
    pub(super) fn unknown(check: &'static str, why: &'static str) -> Self {
        Self::new(check, why, Level::Unknown, "cannot be read here")
    }

    /// The same with a remedy.
    pub(super) fn remedied(mut self, remedy: Remedy) -> Self {
        self.remedy = Some(remedy);
        self
    }
}

impl Remedy {
    /// Only a command, or what to change in the gateway's configuration.
    pub(super) fn command(now: impl Into<String>) -> Self {
        Self {
            now: now.into(),
            keep: None,
        }
    }

    /// A kernel setting.
    pub(super) fn sysctl(name: &str, value: &str) -> Self {
        let quote = if value.contains(' ') { "\"" } else { "" };
        Self {
            now: format!("sysctl -w {name}={quote}{value}{quote}"),
            keep: Some(Keep {
                file: SYSCTL_FILE,
                text: format!("{name} = {value}"),
            }),
        }
    }

    /// A value for the files that match `pattern`, which may hold `*`.
    pub(super) fn write(pattern: &str, value: &str) -> Self {
        Self {
            now: format!("for file in {pattern}; do echo {value} > \"$file\"; done"),
            keep: Some(Keep {
                file: TMPFILES_FILE,
                text: format!("w {pattern} - - - - {value}"),
            }),
        }
    }

    /// A line in the `[Service]` section of the gateway's unit, and a command that does without a unit.
    pub(super) fn unit(now: impl Into<String>, line: &str) -> Self {
        Self {
            now: now.into(),
            keep: Some(Keep {
                file: UNIT_FILE,
                text: format!("[Service]\n{line}"),
            }),
        }
    }
}

/// Where settings of the kernel are kept.
pub(super) const SYSCTL_FILE: &str = "/etc/sysctl.d/90-fanfare.conf";
/// Where values for files under `/sys` are kept; systemd-tmpfiles writes them at every start.
pub(super) const TMPFILES_FILE: &str = "/etc/tmpfiles.d/90-fanfare.conf";
/// Where parameters of kernel modules are kept; they count when the module is loaded.
pub(super) const MODPROBE_FILE: &str = "/etc/modprobe.d/fanfare.conf";
/// Where settings of the unit are kept, beside `packaging/fanfare.service` as installed.
pub(super) const UNIT_FILE: &str = "/etc/systemd/system/fanfare.service.d/90-host.conf";
