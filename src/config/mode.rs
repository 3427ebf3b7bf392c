//! The mode: which defaults the other keys start from.

use super::kind::Choice;

/// How open the gateway is when nothing else is said.
///
/// A mode only sets defaults; every key can be set on its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, clap::ValueEnum)]
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
