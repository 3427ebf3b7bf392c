//! Compression of messages to clients.

use flate2::{Compress, Compression, FlushCompress};

use super::TAIL;

/// Windows from 9 to 15 bits.
const WINDOW_BITS_MIN: u8 = 9;
const WINDOWS: usize = 7;

/// The compressors of a shard, one for each window in use, created on first use (about 300 KiB each). No context is
/// kept between messages (`server_no_context_takeover`).
#[derive(Debug)]
pub struct Deflater {
    level: Compression,
    by_window: [Option<Compress>; WINDOWS],
}

impl Deflater {
    /// Compressors of `level` 1 (fast) to 9 (small).
    #[must_use]
    pub fn new(level: u32) -> Self {
        Self {
            level: Compression::new(level.clamp(1, 9)),
            by_window: [const { None }; WINDOWS],
        }
    }

    /// Appends `payload` as the payload of a compressed message (RFC 7692 section 7.2.1), for a client with a window of
    /// `window_bits` ([`Agreed::server_window_bits`](super::Agreed::server_window_bits)). The result may be larger than
    /// `payload`; then the caller may send `payload` uncompressed instead.
    ///
    /// Cost: some microseconds for the reset and some nanoseconds a byte; no allocation once warm, but space in
    /// `out` for nine eighths of `payload`.
    pub fn compress(&mut self, window_bits: u8, payload: &[u8], out: &mut Vec<u8>) {
        if payload.is_empty() {
            // RFC 7692 section 7.2.3.6: an empty stored block without its length.
            out.push(0x00);
            return;
        }
        let window_bits = window_bits.clamp(WINDOW_BITS_MIN, 15);
        let slot = &mut self.by_window[usize::from(window_bits - WINDOW_BITS_MIN)];
        let stream = match slot {
            Some(stream) => {
                stream.reset();
                stream
            }
            None => slot.insert(Compress::new_with_window_bits(
                self.level,
                false,
                window_bits,
            )),
        };
        let start = out.len();
        let mut rest = payload;
        loop {
            // Space for the worst case of nine bits a byte: a flush that is resumed may write its marker twice.
            out.reserve(rest.len() + rest.len() / 8 + 64);
            let (read, written) = (stream.total_in(), out.len());
            stream
                .compress_vec(rest, out, FlushCompress::Sync)
                .expect("a stream that was reset takes all input");
            rest = &rest[(stream.total_in() - read) as usize..];
            // The flush is complete if space is left after it. A second flush without input writes nothing.
            let is_flushed = rest.is_empty() && out.len() < out.capacity();
            if is_flushed || (stream.total_in() == read && out.len() == written) {
                break;
            }
        }
        assert!(
            rest.is_empty() && out[start..].ends_with(&TAIL),
            "a sync flush ends so"
        );
        out.truncate(out.len() - TAIL.len());
    }
}

#[cfg(test)]
mod tests;
