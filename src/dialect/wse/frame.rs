//! The messages that clients get, as JSON. Existing clients look at the first characters of some, so the order of the
//! first fields matters.

use super::category::Category;
use crate::engine::{Publication, PublicationKind};
use crate::json::{self, put_string};

/// Where a message says its category.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(super) enum Dress {
    /// In its field `c`: clients from 2.1 on.
    #[default]
    Field,
    /// Before the object, as `WSE{..}`: clients of 1.x and 2.0.
    Prefix,
}

/// Writes one message: its first fields, then its payload, then `v`.
#[derive(Debug)]
pub(super) struct Writer<'o> {
    out: &'o mut Vec<u8>,
}

impl<'o> Writer<'o> {
    /// Begins a message of this type.
    pub(super) fn begin(
        out: &'o mut Vec<u8>,
        dress: Dress,
        category: Category,
        kind: &str,
    ) -> Self {
        put_category(out, dress, category, false);
        out.extend_from_slice(br#""t":"#);
        put_string(out, kind);
        Self { out }
    }

    /// Begins a message of the protocol itself.
    pub(super) fn system(out: &'o mut Vec<u8>, dress: Dress, kind: &str) -> Self {
        Self::begin(out, dress, Category::System, kind)
    }

    /// Writes the payload by `write`, between braces.
    #[must_use]
    pub(super) fn payload(self, write: impl FnOnce(&mut Fields<'_>)) -> Self {
        self.out.extend_from_slice(br#","p":{"#);
        write(&mut Fields {
            out: self.out,
            is_first: true,
        });
        self.out.push(b'}');
        self
    }

    /// The payload `data`, a JSON value: one that is no object becomes its field `data`.
    #[must_use]
    pub(super) fn data(self, data: &[u8]) -> Self {
        self.out.extend_from_slice(br#","p":"#);
        put_payload(self.out, data);
        self
    }

    /// A field beside the payload, as JSON.
    #[must_use]
    pub(super) fn raw(self, key: &str, json: &str) -> Self {
        self.out.extend_from_slice(b",\"");
        self.out.extend_from_slice(key.as_bytes());
        self.out.extend_from_slice(b"\":");
        self.out.extend_from_slice(json.as_bytes());
        self
    }

    /// Ends the message.
    pub(super) fn end(self) {
        self.out.extend_from_slice(br#","v":1}"#);
    }
}

/// The fields of an object.
#[derive(Debug)]
pub(super) struct Fields<'o> {
    out: &'o mut Vec<u8>,
    is_first: bool,
}

impl Fields<'_> {
    /// The buffer, behind the key.
    pub(super) fn key(&mut self, key: &str) -> &mut Vec<u8> {
        if !std::mem::replace(&mut self.is_first, false) {
            self.out.push(b',');
        }
        self.out.push(b'"');
        self.out.extend_from_slice(key.as_bytes());
        self.out.extend_from_slice(b"\":");
        self.out
    }

    /// A JSON value.
    pub(super) fn raw(&mut self, key: &str, json: &str) -> &mut Self {
        self.key(key).extend_from_slice(json.as_bytes());
        self
    }

    /// A text.
    pub(super) fn text(&mut self, key: &str, text: &str) -> &mut Self {
        put_string(self.key(key), text);
        self
    }

    /// A number.
    pub(super) fn number(&mut self, key: &str, number: u64) -> &mut Self {
        put_number(self.key(key), number);
        self
    }

    /// A number, or `null`.
    pub(super) fn optional(&mut self, key: &str, number: Option<u64>) -> &mut Self {
        match number {
            Some(number) => self.number(key, number),
            None => self.raw(key, "null"),
        }
    }

    /// A number with decimals.
    pub(super) fn decimal(&mut self, key: &str, number: f64) -> &mut Self {
        let out = self.key(key);
        serde_json::to_writer(out, &number).expect("a number can always be written to memory");
        self
    }

    /// `true` or `false`.
    pub(super) fn flag(&mut self, key: &str, flag: bool) -> &mut Self {
        self.raw(key, if flag { "true" } else { "false" })
    }

    /// A list of texts.
    pub(super) fn texts<'t>(
        &mut self,
        key: &str,
        texts: impl IntoIterator<Item = &'t str>,
    ) -> &mut Self {
        self.items(key, texts, put_string)
    }

    /// A list, each item of which `write` writes.
    pub(super) fn items<T>(
        &mut self,
        key: &str,
        items: impl IntoIterator<Item = T>,
        mut write: impl FnMut(&mut Vec<u8>, T),
    ) -> &mut Self {
        let out = self.key(key);
        out.push(b'[');
        for (index, item) in items.into_iter().enumerate() {
            if index > 0 {
                out.push(b',');
            }
            write(out, item);
        }
        out.push(b']');
        self
    }

    /// An object.
    pub(super) fn object(&mut self, key: &str, write: impl FnOnce(&mut Fields<'_>)) -> &mut Self {
        put_object(self.key(key), write);
        self
    }
}

/// Appends an object whose fields `write` writes.
pub(super) fn put_object(out: &mut Vec<u8>, write: impl FnOnce(&mut Fields<'_>)) {
    out.push(b'{');
    write(&mut Fields {
        out,
        is_first: true,
    });
    out.push(b'}');
}

/// What a publication is called and whether it has a place in its topic.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stamp<'a> {
    /// Its type.
    pub kind: &'a str,
    /// Whether clients are told where it stands, so that they notice what they miss.
    pub is_stamped: bool,
}

/// Appends a publication.
///
/// Cost: a few copies; for messages to one user a look at the fields of its data.
pub(super) fn put_publication(
    out: &mut Vec<u8>,
    dress: Dress,
    publication: &Publication<'_>,
    stamp: Stamp<'_>,
) {
    if publication.kind == PublicationKind::Presence {
        return put_presence(out, dress, publication);
    }
    let category = Category::of(stamp.kind);
    let place = stamp.is_stamped.then_some(publication);
    put_opening(out, dress, category, place);
    out.extend_from_slice(br#""t":"#);
    put_string(out, stamp.kind);
    out.extend_from_slice(br#","p":"#);
    put_payload(out, publication.data);
    if crate::topic::is_inbox(publication.topic) {
        put_correlation(out, publication.data);
    }
    if !publication.publisher.is_empty() {
        out.extend_from_slice(br#","publisher":"#);
        put_string(out, publication.publisher);
    }
    out.extend_from_slice(br#","v":1}"#);
}

/// Appends what takes the place of a publication that is too large for clients: it has its place, so that they go on.
pub(super) fn put_too_large(
    out: &mut Vec<u8>,
    dress: Dress,
    publication: &Publication<'_>,
    stamped: bool,
) {
    put_opening(out, dress, Category::System, stamped.then_some(publication));
    out.extend_from_slice(br#""t":"gap","p":{"topic":"#);
    put_string(out, publication.topic);
    out.extend_from_slice(br#","lost":1,"cause":"too_large"},"v":1}"#);
}

/// Appends a user's coming, going or change (spec 1.8).
fn put_presence(out: &mut Vec<u8>, dress: Dress, publication: &Publication<'_>) {
    let (mut action, mut user, mut data) = (None, None, None);
    let text = str::from_utf8(publication.data).unwrap_or("{}");
    let _ = json::fields(text, |key, value| match key {
        "action" => action = value.as_string(),
        "user" => user = Some(value.text()),
        "data" => data = Some(value.text()),
        _ => {}
    });
    let kind = match action.as_deref() {
        Some("join") => "presence_join",
        Some("leave") => "presence_leave",
        _ => "presence_update",
    };
    Writer::system(out, dress, kind)
        .payload(|p| {
            p.raw("data", data.unwrap_or("{}"))
                .raw("user_id", user.unwrap_or("null"))
                .text("topic", publication.topic);
        })
        .end();
}

/// Appends the correlation id that a message to one user has in its data, so that it can be answered by `cid`.
fn put_correlation(out: &mut Vec<u8>, data: &[u8]) {
    let mut correlation = None;
    let text = str::from_utf8(data).unwrap_or("{}");
    let read = json::fields(text, |key, value| {
        if key == "correlation_id" && value.is_scalar_id() {
            correlation = Some(value.text());
        }
    });
    if let (Ok(()), Some(correlation)) = (read, correlation) {
        out.extend_from_slice(br#","cid":"#);
        out.extend_from_slice(correlation.as_bytes());
    }
}

fn put_payload(out: &mut Vec<u8>, data: &[u8]) {
    if data.trim_ascii_start().first() == Some(&b'{') {
        return out.extend_from_slice(data);
    }
    out.extend_from_slice(br#"{"data":"#);
    out.extend_from_slice(data);
    out.push(b'}');
}

/// Begins a message with the place of a publication, if it has one.
fn put_opening(
    out: &mut Vec<u8>,
    dress: Dress,
    category: Category,
    place: Option<&Publication<'_>>,
) {
    let Some(publication) = place else {
        return put_category(out, dress, category, false);
    };
    if dress == Dress::Prefix {
        out.extend_from_slice(category.name().as_bytes());
    }
    out.extend_from_slice(br#"{"tp":"#);
    put_string(out, publication.topic);
    out.extend_from_slice(br#","e":""#);
    put_epoch(out, publication.epoch);
    out.extend_from_slice(br#"","o":"#);
    put_number(out, publication.offset);
    put_category(out, dress, category, true);
}

/// Appends the category, up to where the next field begins.
fn put_category(out: &mut Vec<u8>, dress: Dress, category: Category, is_open: bool) {
    match (dress, is_open) {
        (Dress::Field, false) => out.extend_from_slice(br#"{"c":""#),
        (Dress::Field, true) => out.extend_from_slice(br#","c":""#),
        (Dress::Prefix, false) => {
            out.extend_from_slice(category.name().as_bytes());
            return out.push(b'{');
        }
        (Dress::Prefix, true) => return out.push(b','),
    }
    out.extend_from_slice(category.name().as_bytes());
    out.extend_from_slice(br#"","#);
}

/// Appends an epoch as clients get it: hexadecimal digits.
pub(super) fn put_epoch(out: &mut Vec<u8>, epoch: u64) {
    let mut digits = [0_u8; 16];
    for (digit, shift) in digits.iter_mut().zip((0..16).rev()) {
        let nibble = usize::try_from(epoch >> (4 * shift) & 15).expect("a digit");
        *digit = b"0123456789abcdef"[nibble];
    }
    let zeros = digits.iter().take(8).take_while(|digit| **digit == b'0');
    out.extend_from_slice(&digits[zeros.count()..]);
}

/// Reads what [`put_epoch`] has written.
#[must_use]
pub(super) fn read_epoch(text: &str) -> Option<u64> {
    let is_hex = text.bytes().all(|byte| byte.is_ascii_hexdigit());
    u64::from_str_radix(text, 16).ok().filter(|_| is_hex)
}

fn put_number(out: &mut Vec<u8>, number: u64) {
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::id::Form;

    fn publication<'a>(topic: &'a str, data: &'a str) -> Publication<'a> {
        Publication {
            kind: PublicationKind::Event,
            form: Form::NEUTRAL,
            topic,
            name: topic,
            data: data.as_bytes(),
            publisher: "",
            epoch: 0x9be9_766d,
            offset: 2,
        }
    }

    #[track_caller]
    fn check(dress: Dress, publication: &Publication<'_>, is_stamped: bool, expected: &str) {
        let mut out = Vec::new();
        let kind = publication.name;
        put_publication(&mut out, dress, publication, Stamp { kind, is_stamped });
        assert_eq!(str::from_utf8(&out).unwrap(), expected);
    }

    #[test]
    fn a_publication_has_its_place_first() {
        let object = publication("rt", r#"{"i":2}"#);
        check(
            Dress::Field,
            &object,
            true,
            r#"{"tp":"rt","e":"9be9766d","o":2,"c":"U","t":"rt","p":{"i":2},"v":1}"#,
        );
        check(
            Dress::Prefix,
            &object,
            true,
            r#"U{"tp":"rt","e":"9be9766d","o":2,"t":"rt","p":{"i":2},"v":1}"#,
        );
        check(
            Dress::Prefix,
            &object,
            false,
            r#"U{"t":"rt","p":{"i":2},"v":1}"#,
        );
        let other = Publication {
            name: "x_snapshot",
            publisher: "ann",
            ..publication("a\"b", "[1]")
        };
        check(
            Dress::Field,
            &other,
            false,
            r#"{"c":"S","t":"x_snapshot","p":{"data":[1]},"publisher":"ann","v":1}"#,
        );
    }

    #[test]
    fn a_question_to_a_user_is_answered_by_its_cid() {
        let asked = publication("user:ann:events", r#"{"text":"?","correlation_id":"q7"}"#);
        check(
            Dress::Field,
            &asked,
            false,
            r#"{"c":"U","t":"user:ann:events","p":{"text":"?","correlation_id":"q7"},"cid":"q7","v":1}"#,
        );
    }

    #[test]
    fn presence_names_its_topic() {
        let data = r#"{"action":"join","users":2,"user":"a\"b","data":{"status":"on"}}"#;
        let joined = Publication {
            kind: PublicationKind::Presence,
            ..publication("room", data)
        };
        let mut out = Vec::new();
        let stamp = Stamp {
            kind: "room",
            is_stamped: true,
        };
        put_publication(&mut out, Dress::Field, &joined, stamp);
        let got: Value = serde_json::from_slice(&out).unwrap();
        let payload = json!({"data": {"status": "on"}, "user_id": "a\"b", "topic": "room"});
        let expected = json!({"c": "WSE", "t": "presence_join", "p": payload, "v": 1});
        assert_eq!(got, expected);
    }

    #[test]
    fn an_epoch_is_read_as_it_is_written() {
        for epoch in [0, 1, 0x9be9_766d, u64::MAX, 1_795_000_000_123_456] {
            let mut out = Vec::new();
            put_epoch(&mut out, epoch);
            let text = str::from_utf8(&out).unwrap();
            assert!(text.len() >= 8, "{text}");
            assert_eq!(read_epoch(text), Some(epoch));
        }
        for bad in ["", "g", "+1", "-1", "1 ", "11111111111111111"] {
            assert_eq!(read_epoch(bad), None, "{bad}");
        }
    }
}
