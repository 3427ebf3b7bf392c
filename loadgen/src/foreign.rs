//! Protocols other than events, as far as a fan-out needs them: those of other products' servers,
//! and the gateway's own wse.
//!
//! The messages carry the same data and are verified the same way; only the envelope differs. A
//! connection sends what its protocol requires until it is [`SetupStep::Ready`]; then publishers
//! publish, and subscribers hand their messages to the verifier.

mod centrifugo;
mod connection;
pub(crate) mod durable_streams;
mod gateway;
mod greeter;
mod json;
mod library;
mod nats;
mod paths;
mod sockudo;
mod wse;

use clap::ValueEnum;

pub(crate) use connection::{Received, SetupStep, Side};
pub(crate) use greeter::Greeter;
pub(crate) use library::Library;

use crate::frame::opcode;
use crate::parsed::Parsed;
use crate::payload::{Layout, Source};
use crate::wse::{self as wse_protocol, Encoding};

/// A protocol other than events, named after its server.
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
    /// Centrifugo: its protocol in JSON, for clients without a token.
    Centrifugo,
    /// Electric's durable-streams: appends over HTTP, readers of Server-Sent Events.
    #[value(alias = "durable_streams")]
    DurableStreams,
    /// The gateway's own wse protocol.
    #[value(skip)]
    Gateway(Encoding),
}

impl Foreign {
    /// The opcode of publications.
    pub(crate) fn publication_opcode(self) -> u8 {
        match self {
            Self::Gateway(encoding) => encoding.opcode(),
            _ => self.opcode(),
        }
    }

    /// The opcode of all other frames to the server.
    pub(crate) fn opcode(self) -> u8 {
        match self {
            Self::Nats => opcode::BINARY,
            _ => opcode::TEXT,
        }
    }

    /// The path of the upgrade.
    pub(crate) fn path(self, side: Side, topic: &str) -> String {
        match self {
            Self::Nchan | Self::Uwebsockets => paths::path(side, topic),
            Self::Nats => "/".into(),
            Self::Sockudo => sockudo::PATH.into(),
            Self::Wse | Self::Gateway(_) => wse_protocol::PATH.into(),
            Self::Centrifugo => centrifugo::PATH.into(),
            Self::DurableStreams => durable_streams::path(topic),
        }
    }

    /// Whether its connections carry requests and responses, which the scenario sends and takes by
    /// [`durable_streams`], instead of frames.
    pub(crate) fn is_http(self) -> bool {
        self == Self::DurableStreams
    }

    /// The step after the upgrade.
    pub(crate) fn opened(self, side: Side, topic: &str) -> SetupStep {
        match self {
            Self::Nchan | Self::Uwebsockets => SetupStep::Ready,
            Self::Nats | Self::Sockudo | Self::Gateway(_) | Self::DurableStreams => SetupStep::Wait,
            Self::Wse => wse::opened(side, topic),
            Self::Centrifugo => SetupStep::Send(centrifugo::CONNECT.to_vec()),
        }
    }

    /// The step after a message to a connection that is not ready yet.
    pub(crate) fn set_up(
        self,
        side: Side,
        topic: &str,
        payload: &[u8],
    ) -> Result<SetupStep, String> {
        match self {
            Self::Nchan | Self::Uwebsockets | Self::DurableStreams => Ok(SetupStep::Ready),
            Self::Nats => nats::set_up(side, topic, payload),
            Self::Sockudo => sockudo::set_up(topic, payload),
            Self::Wse => wse::set_up(payload),
            Self::Centrifugo => centrifugo::set_up(side, topic, payload),
            Self::Gateway(encoding) => gateway::set_up(encoding, side, topic, payload),
        }
    }

    /// Whether a burst is sent in one frame, as the protocol's own clients do, instead of one frame
    /// per message.
    pub(crate) fn joins_publications(self) -> bool {
        matches!(self, Self::Nats | Self::Centrifugo)
    }

    /// Whether messages carry the epoch of their topic and their offset in it.
    pub(crate) fn is_stamped(self) -> bool {
        matches!(self, Self::Gateway(_))
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
            Self::Nchan | Self::Uwebsockets | Self::DurableStreams => data(out),
            Self::Nats => nats::publish(out, topic, layout.bytes(), data),
            Self::Sockudo => sockudo::publish(out, topic, data),
            Self::Wse => wse::publish(out, topic, data),
            Self::Centrifugo => centrifugo::publish(out, topic, data),
            Self::Gateway(encoding) => gateway::publish(encoding, out, topic, data),
        }
    }

    /// Checks a message to a publisher that is ready; returns the reply that it requires.
    pub(crate) fn publisher_received(
        self,
        payload: &[u8],
    ) -> Result<Option<&'static [u8]>, String> {
        match self {
            Self::Nchan => paths::nchan_received(payload).map(|()| None),
            Self::Nats => nats::received(payload),
            Self::Sockudo => sockudo::received(payload),
            Self::Centrifugo => centrifugo::received(payload),
            Self::Uwebsockets | Self::Wse | Self::DurableStreams => Ok(None),
            Self::Gateway(_) => gateway::publisher_received(payload),
        }
    }

    /// Takes the first message off a subscriber's frame.
    #[inline]
    pub(crate) fn next<'a>(self, frame: &mut &'a [u8]) -> Result<Received<'a>, String> {
        match self {
            Self::Nats => return nats::next(frame),
            Self::Centrifugo => return Ok(centrifugo::next(frame)),
            Self::DurableStreams => return durable_streams::next(frame),
            _ => {}
        }
        let message = std::mem::take(frame);
        Ok(match self {
            Self::Sockudo if sockudo::is_ping(message) => Received::Reply(sockudo::PONG),
            Self::Gateway(_) if wse_protocol::is_ping(message) => {
                Received::Reply(wse_protocol::PONG)
            }
            _ => Received::Message(message),
        })
    }

    /// Finds the data in a message. `topic` is the subscribed one, for protocols whose messages
    /// do not name it.
    pub(crate) fn parse<'a>(self, message: &'a [u8], topic: &'a str) -> Parsed<'a> {
        match self {
            Self::Nchan | Self::Uwebsockets | Self::DurableStreams => paths::parse(message, topic),
            Self::Nats => nats::parse(message),
            Self::Sockudo => sockudo::parse(message),
            Self::Wse => wse::parse(message),
            Self::Centrifugo => centrifugo::parse(message),
            Self::Gateway(encoding) => gateway::parse(encoding, message),
        }
    }

    /// Whether `tail` may follow the data of a message.
    #[inline]
    pub(crate) fn is_valid_tail(self, tail: &[u8]) -> bool {
        match self {
            Self::Nchan | Self::Uwebsockets | Self::DurableStreams => tail.is_empty(),
            Self::Nats => tail == b"\r\n",
            Self::Gateway(encoding) => tail == gateway::tail(encoding),
            Self::Sockudo | Self::Wse | Self::Centrifugo => {
                matches!(tail, [b',' | b'}', .., b'}'] | [b'}'])
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::payload::PayloadHead;

    /// Finds the data between these bytes, under the name of its topic.
    pub(super) fn check_parse(foreign: Foreign, around: (&str, &str)) {
        let layout = Layout::new(64, 1);
        let mut message = around.0.as_bytes().to_vec();
        let source = Source {
            topic: 0,
            publisher: 0,
        };
        layout.write(&mut message, source, 7, 5);
        message.extend_from_slice(around.1.as_bytes());
        let Parsed::Event { name, data, .. } = foreign.parse(&message, "t0") else {
            panic!("{foreign:?} does not parse");
        };
        assert_eq!(name, "t0");
        assert_eq!(data.start, around.0.len());
        assert!(PayloadHead::of(&message[data.clone()]).is_some());
        assert!(foreign.is_valid_tail(&message[data.end..]));
        assert!(!foreign.is_valid_tail(b"x"));
    }

    #[test]
    fn every_protocol_finds_its_data() {
        check_parse(Foreign::Nchan, ("", ""));
        check_parse(Foreign::Uwebsockets, ("", ""));
        check_parse(Foreign::DurableStreams, ("", ""));
        check_parse(Foreign::Nats, ("MSG t0 1 64\r\n", "\r\n"));
        check_parse(
            Foreign::Centrifugo,
            (
                r#"{"push":{"channel":"t0","pub":{"data":"#,
                r#","info":{"client":"x"}}}}"#,
            ),
        );
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
    fn notices_are_told_apart_from_corrupt_frames() {
        for (foreign, message) in [
            (Foreign::Sockudo, r#"{"event":"pusher:pong","data":"{}"}"#),
            (Foreign::Wse, r#"{"c":"WSE","t":"ping","p":{}}"#),
            (
                Foreign::Centrifugo,
                r#"{"push":{"channel":"t0","join":{}}}"#,
            ),
        ] {
            assert!(
                matches!(foreign.parse(message.as_bytes(), "t0"), Parsed::Other),
                "{message}"
            );
        }
        for foreign in [
            Foreign::Nats,
            Foreign::Sockudo,
            Foreign::Wse,
            Foreign::Centrifugo,
            Foreign::DurableStreams,
        ] {
            assert!(matches!(foreign.parse(b"x", "t0"), Parsed::Corrupt));
        }
    }
}
