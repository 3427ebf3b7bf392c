//! WebSocket libraries: the server is ours, so that it can do more than fan out.

use clap::ValueEnum;

/// A library behind a server in perf/peers, which echoes and greets on paths of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Library {
    /// uWebSockets: perf/peers/uwebsockets.cpp.
    Uwebsockets,
}

impl Library {
    /// Where every message comes back.
    pub(crate) fn echo_path(self) -> &'static str {
        match self {
            Self::Uwebsockets => "/echo",
        }
    }

    /// Where somebody who connects is greeted as in the events protocol, and then left alone.
    pub(crate) fn greeting_path(self) -> &'static str {
        match self {
            Self::Uwebsockets => "/greeting",
        }
    }
}
