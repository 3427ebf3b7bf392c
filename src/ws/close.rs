//! Close codes (RFC 6455 section 7.4) and the payload of a close frame.

use super::error::ProtocolError;

/// The longest reason a close frame can carry: a control frame's 125 bytes less the code's two.
pub(super) const REASON_BYTES_MAX: usize = 123;

/// The status code of a close frame.
///
/// Any `u16` can be held, because a peer may send any; [`is_valid_on_wire`](Self::is_valid_on_wire)
/// tells which of them may be seen in a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CloseCode(pub u16);

impl CloseCode {
    /// The purpose of the connection is fulfilled.
    pub const NORMAL: Self = Self(1000);
    /// The endpoint goes away: a server shuts down, a page is left.
    pub const GOING_AWAY: Self = Self(1001);
    /// The peer broke the protocol.
    pub const PROTOCOL_ERROR: Self = Self(1002);
    /// The endpoint does not take this type of message.
    pub const UNSUPPORTED_DATA: Self = Self(1003);
    /// A message's content does not fit its type: text that is not UTF-8, deflate that is corrupt.
    pub const INVALID_PAYLOAD: Self = Self(1007);
    /// The message breaks a rule of the application.
    pub const POLICY_VIOLATION: Self = Self(1008);
    /// The message is larger than the endpoint takes.
    pub const MESSAGE_TOO_BIG: Self = Self(1009);
    /// A client misses an extension in the handshake's answer.
    pub const MANDATORY_EXTENSION: Self = Self(1010);
    /// The endpoint met something unexpected.
    pub const INTERNAL_ERROR: Self = Self(1011);
    /// The server restarts; the client may come back after a random delay (IANA registry).
    pub const SERVICE_RESTART: Self = Self(1012);
    /// The server is overloaded; the client may try another one or later (IANA registry).
    pub const TRY_AGAIN_LATER: Self = Self(1013);
    /// A gateway got an invalid answer from behind it (IANA registry).
    pub const BAD_GATEWAY: Self = Self(1014);

    /// Whether the code may be sent in a close frame. This is the one list of such codes:
    ///
    /// - 1000 to 1003 and 1007 to 1011, defined by RFC 6455 section 7.4.1,
    /// - 1012 to 1014, registered with IANA since, which deployed servers and browsers send,
    /// - 3000 to 3999 (registered by libraries) and 4000 to 4999 (private), section 7.4.2.
    ///
    /// Not valid are 1004, 1005, 1006 and 1015, which are reserved or only ever reported locally.
    #[must_use]
    pub const fn is_valid_on_wire(self) -> bool {
        matches!(self.0, 1000..=1003 | 1007..=1014 | 3000..=4999)
    }
}

impl std::fmt::Display for CloseCode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// Reads the payload of a close frame: nothing, or a code and a reason (RFC 6455 section 5.5.1).
pub(super) fn parse(payload: &[u8]) -> Result<Option<(CloseCode, &str)>, ProtocolError> {
    let Some((code, reason)) = payload.split_first_chunk::<2>() else {
        return if payload.is_empty() {
            Ok(None)
        } else {
            Err(ProtocolError::CloseTooShort)
        };
    };
    let code = CloseCode(u16::from_be_bytes(*code));
    if !code.is_valid_on_wire() {
        return Err(ProtocolError::InvalidCloseCode(code.0));
    }
    let reason = std::str::from_utf8(reason).map_err(|_| ProtocolError::InvalidCloseReason)?;
    Ok(Some((code, reason)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(payload: &[u8], expected: Result<Option<(u16, &str)>, ProtocolError>) {
        let expected = expected.map(|close| close.map(|(code, reason)| (CloseCode(code), reason)));
        assert_eq!(parse(payload), expected);
    }

    #[test]
    fn f13_close_payloads_are_checked() {
        check(b"", Ok(None));
        check(b"\x03", Err(ProtocolError::CloseTooShort));
        check(b"\x03\xe8", Ok(Some((1000, ""))));
        check(b"\x03\xe8bye", Ok(Some((1000, "bye"))));
        check(b"\x03\xe8\xff", Err(ProtocolError::InvalidCloseReason));
        check(b"\x03\xe8\xe2\x82", Err(ProtocolError::InvalidCloseReason));
        check(b"\x03\xed", Err(ProtocolError::InvalidCloseCode(1005)));
    }

    #[test]
    fn f13_only_listed_close_codes_are_valid() {
        let valid = |code: u16| CloseCode(code).is_valid_on_wire();
        for code in [
            0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535,
        ] {
            assert!(!valid(code), "{code}");
        }
        for code in [
            1000, 1001, 1002, 1003, 1007, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999,
        ] {
            assert!(valid(code), "{code}");
        }
        assert_eq!(
            (0..=u16::MAX).filter(|code| valid(*code)).count(),
            4 + 8 + 2000
        );
    }
}
