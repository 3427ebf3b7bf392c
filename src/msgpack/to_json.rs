//! MessagePack to JSON text, for messages of clients.

use rmp::Marker;

use crate::json::{DEPTH_MAX, put_string};

/// Why a MessagePack message is refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum MsgpackError {
    /// The message ends within a value.
    #[error("the message ends in the middle of a value")]
    Truncated,
    /// Bytes follow the first value.
    #[error("there is more than one value")]
    Trailing,
    /// Nested deeper than [`DEPTH_MAX`].
    #[error("nested deeper than 64 levels")]
    TooDeep,
    /// A map has a key that is not a string.
    #[error("a key is not a string")]
    Key,
    /// A string is not UTF-8.
    #[error("a string is not UTF-8")]
    Utf8,
    /// Binary data, an extension, or a byte that begins no value.
    #[error("binary data and extensions have no place in a message")]
    Type,
    /// Not a number, or infinite.
    #[error("a number is not finite")]
    NotFinite,
}

/// An array or map whose end has not been read.
#[derive(Clone, Copy, Default)]
struct OpenContainer {
    /// The number of values to come, including a map's keys.
    left: u64,
    is_map: bool,
    is_first: bool,
}

/// Appends the single value in `bytes` as JSON text. Integers stay exact.
///
/// Cost: one pass. Declared lengths allocate nothing; the text is at most six times as long as the bytes.
///
/// # Errors
/// The bytes are not a single value, or it has no JSON form. What was appended is incomplete.
pub fn to_json(bytes: &[u8], out: &mut Vec<u8>) -> Result<(), MsgpackError> {
    let mut stack = [OpenContainer::default(); DEPTH_MAX];
    let mut depth = 0_usize;
    let mut rest = bytes;
    loop {
        let expects_key = depth > 0 && separate(&mut stack[depth - 1], out);
        let marker = Marker::from_u8(take::<1>(&mut rest)?[0]);
        let len = match marker {
            Marker::FixStr(len) => Some(usize::from(len)),
            Marker::Str8 => Some(usize::from(u8::from_be_bytes(take(&mut rest)?))),
            Marker::Str16 => Some(usize::from(u16::from_be_bytes(take(&mut rest)?))),
            Marker::Str32 => Some(u32::from_be_bytes(take(&mut rest)?) as usize),
            _ => None,
        };
        if let Some(len) = len {
            let (text, behind) = rest.split_at_checked(len).ok_or(MsgpackError::Truncated)?;
            let text = simdutf8::basic::from_utf8(text).map_err(|_| MsgpackError::Utf8)?;
            put_string(out, text);
            rest = behind;
        } else if expects_key {
            return Err(MsgpackError::Key);
        } else if let Some((len, is_map)) = container(marker, &mut rest)? {
            *stack.get_mut(depth).ok_or(MsgpackError::TooDeep)? = OpenContainer {
                left: if is_map { len * 2 } else { len },
                is_map,
                is_first: true,
            };
            depth += 1;
            out.push(if is_map { b'{' } else { b'[' });
        } else {
            scalar(marker, &mut rest, out)?;
        }
        while let Some(open) = depth.checked_sub(1).map(|top| stack[top])
            && open.left == 0
        {
            out.push(if open.is_map { b'}' } else { b']' });
            depth -= 1;
        }
        if depth == 0 {
            return if rest.is_empty() {
                Ok(())
            } else {
                Err(MsgpackError::Trailing)
            };
        }
    }
}

/// Writes the separator before the next value of a container that has one. Returns whether that value is a key.
fn separate(open: &mut OpenContainer, out: &mut Vec<u8>) -> bool {
    let is_key = open.is_map && open.left.is_multiple_of(2);
    if open.is_map && !is_key {
        out.push(b':');
    } else if !open.is_first {
        out.push(b',');
    }
    open.is_first = false;
    open.left -= 1;
    is_key
}

/// The number of entries of a container and whether it is a map, if `marker` begins one.
fn container(marker: Marker, rest: &mut &[u8]) -> Result<Option<(u64, bool)>, MsgpackError> {
    Ok(match marker {
        Marker::FixMap(len) => Some((u64::from(len), true)),
        Marker::FixArray(len) => Some((u64::from(len), false)),
        Marker::Map16 => Some((u64::from(u16::from_be_bytes(take(rest)?)), true)),
        Marker::Array16 => Some((u64::from(u16::from_be_bytes(take(rest)?)), false)),
        Marker::Map32 => Some((u64::from(u32::from_be_bytes(take(rest)?)), true)),
        Marker::Array32 => Some((u64::from(u32::from_be_bytes(take(rest)?)), false)),
        _ => None,
    })
}

fn scalar(marker: Marker, rest: &mut &[u8], out: &mut Vec<u8>) -> Result<(), MsgpackError> {
    match marker {
        Marker::Null => out.extend_from_slice(b"null"),
        Marker::True => out.extend_from_slice(b"true"),
        Marker::False => out.extend_from_slice(b"false"),
        Marker::FixPos(number) => put_integer(out, number),
        Marker::FixNeg(number) => put_integer(out, number),
        Marker::U8 => put_integer(out, u8::from_be_bytes(take(rest)?)),
        Marker::U16 => put_integer(out, u16::from_be_bytes(take(rest)?)),
        Marker::U32 => put_integer(out, u32::from_be_bytes(take(rest)?)),
        Marker::U64 => put_integer(out, u64::from_be_bytes(take(rest)?)),
        Marker::I8 => put_integer(out, i8::from_be_bytes(take(rest)?)),
        Marker::I16 => put_integer(out, i16::from_be_bytes(take(rest)?)),
        Marker::I32 => put_integer(out, i32::from_be_bytes(take(rest)?)),
        Marker::I64 => put_integer(out, i64::from_be_bytes(take(rest)?)),
        Marker::F32 => put_float(out, f64::from(f32::from_be_bytes(take(rest)?)))?,
        Marker::F64 => put_float(out, f64::from_be_bytes(take(rest)?))?,
        _ => return Err(MsgpackError::Type),
    }
    Ok(())
}

fn put_integer(out: &mut Vec<u8>, number: impl itoa::Integer) {
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

/// The shortest text that reads back as the same number.
fn put_float(out: &mut Vec<u8>, number: f64) -> Result<(), MsgpackError> {
    if !number.is_finite() {
        return Err(MsgpackError::NotFinite);
    }
    serde_json::to_writer(out, &number).expect("memory takes everything");
    Ok(())
}

/// The next `N` bytes.
fn take<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], MsgpackError> {
    let (&taken, behind) = rest.split_first_chunk().ok_or(MsgpackError::Truncated)?;
    *rest = behind;
    Ok(taken)
}
