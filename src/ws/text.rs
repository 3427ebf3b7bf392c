//! Text frames that many peers share, compressed or not.

use super::OpCode;
use super::deflate::Deflater;
use super::encode::{put_frame, put_header};
use crate::collections::free_large;
use crate::config::Websocket;

/// The window of shared compressed frames, as a power of two. A peer that asked for a smaller one gets them
/// uncompressed.
pub const SHARED_WINDOW_BITS: u8 = 15;

/// Encodes text messages as frames. Compressed frames use no context, so that one frame serves all peers.
#[derive(Debug)]
pub struct TextFrames {
    /// The deflater, and the smallest payload to compress, if compression is on.
    deflate: Option<(Deflater, usize)>,
    deflated: Vec<u8>,
}

impl TextFrames {
    /// An encoder without compression.
    #[must_use]
    pub const fn plain() -> Self {
        Self {
            deflate: None,
            deflated: Vec::new(),
        }
    }

    /// An encoder that compresses payloads above the configured size.
    #[must_use]
    pub fn deflated(config: &Websocket) -> Self {
        Self {
            deflate: Some((Deflater::new(config.deflate_level), config.deflate_min_size)),
            deflated: Vec::new(),
        }
    }

    /// Appends the frame of a message.
    pub fn put(&mut self, out: &mut Vec<u8>, payload: &[u8]) {
        let deflate = self.deflate.as_mut();
        match deflate.filter(|(_, bytes_min)| payload.len() >= *bytes_min) {
            None => put_frame(out, OpCode::Text, payload),
            Some((deflater, _)) => {
                self.deflated.clear();
                deflater.compress(SHARED_WINDOW_BITS, payload, &mut self.deflated);
                put_header(out, OpCode::Text, true, self.deflated.len());
                out.extend_from_slice(&self.deflated);
            }
        }
    }

    /// Shrinks buffers that a large message has grown.
    pub fn tidy(&mut self) {
        free_large([&mut self.deflated]);
    }
}
