//! From a frame to what the user sees.

use super::Chat;
use crate::directory::Lookup;
use crate::failure::Failure;
use crate::frame::Frame;
use crate::output::{Message, Signed};
use crate::seal::{Sealed, open};
use crate::signature::is_signed;

const UNREADABLE: &str = "(encrypted to another key, or changed: it cannot be read)";

impl Chat<'_> {
    /// Shows a message of the server's, once.
    pub(super) async fn receive(&mut self, text: &[u8]) -> Result<(), Failure> {
        self.debug("received", &String::from_utf8_lossy(text));
        let Some(frame) = Frame::parse(text) else {
            let text = "the server has sent something that is no message; DEBUG=true shows it";
            return self.output.notice(text);
        };
        if let Some(acknowledgement) = frame.acknowledgement() {
            return self.confirmed(acknowledgement);
        }
        if let Some(refusal) = frame.refusal()
            && self.refused(refusal)?
        {
            return Ok(());
        }
        if let Some(request_id) = frame.answered() {
            self.answered(&request_id);
        }
        if frame.id.is_some_and(|id| self.state.is_seen(id)) {
            return Ok(());
        }
        let message = self.read(&frame).await?;
        self.output.message(&message)?;
        if let Some(id) = frame.id {
            self.state.see(id);
            self.save()?;
        }
        Ok(())
    }

    async fn read(&mut self, frame: &Frame) -> Result<Message, Failure> {
        let header = &frame.header;
        let content = frame.content();
        let signature = self.check_signature(frame, &content).await?;
        let encrypted = !header.encrypted_key.is_empty();
        let text = if encrypted {
            let sealed = Sealed {
                content,
                encrypted_key: header.encrypted_key.clone(),
                nonce: header.encryption_nonce.clone(),
            };
            open(&sealed, &self.identity)
        } else {
            Some(content)
        };
        Ok(Message {
            id: frame.id,
            from: header.from.clone(),
            to: header.to.clone(),
            kind: header.message_type.clone(),
            timestamp: header.timestamp.clone(),
            unreadable: text.is_none(),
            text: text.unwrap_or_else(|| UNREADABLE.to_owned()),
            signature,
            encrypted,
            pending: frame.status == "pending",
            error: frame.is_from_server() && frame.status == "error",
        })
    }

    /// What the signature says, which is over what was sent: of an encrypted message the ciphertext.
    async fn check_signature(&mut self, frame: &Frame, content: &str) -> Result<Signed, Failure> {
        let header = &frame.header;
        if header.signature.is_empty() || frame.is_from_server() {
            return Ok(Signed::None);
        }
        let (from, signature) = (&header.from, &header.signature);
        let mut lookup = self.directory.lookup(&self.accounts, from).await;
        if let Ok(Lookup::Known(keys)) = &lookup
            && !is_signed(&keys.signing, content, signature)
        {
            lookup = self.directory.lookup_again(&self.accounts, from).await;
        }
        self.keep_directory()?;
        Ok(match lookup {
            Ok(Lookup::Known(keys)) if is_signed(&keys.signing, content, signature) => {
                Signed::Verified
            }
            Ok(Lookup::Known(_)) => Signed::Invalid,
            Ok(Lookup::Changed { offered, is_first }) => {
                if is_first {
                    self.warn_of_change(from, &offered)?;
                }
                match is_signed(&offered.signing, content, signature) {
                    true => Signed::KeyChanged,
                    false => Signed::Invalid,
                }
            }
            Ok(Lookup::Unknown) | Err(_) => Signed::Unknown,
        })
    }
}
