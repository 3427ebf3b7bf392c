//! Decodes streams of bytes whole, and cut in every way.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

use super::super::deflate::{DeflateOptions, Deflater, negotiate};
use super::super::testing::{OwnedEvent, decode_read, frame, streams};
use super::*;
use OpCode::{Binary, Close, Ping, Pong, Text};

mod differential;

const MESSAGE_BYTES_MAX: usize = 100_000;

const LIMITS: DecoderLimits = DecoderLimits {
    message_bytes_max: MESSAGE_BYTES_MAX,
};

fn agreed() -> Agreed {
    negotiate(["permessage-deflate"], &DeflateOptions::default()).unwrap()
}

fn agreed_with_context() -> Agreed {
    let options = DeflateOptions {
        client_context: true,
        ..DeflateOptions::default()
    };
    negotiate(["permessage-deflate"], &options).unwrap()
}

/// The events of a stream that arrives in these reads, and how it ends.
fn outcome<'a>(
    agreed: Option<&Agreed>,
    reads: impl IntoIterator<Item = &'a [u8]>,
) -> (Vec<OwnedEvent>, Result<(), ProtocolError>) {
    let mut decoder = Decoder::new(LIMITS, agreed);
    let mut inflater = Inflater::new();
    let mut events = Vec::new();
    for read in reads {
        let result = decode_read(&mut decoder, &mut inflater, read, &mut events);
        if result.is_err() {
            return (events, result);
        }
        if !decoder.is_mid_message() && agreed.is_none() {
            assert_eq!(decoder.held_bytes(), 0, "nothing is held between messages");
        }
    }
    (events, Ok(()))
}

/// Checks the outcome of `stream` whole, cut in two at every byte, and byte by byte.
#[track_caller]
fn check_with(
    agreed: Option<&Agreed>,
    stream: &[u8],
    events: &[(OpCode, &[u8])],
    end: Result<(), ProtocolError>,
) {
    let events: Vec<OwnedEvent> = events
        .iter()
        .map(|(opcode, bytes)| (*opcode, bytes.to_vec()))
        .collect();
    let expected = (events, end);
    assert_eq!(outcome(agreed, [stream]), expected, "whole");
    assert_eq!(outcome(agreed, stream.chunks(1)), expected, "byte by byte");
    for cut in 1..stream.len().min(2000) {
        let (head, tail) = stream.split_at(cut);
        assert_eq!(outcome(agreed, [head, tail]), expected, "cut at {cut}");
    }
}

#[track_caller]
fn check(frames: &[&[u8]], events: &[(OpCode, &[u8])], end: Result<(), ProtocolError>) {
    check_with(None, &frames.concat(), events, end);
}

#[track_caller]
fn check_refused(frames: &[&[u8]], error: ProtocolError) {
    check(frames, &[], Err(error));
}

#[test]
fn whole_messages_are_delivered() {
    check(&[&frame(0x81, b"")], &[(Text, b"")], Ok(()));
    check(&[&frame(0x82, b"")], &[(Binary, b"")], Ok(()));
    check(
        &[&frame(0x81, "h€llo".as_bytes()), &frame(0x82, b"\xff\x00")],
        &[(Text, "h€llo".as_bytes()), (Binary, b"\xff\x00")],
        Ok(()),
    );
    for len in [1, 124, 125, 126, 127, 1000] {
        let payload = vec![b'x'; len];
        check(&[&frame(0x82, &payload)], &[(Binary, &payload)], Ok(()));
    }
}

#[test]
fn long_messages_are_delivered() {
    for len in [65_534, 65_535, 65_536, MESSAGE_BYTES_MAX] {
        let payload = vec![b'x'; len];
        let stream = frame(0x81, &payload);
        let expected = (vec![(Text, payload)], Ok(()));
        assert_eq!(outcome(None, [&stream[..]]), expected);
        for size in [1, 1000, 16_384] {
            assert_eq!(outcome(None, stream.chunks(size)), expected);
        }
    }
}

#[test]
fn fragments_are_joined_and_control_frames_come_between() {
    check(
        &[
            &frame(0x01, b"he"),
            &frame(0x89, b"p"),
            &frame(0x00, b""),
            &frame(0x8a, b""),
            &frame(0x80, b"llo"),
            &frame(0x82, b"next"),
        ],
        &[
            (Ping, b"p"),
            (Pong, b""),
            (Text, b"hello"),
            (Binary, b"next"),
        ],
        Ok(()),
    );
    check(
        &[&frame(0x02, b""), &frame(0x80, b"")],
        &[(Binary, b"")],
        Ok(()),
    );
}

#[test]
fn f14_everything_after_a_close_is_ignored() {
    check(
        &[
            &frame(0x88, b"\x03\xe8bye"),
            &frame(0x81, b"late"),
            b"\xff\xff",
        ],
        &[(Close, b"\x03\xe8bye")],
        Ok(()),
    );
    check(
        &[
            &frame(0x01, b"unfinished"),
            &frame(0x88, b""),
            &frame(0x80, b""),
        ],
        &[(Close, b"")],
        Ok(()),
    );
}

#[test]
fn f01_f02_a_frame_over_the_limit_is_refused_by_its_header() {
    for len in [MESSAGE_BYTES_MAX as u64 + 1, 1 << 32, (1 << 63) - 1] {
        let mut header = b"\x82\xff".to_vec();
        header.extend(len.to_be_bytes());
        header.extend(b"abcd");
        check_refused(&[&header], ProtocolError::MessageTooBig(MESSAGE_BYTES_MAX));
    }
    check_refused(
        &[b"\x81\xff\x80\0\0\0\0\0\0\0abcd"],
        ProtocolError::LengthTopBit,
    );
}

#[test]
fn f02_a_declared_length_allocates_nothing() {
    let mut decoder = Decoder::new(
        DecoderLimits {
            message_bytes_max: 1 << 24,
        },
        None,
    );
    let stream = b"\x82\xff\0\0\0\0\x01\0\0\0abcd12345";
    decode_read(&mut decoder, &mut Inflater::new(), stream, &mut Vec::new()).unwrap();
    assert!(decoder.is_mid_message());
    assert!(decoder.held_bytes() <= 512, "{}", decoder.held_bytes());
}

#[test]
fn m04_the_limit_counts_the_whole_message() {
    let half = vec![0; MESSAGE_BYTES_MAX / 2];
    let exact = [frame(0x02, &half), frame(0x80, &half)].concat();
    let over = [frame(0x02, &half), frame(0x00, &half), frame(0x80, b"x")].concat();
    assert_eq!(outcome(None, [&exact[..]]).0[0].1.len(), MESSAGE_BYTES_MAX);
    let refused = Err(ProtocolError::MessageTooBig(MESSAGE_BYTES_MAX));
    assert_eq!(outcome(None, [&over[..]]), (vec![], refused));
    assert_eq!(outcome(None, over.chunks(777)), (vec![], refused));
}

#[test]
fn f03_non_minimal_lengths_are_refused() {
    check_refused(
        &[b"\x82\xfe\x00\x05abcd\0\0\0\0\0"],
        ProtocolError::NonMinimalLength,
    );
    let message = [&b"\x82\xff\0\0\0\0\0\0\0\xc8abcd"[..], &[0; 200]];
    check_refused(&message, ProtocolError::NonMinimalLength);
}

#[test]
fn f04_unmasked_frames_are_refused() {
    check_refused(&[b"\x81\x05hello"], ProtocolError::Unmasked);
    check(
        &[&frame(0x89, b""), b"\x82\x00"],
        &[(Ping, b"")],
        Err(ProtocolError::Unmasked),
    );
}

#[test]
fn f05_reserved_bits_and_opcodes_are_refused() {
    for first in 0x80..=0xffu8 {
        let error = match (first & 0x0f, first & 0x70) {
            (opcode @ (3..=7 | 11..=15), _) => ProtocolError::ReservedOpCode(opcode),
            (_, 0) => continue,
            _ => ProtocolError::ReservedBit,
        };
        if first & 0x0f == 0 {
            let begun: &[u8] = &frame(0x01, b"a");
            check_refused(&[begun, &frame(first, b"b")], error);
        } else {
            check_refused(&[&frame(first, b"")], error);
        }
    }
}

#[test]
fn f05_rsv1_is_for_the_first_frame_of_a_compressed_message_only() {
    let agreed = agreed();
    for first in [0x90, 0xa0, 0xc8, 0xc9, 0xca] {
        check_with(
            Some(&agreed),
            &frame(first, b""),
            &[],
            Err(ProtocolError::ReservedBit),
        );
    }
    let continued = [frame(0x41, b"\x02"), frame(0xc0, b"\x00")].concat();
    check_with(
        Some(&agreed),
        &continued,
        &[],
        Err(ProtocolError::ReservedBit),
    );
    // Without the bit, a message is not inflated.
    check_with(
        Some(&agreed),
        &frame(0x81, b"plain"),
        &[(Text, b"plain")],
        Ok(()),
    );
}

#[test]
fn f06_control_frames_are_short_and_whole() {
    check_refused(&[&frame(0x09, b"")], ProtocolError::FragmentedControl);
    check_refused(&[&frame(0x89, &[0; 126])], ProtocolError::ControlTooLong);
    check_refused(
        &[b"\x89\xfe\x00\x05abcd\0\0\0\0\0"],
        ProtocolError::ControlTooLong,
    );
    check(&[&frame(0x89, &[7; 125])], &[(Ping, &[7; 125])], Ok(()));
}

#[test]
fn f07_fragments_have_their_order() {
    check_refused(&[&frame(0x80, b"a")], ProtocolError::UnexpectedContinuation);
    check_refused(&[&frame(0x00, b"a")], ProtocolError::UnexpectedContinuation);
    check(
        &[&frame(0x81, b"a"), &frame(0x80, b"b")],
        &[(Text, b"a")],
        Err(ProtocolError::UnexpectedContinuation),
    );
    for first in [0x01, 0x02, 0x81, 0x82] {
        let begun: &[u8] = &frame(0x01, b"a");
        check_refused(
            &[begun, &frame(first, b"b")],
            ProtocolError::InterleavedMessage,
        );
    }
}

#[test]
fn f08_memory_is_independent_of_the_number_of_fragments() {
    let mut decoder = Decoder::new(
        DecoderLimits {
            message_bytes_max: 1 << 20,
        },
        None,
    );
    let mut inflater = Inflater::new();
    let mut events = Vec::new();
    decode_read(&mut decoder, &mut inflater, &frame(0x02, b""), &mut events).unwrap();
    let empty = frame(0x00, b"").repeat(1000);
    let tiny = frame(0x00, b"x").repeat(1000);
    for sent in (1000..=100_000).step_by(1000) {
        decode_read(&mut decoder, &mut inflater, &empty, &mut events).unwrap();
        decode_read(&mut decoder, &mut inflater, &tiny, &mut events).unwrap();
        assert!(decoder.is_mid_message());
        assert!(decoder.held_bytes() <= sent + sent / 4 + 4096 + size_of::<Partial>());
    }
    decode_read(&mut decoder, &mut inflater, &frame(0x80, b""), &mut events).unwrap();
    assert_eq!(events, [(Binary, vec![b'x'; 100_000])]);
    assert_eq!(decoder.held_bytes(), 0);
}

#[test]
fn f08_65536_legal_fragments_pass() {
    let mut decoder = Decoder::new(
        DecoderLimits {
            message_bytes_max: 4 << 20,
        },
        None,
    );
    let mut inflater = Inflater::new();
    let mut events = Vec::new();
    let fragments = [
        frame(0x01, &[b'*'; 64]),
        frame(0x00, &[b'*'; 64]).repeat(65_534),
    ]
    .concat();
    for read in fragments.chunks(65_536) {
        decode_read(&mut decoder, &mut inflater, read, &mut events).unwrap();
    }
    decode_read(
        &mut decoder,
        &mut inflater,
        &frame(0x80, &[b'*'; 64]),
        &mut events,
    )
    .unwrap();
    assert_eq!(events, [(Text, vec![b'*'; 4 << 20])]);
}

#[test]
fn f12_invalid_text_is_refused_at_its_first_bad_byte() {
    let good = "κόσμε".as_bytes();
    for bad in [
        &b"\xed\xa0\x80"[..],
        b"\xf4\x90\x80\x80",
        b"\xc0\x80",
        b"\x80",
        b"\xe2\x82a",
    ] {
        let text = [good, bad, b"edited"].concat();
        check_refused(&[&frame(0x81, &text)], ProtocolError::InvalidUtf8);
        for cut in 0..text.len() {
            let (head, tail) = text.split_at(cut);
            let fragments = [frame(0x01, head), frame(0x80, tail)].concat();
            check_with(None, &fragments, &[], Err(ProtocolError::InvalidUtf8));
        }
    }
    check_refused(&[&frame(0x81, b"\xe2\x82")], ProtocolError::InvalidUtf8);
    let cut: &[u8] = &frame(0x01, b"\xe2\x82");
    check_refused(&[cut, &frame(0x80, b"")], ProtocolError::InvalidUtf8);
    check(
        &[cut, &frame(0x80, b"\xac")],
        &[(Text, "€".as_bytes())],
        Ok(()),
    );
}

#[test]
fn f12_a_bad_byte_is_refused_before_the_frame_or_the_message_ends() {
    // The header declares 1,000 bytes; U+110000 is impossible at its second byte.
    let mut begun = frame(0x01, &[b'x'; 1000]);
    let text = frame(0x01, b"\xf4\x90");
    begun.truncate(8);
    begun.extend_from_slice(&text[6..]);
    check_refused(&[&begun], ProtocolError::InvalidUtf8);
    begun.pop();
    check(&[&begun], &[], Ok(()));
    // An unfinished message fails too.
    check_refused(&[&frame(0x01, b"ok \xff")], ProtocolError::InvalidUtf8);
}

#[test]
fn f13_close_frames_are_checked() {
    check(&[&frame(0x88, b"")], &[(Close, b"")], Ok(()));
    check(
        &[&frame(0x88, b"\x0f\xa0ok")],
        &[(Close, b"\x0f\xa0ok")],
        Ok(()),
    );
    check_refused(&[&frame(0x88, b"\x03")], ProtocolError::CloseTooShort);
    check_refused(
        &[&frame(0x88, b"\x03\xed")],
        ProtocolError::InvalidCloseCode(1005),
    );
    check_refused(
        &[&frame(0x88, b"\x03\xe8\xff")],
        ProtocolError::InvalidCloseReason,
    );
}

#[test]
fn everything_after_an_error_is_ignored() {
    let mut decoder = Decoder::new(LIMITS, None);
    let mut inflater = Inflater::new();
    let mut events = Vec::new();
    assert!(
        decode_read(
            &mut decoder,
            &mut inflater,
            &frame(0x81, b"\xff"),
            &mut events
        )
        .is_err()
    );
    assert_eq!(
        decode_read(&mut decoder, &mut inflater, &frame(0x81, b"a"), &mut events),
        Ok(())
    );
    assert!(events.is_empty());
}

#[test]
fn what_is_not_consumed_can_be_handed_in_again() {
    let mut read = [
        frame(0x01, b"one"),
        frame(0x80, b" two"),
        frame(0x82, b"three"),
    ]
    .concat();
    let mut decoder = Decoder::new(LIMITS, None);
    let mut inflater = Inflater::new();
    let mut input = Input::new(&mut read);
    assert_eq!(decoder.next(&mut input), Ok(Some(Event::Fragment)));
    let first = decoder.next(&mut input).unwrap();
    assert_eq!(first, Some(Event::Message(Payload::Text("one two"))));
    let rest = input.rest().to_vec();
    assert_eq!(rest, frame(0x82, b"three"));
    let mut events = Vec::new();
    decode_read(&mut decoder, &mut inflater, &rest, &mut events).unwrap();
    assert_eq!(events, [(Binary, b"three".to_vec())]);
}

#[test]
fn a_compressed_message_may_be_passed_over_where_no_later_one_refers_to_it() {
    for (agreed, expected) in [(agreed(), true), (agreed_with_context(), false)] {
        let mut read = [
            compressed(0x01, b"one"),
            compressed(0x01, b"two"),
            frame(0x81, b"three"),
        ]
        .concat();
        let mut decoder = Decoder::new(LIMITS, Some(&agreed));
        let mut input = Input::new(&mut read);
        assert_eq!(decoder.may_pass_over(), expected);
        assert_eq!(decoder.next(&mut input), Ok(Some(Event::Compressed)));
        if !expected {
            assert_eq!(decoder.next(&mut input), Err(ProtocolError::CorruptDeflate));
            assert_eq!(decoder.next(&mut input), Ok(None));
            continue;
        }
        assert_eq!(decoder.next(&mut input), Ok(Some(Event::Compressed)));
        let inflated = decoder.inflate(&mut input, &mut Inflater::new());
        assert_eq!(inflated, Ok(Payload::Text("two")));
        let rest = input.rest().to_vec();
        assert_eq!(rest, frame(0x81, b"three"));
    }
}

#[test]
fn an_idle_decoder_is_small() {
    assert!(size_of::<Decoder>() <= 40, "{}", size_of::<Decoder>());
}

fn compressed(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    Deflater::new(6).compress(15, payload, &mut bytes);
    frame(0xc0 | first, &bytes)
}

#[test]
fn compressed_messages_are_inflated() {
    // RFC 7692 sections 7.2.3.1, 7.2.3.2 and 7.2.3.4: whole, in fragments, with BFINAL set.
    let agreed = agreed();
    let hello = frame(0xc1, b"\xf2\x48\xcd\xc9\xc9\x07\x00");
    check_with(Some(&agreed), &hello, &[(Text, b"Hello")], Ok(()));
    let fragments = [
        frame(0x41, b"\xf2\x48\xcd"),
        frame(0x89, b"p"),
        frame(0x80, b"\xc9\xc9\x07\x00"),
    ];
    check_with(
        Some(&agreed),
        &fragments.concat(),
        &[(Ping, b"p"), (Text, b"Hello")],
        Ok(()),
    );
    let last = frame(0xc2, b"\xf3\x48\xcd\xc9\xc9\x07\x00\x00");
    check_with(Some(&agreed), &last, &[(Binary, b"Hello")], Ok(()));
}

#[test]
fn c01_a_bomb_is_stopped_at_the_message_limit() {
    let agreed = agreed();
    let bomb = compressed(0x02, &vec![0; 6 << 20]);
    let end = outcome(Some(&agreed), [&bomb[..]]);
    assert_eq!(
        end,
        (vec![], Err(ProtocolError::MessageTooBig(MESSAGE_BYTES_MAX)))
    );
}

#[test]
fn m04_an_incompressible_message_of_the_limit_passes() {
    let mut state = 1u32;
    let noise = std::iter::repeat_with(|| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    });
    let noise: Vec<u8> = noise.take(MESSAGE_BYTES_MAX).collect();
    let stream = compressed(0x02, &noise);
    assert!(stream.len() > MESSAGE_BYTES_MAX);
    assert_eq!(
        outcome(Some(&agreed()), [&stream[..]]),
        (vec![(Binary, noise)], Ok(()))
    );
}

#[test]
fn c03_the_message_after_a_refused_one_on_the_same_inflater_is_intact() {
    let agreed = agreed();
    let mut inflater = Inflater::new();
    for bad in [&b"\xff\xff\xff"[..], b"\xf2\x48\xcd", b"\x07"] {
        let mut decoder = Decoder::new(LIMITS, Some(&agreed));
        let refused = decode_read(
            &mut decoder,
            &mut inflater,
            &frame(0xc2, bad),
            &mut Vec::new(),
        );
        assert_eq!(refused, Err(ProtocolError::CorruptDeflate), "{bad:x?}");
        let mut decoder = Decoder::new(LIMITS, Some(&agreed));
        let mut events = Vec::new();
        decode_read(
            &mut decoder,
            &mut inflater,
            &compressed(0x02, b"intact"),
            &mut events,
        )
        .unwrap();
        assert_eq!(events, [(Binary, b"intact".to_vec())]);
    }
}

#[test]
fn f12_compressed_text_is_checked() {
    let text = compressed(0x01, b"bad \xff");
    check_with(Some(&agreed()), &text, &[], Err(ProtocolError::InvalidUtf8));
}

#[test]
fn c07_an_empty_message_after_another_is_delivered() {
    let stream = [
        compressed(0x02, b"first"),
        compressed(0x02, b""),
        compressed(0x02, b"last"),
    ];
    for agreed in [agreed(), agreed_with_context()] {
        check_with(
            Some(&agreed),
            &stream.concat(),
            &[(Binary, b"first"), (Binary, b""), (Binary, b"last")],
            Ok(()),
        );
    }
}

#[test]
fn a_client_with_a_context_may_refer_to_earlier_messages() {
    // RFC 7692 section 7.2.3.3: the second Hello is a reference to the first.
    let stream = [
        frame(0xc1, b"\xf2\x48\xcd\xc9\xc9\x07\x00"),
        frame(0xc1, b"\xf2\x00\x11\x00\x00"),
    ];
    let events: &[(OpCode, &[u8])] = &[(Text, b"Hello"), (Text, b"Hello")];
    check_with(
        Some(&agreed_with_context()),
        &stream.concat(),
        events,
        Ok(()),
    );
    // c03: without a context there is nothing to refer to.
    let corrupt = Err(ProtocolError::CorruptDeflate);
    check_with(Some(&agreed()), &stream.concat(), &events[..1], corrupt);
}

/// `stream` in reads that end at `cuts`.
fn cut<'a>(stream: &'a [u8], cuts: &[Index]) -> Vec<&'a [u8]> {
    let mut ends: Vec<usize> = cuts.iter().map(|cut| cut.index(stream.len() + 1)).collect();
    ends.push(stream.len());
    ends.sort_unstable();
    let mut start = 0;
    let reads = ends
        .into_iter()
        .map(|end| &stream[std::mem::replace(&mut start, end)..end]);
    reads.collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn any_chunking_equals_the_whole(stream in streams(), cuts in vec(any::<Index>(), 0..12)) {
        for agreed in [None, Some(agreed())] {
            let whole = outcome(agreed.as_ref(), [&stream[..]]);
            prop_assert_eq!(&outcome(agreed.as_ref(), cut(&stream, &cuts)), &whole);
        }
    }

    #[test]
    fn any_chunking_of_compressed_messages_equals_the_whole(
        payloads in vec(vec(any::<u8>(), 0..200), 1..5),
        cuts in vec(any::<Index>(), 0..12),
        flip in proptest::option::weighted(0.5, (any::<Index>(), 1u8..)),
    ) {
        let mut stream: Vec<u8> = payloads.iter().flat_map(|p| compressed(0x02, p)).collect();
        if let Some((at, bits)) = flip {
            let at = at.index(stream.len());
            stream[at] ^= bits;
        }
        for agreed in [agreed(), agreed_with_context()] {
            let whole = outcome(Some(&agreed), [&stream[..]]);
            prop_assert_eq!(&outcome(Some(&agreed), cut(&stream, &cuts)), &whole);
            if flip.is_none() {
                let expected: Vec<OwnedEvent> = payloads.iter().map(|p| (Binary, p.clone())).collect();
                prop_assert_eq!(whole, (expected, Ok(())));
            }
        }
    }
}
