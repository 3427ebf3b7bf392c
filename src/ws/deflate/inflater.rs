//! Decompression of messages from clients, within limits.

use flate2::{Decompress, FlushDecompress, Status};

use super::super::error::ProtocolError;
use super::TAIL;

/// Input allowed for a message whatever its output, in bytes.
const UNPRODUCTIVE_BYTES_FREE: usize = 16 * 1024;
/// Beyond that, input bytes allowed for each byte of output. The most wasteful legal sender, which flushes after every
/// byte, has 7; empty blocks have no output at all.
const WASTE_RATIO_MAX: usize = 8;

/// Input given to the stream at once, between two checks of the output.
const SLICE_BYTES: usize = 16 * 1024;

/// Final blocks allowed inside a message (`BFINAL`, RFC 7692 section 7.2.3.4): `ENDS_FREE`, and one more for every
/// `BYTES_PER_END` bytes of input, because continuing after one costs a copy of the window.
const ENDS_FREE: usize = 16;
const BYTES_PER_END: usize = 256;

/// The maximum distance of a DEFLATE back-reference.
const WINDOW_BYTES: usize = 32 * 1024;

/// An empty final block, fed after a message: the stream ends with it if the message was complete.
const FINAL_BLOCK: [u8; 5] = [0x01, 0x00, 0x00, 0xff, 0xff];

/// Heap memory of a stream in bytes: its window and its tables.
const STREAM_BYTES: usize = 48 * 1024;

/// The most compressed bytes to buffer for a message of `message_bytes_max`: a bad compressor may enlarge
/// incompressible content by an eighth.
#[must_use]
pub const fn compressed_bytes_max(message_bytes_max: usize) -> usize {
    message_bytes_max.saturating_add(message_bytes_max / 8 + 1024)
}

/// A decompression stream, allocated on first use.
#[derive(Debug)]
pub struct Inflater {
    stream: Option<Decompress>,
    keeps_context: bool,
}

impl Inflater {
    /// An inflater without a context: one serves all connections of a shard whose clients keep none.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            stream: None,
            keeps_context: false,
        }
    }

    /// An inflater for one connection whose client keeps a context.
    #[must_use]
    pub const fn with_context() -> Self {
        Self {
            stream: None,
            keeps_context: true,
        }
    }

    /// Bytes of heap memory held.
    #[must_use]
    pub const fn held_bytes(&self) -> usize {
        size_of::<Self>()
            + if self.stream.is_some() {
                STREAM_BYTES
            } else {
                0
            }
    }

    /// Appends the inflated payload of a compressed message (RFC 7692 section 7.2.2) to `out`, at most `limit` bytes.
    ///
    /// Cost: no allocation but the growth of `out`; some nanoseconds a byte.
    ///
    /// # Errors
    ///
    /// The payload is not a complete DEFLATE stream, refers to data outside the window, inflates to more than
    /// `limit`, or mostly inflates to nothing. `out` then holds the output so far.
    pub fn inflate(
        &mut self,
        compressed: &[u8],
        limit: usize,
        out: &mut Vec<u8>,
    ) -> Result<(), ProtocolError> {
        let stream = match &mut self.stream {
            Some(stream) => {
                if !self.keeps_context {
                    stream.reset(false);
                }
                stream
            }
            None => self.stream.insert(Decompress::new(false)),
        };
        let mut run = Inflation {
            stream,
            start: out.len(),
            out_max: limit,
            bytes_in: 0,
            ends: 0,
            out,
        };
        run.out
            .reserve(compressed.len().saturating_mul(3).min(run.out_max) + 1);
        for slice in compressed.chunks(SLICE_BYTES) {
            run.feed(slice)?;
        }
        run.feed(&TAIL)?;
        // A stream with a context has to continue, so its end cannot be tested for.
        if self.keeps_context {
            Ok(())
        } else {
            run.finish()
        }
    }
}

impl Default for Inflater {
    fn default() -> Self {
        Self::new()
    }
}

/// The decompression of one message.
struct Inflation<'a> {
    stream: &'a mut Decompress,
    out: &'a mut Vec<u8>,
    /// Length of `out` before the message.
    start: usize,
    out_max: usize,
    bytes_in: usize,
    /// Final blocks seen.
    ends: usize,
}

impl Inflation<'_> {
    /// Inflates all of `input`. Ends when neither input nor output advances.
    fn feed(&mut self, mut input: &[u8]) -> Result<(), ProtocolError> {
        loop {
            let is_end = self.step(&mut input)?;
            if is_end && !input.is_empty() {
                self.restart_after_end()?;
            } else if input.is_empty() && (is_end || self.out.len() < self.out.capacity()) {
                break;
            }
        }
        let produced = self.out.len() - self.start;
        if self.bytes_in > UNPRODUCTIVE_BYTES_FREE.max(produced.saturating_mul(WASTE_RATIO_MAX)) {
            return Err(ProtocolError::DeflateWaste);
        }
        Ok(())
    }

    /// Runs the stream once; returns whether it ended with a final block.
    fn step(&mut self, input: &mut &[u8]) -> Result<bool, ProtocolError> {
        if self.out.len() == self.out.capacity() {
            // One byte more than allowed, to detect that there is more.
            let produced = self.out.len() - self.start;
            let more = produced.max(256).min(self.out_max - produced + 1);
            self.out.reserve_exact(more);
        }
        let (read, written) = (self.stream.total_in(), self.out.len());
        let status = self
            .stream
            .decompress_vec(input, self.out, FlushDecompress::Sync)
            .map_err(|_| ProtocolError::CorruptDeflate)?;
        let taken = (self.stream.total_in() - read) as usize;
        *input = &input[taken..];
        self.bytes_in += taken;
        if self.out.len() - self.start > self.out_max {
            return Err(ProtocolError::MessageTooBig(self.out_max));
        }
        let is_end = status == Status::StreamEnd;
        if taken == 0 && self.out.len() == written && !is_end && !input.is_empty() {
            return Err(ProtocolError::CorruptDeflate);
        }
        Ok(is_end)
    }

    /// Starts a new stream after a final block, with the output of this message as its window. A context from earlier
    /// messages is lost: a client that ends its streams does not keep one.
    fn restart_after_end(&mut self) -> Result<(), ProtocolError> {
        self.ends += 1;
        if self.ends > ENDS_FREE + self.bytes_in / BYTES_PER_END {
            return Err(ProtocolError::DeflateWaste);
        }
        self.stream.reset(false);
        let window = &self.out[self.start..];
        let window = &window[window.len().saturating_sub(WINDOW_BYTES)..];
        if window.is_empty() {
            return Ok(());
        }
        self.stream
            .set_dictionary(window)
            .map(drop)
            .map_err(|_| ProtocolError::CorruptDeflate)
    }

    /// Checks that the message did not end inside a block.
    fn finish(&mut self) -> Result<(), ProtocolError> {
        let mut input = &FINAL_BLOCK[..];
        let is_end = self.step(&mut input)?;
        if is_end && input.is_empty() {
            Ok(())
        } else {
            Err(ProtocolError::CorruptDeflate)
        }
    }
}

#[cfg(test)]
mod tests;
