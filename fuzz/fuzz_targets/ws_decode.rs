//! A stream of client bytes brings the same events however it is cut into reads.
//!
//! The first byte chooses the compression, the second the size of the reads. The frames' keys are
//! part of the input, so the fuzzer finds its way by keys of zeros.

use fanfare::ws::deflate::{Agreed, DeflateOptions, Inflater, negotiate};
use fanfare::ws::{Decoder, DecoderLimits, Event, Input, ProtocolError};

const LIMITS: DecoderLimits = DecoderLimits {
    message_bytes_max: 100_000,
};

pub fn run(input: &[u8]) {
    let Some((&[compression, size], stream)) = input.split_first_chunk::<2>() else {
        return;
    };
    let options = DeflateOptions {
        client_context: compression & 2 != 0,
        ..DeflateOptions::default()
    };
    let agreed = negotiate(["permessage-deflate"], &options).filter(|_| compression & 1 != 0);
    let whole = outcome(agreed.as_ref(), stream, stream.len().max(1));
    let cut = outcome(agreed.as_ref(), stream, usize::from(size).max(1));
    assert_eq!(whole, cut);
}

/// What `stream` brings in reads of `size` bytes, and how it ends.
fn outcome(
    agreed: Option<&Agreed>,
    stream: &[u8],
    size: usize,
) -> (Vec<String>, Result<(), ProtocolError>) {
    let mut decoder = Decoder::new(LIMITS, agreed);
    let mut inflater = Inflater::new();
    let mut heard = Vec::new();
    let mut received = 0;
    for read in stream.to_vec().chunks_mut(size) {
        received += read.len();
        let mut input = Input::new(read);
        loop {
            let event = match decoder.next(&mut input) {
                Ok(Some(Event::Fragment)) => continue,
                Ok(Some(Event::Compressed)) => decoder
                    .inflate(&mut input, &mut inflater)
                    .map(|payload| Some(Event::Message(payload))),
                other => other,
            };
            match event {
                Ok(Some(event)) => heard.push(tell(&event)),
                Ok(None) => break,
                Err(error) => return (heard, Err(error)),
            }
        }
        assert!(input.is_empty());
        if agreed.is_none() {
            assert!(decoder.held_bytes() <= received + received / 4 + 8192);
        }
    }
    (heard, Ok(()))
}

fn tell(event: &Event<'_>) -> String {
    if let Event::Message(payload) = event {
        assert!(payload.bytes().len() <= LIMITS.message_bytes_max);
    }
    format!("{event:?}")
}
