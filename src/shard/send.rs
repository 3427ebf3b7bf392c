//! Output for a single peer: messages, control frames, the upgrade response.

use std::num::NonZeroU16;

use super::links::Transport;
use super::{Core, Disconnect, Shard};
use crate::engine::Packing;
use crate::engine::hub::Enqueue;
use crate::id::{PeerId, Priority};
use crate::net::Seal;
use crate::ws::OpCode;
use crate::ws::deflate::Inflater;
use crate::ws::encode::{frame_len, put_frame};

impl Shard {
    /// Queues encoded bytes: frames, or an HTTP head.
    pub fn send_raw(&self, peer: PeerId, priority: Priority, bytes: &[u8]) {
        let mut core = self.core.borrow_mut();
        let queued = core.engine.send(peer, priority, bytes);
        self.note_queued(&mut core, queued);
    }

    /// Queues one message for one peer, compressed if that was negotiated.
    pub fn send(&self, peer: PeerId, priority: Priority, opcode: OpCode, payload: &[u8]) {
        self.send_from(peer, priority, (opcode, payload), None);
    }

    /// As [`Self::send`], compressed if it has at least so many bytes.
    fn send_from(
        &self,
        peer: PeerId,
        priority: Priority,
        (opcode, payload): (OpCode, &[u8]),
        compress_from: Option<usize>,
    ) {
        let mut core = self.core.borrow_mut();
        let window_bits = match core.links.get(peer).map(|link| link.transport) {
            Some(Transport::WebSocket { window_bits, .. }) => window_bits,
            Some(Transport::Sse { .. }) | None => return,
        };
        let queued = {
            let mut codec = self.buffers.codec.borrow_mut();
            let bytes_min = compress_from.unwrap_or_else(|| codec.deflate_min_bytes());
            match window_bits.filter(|_| payload.len() >= bytes_min) {
                None => {
                    let write = |out: &mut Vec<u8>| put_frame(out, opcode, payload);
                    let frame = (frame_len(payload.len()), write);
                    core.engine.send_written(peer, priority, frame)
                }
                Some(bits) => {
                    let frame = codec.compressed(bits, opcode, payload);
                    core.engine.send(peer, priority, frame)
                }
            }
        };
        if matches!(queued, Enqueue::Overflow(_))
            && self.applications.members.borrow().contains(&peer)
        {
            // What an application misses it must not acknowledge: it gets everything again with its next link.
            if let Some(link) = core.links.get_mut(peer) {
                link.disconnect.get_or_insert(Disconnect::Slow);
                link.wake();
            }
        }
        self.note_queued(&mut core, queued);
    }

    /// Queues a message in the peer's encoding, JSON or MessagePack. `write` writes it as JSON text; its second
    /// argument is the timestamp.
    pub fn send_text(
        &self,
        peer: PeerId,
        priority: Priority,
        write: impl FnOnce(&mut Vec<u8>, &[u8]),
    ) {
        self.send_text_from(peer, priority, None, write);
    }

    /// As [`Self::send_text`], compressed if it has at least so many bytes and the peer reads that.
    pub fn send_text_from(
        &self,
        peer: PeerId,
        priority: Priority,
        compress_from: Option<usize>,
        write: impl FnOnce(&mut Vec<u8>, &[u8]),
    ) {
        let timestamp = self.clock.timestamp();
        let mut text = std::mem::take(&mut self.buffers.codec.borrow_mut().text);
        text.clear();
        write(&mut text, &timestamp);
        self.send_json_from(peer, priority, (&text, compress_from));
        self.buffers.codec.borrow_mut().text = text;
    }

    /// Queues a message as text, whatever the peer's encoding. `write` writes it.
    pub fn send_plain(&self, peer: PeerId, priority: Priority, write: impl FnOnce(&mut Vec<u8>)) {
        let mut text = std::mem::take(&mut self.buffers.codec.borrow_mut().text);
        text.clear();
        write(&mut text);
        self.send(peer, priority, OpCode::Text, &text);
        self.buffers.codec.borrow_mut().text = text;
    }

    /// Queues a message as text that is never dropped, and that the limits of the outbox do not count: the caller bounds
    /// what waits. `write` writes it.
    pub fn send_kept(&self, peer: PeerId, write: impl FnOnce(&mut Vec<u8>)) {
        let mut text = std::mem::take(&mut self.buffers.codec.borrow_mut().text);
        text.clear();
        write(&mut text);
        let mut core = self.core.borrow_mut();
        {
            let mut codec = self.buffers.codec.borrow_mut();
            let frame = codec.plain(OpCode::Text, &text);
            core.engine.send_kept(peer, frame);
        }
        self.note_queued(&mut core, Enqueue::Gone);
        drop(core);
        self.buffers.codec.borrow_mut().text = text;
    }

    /// As [`Self::send_kept`], of encoded frames.
    pub fn send_kept_raw(&self, peer: PeerId, frames: &[u8]) {
        let mut core = self.core.borrow_mut();
        core.engine.send_kept(peer, frames);
        self.note_queued(&mut core, Enqueue::Gone);
    }

    /// Bytes of what [`Self::send_kept`] has queued that the peer's socket has not taken, or a little more.
    #[must_use]
    pub fn unsent_kept(&self, peer: PeerId) -> u64 {
        let core = self.core.borrow();
        let hub = core.engine.hub();
        match hub.is_present(peer) {
            true => hub.unsent_behind(peer.slot) as u64,
            false => 0,
        }
    }

    /// Queues the message that tells a peer of its new format: behind what it has not read in the old one.
    pub fn send_reformatted(&self, peer: PeerId, text: &[u8]) {
        let mut core = self.core.borrow_mut();
        {
            let mut codec = self.buffers.codec.borrow_mut();
            let frame = codec.plain(OpCode::Text, text);
            core.engine.send_reformatted(peer, frame);
        }
        self.note_queued(&mut core, Enqueue::Gone);
    }

    /// Queues a JSON text in the peer's encoding.
    pub(super) fn send_json(&self, peer: PeerId, priority: Priority, text: &[u8]) {
        self.send_json_from(peer, priority, (text, None));
    }

    fn send_json_from(
        &self,
        peer: PeerId,
        priority: Priority,
        (text, compress_from): (&[u8], Option<usize>),
    ) {
        let format = {
            let core = self.core.borrow();
            let hub = core.engine.hub();
            if !hub.is_present(peer) {
                return;
            }
            hub.format_of(peer.slot)
        };
        let mut packed = std::mem::take(&mut self.buffers.codec.borrow_mut().packed);
        packed.clear();
        let packing = {
            let mut core = self.core.borrow_mut();
            let formats = core.engine.formats_mut();
            formats.pack(format, (text, compress_from), &mut packed)
        };
        match packing {
            Packing::Text => {
                self.send_from(peer, priority, (OpCode::Text, text), compress_from);
            }
            Packing::Binary => self.send(peer, priority, OpCode::Binary, &packed),
        }
        self.buffers.codec.borrow_mut().packed = packed;
    }

    /// Sets how many messages may wait for a peer alone; `None`: as many as for any other.
    pub fn limit_outbox(&self, peer: PeerId, messages_max: Option<NonZeroU16>) {
        self.core
            .borrow_mut()
            .engine
            .limit_outbox(peer, messages_max);
    }

    /// Answers a ping.
    pub fn send_pong(&self, peer: PeerId, payload: &[u8]) {
        let mut core = self.core.borrow_mut();
        let mut codec = self.buffers.codec.borrow_mut();
        let frame = codec.plain(OpCode::Pong, payload);
        let queued = core.engine.send_pong(peer, frame);
        self.note_queued(&mut core, queued);
    }

    /// Queues a ping.
    pub(super) fn send_ping(&self, peer: PeerId) {
        let mut core = self.core.borrow_mut();
        let mut codec = self.buffers.codec.borrow_mut();
        let frame = codec.plain(OpCode::Ping, b"");
        let queued = core.engine.send(peer, Priority::Critical, frame);
        self.note_queued(&mut core, queued);
    }

    fn note_queued(&self, core: &mut Core, queued: Enqueue) {
        if let Enqueue::Overflow(dropped) = queued {
            self.counters.messages_dropped.add(dropped as u64);
        }
        if core.engine.take_flush_wanted() {
            self.flusher.raise();
        }
    }

    /// Has everything that is written to a WebSocket peer from now on pass through `seal`, frame by frame, whatever it is
    /// and wherever it comes from, and compresses nothing more that is sent to it alone. Once for a connection, after its
    /// upgrade response.
    ///
    /// What waits for the peer already passes through `seal`, too: it is compressed where it was queued so, and so is what
    /// the peer reads in a format that compresses. What its socket has taken half of passes as it is.
    pub fn seal(&self, peer: PeerId, seal: Box<dyn Seal>) {
        let mut core = self.core.borrow_mut();
        let Core { engine, links, .. } = &mut *core;
        links.seal(peer, seal, engine.hub().partly_written(peer.slot));
    }

    /// Holds back a connection's upgrade response until [`Self::open`]. Its task does not read until then.
    pub fn hold_open(&self, peer: PeerId, head: Vec<u8>) {
        if let Some(link) = self.core.borrow_mut().links.get_mut(peer) {
            link.head = Some(Box::new(head));
        }
    }

    /// Whether a connection's upgrade response is held back.
    #[must_use]
    pub fn is_opening(&self, peer: PeerId) -> bool {
        let core = self.core.borrow();
        core.links.get(peer).is_some_and(|link| link.head.is_some())
    }

    /// Sends a connection's upgrade response, if it is held back.
    pub fn open(&self, peer: PeerId) {
        let head = {
            let mut core = self.core.borrow_mut();
            core.links.get_mut(peer).and_then(|link| link.head.take())
        };
        if let Some(head) = head {
            self.send_raw(peer, Priority::Critical, &head);
        }
    }

    /// Lends `read` this shard's scratch buffer and inflater.
    pub fn with_scratch<T>(&self, read: impl FnOnce(&mut [u8], &mut Inflater) -> T) -> T {
        read(
            &mut self.buffers.scratch.borrow_mut(),
            &mut self.buffers.inflater.borrow_mut(),
        )
    }

    /// Lends `read` an empty buffer for the JSON text of a MessagePack message.
    pub fn with_text<T>(&self, read: impl FnOnce(&mut Vec<u8>) -> T) -> T {
        let mut text = std::mem::take(&mut self.buffers.codec.borrow_mut().inbound);
        text.clear();
        let outcome = read(&mut text);
        self.buffers.codec.borrow_mut().inbound = text;
        outcome
    }

    /// Lends `read` an empty buffer for the events of an answer to a call.
    pub fn with_answer<T>(&self, read: impl FnOnce(&mut Vec<u8>) -> T) -> T {
        let mut text = std::mem::take(&mut self.buffers.codec.borrow_mut().answer);
        text.clear();
        let outcome = read(&mut text);
        self.buffers.codec.borrow_mut().answer = text;
        outcome
    }
}
