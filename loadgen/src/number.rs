//! Unsigned numbers at the front of some bytes, as JSON and MessagePack write them.

use crate::payload::Format;

/// The number at the front of `text`, and its length in bytes.
#[inline]
pub(crate) fn leading(format: Format, text: &[u8]) -> Option<(u64, usize)> {
    match format {
        Format::Json => decimal(text),
        Format::Msgpack => packed(text),
    }
}

/// A number below 10^19 in decimal digits, the first of them not 0 but for 0 itself.
#[inline]
pub(crate) fn decimal(text: &[u8]) -> Option<(u64, usize)> {
    let (mut value, mut length) = (0_u64, 0);
    while let Some(digit @ 0..=9) = text.get(length).map(|byte| byte.wrapping_sub(b'0')) {
        value = value.wrapping_mul(10).wrapping_add(digit.into());
        length += 1;
    }
    let is_plain = length == 1 || text.first() != Some(&b'0');
    ((1..20).contains(&length) && is_plain).then_some((value, length))
}

/// A number in its shortest form.
#[inline]
fn packed(bytes: &[u8]) -> Option<(u64, usize)> {
    let (&first, rest) = bytes.split_first()?;
    let (length, least) = match first {
        0..0x80 => return Some((first.into(), 1)),
        0xCC => (1, 0x80),
        0xCD => (2, 0x100),
        0xCE => (4, 0x1_0000),
        0xCF => (8, 0x1_0000_0000),
        _ => return None,
    };
    let digits = rest.get(..length)?.iter();
    let value = digits.fold(0_u64, |value, &byte| value << 8 | u64::from(byte));
    (value >= least).then_some((value, 1 + length))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_as_they_are_written() {
        for value in [
            0,
            1,
            9,
            10,
            127,
            128,
            255,
            256,
            65_535,
            65_536,
            u32::MAX.into(),
            1 << 32,
            1 << 60,
        ] {
            let text = value.to_string();
            let more = format!("{text},");
            assert_eq!(decimal(more.as_bytes()), Some((value, text.len())));
            let mut bytes = rmp_serde::to_vec(&value).unwrap();
            let length = bytes.len();
            bytes.push(b'x');
            assert_eq!(packed(&bytes), Some((value, length)));
            assert_eq!(packed(&bytes[..length - 1]), None, "{value} is cut");
        }
    }

    #[test]
    fn other_bytes_are_no_numbers() {
        for text in ["", "x", "-1", "07", "12345678901234567890"] {
            assert_eq!(decimal(text.as_bytes()), None, "{text}");
        }
        // Negative, a string, and lengths that are not the shortest.
        for bytes in [
            &[][..],
            &[0xFF],
            &[0xA1, b'x'],
            &[0xCC, 5],
            &[0xCE, 0, 0, 0, 9],
        ] {
            assert_eq!(packed(bytes), None, "{bytes:?}");
        }
    }
}
