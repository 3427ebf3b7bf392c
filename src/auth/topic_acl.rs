//! The claim `wse_topics` of a token: topics that its user may use, by globs of bytes.

use serde::{Deserialize, Serialize};

use crate::topic::{Pattern, Selector, glob, is_internal};

/// The topics that a token allows and denies, for subscribing and publishing alike. It stands beside
/// [`Rights`](super::Rights): what either refuses is refused.
///
/// An unknown field is refused: a misspelt restriction must not be ignored.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TopicAcl {
    /// Globs of the topics that are allowed; if there is none, all are.
    pub allow: TopicGlobs,
    /// Globs of the topics that are denied; overrides `allow`.
    pub deny: TopicGlobs,
}

/// Globs of bytes over topics' names: `*` is any text, `?` one character. A name without wildcards is one, too.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Vec<String>")]
pub struct TopicGlobs(Box<[Pattern]>);

impl TopicAcl {
    /// Whether everything that `selector` selects is allowed and nothing of it denied. A pattern has to be covered by
    /// one glob; where it cannot be told, the answer is no.
    ///
    /// Cost: for each glob as [`Pattern::covers`].
    #[must_use]
    pub fn permits(&self, selector: &Selector<'_>) -> bool {
        match selector {
            Selector::Topic(name) => {
                (self.allow.0.is_empty() || self.allow.matches(name)) && !self.deny.matches(name)
            }
            Selector::Pattern(pattern) => {
                let mut allow = self.allow.0.iter();
                let is_allowed = self.allow.0.is_empty() || allow.any(|it| it.covers(pattern));
                is_allowed && !self.deny.0.iter().any(|it| it.overlaps(pattern))
            }
        }
    }
}

impl TopicGlobs {
    /// Limit of the globs in a list; a token with more is refused. Each has at most as many bytes as a topic's name.
    pub const GLOBS_MAX: usize = 256;

    /// These globs.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn new<'a>(globs: impl IntoIterator<Item = &'a str>) -> Result<Self, &'static str> {
        let globs = globs.into_iter().map(Pattern::bytes);
        let globs: Option<Box<[_]>> = globs.collect();
        let globs = globs.ok_or(
            "a glob has 1 to 256 bytes without control characters, and does not begin with `#`",
        )?;
        if globs.len() > Self::GLOBS_MAX {
            return Err("there are at most 256 globs in a list");
        }
        Ok(Self(globs))
    }

    /// Unlike a subscription, a rule speaks of inboxes, too: a service may write to them.
    fn matches(&self, name: &str) -> bool {
        !is_internal(name) && self.0.iter().any(|it| glob::matches(it.as_str(), name))
    }
}

impl TryFrom<Vec<String>> for TopicGlobs {
    type Error = &'static str;

    fn try_from(globs: Vec<String>) -> Result<Self, Self::Error> {
        Self::new(globs.iter().map(String::as_str))
    }
}

impl Serialize for TopicGlobs {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(Pattern::as_str))
    }
}
