//! The TOML file as settings, each with its line.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::topic::check_topic;

use super::error::Problem;
use super::layers::{Setting, Target, nearest};
use super::raw::Raw;
use super::{Config, Mode};

/// Parses `text`; what is not TOML is a problem with its line.
pub(super) fn parse<'a>(
    name: &str,
    text: &'a str,
    problems: &mut Vec<Problem>,
) -> Option<Spanned<DeTable<'a>>> {
    match DeTable::parse(text) {
        Ok(table) => Some(table),
        Err(error) => {
            let at = error.span().map_or(0, |span| span.start);
            problems.push(Problem::Syntax {
                origin: origin(name, text, at),
                reason: error.message().to_owned(),
            });
            None
        }
    }
}

/// Adds every value of `table` to `settings`.
pub(super) fn settings<'a>(
    name: &str,
    text: &str,
    table: &'a DeTable<'a>,
    settings: &mut Vec<Setting<'a>>,
    problems: &mut Vec<Problem>,
) {
    let mut file = File {
        name,
        text,
        settings,
        problems,
    };
    for (key, value) in table {
        let at = key.span().start;
        match (key.get_ref().as_ref(), value.get_ref()) {
            ("namespace", DeValue::Table(namespaces)) => file.namespaces(namespaces),
            (section, DeValue::Table(keys)) if is_section(section) => file.section(section, keys),
            (section, DeValue::Table(_)) => file.unknown_section(at, section),
            (section, other) if is_section(section) => {
                let accepted = format!("a section, as [{section}]");
                file.refuse(at, section, &Raw::Toml(other).show(), &accepted);
            }
            (top, other) => file.add(at, Target::Top(top), other),
        }
    }
}

/// A file whose values are being collected.
struct File<'s, 'a> {
    name: &'s str,
    text: &'s str,
    settings: &'s mut Vec<Setting<'a>>,
    problems: &'s mut Vec<Problem>,
}

impl<'a> File<'_, 'a> {
    fn section(&mut self, section: &'a str, keys: &'a DeTable<'a>) {
        for (key, value) in keys {
            let target = Target::Key(section, key.get_ref());
            self.add(key.span().start, target, value.get_ref());
        }
    }

    fn add(&mut self, at: usize, target: Target<'a>, value: &'a DeValue<'a>) {
        let origin = origin(self.name, self.text, at);
        self.settings.push(Setting {
            origin,
            target,
            raw: Raw::Toml(value),
            spelling: None,
        });
    }

    fn namespaces(&mut self, namespaces: &'a DeTable<'a>) {
        for (prefix, value) in namespaces {
            let at = prefix.span().start;
            match (prefix.get_ref().as_ref(), value.get_ref()) {
                ("", _) => {
                    let accepted = "a prefix; for all topics set [hub] and [events]";
                    self.refuse(at, "namespace", "an empty prefix", accepted);
                }
                (name, DeValue::Table(_)) if check_topic(name).is_err() => {
                    // A namespace that no topic can be in protects nothing.
                    let prefix: String = name.chars().filter(|&c| is_name(c)).collect();
                    let accepted = format!(
                        "the beginning of topics' names, without `*`, as [namespace.\"{prefix}\"]; \
                         names have letters, digits and _ . : -"
                    );
                    self.refuse(at, "namespace", &format!("\"{name}\""), &accepted);
                }
                (prefix, DeValue::Table(keys)) => self.namespace(prefix, keys),
                (prefix, value) => {
                    let given = Raw::Toml(value).show();
                    let accepted = "a section, as [namespace.\"chat.\"]";
                    self.refuse(at, &format!("namespace.{prefix}"), &given, accepted);
                }
            }
        }
    }

    fn namespace(&mut self, prefix: &'a str, keys: &'a DeTable<'a>) {
        for (key, value) in keys {
            let at = key.span().start;
            // A dot that was not quoted makes a section within the section.
            if value.get_ref().is_table() {
                let path = format!("{prefix}.{}", key.get_ref());
                let accepted = format!("a prefix in quotes, as [namespace.\"{path}\"]");
                self.refuse(at, &format!("namespace.{path}"), "a section", &accepted);
            } else {
                self.add(
                    at,
                    Target::Namespace(prefix, key.get_ref()),
                    value.get_ref(),
                );
            }
        }
    }

    fn refuse(&mut self, at: usize, key: &str, given: &str, accepted: &str) {
        self.problems.push(Problem::Value {
            origin: origin(self.name, self.text, at),
            key: key.to_owned(),
            given: given.to_owned(),
            accepted: accepted.to_owned(),
        });
    }

    fn unknown_section(&mut self, at: usize, section: &str) {
        self.problems.push(Problem::Unknown {
            origin: origin(self.name, self.text, at),
            what: "section",
            name: section.to_owned(),
            nearest: nearest(section, section_names()),
        });
    }
}

fn is_section(name: &str) -> bool {
    section_names().iter().any(|known| known == name)
}

/// Whether a character can be in the name of a topic.
fn is_name(c: char) -> bool {
    check_topic(c.encode_utf8(&mut [0; 4])).is_ok()
}

fn section_names() -> Vec<String> {
    let fixed = Config::for_mode(Mode::Prod)
        .sections()
        .map(|(name, _)| name.to_owned());
    fixed.into_iter().chain(["namespace".to_owned()]).collect()
}

/// File and line of the byte at `at`.
fn origin(name: &str, text: &str, at: usize) -> String {
    let line = text.bytes().take(at).filter(|byte| *byte == b'\n').count() + 1;
    format!("{name}:{line}")
}
