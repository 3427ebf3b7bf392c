//! The redirect from plain HTTP to https://.

use axum::http::header::{HOST, HeaderMap, HeaderValue, LOCATION};
use axum::http::{StatusCode, Uri};

use super::{Answer, refuse_plainly};

/// The status 308 (RFC 9110 section 15.4.9), with the same URL of https://. A client that used the usual port of http://
/// is sent to that of https://; one that used another port, to `port`, where TLS is spoken.
#[must_use]
pub fn redirect_to_https(headers: &HeaderMap, uri: &Uri, port: u16) -> Answer {
    let given = headers.get(HOST).and_then(|host| host.to_str().ok());
    let authority = uri
        .authority()
        .map(|authority| authority.as_str())
        .or(given);
    let location = authority.filter(|it| !it.is_empty()).and_then(|authority| {
        let (host, used) = split(authority);
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        let path = if path.starts_with('/') { path } else { "/" };
        let location = match used {
            None | Some("" | "80") => format!("https://{host}{path}"),
            Some(_) if port == 443 => format!("https://{host}{path}"),
            Some(_) => format!("https://{host}:{port}{path}"),
        };
        HeaderValue::from_str(&location).ok()
    });
    let Some(location) = location else {
        return refuse_plainly(
            400,
            "This port redirects to https://, for which it needs a Host header",
        );
    };
    let mut answer = refuse_plainly(308, "This port redirects to https://");
    debug_assert_eq!(answer.status(), StatusCode::PERMANENT_REDIRECT);
    answer.headers_mut().insert(LOCATION, location);
    answer
}

/// The host of an authority, and its port if there is one.
fn split(authority: &str) -> (&str, Option<&str>) {
    match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => (host, Some(port)),
        _ => (authority, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(host: Option<&'static str>, uri: &'static str, location: Option<&str>) {
        let mut headers = HeaderMap::new();
        if let Some(host) = host {
            headers.insert(HOST, HeaderValue::from_static(host));
        }
        let answer = redirect_to_https(&headers, &Uri::from_static(uri), 8443);
        let found = answer.headers().get(LOCATION);
        assert_eq!(found.map(|it| it.to_str().unwrap()), location);
        let status = if location.is_some() { 308 } else { 400 };
        assert_eq!(answer.status(), status);
    }

    #[test]
    fn the_url_is_the_same_but_for_scheme_and_port() {
        check(Some("a.example"), "/p?q=1", Some("https://a.example/p?q=1"));
        check(Some("a.example:80"), "/", Some("https://a.example/"));
        check(Some("a.example:"), "/", Some("https://a.example/"));
        check(Some("a.example:8080"), "/", Some("https://a.example:8443/"));
        check(Some("[::1]"), "/x", Some("https://[::1]/x"));
        check(Some("[::1]:8080"), "/x", Some("https://[::1]:8443/x"));
        check(None, "http://b.example/y", Some("https://b.example/y"));
        check(Some("a.example"), "*", Some("https://a.example/"));
        check(None, "/p", None);
        check(Some(""), "/p", None);
    }
}
