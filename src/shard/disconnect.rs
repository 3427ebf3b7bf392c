//! Why a connection ends. There is exactly one reason; the close code, its text
//! and the counter follow from it.

/// Why a connection ends.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Disconnect {
    /// The peer sent a close frame with this code; it is answered in kind.
    Closed(Option<u16>),
    /// The socket ended or failed without a close frame.
    Gone,
    /// The peer broke the WebSocket protocol: the code that names how.
    Protocol(u16),
    /// The peer sent a kind of message that its endpoint does not take.
    Unsupported,
    /// The credentials are missing or not valid.
    Unauthenticated,
    /// The token that let the peer in has expired, or its key is no longer valid.
    Expired,
    /// The peer does not take what it subscribed to.
    Slow,
    /// The peer answers nothing, not even a ping.
    Silent,
    /// The peer began a message and did not finish it in time.
    Unfinished,
    /// The peer sends more pings and pongs than anybody needs.
    ControlFlood,
    /// The peer goes on sending far beyond its rate.
    RateExceeded,
    /// The process holds too many unfinished messages.
    Overloaded,
    /// The user or the address has as many connections as it may.
    ConnectionLimit,
    /// The user is connected already.
    Duplicate,
    /// A newer connection of the user takes this one's place.
    Replaced,
    /// The user is one that takes a token to be.
    TokenRequired,
    /// The gateway stops.
    Drain,
    /// Something failed that should not.
    Internal,
}

impl Disconnect {
    /// The reasons' names, as labels of a counter.
    pub const LABELS: [&'static str; 18] = [
        "closed",
        "gone",
        "protocol",
        "unsupported",
        "unauthenticated",
        "slow",
        "silent",
        "unfinished",
        "control_flood",
        "overloaded",
        "drain",
        "internal",
        "connection_limit",
        "expired",
        "duplicate",
        "replaced",
        "token_required",
        "rate_exceeded",
    ];

    /// This reason's place in [`Self::LABELS`].
    #[must_use]
    pub fn index(self) -> usize {
        match self {
            Self::Closed(_) => 0,
            Self::Gone => 1,
            Self::Protocol(_) => 2,
            Self::Unsupported => 3,
            Self::Unauthenticated => 4,
            Self::Slow => 5,
            Self::Silent => 6,
            Self::Unfinished => 7,
            Self::ControlFlood => 8,
            Self::Overloaded => 9,
            Self::Drain => 10,
            Self::Internal => 11,
            Self::ConnectionLimit => 12,
            Self::Expired => 13,
            Self::Duplicate => 14,
            Self::Replaced => 15,
            Self::TokenRequired => 16,
            Self::RateExceeded => 17,
        }
    }

    /// The close code and reason to send (RFC 6455 7.4); `None` if the peer
    /// cannot be told.
    #[must_use]
    pub fn close(self) -> Option<(u16, &'static str)> {
        Some(match self {
            // An empty close frame is answered by a normal one (RFC 6455 5.5.1).
            Self::Closed(code) => (code.unwrap_or(1000), ""),
            // A peer that answers no ping reads no close frame either.
            Self::Gone | Self::Silent => return None,
            Self::Protocol(1007) => (1007, "Invalid UTF-8 or compressed data"),
            Self::Protocol(1009) => (1009, "Message too large"),
            Self::Protocol(code) => (code, "Protocol error"),
            Self::Unsupported => (1003, "Unsupported message type"),
            Self::Unauthenticated => (1008, "Authentication failed"),
            // Private use (RFC 6455 7.4.2): come back with a new token.
            Self::Expired => (4002, "Token expired"),
            Self::Slow => (1013, "Slow consumer"),
            Self::Unfinished => (1008, "Message not finished in time"),
            Self::ControlFlood => (1008, "Too many control frames"),
            Self::RateExceeded => (1008, "Too many messages beyond the rate"),
            Self::Overloaded => (1013, "Overloaded, try again later"),
            Self::ConnectionLimit => (1008, "Too many connections"),
            Self::Duplicate => (1008, "User already connected"),
            Self::Replaced => (1008, "Replaced by new connection"),
            Self::TokenRequired => (1008, "Authentication required"),
            Self::Drain => (1001, "Server shutdown"),
            Self::Internal => (1011, "Internal server error"),
        })
    }
}
