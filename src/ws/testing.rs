//! Helpers of this module's tests: masked frames, a collector of events, random streams.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

use super::close_code::CloseCode;
use super::deflate::Inflater;
use super::header::OpCode;
use super::mask::unmask;
use super::{Decoder, Event, Input, ProtocolError, encode};

const KEY: [u8; 4] = [0xa5, 0x01, 0x00, 0xff];

/// An owned event; a close as the bytes of its code and reason.
pub(super) type OwnedEvent = (OpCode, Vec<u8>);

/// A masked frame with `first` as its first byte, the length in its shortest form.
pub(super) fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode::put_header(&mut bytes, OpCode::Text, false, payload.len());
    bytes[0] = first;
    bytes[1] |= 0x80;
    bytes.extend_from_slice(&KEY);
    bytes.extend_from_slice(payload);
    let start = bytes.len() - payload.len();
    unmask(&mut bytes[start..], KEY);
    bytes
}

/// Decodes one read and appends its events.
pub(super) fn decode_read(
    decoder: &mut Decoder,
    inflater: &mut Inflater,
    read: &[u8],
    events: &mut Vec<OwnedEvent>,
) -> Result<(), ProtocolError> {
    let mut read = read.to_vec();
    let mut input = Input::new(&mut read);
    while let Some(event) = decoder.next(&mut input)? {
        events.push(match event {
            Event::Message(payload) => (payload.opcode(), payload.bytes().to_vec()),
            Event::Fragment => continue,
            Event::Compressed => {
                let payload = decoder.inflate(&mut input, inflater)?;
                (payload.opcode(), payload.bytes().to_vec())
            }
            Event::Ping(payload) => (OpCode::Ping, payload.to_vec()),
            Event::Pong(payload) => (OpCode::Pong, payload.to_vec()),
            Event::Close(None) => (OpCode::Close, Vec::new()),
            Event::Close(Some((CloseCode(code), reason))) => (
                OpCode::Close,
                [&code.to_be_bytes(), reason.as_bytes()].concat(),
            ),
        });
    }
    assert!(
        input.is_empty(),
        "all input is consumed before there are no more events"
    );
    Ok(())
}

/// Streams from a client: most of them valid, some with one invalid frame or byte.
pub(super) fn streams() -> impl Strategy<Value = Vec<u8>> {
    let frames = prop_oneof![
        6 => whole_message(),
        4 => fragmented_message(),
        2 => control(),
        1 => long_message(),
    ];
    let noise = prop_oneof![
        12 => Just(Vec::new()),
        1 => (any::<u8>(), vec(any::<u8>(), 0..40)).prop_map(|(first, payload)| frame(first, &payload)),
        1 => vec(any::<u8>(), 0..20),
    ];
    let close = prop_oneof![
        2 => Just(Vec::new()),
        1 => (any::<u16>(), ".{0,30}").prop_map(|(code, reason)| {
            frame(0x88, &[&code.to_be_bytes(), reason.as_bytes()].concat())
        }),
        1 => (999..1016u16).prop_map(|code| frame(0x88, &code.to_be_bytes())),
        1 => vec(any::<u8>(), 0..3).prop_map(|payload| frame(0x88, &payload)),
    ];
    let flip = proptest::option::weighted(0.3, (any::<Index>(), 1u8..));
    (vec((frames, noise), 0..8), close, control(), flip).prop_map(|(frames, close, after, flip)| {
        let mut stream: Vec<u8> = frames
            .into_iter()
            .flat_map(|(a, b)| [a, b].concat())
            .collect();
        stream.extend(close);
        stream.extend(after);
        if let Some((at, bits)) = flip {
            let at = at.index(stream.len());
            stream[at] ^= bits;
        }
        stream
    })
}

fn whole_message() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        ".{0,80}".prop_map(|text: String| frame(0x81, text.as_bytes())),
        vec(any::<u8>(), 0..300).prop_map(|payload| frame(0x82, &payload)),
    ]
}

fn long_message() -> impl Strategy<Value = Vec<u8>> {
    (65_000..66_000usize, any::<bool>())
        .prop_map(|(len, is_text)| frame(if is_text { 0x81 } else { 0x82 }, &vec![b'l'; len]))
}

fn control() -> impl Strategy<Value = Vec<u8>> {
    (0x89u8..=0x8a, vec(any::<u8>(), 0..=125)).prop_map(|(first, payload)| frame(first, &payload))
}

/// A text in fragments cut anywhere, with control frames between them.
fn fragmented_message() -> impl Strategy<Value = Vec<u8>> {
    let fragments = vec((any::<Index>(), proptest::option::of(control())), 1..6);
    (".{0,60}", fragments).prop_map(|(text, mut fragments)| {
        let text = text.as_bytes();
        fragments.sort_by_key(|(cut, _)| cut.index(text.len() + 1));
        let mut stream = Vec::new();
        let mut start = 0;
        let mut first = 0x01;
        for (cut, control) in fragments {
            let cut = cut.index(text.len() + 1);
            stream.extend(frame(first, &text[start..cut]));
            stream.extend(control.unwrap_or_default());
            (start, first) = (cut, 0x00);
        }
        stream.extend(frame(0x80, &text[start..]));
        stream
    })
}
