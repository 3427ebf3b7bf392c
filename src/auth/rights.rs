//! The claim `fanfare` of a token: its user's rights.

use serde::{Deserialize, Deserializer, Serialize};

use super::name::is_name;
use crate::topic::Selector;

/// The rights that a token states. Fields left out are up to the topics' namespaces.
///
/// An unknown field is refused: a misspelt restriction must not be ignored.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Rights {
    /// Topics and patterns that may be subscribed to; all others are denied.
    #[serde(deserialize_with = "non_null", skip_serializing_if = "Option::is_none")]
    pub subscribe: Option<Globs>,
    /// Topics and patterns that may be published to; all others are denied.
    #[serde(deserialize_with = "non_null", skip_serializing_if = "Option::is_none")]
    pub publish: Option<Globs>,
    /// Topics and patterns that may be neither; overrides all else.
    #[serde(skip_serializing_if = "Globs::is_empty")]
    pub deny: Globs,
    /// Commands that may be used; `*` is all of them.
    #[serde(deserialize_with = "non_null", skip_serializing_if = "Option::is_none")]
    pub commands: Option<Names>,
    /// The limit of frames per minute, instead of the configured one; 0 is unlimited.
    #[serde(deserialize_with = "non_null", skip_serializing_if = "Option::is_none")]
    pub frames_per_minute: Option<u32>,
}

/// Topics and patterns.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<String>")]
pub struct Globs(Box<[Box<str>]>);

/// Names of commands.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<String>")]
pub struct Names(Box<[Box<str>]>);

impl Globs {
    /// These topics and patterns.
    ///
    /// # Errors
    /// The first one that is not valid.
    pub fn new<'a>(globs: impl IntoIterator<Item = &'a str>) -> Result<Self, &'a str> {
        let check = |glob: &'a str| Selector::parse(glob).map(|_| glob.into()).map_err(|_| glob);
        globs
            .into_iter()
            .map(check)
            .collect::<Result<_, _>>()
            .map(Self)
    }

    /// Whether one of them matches everything that `selector` matches.
    ///
    /// Cost: one pass over each.
    #[must_use]
    pub fn covers(&self, selector: &Selector<'_>) -> bool {
        self.0.iter().any(|glob| selector.is_within(glob))
    }

    /// Whether one of them matches anything that `selector` matches.
    ///
    /// Cost: one pass over each.
    #[must_use]
    pub fn overlaps(&self, selector: &Selector<'_>) -> bool {
        self.0.iter().any(|glob| selector.meets(glob))
    }

    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Names {
    /// These names.
    ///
    /// # Errors
    /// The first one that is not valid.
    pub fn new<'a>(names: impl IntoIterator<Item = &'a str>) -> Result<Self, &'a str> {
        let check = |name: &'a str| is_name(name).then(|| name.into()).ok_or(name);
        names
            .into_iter()
            .map(check)
            .collect::<Result<_, _>>()
            .map(Self)
    }

    /// Whether `name` is one of them.
    #[must_use]
    pub fn contains(&self, name: &str) -> bool {
        self.0
            .iter()
            .any(|known| **known == *name || **known == *"*")
    }
}

impl TryFrom<Vec<String>> for Globs {
    type Error = &'static str;

    fn try_from(globs: Vec<String>) -> Result<Self, Self::Error> {
        Self::new(globs.iter().map(String::as_str)).map_err(|_| "neither a topic nor a pattern")
    }
}

impl TryFrom<Vec<String>> for Names {
    type Error = &'static str;

    fn try_from(names: Vec<String>) -> Result<Self, Self::Error> {
        Self::new(names.iter().map(String::as_str)).map_err(|_| "not the name of a command")
    }
}

/// A field that may be absent but not `null`.
fn non_null<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}
