//! What was found, for people and for programs.

use std::fmt::Write;

use serde::Serialize;

use super::amount::{counted, grouped};
use super::finding::{Finding, Level, UNIT_FILE};
use super::needs::Needs;
use crate::cli::escape::escaped;

/// All findings, and for what.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    /// Connections that were asked about or configured.
    connections: u64,
    /// As configured; 0: one per core.
    shards: usize,
    /// The gravest level.
    level: Level,
    /// In the order of the checks.
    findings: Vec<Finding>,
}

impl Report {
    /// The report on these findings.
    pub(super) fn new(needs: &Needs<'_>, findings: Vec<Finding>) -> Self {
        let levels = findings.iter().map(|finding| finding.level);
        Self {
            connections: needs.connections,
            shards: needs.config.server.shards,
            level: levels.max().unwrap_or(Level::Ok),
            findings,
        }
    }

    /// Whether there is something to be changed.
    pub(super) fn is_healthy(&self) -> bool {
        self.level < Level::Warn
    }

    /// As a JSON document.
    pub(super) fn json(&self) -> String {
        let mut text =
            serde_json::to_string_pretty(self).expect("there are only strings and numbers in it");
        text.push('\n');
        text
    }

    /// As text: a line for each finding, more for what is not as it should be, and what to run.
    pub(super) fn text(&self) -> String {
        let shards = match self.shards {
            0 => "a shard per core".to_owned(),
            shards => counted(shards, "shard"),
        };
        let mut out = format!(
            "This host for {} connections, {shards}:\n\n",
            grouped(self.connections)
        );
        let names = self.findings.iter().map(|finding| finding.check.len());
        let width = names.max().unwrap_or(0);
        for finding in &self.findings {
            line(&mut out, finding, width);
        }
        let counts = Level::ALL.map(|level| {
            let found = self
                .findings
                .iter()
                .filter(|finding| finding.level == level);
            format!("{} {}", found.count(), level.name().to_lowercase())
        });
        let _ = writeln!(out, "\n{}.", counts.join(", "));
        out.push_str(&self.commands());
        out.push_str("\nNothing was changed. tuning.md says what each of these trades, and what it did when measured.\n");
        out
    }

    /// What changes everything that fails or warns, to be pasted into a shell.
    fn commands(&self) -> String {
        let grave = self
            .findings
            .iter()
            .filter(|finding| finding.level >= Level::Warn);
        let remedies: Vec<_> = grave
            .filter_map(|finding| finding.remedy.as_ref())
            .collect();
        if remedies.is_empty() {
            return String::new();
        }
        let mut out =
            "\nTo change what fails or warns, as root, until the next reboot:\n\n".to_owned();
        for remedy in &remedies {
            let _ = writeln!(out, "{}", remedy.now);
        }
        let mut files: Vec<(&str, Vec<&str>)> = Vec::new();
        for keep in remedies.iter().filter_map(|remedy| remedy.keep.as_ref()) {
            match files.iter_mut().find(|(file, _)| *file == keep.file) {
                Some((_, texts)) => texts.push(&keep.text),
                None => files.push((keep.file, vec![&keep.text])),
            }
        }
        if files.is_empty() {
            return out;
        }
        out.push_str("\nand to keep it:\n\n");
        for (file, texts) in files {
            if file == UNIT_FILE {
                let directory = file
                    .rsplit_once('/')
                    .map_or(file, |(directory, _)| directory);
                let _ = writeln!(out, "mkdir -p {directory}");
            }
            let _ = writeln!(out, "cat >> {file} <<'END'\n{}\nEND", texts.join("\n"));
            if file == UNIT_FILE {
                out.push_str(
                    "systemctl daemon-reload   # counts from the next start of fanfare.service\n",
                );
            }
        }
        out
    }
}

fn line(out: &mut String, finding: &Finding, width: usize) {
    let _ = writeln!(
        out,
        "{:<7}  {:<width$}  {}",
        finding.level.name(),
        finding.check,
        escaped(&finding.found)
    );
    if finding.level <= Level::Unknown {
        return;
    }
    for line in wrapped(finding.why) {
        let _ = writeln!(out, "{:9}{line}", "");
    }
    if let Some(remedy) = &finding.remedy {
        let _ = writeln!(out, "{:9}now:  {}", "", escaped(&remedy.now));
        if let Some(keep) = &remedy.keep {
            let text = keep.text.replace('\n', " / ");
            let _ = writeln!(out, "{:9}keep: {} in {}", "", escaped(&text), keep.file);
        }
    }
}

/// `text` in lines of at most [`WIDTH`] characters, as far as its words allow.
fn wrapped(text: &str) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split(' ') {
        match lines.last_mut() {
            Some(line) if line.len() + 1 + word.len() <= WIDTH => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

/// Columns of a sentence, behind its indentation.
const WIDTH: usize = 90;

#[cfg(test)]
mod tests {
    use super::super::finding::Remedy;
    use super::*;
    use crate::config::{Config, Mode};

    fn report(findings: Vec<Finding>) -> Report {
        let config = Config::for_mode(Mode::Demo);
        Report::new(&Needs::of(&config, Some(50_000)), findings)
    }

    fn finding(level: Level, name: &'static str) -> Finding {
        Finding::new(name, "It matters.", level, "1, needs 2")
    }

    #[test]
    fn what_is_grave_is_told_with_commands_to_paste() {
        let files = Remedy::unit("prlimit --pid $$ --nofile=2:2", "LimitNOFILE=2");
        let report = report(vec![
            finding(Level::Ok, "fine"),
            finding(Level::Fail, "open files").remedied(files),
            finding(Level::Warn, "a.b").remedied(Remedy::sysctl("a.b", "2")),
            finding(Level::Warn, "a.c").remedied(Remedy::sysctl("a.c", "1 2 3")),
            finding(Level::Note, "a.d").remedied(Remedy::sysctl("a.d", "4")),
            Finding::unknown("hidden", "It matters."),
        ]);
        assert!(!report.is_healthy());
        assert_eq!(
            report.text(),
            "\
This host for 50,000 connections, a shard per core:

ok       fine        1, needs 2
FAIL     open files  1, needs 2
         It matters.
         now:  prlimit --pid $$ --nofile=2:2
         keep: [Service] / LimitNOFILE=2 in /etc/systemd/system/fanfare.service.d/90-host.conf
warn     a.b         1, needs 2
         It matters.
         now:  sysctl -w a.b=2
         keep: a.b = 2 in /etc/sysctl.d/90-fanfare.conf
warn     a.c         1, needs 2
         It matters.
         now:  sysctl -w a.c=\"1 2 3\"
         keep: a.c = 1 2 3 in /etc/sysctl.d/90-fanfare.conf
note     a.d         1, needs 2
         It matters.
         now:  sysctl -w a.d=4
         keep: a.d = 4 in /etc/sysctl.d/90-fanfare.conf
unknown  hidden      cannot be read here

1 fail, 2 warn, 1 note, 1 unknown, 1 ok.

To change what fails or warns, as root, until the next reboot:

prlimit --pid $$ --nofile=2:2
sysctl -w a.b=2
sysctl -w a.c=\"1 2 3\"

and to keep it:

mkdir -p /etc/systemd/system/fanfare.service.d
cat >> /etc/systemd/system/fanfare.service.d/90-host.conf <<'END'
[Service]
LimitNOFILE=2
END
systemctl daemon-reload   # counts from the next start of fanfare.service
cat >> /etc/sysctl.d/90-fanfare.conf <<'END'
a.b = 2
a.c = 1 2 3
END

Nothing was changed. tuning.md says what each of these trades, and what it did when measured.
"
        );
    }

    #[test]
    fn long_sentences_are_wrapped_between_words() {
        let text = "word ".repeat(40);
        let lines = wrapped(text.trim());
        assert!(lines.iter().all(|line| line.len() <= WIDTH), "{lines:?}");
        assert_eq!(lines.join(" "), text.trim());
        assert_eq!(wrapped(&"x".repeat(100)).len(), 1);
    }

    #[test]
    fn notes_and_what_is_unknown_are_no_illness() {
        let report = report(vec![
            finding(Level::Note, "a"),
            Finding::unknown("b", "It matters."),
        ]);
        assert!(report.is_healthy());
        assert!(!report.text().contains("as root"));
    }

    #[test]
    fn programs_get_the_same() {
        let report = report(vec![
            finding(Level::Warn, "a.b").remedied(Remedy::sysctl("a.b", "2")),
        ]);
        let json: serde_json::Value = serde_json::from_str(&report.json()).unwrap();
        assert_eq!(json["connections"], 50_000);
        assert_eq!(json["level"], "warn");
        let finding = &json["findings"][0];
        assert_eq!(finding["check"], "a.b");
        assert_eq!(finding["remedy"]["now"], "sysctl -w a.b=2");
        assert_eq!(finding["remedy"]["keep"]["text"], "a.b = 2");
    }
}
