//! The configuration as text: all keys with comments, changed keys only, or the variables that are set.

use std::fmt::Write;

use super::Config;
use super::error::{ConfigError, Problem};
use super::kind::Choice;
use super::layers::{Draft, Sources};
use super::namespace::Overrides;
use super::section::Section;
use super::setting::{Target, section_of};

impl Config {
    /// A TOML file with every key, its comment and its default in the mode. The keys are commented out,
    /// so that the file says only what is changed in it, and a change of its mode changes the rest.
    pub fn default_document(&self) -> String {
        let config = self.defaults();
        let mut text = HEADER.to_owned();
        let _ = writeln!(text, "mode = \"{}\"", self.mode.name());
        for section in config.sections() {
            let name = section.name();
            explain(&mut text, &format!("[{name}]"), section);
            if name == "hub" {
                let example = config.namespace("").as_overrides();
                explain(&mut text, "#[namespace.\"chat.\"]", &example);
            }
        }
        text
    }

    /// A TOML document of the mode and of every key that differs from its default there, secrets hidden.
    pub fn differences(&self) -> String {
        let defaults = self.defaults();
        let mut text = format!("mode = \"{}\"\n", self.mode.name());
        for (section, default) in self.sections().zip(defaults.sections()) {
            differences(
                &mut text,
                &format!("[{}]", section.name()),
                section,
                default,
            );
        }
        let defaults = Overrides::for_mode(self.mode);
        for (prefix, keys) in &self.namespaces.given {
            let header = format!("[{}]", section_of(prefix));
            if *keys == defaults {
                let _ = writeln!(text, "\n{header}");
            }
            differences(&mut text, &header, keys, &defaults);
        }
        text
    }
}

/// A configuration file made from an environment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    /// The file. Secrets are named in it and not told.
    pub text: String,
    /// Why no gateway would start with it, if so: the rules that it breaks as a whole.
    pub broken_rules: Vec<Problem>,
}

impl Sources {
    /// The file that stands for all of this: the mode and every key that differs from its default there,
    /// each with the variable that it came from. Or every value that is wrong. No other file is read.
    pub fn document(&self) -> Result<Document, ConfigError> {
        let draft = self.valid_draft()?;
        Ok(Document {
            text: draft.text(),
            broken_rules: draft.broken_rules(),
        })
    }
}

impl Draft {
    fn text(&self) -> String {
        let defaults = self.config.defaults();
        let mut text = FROM_ENVIRONMENT.to_owned();
        self.origin(&mut text, Target::Top("mode"));
        let _ = writeln!(text, "mode = \"{}\"", self.config.mode.name());
        for (section, default) in self.config.sections().zip(defaults.sections()) {
            let name = section.name();
            let mut header = Some(name);
            for key in section.keys() {
                let value = section.show(key.name);
                let Some(value) =
                    value.filter(|value| default.show(key.name).as_ref() != Some(value))
                else {
                    continue;
                };
                if let Some(name) = header.take() {
                    let _ = writeln!(text, "\n[{name}]");
                }
                self.origin(&mut text, Target::Key(name, key.name));
                let _ = match (section.is_secret(key.name), name, key.name) {
                    (false, _, key) => writeln!(text, "{key} = {value}"),
                    (true, "auth", "jwt_secret") => {
                        writeln!(text, "{SECRET_TO_FILE}\n#jwt_secret_file = {UNSET}")
                    }
                    (true, _, key) => writeln!(text, "{SECRET_TO_KEEP}\n#{key} = {UNSET}"),
                };
            }
        }
        text
    }

    /// Writes where the key of `target` comes from.
    fn origin(&self, text: &mut String, target: Target<'_>) {
        if let Some(origin) = self.origins.get(&target.path()) {
            // The name of a file may hold anything.
            let _ = writeln!(text, "# {}", origin.escape_debug());
        }
    }

    fn broken_rules(&self) -> Vec<Problem> {
        let auth = &self.config.auth;
        let mut problems = self.config.broken_rules();
        if auth.jwt_secret.is_some() && auth.jwt_secret_file.is_some() {
            problems.push(Problem::TwoSecrets);
        }
        problems
    }
}

/// Writes a section with all comments and all keys commented out.
fn explain(text: &mut String, header: &str, section: &dyn Section) {
    text.push('\n');
    comment(text, section.about());
    text.push_str(header);
    text.push('\n');
    for key in section.keys() {
        text.push('\n');
        comment(text, key.about);
        let value = section.show(key.name).unwrap_or_else(|| UNSET.to_owned());
        let _ = writeln!(text, "#{} = {value}", key.name);
    }
}

fn comment(text: &mut String, lines: &[&str]) {
    for line in lines {
        let _ = writeln!(text, "#{line}");
    }
}

/// Writes the keys of `section` that differ from `default`, if any does.
fn differences(text: &mut String, header: &str, section: &dyn Section, default: &dyn Section) {
    let mut header = Some(header);
    for key in section.keys() {
        let value = section.show(key.name);
        if value == default.show(key.name) {
            continue;
        }
        if let Some(header) = header.take() {
            let _ = writeln!(text, "\n{header}");
        }
        let _ = writeln!(text, "{} = {}", key.name, value.as_deref().unwrap_or(UNSET));
    }
}

/// The text for a key without a value.
const UNSET: &str = "\"...\"";

/// The comment on a secret that has a file of its own.
const SECRET_TO_FILE: &str =
    "# A secret: put it into a file that only the gateway reads, and name that file here.";

/// The comment on a secret that has none.
const SECRET_TO_KEEP: &str = "# A secret: put it here and let only the gateway read this file, or leave it in the environment.";

const FROM_ENVIRONMENT: &str = r#"# The configuration that the environment amounts to. Each key has the variable it came from above it.

"#;

const HEADER: &str = r#"# The configuration of a Fanfare gateway.
#
# Every key with its default. Take the # from a line to change it. Each can also be set by the
# environment, which comes over this file: FANFARE_SERVER__SHARDS=2, lists separated by commas.
# Durations are written with their unit: "250us", "10ms", "25s", "5m", "1h"; sizes too: "64B", "16KiB",
# "1MiB", "2GiB". `fanfare check-config` says what is wrong with a file, and what it changes.

# Where the defaults of the other keys come from: "demo": everything open; "dev": tokens asked for, the
# demo endpoint and the echo open; "prod": nothing open, and no start without credentials.
"#;
