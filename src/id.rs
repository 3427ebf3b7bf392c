//! Identifiers: which shard, which peer on it, which topic.

use std::fmt;
use std::num::ParseIntError;
use std::str::FromStr;

use crate::collections::hash_of;

/// One of the gateway's threads, numbered from 0.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ShardId(pub u16);

impl ShardId {
    /// The index of this shard in a list of all shards.
    #[must_use]
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

/// A peer's place in its shard's tables. Places are reused; [`PeerId`] tells two
/// tenants of one place apart.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Debug)]
pub struct Slot(pub u32);

impl Slot {
    /// The index of this slot in a shard's tables.
    #[must_use]
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// A connection, unique over the life of its shard.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Debug)]
pub struct PeerId {
    /// Where the peer sits.
    pub slot: Slot,
    /// Which tenant of the slot it is.
    pub generation: u32,
}

/// A peer of any shard.
pub type AnyPeer = (ShardId, PeerId);

impl fmt::Display for PeerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}-{:x}", self.slot.0, self.generation)
    }
}

/// As it is displayed.
impl FromStr for PeerId {
    type Err = ParseIntError;

    fn from_str(text: &str) -> Result<Self, ParseIntError> {
        let (slot, generation) = text.split_once('-').unwrap_or((text, ""));
        Ok(Self {
            slot: Slot(u32::from_str_radix(slot, 16)?),
            generation: u32::from_str_radix(generation, 16)?,
        })
    }
}

/// A user, for comparison only: a hash of the name with keys of the process. Two users have the same one with a
/// probability of 2^-64.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct UserKey(u64);

impl UserKey {
    /// No user.
    pub const NONE: Self = Self(0);

    /// The key of a user's name; that of the empty name is [`Self::NONE`].
    #[must_use]
    pub fn of(user: &str) -> Self {
        match user {
            "" => Self::NONE,
            user => Self(hash_of(user).max(1)),
        }
    }

    /// Whether it stands for nobody.
    #[must_use]
    pub fn is_none(self) -> bool {
        self == Self::NONE
    }

    /// As bytes, to be stored.
    #[must_use]
    pub fn to_bytes(self) -> [u8; 8] {
        self.0.to_ne_bytes()
    }

    /// What [`Self::to_bytes`] gave.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 8]) -> Self {
        Self(u64::from_ne_bytes(bytes))
    }
}

/// A topic's number in a table of topics. The hub and each home number their
/// own; the two are never compared.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct TopicId(pub u32);

impl TopicId {
    /// The index of this topic in its table.
    #[must_use]
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// A place in a topic.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Position {
    /// Which life of the topic.
    pub epoch: u64,
    /// The newest message's offset; 0 before the first.
    pub offset: u64,
}

/// In whose words the data of a publication is: a protocol's, which registers it, or nobody's.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Debug)]
pub struct Form(pub u8);

impl Form {
    /// A JSON value that every protocol passes on as it is.
    pub const NEUTRAL: Self = Self(0);
}

/// How a topic's publications look on the wire. The hub treats it as a key: a
/// topic has one log per format in use.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct FormatId {
    /// Its number, below [`FORMATS_MAX`].
    pub number: u8,
    /// How its messages are put together where they are read.
    pub gather: Gather,
    /// Whether a reader may come back for what it missed.
    pub recovers: bool,
}

/// Wire formats that a process may have.
pub const FORMATS_MAX: usize = 24;

/// How messages are put together where they are read.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Gather {
    /// Not at all: each is a frame.
    Each,
    /// A few of a topic are one frame.
    Group,
    /// Those of several topics are one log, whose frames say where all of them stand.
    Merge,
}

impl FormatId {
    /// This format's place in a per-format table.
    #[must_use]
    pub fn index(self) -> usize {
        usize::from(self.number)
    }
}

/// A message's class in a private outbox, and a topic's rank among a slow
/// peer's topics. Higher goes out first and is given up last.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Priority {
    /// 1: what nobody misses.
    Background = 0,
    /// 3
    Low = 1,
    /// 5: publications and pushes unless said otherwise.
    Normal = 2,
    /// 8: answers and errors.
    High = 3,
    /// 10: control frames.
    Critical = 4,
}

impl Priority {
    /// How many classes there are.
    pub const COUNT: usize = 5;
    /// Lowest first.
    pub const ALL: [Self; Self::COUNT] = [
        Self::Background,
        Self::Low,
        Self::Normal,
        Self::High,
        Self::Critical,
    ];

    /// The class with this number in configurations and on the wire
    /// (1, 3, 5, 8 or 10).
    #[must_use]
    pub fn from_number(number: u8) -> Option<Self> {
        match number {
            1 => Some(Self::Background),
            3 => Some(Self::Low),
            5 => Some(Self::Normal),
            8 => Some(Self::High),
            10 => Some(Self::Critical),
            _ => None,
        }
    }
}
