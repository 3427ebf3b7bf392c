//! Messages, before and after they are stored.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

/// Whom a message is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MessageKind {
    /// One user.
    Direct,
    /// All users but its sender.
    Broadcast,
    /// The gateway: a command or its result, which is recorded and never delivered.
    Server,
}

impl MessageKind {
    /// Its name on the wire and in the database.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Broadcast => "broadcast",
            Self::Server => "server",
        }
    }
}

/// A message to be stored.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NewMessage {
    /// The sender.
    pub from: Box<str>,
    /// The recipient; of a broadcast, what the sender wrote.
    pub to: Box<str>,
    /// Whom it is for.
    pub kind: MessageKind,
    /// When, in the sender's words.
    pub timestamp: Box<str>,
    /// The text.
    pub content: Box<str>,
    /// The sender's signature; empty if there is none.
    pub signature: Box<str>,
    /// The key of an encrypted text; empty if there is none.
    pub encrypted_key: Box<str>,
    /// The nonce of an encrypted text; empty if there is none.
    pub encryption_nonce: Box<str>,
    /// What has become of it: `pending` for what is delivered.
    pub status: &'static str,
}

impl NewMessage {
    /// Bytes that it takes in memory.
    #[must_use]
    pub fn size(&self) -> usize {
        let texts = [
            &self.from,
            &self.to,
            &self.timestamp,
            &self.content,
            &self.signature,
            &self.encrypted_key,
            &self.encryption_nonce,
        ];
        size_of::<Message>() + texts.iter().map(|text| text.len()).sum::<usize>()
    }

    /// The same, stored with this id.
    pub(super) fn stored(self, id: i64) -> Message {
        Message {
            id,
            from: self.from,
            to: self.to,
            kind: self.kind,
            timestamp: self.timestamp,
            content: self.content,
            signature: self.signature,
            encrypted_key: self.encrypted_key,
            encryption_nonce: self.encryption_nonce,
            encoded: OnceLock::new(),
            held: None,
        }
    }
}

/// A stored message.
#[derive(Debug)]
pub struct Message {
    /// Its number: later ones have larger ones.
    pub id: i64,
    /// The sender.
    pub from: Box<str>,
    /// The recipient; of a broadcast, what the sender wrote.
    pub to: Box<str>,
    /// Whom it is for.
    pub kind: MessageKind,
    /// When, in the sender's words.
    pub timestamp: Box<str>,
    /// The text.
    pub content: Box<str>,
    /// The sender's signature; empty if there is none.
    pub signature: Box<str>,
    /// The key of an encrypted text; empty if there is none.
    pub encrypted_key: Box<str>,
    /// The nonce of an encrypted text; empty if there is none.
    pub encryption_nonce: Box<str>,
    encoded: OnceLock<Box<[u8]>>,
    /// Counted in the memory of all mailboxes as long as it is held.
    held: Option<Held>,
}

/// Bytes that are counted until it is dropped.
#[derive(Debug)]
struct Held {
    memory: Arc<AtomicUsize>,
    bytes: usize,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.memory.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

impl Message {
    /// The frame of its live delivery, which `make` makes for the first of its recipients.
    pub fn encoded(&self, make: impl FnOnce(&Self) -> Box<[u8]>) -> &[u8] {
        self.encoded.get_or_init(|| make(self))
    }

    /// Counts it once, with its frame, in the `memory` of all mailboxes until the last of them has let it go.
    pub(super) fn count_in(&mut self, memory: &Arc<AtomicUsize>) {
        let bytes = 2 * self.size();
        memory.fetch_add(bytes, Ordering::Relaxed);
        let memory = memory.clone();
        self.held = Some(Held { memory, bytes });
    }

    /// Bytes that it takes in memory, without its frame.
    pub(super) fn size(&self) -> usize {
        let texts = [
            &self.from,
            &self.to,
            &self.timestamp,
            &self.content,
            &self.signature,
            &self.encrypted_key,
            &self.encryption_nonce,
        ];
        size_of::<Self>() + texts.iter().map(|text| text.len()).sum::<usize>()
    }
}

/// A message in a mailbox.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// The message.
    pub message: Arc<Message>,
    /// It was stored before the connection was attached.
    pub is_replayed: bool,
}
