//! `@name`: a message for a public account instead of its user (docs/bridge.md, "Public accounts").

use memchr::memchr;

/// The first name mentioned in `text` for which `is_public` holds.
///
/// A name is the longest run of ASCII letters, digits and `_` after an `@`, whatever precedes the `@`.
///
/// Cost: one vectorised search per `@`.
pub(super) fn first_mention(text: &str, is_public: impl Fn(&str) -> bool) -> Option<&str> {
    let mut rest = text;
    while let Some(at) = memchr(b'@', rest.as_bytes()) {
        rest = &rest[at + 1..];
        let is_name = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
        let name_end = rest.bytes().position(|byte| !is_name(&byte));
        let (name, behind) = rest.split_at(name_end.unwrap_or(rest.len()));
        if !name.is_empty() && is_public(name) {
            return Some(name);
        }
        rest = behind;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PUBLIC: [&str; 3] = ["ci_bot", "email_bot", "b"];

    fn check(text: &str, expected: Option<&str>) {
        let mention = first_mention(text, |name| PUBLIC.contains(&name));
        assert_eq!(mention, expected, "{text:?}");
    }

    #[test]
    fn the_first_public_account_in_the_text_is_mentioned() {
        check("@ci_bot", Some("ci_bot"));
        check("hi @ci_bot, and @email_bot", Some("ci_bot"));
        check("@nope @email_bot @ci_bot", Some("email_bot"));
        check("x@ci_bot.com", Some("ci_bot"));
        check("@@ci_bot@", Some("ci_bot"));
        check("@b\u{e9}", Some("b"));
    }

    #[test]
    fn a_longer_name_is_another_one_and_case_matters() {
        check("@ci_bot2", None);
        check("@CI_BOT", None);
        check("@ci_bot_", None);
        check("@ ci_bot ci_bot@", None);
        check("", None);
    }

    /// The first `@` before which nothing is mentioned, word by word.
    fn naive(text: &str) -> Option<&str> {
        let names = text.split('@').skip(1).map(|part| {
            let word = part.split(|c: char| c != '_' && !c.is_ascii_alphanumeric());
            word.into_iter().next().unwrap_or("")
        });
        names.into_iter().find(|name| PUBLIC.contains(name))
    }

    proptest! {
        #[test]
        fn mentions_are_those_of_a_naive_model(
            text in "(@|b|_|ci_bot|email|email_bot|B|7|\\.| |é|\n){0,12}",
        ) {
            check(&text, naive(&text));
        }
    }
}
