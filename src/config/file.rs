//! The TOML file as settings, each with its line.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::topic::{self, NameError, scope};

use super::error::Problem;
use super::namespace::{Overrides, as_namespace, as_section};
use super::raw::RawValue;
use super::section::Section;
use super::setting::{Setting, Target, nearest, section_of, toml_key};
use super::{Config, Mode};

/// Parses `text`. A TOML error becomes a problem with its line.
pub(super) fn parse<'a>(
    name: &str,
    text: &'a str,
    problems: &mut Vec<Problem>,
) -> Option<Spanned<DeTable<'a>>> {
    match DeTable::parse(text) {
        Ok(table) => Some(table),
        Err(error) => {
            let at = error.span().map_or(0, |span| span.start);
            let hint = unquoted_prefix(line_of(text, at))
                .map(|section| format!("; a prefix is written in quotes: [{section}]"));
            problems.push(Problem::Syntax {
                origin: origin(name, text, at),
                reason: format!("{}{}", error.message(), hint.unwrap_or_default()),
            });
            None
        }
    }
}

/// The line of `text` that has the byte at `at`.
fn line_of(text: &str, at: usize) -> &str {
    let at = text.floor_char_boundary(at);
    let begin = text[..at].rfind('\n').map_or(0, |newline| newline + 1);
    text[begin..].lines().next().unwrap_or_default()
}

/// The section that is meant by the header of a namespace that is not TOML, as `[namespace.chat.]`.
fn unquoted_prefix(line: &str) -> Option<String> {
    let header = line.trim_start().trim_start_matches('[');
    let prefix = header.strip_prefix("namespace.")?;
    let prefix = prefix.split([']', '#']).next()?;
    as_namespace(prefix.trim_matches(['"', '\'', ' ']))
}

/// Adds every value of the file to `settings`; `known` has the known sections. The prefixes of its namespaces, and where they are, come back:
/// one without a key holds as well.
pub(super) fn settings<'a>(
    (name, text, table): (&str, &str, &'a DeTable<'a>),
    known: &Config,
    settings: &mut Vec<Setting<'a>>,
    problems: &mut Vec<Problem>,
) -> Vec<(&'a str, String)> {
    let mut file = File {
        name,
        text,
        known: known.sections().collect(),
        settings,
        problems,
        prefixes: Vec::new(),
    };
    for (key, value) in table {
        let at = key.span().start;
        match (key.get_ref().as_ref(), value.get_ref()) {
            ("namespace", DeValue::Table(namespaces)) => file.namespaces(namespaces),
            ("topic", DeValue::Table(topics)) => file.topics(topics),
            (section, DeValue::Table(keys)) if file.find(section).is_some() => {
                file.section(section, keys);
            }
            (section, DeValue::Table(keys)) => file.unknown_section(at, section, keys),
            ("namespace", other) => {
                file.refuse(at, "namespace", &RawValue::Toml(other).show(), A_NAMESPACE);
            }
            ("topic", other) => {
                file.refuse(at, "topic", &RawValue::Toml(other).show(), A_TOPIC);
            }
            (section, other) if file.find(section).is_some() => {
                let accepted = format!("a section, as [{section}]");
                file.refuse(at, section, &RawValue::Toml(other).show(), &accepted);
            }
            (top, other) => file.add(at, Target::Top(top), other),
        }
    }
    file.prefixes
}

/// A file whose values are being collected.
struct File<'s, 'a> {
    name: &'s str,
    text: &'s str,
    /// The sections, without those of namespaces.
    known: Vec<&'s dyn Section>,
    settings: &'s mut Vec<Setting<'a>>,
    problems: &'s mut Vec<Problem>,
    prefixes: Vec<(&'a str, String)>,
}

impl<'s, 'a> File<'s, 'a> {
    fn find(&self, section: &str) -> Option<&'s dyn Section> {
        let mut known = self.known.iter().copied();
        known.find(|known| known.name() == section)
    }

    fn section(&mut self, section: &'a str, keys: &'a DeTable<'a>) {
        let known = self.find(section).map_or(&[][..], Section::keys);
        for (key, value) in keys {
            let at = key.span().start;
            let is_key = known.iter().any(|known| known.name == key.get_ref());
            match value.get_ref() {
                DeValue::Table(inner) if !is_key => {
                    self.misplaced(at, section, key.get_ref(), inner);
                }
                other => self.add(at, Target::Key(section, key.get_ref()), other),
            }
        }
    }

    /// Refuses a section within one that has none. Its author most likely means topics.
    fn misplaced(&mut self, at: usize, section: &str, name: &str, keys: &DeTable<'_>) {
        let path = format!("{section}.{}", toml_key(name));
        let meant = match NAMES_OF_NAMESPACES.contains(&name) {
            true => keys
                .iter()
                .map(|(prefix, value)| joined(prefix.get_ref(), value.get_ref()))
                .next(),
            false => Some(joined(name, &DeValue::Table(keys.clone()))),
        };
        self.problems.push(Problem::Unknown {
            origin: origin(self.name, self.text, at),
            what: "section",
            name: path,
            nearest: meant.as_deref().and_then(as_section),
        });
    }

    fn add(&mut self, at: usize, target: Target<'a>, value: &'a DeValue<'a>) {
        let origin = origin(self.name, self.text, at);
        self.settings.push(Setting {
            origin,
            target,
            raw: RawValue::Toml(value),
            spelling: None,
            is_lenient: false,
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
                // Keys that are all sections: dots that were not quoted.
                (prefix, DeValue::Table(keys)) if is_path(keys) => {
                    self.unquoted("namespace", prefix, keys);
                }
                (prefix, DeValue::Table(keys)) => match topic::check_prefix(prefix) {
                    Ok(()) if scope::is_prefix(prefix) => self.scope(at, prefix, keys),
                    Ok(()) => {
                        let accepted = format!(
                            "a prefix that ends in a separator, as [{}]; for that one topic [{}]",
                            section_of(&format!("{prefix}.")),
                            section_of(prefix)
                        );
                        self.refuse(at, "namespace", &format!("\"{prefix}\""), &accepted);
                    }
                    // A namespace that no topic can be in protects nothing.
                    Err(error) => self.refuse(
                        at,
                        "namespace",
                        &format!("\"{prefix}\""),
                        &instead_of(prefix, error),
                    ),
                },
                (prefix, value) => {
                    let given = RawValue::Toml(value).show();
                    let key = format!("namespace.{}", toml_key(prefix));
                    self.refuse(at, &key, &given, A_NAMESPACE);
                }
            }
        }
    }

    fn topics(&mut self, topics: &'a DeTable<'a>) {
        for (name, value) in topics {
            let at = name.span().start;
            match (name.get_ref().as_ref(), value.get_ref()) {
                (name, DeValue::Table(keys)) if is_path(keys) => self.unquoted("topic", name, keys),
                (name, DeValue::Table(keys)) => {
                    if topic::check_prefix(name).is_ok() && !scope::is_prefix(name) {
                        self.scope(at, name, keys);
                        continue;
                    }
                    let accepted = match as_section(name) {
                        Some(section) if section.starts_with("namespace") => {
                            format!("the name of one topic; for all that begin with it [{section}]")
                        }
                        Some(section) => format!(
                            "the name of one topic, as [{section}]; names have letters, digits and _ . : -"
                        ),
                        None => "the name of one topic; for all topics set [hub] and [events]"
                            .to_owned(),
                    };
                    self.refuse(at, "topic", &format!("\"{name}\""), &accepted);
                }
                (name, value) => {
                    let given = RawValue::Toml(value).show();
                    self.refuse(at, &format!("topic.{}", toml_key(name)), &given, A_TOPIC);
                }
            }
        }
    }

    fn scope(&mut self, at: usize, scope: &'a str, keys: &'a DeTable<'a>) {
        self.prefixes
            .push((scope, origin(self.name, self.text, at)));
        for (key, value) in keys {
            let at = key.span().start;
            if value.get_ref().is_table() {
                let section = if scope::is_prefix(scope) {
                    "namespace"
                } else {
                    "topic"
                };
                self.unquoted_key(at, (section, scope), key.get_ref(), value.get_ref());
            } else {
                self.add(at, Target::Namespace(scope, key.get_ref()), value.get_ref());
            }
        }
    }

    /// Refuses sections of which dots that were not quoted have made sections of sections.
    fn unquoted(&mut self, section: &str, scope: &str, keys: &DeTable<'_>) {
        for (key, value) in keys {
            let at = key.span().start;
            self.unquoted_key(at, (section, scope), key.get_ref(), value.get_ref());
        }
    }

    fn unquoted_key(
        &mut self,
        at: usize,
        (section, scope): (&str, &str),
        key: &str,
        value: &DeValue<'_>,
    ) {
        let dot = if scope::is_prefix(scope) { "" } else { "." };
        let path = format!("{scope}{dot}{}", joined(key, value));
        let accepted = match (as_namespace(&path), as_section(&path)) {
            (Some(namespace), Some(topic)) if namespace != topic => {
                format!("a prefix in quotes, as [{namespace}], or a topic, as [{topic}]")
            }
            (Some(namespace), _) => format!("a prefix in quotes, as [{namespace}]"),
            (None, _) => A_NAMESPACE.to_owned(),
        };
        self.refuse(at, &format!("{section}.{path}"), "a section", &accepted);
    }

    fn refuse(&mut self, at: usize, key: &str, given: &str, accepted: &str) {
        self.problems.push(Problem::Value {
            origin: origin(self.name, self.text, at),
            key: key.to_owned(),
            given: given.to_owned(),
            accepted: accepted.to_owned(),
        });
    }

    /// Refuses a section whose name means nothing. One that has sections, or the keys of a namespace
    /// alone, is meant to be one.
    fn unknown_section(&mut self, at: usize, section: &str, keys: &DeTable<'_>) {
        let mut within = keys
            .iter()
            .filter(|(_, value)| value.get_ref().is_table())
            .peekable();
        if within.peek().is_some() {
            for (prefix, value) in within {
                let path = joined(prefix.get_ref(), value.get_ref());
                self.problems.push(Problem::Unknown {
                    origin: origin(self.name, self.text, prefix.span().start),
                    what: "section",
                    name: format!("{}.{}", toml_key(section), toml_key(&path)),
                    nearest: as_section(&path),
                });
            }
            return;
        }
        let known = Overrides::for_mode(Mode::Prod).keys();
        let is_namespace = !keys.is_empty()
            && keys
                .keys()
                .all(|key| known.iter().any(|known| key.get_ref() == known.name));
        let meant = as_section(section).filter(|_| is_namespace);
        let names = self
            .known
            .iter()
            .map(|known| known.name())
            .chain(["namespace", "topic"]);
        self.problems.push(Problem::Unknown {
            origin: origin(self.name, self.text, at),
            what: "section",
            name: section.to_owned(),
            nearest: nearest(section, names.map(str::to_owned).collect()).or(meant),
        });
    }
}

/// Whether there are keys, and all of them are sections.
fn is_path(keys: &DeTable<'_>) -> bool {
    !keys.is_empty() && keys.values().all(|value| value.get_ref().is_table())
}

/// The accepted prefixes, for the error about one that no topic's name can begin with.
fn instead_of(prefix: &str, error: NameError) -> String {
    match (error, as_namespace(prefix)) {
        (NameError::TooLong, _) => format!(
            "a prefix of at most {} bytes, as topics' names have",
            topic::NAME_BYTES_MAX
        ),
        (_, Some(section)) => format!(
            "the beginning of topics' names, without `*`, as [{section}]; names have letters, digits and _ . : -"
        ),
        (_, None) => "a prefix; for all topics set [hub] and [events]".to_owned(),
    }
}

/// The name that `key` begins, where dots that were not quoted have made sections of its parts.
fn joined(key: &str, value: &DeValue<'_>) -> String {
    let (mut path, mut value) = (key.to_owned(), value);
    while let DeValue::Table(keys) = value {
        let mut keys = keys.iter();
        match (keys.next(), keys.next()) {
            (Some((key, inner)), None) if inner.get_ref().is_table() => {
                path = format!("{path}.{}", key.get_ref());
                value = inner.get_ref();
            }
            _ => break,
        }
    }
    path
}

/// The notation of a namespace.
const A_NAMESPACE: &str = "a section, as [namespace.\"chat.\"]";

/// The notation of one topic.
const A_TOPIC: &str = "a section, as [topic.\"news\"]";

/// Common wrong names for sections of topics inside other sections.
const NAMES_OF_NAMESPACES: [&str; 4] = ["namespace", "namespaces", "topic", "topics"];

/// File and line of the byte at `at`.
fn origin(name: &str, text: &str, at: usize) -> String {
    let line = text.bytes().take(at).filter(|byte| *byte == b'\n').count() + 1;
    format!("{name}:{line}")
}
