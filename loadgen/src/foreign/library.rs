//! WebSocket libraries: their server is ours, so that it echoes, too.

use clap::ValueEnum;

/// A library with a server in perf/peers, which has a path for echo.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Library {
    /// uWebSockets: perf/peers/uwebsockets.cpp.
    Uwebsockets,
}

impl Library {
    /// The path that echoes every message.
    pub(crate) fn echo_path(self) -> &'static str {
        match self {
            Self::Uwebsockets => "/echo",
        }
    }
}
