//! Which web pages a request comes from (RFC 6454), and whether they may send it.
//!
//! Browsers send `Origin` with every WebSocket handshake, in one spelling, and
//! pages cannot change it. A client that sends none is not a web page.

use axum::http::HeaderMap;
use axum::http::header::{HOST, HeaderName, ORIGIN};

use crate::config::OriginPattern;

/// The relation of a request's origin to its host (W3C Fetch Metadata).
const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Whether a request's origin is allowed: it has none, it is in `allowed`, or `allowed` is empty.
#[must_use]
pub fn is_allowed_page(allowed: &[OriginPattern], headers: &HeaderMap) -> bool {
    allowed.is_empty()
        || !headers.contains_key(ORIGIN)
        || one(headers, ORIGIN).is_some_and(|origin| is_one_of(allowed, origin))
}

/// Whether a request that is vouched for by a cookie comes from a page that may use it: one of
/// `allowed`, or where that is empty one of the host the request is for (hostile-inputs.md A14).
#[must_use]
pub fn is_own_page(allowed: &[OriginPattern], headers: &HeaderMap) -> bool {
    let Some(origin) = one(headers, ORIGIN) else {
        // A page that asks its own host for a stream of events sends no origin;
        // the browser's word, which no page can change, is as good.
        return !headers.contains_key(ORIGIN)
            && one(headers, SEC_FETCH_SITE).is_some_and(|site| site == "same-origin");
    };
    if !allowed.is_empty() {
        return is_one_of(allowed, origin);
    }
    is_own(origin, headers)
}

/// Whether `origin` is that of the host a request is for.
pub(super) fn is_own(origin: &str, headers: &HeaderMap) -> bool {
    one(headers, HOST).is_some_and(|host| is_same(origin, &host.to_ascii_lowercase()))
}

/// Whether `origin` is one of `origins`.
#[must_use]
fn is_one_of(origins: &[OriginPattern], origin: &str) -> bool {
    origins.iter().any(|pattern| pattern.matches(origin))
}

/// Whether `origin` is that of `host`. A proxy that terminates TLS hides the scheme, so both schemes count.
fn is_same(origin: &str, host: &str) -> bool {
    let authority = |scheme, port| {
        let authority = origin.strip_prefix(scheme)?;
        let host = host.strip_suffix(port).unwrap_or(host);
        Some(!host.is_empty() && authority == host)
    };
    authority("https://", ":443")
        .or_else(|| authority("http://", ":80"))
        .unwrap_or(false)
}

/// The value of a header that occurs exactly once, as text.
pub(super) fn one(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    let mut all = headers.get_all(name).into_iter();
    let first = all.next()?;
    if all.next().is_some() {
        return None;
    }
    first.to_str().ok()
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn headers(values: &[(HeaderName, &str)]) -> HeaderMap {
        let value = |text: &str| HeaderValue::from_bytes(text.as_bytes()).unwrap();
        let values = values.iter();
        values
            .map(|(name, text)| (name.clone(), value(text)))
            .collect()
    }

    #[track_caller]
    fn check(allowed: &[&str], origins: &[&str], page: bool, own: bool) {
        let allowed: Vec<_> = allowed
            .iter()
            .map(|text| OriginPattern::parse(text).unwrap())
            .collect();
        let mut given = headers(&[(HOST, "App.example.com")]);
        for origin in origins {
            given.append(ORIGIN, HeaderValue::from_bytes(origin.as_bytes()).unwrap());
        }
        assert_eq!(is_allowed_page(&allowed, &given), page, "{origins:?}");
        assert_eq!(is_own_page(&allowed, &given), own, "{origins:?}");
    }

    #[test]
    fn pages_are_allowed_by_list_and_cookies_by_list_or_host() {
        let list = ["https://app.example.com", "https://*.example.org"];
        check(&[], &[], true, false);
        check(&[], &["https://elsewhere.com"], true, false);
        check(&[], &["https://app.example.com"], true, true);
        check(&[], &["http://app.example.com"], true, true);
        check(&[], &["http://app.example.com:8080"], true, false);
        check(&list, &[], true, false);
        check(&list, &["https://app.example.com"], true, true);
        check(&list, &["https://x.example.org"], true, true);
        check(&list, &["http://app.example.com"], false, false);
        let twice = ["https://app.example.com", "https://app.example.com"];
        check(&list, &twice, false, false);
        check(&[], &twice, true, false);
    }

    #[test]
    fn default_ports_are_left_out_by_browsers_and_not_by_all_others() {
        assert!(is_same("https://a.b", "a.b:443"));
        assert!(is_same("http://a.b", "a.b:80"));
        assert!(is_same("http://a.b:8080", "a.b:8080"));
        assert!(!is_same("http://a.b", "a.b:443"));
        assert!(!is_same("https://a.b", "a.b:8443"));
        assert!(!is_same("https://", ":443"));
        assert!(!is_same("https://", ""));
        assert!(!is_same("ftp://a.b", "a.b"));
    }
}
