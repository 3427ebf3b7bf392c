//! Reads batches of the backend link.
//!
//! The hot path parses no JSON. A client's first message is parsed whole, to learn which bytes stand
//! between its numbers and its payload. Later objects of that client are compared in place: these
//! bytes, all of the payload, and the bytes after it. An object that differs is parsed whole.

use std::borrow::Cow;

use memchr::memmem::{self, Finder};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::app_message::{AppHead, AppMessages};
use crate::number;
use crate::payload::{self, PayloadHead};

/// Before a payload's fields, with its opening quote.
const QUOTED_MAGIC: &[u8] = b"\"fanfare";

/// Before the digits of an id, in the object and in the client's message.
const ID: &[u8] = br#""id":""#;

const N: &[u8] = br#"{"n":"#;
const SEQ: &[u8] = br#","seq":"#;

/// One object of a batch.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Object<'a> {
    /// The group's number of it.
    pub(crate) n: u64,
    /// The member's number of it.
    pub(crate) seq: u64,
    /// Whether it was sent before.
    pub(crate) again: bool,
    pub(crate) body: Body<'a>,
}

/// What an object says.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Body<'a> {
    Connect {
        conn: Cow<'a, str>,
    },
    /// A whole message of a client. The connection is absent if it is that of the client's last one.
    Message {
        head: AppHead,
        conn: Option<Cow<'a, str>>,
    },
    Disconnect {
        conn: Cow<'a, str>,
        code: u64,
    },
    Gap {
        lost: u64,
    },
    /// An event that no client here causes.
    Other,
    /// A message that is not what its client sent, or a missing field.
    Corrupt,
}

/// What follows in a batch.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Step<'a> {
    Object(Object<'a>),
    /// No array of objects: the rest cannot be read.
    Broken,
}

#[derive(Debug, Deserialize)]
struct Fields<'a> {
    n: u64,
    seq: u64,
    #[serde(borrow)]
    event: Cow<'a, str>,
    #[serde(default)]
    again: bool,
    #[serde(borrow, default)]
    conn: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    dialect: Option<Cow<'a, str>>,
    #[serde(borrow, default, rename = "type")]
    kind: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    id: Option<&'a RawValue>,
    #[serde(borrow, default)]
    data: Option<&'a RawValue>,
    #[serde(default)]
    code: Option<u64>,
    #[serde(default)]
    lost: Option<u64>,
}

/// The bytes between the numbers and the payload of one client's objects.
#[derive(Debug, Default)]
struct Template {
    bytes: Vec<u8>,
    /// Where the digits of ids are.
    ids: Vec<usize>,
}

impl Template {
    fn learn(&mut self, between: &[u8], has_ids: bool) {
        self.bytes.clear();
        self.bytes.extend_from_slice(between);
        self.ids.clear();
        if has_ids {
            let ids = memmem::find_iter(between, ID).map(|at| at + ID.len());
            self.ids.extend(ids.filter(|at| at + 8 <= between.len()));
        }
    }

    #[inline]
    fn matches(&mut self, between: &[u8], sequence: u64) -> bool {
        for &at in &self.ids {
            self.bytes[at..at + 8].copy_from_slice(&sequence.to_le_bytes());
        }
        *between == self.bytes && !between.is_empty()
    }
}

/// Reads the batches of all members.
#[derive(Debug)]
pub(crate) struct BatchReader {
    /// By client.
    templates: Vec<Template>,
    /// Of the last message.
    client: u32,
    magic: Finder<'static>,
    parses: u64,
}

impl BatchReader {
    pub(crate) fn new(clients: usize) -> Self {
        Self {
            templates: (0..clients).map(|_| Template::default()).collect(),
            client: 0,
            magic: Finder::new(QUOTED_MAGIC),
            parses: 0,
        }
    }

    /// Objects that were parsed whole, about a microsecond each.
    pub(crate) fn parses(&self) -> u64 {
        self.parses
    }

    /// The client's next message has another connection, or must not come.
    pub(crate) fn forget(&mut self, client: u32) {
        if let Some(template) = self.templates.get_mut(client as usize) {
            template.bytes.clear();
        }
    }

    /// Takes the next object off `batch`, which begins with `[` or the comma before the object;
    /// `None` at the end.
    ///
    /// Cost: about 20 ns and one comparison of its bytes for an object that is as expected.
    #[inline]
    pub(crate) fn next<'a>(
        &mut self,
        messages: &AppMessages,
        batch: &mut &'a [u8],
    ) -> Option<Step<'a>> {
        match **batch {
            [b']'] | [] => None,
            [b'[' | b',', ref rest @ ..] => {
                let found = match self.expected(messages, rest) {
                    Some(found) => Some(found),
                    None => self.parsed(messages, rest),
                };
                let Some((object, length)) = found else {
                    *batch = &[];
                    return Some(Step::Broken);
                };
                *batch = &rest[length..];
                if batch.is_empty() {
                    // The array does not end.
                    *batch = b"?";
                }
                Some(Step::Object(object))
            }
            _ => {
                *batch = &[];
                Some(Step::Broken)
            }
        }
    }

    /// The object at the front of `text` and its length, if every byte of it is as expected.
    #[inline]
    fn expected<'a>(
        &mut self,
        messages: &AppMessages,
        text: &'a [u8],
    ) -> Option<(Object<'a>, usize)> {
        let (n, rest) = decimal(text.strip_prefix(N)?)?;
        let (seq, rest) = decimal(rest.strip_prefix(SEQ)?)?;
        // Most often the object is of the same client as the one before.
        let usual = self.templates.get(self.client as usize)?.bytes.len();
        let at = match rest.get(usual..) {
            Some(payload) if payload.starts_with(QUOTED_MAGIC) => usual,
            _ => self.magic.find(rest)?,
        };
        let (between, data_on) = rest.split_at(at);
        let (data, tail) = data_on.split_at_checked(messages.layout().bytes())?;
        let head = PayloadHead::of(data)?;
        let client = payload::number(head.source)?;
        let template = self.templates.get_mut(client as usize)?;
        // The end of the client's message and of the object.
        let end = messages.dialect().message_end();
        let is_ended = tail.starts_with(end) && tail.get(end.len()) == Some(&b'}');
        if !template.matches(between, head.sequence) || !is_ended {
            return None;
        }
        let sequence = payload::number(head.sequence)?;
        if !messages.layout().tail_matches(data, client, sequence) {
            return None;
        }
        self.client = client;
        let object = Object {
            n,
            seq,
            again: false,
            body: Body::Message {
                head: AppHead {
                    client,
                    sequence,
                    time: head.time,
                },
                conn: None,
            },
        };
        Some((object, text.len() - tail.len() + end.len() + 1))
    }

    /// Parses the object at the front of `text`.
    #[cold]
    fn parsed<'a>(
        &mut self,
        messages: &AppMessages,
        text: &'a [u8],
    ) -> Option<(Object<'a>, usize)> {
        self.parses += 1;
        let mut values = serde_json::Deserializer::from_slice(text).into_iter::<&RawValue>();
        let raw = values.next()?.ok()?.get();
        let length = values.byte_offset();
        let fields: Fields<'a> = serde_json::from_str(raw).ok()?;
        let (n, seq, again) = (fields.n, fields.seq, fields.again);
        let body = match &*fields.event {
            "message" => self.message(messages, raw.as_bytes(), fields),
            "connect" => fields.conn.map(|conn| Body::Connect { conn }),
            "disconnect" => fields.conn.zip(fields.code).map(|(conn, code)| {
                // A close frame without a code, or none.
                Body::Disconnect { conn, code }
            }),
            "gap" => fields.lost.map(|lost| Body::Gap { lost }),
            _ => Some(Body::Other),
        };
        let body = body.unwrap_or(Body::Corrupt);
        let object = Object {
            n,
            seq,
            again,
            body,
        };
        Some((object, length))
    }

    /// Checks a message, and learns from one that comes for the first time.
    fn message<'a>(
        &mut self,
        messages: &AppMessages,
        object: &[u8],
        fields: Fields<'a>,
    ) -> Option<Body<'a>> {
        let data = fields.data?.get();
        let head = messages.check(data.as_bytes())?;
        let id = fields.id.map(RawValue::get);
        let expected = format!("\"{:08x}\"", head.sequence);
        let is_right = fields.kind.as_deref() == Some("app")
            && fields.dialect.as_deref() == Some(messages.dialect().name())
            && id == messages.has_ids().then_some(&*expected);
        if !is_right {
            return None;
        }
        let conn = fields.conn?;
        if !fields.again
            && let Some(template) = self.templates.get_mut(head.client as usize)
            && let Some(between) = between(object, messages.dialect().message_end())
        {
            template.learn(between, messages.has_ids());
            self.client = head.client;
        }
        Some(Body::Message {
            head,
            conn: Some(conn),
        })
    }
}

/// What stands between the numbers and the payload, if the object begins with its numbers and ends
/// with its payload.
fn between<'a>(object: &'a [u8], message_end: &[u8]) -> Option<&'a [u8]> {
    let (_, rest) = decimal(object.strip_prefix(N)?)?;
    let (_, rest) = decimal(rest.strip_prefix(SEQ)?)?;
    let at = memmem::find(rest, QUOTED_MAGIC)?;
    let message = object.strip_suffix(b"}")?;
    message.ends_with(message_end).then(|| &rest[..at])
}

/// The number at the front of `text`, and what follows it.
#[inline]
fn decimal(text: &[u8]) -> Option<(u64, &[u8])> {
    let (value, length) = number::decimal(text)?;
    Some((value, &text[length..]))
}

#[cfg(test)]
mod tests {
    use super::super::dialect::Dialect;
    use super::*;

    fn messages(has_ids: bool) -> AppMessages {
        AppMessages::new(Dialect::Events, 175, has_ids, 1).unwrap()
    }

    /// Of both protocols, without ids and with them.
    fn all_messages() -> impl Iterator<Item = AppMessages> {
        let dialects = [Dialect::Events, Dialect::Wse].into_iter();
        let cases = dialects.flat_map(|dialect| [(dialect, false), (dialect, true)]);
        cases.map(|(dialect, has_ids)| AppMessages::new(dialect, 175, has_ids, 1).unwrap())
    }

    fn object(messages: &AppMessages, numbers: (u64, u64), client: u32, sequence: u32) -> String {
        let mut data = Vec::new();
        messages.write(&mut data, client, sequence, 5);
        let id = if messages.has_ids() {
            format!(r#""id":"{sequence:08x}","#)
        } else {
            String::new()
        };
        let ((n, seq), data) = (numbers, String::from_utf8(data).unwrap());
        let dialect = messages.dialect().name();
        format!(
            r#"{{"n":{n},"seq":{seq},"event":"message","conn":"0-{client}-1","dialect":"{dialect}","user":null,"type":"app",{id}"data":{data}}}"#
        )
    }

    /// Numbers, client and sequence of a message.
    type Seen = (u64, u64, u32, u32);

    /// Reads a batch: numbers, client and sequence of every object, and how many were parsed.
    fn read(
        reader: &mut BatchReader,
        messages: &AppMessages,
        batch: &str,
    ) -> (Vec<Option<Seen>>, u64) {
        let (mut rest, before) = (batch.as_bytes(), reader.parses());
        let mut steps = Vec::new();
        while let Some(step) = reader.next(messages, &mut rest) {
            steps.push(match step {
                Step::Object(Object {
                    n,
                    seq,
                    body: Body::Message { head, .. },
                    ..
                }) => Some((n, seq, head.client, head.sequence)),
                _ => None,
            });
        }
        (steps, reader.parses() - before)
    }

    #[test]
    fn a_clients_first_message_is_parsed_and_later_ones_are_compared() {
        for messages in all_messages() {
            let mut reader = BatchReader::new(20);
            let batch = |from: u32| {
                let objects = (from..from + 6).map(|at| {
                    let numbers = (u64::from(at) * 3, u64::from(at) + 1);
                    object(&messages, numbers, 9 + at % 3, at)
                });
                format!("[{}]", objects.collect::<Vec<_>>().join(","))
            };
            let expected = |from: u32| -> Vec<_> {
                let one = |at: u32| (u64::from(at) * 3, u64::from(at) + 1, 9 + at % 3, at);
                (from..from + 6).map(|at| Some(one(at))).collect()
            };
            assert_eq!(read(&mut reader, &messages, &batch(0)), (expected(0), 3));
            assert_eq!(
                read(&mut reader, &messages, &batch(999)),
                (expected(999), 0)
            );
        }
    }

    #[test]
    fn a_changed_byte_anywhere_in_a_message_is_noticed() {
        for messages in all_messages() {
            let mut reader = BatchReader::new(2);
            let batch = format!("[{}]", object(&messages, (7, 4), 1, 0x5a));
            let whole = read(&mut reader, &messages, &batch).0;
            assert_eq!(whole, [Some((7, 4, 1, 0x5a))]);
            // Another time of sending is no fault.
            let time = batch.find("fanfare").unwrap() + 23;
            // Numbers, names and user of the object may differ; all of the client's message may not.
            let data = batch.find(r#""type":"app""#).unwrap();
            for at in (data..batch.len()).filter(|at| !(time..time + 16).contains(at)) {
                let mut changed = batch.clone().into_bytes();
                changed[at] ^= 1;
                let changed = String::from_utf8(changed).unwrap();
                let seen = read(&mut reader, &messages, &changed).0;
                assert!(seen.len() != 1 || seen[0] != whole[0], "{at}: {changed}");
            }
        }
    }

    #[test]
    fn objects_in_another_order_of_fields_are_parsed() {
        let messages = messages(false);
        let mut reader = BatchReader::new(2);
        let text = object(&messages, (7, 4), 1, 3);
        let moved = text.replacen(r#"{"n":7,"#, "{", 1);
        let moved = format!(r#"[{},"n":7}}]"#, &moved[..moved.len() - 1]);
        for _ in 0..2 {
            let seen = read(&mut reader, &messages, &moved);
            assert_eq!(seen, (vec![Some((7, 4, 1, 3))], 1));
        }
    }

    #[test]
    fn what_comes_again_is_parsed_and_not_learned() {
        let messages = messages(false);
        let mut reader = BatchReader::new(2);
        let again =
            object(&messages, (7, 4), 1, 3).replacen(r#","event""#, r#","again":true,"event""#, 1);
        let batch = format!("[{again}]");
        for _ in 0..2 {
            let mut rest = batch.as_bytes();
            let step = reader.next(&messages, &mut rest);
            assert!(matches!(
                step,
                Some(Step::Object(Object { again: true, .. }))
            ));
        }
        assert_eq!(reader.parses(), 2);
    }

    #[test]
    fn other_events_and_broken_batches_are_told_apart() {
        let messages = messages(false);
        let mut reader = BatchReader::new(1);
        let mut check = |text: &str, expected: &[Option<Body<'_>>]| {
            let mut rest = text.as_bytes();
            for body in expected {
                match (reader.next(&messages, &mut rest), body) {
                    (Some(Step::Object(object)), Some(body)) => assert_eq!(&object.body, body),
                    (Some(Step::Broken), None) => {}
                    (step, _) => panic!("{text}: {step:?}"),
                }
            }
            assert_eq!(reader.next(&messages, &mut rest), None, "{text}");
        };
        let connect = r#"{"n":1,"seq":1,"event":"connect","conn":"a"}"#;
        let disconnect =
            r#"{"n":2,"seq":2,"event":"disconnect","conn":"a","code":1000,"reason":"","in":1}"#;
        let gap = r#"{"n":0,"seq":3,"event":"gap","lost":12}"#;
        let topics = r#"{"n":3,"seq":4,"event":"subscribe","conn":"a","topics":["b"]}"#;
        let conn = || Cow::Borrowed("a");
        check(
            &format!("[{connect},{disconnect},{gap},{topics}]"),
            &[
                Some(Body::Connect { conn: conn() }),
                Some(Body::Disconnect {
                    conn: conn(),
                    code: 1000,
                }),
                Some(Body::Gap { lost: 12 }),
                Some(Body::Other),
            ],
        );
        check(
            r#"[{"n":1,"seq":1,"event":"connect"}]"#,
            &[Some(Body::Corrupt)],
        );
        check(r#"[{"n":1,"event":"connect","conn":"a"}]"#, &[None]);
        check(
            &format!("[{connect}"),
            &[Some(Body::Connect { conn: conn() }), None],
        );
        check("{}", &[None]);
        check("[", &[None]);
    }
}
