//! One value that was given for one key, and where.

use super::error::Problem;
use super::raw::RawValue;
use super::section::WrongValue;
use crate::topic::scope;

/// One value on its way to its key.
#[derive(Debug)]
pub(super) struct Setting<'a> {
    /// For messages: file and line, variable or flag.
    pub origin: String,
    /// Where it goes.
    pub target: Target<'a>,
    /// The value.
    pub raw: RawValue<'a>,
    /// How it was written, if that differs.
    pub spelling: Option<Spelling<'a>>,
    /// Whether it is passed over with a warning if its key refuses it.
    pub is_lenient: bool,
}

/// How a value was written that had to be translated for its key.
#[derive(Debug, Clone, Copy)]
pub(super) struct Spelling<'a> {
    /// The value as written.
    pub given: &'a str,
    /// Accepted values in addition to those of the key, written before them.
    pub accepts_also: &'static str,
}

/// Where a value goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Target<'a> {
    /// A key before the first section.
    Top(&'a str),
    /// A key of a section.
    Key(&'a str, &'a str),
    /// A key of the section of this scope.
    Namespace(&'a str, &'a str),
}

impl Setting<'_> {
    pub(super) fn refused(&self, wrong: WrongValue) -> Problem {
        let WrongValue { given, accepted } = wrong;
        let (given, accepted) = match self.spelling {
            Some(spelling) => (
                RawValue::Word(spelling.given).show(),
                format!("{}{accepted}", spelling.accepts_also),
            ),
            None => (given, accepted),
        };
        Problem::Value {
            origin: self.origin.clone(),
            key: self.target.path(),
            given,
            accepted,
        }
    }
}

impl Target<'_> {
    /// The key as a person writes it.
    pub(super) fn path(self) -> String {
        match self {
            Self::Top(key) => key.to_owned(),
            Self::Key(section, key) => format!("{section}.{key}"),
            Self::Namespace(prefix, key) => format!("{}.{key}", section_of(prefix)),
        }
    }
}

/// The section of a scope, as a person writes it.
pub fn section_of(scope: &str) -> String {
    let name = if scope::is_prefix(scope) {
        "namespace"
    } else {
        "topic"
    };
    format!("{name}.{}", toml::Value::String(scope.to_owned()))
}

/// The known name most like `given`: the same key elsewhere, or a few letters away.
pub(super) fn nearest(given: &str, known: Vec<String>) -> Option<String> {
    let leaf = |path: &str| path.rsplit('.').next().unwrap_or_default().to_owned();
    let distance = |known: &String| match strsim::damerau_levenshtein(given, known) {
        // Somewhere else in the file is nearer than another word in the same place.
        _ if leaf(given) == leaf(known) => 0,
        distance => distance,
    };
    let near = known.into_iter().min_by_key(distance)?;
    (distance(&near) <= DISTANCE_MAX.min(given.len() / 2)).then_some(near)
}

/// `name` as a key of a TOML document, quoted where it must be.
pub(super) fn toml_key(name: &str) -> String {
    let bare = !name.is_empty()
        && name
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-');
    if bare {
        name.to_owned()
    } else {
        toml::Value::String(name.to_owned()).to_string()
    }
}

/// Names further apart than this many letters are not suggested for each other.
const DISTANCE_MAX: usize = 4;
