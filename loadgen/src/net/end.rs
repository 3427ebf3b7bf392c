//! How connections end.

use std::fmt;

/// How a connection ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum End {
    /// No TCP connection came about.
    Unreachable(String),
    /// The upgrade was answered with something else than 101.
    Refused { status: u16, body: String },
    /// A close frame came. 1005 stands for one without a code.
    Closed { code: u16, reason: String },
    /// The connection ended without a close frame.
    Lost(String),
    /// The server broke RFC 6455.
    Protocol(&'static str),
}

impl End {
    /// The meaning of a close frame's payload.
    pub(crate) fn closed(payload: &[u8]) -> Self {
        let (code, reason) = match payload {
            [high, low, reason @ ..] => (u16::from_be_bytes([*high, *low]), reason),
            _ => (1005, &[][..]),
        };
        Self::Closed {
            code,
            reason: String::from_utf8_lossy(reason).into_owned(),
        }
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable(error) => write!(f, "server not reachable: {error}"),
            Self::Refused { status, body } => {
                write!(f, "upgrade refused with status {status}: {}", body.trim())
            }
            Self::Closed { code, reason } if reason.is_empty() => {
                write!(f, "closed by the server with code {code}")
            }
            Self::Closed { code, reason } => {
                write!(f, "closed by the server with code {code} ({reason})")
            }
            Self::Lost(error) => write!(f, "lost without a close frame: {error}"),
            Self::Protocol(problem) => write!(f, "server broke the protocol: {problem}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn close_frames_are_read() {
        let closed = |code, reason: &str| End::Closed {
            code,
            reason: reason.into(),
        };
        assert_eq!(End::closed(b"\x03\xF0slow"), closed(1008, "slow"));
        assert_eq!(End::closed(b""), closed(1005, ""));
    }
}
