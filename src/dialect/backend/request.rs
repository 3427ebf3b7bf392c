//! The query parameters with which a member attaches.

use std::collections::BTreeSet;

use form_urlencoded::parse;

use crate::inbound::Kinds;
use crate::shard::CREDIT_MAX;

/// The encoding of frames, in both directions.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum LinkEncoding {
    /// JSON in text frames.
    #[default]
    Json,
    /// MessagePack in binary frames.
    Msgpack,
}

/// What a member asks for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LinkRequest {
    /// The group that it is a member of.
    pub group: Box<str>,
    /// The encoding of frames.
    pub format: LinkEncoding,
    /// The kinds of objects that it gets.
    pub kinds: Kinds,
    /// Objects that it may have unacknowledged at once.
    pub credit: u32,
}

/// The group of a member that names none.
pub(super) const GROUP_DEFAULT: &str = "default";

/// Bytes of a group's name.
const GROUP_BYTES_MAX: usize = 64;

impl LinkRequest {
    /// Reads the query of a URL. `credit`: that of a member that asks for none.
    ///
    /// # Errors
    /// What is wrong with it. A parameter that is not known is wrong, as is one that is repeated: members are programs,
    /// and a misspelt `filter` would otherwise go unnoticed.
    pub fn parse(query: &str, credit: u32) -> Result<Self, String> {
        let mut request = Self {
            group: GROUP_DEFAULT.into(),
            format: LinkEncoding::default(),
            kinds: Kinds::ALL,
            credit,
        };
        let mut seen = BTreeSet::new();
        for (name, value) in parse(query.as_bytes()) {
            match &*name {
                "group" if is_group(&value) => request.group = (&*value).into(),
                "group" => {
                    return Err(format!(
                        "`group` is 1 to {GROUP_BYTES_MAX} letters, digits, `_`, `-`, `.` and `:`"
                    ));
                }
                "format" => {
                    request.format = match &*value {
                        "json" => LinkEncoding::Json,
                        "msgpack" => LinkEncoding::Msgpack,
                        _ => return Err("`format` is unknown; there are: json, msgpack".into()),
                    };
                }
                "filter" => request.kinds = kinds(&value)?,
                "credit" => {
                    let given = value.parse().ok();
                    let given = given.filter(|given| (1..=CREDIT_MAX).contains(given));
                    request.credit =
                        given.ok_or_else(|| format!("`credit` is from 1 to {CREDIT_MAX}"))?;
                }
                other => {
                    return Err(format!(
                        "`{}` is unknown; there are: group, format, filter, credit",
                        other.escape_debug().take(64).collect::<String>()
                    ));
                }
            }
            if !seen.insert(name.clone().into_owned()) {
                return Err(format!("`{name}` is given more than once"));
            }
        }
        Ok(request)
    }
}

/// Whether `name` may name a group, or a member that polls.
pub(super) fn is_group(name: &str) -> bool {
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || b"_.:-".contains(&byte);
    (1..=GROUP_BYTES_MAX).contains(&name.len()) && name.bytes().all(is_part)
}

/// Reads a list of kinds.
///
/// # Errors
/// What is wrong with it.
pub(super) fn kinds(list: &str) -> Result<Kinds, String> {
    Kinds::read(list).map_err(|why| format!("`filter`: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(query: &str, expected: Result<(&str, LinkEncoding, &str, u32), &str>) {
        let got = LinkRequest::parse(query, 1000);
        let got = got.as_ref().map(|request| {
            (
                &*request.group,
                request.format,
                request.kinds,
                request.credit,
            )
        });
        let expected = expected.map(|(group, format, filter, credit)| {
            let kinds = match filter {
                "" => Kinds::ALL,
                filter => Kinds::read(filter).unwrap(),
            };
            (group, format, kinds, credit)
        });
        assert_eq!(got.map_err(|why| &**why), expected, "{query}");
    }

    #[test]
    fn a_member_says_what_it_wants() {
        let json = LinkEncoding::Json;
        check("", Ok(("default", json, "", 1000)));
        check(
            "group=a.B-1:x_&format=msgpack&credit=1000000",
            Ok(("a.B-1:x_", LinkEncoding::Msgpack, "", 1_000_000)),
        );
        check(
            "filter=message,disconnect&format=json&credit=1",
            Ok(("default", json, "disconnect,message", 1)),
        );
        check(
            "filter=message%2Cmessage",
            Ok(("default", json, "message", 1000)),
        );
        let longest = "g".repeat(64);
        check(&format!("group={longest}"), Ok((&longest, json, "", 1000)));
    }

    #[test]
    fn what_is_not_known_is_refused() {
        let group = "`group` is 1 to 64 letters, digits, `_`, `-`, `.` and `:`";
        for bad in ["group=", "group=a%20b", "group=%C3%A4", "group"] {
            check(bad, Err(group));
        }
        check(&format!("group={}", "g".repeat(65)), Err(group));
        let format = "`format` is unknown; there are: json, msgpack";
        for bad in ["format=", "format=JSON", "format=cbor"] {
            check(bad, Err(format));
        }
        let known = "is no kind; there are connect, message, subscribe, unsubscribe, disconnect";
        for (bad, name) in [
            ("filter=", ""),
            ("filter=message,", ""),
            ("filter=gap", "gap"),
            ("filter=Message", "Message"),
        ] {
            check(bad, Err(&format!("`filter`: `{name}` {known}")));
        }
        let credit = "`credit` is from 1 to 1000000";
        for bad in [
            "credit=",
            "credit=0",
            "credit=-1",
            "credit=1000001",
            "credit=1e3",
        ] {
            check(bad, Err(credit));
        }
        let there_are = "is unknown; there are: group, format, filter, credit";
        check("groups=a", Err(&format!("`groups` {there_are}")));
        check("token=a", Err(&format!("`token` {there_are}")));
        check("group=a&group=a", Err("`group` is given more than once"));
    }
}
