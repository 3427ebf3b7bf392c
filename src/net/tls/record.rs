//! The buffers that records are opened and sealed in, one set for each thread.

use std::cell::RefCell;

/// The largest record: header, plaintext, and what ciphers add (RFC 5246 section 6.2.3).
pub(super) const RECORD_BYTES_MAX: usize = 5 + 16 * 1024 + 2048;

/// Ciphertext that one read takes, besides what is kept of an unfinished record.
const READ_BYTES_MAX: usize = 64 * 1024;

/// Plaintext sealed for one write.
pub(super) const SEALED_BYTES_MAX: usize = 64 * 1024;

/// Ciphertext of [`SEALED_BYTES_MAX`] in records of 16 KiB, with room for an alert or an update of keys.
const SEALED_CIPHERTEXT_MAX: usize = SEALED_BYTES_MAX + 1024;

/// The buffers of a thread.
#[derive(Debug)]
pub(super) struct Scratch {
    /// Ciphertext as received, opened in place.
    pub(super) received: Box<[u8]>,
    /// Plaintext of several slices in one.
    pub(super) joined: Vec<u8>,
    /// Ciphertext to send.
    pub(super) sealed: Box<[u8]>,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::new(Scratch {
        received: vec![0; READ_BYTES_MAX + RECORD_BYTES_MAX].into(),
        joined: Vec::with_capacity(SEALED_BYTES_MAX),
        sealed: vec![0; SEALED_CIPHERTEXT_MAX].into(),
    });
}

/// Lends the buffers of this thread.
pub(super) fn with_scratch<T>(act: impl FnOnce(&mut Scratch) -> T) -> T {
    SCRATCH.with_borrow_mut(act)
}
