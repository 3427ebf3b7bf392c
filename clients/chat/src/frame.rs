//! Messages on the wire.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Bytes of a message that servers accept.
pub(crate) const SENT_BYTES_MAX: usize = 1024 * 1024;
/// Bytes of a message that is accepted here: one of [`SENT_BYTES_MAX`] with what servers add, written
/// with other escapes.
pub(crate) const RECEIVED_BYTES_MAX: usize = 8 * 1024 * 1024;

pub(crate) const BROADCAST: &str = "broadcast";
pub(crate) const SERVER: &str = "server";
/// Who refuses what was sent.
pub(crate) const SYSTEM: &str = "system";

/// One message.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Frame {
    /// The server's, of messages that it keeps.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) id: Option<i64>,
    pub(crate) header: Header,
    pub(crate) body: Body,
    /// "pending" of messages that waited for this connection, "error" of refusals.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) status: String,
}

/// Whom a message is from and for, and how to read it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Header {
    pub(crate) from: String,
    pub(crate) to: String,
    /// direct, broadcast or server.
    pub(crate) message_type: String,
    /// RFC 3339, the sender's clock.
    pub(crate) timestamp: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) signature: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) encrypted_key: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) encryption_nonce: String,
}

/// What is said.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Body {
    pub(crate) content: Value,
}

/// That the server has stored a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Acknowledgement {
    pub(crate) id: i64,
    /// Whether its recipient is connected.
    pub(crate) is_delivered: bool,
}

/// That the server has not taken a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// It may be sent again: it was too fast, or the server too busy. What the server says.
    Later(String),
    NotStored {
        why: String,
        code: String,
    },
}

impl Frame {
    /// Reads a message; none of anything else.
    pub(crate) fn parse(text: &[u8]) -> Option<Self> {
        serde_json::from_slice(text).ok()
    }

    /// The content: a text as it is, anything else as JSON.
    pub(crate) fn content(&self) -> String {
        match &self.body.content {
            Value::String(text) => text.clone(),
            Value::Null => String::new(),
            other => other.to_string(),
        }
    }

    /// Whether it is the server's own, and not a user's.
    pub(crate) fn is_from_server(&self) -> bool {
        self.id.is_none() && matches!(&*self.header.from, SERVER | SYSTEM)
    }

    /// What the server says, in place of an acknowledgement, of a message that it does not take.
    pub(crate) fn refusal(&self) -> Option<Refusal> {
        if !self.is_from_server() || self.status != "error" {
            return None;
        }
        let content = self.body.content.as_str()?;
        if self.header.from == SYSTEM {
            let is_later = content.contains("Rate limit");
            return is_later.then(|| Refusal::Later(content.to_owned()));
        }
        let content: Value = serde_json::from_str(content).ok()?;
        if !content["request_id"].is_null() {
            return None;
        }
        let code = content["code"].as_str()?.to_owned();
        let why = content["error"].as_str().unwrap_or("not stored").to_owned();
        Some(match &*code {
            "STORE_BUSY" => Refusal::Later(why),
            _ => Refusal::NotStored { why, code },
        })
    }

    /// The id of the command that the server answers, if that is what it says.
    pub(crate) fn answered(&self) -> Option<String> {
        if !self.is_from_server() || self.header.from != SERVER {
            return None;
        }
        let content: Value = serde_json::from_str(self.body.content.as_str()?).ok()?;
        content["request_id"].as_str().map(str::to_owned)
    }

    /// What the server acknowledges, if that is what it says.
    pub(crate) fn acknowledgement(&self) -> Option<Acknowledgement> {
        if !self.is_from_server() || self.header.from != SERVER {
            return None;
        }
        let content: Value = serde_json::from_str(self.body.content.as_str()?).ok()?;
        Some(Acknowledgement {
            id: content["ack"].as_i64()?,
            is_delivered: content["status"] == "delivered",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_read_and_written() {
        let text = r#"{"id":88,"header":{"from":"alice","to":"bob","message_type":"direct","timestamp":"2025-01-02T03:04:05.678Z","signature":"s","encrypted_key":"k","encryption_nonce":"n"},"body":{"content":"hi"},"status":"pending"}"#;
        let frame = Frame::parse(text.as_bytes()).unwrap();
        assert_eq!(frame.id, Some(88));
        assert_eq!(frame.content(), "hi");
        assert_eq!(serde_json::to_string(&frame).unwrap(), text);
    }

    #[test]
    fn what_is_missing_is_empty_and_what_is_unknown_ignored() {
        let frame = Frame::parse(
            br#"{"header":{"from":"a","is_broadcast":true},"body":{"content":{"a":1}}}"#,
        );
        let frame = frame.unwrap();
        assert_eq!((&*frame.header.to, frame.id), ("", None));
        assert_eq!(frame.content(), r#"{"a":1}"#);
        for text in ["", "[]x", "1", r#"{"id":"a"}"#, r#"{"header":{"from":1}}"#] {
            assert_eq!(Frame::parse(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn acknowledgements_are_the_servers_alone() {
        let read = |id: &str, from: &str, content: &str| {
            let content = serde_json::to_string(content).unwrap();
            let text =
                format!(r#"{{{id}"header":{{"from":"{from}"}},"body":{{"content":{content}}}}}"#);
            Frame::parse(text.as_bytes()).unwrap().acknowledgement()
        };
        let ack = r#"{"success":true,"ack":7,"status":"pending"}"#;
        let pending = Acknowledgement {
            id: 7,
            is_delivered: false,
        };
        assert_eq!(read("", "server", ack), Some(pending));
        assert_eq!(read("", "bob", ack), None);
        assert_eq!(read("\"id\":1,", "server", ack), None);
        assert_eq!(
            read("", "server", r#"{"success":true,"result":{"ack":7}}"#),
            None
        );
        assert_eq!(read("", "server", "hi"), None);
    }

    #[test]
    fn what_is_not_stored_is_told_from_what_commands_answer() {
        let check = |from: &str, content: &str| {
            let content = serde_json::to_string(content).unwrap();
            let text = format!(
                r#"{{"header":{{"from":"{from}"}},"body":{{"content":{content}}},"status":"error"}}"#
            );
            Frame::parse(text.as_bytes()).unwrap().refusal()
        };
        let full = r#"{"success":false,"code":"STORE_FULL","error":"the disk is full"}"#;
        let refused = Refusal::NotStored {
            why: "the disk is full".into(),
            code: "STORE_FULL".into(),
        };
        assert_eq!(check("server", full), Some(refused));
        assert_eq!((check("bob", full), check("server", "hi")), (None, None));
        let other = r#"{"success":false,"error":"Invalid signature"}"#;
        assert_eq!(check("server", other), None);
        let busy = full.replace("FULL", "BUSY");
        let later = |why: &str| Some(Refusal::Later(why.into()));
        assert_eq!(check("server", &busy), later("the disk is full"));
        let fast = "Rate limit exceeded. Please slow down.";
        assert_eq!(check("system", fast), later(fast));
        assert_eq!(check("system", "3 messages of services lost"), None);
        let answer = r#"{"success":false,"request_id":"r1","code":"x","error":"y"}"#;
        assert_eq!(check("server", answer), None);
    }
}
