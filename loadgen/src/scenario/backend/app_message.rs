//! What clients send to the application: a payload in a message of type `app`, in their protocol.

use super::dialect::Dialect;
use crate::payload::{self, HEAD_BYTES, Layout, PAYLOAD_BYTES_MIN, PayloadHead, Source};

/// Before the digits of the sequence number.
const ID: &[u8] = br#""id":""#;

/// After the digits of the sequence number.
const ID_END: &[u8] = br#"","#;

/// Digits of a sequence number.
const DIGITS: usize = 8;

/// Writes and checks messages of one length.
#[derive(Debug)]
pub(crate) struct AppMessages {
    dialect: Dialect,
    layout: Layout,
    has_ids: bool,
}

/// Who sent a message, as which, and when, in digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct AppHead {
    pub(crate) client: u32,
    pub(crate) sequence: u32,
    pub(crate) time: u128,
}

impl AppMessages {
    /// Messages of `bytes` bytes. With ids, each has its sequence number as `id`, which a refusal
    /// repeats.
    pub(crate) fn new(
        dialect: Dialect,
        bytes: usize,
        has_ids: bool,
        seed: u64,
    ) -> Result<Self, String> {
        let id_bytes = if has_ids {
            ID.len() + DIGITS + ID_END.len()
        } else {
            0
        };
        let (start, data) = (dialect.message_start(), dialect.data_start());
        let around = start.len() + id_bytes + data.len() + dialect.message_end().len();
        let least = around + PAYLOAD_BYTES_MIN;
        if bytes < least {
            return Err(format!(
                "--size {bytes}: a message has at least {least} bytes, for its client, number and time"
            ));
        }
        Ok(Self {
            dialect,
            layout: Layout::new(bytes - around, seed),
            has_ids,
        })
    }

    pub(crate) fn has_ids(&self) -> bool {
        self.has_ids
    }

    pub(crate) fn dialect(&self) -> Dialect {
        self.dialect
    }

    pub(crate) fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Appends one message to `out`.
    pub(crate) fn write(&self, out: &mut Vec<u8>, client: u32, sequence: u32, sent_ns: u64) {
        self.write_envelope(out, sequence);
        let source = Source::from_number(client);
        self.layout.write(out, source, sequence, sent_ns);
        out.extend_from_slice(self.dialect.message_end());
    }

    fn write_envelope(&self, out: &mut Vec<u8>, sequence: u32) {
        out.extend_from_slice(self.dialect.message_start());
        if self.has_ids {
            out.extend_from_slice(ID);
            out.extend_from_slice(&payload::digits(sequence).to_le_bytes());
            out.extend_from_slice(ID_END);
        }
        out.extend_from_slice(self.dialect.data_start());
    }

    /// The head of a whole message, if every byte of it is what [`Self::write`] wrote.
    pub(crate) fn check(&self, message: &[u8]) -> Option<AppHead> {
        let end = self.dialect.message_end();
        let data = message.len().checked_sub(self.layout.bytes() + end.len())?;
        let (envelope, rest) = message.split_at(data);
        let payload = rest.strip_suffix(end)?;
        if payload.len() < HEAD_BYTES || payload[0] != b'"' {
            return None;
        }
        let head = PayloadHead::of(payload)?;
        let client = payload::number(head.source)?;
        let sequence = payload::number(head.sequence)?;
        payload::time_ns(head.time)?;
        let mut expected = Vec::with_capacity(envelope.len());
        self.write_envelope(&mut expected, sequence);
        let is_whole = envelope == expected && self.layout.tail_matches(payload, client, sequence);
        is_whole.then_some(AppHead {
            client,
            sequence,
            time: head.time,
        })
    }
}

/// The sequence number in the `id` of a refusal.
pub(crate) fn sequence_of(id: &[u8]) -> Option<u32> {
    let digits: &[u8; DIGITS] = id.try_into().ok()?;
    payload::number(u64::from_le_bytes(*digits))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_have_the_asked_length_and_are_recognised_whole() {
        let sizes = [(175, false), (175, true), (66, false), (82, true)];
        let cases = [(Dialect::Events, "type"), (Dialect::Wse, "t")]
            .into_iter()
            .flat_map(|dialect| sizes.map(|size| (dialect, size)));
        for ((dialect, kind), (bytes, has_ids)) in cases {
            let messages = AppMessages::new(dialect, bytes, has_ids, 1).unwrap();
            let mut out = Vec::new();
            messages.write(&mut out, 7, 300, 9);
            assert_eq!(out.len(), bytes);
            let json: serde_json::Value = serde_json::from_slice(&out).unwrap();
            assert_eq!(json[kind], "app");
            assert_eq!(json["id"].as_str(), has_ids.then_some("0000012c"));
            let head = messages.check(&out).unwrap();
            assert_eq!((head.client, head.sequence), (7, 300));
            for at in 0..out.len() {
                let mut changed = out.clone();
                changed[at] ^= 1;
                assert_ne!(messages.check(&changed), Some(head), "{at}");
            }
        }
    }

    #[test]
    fn a_message_without_room_for_its_numbers_is_refused() {
        for (dialect, least, has_ids) in [
            (Dialect::Events, 63, false),
            (Dialect::Events, 79, true),
            (Dialect::Wse, 66, false),
            (Dialect::Wse, 82, true),
        ] {
            assert!(AppMessages::new(dialect, least - 1, has_ids, 1).is_err());
            assert!(AppMessages::new(dialect, least, has_ids, 1).is_ok());
        }
    }

    #[test]
    fn ids_are_sequence_numbers() {
        assert_eq!(sequence_of(b"0000012c"), Some(300));
        assert_eq!(sequence_of(b"300"), None);
    }
}
