//! The token of a request is found or not, whatever the headers and the query are; other cookies and other
//! parameters change nothing. The input is a query and lines of `name: value`.

use fanfare::config::{Config, Mode};
use fanfare::conn::RequestToken;
use http::header::{COOKIE, HeaderName, HeaderValue};
use http::{Request, Uri};

pub fn run(input: &[u8]) {
    let auth = Config::for_mode(Mode::Prod).auth;
    let mut lines = input.split(|byte| *byte == b'\n');
    let query = String::from_utf8_lossy(lines.next().unwrap_or_default());
    let Ok(uri) = format!("/?{query}").parse::<Uri>() else {
        return;
    };
    let query = uri.query().unwrap_or_default().to_owned();
    let mut request = Request::new(());
    *request.uri_mut() = uri;
    for line in lines.take(100) {
        let mut parts = line.splitn(2, |byte| *byte == b':');
        let (Some(name), Some(value)) = (parts.next(), parts.next()) else {
            continue;
        };
        if let (Ok(name), Ok(value)) =
            (HeaderName::from_bytes(name), HeaderValue::from_bytes(value))
        {
            request.headers_mut().append(name, value);
        }
    }
    let found = |request: &Request<()>| {
        let found = RequestToken::find(&auth, request)?;
        Some((
            found.token.map(|token| token.into_owned()),
            found.only_cookies,
        ))
    };
    let before = found(&request);
    assert!(
        before
            .as_ref()
            .is_none_or(|(token, _)| token.as_deref() != Some(""))
    );
    let other = HeaderValue::from_bytes(b"a=\xff\"; b=%; =; ;access_tokens=x").expect("a header");
    request.headers_mut().append(COOKIE, other);
    *request.uri_mut() = format!("/?token=&{query}&tokens=x&%74oken=y")
        .parse()
        .expect("a URI");
    assert_eq!(found(&request), before);
}
