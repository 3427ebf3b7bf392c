//! Inflating messages from clients, within limits.

use flate2::{Decompress, FlushDecompress, Status};

use super::super::error::ProtocolError;
use super::TAIL;

/// A message may have this much input whatever comes out of it.
const WASTE_FREE_BYTES: usize = 16 * 1024;
/// Beyond that, so many times its output. The most wasteful legal sender, one that flushes after
/// every byte, has 7 bytes of input for each; empty blocks have any number.
const WASTE_RATIO_MAX: usize = 8;

/// Input given to the stream at once, between two looks at what came out.
const SLICE_BYTES: usize = 16 * 1024;

/// Streams that may end inside a message (`BFINAL`, RFC 7692 section 7.2.3.4): this many, and one
/// more for every so many bytes of input, because going on after one costs a copy of the window.
const ENDS_FREE: usize = 16;
const BYTES_PER_END: usize = 256;

/// How far back a stream can refer.
const WINDOW_BYTES: usize = 32 * 1024;

/// An empty final block. A stream that was complete ends with it; one that was cut does not.
const FINAL_BLOCK: [u8; 5] = [0x01, 0x00, 0x00, 0xff, 0xff];

/// Heap memory of a stream: its window and its tables.
const STREAM_BYTES: usize = 48 * 1024;

/// The most compressed bytes to collect for a message of `message_bytes_max`: a bad compressor may
/// enlarge incompressible content by an eighth.
#[must_use]
pub const fn compressed_bytes_max(message_bytes_max: usize) -> usize {
    message_bytes_max.saturating_add(message_bytes_max / 8 + 1024)
}

/// An inflating stream, made when first used.
#[derive(Debug)]
pub struct Inflater {
    stream: Option<Decompress>,
    keeps_context: bool,
}

impl Inflater {
    /// An inflater that starts afresh with every message: one is enough for all connections of a
    /// shard whose clients keep no context.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            stream: None,
            keeps_context: false,
        }
    }

    /// An inflater for one connection whose client may refer to its earlier messages.
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

    /// Appends what the payload of a compressed message inflates to (RFC 7692 section 7.2.2), at
    /// most `limit` bytes. `out` grows by what comes out.
    ///
    /// Cost: no allocation but the growth of `out`; some nanoseconds a byte.
    ///
    /// # Errors
    ///
    /// When the payload is not a complete DEFLATE stream or refers to data that is not there, when
    /// it inflates to more than `limit`, and when most of it inflates to nothing. `out` then holds what
    /// came out so far.
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
        // A stream with a context has to go on, so its end cannot be asked for.
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

/// One message's way through the stream.
struct Inflation<'a> {
    stream: &'a mut Decompress,
    out: &'a mut Vec<u8>,
    /// Length of `out` before the message.
    start: usize,
    out_max: usize,
    bytes_in: usize,
    /// Final blocks met.
    ends: usize,
}

impl Inflation<'_> {
    /// Inflates all of `input`. Ends when neither input nor output moves.
    fn feed(&mut self, mut input: &[u8]) -> Result<(), ProtocolError> {
        loop {
            let is_end = self.step(&mut input)?;
            if is_end && !input.is_empty() {
                self.go_on_after_end()?;
            } else if input.is_empty() && (is_end || self.out.len() < self.out.capacity()) {
                break;
            }
        }
        let produced = self.out.len() - self.start;
        if self.bytes_in > WASTE_FREE_BYTES.max(produced.saturating_mul(WASTE_RATIO_MAX)) {
            return Err(ProtocolError::DeflateWaste);
        }
        Ok(())
    }

    /// Gives the stream `input` and room once; returns whether it met a final block.
    fn step(&mut self, input: &mut &[u8]) -> Result<bool, ProtocolError> {
        if self.out.len() == self.out.capacity() {
            // One byte more than allowed, to see that there is more.
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

    /// Starts another stream after a final block, with what came out so far to refer to. Of a
    /// context, what came before this message is lost: a client that ends its streams has none.
    fn go_on_after_end(&mut self) -> Result<(), ProtocolError> {
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

    /// Makes sure that the message did not end inside a block.
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
