//! The same streams decoded by tungstenite: the results agree wherever both are equally strict.

use std::io::{self, Cursor, Read, Write};

use proptest::prelude::*;
use tokio_tungstenite::tungstenite::error::ProtocolError as Refusal;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocket, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message};

use super::super::super::testing::{OwnedEvent, streams};
use super::{MESSAGE_BYTES_MAX, OpCode, ProtocolError, outcome};

/// 1014, as the payload of a close frame begins with it.
const BAD_GATEWAY: &[u8] = b"\x03\xf6";

/// A client that sends nothing more and accepts all replies.
struct Said(Cursor<Vec<u8>>);

impl Read for Said {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

impl Write for Said {
    fn write(&mut self, answer: &[u8]) -> io::Result<usize> {
        Ok(answer.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The events that tungstenite reads from a stream, and whether it refuses it.
fn tungstenite(stream: &[u8]) -> (Vec<OwnedEvent>, bool) {
    let config = WebSocketConfig::default()
        .max_message_size(Some(MESSAGE_BYTES_MAX))
        .max_frame_size(Some(MESSAGE_BYTES_MAX));
    let said = Said(Cursor::new(stream.to_vec()));
    let mut socket = WebSocket::from_raw_socket(said, Role::Server, Some(config));
    let mut events = Vec::new();
    loop {
        events.push(match socket.read() {
            Ok(Message::Text(text)) => (OpCode::Text, text.as_bytes().to_vec()),
            Ok(Message::Binary(bytes)) => (OpCode::Binary, bytes.to_vec()),
            Ok(Message::Ping(bytes)) => (OpCode::Ping, bytes.to_vec()),
            Ok(Message::Pong(bytes)) => (OpCode::Pong, bytes.to_vec()),
            // This is how it reports a code that is not allowed.
            Ok(Message::Close(Some(close))) if close.reason.as_str() == "Protocol violation" => {
                return (events, true);
            }
            Ok(Message::Close(None)) => (OpCode::Close, Vec::new()),
            Ok(Message::Close(Some(close))) => {
                let code = u16::from(close.code).to_be_bytes();
                (OpCode::Close, [&code, close.reason.as_bytes()].concat())
            }
            Ok(Message::Frame(_)) => unreachable!("reading yields no raw frames"),
            Err(Error::ConnectionClosed | Error::AlreadyClosed)
            | Err(Error::Protocol(Refusal::ResetWithoutClosingHandshake)) => {
                return (events, false);
            }
            Err(_) => return (events, true),
        });
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn tungstenite_hears_the_same(stream in streams()) {
        let (ours, end) = outcome(None, [&stream[..]]);
        let (theirs, is_refused) = tungstenite(&stream);
        let is_bad_gateway = |(opcode, payload): &OwnedEvent| {
            *opcode == OpCode::Close && payload.starts_with(BAD_GATEWAY)
        };
        match end {
            // A code registered since it was written.
            Ok(()) if ours.last().is_some_and(is_bad_gateway) => {
                prop_assert_eq!(&ours[..ours.len() - 1], theirs);
            }
            // Rules that it does not enforce.
            Err(ProtocolError::NonMinimalLength | ProtocolError::InvalidCloseCode(_)) => {
                prop_assert!(theirs.starts_with(&ours));
            }
            // It also refuses, unless the violating frame or message never ends.
            Err(error) if !is_refused => {
                prop_assert_eq!(&ours, &theirs);
                prop_assert!(outcome(None, [&[&stream[..], &[0; 200_000]].concat()[..]]).1 == Err(error));
                let (_, is_refused) = tungstenite(&[&stream[..], &[0; 200_000]].concat());
                prop_assert!(is_refused, "{error}");
            }
            _ => {
                prop_assert_eq!(&ours, &theirs);
                prop_assert_eq!(end.is_err(), is_refused, "{:?}", end);
            }
        }
    }
}
