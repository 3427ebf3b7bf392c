//! The data value of every message: a string, in JSON of exactly the asked length,
//! with topic, publisher, sequence number and send time.
//!
//! ```text
//! "fanfare WWWWWWWW SSSSSSSS tttttttttttttttt padding.. "     (without the spaces)
//! ```
//!
//! `W` topic and publisher, `S` sequence number, `t` send time in nanoseconds
//! since the generator started, all in lower-case hexadecimal. The padding is a
//! window into a fixed random text. It moves with the sequence number, so that
//! bytes of one message do not match those of another. In MessagePack a header
//! replaces the opening quote, and there is no closing one.

use clap::ValueEnum;

/// How messages are encoded in both directions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// Text frames.
    Json,
    /// Binary frames.
    Msgpack,
}

/// Starts every payload, after the quote or the last byte of the header.
pub(crate) const MAGIC: [u8; 7] = *b"fanfare";

/// Bytes before the padding.
pub(crate) const HEAD_BYTES: usize = 40;

/// Smallest payload: the head and the closing quote.
pub(crate) const PAYLOAD_BYTES_MIN: usize = HEAD_BYTES + 1;

/// Number of different windows into the padding text.
const WINDOWS: usize = 256;

/// Bits of a publisher in [`Source::number`]; the rest is the topic's.
const PUBLISHER_BITS: u32 = 15;

/// Publishers of one run.
pub(crate) const PUBLISHERS_MAX: u16 = 1 << PUBLISHER_BITS;

/// Topics of one run.
pub(crate) const TOPICS_MAX: u32 = 1 << (u32::BITS - PUBLISHER_BITS);

/// Topic and publisher of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Source {
    /// Below [`TOPICS_MAX`].
    pub(crate) topic: u32,
    /// Below [`PUBLISHERS_MAX`].
    pub(crate) publisher: u16,
}

impl Source {
    pub(crate) fn number(self) -> u32 {
        self.topic << PUBLISHER_BITS | u32::from(self.publisher)
    }

    pub(crate) fn from_number(number: u32) -> Self {
        Self {
            topic: number >> PUBLISHER_BITS,
            publisher: number as u16 & (PUBLISHERS_MAX - 1),
        }
    }
}

/// The fixed-width fields of a payload, still as digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PayloadHead {
    /// Eight digits: [`Source::number`].
    pub(crate) source: u64,
    /// Eight digits.
    pub(crate) sequence: u64,
    /// Sixteen digits.
    pub(crate) time: u128,
}

impl PayloadHead {
    /// The fields of a payload that starts with [`MAGIC`], valid or not.
    #[inline]
    pub(crate) fn of(data: &[u8]) -> Option<Self> {
        let head: &[u8; HEAD_BYTES] = data.first_chunk()?;
        let ([magic, source, sequence, time_high, time_low], []) = head.as_chunks::<8>() else {
            return None;
        };
        // The first byte, the quote or of the header, is compared with the envelope.
        if magic[1..] != MAGIC {
            return None;
        }
        Some(Self {
            source: u64::from_le_bytes(*source),
            sequence: u64::from_le_bytes(*sequence),
            time: u128::from(u64::from_le_bytes(*time_high))
                | u128::from(u64::from_le_bytes(*time_low)) << 64,
        })
    }
}

/// Writes and checks payloads of one length.
#[derive(Debug)]
pub(crate) struct Layout {
    format: Format,
    /// Length in JSON, quotes included.
    bytes: usize,
    padding: Vec<u8>,
}

impl Layout {
    /// A layout of `bytes`, at least [`PAYLOAD_BYTES_MIN`]; `seed` chooses the
    /// padding text.
    pub(crate) fn new(bytes: usize, seed: u64) -> Self {
        Self::with_format(Format::Json, bytes, seed)
    }

    /// As [`Self::new`], in another format.
    pub(crate) fn with_format(format: Format, bytes: usize, seed: u64) -> Self {
        assert!(bytes >= PAYLOAD_BYTES_MIN, "checked on the command line");
        let mut random = Random::new(seed);
        let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
        let padding = (0..bytes - PAYLOAD_BYTES_MIN + WINDOWS)
            .map(|_| alphabet[(random.next() >> 58) as usize])
            .collect();
        Self {
            format,
            bytes,
            padding,
        }
    }

    /// How payloads are encoded.
    #[inline]
    pub(crate) fn format(&self) -> Format {
        self.format
    }

    /// Length of every payload from its opening quote, or the last byte of its
    /// header, to its end.
    #[inline]
    pub(crate) fn bytes(&self) -> usize {
        match self.format {
            Format::Json => self.bytes,
            Format::Msgpack => self.bytes - 1,
        }
    }

    /// Appends one payload to `out`.
    pub(crate) fn write(&self, out: &mut Vec<u8>, source: Source, sequence: u32, time_ns: u64) {
        match self.format {
            Format::Json => out.push(b'"'),
            Format::Msgpack => put_str_header(out, self.bytes - 2),
        }
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&digits(source.number()).to_le_bytes());
        out.extend_from_slice(&digits(sequence).to_le_bytes());
        out.extend_from_slice(&digits((time_ns >> 32) as u32).to_le_bytes());
        out.extend_from_slice(&digits(time_ns as u32).to_le_bytes());
        out.extend_from_slice(self.padding_of(source.number(), sequence));
        if self.format == Format::Json {
            out.push(b'"');
        }
    }

    /// Whether everything after the head of `data`, which has [`Self::bytes`]
    /// bytes, is what [`Self::write`] would have written.
    #[inline]
    pub(crate) fn tail_matches(&self, data: &[u8], source: u32, sequence: u32) -> bool {
        let padding = match (self.format, &data[HEAD_BYTES..]) {
            (Format::Json, [padding @ .., b'"']) => padding,
            (Format::Json, _) => return false,
            (Format::Msgpack, padding) => padding,
        };
        padding == self.padding_of(source, sequence)
    }

    #[inline]
    fn padding_of(&self, source: u32, sequence: u32) -> &[u8] {
        let mixed = (sequence ^ source.rotate_left(7)).wrapping_mul(0x9E37_79B1);
        let start = (mixed >> 24) as usize;
        &self.padding[start..start + self.bytes - PAYLOAD_BYTES_MIN]
    }
}

/// Appends the header of a MessagePack string of `length` bytes.
pub(crate) fn put_str_header(out: &mut Vec<u8>, length: usize) {
    match length {
        0..32 => out.push(0xA0 | length as u8),
        32..256 => out.extend([0xD9, length as u8]),
        256..65_536 => {
            out.push(0xDA);
            out.extend((length as u16).to_be_bytes());
        }
        _ => {
            out.push(0xDB);
            out.extend((length as u32).to_be_bytes());
        }
    }
}

/// `value` as eight hexadecimal digits, the first digit in the lowest byte.
#[inline]
pub(crate) fn digits(value: u32) -> u64 {
    const ONES: u64 = 0x0101_0101_0101_0101;
    let x = u64::from(value);
    let x = (x & 0xFFFF) << 32 | x >> 16;
    let x = (x & 0x0000_00FF_0000_00FF) << 16 | (x >> 8) & 0x0000_00FF_0000_00FF;
    let x = (x & 0x000F_000F_000F_000F) << 8 | (x >> 4) & 0x000F_000F_000F_000F;
    let letters = ((x + 6 * ONES) >> 4) & ONES;
    x + ONES * u64::from(b'0') + letters * u64::from(b'a' - b'0' - 10)
}

/// The number that [`digits`] would have written as `text`.
#[inline]
pub(crate) fn number(text: u64) -> Option<u32> {
    const ONES: u64 = 0x0101_0101_0101_0101;
    let x = (text & (0x0F * ONES)).wrapping_add(((text >> 6) & ONES) * 9);
    let x = (x & 0x000F_000F_000F_000F) << 4 | (x >> 8) & 0x000F_000F_000F_000F;
    let x = (x & 0x0000_00FF_0000_00FF) << 8 | (x >> 16) & 0x0000_00FF_0000_00FF;
    let x = (x & 0xFFFF) << 16 | (x >> 32) & 0xFFFF;
    let value = x as u32;
    (digits(value) == text).then_some(value)
}

/// The nanoseconds in a [`PayloadHead`]'s time.
#[inline]
pub(crate) fn time_ns(text: u128) -> Option<u64> {
    let high = number(text as u64)?;
    let low = number((text >> 64) as u64)?;
    Some(u64::from(high) << 32 | u64::from(low))
}

/// A small seeded generator (SplitMix64): masks, padding, shuffles.
#[derive(Debug, Clone)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    #[inline]
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let x = (self.0 ^ self.0 >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let x = (x ^ x >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        x ^ x >> 31
    }

    /// A masking key.
    #[inline]
    pub(crate) fn mask(&mut self) -> u32 {
        self.next() as u32
    }

    /// A number under `bound`, which is not 0.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    /// Fisher-Yates.
    pub(crate) fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            items.swap(i, self.below(i + 1));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_what_format_writes_and_parse_back() {
        let mut random = Random::new(1);
        let edges = [0, 1, 9, 10, 15, 16, 0xABCD_EF01, u32::MAX];
        for value in edges
            .into_iter()
            .chain((0..10_000).map(|_| random.next() as u32))
        {
            let text = digits(value);
            assert_eq!(text.to_le_bytes(), *format!("{value:08x}").as_bytes());
            assert_eq!(number(text), Some(value));
        }
    }

    #[test]
    fn other_characters_are_not_digits() {
        for text in [
            b"0000000A",
            b"0000000g",
            b"0000000@",
            b" 0000000",
            b"0000\x0000a",
        ] {
            assert_eq!(number(u64::from_le_bytes(*text)), None, "{text:?}");
        }
    }

    #[test]
    fn payloads_are_json_strings_of_the_asked_length() {
        for bytes in [PAYLOAD_BYTES_MIN, 42, 128, 1_000] {
            let layout = Layout::new(bytes, 7);
            let source = Source {
                topic: TOPICS_MAX - 1,
                publisher: PUBLISHERS_MAX - 1,
            };
            let mut data = Vec::new();
            layout.write(&mut data, source, 77, 1 << 40);
            assert_eq!(data.len(), bytes);
            assert!(serde_json::from_slice::<String>(&data).is_ok());
            let head = PayloadHead::of(&data).unwrap();
            assert_eq!(number(head.source).map(Source::from_number), Some(source));
            assert_eq!(number(head.sequence), Some(77));
            assert_eq!(time_ns(head.time), Some(1 << 40));
            assert!(layout.tail_matches(&data, source.number(), 77));
        }
    }

    #[test]
    fn packed_payloads_are_strings_with_the_same_text() {
        for bytes in [PAYLOAD_BYTES_MIN, 128, 257, 258, 1_000, 70_000] {
            let source = Source {
                topic: 3,
                publisher: 9,
            };
            let write = |format| {
                let mut data = Vec::new();
                let layout = Layout::with_format(format, bytes, 7);
                layout.write(&mut data, source, 77, 1 << 40);
                (layout, data)
            };
            let (json, text) = write(Format::Json);
            let (msgpack, packed) = write(Format::Msgpack);
            let text: String = serde_json::from_slice(&text).unwrap();
            assert_eq!(rmp_serde::from_slice::<String>(&packed).unwrap(), text);
            assert_eq!(json.bytes(), msgpack.bytes() + 1);
            let data = &packed[packed.len() - msgpack.bytes()..];
            assert_eq!(
                PayloadHead::of(data).map(|head| number(head.sequence)),
                Some(Some(77))
            );
            assert!(msgpack.tail_matches(data, source.number(), 77));
            let has_padding = bytes > PAYLOAD_BYTES_MIN;
            assert!(!has_padding || !msgpack.tail_matches(data, source.number(), 78));
        }
    }

    #[test]
    fn a_changed_byte_anywhere_is_noticed() {
        let layout = Layout::new(128, 7);
        let source = Source {
            topic: 0,
            publisher: 1,
        };
        let mut data = Vec::new();
        layout.write(&mut data, source, 5, 9);
        let whole = PayloadHead::of(&data);
        // The first byte is compared with the envelope.
        for at in 1..data.len() {
            let mut changed = data.clone();
            changed[at] ^= 1;
            let same_head = PayloadHead::of(&changed) == whole;
            assert!(!same_head || !layout.tail_matches(&changed, source.number(), 5));
        }
    }
}
