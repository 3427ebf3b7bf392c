//! The query parameters with which a member attaches.

use std::collections::BTreeSet;

use form_urlencoded::parse;

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
    /// The kinds of objects that it gets, those of [`KINDS`].
    pub filter: BTreeSet<&'static str>,
    /// Objects that it may have unacknowledged at once.
    pub credit: u32,
}

/// The kinds of objects that a member can leave out.
pub const KINDS: [&str; 5] = [
    "connect",
    "message",
    "subscribe",
    "unsubscribe",
    "disconnect",
];

/// The group of a member that names none.
const GROUP_DEFAULT: &str = "default";

/// Bytes of a group's name.
const GROUP_BYTES_MAX: usize = 64;

/// The most that a member may have unacknowledged.
const CREDIT_MAX: u32 = 1_000_000;

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
            filter: KINDS.into(),
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
                "filter" => request.filter = filter(&value)?,
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

fn is_group(name: &str) -> bool {
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || b"_.:-".contains(&byte);
    (1..=GROUP_BYTES_MAX).contains(&name.len()) && name.bytes().all(is_part)
}

fn filter(list: &str) -> Result<BTreeSet<&'static str>, String> {
    let kinds = list.split(',');
    let kinds = kinds.map(|kind| KINDS.into_iter().find(|known| *known == kind));
    let kinds: Option<BTreeSet<_>> = kinds.collect();
    kinds.ok_or_else(|| format!("`filter` is a list of: {}", KINDS.join(",")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(query: &str, expected: Result<(&str, LinkEncoding, &[&str], u32), &str>) {
        let got = LinkRequest::parse(query, 1000);
        let got = got.as_ref().map(|request| {
            let filter: Vec<_> = request.filter.iter().copied().collect();
            (&*request.group, request.format, filter, request.credit)
        });
        let expected = expected.map(|(group, format, filter, credit)| {
            let mut filter = filter.to_vec();
            filter.sort_unstable();
            (group, format, filter, credit)
        });
        assert_eq!(got.map_err(|why| &**why), expected, "{query}");
    }

    #[test]
    fn a_member_says_what_it_wants() {
        let json = LinkEncoding::Json;
        check("", Ok(("default", json, &KINDS, 1000)));
        check(
            "group=a.B-1:x_&format=msgpack&credit=1000000",
            Ok(("a.B-1:x_", LinkEncoding::Msgpack, &KINDS, 1_000_000)),
        );
        check(
            "filter=message,disconnect&format=json&credit=1",
            Ok(("default", json, &["message", "disconnect"], 1)),
        );
        check(
            "filter=message%2Cmessage",
            Ok(("default", json, &["message"], 1000)),
        );
        let longest = "g".repeat(64);
        check(
            &format!("group={longest}"),
            Ok((&longest, json, &KINDS, 1000)),
        );
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
        let filter = "`filter` is a list of: connect,message,subscribe,unsubscribe,disconnect";
        for bad in [
            "filter=",
            "filter=message,",
            "filter=gap",
            "filter=message,%20connect",
        ] {
            check(bad, Err(filter));
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
