//! A cursor over the bytes of one read.

use std::ops::Range;

use super::mask::unmask;

/// The bytes of one read, consumed from the front by [`Decoder::next`](super::Decoder::next).
///
/// Payloads are unmasked in place as they are consumed. Bytes not consumed are unchanged, so that
/// [`rest`](Self::rest) can be kept and passed again later.
#[derive(Debug)]
pub struct Input<'b> {
    bytes: &'b mut [u8],
    /// Bytes before this index are consumed.
    at: usize,
}

impl<'b> Input<'b> {
    /// A cursor at the start of `bytes`.
    #[must_use]
    pub const fn new(bytes: &'b mut [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// The bytes not consumed, as received.
    #[must_use]
    #[inline]
    pub fn rest(&self) -> &[u8] {
        &self.bytes[self.at..]
    }

    /// Whether all bytes are consumed.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.at == self.bytes.len()
    }

    /// Consumes `len` bytes, or the rest if that is less.
    #[inline]
    pub(super) fn advance(&mut self, len: usize) {
        debug_assert!(len <= self.rest().len());
        self.at += len;
    }

    /// Consumes one byte.
    pub(super) fn byte(&mut self) -> Option<u8> {
        let byte = *self.bytes.get(self.at)?;
        self.at += 1;
        Some(byte)
    }

    /// Consumes the rest.
    pub(super) const fn clear(&mut self) {
        self.at = self.bytes.len();
    }

    /// Consumes and unmasks up to `len` bytes of payload, and returns their range.
    #[inline]
    pub(super) fn payload(&mut self, len: usize, key: [u8; 4]) -> Range<usize> {
        let range = self.at..self.at + len;
        unmask(&mut self.bytes[range.clone()], key);
        self.at = range.end;
        range
    }

    /// A payload consumed before.
    #[inline]
    pub(super) fn at(&mut self, range: Range<usize>) -> &mut [u8] {
        &mut self.bytes[range]
    }
}
