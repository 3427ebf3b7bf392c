//! JSON text to MessagePack, for output.

use rmp::encode;

use crate::json::DEPTH_MAX;

/// The nesting of output: a client's message is repeated inside an answer, a publication's data inside an event inside
/// a batch.
const FRAME_DEPTH_MAX: usize = DEPTH_MAX + 8;

/// The text is not JSON, or nests deeper than any frame does.
#[derive(Debug)]
struct Malformed;

/// An array or map whose end has not been read.
#[derive(Clone, Copy, Default)]
struct OpenContainer {
    /// The position of its one-byte header in the output.
    at: usize,
    /// The number of values so far, including a map's keys.
    values: u32,
    is_map: bool,
}

/// Appends the JSON value `text` as MessagePack.
///
/// Integers from -2^63 to 2^64-1 stay exact, any other number becomes the nearest 64-bit float (an infinite one beyond
/// its range). A lone surrogate, which UTF-8 cannot express, becomes U+FFFD. Repeated keys stay.
///
/// `text` has been checked to be JSON or was written here; anything else would
/// be a defect, and becomes `nil`.
///
/// Cost: one pass over the text. The content of a container with more than 15
/// values and of a string with escapes is moved once more.
pub fn from_json(text: &[u8], out: &mut Vec<u8>) {
    let start = out.len();
    if transcode(text, out).is_err() {
        debug_assert!(false, "not JSON: {}", String::from_utf8_lossy(text));
        out.truncate(start);
        put(encode::write_nil(out));
    }
}

fn transcode(text: &[u8], out: &mut Vec<u8>) -> Result<(), Malformed> {
    let mut stack = [OpenContainer::default(); FRAME_DEPTH_MAX];
    let mut depth = 0_usize;
    let mut rest = text;
    let mut is_done = false;
    while let Some((&byte, behind)) = rest.split_first() {
        if matches!(byte, b' ' | b'\t' | b'\n' | b'\r' | b',' | b':') {
            rest = behind;
            continue;
        }
        if is_done {
            return Err(Malformed);
        }
        if matches!(byte, b'}' | b']') {
            depth = depth.checked_sub(1).ok_or(Malformed)?;
            close(stack[depth], out)?;
            rest = behind;
            is_done = depth == 0;
            continue;
        }
        if depth > 0 {
            stack[depth - 1].values += 1;
        }
        match byte {
            b'{' | b'[' => {
                let is_map = byte == b'{';
                *stack.get_mut(depth).ok_or(Malformed)? = OpenContainer {
                    at: out.len(),
                    values: 0,
                    is_map,
                };
                depth += 1;
                out.push(if is_map { FIX_MAP } else { FIX_ARRAY });
                rest = behind;
                continue;
            }
            b'"' => rest = string(behind, out)?,
            b'-' | b'0'..=b'9' => rest = number(rest, out)?,
            _ => rest = literal(rest, out)?,
        }
        is_done = depth == 0;
    }
    if is_done { Ok(()) } else { Err(Malformed) }
}

/// Writes the number of values of a container into its header.
fn close(open: OpenContainer, out: &mut Vec<u8>) -> Result<(), Malformed> {
    let (fix, wide, len) = if open.is_map {
        (FIX_MAP, MAP_16, open.values / 2)
    } else {
        (FIX_ARRAY, ARRAY_16, open.values)
    };
    if open.is_map && !open.values.is_multiple_of(2) {
        return Err(Malformed);
    }
    let header = open.at..=open.at;
    match (u8::try_from(len), u16::try_from(len)) {
        (Ok(len @ 0..=15), _) => out[open.at] = fix | len,
        (_, Ok(len)) => {
            let [high, low] = len.to_be_bytes();
            out.splice(header, [wide, high, low]);
        }
        _ => {
            let [a, b, c, d] = len.to_be_bytes();
            out.splice(header, [wide + 1, a, b, c, d]);
        }
    }
    Ok(())
}

/// Converts a string; `text` begins after its opening quote. Returns the rest.
fn string<'a>(text: &'a [u8], out: &mut Vec<u8>) -> Result<&'a [u8], Malformed> {
    let end = memchr::memchr2(b'"', b'\\', text).ok_or(Malformed)?;
    if text[end] == b'"' {
        put_str(&text[..end], out)?;
        return Ok(&text[end + 1..]);
    }
    let mut resolved = text[..end].to_vec();
    let mut rest = &text[end..];
    loop {
        match rest {
            [b'"', behind @ ..] => {
                put_str(&resolved, out)?;
                return Ok(behind);
            }
            [b'\\', b'u', behind @ ..] => {
                let (unit, behind) = code_unit(behind)?;
                let (char, behind) = match (unit, behind) {
                    (0xD800..0xDC00, [b'\\', b'u', low @ ..]) => match code_unit(low)? {
                        (low @ 0xDC00..0xE000, behind) => {
                            let pair = char::decode_utf16([unit, low]).next();
                            (pair.and_then(Result::ok), behind)
                        }
                        _ => (None, behind),
                    },
                    _ => (char::from_u32(u32::from(unit)), behind),
                };
                let char = char.unwrap_or(char::REPLACEMENT_CHARACTER);
                resolved.extend_from_slice(char.encode_utf8(&mut [0; 4]).as_bytes());
                rest = behind;
            }
            [b'\\', escaped, behind @ ..] => {
                resolved.push(match escaped {
                    b'b' => 0x08,
                    b'f' => 0x0C,
                    b'n' => b'\n',
                    b'r' => b'\r',
                    b't' => b'\t',
                    b'"' | b'\\' | b'/' => *escaped,
                    _ => return Err(Malformed),
                });
                rest = behind;
            }
            _ => {
                let end = memchr::memchr2(b'"', b'\\', rest).ok_or(Malformed)?;
                if end == 0 {
                    return Err(Malformed);
                }
                resolved.extend_from_slice(&rest[..end]);
                rest = &rest[end..];
            }
        }
    }
}

fn code_unit(text: &[u8]) -> Result<(u16, &[u8]), Malformed> {
    let (digits, behind) = text.split_first_chunk::<4>().ok_or(Malformed)?;
    let digits = str::from_utf8(digits).map_err(|_| Malformed)?;
    let unit = u16::from_str_radix(digits, 16).map_err(|_| Malformed)?;
    Ok((unit, behind))
}

fn put_str(bytes: &[u8], out: &mut Vec<u8>) -> Result<(), Malformed> {
    let len = u32::try_from(bytes.len()).map_err(|_| Malformed)?;
    put(encode::write_str_len(out, len));
    out.extend_from_slice(bytes);
    Ok(())
}

fn number<'a>(text: &'a [u8], out: &mut Vec<u8>) -> Result<&'a [u8], Malformed> {
    let is_part = |byte: &u8| matches!(byte, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E');
    let end = text.iter().take_while(|byte| is_part(byte)).count();
    let (digits, behind) = text.split_at(end);
    let digits = str::from_utf8(digits).map_err(|_| Malformed)?;
    if let Ok(number) = digits.parse::<u64>() {
        put(encode::write_uint(out, number));
    } else if let Ok(number) = digits.parse::<i64>().map_err(drop).and_then(not_zero) {
        put(encode::write_sint(out, number));
    } else {
        let number = digits.parse::<f64>().map_err(|_| Malformed)?;
        put(encode::write_f64(out, number));
    }
    Ok(behind)
}

/// Refuses `-0`, which only a float can represent.
fn not_zero(number: i64) -> Result<i64, ()> {
    if number == 0 { Err(()) } else { Ok(number) }
}

fn literal<'a>(text: &'a [u8], out: &mut Vec<u8>) -> Result<&'a [u8], Malformed> {
    if let Some(behind) = text.strip_prefix(b"true") {
        put(encode::write_bool(out, true));
        Ok(behind)
    } else if let Some(behind) = text.strip_prefix(b"false") {
        put(encode::write_bool(out, false));
        Ok(behind)
    } else {
        let behind = text.strip_prefix(b"null").ok_or(Malformed)?;
        put(encode::write_nil(out));
        Ok(behind)
    }
}

/// Writing to memory does not fail.
fn put<T, E: std::fmt::Debug>(written: Result<T, E>) {
    written.expect("memory takes everything");
}

const FIX_MAP: u8 = 0x80;
const FIX_ARRAY: u8 = 0x90;
/// The marker of a length of 16 bits; that of 32 bits is the next one.
const ARRAY_16: u8 = 0xDC;
const MAP_16: u8 = 0xDE;
