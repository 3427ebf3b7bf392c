//! From what the user says to a frame.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::in_flight::request_id;
use super::{Chat, Outgoing, WARNED_MAX};
use crate::accounts::PublicKeys;
use crate::directory::Lookup;
use crate::failure::Failure;
use crate::frame::{BROADCAST, Body, Frame, Header, SENT_BYTES_MAX, SERVER};
use crate::options::Encryption;
use crate::seal::seal;
use crate::signature::sign_content;

impl Chat<'_> {
    /// The frame of a message, signed, and whether it is encrypted; none when it cannot be sent, which is
    /// said.
    pub(super) async fn compose(
        &mut self,
        outgoing: &Outgoing,
    ) -> Result<Option<(String, bool)>, Failure> {
        let frame = match outgoing {
            Outgoing::Direct { to, text } => match self.direct(to, text).await? {
                Ok(frame) => frame,
                Err(why) => {
                    self.not_sent(outgoing, &why, None)?;
                    return Ok(None);
                }
            },
            Outgoing::Broadcast(text) => self.signed(BROADCAST, BROADCAST, text.clone()),
            Outgoing::Command { name, params } => self.command(name, params.as_ref()),
            Outgoing::Quit => return Ok(None),
        };
        let is_encrypted = !frame.header.encrypted_key.is_empty();
        let frame = serde_json::to_string(&frame).expect("it is JSON");
        if frame.len() > SENT_BYTES_MAX {
            self.not_sent(outgoing, "it is too long for a message of 1 MiB", None)?;
            return Ok(None);
        }
        Ok(Some((frame, is_encrypted)))
    }

    /// A direct message, encrypted where it can be; the inner error says why there is none.
    async fn direct(&mut self, to: &str, text: &str) -> Result<Result<Frame, String>, Failure> {
        let lookup = self.directory.lookup(&self.accounts, to).await;
        self.keep_directory()?;
        let keys = match lookup {
            Ok(Lookup::Known(keys)) => keys,
            Ok(Lookup::Unknown) => return Ok(Err("there is no such user".into())),
            Ok(Lookup::Changed { is_first, offered }) => {
                if is_first {
                    self.warn_of_change(to, &offered)?;
                }
                return Ok(Err("the user's keys have changed".into()));
            }
            Err(error) => return Ok(Err(error.to_string())),
        };
        let sealed = match (self.options.encryption, keys.agreement) {
            (Encryption::Off, _) => None,
            (Encryption::Preferred, None) => {
                self.warn_of_plaintext(to)?;
                None
            }
            (Encryption::Required, None) => {
                return Ok(Err("the user has no key that it can be encrypted to".into()));
            }
            (_, Some(key)) => match seal(text, &key) {
                Some(sealed) => Some(sealed),
                None => return Ok(Err("the user's key of encryption is none".into())),
            },
        };
        Ok(Ok(match sealed {
            None => self.signed(to, "direct", text.to_owned()),
            Some(sealed) => {
                let mut frame = self.signed(to, "direct", sealed.content);
                frame.header.encrypted_key = sealed.encrypted_key;
                frame.header.encryption_nonce = sealed.nonce;
                frame
            }
        }))
    }

    fn command(&mut self, name: &str, params: Option<&Value>) -> Frame {
        self.commands += 1;
        let mut content = json!({ "command": name, "request_id": request_id(self.commands) });
        if let Some(params) = params {
            content["params"] = params.clone();
        }
        let content = content.to_string();
        // Of commands the content itself is signed.
        let signature = self.identity.sign(content.as_bytes());
        self.frame(SERVER, "server", content, signature)
    }

    fn signed(&self, to: &str, kind: &str, content: String) -> Frame {
        let signature = sign_content(&self.identity, &content);
        self.frame(to, kind, content, signature)
    }

    fn frame(&self, to: &str, kind: &str, content: String, signature: String) -> Frame {
        Frame {
            id: None,
            header: Header {
                from: self.user.clone(),
                to: to.to_owned(),
                message_type: kind.to_owned(),
                timestamp: format!("{:.3}", Timestamp::now()),
                signature,
                ..Header::default()
            },
            body: Body {
                content: content.into(),
            },
            status: String::new(),
        }
    }

    /// Keeps keys that have come.
    pub(super) fn keep_directory(&mut self) -> Result<(), Failure> {
        if self.directory.take_change() {
            self.state.save(&self.directory)?;
        }
        Ok(())
    }

    /// Says, once of each user, that the server reads what is sent to them.
    fn warn_of_plaintext(&mut self, user: &str) -> Result<(), Failure> {
        if self.warned.contains(user) {
            return Ok(());
        }
        if self.warned.len() >= WARNED_MAX {
            self.warned.clear();
        }
        self.warned.insert(user.to_owned());
        let text = format!(
            "{user} has no key to encrypt to: what you say to {user} is sent in plaintext, and the server can read it\n(--encryption required sends nothing then)"
        );
        self.output.tell("warning", &text, &json!({ "user": user }))
    }

    /// Says that the server has other keys of a user than before.
    pub(super) fn warn_of_change(&self, user: &str, offered: &PublicKeys) -> Result<(), Failure> {
        let (new, old) = (offered.fingerprint(), self.directory.trusted(user));
        let old = old.map(PublicKeys::fingerprint);
        let was = old.as_deref().unwrap_or("not known any more");
        let text = format!(
            "THE KEYS OF {user} HAVE CHANGED.\nEither the account was made anew, or someone pretends to be {user}. Nothing is sent to {user}\nuntil you say /trust {user}: ask {user} first, in another way (/key shows {user} the fingerprint).\nnow: {new}\nbefore: {was}"
        );
        let fields = json!({ "user": user, "fingerprint": new, "fingerprint_before": old });
        self.output.tell("warning", &text, &fields)
    }
}
