//! How connections end.

use std::fmt;

use super::tls::TlsFailure;

/// How a connection ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum End {
    /// The TCP connection failed.
    Unreachable(String),
    /// The TLS handshake failed, or a record after it was not good.
    Tls(TlsFailure),
    /// The request was answered with another status than expected.
    Refused { status: u16, body: String },
    /// By a close frame; 1005 if it has no code.
    Closed { code: u16, reason: String },
    /// Without a close frame.
    Lost(String),
    /// The server broke the protocol.
    Protocol(&'static str),
}

impl End {
    /// Parses a close frame's payload.
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
            Self::Tls(failure) => write!(f, "TLS failed: {failure}"),
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
    fn close_frames_are_parsed() {
        let closed = |code, reason: &str| End::Closed {
            code,
            reason: reason.into(),
        };
        assert_eq!(End::closed(b"\x03\xF0slow"), closed(1008, "slow"));
        assert_eq!(End::closed(b""), closed(1005, ""));
    }
}
