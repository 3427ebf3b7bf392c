//! The reason why a connection ends. There is exactly one; close code, text and counter derive from it. A protocol may
//! have reasons of its own, which it registers.

use crate::metrics::{CounterRegistry, EndReason, reasons};

reasons! {
    /// Why a connection ends.
    Disconnect {
        /// The peer sent a close frame with this code, which is echoed (RFC 6455 section 5.5.1).
        Closed(Option<u16>) = "closed",
        /// EOF or an error of the socket without a close frame.
        Gone = "gone",
        /// The peer violated the WebSocket protocol; the close code for it.
        Protocol(u16) = "protocol",
        /// The peer sent a kind of message that its endpoint does not accept.
        Unsupported = "unsupported",
        /// There is no token, and one is required.
        NoToken = "no_token",
        /// The token had expired before the connection began.
        ExpiredToken = "expired_token",
        /// The token is not valid for another reason.
        InvalidToken = "invalid_token",
        /// The peer reads its subscriptions too slowly.
        Slow = "slow",
        /// The peer did not answer a ping.
        Silent = "silent",
        /// The peer did not complete a message in time.
        Unfinished = "unfinished",
        /// The peer sent more than `websocket.max_control_frames_per_second`.
        ControlFlood = "control_flood",
        /// A limit of memory or topics is reached.
        Overloaded = "overloaded",
        /// The gateway stops.
        Drain = "drain",
        /// A defect: the connection's task ended unexpectedly.
        Internal = "internal",
        /// The user or the address has too many connections.
        ConnectionLimit = "connection_limit",
        /// The peer's token has expired, or the key that signed it has been removed.
        Expired = "expired",
        /// The peer's token has been revoked.
        Revoked = "revoked",
        /// A service has blocked the peer's user.
        Blocked = "blocked",
        /// A service has asked for it, with this close code.
        Ordered(u16) = "ordered",
        /// The peer exceeded `events.max_rate_excess`.
        RateExceeded = "rate_exceeded",
        /// A cause of its protocol, whose label takes the place of this one.
        Own(CloseCause) = "",
    }
}

/// A cause for which a protocol closes connections, by the number that it was registered with.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct CloseCause(u8);

/// The labels that are no protocol's.
const OWN: usize = Disconnect::LABELS.len() - 1;

impl Disconnect {
    /// Registers a cause of a protocol: its label in `/metrics`, and the close code and reason that are sent.
    pub fn register(
        registry: &mut CounterRegistry,
        label: &'static str,
        (code, text): (u16, &'static str),
    ) -> Self {
        let reason = EndReason { label, code, text };
        Self::Own(CloseCause(registry.register_end(reason, OWN)))
    }

    /// The labels of all reasons, by [`Self::counter`].
    #[must_use]
    pub fn labels(registry: &CounterRegistry) -> Vec<&'static str> {
        let registered = registry.ends().iter().map(|reason| reason.label);
        Self::LABELS[..OWN]
            .iter()
            .copied()
            .chain(registered)
            .collect()
    }

    /// The index of its label among those of all reasons.
    #[must_use]
    pub fn counter(self) -> usize {
        match self {
            Self::Own(cause) => OWN + usize::from(cause.0),
            other => other.index(),
        }
    }

    /// Its label, as in `/metrics`.
    #[must_use]
    pub fn label(self, registry: &CounterRegistry) -> &'static str {
        match self {
            Self::Own(cause) => registry.ends()[usize::from(cause.0)].label,
            other => Self::LABELS[other.index()],
        }
    }

    /// Whether the client ended the connection, or its network did.
    #[must_use]
    pub fn is_by_client(self) -> bool {
        matches!(self, Self::Closed(_) | Self::Gone)
    }

    /// As [`Self::close`], for a connection of `protocol`, which may have codes of its own.
    #[must_use]
    pub fn close_in(
        self,
        registry: &CounterRegistry,
        protocol: &str,
    ) -> Option<(u16, &'static str)> {
        let (code, reason) = self.close(registry)?;
        let own = registry.code_of(protocol, self.label(registry));
        Some((own.unwrap_or(code), reason))
    }

    /// The close code and reason to send (RFC 6455 7.4); `None` if the peer
    /// cannot be told. Causes of protocols are in `registry`.
    #[must_use]
    pub fn close(self, registry: &CounterRegistry) -> Option<(u16, &'static str)> {
        Some(match self {
            // An empty close frame is answered by a normal one (RFC 6455 5.5.1).
            Self::Closed(code) => (code.unwrap_or(1000), ""),
            // A peer that answers no ping reads no close frame either.
            Self::Gone | Self::Silent => return None,
            Self::Protocol(1007) => (1007, "Invalid UTF-8 or compressed data"),
            Self::Protocol(1009) => (1009, "Message too large"),
            Self::Protocol(code) => (code, "Protocol error"),
            Self::Unsupported => (1003, "Unsupported message type"),
            Self::NoToken | Self::ExpiredToken | Self::InvalidToken => {
                (1008, "Authentication failed")
            }
            // Private use (RFC 6455 7.4.2): come back with a new token.
            Self::Expired => (4002, "Token expired"),
            Self::Blocked => (1008, "Blocked"),
            Self::Revoked => (4002, "Token revoked"),
            Self::Ordered(code) => {
                return Some((code, "Closed by the application"));
            }
            Self::Slow => (1013, "Slow consumer"),
            Self::Unfinished => (1008, "Message not finished in time"),
            Self::ControlFlood => (1008, "Too many control frames"),
            Self::RateExceeded => (1008, "Too many messages beyond the rate"),
            Self::Overloaded => (1013, "Overloaded, try again later"),
            Self::ConnectionLimit => (1008, "Too many connections"),
            Self::Own(cause) => {
                let reason = registry.ends()[usize::from(cause.0)];
                (reason.code, reason.text)
            }
            Self::Drain => (1001, "Server shutdown"),
            Self::Internal => (1011, "Internal server error"),
        })
    }
}
