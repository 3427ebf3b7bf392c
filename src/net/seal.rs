//! Bytes to one peer that its protocol changes on their way to the socket, as by encrypting each frame.

use std::cell::RefCell;
use std::io::{self, IoSlice};

use super::accepted::Accepted;
use crate::collections::free_large;

/// Plain bytes sealed for one write, besides those that complete the last frame.
const SEALED_BYTES_MAX: usize = 64 * 1024;

/// The same for a socket that was full at the last write: what is left of it waits in the process, where a peer that
/// does not read should not have much.
const SLOW_SEALED_BYTES_MAX: usize = 16 * 1024;

/// Changes what is written to one peer.
pub trait Seal: std::fmt::Debug {
    /// Appends to `out` what the peer is sent for the beginning of `plain`, and returns how many bytes of it that was:
    /// at least one, if there is any, and not much more than `bytes_max`.
    ///
    /// # Errors
    /// It cannot be sealed. The connection ends, and nothing in `out` is sent.
    fn seal(
        &mut self,
        plain: &[IoSlice<'_>],
        bytes_max: usize,
        out: &mut Vec<u8>,
    ) -> io::Result<usize>;
}

/// What one peer is sent through its [`Seal`]. Whatever is written goes through `send`, which may take less than it is
/// given only when it says that it is full.
///
/// At rest it holds no buffer.
#[derive(Debug)]
pub(super) struct Sealed {
    seal: Box<dyn Seal>,
    /// Bytes that pass as they are: the rest of a frame of which the peer has the beginning already.
    clear: usize,
    /// Sealed bytes that were not taken yet.
    carry: Vec<u8>,
    was_full: bool,
    /// Nothing more is written: something could not be sealed, or this was all.
    is_closed: bool,
}

impl Sealed {
    pub(super) fn new(seal: Box<dyn Seal>, clear: usize) -> Self {
        Self {
            seal,
            clear,
            carry: Vec::new(),
            was_full: false,
            is_closed: false,
        }
    }

    /// Sealed bytes that were not taken yet.
    pub(super) fn carried(&self) -> usize {
        self.carry.len()
    }

    /// Seals a part of `slices` and sends it. Full as long as not all that was sealed has been taken.
    ///
    /// # Errors
    /// Those of `send` and of the seal; it is closed.
    pub(super) fn try_write(
        &mut self,
        slices: &[IoSlice<'_>],
        mut send: impl FnMut(&[u8]) -> io::Result<Accepted>,
    ) -> io::Result<Accepted> {
        if self.is_closed {
            return Err(io::ErrorKind::NotConnected.into());
        }
        if !self.flush(&mut send)? {
            return Ok(Accepted {
                bytes: 0,
                is_full: true,
            });
        }
        SCRATCH.with_borrow_mut(|out| {
            out.clear();
            let bytes = self
                .put(slices, out)
                .inspect_err(|_| self.is_closed = true)?;
            let sent = send_all(out, send)?;
            self.carry.extend_from_slice(&out[sent.bytes..]);
            self.was_full = sent.is_full;
            free_large([out]);
            Ok(Accepted {
                bytes,
                is_full: sent.is_full,
            })
        })
    }

    /// Takes nothing more. What was not taken by the socket yet is sent by [`Self::flush`].
    pub(super) fn close(&mut self) {
        self.is_closed = true;
    }

    /// Sends what was not taken yet. Returns whether nothing is left.
    ///
    /// # Errors
    /// Those of `send`.
    pub(super) fn flush(
        &mut self,
        send: impl FnMut(&[u8]) -> io::Result<Accepted>,
    ) -> io::Result<bool> {
        let sent = send_all(&self.carry, send)?;
        match sent.bytes == self.carry.len() {
            true => self.carry = Vec::new(),
            false => drop(self.carry.drain(..sent.bytes)),
        }
        Ok(!sent.is_full)
    }

    /// Appends the beginning of `slices` to `out`, sealed. Returns how many bytes of it that was.
    fn put(&mut self, slices: &[IoSlice<'_>], out: &mut Vec<u8>) -> io::Result<usize> {
        if self.clear == 0 {
            let max = match self.was_full {
                true => SLOW_SEALED_BYTES_MAX,
                false => SEALED_BYTES_MAX,
            };
            return self.seal.seal(slices, max, out);
        }
        for slice in slices {
            let fits = slice.len().min(self.clear - out.len());
            out.extend_from_slice(&slice[..fits]);
        }
        self.clear -= out.len();
        Ok(out.len())
    }
}

/// Sends `bytes` until all are taken or no more are.
fn send_all(
    bytes: &[u8],
    mut send: impl FnMut(&[u8]) -> io::Result<Accepted>,
) -> io::Result<Accepted> {
    let mut sent = Accepted {
        bytes: 0,
        is_full: false,
    };
    while sent.bytes < bytes.len() && !sent.is_full {
        let accepted = send(&bytes[sent.bytes..])?;
        sent.bytes += accepted.bytes;
        sent.is_full = accepted.is_full;
    }
    Ok(sent)
}

thread_local! {
    /// Where writes are sealed.
    static SCRATCH: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Doubles every byte, and takes no zero.
    #[derive(Debug)]
    pub(in crate::net) struct Twice;

    impl Seal for Twice {
        fn seal(
            &mut self,
            plain: &[IoSlice<'_>],
            bytes_max: usize,
            out: &mut Vec<u8>,
        ) -> io::Result<usize> {
            let bytes = plain.iter().flat_map(|slice| slice.iter().copied());
            let begin = out.len();
            for byte in bytes.take(bytes_max) {
                out.extend([byte; 2]);
                if byte == 0 {
                    return Err(io::ErrorKind::InvalidData.into());
                }
            }
            Ok((out.len() - begin) / 2)
        }
    }

    /// A socket that takes `room` bytes until it is emptied.
    #[derive(Default)]
    struct Socket {
        taken: Vec<u8>,
        room: usize,
    }

    impl Socket {
        fn send(&mut self, bytes: &[u8]) -> io::Result<Accepted> {
            let taken = bytes.len().min(self.room);
            self.room -= taken;
            self.taken.extend_from_slice(&bytes[..taken]);
            Ok(Accepted {
                bytes: taken,
                is_full: taken < bytes.len(),
            })
        }
    }

    /// Writes `plain` to a socket that takes `room` bytes at a time. Returns what it got, and the most that waited.
    fn check(plain: &[u8], room: usize, clear: usize) -> usize {
        let (mut sealed, mut socket) = (Sealed::new(Box::new(Twice), clear), Socket::default());
        let (mut done, mut carried_max) = (0, 0);
        while done < plain.len() || sealed.carried() > 0 {
            socket.room = room;
            let (front, back) = plain[done..].split_at((plain.len() - done) / 2);
            let slices = [IoSlice::new(front), IoSlice::new(b""), IoSlice::new(back)];
            let accepted = sealed
                .try_write(&slices, |bytes| socket.send(bytes))
                .unwrap();
            done += accepted.bytes;
            carried_max = carried_max.max(sealed.carried());
            assert!(accepted.is_full || sealed.carried() == 0);
        }
        let twice = plain[clear..].iter().flat_map(|&byte| [byte; 2]);
        let expected: Vec<u8> = plain[..clear].iter().copied().chain(twice).collect();
        assert!(socket.taken == expected, "{} by {room}", plain.len());
        assert_eq!(sealed.carry.capacity(), 0);
        carried_max
    }

    #[test]
    fn a_socket_gets_all_bytes_in_order_however_few_it_takes() {
        let plain: Vec<u8> = (0..1000_u32).map(|n| (n % 251) as u8 + 1).collect();
        for room in [1, 2, 7, 1999, 2000, 2001, 9000] {
            for clear in [0, 1, 500, 1000] {
                check(&plain, room, clear);
            }
        }
    }

    #[test]
    fn little_waits_for_a_socket_that_is_full() {
        let plain = vec![b'x'; 1_000_000];
        assert_eq!(check(&plain, usize::MAX, 0), 0);
        assert!(check(&plain, 100_000, 0) <= 2 * SEALED_BYTES_MAX);
        // The second write of a slow one is short.
        let (mut sealed, mut socket) = (Sealed::new(Box::new(Twice), 0), Socket::default());
        let slices = [IoSlice::new(&plain)];
        let full = |bytes| Accepted {
            bytes,
            is_full: true,
        };
        let mut write = |room| {
            socket.room = room;
            let written = sealed.try_write(&slices, |bytes| socket.send(bytes));
            written.unwrap()
        };
        assert_eq!(write(10), full(SEALED_BYTES_MAX));
        assert_eq!(write(10), full(0));
        assert_eq!(write(2 * SEALED_BYTES_MAX), full(SLOW_SEALED_BYTES_MAX));
    }

    #[test]
    fn what_cannot_be_sealed_is_the_end() {
        let (mut sealed, mut socket) = (Sealed::new(Box::new(Twice), 0), Socket::default());
        socket.room = 100;
        for plain in [b"ab\0cd", b"abcde"] {
            let slices = [IoSlice::new(plain)];
            sealed
                .try_write(&slices, |bytes| socket.send(bytes))
                .unwrap_err();
        }
        assert_eq!(socket.taken, b"");
    }
}
