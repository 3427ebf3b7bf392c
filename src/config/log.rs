//! `[log]`: what is written to standard error, and how.

use super::kind::{Choice, Count, OneOf};
use super::section::{SectionRules, section};

section! {
    /// What is written to standard error, and how.
    pub struct Log("log", mode) {
        /// The least serious level that is written: "error", "warn", "info", "debug" or "trace".
        level: LogLevel = LogLevel::Info, OneOf, Level "LOG_LEVEL";
        /// "text": a line for people; "json": an object per line, for machines.
        format: LogFormat = LogFormat::Text, OneOf, Format "LOG_FORMAT";
        /// Lines a second, for each cause, about connections that ended otherwise than by their client
        /// and about refused requests; further ones are counted. 0: none.
        ends_per_second: u32 = 20, Count(0..=1_000_000);
    }
}

impl SectionRules for Log {}

/// The least serious level that is logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LogLevel {
    /// Something of ours failed.
    Error,
    /// Something will fail, or is set in a risky way.
    Warn,
    /// Starts, stops, and what changed.
    Info,
    /// Every connection.
    Debug,
    /// Everything.
    Trace,
}

impl Choice for LogLevel {
    const NAMES: &'static [(&'static str, Self)] = &[
        ("error", Self::Error),
        ("warn", Self::Warn),
        ("info", Self::Info),
        ("debug", Self::Debug),
        ("trace", Self::Trace),
    ];
}

/// How a log line is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LogFormat {
    /// A line for people.
    Text,
    /// A JSON object per line.
    Json,
}

impl Choice for LogFormat {
    const NAMES: &'static [(&'static str, Self)] = &[("text", Self::Text), ("json", Self::Json)];
}
