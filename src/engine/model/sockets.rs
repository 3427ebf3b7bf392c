//! Sockets that accept a set number of bytes, or are closed.

use std::collections::BTreeMap;
use std::io::IoSlice;

use crate::engine::hub::{Sink, Written};
use crate::id::Slot;

/// The sockets of an engine, by slot.
#[derive(Debug, Default)]
pub(super) struct Sockets(BTreeMap<u32, Socket>);

#[derive(Debug, Default)]
pub(super) struct Socket {
    /// Bytes that it still accepts.
    pub(super) room: usize,
    pub(super) is_gone: bool,
    /// Bytes accepted since the last read.
    pub(super) taken: Vec<u8>,
}

/// Bytes that one write takes at most.
const TAKEN_AT_ONCE: usize = 700;

impl Sockets {
    pub(super) fn insert(&mut self, slot: Slot, room: usize) {
        let socket = Socket {
            room,
            ..Socket::default()
        };
        assert!(self.0.insert(slot.0, socket).is_none(), "one writer each");
    }

    pub(super) fn remove(&mut self, slot: Slot) {
        self.0.remove(&slot.0);
    }

    pub(super) fn get(&mut self, slot: Slot) -> &mut Socket {
        self.0.get_mut(&slot.0).expect("it is open")
    }
}

impl Sink for Sockets {
    fn write(&mut self, slot: Slot, bytes: &[IoSlice<'_>]) -> Written {
        let socket = self.get(slot);
        if socket.is_gone {
            return Written::Gone;
        }
        let mut written = 0;
        // As sockets with TLS, it may take less than there is room for, and may be full behind all that was offered.
        for slice in bytes {
            let takes = slice.len().min(socket.room).min(TAKEN_AT_ONCE - written);
            socket.taken.extend_from_slice(&slice[..takes]);
            socket.room -= takes;
            written += takes;
        }
        match socket.room {
            0 => Written::Full(written),
            _ => Written::Bytes(written),
        }
    }
}
