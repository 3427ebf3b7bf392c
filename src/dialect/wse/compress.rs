//! `C:` and zlib: compressed messages (spec 1.10).

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

use crate::collections::free_large;

/// The smallest payload that is compressed, unless a client says otherwise.
pub(super) const COMPRESS_FROM: usize = 1024;

/// What precedes the compressed bytes of a message.
pub(super) const MARK: &[u8] = b"C:";

/// The level of compression.
const LEVEL: u32 = 6;

/// Compresses messages, each by itself.
pub(super) struct Compressor {
    state: Compress,
    packed: Vec<u8>,
}

impl std::fmt::Debug for Compressor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Compressor").finish_non_exhaustive()
    }
}

impl Default for Compressor {
    fn default() -> Self {
        Self {
            state: Compress::new(Compression::new(LEVEL), true),
            packed: Vec::new(),
        }
    }
}

impl Compressor {
    /// The payload of a binary frame with this message.
    ///
    /// Cost: that of zlib; no allocation once warm.
    pub(super) fn compress(&mut self, message: &[u8]) -> &[u8] {
        self.packed.clear();
        self.packed.extend_from_slice(MARK);
        // zlib's own bound: deflated bytes are never more than this.
        self.packed
            .reserve(message.len() + message.len() / 1000 + 64);
        self.state.reset();
        let done = self
            .state
            .compress_vec(message, &mut self.packed, FlushCompress::Finish);
        debug_assert_eq!(done.ok(), Some(Status::StreamEnd));
        &self.packed
    }

    /// Frees a buffer that a large message has grown.
    pub(super) fn tidy(&mut self) {
        free_large([&mut self.packed]);
    }
}

/// Why a message is not decompressed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum DecompressError {
    /// It is no zlib stream (RFC 1950).
    #[error("it is not zlib")]
    NotZlib,
    /// It is larger than messages may be.
    #[error("it is larger than messages may be once it is decompressed")]
    TooLarge,
}

/// Appends what a zlib stream holds, at most `bytes_max` bytes.
///
/// # Errors
/// See [`DecompressError`].
pub fn decompress(
    packed: &[u8],
    bytes_max: usize,
    out: &mut Vec<u8>,
) -> Result<(), DecompressError> {
    let mut state = Decompress::new(true);
    let end = out.len() + bytes_max;
    loop {
        // It grows with what comes, whatever the stream claims.
        let room = (4 * packed.len())
            .clamp(256, 64 * 1024)
            .min(end - out.len());
        out.reserve(room.max(1));
        let from = usize::try_from(state.total_in()).map_err(|_| DecompressError::TooLarge)?;
        let before = out.len();
        let step = state.decompress_vec(&packed[from..], out, FlushDecompress::None);
        if out.len() > end {
            return Err(DecompressError::TooLarge);
        }
        let read = usize::try_from(state.total_in()).map_err(|_| DecompressError::TooLarge)?;
        match step {
            Ok(Status::StreamEnd) if read == packed.len() => return Ok(()),
            Ok(Status::Ok | Status::BufError) if out.len() > before || read > from => {}
            _ => return Err(DecompressError::NotZlib),
        }
    }
}

/// Whether bytes begin as a zlib stream does.
#[must_use]
pub(super) fn is_zlib(bytes: &[u8]) -> bool {
    matches!(bytes, [0x78, 0x01 | 0x5e | 0x9c | 0xda, ..])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_message_is_what_was_compressed(
            message in prop::collection::vec(any::<u8>(), 0..5000),
            repeats in 1_usize..20,
        ) {
            let message = message.repeat(repeats);
            let mut compressor = Compressor::default();
            for _ in 0..2 {
                let packed = compressor.compress(&message).to_vec();
                prop_assert!(packed.starts_with(MARK) && is_zlib(&packed[2..]));
                let mut out = b"before".to_vec();
                decompress(&packed[2..], message.len(), &mut out).unwrap();
                prop_assert_eq!(&out[6..], &message[..]);
                if !message.is_empty() {
                    let small = decompress(&packed[2..], message.len() - 1, &mut Vec::new());
                    prop_assert_eq!(small, Err(DecompressError::TooLarge));
                }
            }
        }
    }

    #[test]
    fn what_is_no_zlib_is_refused() {
        let mut compressor = Compressor::default();
        let packed = compressor.compress(&b"abc".repeat(1000))[2..].to_vec();
        for bad in [
            &b""[..],
            b"x",
            &packed[..packed.len() - 1],
            &[&packed[..], b"x"].concat(),
        ] {
            let refused = decompress(bad, 10_000, &mut Vec::new());
            assert_eq!(refused, Err(DecompressError::NotZlib), "{bad:?}");
        }
        // A megabyte of zeros in a kilobyte.
        let bomb = compressor.compress(&vec![0; 1 << 20])[2..].to_vec();
        let refused = decompress(&bomb, 1000, &mut Vec::new());
        assert_eq!(refused, Err(DecompressError::TooLarge));
    }
}
