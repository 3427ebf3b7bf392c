//! The mode: which defaults the other keys start from.

use std::fmt;
use std::str::FromStr;

use super::kind::Choice;

/// How open the gateway is when nothing else is said.
///
/// A mode only sets defaults; every key can be set on its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Mode {
    /// Everything open, to try the gateway out on loopback.
    Demo,
    /// Tokens asked for, the demo endpoint and the echo on.
    Dev,
    /// Tokens asked for, demo endpoint and echo off; needs credentials.
    Prod,
}

impl Choice for Mode {
    const NAMES: &'static [(&'static str, Self)] = &[
        ("demo", Self::Demo),
        ("dev", Self::Dev),
        ("prod", Self::Prod),
    ];
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Mode {
    type Err = UnknownMode;

    fn from_str(text: &str) -> Result<Self, UnknownMode> {
        Self::named(text).ok_or(UnknownMode)
    }
}

/// The text names no mode.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("accepted: demo, dev, prod")]
pub struct UnknownMode;
