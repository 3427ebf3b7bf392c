//! The user of a connection: `?user_id=` of the upgrade request.

use crate::topic;

/// The user in the query of an upgrade request, if any: 1 to 128 bytes.
///
/// # Errors
/// Why it is not valid.
pub fn user_of(query: &str) -> Result<Option<String>, &'static str> {
    let mut users = form_urlencoded::parse(query.as_bytes())
        .filter(|(name, _)| name == "user_id")
        .map(|(_, user)| user);
    let Some(user) = users.next() else {
        return Ok(None);
    };
    if users.any(|other| other != user) {
        Err("`user_id` is given twice, and not the same")
    } else if user.is_empty() {
        Err("`user_id` is empty")
    } else if user.len() > topic::NAME_BYTES_MAX {
        Err("`user_id` has more than 128 bytes")
    } else if user.contains(char::REPLACEMENT_CHARACTER) {
        Err("`user_id` is not UTF-8")
    } else {
        Ok(Some(user.into_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(query: &str, expected: Result<Option<&str>, &str>) {
        let got = user_of(query);
        assert_eq!(
            got.as_ref().map(Option::as_deref).map_err(|why| *why),
            expected,
            "{query}"
        );
    }

    #[test]
    fn a_query_names_one_user() {
        check("", Ok(None));
        check("user=a&USER_ID=b", Ok(None));
        check("x=1&user_id=a", Ok(Some("a")));
        check("user_id=a%20b%2B+c", Ok(Some("a b+ c")));
        check("user_id=a&user_id=a", Ok(Some("a")));
        check(
            "user_id=a&user_id=b",
            Err("`user_id` is given twice, and not the same"),
        );
        check("user_id=", Err("`user_id` is empty"));
        check("user_id=%FF", Err("`user_id` is not UTF-8"));
        let longest = "x".repeat(128);
        check(&format!("user_id={longest}"), Ok(Some(&longest)));
        check(
            &format!("user_id={longest}x"),
            Err("`user_id` has more than 128 bytes"),
        );
    }
}
