//! End-to-end encryption of a connection: how it begins, changes and ends (spec 1.11).

use std::rc::Rc;

use super::{Phase, WseSession};
use crate::conn::Flow;
use crate::dialect::wse::encryption::{FrameSealer, KeyExchange, KeyForm, SessionKey};
use crate::dialect::wse::envelope::Envelope;
use crate::dialect::wse::format::Coding;
use crate::dialect::wse::frame::{Dress, Fields, Writer};
use crate::id::{PeerId, Priority};
use crate::json;
use crate::shard::Shard;
use crate::timestamp::timestamp_of;

/// The keys of a connection.
#[derive(Default, Debug)]
pub(super) struct Secret {
    sealer: FrameSealer,
    /// What the client encrypts with; `None` if it does not.
    key: Option<Rc<SessionKey>>,
    /// What it did before, until something comes with the new one.
    previous: Option<Rc<SessionKey>>,
    /// The client's public key.
    client: Box<str>,
    /// What is announced once the client's topics have a format that can be encrypted.
    waiting: Option<Announcement>,
}

/// The message that announces a change.
#[derive(Debug)]
struct Announcement {
    kind: &'static str,
    /// Its beginning, as clients read it: the change comes right behind it.
    begins: &'static str,
    key: Option<Rc<SessionKey>>,
    text: Vec<u8>,
}

/// The algorithms, by purpose.
fn put_algorithms(p: &mut Fields<'_>) {
    p.object("algorithms", |p| {
        p.text("encryption", "AES-GCM-256")
            .text("signing", "HMAC-SHA256")
            .text("key_exchange", "ECDH-P256");
    });
}

impl WseSession {
    /// Whether what the client is sent is encrypted, or will be.
    pub(super) fn is_secret(&self) -> bool {
        let secret = self.secret.as_deref();
        secret.is_some_and(|secret| secret.key.is_some())
    }

    /// Agrees on a key with a client whose public key this is. The answer has ours.
    ///
    /// # Errors
    /// The client is told that there is none.
    pub(super) fn agree(
        &mut self,
        shard: &Shard,
        peer: PeerId,
        client: &str,
    ) -> Result<String, ()> {
        let secret = self.secret.as_deref();
        if secret.is_some_and(|secret| secret.waiting.is_some() || secret.sealer.is_changing()) {
            let why = "A change of keys is in progress; ask again when it is answered";
            self.error(shard, peer, "KEY_EXCHANGE_FAILED", why);
            return Err(());
        }
        let form = match self.dress {
            Dress::Field => KeyForm::Current,
            Dress::Prefix => KeyForm::Old,
        };
        let exchange = KeyExchange::new();
        let public = exchange.public_key();
        match exchange.agree(client, form) {
            Ok(key) => {
                let is_sealed = self.secret.is_some();
                let secret = self.secret.get_or_insert_default();
                if let Some(key) = secret.key.replace(Rc::new(key)) {
                    secret.previous = Some(key);
                }
                secret.client = client.into();
                if !is_sealed {
                    shard.seal(peer, Box::new(secret.sealer.clone()));
                }
                Ok(public)
            }
            Err(why) => {
                let message = format!("ECDH key exchange failed: {why}");
                self.error(shard, peer, "KEY_EXCHANGE_FAILED", &message);
                Err(())
            }
        }
    }

    /// Announces a change of keys: the message goes out as those before it, and all behind it have the new key. Topics in
    /// a format that cannot be encrypted get another one before.
    pub(super) fn announce(
        &mut self,
        shard: &Shard,
        peer: PeerId,
        (kind, begins): (&'static str, [&'static str; 2]),
        write: impl FnOnce(&mut Fields<'_>),
    ) {
        let mut text = Vec::new();
        Writer::system(&mut text, self.dress, kind)
            .payload(write)
            .end();
        let begins = begins[usize::from(self.dress == Dress::Prefix)];
        debug_assert!(text.starts_with(begins.as_bytes()));
        let Some(secret) = &mut self.secret else {
            return;
        };
        secret.waiting = Some(Announcement {
            kind,
            begins,
            key: secret.key.clone(),
            text,
        });
        if secret.key.is_some() {
            self.coding = Coding::Json;
        }
        if self.phase == Phase::Joined && self.format() != self.reads {
            if self.change_format(shard, peer) == Flow::Wait {
                self.retry_soon(shard, peer);
            }
        } else {
            // What waits for the client alone may be compressed.
            let is_behind = self.deflate.is_some();
            self.announce_waiting(shard, peer, is_behind);
        }
    }

    /// Writes the announcement that waited, behind what is still in the old format.
    pub(super) fn announce_waiting(&mut self, shard: &Shard, peer: PeerId, is_behind: bool) {
        let Some(secret) = &mut self.secret else {
            return;
        };
        let Some(Announcement {
            kind,
            begins,
            key,
            text,
        }) = secret.waiting.take()
        else {
            return;
        };
        if secret.sealer.begin(begins, key).is_err() {
            // The last one is not written yet.
            secret.key.clone_from(&secret.previous);
            let why =
                format!("{kind}: a change of keys is in progress; ask again when it is answered");
            return self.error(shard, peer, "KEY_EXCHANGE_FAILED", &why);
        }
        match is_behind {
            true => shard.send_reformatted(peer, &text),
            false => shard.send_plain(peer, Priority::Critical, |out| out.extend_from_slice(&text)),
        }
    }

    /// Whether an announcement waits for the client's topics to change their format.
    pub(super) fn has_waiting(&self) -> bool {
        let secret = self.secret.as_deref();
        secret.is_some_and(|secret| secret.waiting.is_some())
    }

    /// Processes an encrypted message.
    pub(super) fn encrypted(&mut self, shard: &Shard, peer: PeerId, message: &[u8]) -> Flow {
        if self.secret.is_none() {
            let why = "The message is encrypted, and no key was agreed on";
            self.error(shard, peer, "ENCRYPTION_REQUIRED", why);
            return Flow::Continue;
        }
        shard.with_text(|text| {
            if !self.open(message, text) {
                let why = "The message cannot be decrypted with the key of this connection";
                self.error(shard, peer, "INVALID_MESSAGE", why);
                return Flow::Continue;
            }
            match text.starts_with(super::MARK) || text.starts_with(b"M:") {
                true => self.binary(shard, peer, &text.clone()),
                false => self.unpacked(shard, peer, text),
            }
        })
    }

    fn open(&mut self, message: &[u8], text: &mut Vec<u8>) -> bool {
        let Some(secret) = &mut self.secret else {
            return false;
        };
        let key = secret.key.as_ref();
        if key.is_some_and(|key| key.open(message, text).is_ok()) {
            secret.previous = None;
            return true;
        }
        // It was on its way when the key was changed.
        let previous = secret.previous.as_ref();
        previous.is_some_and(|key| key.open(message, text).is_ok())
    }

    /// Answers an `encryption_request`.
    pub(super) fn encryption(&mut self, shard: &Shard, peer: PeerId, message: &Envelope<'_>) {
        let (mut action, mut client) = (None, None);
        let _ = json::fields(message.payload_text(), |key, value| match key {
            "action" => action = value.as_string(),
            "public_key" => client = value.as_string(),
            _ => {}
        });
        const ANSWER: (&str, [&str; 2]) = (
            "encryption_response",
            [
                r#"{"c":"WSE","t":"encryption_response""#,
                r#"WSE{"t":"encryption_response""#,
            ],
        );
        match action.as_deref() {
            Some("enable") => {
                let client = client.unwrap_or_default();
                if let Ok(public) = self.agree(shard, peer, &client) {
                    self.announce(shard, peer, ANSWER, |p| {
                        p.flag("enabled", true).text("public_key", &public);
                        put_algorithms(p);
                    });
                }
            }
            Some("disable") if self.is_secret() => {
                if let Some(secret) = &mut self.secret {
                    secret.previous = secret.key.take();
                }
                self.announce(shard, peer, ANSWER, |p| {
                    p.flag("enabled", false);
                });
            }
            Some("disable" | "status") | None => {
                let is_enabled = self.is_secret();
                self.send_system(shard, peer, ANSWER.0, |p| {
                    p.flag("enabled", is_enabled);
                    put_algorithms(p);
                });
            }
            Some(other) => {
                let why = format!("`{other}` is none of enable, disable and status");
                self.error(shard, peer, "INVALID_ACTION", &why);
            }
        }
    }

    /// Answers a `key_rotation_request`: a new key from a new pair of ours, and the client's new public key or the one
    /// that it had.
    pub(super) fn rotate_key(&mut self, shard: &Shard, peer: PeerId, message: &Envelope<'_>) {
        const ANSWER: (&str, [&str; 2]) = (
            "key_rotation_response",
            [
                r#"{"c":"WSE","t":"key_rotation_response""#,
                r#"WSE{"t":"key_rotation_response""#,
            ],
        );
        if !self.is_secret() {
            return self.error(shard, peer, "ENCRYPTION_REQUIRED", "Encryption not enabled");
        }
        let mut client = None;
        let _ = json::fields(message.payload_text(), |key, value| {
            if key == "public_key" {
                client = value.as_string();
            }
        });
        let known = self.secret.as_ref().map(|secret| secret.client.clone());
        let client = client.map_or_else(|| known.unwrap_or_default(), |client| client.into());
        if let Ok(public) = self.agree(shard, peer, &client) {
            let timestamp = timestamp_of(shard.clock.wall_ms());
            let timestamp = str::from_utf8(&timestamp).expect("it is ASCII");
            self.announce(shard, peer, ANSWER, |p| {
                p.flag("success", true)
                    .text("new_public_key", &public)
                    .text("timestamp", timestamp);
            });
        }
    }
}
