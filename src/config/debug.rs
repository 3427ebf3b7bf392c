//! `[debug]`: endpoints that serve tests and measurements.

use super::kind::{FlagKind, Size};
use super::mode::Mode;
use super::section::{SectionRules, section};
use super::size::{GIB, KIB, MIB};

section! {
    /// Endpoints for tests and measurements.
    pub struct Debug("debug", mode) {
        /// Whether /debug/echo sends every message back to its sender. It never asks for a token.
        echo: bool = mode != Mode::Prod, FlagKind;
        /// Whether / serves a page to try the gateway out in a browser. It is the same for everybody;
        /// what can be done with it is a matter of tokens.
        page: bool = mode != Mode::Prod, FlagKind;
        /// Whether /monitor serves the page for operators, in a build that has it (`make monitor`, then `cargo build
        /// --features monitor`). In prod mode it asks for a token.
        monitor: bool = true, FlagKind;
        /// Payload bytes of a message to /debug/echo. Beyond it: closed with 1009.
        echo_max_message_size: usize = 17 * MIB, Size(KIB..=GIB);
    }
}

impl SectionRules for Debug {
    fn open_endpoints(&self, _: Mode) -> Vec<&'static str> {
        self.echo
            .then_some("debug.echo = true")
            .into_iter()
            .collect()
    }
}
