//! The state of a decoder between two reads.

use std::ops::Range;

use super::super::error::ProtocolError;
use super::super::header::{HEADER_BYTES_MAX, Header, OpCode};
use super::super::input::Input;
use super::super::mask::rotate;
use super::super::message::Message;
use super::Whole;

/// The incomplete frame and message, and the payload of the last event.
#[derive(Debug, Default)]
pub(super) struct Partial {
    /// The start of an incomplete header.
    pub(super) header: [u8; HEADER_BYTES_MAX],
    pub(super) header_len: usize,
    /// An incomplete frame.
    pub(super) frame: Option<Frame>,
    /// The payload so far, if that frame is a control frame.
    pub(super) control: Vec<u8>,
    /// An incomplete message.
    pub(super) message: Option<Message>,
    /// The payload borrowed by the last event; freed by the next call.
    pub(super) lent: Vec<u8>,
    /// The message of the last [`Event::Compressed`](super::Event::Compressed), not yet inflated.
    pub(super) compressed: Option<Whole>,
}

/// The frame whose payload is arriving.
#[derive(Clone, Copy, Debug)]
pub(super) struct Frame {
    pub(super) opcode: OpCode,
    pub(super) fin: bool,
    pub(super) compressed: bool,
    /// The masking key, rotated to the next byte of payload.
    pub(super) key: [u8; 4],
    /// Bytes of payload that have not arrived.
    pub(super) remaining: usize,
    /// Part of the payload was in an earlier read.
    pub(super) begun: bool,
}

impl Partial {
    /// Whether a frame or a message is incomplete.
    pub(super) const fn is_open(&self) -> bool {
        self.header_len > 0 || self.frame.is_some() || self.message.is_some()
    }

    /// Completes a header that was cut by the end of a read.
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

    /// Consumes and unmasks the payload that is available.
    pub(super) fn take(&mut self, input: &mut Input<'_>) -> Range<usize> {
        let len = self.remaining.min(input.rest().len());
        let range = input.payload(len, self.key);
        self.key = rotate(self.key, len);
        self.remaining -= len;
        self.begun = true;
        range
    }
}
