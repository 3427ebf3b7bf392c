//! The kinds of objects.

use std::fmt;

/// What an object tells (docs/backend.md).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ObjectKind {
    /// A connection has begun.
    Connect,
    /// A client has said something.
    Message,
    /// A client has subscribed to topics.
    Subscribe,
    /// A client has unsubscribed from topics.
    Unsubscribe,
    /// A connection has ended.
    Disconnect,
    /// Objects are missing here.
    Gap,
}

/// The kinds that may be asked for, with their names.
const NAMES: [(&str, ObjectKind); 5] = [
    ("connect", ObjectKind::Connect),
    ("message", ObjectKind::Message),
    ("subscribe", ObjectKind::Subscribe),
    ("unsubscribe", ObjectKind::Unsubscribe),
    ("disconnect", ObjectKind::Disconnect),
];

impl ObjectKind {
    /// Its name on the wire.
    #[must_use]
    pub fn name(self) -> &'static str {
        let known = NAMES.iter().find(|(_, kind)| *kind == self);
        known.map_or("gap", |(name, _)| name)
    }
}

/// A set of kinds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Kinds(u8);

/// A name that is no kind's.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct UnknownKind(pub Box<str>);

impl fmt::Display for UnknownKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let known = NAMES.map(|(name, _)| name).join(", ");
        write!(f, "`{}` is no kind; there are {known}", self.0)
    }
}

impl Kinds {
    /// All of them.
    pub const ALL: Self = Self(0b11_1111);
    /// None.
    pub const NONE: Self = Self(0);

    /// Reads a list of names with commas between them. A gap is part of each set.
    ///
    /// # Errors
    /// A name is unknown, or the list is empty.
    pub fn read(list: &str) -> Result<Self, UnknownKind> {
        let mut kinds = Self::NONE.with(ObjectKind::Gap);
        for name in list.split(',').map(str::trim) {
            let known = NAMES.iter().find(|(known, _)| *known == name);
            let (_, kind) = known.ok_or_else(|| UnknownKind(name.into()))?;
            kinds = kinds.with(*kind);
        }
        Ok(kinds)
    }

    /// With `kind`.
    #[must_use]
    pub fn with(self, kind: ObjectKind) -> Self {
        Self(self.0 | 1 << kind as u8)
    }

    /// Those of both.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether `kind` is one of them.
    #[must_use]
    pub fn has(self, kind: ObjectKind) -> bool {
        self.0 & 1 << kind as u8 != 0
    }

    /// As bits, to be stored.
    #[must_use]
    pub fn bits(self) -> u8 {
        self.0
    }

    /// What [`Self::bits`] gave.
    #[must_use]
    pub fn from_bits(bits: u8) -> Self {
        Self(bits & Self::ALL.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_is_a_list_of_names() {
        let some = Kinds::read("connect, message").unwrap();
        assert!(some.has(ObjectKind::Connect) && some.has(ObjectKind::Message));
        assert!(some.has(ObjectKind::Gap) && !some.has(ObjectKind::Disconnect));
        let all = NAMES.map(|(name, _)| name).join(",");
        assert_eq!(Kinds::read(&all), Ok(Kinds::ALL));
        assert_eq!(Kinds::from_bits(some.bits()), some);
        for list in ["", "connect,", "Connect", "gap"] {
            assert!(Kinds::read(list).is_err(), "{list}");
        }
    }
}
