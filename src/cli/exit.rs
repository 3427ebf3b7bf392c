//! Exit codes, documented in `--help`. Those above 2 are the ones of sysexits.h.

use std::process::ExitCode;

/// How the process ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Exit {
    /// Done.
    Ok = 0,
    /// Something failed while running, or the host has something to be changed.
    Failure = 1,
    /// The arguments make no sense.
    Usage = 2,
    /// The data is not JSON, or the gateway refuses it.
    Data = 65,
    /// No gateway answers.
    Unavailable = 69,
    /// The gateway is busy; the same again later may work.
    TryAgain = 75,
    /// The gateway does not accept the credentials.
    Denied = 77,
    /// The configuration is refused.
    Config = 78,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}
