//! Close codes (RFC 6455 section 7.4) and the payload of a close frame.

use super::close_code::CloseCode;
use super::error::ProtocolError;

/// The longest reason a close frame can carry: a control frame's 125 bytes less the code's two.
pub(super) const REASON_BYTES_MAX: usize = 123;

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
