//! What clients speak: the events protocol, or wse.

use memchr::memmem;

use crate::events;
use crate::wse::{self, Encoding, Greeting};

/// A client's protocol, in its greeting, its messages, and what it is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dialect {
    Events,
    Wse,
}

/// A frame to a client that was greeted.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Told<'a> {
    /// A message was refused: which, if it is said.
    Refused {
        id: Option<&'a [u8]>,
    },
    /// A heartbeat, and its answer.
    Heartbeat(&'static [u8]),
    Unexpected,
}

impl Dialect {
    /// As applications are told.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Events => "events",
            Self::Wse => "wse",
        }
    }

    /// What a message begins with, before its id or its data: its type is `app`.
    pub(crate) fn message_start(self) -> &'static [u8] {
        match self {
            Self::Events => br#"{"type":"app","#,
            Self::Wse => br#"{"t":"app","#,
        }
    }

    pub(crate) fn data_start(self) -> &'static [u8] {
        match self {
            Self::Events => br#""data":"#,
            Self::Wse => br#""p":{"data":"#,
        }
    }

    /// What follows the data of a message. In an object of an application its end follows that.
    pub(crate) fn message_end(self) -> &'static [u8] {
        match self {
            Self::Events => b"}",
            Self::Wse => b"}}",
        }
    }

    /// Whether refusals repeat the ids of messages.
    pub(crate) fn names_refused(self) -> bool {
        match self {
            Self::Events => true,
            Self::Wse => false,
        }
    }

    /// The step after a frame to a client that is not greeted yet.
    pub(crate) fn greet(self, text: &[u8]) -> Result<Greeting, String> {
        match self {
            Self::Wse => wse::greet(&wse::ServerFrame::parse(text)?, Encoding::Json),
            Self::Events => match events::ServerFrame::parse(text)? {
                frame if frame.kind == "connection_established" => Ok(Greeting::Done),
                frame => Err(format!("greeted with {}", frame.kind)),
            },
        }
    }

    /// What a client is told that was greeted.
    pub(crate) fn told(self, text: &[u8]) -> Told<'_> {
        let has = |part: &[u8]| memmem::find(text, part).is_some();
        match self {
            Self::Events
                if text.starts_with(br#"{"type":"error""#) && has(br#""code":"BACKEND_BUSY""#) =>
            {
                let id = memmem::find(text, br#""id":""#);
                let id = id.and_then(|at| text[at..].split(|&byte| byte == b'"').nth(3));
                Told::Refused { id }
            }
            Self::Wse if wse::is_ping(text) => Told::Heartbeat(wse::PONG),
            // With the code of a client that is too fast by itself, which is told once a second.
            Self::Wse
                if text.starts_with(br#"{"c":"WSE","t":"error""#)
                    && has(br#""code":"RATE_LIMITED""#)
                    && has(b"application is busy") =>
            {
                Told::Refused { id: None }
            }
            _ => Told::Unexpected,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_told_apart_from_other_frames() {
        let check = |dialect: Dialect, text: &'static str, expected| {
            assert_eq!(dialect.told(text.as_bytes()), expected, "{text}");
        };
        let refused = |id: Option<&'static str>| Told::Refused {
            id: id.map(str::as_bytes),
        };
        check(
            Dialect::Events,
            r#"{"type":"error","code":"BACKEND_BUSY","message":"busy","id":"0000012c"}"#,
            refused(Some("0000012c")),
        );
        check(
            Dialect::Wse,
            r#"{"c":"WSE","t":"error","p":{"code":"RATE_LIMITED","message":"The application is busy: try again later"},"v":1}"#,
            refused(None),
        );
        for text in [
            r#"{"c":"WSE","t":"error","p":{"code":"INVALID_MESSAGE"},"v":1}"#,
            r#"{"c":"WSE","t":"error","p":{"code":"RATE_LIMITED","message":"Rate limit exceeded"},"v":1}"#,
        ] {
            check(Dialect::Wse, text, Told::Unexpected);
        }
        let ping = r#"{"c":"WSE","t":"PING","p":{},"v":1}"#;
        check(Dialect::Wse, ping, Told::Heartbeat(wse::PONG));
        check(Dialect::Events, ping, Told::Unexpected);
    }
}
