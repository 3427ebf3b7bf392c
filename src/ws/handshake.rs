//! The opening handshake, server side (RFC 6455 section 4.2).

use http::header::{
    ALLOW, CONNECTION, CONTENT_LENGTH, HOST, HeaderName, SEC_WEBSOCKET_EXTENSIONS,
    SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION, TRANSFER_ENCODING, UPGRADE,
};
use http::{HeaderMap, Method, StatusCode, Version};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use super::deflate::Agreed;
use super::syntax::{elements, is_token};

/// Why a request is not upgraded. The text says what is wrong, for the response's body.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HandshakeError {
    /// Only GET can be upgraded.
    #[error("a WebSocket handshake is a GET request")]
    Method,
    /// Only HTTP/1.1 can be upgraded.
    #[error("a WebSocket handshake needs HTTP/1.1")]
    HttpVersion,
    /// `Host` is absent or repeated.
    #[error("a WebSocket handshake has one Host header")]
    Host,
    /// A body was announced; its bytes would be read as frames.
    #[error("a WebSocket handshake has no body")]
    Body,
    /// The request does not ask for an upgrade.
    #[error("this path speaks WebSocket: an Upgrade header is needed")]
    NoUpgrade,
    /// `Upgrade` does not name `websocket`.
    #[error("the Upgrade header does not name websocket")]
    Upgrade,
    /// `Connection` does not name `upgrade`.
    #[error("the Connection header does not name upgrade")]
    Connection,
    /// `Sec-WebSocket-Version` is absent or repeated.
    #[error("a WebSocket handshake has one Sec-WebSocket-Version header")]
    NoVersion,
    /// `Sec-WebSocket-Version` is not 13.
    #[error("the WebSocket version is not 13")]
    Version,
    /// `Sec-WebSocket-Key` is absent, repeated, or not the base64 of 16 bytes.
    #[error("a WebSocket handshake has one Sec-WebSocket-Key header, the base64 of 16 bytes")]
    Key,
    /// `Sec-WebSocket-Protocol` is not a list of tokens.
    #[error("the Sec-WebSocket-Protocol header is not a list of tokens")]
    Protocol,
}

impl HandshakeError {
    /// The status of the response.
    #[must_use]
    pub const fn status(self) -> StatusCode {
        match self {
            Self::Method => StatusCode::METHOD_NOT_ALLOWED,
            Self::NoUpgrade | Self::Version => StatusCode::UPGRADE_REQUIRED,
            Self::HttpVersion
            | Self::Host
            | Self::Body
            | Self::Upgrade
            | Self::Connection
            | Self::NoVersion
            | Self::Key
            | Self::Protocol => StatusCode::BAD_REQUEST,
        }
    }

    /// The headers that the status requires (RFC 9110 sections 15.5.6 and 15.5.22, RFC 6455 section 4.4). The
    /// connection is closed besides.
    #[must_use]
    pub const fn headers(self) -> &'static [(HeaderName, &'static str)] {
        const UPGRADE_TO: (HeaderName, &str) = (UPGRADE, "websocket");
        const VERSION: (HeaderName, &str) = (SEC_WEBSOCKET_VERSION, "13");
        match self {
            Self::Method => const { &[(ALLOW, "GET")] },
            Self::NoUpgrade | Self::Version => const { &[UPGRADE_TO, VERSION] },
            _ => &[],
        }
    }
}

/// A request that can be upgraded.
#[derive(Clone, Debug)]
pub struct Upgrade<'h> {
    headers: &'h HeaderMap,
    accept: String,
}

/// Whether a request asks for a WebSocket upgrade, valid or not.
#[must_use]
pub fn offers_websocket(headers: &HeaderMap) -> bool {
    names(headers, &UPGRADE, "websocket")
}

impl<'h> Upgrade<'h> {
    /// Checks a request's head (RFC 6455 section 4.2.1), except its target.
    ///
    /// Cost: one pass over the headers concerned, one SHA-1.
    ///
    /// # Errors
    ///
    /// The first violation found.
    pub fn check(
        method: &Method,
        version: Version,
        headers: &'h HeaderMap,
    ) -> Result<Self, HandshakeError> {
        if method != Method::GET {
            return Err(HandshakeError::Method);
        }
        if version != Version::HTTP_11 {
            return Err(HandshakeError::HttpVersion);
        }
        if has_body(headers) {
            return Err(HandshakeError::Body);
        }
        if !headers.contains_key(UPGRADE) {
            return Err(HandshakeError::NoUpgrade);
        }
        if !offers_websocket(headers) {
            return Err(HandshakeError::Upgrade);
        }
        if !names(headers, &CONNECTION, "upgrade") {
            return Err(HandshakeError::Connection);
        }
        if one(headers, &HOST).is_none() {
            return Err(HandshakeError::Host);
        }
        match one(headers, &SEC_WEBSOCKET_VERSION) {
            None => return Err(HandshakeError::NoVersion),
            Some(b"13") => {}
            Some(_) => return Err(HandshakeError::Version),
        }
        let key = one(headers, &SEC_WEBSOCKET_KEY).filter(|key| is_key(key));
        let key = key.ok_or(HandshakeError::Key)?;
        for value in headers.get_all(SEC_WEBSOCKET_PROTOCOL) {
            let list = value.to_str().map_err(|_| HandshakeError::Protocol)?;
            if !elements(list).all(is_token) {
                return Err(HandshakeError::Protocol);
            }
        }
        Ok(Self {
            headers,
            accept: derive_accept_key(key),
        })
    }

    /// The subprotocols that the client offers, in its order of preference. All are tokens.
    pub fn protocols(&self) -> impl Iterator<Item = &'h str> + use<'h> {
        values(self.headers, &SEC_WEBSOCKET_PROTOCOL).flat_map(elements)
    }

    /// The values of the extension headers, for [`negotiate`](super::deflate::negotiate).
    pub fn extensions(&self) -> impl Iterator<Item = &'h str> + use<'h> {
        values(self.headers, &SEC_WEBSOCKET_EXTENSIONS)
    }

    /// The head of the 101 response (RFC 6455 section 4.2.2), after which both sides send frames.
    ///
    /// `protocol` is one of [`protocols`](Self::protocols).
    ///
    /// # Panics
    ///
    /// If `protocol` is not a token, which could inject into the head.
    #[must_use]
    pub fn response(&self, protocol: Option<&str>, agreed: Option<&Agreed>) -> Vec<u8> {
        let mut head = String::with_capacity(256);
        head.push_str("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n");
        head.push_str("Connection: Upgrade\r\n");
        let mut put = |name: &str, value: &str| {
            for part in [name, ": ", value, "\r\n"] {
                head.push_str(part);
            }
        };
        put("Sec-WebSocket-Accept", &self.accept);
        if let Some(protocol) = protocol {
            assert!(is_token(protocol), "a subprotocol is a token");
            put("Sec-WebSocket-Protocol", protocol);
        }
        if let Some(agreed) = agreed {
            put("Sec-WebSocket-Extensions", &agreed.response());
        }
        head.push_str("\r\n");
        head.into_bytes()
    }
}

/// The values of all headers of this name that are text.
fn values<'h>(
    headers: &'h HeaderMap,
    name: &HeaderName,
) -> impl Iterator<Item = &'h str> + use<'h> {
    headers
        .get_all(name)
        .into_iter()
        .filter_map(|value| value.to_str().ok())
}

/// The value of a header that must occur exactly once.
fn one<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h [u8]> {
    let mut all = headers.get_all(name).into_iter();
    let first = all.next()?;
    all.next().is_none().then_some(first.as_bytes())
}

/// Whether a list header includes `token`, case-insensitively.
fn names(headers: &HeaderMap, name: &HeaderName, token: &str) -> bool {
    values(headers, name)
        .flat_map(elements)
        .any(|element| element.eq_ignore_ascii_case(token))
}

/// Whether a body is announced.
fn has_body(headers: &HeaderMap) -> bool {
    let mut lengths = headers.get_all(CONTENT_LENGTH).into_iter();
    headers.contains_key(TRANSFER_ENCODING) || lengths.any(|length| length != "0")
}

/// Whether `key` is the base64 of 16 bytes (RFC 4648 section 4): 22 digits, the last of which
/// holds only two bits, and the padding.
fn is_key(key: &[u8]) -> bool {
    let Some((digits, b"==")) = key.split_last_chunk::<2>() else {
        return false;
    };
    digits.len() == 22
        && digits
            .iter()
            .all(|digit| matches!(digit, b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'+' | b'/'))
        && matches!(digits[21], b'A' | b'Q' | b'g' | b'w')
}

#[cfg(test)]
mod tests;
