//! Servers that greet a new connection, for scenarios that do nothing else with one.

use clap::ValueEnum;

use super::centrifugo;
use super::connection::{SetupStep, Side};

/// A server that greets, other than the gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Greeter {
    /// uWebSockets behind perf/peers/uwebsockets.cpp: at once, as the gateway does.
    Uwebsockets,
    /// Centrifugo: when a client has said that it connects.
    Centrifugo,
}

impl Greeter {
    /// The path where it greets, and sends nothing else but pings.
    pub(crate) fn path(self) -> &'static str {
        match self {
            Self::Uwebsockets => "/greeting",
            Self::Centrifugo => centrifugo::PATH,
        }
    }

    /// What a client has to say to be greeted.
    pub(crate) fn hello(self) -> Option<&'static [u8]> {
        match self {
            Self::Uwebsockets => None,
            Self::Centrifugo => Some(centrifugo::CONNECT),
        }
    }

    /// The step that a message calls for, [`SetupStep::Ready`] if it is the greeting; none where
    /// messages are those of the events protocol.
    pub(crate) fn heard(self, payload: &[u8]) -> Option<Result<SetupStep, String>> {
        match self {
            Self::Uwebsockets => None,
            Self::Centrifugo => Some(centrifugo::set_up(Side::Publisher, "", payload)),
        }
    }
}
