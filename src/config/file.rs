//! The TOML file as settings, each with its line.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

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
        match (key.get_ref().as_ref(), value.get_ref()) {
            ("namespace", DeValue::Table(namespaces)) => file.namespaces(namespaces),
            (section, DeValue::Table(keys)) if is_section(section) => {
                file.section(keys, |key| Target::Key(section, key));
            }
            (section, other) if is_section(section) => {
                let accepted = format!("a section, as [{section}]");
                file.refuse(
                    key.span().start,
                    section,
                    &Raw::Toml(other).show(),
                    &accepted,
                );
            }
            (section, DeValue::Table(_)) => file.unknown_section(key.span().start, section),
            (top, other) => file.settings.push(Setting {
                origin: origin(name, text, key.span().start),
                target: Target::Top(top),
                raw: Raw::Toml(other),
            }),
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
    fn section(&mut self, keys: &'a DeTable<'a>, target: impl Fn(&'a str) -> Target<'a>) {
        for (key, value) in keys {
            self.settings.push(Setting {
                origin: origin(self.name, self.text, key.span().start),
                target: target(key.get_ref()),
                raw: Raw::Toml(value.get_ref()),
            });
        }
    }

    fn namespaces(&mut self, namespaces: &'a DeTable<'a>) {
        for (prefix, value) in namespaces {
            let at = prefix.span().start;
            match (prefix.get_ref().as_ref(), value.get_ref()) {
                ("", _) => self.refuse(
                    at,
                    "namespace",
                    "an empty prefix",
                    "a prefix; for all topics set [hub] and [events]",
                ),
                (prefix, DeValue::Table(keys)) => {
                    self.section(keys, |key| Target::Namespace(prefix, key));
                }
                (prefix, value) => {
                    let key = format!("namespace.{prefix}");
                    self.refuse(
                        at,
                        &key,
                        &Raw::Toml(value).show(),
                        "a section, as [namespace.\"chat.\"]",
                    );
                }
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
