//! `[events]`: who may use the events protocol, and how much of it.

use super::Access;
use super::kind::{Count, Flag, OneOf, Size};
use super::mode::Mode;
use super::section::section;
use super::size::{KIB, MIB};

section! {
    /// Who may use the events protocol, and how much of it.
    pub struct Events(mode) {
        /// Whether /api/v1/ws, /api/v1/ws/dev and POST /api/v1/events ask for a token.
        auth_required: bool = mode != Mode::Demo, Flag;
        /// Whether /api/v1/ws/demo exists. It never asks for a token.
        demo_enabled: bool = mode != Mode::Prod, Flag;
        /// Payload bytes of a message from a client. Beyond it: closed with 1009.
        max_message_size: usize = 64 * KIB, Size(KIB..=64 * MIB);
        /// Subscriptions of one connection, patterns included. Beyond it: error SUBSCRIPTION_LIMIT.
        max_subscriptions: usize = 50, Count(1..=1_000_000);
        /// Who may subscribe to topics, unless a token says more: "everyone": whoever may connect;
        /// "authenticated": whoever has a valid token; "service": tokens whose role is "service";
        /// "nobody": none, whatever a token says. Refused names are told as "rejected".
        subscribe: Access = Access::Everyone, OneOf;
        /// Who may publish to topics, likewise; over HTTP, too. Beyond it: error FORBIDDEN, status 403.
        publish: Access = Access::Everyone, OneOf;
    }
}
