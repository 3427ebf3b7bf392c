//! The configuration as text: every key explained, only what was changed, or what the environment sets.

use std::fmt::Write;

use super::error::{ConfigError, Problem};
use super::kind::Choice;
use super::layers::{Draft, Sources, Target, toml_key};
use super::namespace::Overrides;
use super::section::{Key, Section};
use super::{Config, Mode};

impl Config {
    /// A TOML file with every key, its comment and its default in `mode`. The keys are commented out,
    /// so that the file says only what is changed in it, and a change of its mode changes the rest.
    pub fn default_document(mode: Mode) -> String {
        let config = Self::for_mode(mode);
        let mut text = HEADER.to_owned();
        let _ = writeln!(text, "mode = \"{}\"", mode.name());
        for (name, section) in config.sections() {
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
        let defaults = Self::for_mode(self.mode);
        let mut text = format!("mode = \"{}\"\n", self.mode.name());
        for ((name, section), (_, default)) in self.sections().into_iter().zip(defaults.sections())
        {
            differences(&mut text, &format!("[{name}]"), section, default);
        }
        let defaults = Overrides::for_mode(self.mode);
        for (prefix, keys) in &self.namespaces.given {
            differences(
                &mut text,
                &format!("[namespace.{}]", toml_key(prefix)),
                keys,
                &defaults,
            );
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
        let Draft {
            config,
            origins,
            problems,
        } = self.draft();
        if !problems.is_empty() {
            return Err(ConfigError { problems });
        }
        let defaults = Config::for_mode(config.mode);
        let mut text = FROM_ENVIRONMENT.to_owned();
        let origin = |text: &mut String, target: Target<'_>| {
            if let Some(origin) = origins.get(&target.path()) {
                let _ = writeln!(text, "# {}", origin.escape_debug());
            }
        };
        origin(&mut text, Target::Top("mode"));
        let _ = writeln!(text, "mode = \"{}\"", config.mode.name());
        for ((name, section), (_, default)) in
            config.sections().into_iter().zip(defaults.sections())
        {
            let mut header = Some(name);
            for key in section.keys() {
                let Some(value) = section.show(key.name) else {
                    continue;
                };
                if default.show(key.name).as_ref() == Some(&value) {
                    continue;
                }
                if let Some(name) = header.take() {
                    let _ = writeln!(text, "\n[{name}]");
                }
                origin(&mut text, Target::Key(name, key.name));
                if section.is_secret(key.name) {
                    text.push_str(&secret(name, key));
                } else {
                    let _ = writeln!(text, "{} = {value}", key.name);
                }
            }
        }
        let mut broken_rules = config.broken_rules();
        if config.auth.jwt_secret.is_some() && config.auth.jwt_secret_file.is_some() {
            broken_rules.push(Problem::TwoSecrets);
        }
        Ok(Document { text, broken_rules })
    }
}

/// What stands for a secret: where to put it.
fn secret(section: &str, key: &Key) -> String {
    match (section, key.name) {
        ("auth", "jwt_secret") => {
            "# A secret: put it into a file that only the gateway reads, and name that file here.\n\
                                   #jwt_secret_file = \"...\"\n"
                .to_owned()
        }
        _ => format!(
            "# A secret: put it here and let only the gateway read this file, or leave it in the environment.\n\
             #{} = {UNSET}\n",
            key.name
        ),
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

/// What stands for the value of a key that has none.
const UNSET: &str = "\"...\"";

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
