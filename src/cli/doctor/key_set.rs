//! Whether the issuer's key set can be fetched from here, and what is in it.

use super::amount::counted;
use super::finding::{Finding, Level};
use super::host::Host;
use super::needs::Needs;
use crate::server::KeySetSource;

/// Fetches the set, as the gateway does; nothing to find where none is to be fetched.
pub(super) fn check(_: &Host, needs: &Needs<'_>) -> Vec<Finding> {
    let auth = &needs.config.auth;
    let Some(source) = KeySetSource::of(auth) else {
        return Vec::new();
    };
    let set = match source.fetch() {
        Ok(set) => set,
        Err(error) => return vec![Finding::new(KEY_SET, WHY, Level::Fail, error.to_string())],
    };
    let (keys, algorithm) = (counted(set.len(), "key"), auth.algorithm.name());
    let ids: Vec<_> = set.ids().collect();
    let ids = if ids.is_empty() {
        "without `kid`".to_owned()
    } else {
        ids.join(", ")
    };
    let found = format!("{keys} of {algorithm}: {ids}");
    let found = Finding::new(KEY_SET, WHY, Level::Ok, found);
    let unused = set.unused.into_iter();
    let unused = unused.map(|reason| Finding::new(KEY_SET, UNUSED_WHY, Level::Note, reason));
    [found].into_iter().chain(unused).collect()
}

const KEY_SET: &str = "auth.jwks_url";
const WHY: &str = "Tokens are checked with the keys of the issuer's set; until it has been fetched once they are refused.";
const UNUSED_WHY: &str =
    "Only keys of auth.algorithm are used; others of a set are often for something else.";

#[cfg(test)]
mod tests {
    use super::super::testing::{expect, findings};
    use super::*;

    #[test]
    fn a_set_that_cannot_be_fetched_is_a_failure_and_none_is_nothing() {
        expect(&findings(check, &[], "", None), &[]);
        // Nothing listens on a port that was just given back.
        let port = std::net::TcpListener::bind("127.0.0.1:0")
            .and_then(|listener| listener.local_addr())
            .unwrap()
            .port();
        let keys = format!(
            "[auth]\nalgorithm = \"RS256\"\nissuer = \"i\"\njwks_url = \"http://127.0.0.1:{port}/keys\""
        );
        let found = findings(check, &[], &keys, None);
        assert_eq!(found[0].level, Level::Fail);
        assert!(found[0].found.starts_with("cannot connect"), "{found:?}");
    }
}
