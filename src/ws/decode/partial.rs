//! What a decoder keeps between two reads.

use std::ops::Range;

use super::super::error::ProtocolError;
use super::super::header::{HEADER_BYTES_MAX, Header, OpCode};
use super::super::input::Input;
use super::super::mask::rotate;
use super::super::message::Message;
use super::Whole;

/// Everything that has begun and not ended, and what was lent out.
#[derive(Debug, Default)]
pub(super) struct Partial {
    /// A header whose end has not arrived.
    pub(super) header: [u8; HEADER_BYTES_MAX],
    pub(super) header_len: usize,
    /// A frame whose end has not arrived.
    pub(super) frame: Option<Frame>,
    /// The payload of that frame so far if it is a control frame.
    pub(super) control: Vec<u8>,
    /// A message whose end has not arrived.
    pub(super) message: Option<Message>,
    /// The payload lent out with the last event; freed by the next call.
    pub(super) lent: Vec<u8>,
    /// A compressed message that was told of and not asked for yet.
    pub(super) compressed: Option<Whole>,
}

/// The frame whose payload is arriving.
#[derive(Clone, Copy, Debug)]
pub(super) struct Frame {
    pub(super) opcode: OpCode,
    pub(super) fin: bool,
    pub(super) compressed: bool,
    /// For the next byte of payload.
    pub(super) key: [u8; 4],
    /// Bytes of payload that have not arrived.
    pub(super) remaining: usize,
    /// Some of the payload was in an earlier read.
    pub(super) begun: bool,
}

impl Partial {
    /// Whether something has begun and not ended.
    pub(super) const fn is_open(&self) -> bool {
        self.header_len > 0 || self.frame.is_some() || self.message.is_some()
    }

    /// Goes on with a header that was cut by the end of a read.
    pub(super) fn complete_header(
        &mut self,
        input: &mut Input<'_>,
    ) -> Result<Option<Header>, ProtocolError> {
        while let Some(byte) = input.byte() {
            self.header[self.header_len] = byte;
            self.header_len += 1;
            if let Some(header) = Header::parse(&self.header[..self.header_len])? {
                self.header_len = 0;
                return Ok(Some(header));
            }
        }
        Ok(None)
    }
}

impl Frame {
    /// Whether all of the payload lies in `input`.
    pub(super) fn is_whole_in(&self, input: &Input<'_>) -> bool {
        !self.begun && self.remaining <= input.rest().len()
    }

    /// Consumes and unmasks what is there of the payload.
    pub(super) fn take(&mut self, input: &mut Input<'_>) -> Range<usize> {
        let len = self.remaining.min(input.rest().len());
        let range = input.payload(len, self.key);
        self.key = rotate(self.key, len);
        self.remaining -= len;
        self.begun = true;
        range
    }
}
