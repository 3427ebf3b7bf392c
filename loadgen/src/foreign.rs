//! Other products' servers, each in its own protocol, as far as a fan-out needs it.
//!
//! The messages carry the same data and are verified the same way; only what stands around the data
//! differs. A connection says what its protocol wants until it is [`Step::Ready`]; from then on
//! publishers publish, and subscribers hand their messages to the verifier.

mod connection;
mod json;
mod library;
mod nats;
mod paths;
mod sockudo;
mod wse;

use clap::ValueEnum;

pub(crate) use connection::{Heard, Side, Step};
pub(crate) use library::Library;

use crate::frame::opcode;
use crate::parsed::Parsed;
use crate::payload::{Layout, Source};

/// What a server speaks, named after the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Foreign {
    /// nchan: raw messages, a path for subscribers and one for publishers.
    Nchan,
    /// NATS: its text protocol in binary frames.
    Nats,
    /// Sockudo: the Pusher protocol, client events on a private channel.
    Sockudo,
    /// uWebSockets behind the server in perf/peers/uwebsockets.cpp: as nchan.
    Uwebsockets,
    /// WSE behind the application in perf/peers/wse.py.
    Wse,
}

impl Foreign {
    /// The opcode of all frames that the client sends.
    pub(crate) fn opcode(self) -> u8 {
        match self {
            Self::Nats => opcode::BINARY,
            Self::Nchan | Self::Sockudo | Self::Uwebsockets | Self::Wse => opcode::TEXT,
        }
    }

    /// The path to upgrade on.
    pub(crate) fn path(self, side: Side, topic: &str) -> String {
        match self {
            Self::Nchan | Self::Uwebsockets => paths::path(side, topic),
            Self::Nats => "/".into(),
            Self::Sockudo => sockudo::PATH.into(),
            Self::Wse => "/wse".into(),
        }
    }

    /// After the upgrade.
    pub(crate) fn opened(self, side: Side, topic: &str) -> Step {
        match self {
            Self::Nchan | Self::Uwebsockets => Step::Ready,
            Self::Nats | Self::Sockudo => Step::Wait,
            Self::Wse => wse::opened(side, topic),
        }
    }

    /// After a message that came before the connection was ready.
    pub(crate) fn answered(self, side: Side, topic: &str, payload: &[u8]) -> Result<Step, String> {
        match self {
            Self::Nchan | Self::Uwebsockets => Ok(Step::Ready),
            Self::Nats => nats::answered(side, topic, payload),
            Self::Sockudo => sockudo::answered(topic, payload),
            Self::Wse => wse::answered(payload),
        }
    }

    /// Whether a burst goes out as one frame, as the protocol's clients do it, instead of one for
    /// each message.
    pub(crate) fn joins_publications(self) -> bool {
        self == Self::Nats
    }

    /// Appends one publication.
    pub(crate) fn publish(
        self,
        out: &mut Vec<u8>,
        topic: &str,
        layout: &Layout,
        message: (Source, u32, u64),
    ) {
        let (source, sequence, sent_ns) = message;
        let data = |out: &mut Vec<u8>| layout.write(out, source, sequence, sent_ns);
        match self {
            Self::Nchan | Self::Uwebsockets => data(out),
            Self::Nats => nats::publish(out, topic, layout.bytes(), data),
            Self::Sockudo => sockudo::publish(out, topic, data),
            Self::Wse => wse::publish(out, topic, data),
        }
    }

    /// Looks at a message to a publisher that is ready; returns an answer that the protocol wants.
    pub(crate) fn publisher_heard(self, payload: &[u8]) -> Result<Option<&'static [u8]>, String> {
        match self {
            Self::Nchan => paths::nchan_heard(payload).map(|()| None),
            Self::Nats => nats::heard(payload),
            Self::Sockudo => sockudo::heard(payload),
            Self::Uwebsockets | Self::Wse => Ok(None),
        }
    }

    /// Takes the first message off a subscriber's frame, with the answer that it wants.
    #[inline]
    pub(crate) fn next<'a>(self, frame: &mut &'a [u8]) -> Result<Heard<'a>, String> {
        if self == Self::Nats {
            return nats::next(frame);
        }
        let message = std::mem::take(frame);
        Ok(match self {
            Self::Sockudo if sockudo::is_ping(message) => Heard::Answer(sockudo::PONG),
            _ => Heard::Message(message),
        })
    }

    /// Finds the data in a message. `topic` is the one that was subscribed to, for protocols that
    /// do not say it again.
    pub(crate) fn parse<'a>(self, message: &'a [u8], topic: &'a str) -> Parsed<'a> {
        match self {
            Self::Nchan | Self::Uwebsockets => paths::parse(message, topic),
            Self::Nats => nats::parse(message),
            Self::Sockudo => sockudo::parse(message),
            Self::Wse => wse::parse(message),
        }
    }

    /// Whether a message may end like this behind its data.
    #[inline]
    pub(crate) fn ends_well(self, behind: &[u8]) -> bool {
        match self {
            Self::Nchan | Self::Uwebsockets => behind.is_empty(),
            Self::Nats => behind == b"\r\n",
            Self::Sockudo | Self::Wse => matches!(behind, [b',' | b'}', .., b'}'] | [b'}']),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::payload::Head;

    /// The data is found where it stands, under the name of its topic.
    pub(super) fn check_parse(foreign: Foreign, around: (&str, &str)) {
        let layout = Layout::new(64, 1);
        let mut message = around.0.as_bytes().to_vec();
        let source = Source {
            topic: 0,
            publisher: 0,
        };
        layout.write(&mut message, source, 7, 5);
        message.extend_from_slice(around.1.as_bytes());
        let Parsed::Event { name, data } = foreign.parse(&message, "t0") else {
            panic!("{foreign:?} does not parse");
        };
        assert_eq!(name, "t0");
        assert_eq!(data.start, around.0.len());
        assert!(Head::of(&message[data.clone()]).is_some());
        assert!(foreign.ends_well(&message[data.end..]));
        assert!(!foreign.ends_well(b"x"));
    }

    #[test]
    fn every_protocol_finds_its_data() {
        check_parse(Foreign::Nchan, ("", ""));
        check_parse(Foreign::Uwebsockets, ("", ""));
        check_parse(Foreign::Nats, ("MSG t0 1 64\r\n", "\r\n"));
        check_parse(
            Foreign::Sockudo,
            (r#"{"event":"client-m","channel":"private-t0","data":"#, "}"),
        );
        check_parse(
            Foreign::Wse,
            (r#"{"c":"U","t":"event","p":{"topic":"t0","data":"#, "}}"),
        );
    }

    #[test]
    fn what_is_no_delivery_is_told_apart_from_what_is_broken() {
        for (foreign, message) in [
            (Foreign::Sockudo, r#"{"event":"pusher:pong","data":"{}"}"#),
            (Foreign::Wse, r#"{"c":"WSE","t":"ping","p":{}}"#),
        ] {
            assert!(
                matches!(foreign.parse(message.as_bytes(), "t0"), Parsed::Other),
                "{message}"
            );
        }
        for foreign in [Foreign::Nats, Foreign::Sockudo, Foreign::Wse] {
            assert!(matches!(foreign.parse(b"x", "t0"), Parsed::Corrupt));
        }
    }
}
