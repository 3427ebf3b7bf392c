//! How the program ends when it does not end as asked.

use std::fmt;

/// Why the program ends. Each has an exit code of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Failure {
    /// Something that is not expected, as an output that cannot be written: 1.
    Other(String),
    /// The arguments or the environment: 2, as for what the parser of arguments refuses.
    Usage(String),
    /// The private key or the state file cannot be used: 3.
    Key(String),
    /// The server does not accept this account: 4.
    Refused(String),
    /// The server cannot be reached, and no other attempt was asked for: 5.
    Unreachable(String),
    /// Another connection of the user has taken over: 6.
    Replaced,
    /// Something that a script has said was not sent, or not confirmed: 7.
    Incomplete,
}

impl Failure {
    /// The exit code of the process.
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::Other(_) => 1,
            Self::Usage(_) => 2,
            Self::Key(_) => 3,
            Self::Refused(_) => 4,
            Self::Unreachable(_) => 5,
            Self::Replaced => 6,
            Self::Incomplete => 7,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Other(why)
            | Self::Usage(why)
            | Self::Key(why)
            | Self::Refused(why)
            | Self::Unreachable(why) => f.write_str(why),
            Self::Incomplete => f.write_str("something was not sent, or not confirmed"),
            Self::Replaced => f.write_str(
                "another connection of this user has taken over; the server keeps one for each user",
            ),
        }
    }
}
